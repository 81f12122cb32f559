//! When the bytes of a log came: a small file beside it.
//!
//! A header of 16 bytes (a magic word, the log's inode), then records of 16 bytes: an offset in the log, and the wall clock
//! in microseconds when what stands from there on was taken out of the pipe. A record is written before its bytes, so every
//! byte has one, whenever the writer is killed. The inode ties an index to its log: whatever names a rotation that was cut
//! short has left, an index is never taken for another log's. It is only about times: whatever is wrong with it, the log
//! itself is right.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::file::{index_of, numbered, open_for_reading, open_own, rename};

const MAGIC: [u8; 8] = *b"provost1";
const HEADER: u64 = 16;
const RECORD: u64 = 16;
/// Most records read at once.
const BLOCK: usize = 256;
/// Bytes that come closer together than this share a record, microseconds.
const GRAIN: u64 = 1_000;

/// From this offset on, bytes came at this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    offset: u64,
    /// Microseconds since 1970.
    at: u64,
}

impl Stamp {
    fn to_bytes(self) -> [u8; RECORD as usize] {
        pair(self.offset.to_le_bytes(), self.at.to_le_bytes())
    }
}

fn pair(first: [u8; 8], second: [u8; 8]) -> [u8; 16] {
    let mut both = [0; 16];
    for (place, byte) in both.iter_mut().zip(first.into_iter().chain(second)) {
        *place = byte;
    }
    both
}

fn halves(bytes: &[u8]) -> Option<(u64, u64)> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*first), u64::from_le_bytes(*rest.first_chunk()?)))
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    records: u64,
    last: Option<Stamp>,
}

impl Index {
    /// The index of the log at `path`, which has this inode and size. What belongs to another log, or speaks of bytes that
    /// are not there, is dropped.
    pub(super) fn open(path: &Path, inode: u64, size: u64) -> io::Result<Index> {
        let own = index_of(path);
        let mut file = open_own(&own)?;
        if size > 0 && !belongs_to(&file, inode) {
            // A rotation that was cut short has moved it ahead of its log.
            let ahead = index_of(&numbered(path, 1));
            if open_for_reading(&ahead).is_ok_and(|file| belongs_to(&file, inode)) {
                rename(&ahead, &own)?;
                file = open_own(&own)?;
            }
        }
        if size == 0 || !belongs_to(&file, inode) {
            file.set_len(0)?;
            file.write_all_at(&pair(MAGIC, inode.to_le_bytes()), 0)?;
        }
        let records = count_up_to(&file, |stamp| stamp.offset <= size)?;
        let last = records.checked_sub(1).map(|last| read_stamp(&file, last)).transpose()?;
        Ok(Index { file, records, last })
    }

    /// What comes next has a record of its own, however soon it comes.
    pub(super) fn part(&mut self) {
        if let Some(last) = &mut self.last {
            last.at = 0;
        }
    }

    /// Bytes are about to be written at `offset`.
    pub(super) fn note(&mut self, offset: u64, at: u64) -> io::Result<()> {
        let stamp = Stamp { offset, at };
        let number = match self.last {
            // Nothing came of the last announcement.
            Some(last) if last.offset == offset => self.records.saturating_sub(1),
            Some(last) if last.at.abs_diff(at) < GRAIN => return Ok(()),
            _ => self.records,
        };
        self.file.write_all_at(&stamp.to_bytes(), HEADER + number * RECORD)?;
        (self.records, self.last) = (number + 1, Some(stamp));
        Ok(())
    }
}

fn belongs_to(file: &File, inode: u64) -> bool {
    let mut header = [0; HEADER as usize];
    file.read_exact_at(&mut header, 0).is_ok() && header == pair(MAGIC, inode.to_le_bytes())
}

fn read_stamp(file: &File, number: u64) -> io::Result<Stamp> {
    let mut bytes = [0; RECORD as usize];
    file.read_exact_at(&mut bytes, HEADER + number * RECORD)?;
    let (offset, at) = halves(&bytes).unwrap_or_default();
    Ok(Stamp { offset, at })
}

/// How many records, from the first on, satisfy a condition that holds up to some record and not after it.
fn count_up_to(file: &File, holds: impl Fn(Stamp) -> bool) -> io::Result<u64> {
    let (mut low, mut high) = (0, file.metadata()?.len().saturating_sub(HEADER) / RECORD);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(read_stamp(file, middle)?) { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// The reader's side: the times of one log, asked for from its beginning to its end.
#[derive(Debug)]
pub(super) struct Times {
    /// `None`: there is no index; all that is known is `present`.
    file: Option<File>,
    began: u64,
    next: u64,
    present: u64,
    /// Records read ahead, the next one last.
    ahead: Vec<Stamp>,
}

impl Times {
    /// The times of the log that was found at `path` after so many rotations and has this inode. A rotation may have moved
    /// its index on by now. Without an index all bytes came at `fallback`.
    pub(super) fn open(path: &Path, rotations: u32, inode: u64, fallback: u64) -> Times {
        let file = (rotations..rotations + 3).find_map(|rotations| {
            let file = open_for_reading(&index_of(&numbered(path, rotations))).ok()?;
            belongs_to(&file, inode).then_some(file)
        });
        let first = file.as_ref().and_then(|file| read_stamp(file, 0).ok());
        let began = first.map_or(fallback, |stamp| stamp.at);
        Times { file, began, next: 0, present: began, ahead: Vec::new() }
    }

    /// When the first byte came.
    pub(super) fn began(&self) -> u64 {
        self.began
    }

    /// When the byte at `offset` came, microseconds since 1970. Offsets must not decrease between two calls.
    pub(super) fn at(&mut self, offset: u64) -> u64 {
        while !self.ahead.is_empty() || self.read_ahead() {
            let Some(stamp) = self.ahead.pop_if(|stamp| stamp.offset <= offset) else { break };
            self.present = stamp.at;
        }
        self.present
    }

    fn read_ahead(&mut self) -> bool {
        let Some(file) = &self.file else { return false };
        let mut bytes = [0; BLOCK * RECORD as usize];
        let read = file.read_at(&mut bytes, HEADER + self.next * RECORD).unwrap_or(0);
        let records = bytes.get(..read).unwrap_or_default().chunks_exact(RECORD as usize);
        self.ahead.extend(records.rev().filter_map(halves).map(|(offset, at)| Stamp { offset, at }));
        self.next += self.ahead.len() as u64;
        !self.ahead.is_empty()
    }

    /// Goes to where the byte at `offset` has its record.
    pub(super) fn seek(&mut self, offset: u64) {
        let Some(file) = &self.file else { return };
        self.ahead.clear();
        self.next = count_up_to(file, |stamp| stamp.offset <= offset).unwrap_or(0).saturating_sub(1);
    }

    /// Where the bytes begin that came at `since` or later; `size` if there are none. By bisection: if the clock was set
    /// back meanwhile, the place is only near.
    pub(super) fn first_since(&self, since: u64, size: u64) -> u64 {
        let Some(file) = &self.file else {
            return if self.present >= since { 0 } else { size };
        };
        let earlier = count_up_to(file, |stamp| stamp.at < since).unwrap_or(0);
        read_stamp(file, earlier).map_or(size, |stamp| stamp.offset.min(size))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const INODE: u64 = 77;

    fn with(stamps: &[(u64, u64)]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        let mut index = Index::open(&path, INODE, 0).unwrap();
        for (offset, at) in stamps {
            index.note(*offset, *at).unwrap();
        }
        (folder, path)
    }

    #[test]
    fn every_byte_has_the_time_of_its_batch() {
        let (_folder, path) = with(&[(0, 10_000), (100, 20_000), (150, 30_000)]);
        let mut times = Times::open(&path, 0, INODE, 1);
        let found = [0, 99, 100, 149, 150, 9_999].map(|offset| times.at(offset));
        assert_eq!(found, [10_000, 10_000, 20_000, 20_000, 30_000, 30_000]);
        times.seek(120);
        assert_eq!(times.at(120), 20_000);
    }

    #[test]
    fn what_is_written_later_is_seen_by_an_open_reader() {
        let (_folder, path) = with(&[(0, 10_000)]);
        let mut times = Times::open(&path, 0, INODE, 1);
        assert_eq!(times.at(50), 10_000);
        Index::open(&path, INODE, 50).unwrap().note(50, 20_000).unwrap();
        assert_eq!(times.at(50), 20_000);
    }

    #[test]
    fn since_finds_the_first_byte_that_is_not_older() {
        let (_folder, path) = with(&[(0, 10_000), (100, 20_000), (150, 30_000)]);
        let times = Times::open(&path, 0, INODE, 1);
        let found = [5, 10_000, 10_001, 25_000, 30_000, 30_001].map(|since| times.first_since(since, 200));
        assert_eq!(found, [0, 0, 100, 150, 150, 200]);
    }

    #[test]
    fn what_is_parted_has_a_record_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        let mut index = Index::open(&path, INODE, 0).unwrap();
        index.note(0, 10_000).unwrap();
        index.part();
        index.note(100, 10_001).unwrap();
        assert_eq!(Times::open(&path, 0, INODE, 1).first_since(10_001, 200), 100);
    }

    #[test]
    fn batches_within_a_millisecond_share_a_record_and_an_empty_one_is_replaced() {
        let (_folder, path) = with(&[(0, 5_000), (10, 5_900), (20, 6_100), (20, 9_000)]);
        let mut times = Times::open(&path, 0, INODE, 1);
        assert_eq!([10, 20].map(|offset| times.at(offset)), [5_000, 9_000]);
        assert_eq!(fs::metadata(index_of(&path)).unwrap().len(), HEADER + 2 * RECORD);
    }

    #[test]
    fn the_next_writer_goes_on_and_drops_what_speaks_of_missing_bytes() {
        let (_folder, path) = with(&[(0, 10_000), (100, 20_000), (900, 30_000)]);
        let mut index = Index::open(&path, INODE, 500).unwrap();
        index.note(500, 40_000).unwrap();
        let mut times = Times::open(&path, 0, INODE, 1);
        assert_eq!([499, 500].map(|offset| times.at(offset)), [20_000, 40_000]);
    }

    #[test]
    fn an_index_of_another_log_is_not_believed() {
        let (_folder, path) = with(&[(0, 10_000)]);
        assert_eq!(Times::open(&path, 0, INODE + 1, 1).at(0), 1);
        let index = Index::open(&path, INODE + 1, 300).unwrap();
        assert_eq!(index.last, None);
        assert_eq!(Times::open(&path, 0, INODE, 1).at(0), 1);
    }

    #[test]
    fn an_index_that_was_moved_ahead_of_its_log_is_found_and_brought_back() {
        let (_folder, path) = with(&[(0, 10_000)]);
        fs::rename(index_of(&path), index_of(&numbered(&path, 1))).unwrap();
        assert_eq!(Times::open(&path, 0, INODE, 1).at(0), 10_000);
        let index = Index::open(&path, INODE, 300).unwrap();
        assert_eq!(index.last, Some(Stamp { offset: 0, at: 10_000 }));
        assert!(!index_of(&numbered(&path, 1)).exists());
    }
}

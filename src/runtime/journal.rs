//! The journal: a file in memory that the keeper holds, from which the next supervisor process learns its world.
//!
//! Layout: 8 bytes that say what this is, 8 bytes with the offset of the newest snapshot, then records, each its length (u32,
//! little endian), a checksum of its bytes (likewise), and its postcard bytes; records begin at multiples of 8, so that no
//! number lies across two pages. A record's length is written after its bytes, and the snapshot's offset after the snapshot:
//! being killed at any instant leaves a journal that ends with the last whole record. A snapshot goes to the beginning of the
//! file if it fits there before the present one, and the file is cut behind it; else it goes to the end, and what lies before
//! it is given back. So the file stays a few times as long as a snapshot.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use super::world::{Record, World};

/// A snapshot is written when the records since the last one take more room than this and than the snapshot itself.
const SNAPSHOT_EVERY: u64 = 256 * 1024;
/// What stands at the beginning. The last byte is the version of this layout.
const MAGIC: [u8; 8] = *b"provost\x01";
const SNAPSHOT_AT: u64 = MAGIC.len() as u64;
const HEADER: u64 = SNAPSHOT_AT + 8;
/// Length and checksum of a record.
const FRAME: u64 = 8;
const LENGTH: u64 = 4;

/// An open journal, positioned at its end.
#[derive(Debug)]
pub struct Journal {
    file: File,
    end: u64,
    snapshot_at: u64,
    snapshot_bytes: u64,
}

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read or written.
    #[error("cannot access the journal: {0}{hint}", hint = hint(.0))]
    Io(#[from] io::Error),
    /// It was written by another version, or is damaged.
    #[error("the journal cannot be understood ({0}): it belongs to another version of provost")]
    Format(#[from] postcard::Error),
    /// Its bytes are not those that were written.
    #[error("the journal is damaged at byte {0}")]
    Damaged(u64),
}

impl JournalError {
    /// Whether what the file holds is of no use; it could be read.
    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self, JournalError::Format(_) | JournalError::Damaged(_))
    }

    /// Whether there was no room for what was written.
    pub(super) fn is_full(&self) -> bool {
        let kinds = [io::ErrorKind::FileTooLarge, io::ErrorKind::StorageFull, io::ErrorKind::OutOfMemory];
        matches!(self, JournalError::Io(error) if kinds.contains(&error.kind()))
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::FileTooLarge => "; raise the limit on file size (ulimit -f)",
        _ => "",
    }
}

impl Journal {
    /// Begins a journal with this world in a file, whatever that holds.
    ///
    /// # Errors
    /// The file cannot be written, or not grow as far as it will.
    pub fn create(fd: OwnedFd, world: &World) -> Result<Journal, JournalError> {
        let mut journal =
            Journal { file: File::from(fd), end: HEADER, snapshot_at: HEADER, snapshot_bytes: 0 };
        journal.file.set_len(0)?;
        journal.file.write_all_at(&MAGIC, 0)?;
        journal.snapshot(world)?;
        // A limit on file size is told now, not when it is reached. Room that is not written to costs nothing.
        journal.file.set_len(HEADER + 4 * journal.snapshot_bytes + SNAPSHOT_EVERY)?;
        journal.file.set_len(journal.end)?;
        Ok(journal)
    }

    /// Opens a journal and replays it.
    ///
    /// # Errors
    /// The file cannot be read, or its snapshot is not of this version.
    pub fn open(fd: OwnedFd) -> Result<(Journal, World), JournalError> {
        let file = File::from(fd);
        let (mut world, snapshot_at, mut end) = read_snapshot(&file)?;
        let snapshot_bytes = end - snapshot_at;
        while let Some(bytes) = read_record(&file, end)? {
            // What it ordered then was performed then, or is an open order now.
            let _ = world.learn(postcard::from_bytes::<Record>(&bytes)?);
            end = next(end, bytes.len());
        }
        Ok((Journal { file, end, snapshot_at, snapshot_bytes }, world))
    }

    /// The world as it was at the newest snapshot, without what happened since: for who does not dare to repeat that.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub(super) fn snapshot_of(fd: OwnedFd) -> Result<World, JournalError> {
        Ok(read_snapshot(&File::from(fd))?.0)
    }

    /// Adds one record; when it returns, the record outlives this process.
    ///
    /// # Errors
    /// The file cannot be written (memory is exhausted).
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        self.write(&postcard::to_stdvec(record)?)
    }

    /// The file, for somebody else to read.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether the records since the last snapshot are worth folding into a new one.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        self.end - self.snapshot_at > self.snapshot_bytes + SNAPSHOT_EVERY.max(self.snapshot_bytes)
    }

    /// Folds everything so far into one snapshot.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn snapshot(&mut self, world: &World) -> Result<(), JournalError> {
        let bytes = postcard::to_stdvec(world)?;
        // The length after it, which is zeroed with it, must not be that of the present snapshot.
        let fits_before = next(HEADER, bytes.len()) < self.snapshot_at;
        let (at, before) = (if fits_before { HEADER } else { self.end }, self.end);
        self.end = at;
        if let Err(error) = self.write(&bytes) {
            self.end = before;
            return Err(error);
        }
        self.file.write_all_at(&at.to_le_bytes(), SNAPSHOT_AT)?;
        self.snapshot_at = at;
        self.snapshot_bytes = self.end - at;
        match fits_before {
            true => self.file.set_len(self.end)?,
            false => crate::os::memfd::release(&self.file, HEADER, at)?,
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        // The next length is zeroed with the bytes: a process killed here leaves nothing that a later, shorter record would
        // uncover as its successor.
        let end = next(self.end, bytes.len());
        let mut body = checksum(bytes).to_le_bytes().to_vec();
        body.extend_from_slice(bytes);
        body.resize((end - self.end) as usize, 0);
        self.file.write_all_at(&body, self.end + LENGTH)?;
        self.file.write_all_at(&length.to_le_bytes(), self.end)?;
        self.end = end;
        Ok(())
    }
}

/// Where the record after one of this many bytes begins.
fn next(at: u64, bytes: usize) -> u64 {
    (at + FRAME + bytes as u64).next_multiple_of(FRAME)
}

/// FNV-1a: a journal that something else wrote over must not be taken for a world.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The world of the newest snapshot, where that begins, and where the record after it does.
fn read_snapshot(file: &File) -> Result<(World, u64, u64), JournalError> {
    let mut header = [0; HEADER as usize];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(JournalError::Damaged(0)),
        other => other?,
    }
    let [m0, m1, m2, m3, m4, m5, m6, m7, at @ ..] = header;
    if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
        return Err(JournalError::Damaged(0));
    }
    let at = u64::from_le_bytes(at);
    let bytes = read_record(file, at)?.ok_or(JournalError::Damaged(SNAPSHOT_AT))?;
    Ok((postcard::from_bytes(&bytes)?, at, next(at, bytes.len())))
}

/// The record at `offset`; `None` at the end.
fn read_record(file: &File, offset: u64) -> Result<Option<Vec<u8>>, JournalError> {
    let mut length = [0; LENGTH as usize];
    match file.read_exact_at(&mut length, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length);
    if length == 0 {
        return Ok(None);
    }
    let room = file.metadata()?.len().saturating_sub(offset.saturating_add(FRAME));
    if u64::from(length) > room {
        return Err(JournalError::Damaged(offset));
    }
    let mut sum = [0; LENGTH as usize];
    file.read_exact_at(&mut sum, offset + LENGTH)?;
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset + FRAME)?;
    if checksum(&bytes) != u32::from_le_bytes(sum) {
        return Err(JournalError::Damaged(offset));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Context, load};
    use crate::rules::{Event, Moment};
    use crate::runtime::world::Upgrade;

    fn world() -> World {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("supervisor.toml");
        let root = folder.path().display();
        let text = format!(
            "name = \"test\"\nrun_dir = \"{root}/run\"\nlog_dir = \"{root}/log\"\n[[child]]\nname = \"a\"\n\
             command = [\"/bin/true\"]\n"
        );
        std::fs::write(&file, text).unwrap();
        World::new(load(&file, &Context::of_process()).unwrap().project).unwrap()
    }

    fn begun() -> (File, Journal, World) {
        let file = tempfile::tempfile().unwrap();
        let world = world();
        let journal = Journal::create(file.try_clone().unwrap().into(), &world).unwrap();
        (file, journal, world)
    }

    fn record(at: u32) -> Record {
        match at {
            0 => Record::Step(Moment(0), Event::Boot),
            at => Record::Upgrade(Upgrade { incarnation: at, outcome: Ok("9.9".into()) }),
        }
    }

    fn reopen(file: &File) -> Result<(Journal, World), JournalError> {
        Journal::open(file.try_clone().unwrap().into())
    }

    #[test]
    fn what_was_recorded_is_learnt_by_the_next_one() {
        let (file, mut journal, mut world) = begun();
        for at in 0..100 {
            journal.append(&record(at)).unwrap();
            world.learn(record(at));
            if at == 50 {
                journal.snapshot(&world).unwrap();
            }
            let (again, learnt) = reopen(&file).unwrap();
            assert_eq!((again.end, again.snapshot_at), (journal.end, journal.snapshot_at));
            assert!(learnt == world);
        }
        let before = Journal::snapshot_of(file.into()).unwrap();
        assert!(before.booted && before != world);
    }

    /// Killed between the bytes and the length, a record was never there, and leaves no trace in the next.
    #[test]
    fn a_record_that_was_not_finished_does_not_exist() {
        let (file, mut journal, world) = begun();
        let at = journal.end;
        journal.append(&record(0)).unwrap();
        journal.append(&record(1)).unwrap();
        let end = journal.end;
        file.write_all_at(&[0; 4], at).unwrap();
        let (mut again, learnt) = reopen(&file).unwrap();
        assert!(learnt == world);
        assert_eq!(again.end, at);
        again.append(&record(0)).unwrap();
        assert!(again.end < end);
        assert!(reopen(&file).unwrap().1.booted);
    }

    #[test]
    fn an_empty_or_cut_file_is_unreadable_and_can_be_begun_again() {
        let (file, journal, world) = begun();
        for length in [0, 5, 12, HEADER, HEADER + 3, journal.end - 9] {
            file.set_len(length).unwrap();
            assert!(reopen(&file).unwrap_err().is_unreadable(), "{length}");
            Journal::create(file.try_clone().unwrap().into(), &world).unwrap();
            assert!(reopen(&file).unwrap().1 == world);
        }
    }

    #[test]
    fn its_length_stays_bounded_by_its_snapshots() {
        let (file, mut journal, mut world) = begun();
        let snapshot = journal.snapshot_bytes;
        for at in 1..5_000 {
            journal.append(&record(at)).unwrap();
            world.learn(record(at));
            if at % 10 == 0 {
                journal.snapshot(&world).unwrap();
                assert!(reopen(&file).unwrap().1 == world);
            }
            let length = file.metadata().unwrap().len();
            assert!(length < 4 * snapshot + 1024, "{length} bytes for snapshots of {snapshot}");
        }
    }

    /// The file of a process that was killed between a snapshot at the beginning and the cut behind it.
    #[test]
    fn what_lies_behind_a_snapshot_at_the_beginning_is_not_read_again() {
        let (file, mut journal, mut world) = begun();
        for at in 1..200 {
            journal.append(&record(at)).unwrap();
            world.learn(record(at));
        }
        journal.snapshot(&world).unwrap();
        let mut behind = vec![0; usize::try_from(journal.end).unwrap()];
        file.read_exact_at(&mut behind, 0).unwrap();
        journal.snapshot(&world).unwrap();
        assert_eq!(journal.snapshot_at, HEADER);
        let cut = usize::try_from(journal.end + LENGTH).unwrap();
        file.write_all_at(&behind[cut..], cut as u64).unwrap();
        let (mut again, learnt) = reopen(&file).unwrap();
        assert!(learnt == world && again.end == journal.end);
        again.append(&record(7)).unwrap();
        world.learn(record(7));
        assert!(reopen(&file).unwrap().1 == world);
    }

    #[test]
    fn any_other_byte_than_was_written_is_noticed() {
        let (file, mut journal, _) = begun();
        journal.append(&record(0)).unwrap();
        let length = usize::try_from(journal.end).unwrap();
        let mut whole = vec![0; length];
        file.read_exact_at(&mut whole, 0).unwrap();
        let mut unnoticed = 0;
        for at in 0..length {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            file.write_all_at(&damaged, 0).unwrap();
            unnoticed += usize::from(reopen(&file).is_ok());
        }
        // What fills up two records to multiples of 8.
        assert!(unnoticed < 16, "{unnoticed} of {length}");
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(&MAGIC, 0).unwrap();
            file.write_all_at(&bytes, SNAPSHOT_AT).unwrap();
            proptest::prop_assert!(reopen(&file).is_err());
        }
    }
}

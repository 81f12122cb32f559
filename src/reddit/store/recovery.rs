//! What a store holds: the newest snapshot, and every entry after it.
//!
//! **Where the log ends.** What was written after the last sync may be there in any part and order when the power failed:
//! the log ends before the first group that is not whole, and everything behind that is cut, in later segments too. It ends
//! nowhere else. Groups and segments say how far the log was on the disk when they were begun; what is missing before that
//! is damage.

use std::fs;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::OpenError;
use super::aside::{Dropped, set_aside};
use super::disk::{self, Output};
use super::files::{self, LOG, SNAPSHOT};
use super::group::{self, Behind, Broken};
use super::snapshot;
use crate::reddit::model::{Entry, Model};

/// The first bytes of every segment. What follows: the number of its first entry, how far the log was on the disk, the
/// store's nonce, and the xxh3 of all that.
pub(super) const MAGIC: [u8; 8] = [b'R', b'D', b'T', b'L', b'O', b'G', 0, files::FORM];
pub(super) const HEADER: usize = 40;

/// The bytes at the beginning of the segment that begins with this entry.
pub(super) fn header(first: u64, synced: u64, nonce: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    for (at, number) in [(8, first), (16, synced), (24, nonce)] {
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    let check = xxh3_64(&bytes[..32]);
    bytes[32..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// How a segment begins.
enum Beginning {
    Whole {
        synced: u64,
        nonce: u64,
    },
    /// It is not on the disk, or not all of it: a sector is there or is not.
    Absent,
    Other,
}

fn beginning(bytes: &[u8], first: u64) -> Beginning {
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    let Some(found) = bytes.get(..HEADER) else {
        let known = &header(first, 0, 0)[..bytes.len().min(16)];
        let is_part = bytes.starts_with(known) || bytes.iter().all(|&byte| byte == 0);
        return if is_part { Beginning::Absent } else { Beginning::Other };
    };
    let (synced, nonce) = (number(16), number(24));
    match found {
        found if found == header(first, synced, nonce) => Beginning::Whole { synced, nonce },
        found if found.iter().all(|&byte| byte == 0) => Beginning::Absent,
        _ => Beginning::Other,
    }
}

/// The nonce in a header that is not sound.
pub(super) fn nonce_in(bytes: &[u8]) -> Option<u64> {
    bytes.get(24..32).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
}

/// What was found.
#[derive(Debug)]
pub struct Contents {
    /// The number of the next entry.
    pub next: u64,
    /// Entries that were read after the snapshot.
    pub entries: u64,
    /// Bytes behind the end of the log, which do not count.
    pub torn: u64,
    /// Whole entries among them, and what is missing before those: written after the last sync, and not all of it is there.
    pub beyond: u64,
    /// Where opening the store moved those to.
    pub aside: Option<PathBuf>,
    /// Bytes of all segments.
    pub log_bytes: u64,
    /// The segments that are used.
    pub(super) kept: Vec<Segment>,
    /// What is not.
    pub(super) dropped: Vec<Dropped>,
    /// The entries before this number were on the disk.
    pub(super) synced: u64,
    pub(super) nonce: Option<u64>,
}

impl Contents {
    /// A log that goes on with this entry.
    pub(super) fn at(next: u64, nonce: Option<u64>) -> Contents {
        Contents {
            next,
            entries: 0,
            torn: 0,
            beyond: 0,
            aside: None,
            log_bytes: 0,
            kept: Vec::new(),
            dropped: Vec::new(),
            synced: next,
            nonce,
        }
    }

    /// Makes the files what was read of them, on the disk. Returns where to whole entries were moved that do not count.
    pub(super) fn settle(&self, dir: &Path) -> Result<Option<PathBuf>, OpenError> {
        let aside = (self.beyond > 0).then(|| set_aside(dir, &self.dropped)).transpose()?;
        if aside.is_none() {
            self.dropped.iter().try_for_each(Dropped::remove)?;
        }
        for segment in &self.kept {
            segment.renew(dir, self.synced)?;
        }
        disk::sync_dir(dir).map_err(OpenError::io("sync", dir))?;
        Ok(aside)
    }
}

/// One file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first: u64,
    /// The number behind its last entry.
    next: u64,
    /// Bytes that are whole.
    pub(super) length: u64,
}

impl Segment {
    /// Writes what may not be on the disk once more, and syncs it. Syncing alone does not do: after a sync that failed, the
    /// kernel may hold as written what it could not write.
    fn renew(&self, dir: &Path, synced: u64) -> Result<(), OpenError> {
        if self.next <= synced {
            return Ok(());
        }
        let path = files::path(dir, LOG, self.first);
        let bytes = fs::read(&path).map_err(OpenError::io("read", &path))?;
        let bytes = &bytes[..self.length as usize];
        let mut at = HEADER;
        while let Some((first, length)) = group::extent(&bytes[at..]).filter(|&(first, _)| first < synced) {
            debug_assert!(first >= self.first);
            at += length;
        }
        let from = if at == HEADER { 0 } else { at };
        let renewed = Output::open(path.clone()).and_then(|output| {
            output.write(from as u64, &bytes[from..])?;
            output.sync()
        });
        renewed.map_err(OpenError::io("write", path))
    }
}

/// What takes the contents of a store.
pub trait Reading {
    /// The tables at the beginning of the log, before entry `next`; empty ones where there is no snapshot.
    fn begin(&mut self, model: Model, next: u64);

    /// The next entry.
    ///
    /// # Errors
    /// Why it cannot be.
    fn entry(&mut self, entry: Entry) -> Result<(), String>;
}

/// Replays.
impl Reading for Model {
    fn begin(&mut self, model: Model, _next: u64) {
        *self = model;
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
        self.apply_entry(entry);
        Ok(())
    }
}

/// Reads a store from its newest snapshot to its end.
///
/// # Errors
/// Damage, or what the operating system refuses.
pub fn read(dir: &Path, reading: &mut impl Reading) -> Result<Contents, OpenError> {
    read_until(dir, u64::MAX, reading)
}

/// Reads a store from its newest snapshot to the entry before `next`.
pub(super) fn before(dir: &Path, next: u64, reading: &mut impl Reading) -> Result<(), OpenError> {
    let contents = read_until(dir, next, reading)?;
    if contents.next == next { Ok(()) } else { Err(missing(dir, contents.next)) }
}

fn missing(dir: &Path, next: u64) -> OpenError {
    let file = files::path(dir, LOG, next);
    OpenError::Damaged { file, offset: 0, what: format!("the entries from number {next} on are missing") }
}

fn read_until(dir: &Path, end: u64, reading: &mut impl Reading) -> Result<Contents, OpenError> {
    let base = files::list(dir, SNAPSHOT)?.into_iter().rfind(|&next| next <= end);
    let tables = base.map(|next| snapshot::read(dir, next)).transpose()?;
    let (tables, nonce) = tables.map_or_else(Default::default, |(model, nonce)| (model, Some(nonce)));
    reading.begin(tables, base.unwrap_or(0));
    let mut contents = Contents::at(base.unwrap_or(0), nonce);
    read_on(dir, end, &mut contents, reading)?;
    Ok(contents)
}

/// Reads the log from where `contents` stand, which are as far as it came when it fails.
pub(super) fn read_on(
    dir: &Path,
    end: u64,
    contents: &mut Contents,
    reading: &mut impl Reading,
) -> Result<(), OpenError> {
    let segments = files::list(dir, LOG)?;
    // Those before the snapshot are there only if its maker was interrupted while it tidied up.
    let needed: Vec<u64> =
        segments.into_iter().filter(|&first| first >= contents.next && first < end).collect();
    for (place, &first) in needed.iter().enumerate() {
        let broken = if first == contents.next {
            segment(dir, first, contents, reading)?
        } else {
            Some((0, missing(dir, contents.next)))
        };
        match broken {
            None => {}
            Some((at, damage)) if end == u64::MAX => {
                return end_at(dir, &needed[place..], at, damage, contents);
            }
            Some((_, damage)) => return Err(damage),
        }
    }
    Ok(())
}

/// Where a segment stops to be whole, and why.
type Break = (usize, OpenError);

fn segment(
    dir: &Path,
    first: u64,
    contents: &mut Contents,
    reading: &mut impl Reading,
) -> Result<Option<Break>, OpenError> {
    let path = files::path(dir, LOG, first);
    let bytes = fs::read(&path).map_err(OpenError::io("read", &path))?;
    let nonce = match beginning(&bytes, first) {
        Beginning::Whole { synced, nonce } if contents.nonce.is_none_or(|known| known == nonce) => {
            contents.synced = contents.synced.max(synced);
            *contents.nonce.insert(nonce)
        }
        Beginning::Absent => return Ok(Some((0, damaged(&path, 0, "the segment has no beginning")))),
        Beginning::Whole { .. } | Beginning::Other => return Err(no_segment(&path, &bytes)),
    };
    let mut at = HEADER;
    let mut broken = None;
    while at < bytes.len() {
        let group = match group::parse(&bytes[at..], nonce) {
            Ok(group) => group,
            Err(why) => {
                let what = match why {
                    Broken::Short => "a group does not end",
                    Broken::Check => "a group does not have the sum it was written with",
                };
                broken = Some((at, damaged(&path, at, what)));
                break;
            }
        };
        if group.first != contents.next {
            let what = format!("entry {} follows where {} should", group.first, contents.next);
            return Err(damaged(&path, at, &what));
        }
        let unreadable =
            |number: u32| damaged(&path, at, &format!("entry {number} of a group cannot be read"));
        let take = |entry| reading.entry(entry).map_err(|what| damaged(&path, at, &what));
        group.for_each(take, unreadable)?;
        contents.synced = contents.synced.max(group.synced);
        contents.next += u64::from(group.count);
        contents.entries += u64::from(group.count);
        at += group.len();
    }
    contents.log_bytes += at as u64;
    contents.kept.push(Segment { first, next: contents.next, length: at as u64 });
    Ok(broken)
}

/// The log ends at that place of the first of these segments, unless that or anything behind it was on the disk already.
fn end_at(
    dir: &Path,
    segments: &[u64],
    mut from: usize,
    damage: OpenError,
    contents: &mut Contents,
) -> Result<(), OpenError> {
    let mut behind = Behind::default();
    for &first in segments {
        let file = files::path(dir, LOG, first);
        let bytes = fs::read(&file).map_err(OpenError::io("read", &file))?;
        match beginning(&bytes, first) {
            Beginning::Whole { synced, nonce } if contents.nonce.is_none_or(|known| known == nonce) => {
                behind.synced = behind.synced.max(synced);
                contents.nonce = Some(nonce);
            }
            Beginning::Absent => {}
            Beginning::Whole { .. } | Beginning::Other => return Err(no_segment(&file, &bytes)),
        }
        let rest = bytes.get(from..).unwrap_or_default();
        match contents.nonce {
            Some(nonce) => behind.look(rest, contents.next, nonce),
            // The first segment of a store is on the disk before there is anything in it.
            None if rest.iter().any(|&byte| byte != 0) && bytes.len() >= HEADER => return Err(damage),
            None => {}
        }
        let bytes = rest.len() as u64;
        contents.torn += bytes;
        contents.log_bytes += bytes;
        contents.dropped.push(Dropped { file, from: from as u64, bytes });
        from = 0;
    }
    if behind.synced > contents.next {
        return Err(damage);
    }
    contents.beyond = behind.end.saturating_sub(contents.next);
    Ok(())
}

fn no_segment(path: &Path, bytes: &[u8]) -> OpenError {
    match files::older_form(bytes, MAGIC) {
        Some(found) => OpenError::Older { file: path.to_owned(), found },
        None => damaged(path, 0, "this is not a segment of this version, number and store"),
    }
}

fn damaged(file: &Path, offset: usize, what: &str) -> OpenError {
    OpenError::Damaged { file: PathBuf::from(file), offset: offset as u64, what: what.to_owned() }
}

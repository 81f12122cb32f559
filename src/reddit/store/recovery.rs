//! What a store holds: the newest snapshot, and every entry after it.

use std::fs;
use std::path::{Path, PathBuf};

use super::OpenError;
use super::files::{self, LOG, SNAPSHOT};
use super::group::{self, Broken};
use super::snapshot;
use crate::reddit::model::{Entry, Model};

/// The first bytes of every segment; the number of its first entry follows.
pub(super) const MAGIC: [u8; 8] = [b'R', b'D', b'T', b'L', b'O', b'G', 0, files::FORM];
pub(super) const HEADER: usize = 16;

/// The bytes at the beginning of the segment that begins with this entry.
pub(super) fn header(first: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..].copy_from_slice(&first.to_le_bytes());
    bytes
}

/// What was found.
#[derive(Debug)]
pub struct Contents {
    /// The number of the next entry.
    pub next: u64,
    /// Entries that were read after the snapshot.
    pub entries: u64,
    /// The segment that was written last.
    pub(super) last: Option<Segment>,
    /// Bytes of an unfinished group at its end, which were never acknowledged.
    pub torn: u64,
    /// Bytes of all segments.
    pub log_bytes: u64,
}

impl Contents {
    /// A log that goes on with this entry.
    pub(super) fn at(next: u64) -> Contents {
        Contents { next, entries: 0, last: None, torn: 0, log_bytes: 0 }
    }
}

/// One file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first: u64,
    /// Bytes that are whole.
    pub(super) length: u64,
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
    let tables = base.map_or_else(|| Ok(Model::default()), |next| snapshot::read(dir, next))?;
    reading.begin(tables, base.unwrap_or(0));
    let mut contents = Contents::at(base.unwrap_or(0));
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
        if first != contents.next {
            return Err(missing(dir, contents.next));
        }
        let is_last = place + 1 == needed.len() && end == u64::MAX;
        segment(dir, first, is_last, contents, reading)?;
    }
    Ok(())
}

fn segment(
    dir: &Path,
    first: u64,
    is_last: bool,
    contents: &mut Contents,
    reading: &mut impl Reading,
) -> Result<(), OpenError> {
    let path = files::path(dir, LOG, first);
    let bytes = fs::read(&path).map_err(OpenError::io("read", &path))?;
    contents.log_bytes += bytes.len() as u64;
    let mut at = HEADER;
    if !bytes.starts_with(&header(first)) {
        // Nothing but a part of the header: its maker was interrupted right there.
        if is_last && header(first).starts_with(&bytes) {
            contents.last = Some(Segment { first, length: 0 });
            contents.torn = bytes.len() as u64;
            return Ok(());
        }
        if let Some(found) = files::older_form(&bytes, MAGIC) {
            return Err(OpenError::Older { file: path, found });
        }
        return Err(damaged(&path, 0, "this is not a segment of this version and number".to_owned()));
    }
    while at < bytes.len() {
        let rest = &bytes[at..];
        let group = match group::parse(rest) {
            Ok(group) => group,
            Err(_) if is_last && !group::any_after(rest, contents.next) => {
                contents.torn = rest.len() as u64;
                break;
            }
            Err(Broken::Short) => return Err(damaged(&path, at, "a group does not end".to_owned())),
            Err(Broken::Check) => {
                return Err(damaged(
                    &path,
                    at,
                    "a group does not have the sum it was written with".to_owned(),
                ));
            }
        };
        if group.first != contents.next {
            let what = format!("entry {} follows where {} should", group.first, contents.next);
            return Err(damaged(&path, at, what));
        }
        let unreadable =
            |number: u32| damaged(&path, at, format!("entry {number} of a group cannot be read"));
        let take = |entry| reading.entry(entry).map_err(|what| damaged(&path, at, what));
        group.for_each(take, unreadable)?;
        contents.next += u64::from(group.count);
        contents.entries += u64::from(group.count);
        at += group.len();
    }
    contents.last = Some(Segment { first, length: at as u64 });
    Ok(())
}

fn damaged(file: &Path, offset: usize, what: String) -> OpenError {
    OpenError::Damaged { file: PathBuf::from(file), offset: offset as u64, what }
}

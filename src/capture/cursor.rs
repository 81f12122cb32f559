//! A place in one log, moving forward over its rotated files and into those that are yet to come.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::file::{Identity, numbered, open_for_reading};
use super::index::Times;
use super::reader::{Line, Start};

/// A line longer than this comes in pieces.
const PIECE: usize = 16 * 1024;
/// Bytes read at once.
const BLOCK: usize = 64 * 1024;
/// Rotated files looked for at most: the most that a config file may ask for.
const MOST_FILES: u32 = 1_000;

/// One file of the log.
#[derive(Debug)]
struct Part {
    file: File,
    identity: Identity,
    times: Times,
    /// Everything before this has been read.
    offset: u64,
    /// Nothing from here on is wanted.
    end: u64,
}

/// The reader's place in one log.
#[derive(Debug)]
pub(super) struct Cursor {
    path: PathBuf,
    /// Whether what is yet to come is wanted.
    follows: bool,
    /// Oldest first. The last one is the log's present file, as far as is known.
    parts: VecDeque<Part>,
    /// Read from the first part and not given out yet: all of `block` after `given`. Its first byte stands at `block_at`.
    block: Vec<u8>,
    given: usize,
    block_at: u64,
    /// The beginning of a line whose end is not read yet, and when it came.
    begun: Vec<u8>,
    begun_at: Option<u64>,
}

impl Cursor {
    /// Opens the log at `path` where `start` says. A log that does not exist is empty so far.
    pub(super) fn open(path: &Path, start: Start) -> io::Result<Cursor> {
        let mut wanted = start.lines;
        let mut parts = VecDeque::new();
        for mut part in newest_first(path, None)? {
            let size = part.file.metadata()?.len();
            let size = match start.until {
                Some(until) => part.times.first_since(until, size),
                None => size,
            };
            let floor = match start.since {
                Some(since) => after_line_end(&part.file, part.times.first_since(since, size), size)?,
                None => 0,
            };
            let (from, found) = match wanted {
                Some(lines) => last_lines(&part.file, floor, size, lines)?,
                None => (floor, 0),
            };
            part.offset = from;
            if start.until.is_some() {
                part.end = size;
            }
            part.times.seek(from);
            parts.push_front(part);
            wanted = wanted.map(|lines| lines.saturating_sub(found));
            // What lies before is older than wanted, or more than wanted.
            if floor > 0 || wanted == Some(0) {
                break;
            }
        }
        Ok(Cursor {
            path: path.to_owned(),
            follows: start.until.is_none(),
            parts,
            block: Vec::new(),
            given: 0,
            block_at: 0,
            begun: Vec::new(),
            begun_at: None,
        })
    }

    /// The next line that is complete, or the next piece of a long one; `None`: there is none at the moment.
    pub(super) fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.cut() {
                return Ok(Some(line));
            }
            if !self.refill()? {
                return Ok(None);
            }
        }
    }

    /// The beginning of a line that has no end so far. What follows it later is the next piece.
    pub(super) fn rest(&mut self) -> Option<Line> {
        if self.begun.is_empty() { None } else { Some(self.give(true)) }
    }

    /// Cuts the next line or piece off the block; `None`: the block is used up.
    fn cut(&mut self) -> Option<Line> {
        let rest = self.block.get(self.given..).filter(|rest| !rest.is_empty())?;
        if self.begun_at.is_none() {
            let offset = self.block_at + self.given as u64;
            self.begun_at = self.parts.front_mut().map(|part| part.times.at(offset));
        }
        let room = PIECE - self.begun.len();
        let near = rest.get(..room + 1).unwrap_or(rest);
        if let Some(end) = near.iter().position(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(&rest[..end]);
            self.given += end + 1;
            return Some(self.give(false));
        }
        let take = near.len().min(room);
        self.begun.extend_from_slice(&rest[..take]);
        self.given += take;
        (near.len() > room).then(|| self.give(true))
    }

    fn give(&mut self, partial: bool) -> Line {
        let at = self.begun_at.take().unwrap_or_default();
        Line { source: 0, at, bytes: std::mem::take(&mut self.begun), partial }
    }

    /// Reads on; `false`: there is nothing more at the moment.
    fn refill(&mut self) -> io::Result<bool> {
        loop {
            if self.read_block()? {
                return Ok(true);
            }
            if self.parts.len() > 1 {
                self.parts.pop_front();
            } else if !self.follows || !self.look_for_newer()? {
                return Ok(false);
            }
        }
    }

    fn read_block(&mut self) -> io::Result<bool> {
        let Some(part) = self.parts.front_mut() else { return Ok(false) };
        self.block.resize(BLOCK, 0);
        let read = part.file.read_at(&mut self.block, part.offset)?;
        let read = read.min(usize::try_from(part.end.saturating_sub(part.offset)).unwrap_or(usize::MAX));
        self.block.truncate(read);
        (self.given, self.block_at) = (0, part.offset);
        part.offset += read as u64;
        Ok(read > 0)
    }

    /// Whether there is more to read after the end of the only part: it was emptied, or is not the present file any more.
    fn look_for_newer(&mut self) -> io::Result<bool> {
        let Ok(present) = fs::symlink_metadata(&self.path) else { return Ok(false) };
        let last = self.parts.front_mut();
        if let Some(last) = last
            && last.identity == Identity::of(&present)
        {
            let emptied = present.len() < last.offset;
            if emptied {
                (last.offset, last.times) = (0, Times::open(&self.path, 0, last.identity.inode, 0));
            }
            return Ok(emptied);
        }
        let before = self.parts.len();
        for part in newest_first(&self.path, self.parts.front())? {
            self.parts.insert(before, part);
        }
        // If there are newer ones, the one that is no longer written is read once more: it may have grown before it was moved.
        Ok(self.parts.len() > before)
    }

    /// The file to watch for changes.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a further look will find something; `None`: there is no file at the moment.
    pub(super) fn has_more(&self) -> Option<bool> {
        let present = fs::symlink_metadata(&self.path).ok()?;
        let read = self.parts.back().filter(|part| part.identity == Identity::of(&present));
        Some(read.is_none_or(|part| part.offset != present.len()))
    }
}

/// The files of a log from the present one back, those that are newer than `known`. A rotation meanwhile shows a file
/// twice, never none of it. If `known` is gone from the folder, those that began after it.
fn newest_first(path: &Path, known: Option<&Part>) -> io::Result<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for rotations in 0..=MOST_FILES {
        let file = match open_for_reading(&numbered(path, rotations)) {
            Ok(file) => file,
            // Between the two halves of a rotation, or before the first output.
            Err(error) if error.kind() == io::ErrorKind::NotFound && rotations == 0 => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let identity = Identity::of(&metadata);
        if known.is_some_and(|known| known.identity == identity) {
            return Ok(parts);
        }
        if parts.last().is_some_and(|part| part.identity == identity) {
            continue;
        }
        let changed =
            metadata.mtime().unsigned_abs() * 1_000_000 + metadata.mtime_nsec().unsigned_abs() / 1_000;
        let times = Times::open(path, rotations, identity.inode, changed);
        parts.push(Part { file, identity, times, offset: 0, end: u64::MAX });
    }
    if let Some(known) = known {
        parts.retain(|part| part.times.began() > known.times.began());
    }
    Ok(parts)
}

/// The beginning of the last `lines` lines between `floor` and `end`, and how many there are. What has no end for the length
/// of a piece counts as a line, so that the search is bounded.
fn last_lines(file: &File, floor: u64, end: u64, lines: usize) -> io::Result<(u64, usize)> {
    if lines == 0 || floor >= end {
        return Ok((end, 0));
    }
    let mut block = vec![0; BLOCK];
    let mut found = 0;
    let mut block_end = end;
    // Where the line that is being measured ends.
    let mut line_end = end;
    while block_end > floor {
        let from = block_end.saturating_sub(BLOCK as u64).max(floor);
        let bytes = &mut block[..(block_end - from) as usize];
        file.read_exact_at(bytes, from)?;
        for (position, byte) in bytes.iter().enumerate().rev() {
            let at = from + position as u64;
            if (*byte == b'\n' && at + 1 < end) || line_end - at > PIECE as u64 {
                found += 1;
                line_end = at + 1;
                if found == lines {
                    return Ok((at + 1, found));
                }
            }
        }
        block_end = from;
    }
    Ok((floor, found + 1))
}

/// The first beginning of a line at or after `offset`.
fn after_line_end(file: &File, offset: u64, size: u64) -> io::Result<u64> {
    let mut from = offset.saturating_sub(1);
    if offset == 0 {
        return Ok(0);
    }
    let mut block = vec![0; BLOCK];
    while from < size {
        let read = file.read_at(&mut block, from)?;
        match block[..read].iter().position(|byte| *byte == b'\n') {
            Some(at) => return Ok(from + at as u64 + 1),
            None if read == 0 => break,
            None => from += read as u64,
        }
    }
    Ok(size)
}

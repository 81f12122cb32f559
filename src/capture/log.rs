//! One child's log file.

use std::cell::{Cell, Ref, RefCell};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::file::{Identity, open_own, shift};
use super::index::Index;
use crate::os::splice::{self, Moved as Spliced};

/// Most bytes moved by one call.
const CHUNK: usize = 256 * 1024;
/// Most bytes moved from one pipe before others get their turn. More than a pipe ever holds.
const TURN: usize = 1024 * 1024;
/// How much larger than wanted a file may become so that its last line is whole.
const SLACK: u64 = 1024 * 1024;
/// How far into the pipe the end of that line is looked for.
const SIGHT: usize = 64 * 1024;

/// A log file, rotated by size. All runs of a child, an old one that is still being drained included, share it.
///
/// What cannot be written stays in the pipe, and the child waits in its `write(2)`: the log is stalled then, until the
/// same move succeeds.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    limits: Cell<Limits>,
    current: RefCell<Option<Current>>,
    stalled: RefCell<Option<String>>,
    stalls: Cell<u64>,
    /// Another run's output begins.
    new_run: Cell<bool>,
    alarm: Rc<Notify>,
}

/// When a log is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A file that has become so large, in bytes, is followed by a new one at the next end of a line.
    pub max_size: u64,
    /// Rotated files kept beside the current one.
    pub max_files: u32,
}

/// How far moving a pipe's bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The pipe is empty now; this many bytes were moved.
    Empty(usize),
    /// There may be more.
    More,
    /// Nobody has the pipe open for writing any more, and it is empty.
    End,
}

/// The file that is written to at the moment.
#[derive(Debug)]
struct Current {
    file: File,
    identity: Identity,
    size: u64,
    /// Rotated when it has this size.
    full_at: u64,
    /// Without one, times are missing and nothing else.
    index: Option<Index>,
}

impl Log {
    /// Opens the file at its end, creating it and its folder where missing. `alarm` is rung whenever the log stalls or
    /// flows again, and when a pipe into it has come to its end.
    ///
    /// # Errors
    /// See [`open_own`]. A full disk is none: the log is stalled then.
    pub fn open(path: &Path, limits: Limits, alarm: Rc<Notify>) -> io::Result<Log> {
        let log = Log::unopened(path, limits, alarm);
        match log.look() {
            Err(error) if !is_full(&error) => Err(error),
            _ => Ok(log),
        }
    }

    /// The same without an error: what is wrong with the file now may be mended later. For a child that runs already.
    pub fn unopened(path: &Path, limits: Limits, alarm: Rc<Notify>) -> Log {
        Log {
            path: path.to_owned(),
            limits: Cell::new(limits),
            current: RefCell::new(None),
            stalled: RefCell::new(None),
            stalls: Cell::new(0),
            new_run: Cell::new(false),
            alarm,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on it is rotated by these.
    pub fn limit(&self, limits: Limits) {
        if self.limits.replace(limits) != limits
            && let Some(current) = &mut *self.current.borrow_mut()
        {
            current.full_at = limits.max_size;
        }
    }

    /// Why output waits, while it does.
    pub fn stalled(&self) -> Option<Ref<'_, str>> {
        Ref::filter_map(self.stalled.borrow(), Option::as_deref).ok()
    }

    /// How many times output had to wait so far.
    pub fn stalls(&self) -> u64 {
        self.stalls.get()
    }

    /// From now on the log is another run's too: what is taken from now on has a time that is not earlier than now.
    pub(super) fn begin_run(&self) {
        self.new_run.set(true);
    }

    pub(super) fn ring(&self) {
        self.alarm.notify_one();
    }

    /// Moves what the pipe holds into the file, at most a turn's worth.
    ///
    /// # Errors
    /// The file cannot take more (disk full, a link in its place); the bytes stay in the pipe.
    pub fn take(&self, pipe: BorrowedFd<'_>) -> io::Result<Moved> {
        let moved = self.look().and_then(|()| self.fill(pipe));
        self.judge(&moved);
        moved
    }

    fn fill(&self, pipe: BorrowedFd<'_>) -> io::Result<Moved> {
        let mut current = self.current.borrow_mut();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let mut total = 0;
        while total < TURN {
            let Some(file) = &mut *current else { return Err(ErrorKind::NotFound.into()) };
            let room = file.room(pipe);
            if room == 0 {
                *current = Some(self.rotate(file)?);
                continue;
            }
            if let Some(index) = &mut file.index {
                if self.new_run.take() {
                    index.part();
                }
                // A full disk costs times first.
                let _ = index.note(file.size, now);
            }
            let spliced = match splice::pipe_to_file(pipe, file.file.as_fd(), room) {
                // A limit on file size that is lower than ours.
                Err(error) if error.kind() == ErrorKind::FileTooLarge && file.size > 0 => {
                    let next = self.rotate(file)?;
                    if next.identity == file.identity {
                        return Err(error);
                    }
                    *current = Some(next);
                    continue;
                }
                spliced => spliced?,
            };
            match spliced {
                Spliced::Bytes(bytes) => {
                    file.size += bytes as u64;
                    total += bytes;
                }
                Spliced::Nothing => return Ok(Moved::Empty(total)),
                Spliced::End => return Ok(Moved::End),
            }
        }
        Ok(Moved::More)
    }

    fn judge(&self, moved: &io::Result<Moved>) {
        let was_stalled = self.stalled.borrow().is_some();
        match moved {
            Err(error) if !was_stalled => {
                let reason = format!("cannot write {}: {error}", self.path.display());
                self.stalls.set(self.stalls.get() + 1);
                *self.stalled.borrow_mut() = Some(reason);
                self.ring();
            }
            Ok(Moved::Empty(1..) | Moved::More | Moved::End) if was_stalled => {
                *self.stalled.borrow_mut() = None;
                self.ring();
            }
            _ => {}
        }
    }

    /// Makes sure that what is held is what is at the path: somebody may have removed, moved or emptied the file. One
    /// call of `lstat(2)` a batch, so that nothing goes to a file that nobody sees.
    fn look(&self) -> io::Result<()> {
        let mut current = self.current.borrow_mut();
        let seen = fs::symlink_metadata(&self.path).ok();
        match (&mut *current, seen) {
            (Some(current), Some(seen)) if current.identity == Identity::of(&seen) => {
                if current.size != seen.len() {
                    current.size = current.file.seek(SeekFrom::End(0))?;
                    current.index = Index::open(&self.path, current.identity.inode, current.size).ok();
                }
            }
            _ => *current = Some(self.open_current()?),
        }
        Ok(())
    }

    fn open_current(&self) -> io::Result<Current> {
        let mut file = open_own(&self.path)?;
        let identity = Identity::of(&file.metadata()?);
        let size = file.seek(SeekFrom::End(0))?;
        let index = Index::open(&self.path, identity.inode, size).ok();
        Ok(Current { file, identity, size, full_at: self.limits.get().max_size, index })
    }

    /// The next file. If the names cannot be changed, the present one grows on, and it is tried again later.
    fn rotate(&self, full: &Current) -> io::Result<Current> {
        let Limits { max_size, max_files } = self.limits.get();
        if let Err(error) = shift(&self.path, max_files) {
            tracing::warn!(path = %self.path.display(), %error, "cannot rotate a log");
        }
        let next = self.open_current()?;
        let full_at = if next.identity == full.identity { full.size + max_size } else { max_size };
        Ok(Current { full_at, ..next })
    }
}

impl Current {
    /// How many bytes to move next; 0: the file is full.
    fn room(&self, pipe: BorrowedFd<'_>) -> usize {
        if let Some(left) = self.full_at.checked_sub(self.size).filter(|left| *left > 0) {
            return usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        }
        if self.size >= self.full_at.saturating_add(SLACK) || self.ends_a_line() {
            return 0;
        }
        line_end(pipe).unwrap_or(SIGHT)
    }

    fn ends_a_line(&self) -> bool {
        let mut last = [0];
        let Some(at) = self.size.checked_sub(1) else { return true };
        self.file.read_exact_at(&mut last, at).is_ok() && last == *b"\n"
    }
}

/// How many bytes of the pipe belong to the line that it begins with; `None`: more than can be seen.
fn line_end(pipe: BorrowedFd<'_>) -> Option<usize> {
    let mut seen = vec![0; SIGHT];
    let len = splice::peek(pipe, &mut seen).ok()?;
    Some(seen.get(..len)?.iter().position(|byte| *byte == b'\n')? + 1)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

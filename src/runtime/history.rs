//! The file of past exits: one JSON object a line, kept over launchers.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::capture::{open_own_for_appending, shift};
use crate::control::{HISTORY, PastExitJson};

/// A file that has become so large is followed by a new one ...
const MAX_SIZE: u64 = 4 * 1024 * 1024;
/// ... and so many are kept beside it.
const MAX_FILES: u32 = 1;
/// Most bytes of lines that wait for a disk that is full. Past half of it they go without the output that belongs to them.
const MAX_UNWRITTEN: usize = 1024 * 1024;
/// Pause before the file is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The history of one project.
pub(super) struct History {
    path: PathBuf,
    file: Option<File>,
    /// Not before, because the last attempt failed.
    retry_at: Option<Instant>,
}

impl History {
    /// The history in this folder. Nothing is opened before something has ended.
    pub(super) fn new(log_dir: &Path) -> History {
        History { path: log_dir.join(HISTORY), file: None, retry_at: None }
    }

    /// How long lines that wait are not to be tried again.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        self.retry_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Appends lines. `false`: they are not in the file, and are to be kept for another attempt.
    pub(super) fn write(&mut self, lines: &[&[String]]) -> bool {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        let bytes: Vec<u8> =
            lines.iter().copied().flatten().flat_map(|line| line.bytes().chain(*b"\n")).collect();
        let written = self.append(&bytes);
        let path = self.path.display();
        match &written {
            Ok(()) if self.retry_at.is_some() => tracing::info!(%path, "the history is written again"),
            Ok(()) => {}
            Err(error) if self.retry_at.is_none() => {
                tracing::warn!(%path, %error, "cannot write the history; exits wait in memory");
            }
            Err(_) => {}
        }
        self.retry_at = written.is_err().then(|| Instant::now() + RETRY);
        written.is_ok()
    }

    /// The next attempt is made at once.
    pub(super) fn retry_now(&mut self) {
        self.retry_at = self.retry_at.map(|_| Instant::now());
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let present = self.file.take().filter(|file| is_at(file, &self.path));
        let mut file = match present {
            Some(file) => file,
            None => open_own_for_appending(&self.path)?,
        };
        if file.metadata()?.len() >= MAX_SIZE {
            file = self.next_file()?;
        }
        match append_whole(&mut file, bytes) {
            // A limit on file size that is lower than ours.
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {
                file = self.next_file()?;
                append_whole(&mut file, bytes)?;
            }
            other => other?,
        }
        self.file = Some(file);
        Ok(())
    }

    fn next_file(&self) -> io::Result<File> {
        shift(&self.path, MAX_FILES)?;
        open_own_for_appending(&self.path)
    }
}

/// The line of an exit.
pub(super) fn line(exit: &PastExitJson) -> String {
    // Our shapes have string keys and finite numbers, so this cannot fail.
    serde_json::to_string(exit).unwrap_or_default()
}

/// The lines of these exits that there is room for beside those that wait already; those for which there is none are told.
pub(super) fn to_keep(waiting: &[String], exits: &[PastExitJson]) -> Vec<String> {
    let mut taken: usize = waiting.iter().map(String::len).sum();
    let mut kept = Vec::new();
    for exit in exits {
        let mut text = line(exit);
        if taken + text.len() > MAX_UNWRITTEN / 2 {
            text = line(&PastExitJson { log_tail: Vec::new(), ..exit.clone() });
        }
        if taken + text.len() > MAX_UNWRITTEN {
            tracing::warn!(
                name = exit.name,
                run = exit.run,
                "an exit is in no history: too many wait for the disk"
            );
            continue;
        }
        taken += text.len();
        kept.push(text);
    }
    kept
}

/// All of it or nothing: half a record would make the next one unreadable.
fn append_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let size = file.metadata()?.len();
    let written = match ends_a_line(file, size)? {
        true => file.write_all(bytes),
        // Its writer was killed in the middle of it; the record comes again.
        false => file.write_all(b"\n").and_then(|()| file.write_all(bytes)),
    };
    if written.is_err() {
        let _ = file.set_len(size);
    }
    written
}

/// Whether an open file is still what its path names: it may have been moved or removed.
fn is_at(file: &File, path: &Path) -> bool {
    let same =
        |one: &fs::Metadata, other: &fs::Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    file.metadata().is_ok_and(|held| fs::symlink_metadata(path).is_ok_and(|named| same(&held, &named)))
}

fn ends_a_line(file: &File, size: u64) -> io::Result<bool> {
    let Some(at) = size.checked_sub(1) else { return Ok(true) };
    let mut last = [0];
    file.read_exact_at(&mut last, at)?;
    Ok(last == *b"\n")
}

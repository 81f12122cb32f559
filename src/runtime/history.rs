//! The file of past exits: one JSON object a line, kept over launchers.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::capture::{open_own_for_appending, shift};
use crate::control::{HISTORY, PastExitJson};

/// A file that has become so large is followed by a new one ...
const MAX_SIZE: u64 = 4 * 1024 * 1024;
/// ... and so many are kept beside it.
const MAX_FILES: u32 = 1;
/// Most bytes that wait for a disk that is full.
const MAX_WAITING: usize = 1024 * 1024;

/// The history of one project.
pub(super) struct History {
    path: PathBuf,
    file: Option<File>,
    /// What could not be written yet.
    waiting: Vec<u8>,
}

impl History {
    /// The history in this folder. Nothing is opened before something has ended.
    pub(super) fn new(log_dir: &Path) -> History {
        History { path: log_dir.join(HISTORY), file: None, waiting: Vec::new() }
    }

    /// Adds records. If that fails they are kept, within limits, and tried again with the next ones.
    pub(super) fn append(&mut self, exits: &[PastExitJson]) {
        for exit in exits {
            // Our shapes have string keys and finite numbers, so this cannot fail.
            let Ok(line) = serde_json::to_vec(exit) else { continue };
            if self.waiting.len() + line.len() < MAX_WAITING {
                self.waiting.extend_from_slice(&line);
                self.waiting.push(b'\n');
            }
        }
        match self.write() {
            Ok(()) => self.waiting.clear(),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot write the history");
                self.file = None;
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open_own_for_appending(&self.path)?,
        };
        let mut size = file.metadata()?.len();
        if size >= MAX_SIZE {
            shift(&self.path, MAX_FILES)?;
            file = open_own_for_appending(&self.path)?;
            size = file.metadata()?.len();
        }
        if !ends_a_line(&file, size)? {
            // Its writer was killed in the middle of it; the record comes again.
            file.write_all(b"\n")?;
        }
        if let Err(error) = file.write_all(&self.waiting) {
            // Half a record would make the next one unreadable.
            let _ = file.set_len(size);
            return Err(error);
        }
        self.file = Some(file);
        Ok(())
    }
}

fn ends_a_line(file: &File, size: u64) -> io::Result<bool> {
    let Some(at) = size.checked_sub(1) else { return Ok(true) };
    let mut last = [0];
    file.read_exact_at(&mut last, at)?;
    Ok(last == *b"\n")
}

//! One child's log file.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::os::splice::{self, Moved as Spliced};

/// Most bytes moved by one call: what a pipe holds by default.
const CHUNK: usize = 64 * 1024;
/// Most bytes moved from one pipe before others get their turn.
const TURN: usize = 16 * CHUNK;

/// A log file, rotated by size. All runs of a child, an old one that is still being drained included, share it.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    max_size: u64,
    max_files: u32,
    file: RefCell<File>,
    size: Cell<u64>,
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

impl Log {
    /// Opens the file at its end, creating it (0640) and its folder (0750) where missing.
    ///
    /// # Errors
    /// It cannot be opened, or is not a plain file of its own: a symlink, a FIFO or a hard link is refused, because whoever
    /// made it could have the output land elsewhere.
    pub fn open(path: &Path, max_size: u64, max_files: u32) -> io::Result<Log> {
        let file = open_file(path)?;
        let size = file.metadata()?.len();
        Ok(Log {
            path: path.to_owned(),
            max_size,
            max_files,
            file: RefCell::new(file),
            size: Cell::new(size),
        })
    }

    /// Moves what the pipe holds into the file, at most a turn's worth.
    ///
    /// # Errors
    /// The file cannot take more (disk full); the bytes stay in the pipe.
    pub fn take(&self, pipe: BorrowedFd<'_>) -> io::Result<Moved> {
        let mut moved = 0;
        while moved < TURN {
            let room = self.room()?;
            match splice::pipe_to_file(pipe, self.file.borrow().as_fd(), room)? {
                Spliced::Bytes(bytes) => {
                    moved += bytes;
                    self.size.set(self.size.get() + bytes as u64);
                }
                Spliced::Nothing => return Ok(Moved::Empty(moved)),
                Spliced::End => return Ok(Moved::End),
            }
        }
        Ok(Moved::More)
    }

    /// Bytes the present file may take at once; a full one is rotated first.
    fn room(&self) -> io::Result<usize> {
        if self.size.get() >= self.max_size && self.max_files > 0 {
            self.rotate()?;
        }
        let room = self.max_size.saturating_sub(self.size.get()).max(1);
        Ok(usize::try_from(room).unwrap_or(CHUNK).min(CHUNK))
    }

    /// `NAME.log` becomes `NAME.log.1`, that becomes `.2`, and so on; what would exceed the count is removed.
    fn rotate(&self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{number}"));
            PathBuf::from(path)
        };
        for number in (1..self.max_files).rev() {
            ignore_missing(std::fs::rename(numbered(number), numbered(number + 1)))?;
        }
        ignore_missing(std::fs::rename(&self.path, numbered(1)))?;
        *self.file.borrow_mut() = open_file(&self.path)?;
        self.size.set(0);
        Ok(())
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Not O_APPEND: `splice(2)` refuses it. Only one process ever writes: the supervisor process that holds the keeper's socket.
fn open_file(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o750)
            .create(folder)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(io::Error::other(
            "it is not a plain file of its own (a link or special file); remove it",
        ));
    }
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

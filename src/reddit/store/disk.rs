//! Every change of a store's files, one function each: what a power failure may undo, tear or put in another order until
//! it is synced. Tests note the changes and make every state that a failure could leave.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// One change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    /// A new and empty file of that name.
    Create,
    /// Bytes from that place on.
    Write(u64, &'a [u8]),
    /// A file of that length.
    SetLength(u64),
    /// All of a file so far is on the disk.
    Sync,
    /// Another name.
    Rename(&'a Path),
    /// No name any more.
    Remove,
    /// All names of a directory so far are on the disk.
    SyncDir,
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Create => write!(f, "create"),
            Change::Write(at, bytes) => write!(f, "write {} bytes at {at} of", bytes.len()),
            Change::SetLength(length) => write!(f, "cut at {length}"),
            Change::Sync | Change::SyncDir => write!(f, "sync"),
            Change::Rename(to) => write!(f, "rename to {}", to.display()),
            Change::Remove => write!(f, "remove"),
        }
    }
}

/// A file that is written.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    path: PathBuf,
}

impl Output {
    /// A new file, empty even if there was one of that name.
    pub(super) fn create(path: PathBuf) -> io::Result<Output> {
        let open = || File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = noted(&path, Change::Create, open)?;
        Ok(Output { file, path })
    }

    /// A file that is there.
    pub(super) fn open(path: PathBuf) -> io::Result<Output> {
        Ok(Output { file: File::options().write(true).open(&path)?, path })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        noted(&self.path, Change::Write(at, bytes), || self.file.write_all_at(bytes, at))
    }

    pub(super) fn set_length(&self, length: u64) -> io::Result<()> {
        noted(&self.path, Change::SetLength(length), || self.file.set_len(length))
    }

    /// Waits until everything in it is on the disk. After an error nobody knows what is, and trying again would not tell.
    pub(super) fn sync(&self) -> io::Result<()> {
        noted(&self.path, Change::Sync, || self.file.sync_data())
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    noted(from, Change::Rename(to), || fs::rename(from, to))
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    noted(path, Change::Remove, || fs::remove_file(path))
}

/// Makes new names and removed ones durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    noted(dir, Change::SyncDir, || File::open(dir)?.sync_all())
}

#[cfg(not(test))]
fn noted<T>(path: &Path, change: Change<'_>, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let made = make();
    if let Err(error) = &made {
        tracing::debug!("{change} {}: {error}", path.display());
    }
    made
}

#[cfg(test)]
use super::power_cut::noted;

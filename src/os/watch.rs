//! Descriptors in the event loop.

#![allow(unsafe_code)] // tokio asks for a promise that only the type of the descriptor can keep.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a non-blocking descriptor for something to read, and for nothing else: each edge of a watched kind is a wake-up.
///
/// # Errors
/// The event loop cannot take one more, or the descriptor is of a kind that is always ready (a plain file).
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and the same for as long as it lives, and `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Tells when files change (`inotify(7)`).
#[derive(Debug)]
pub struct Changes {
    inotify: Inotify,
    readiness: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The user has too many of these, or no descriptor is left.
    pub fn new() -> io::Result<Changes> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let readiness = readable(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Changes { inotify, readiness })
    }

    /// Watches the file that is at `path` now, wherever it is moved, until it is deleted. Repeating it changes nothing.
    ///
    /// # Errors
    /// There is no file, or the user watches too many.
    pub fn add(&self, path: &Path) -> io::Result<()> {
        let wanted = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_DONT_FOLLOW;
        Ok(self.inotify.add_watch(path, wanted).map(drop)?)
    }

    /// Watches the directory that is at `path` now, until it is deleted, for names that go. Repeating it changes nothing.
    ///
    /// # Errors
    /// There is no directory, or the user watches too many.
    pub fn add_folder(&self, path: &Path) -> io::Result<()> {
        let wanted = AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_DONT_FOLLOW
            | AddWatchFlags::IN_ONLYDIR;
        Ok(self.inotify.add_watch(path, wanted).map(drop)?)
    }

    /// Returns when a watched file was written to, moved or deleted, or a name has gone, since the last call.
    ///
    /// # Errors
    /// Those of `read(2)`; not to be expected.
    pub async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.readiness.readable().await?;
            match self.inotify.read_events() {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EAGAIN) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

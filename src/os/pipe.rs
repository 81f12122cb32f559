//! Pipes for output (`pipe2(2)`).

use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Both ends of a pipe.
#[derive(Debug)]
pub struct Pipe {
    /// Non-blocking: whoever empties it has other things to do.
    pub read: OwnedFd,
    /// Blocking: the writer waits while it is full.
    pub write: OwnedFd,
}

/// A pipe for a child's output, both ends CLOEXEC.
///
/// Of the default size: larger ones are accounted to the user, and beyond a small total every new pipe of that user shrinks
/// to 8 KiB (`pipe-user-pages-soft`, pipe(7)).
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn for_output() -> nix::Result<Pipe> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(Pipe { read, write })
}

//! Writing to a person without ever waiting for one.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

/// Most bytes written at once: a pipe that is reported writable takes this many without blocking (`PIPE_BUF`).
const ATOMIC: usize = 4096;

/// A terminal's descriptor that can be written and not read, for a process that must not see what is typed; `None` if `fd`
/// is no terminal.
///
/// # Errors
/// Those of `open(2)`.
pub fn write_only(fd: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    if !nix::unistd::isatty(fd).unwrap_or(false) {
        return Ok(None);
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(Some(open(path.as_str(), flags, Mode::empty())?))
}

/// Writes `text` as far as it can be written without blocking (a terminal stopped by Ctrl-S, a pipe nobody reads).
/// Returns whether all of it went out.
///
/// # Errors
/// The descriptor is closed at the other end, or broken.
pub fn write_now(fd: BorrowedFd<'_>, text: &[u8]) -> io::Result<bool> {
    for mut chunk in text.chunks(ATOMIC) {
        while !chunk.is_empty() {
            let mut polled = [PollFd::new(fd, PollFlags::POLLOUT)];
            if poll(&mut polled, PollTimeout::ZERO)? == 0 {
                return Ok(false);
            }
            let written = nix::unistd::write(fd.as_fd(), chunk)?;
            chunk = &chunk[written..];
        }
    }
    Ok(true)
}

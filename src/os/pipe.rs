//! Pipes for the output of children (`pipe(7)`).

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

/// A pipe: read end, which never waits, and write end, which does, as programs expect of their output.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn output() -> nix::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// What a pipe holds unless its user has too many already, in bytes.
pub const USUAL_SIZE: usize = 64 * 1024;

/// How many bytes it holds.
///
/// # Errors
/// Those of `fcntl(2)`; not to be expected.
pub fn size(pipe: BorrowedFd) -> nix::Result<usize> {
    Ok(fcntl(pipe, FcntlArg::F_GETPIPE_SZ)?.unsigned_abs() as usize)
}

/// How many pipes of the usual size an ordinary user may have; further ones are smaller. `None`: as many as it wants.
#[must_use]
pub fn usual_pipes() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").ok()?;
    let pages: usize = pages.trim().parse().ok()?;
    let bytes = pages.saturating_mul(page_size());
    (bytes > 0).then_some(bytes / USUAL_SIZE)
}

fn page_size() -> usize {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(4096)
}

/// Asks for a size in bytes and returns what the kernel granted (it rounds up to pages, 64 KiB is usual).
///
/// # Errors
/// `EPERM`: more than an ordinary user may have. An ordinary user whose pipes together exceed `pipe-user-pages-soft` gets
/// new pipes of 8 KiB only, the children's own included: enlarge few.
pub fn resize(pipe: BorrowedFd, bytes: usize) -> nix::Result<usize> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    Ok(fcntl(pipe, FcntlArg::F_SETPIPE_SZ(bytes))?.unsigned_abs() as usize)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_the_read_end_does_not_wait() {
        let (read, write) = output().unwrap();
        let flags = fcntl(&write, FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
        let (mut read, mut write) = (File::from(read), File::from(write));
        let mut byte = [0];
        assert_eq!(read.read(&mut byte).unwrap_err().kind(), ErrorKind::WouldBlock);
        write.write_all(b"x").unwrap();
        assert_eq!(read.read(&mut byte).unwrap(), 1);
    }

    #[test]
    fn a_size_is_granted_in_pages() {
        let (read, _write) = output().unwrap();
        assert!(size(read.as_fd()).unwrap() <= USUAL_SIZE);
        assert_eq!(resize(read.as_fd(), 10_000).unwrap(), 16_384);
    }
}

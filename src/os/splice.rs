//! Moving bytes from a pipe to a file inside the kernel (`splice(2)`): they are in the one or in the other, never in a
//! process that can be killed.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};

/// What one call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spliced {
    /// So many bytes moved.
    Bytes(usize),
    /// The pipe is empty.
    WouldBlock,
    /// The pipe is empty and nobody has its other end.
    End,
}

/// Moves at most `most` bytes to the file's position, without waiting for the pipe.
///
/// # Errors
/// The file's: `ENOSPC`, `EIO`, `EFBIG`, or `EINVAL` if it was opened with `O_APPEND`. Nothing is lost: the bytes stay in
/// the pipe.
pub fn pipe_to_file(pipe: BorrowedFd, file: BorrowedFd, most: usize) -> nix::Result<Spliced> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    loop {
        return match splice(pipe, None, file, None, most, flags) {
            Ok(0) => Ok(Spliced::End),
            Ok(bytes) => Ok(Spliced::Bytes(bytes)),
            Err(Errno::EAGAIN) => Ok(Spliced::WouldBlock),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(errno),
        };
    }
}

//! From a pipe into a file without passing through this process (`splice(2)`): what was not written is still in the pipe,
//! so a writer that is killed between the two loses nothing.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice, tee};
use nix::unistd::{pipe2, read, write};

use super::fallback;

/// What one move did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// This many bytes.
    Bytes(usize),
    /// The pipe is empty at the moment.
    Nothing,
    /// The pipe is empty and nobody can write to it any more.
    End,
}

/// Piece size of the path without splice.
const PIECE: usize = 16 * 1024;

/// Moves up to `most` bytes to the file's position. The file must not be open for appending; the pipe is not waited for.
///
/// Where the filesystem cannot splice, or a sandbox refuses the call, the bytes are copied: a piece leaves the pipe when it
/// is written. Where `tee(2)` is refused too it leaves before, and a write that fails loses the rest of it.
///
/// # Errors
/// Those of `write(2)`: `ENOSPC`, `EIO`. What was not moved is still in the pipe.
pub fn pipe_to_file(pipe: BorrowedFd, file: BorrowedFd, most: usize) -> io::Result<Moved> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    let moved = match fallback::forced("splice") {
        true => copy(pipe, file, most),
        false => match splice(pipe, None, file, None, most, flags) {
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => copy(pipe, file, most),
            moved => moved,
        },
    };
    match moved {
        Ok(0) => Ok(Moved::End),
        Ok(bytes) => Ok(Moved::Bytes(bytes)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Moved::Nothing),
        Err(errno) => Err(errno.into()),
    }
}

fn copy(pipe: BorrowedFd, file: BorrowedFd, most: usize) -> nix::Result<usize> {
    let mut piece = [0; PIECE];
    let place = piece.get_mut(..most.min(PIECE)).unwrap_or_default();
    match peek(pipe, place) {
        Ok(seen @ 1..) => {
            let written = write(file, place.get(..seen).unwrap_or_default())?;
            read(pipe, place.get_mut(..written).unwrap_or_default())
        }
        // Empty or at its end, which only reading tells apart; or it cannot be looked into.
        Ok(0) | Err(_) => {
            let len = read(pipe, place)?;
            write_all(file, place.get(..len).unwrap_or_default()).map(|()| len)
        }
    }
}

fn write_all(file: BorrowedFd, mut rest: &[u8]) -> nix::Result<()> {
    while !rest.is_empty() {
        let written = write(file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Copies what the pipe holds into `buffer`, as far as it fits, and leaves it in the pipe (`tee(2)`). 0: it is empty, or
/// at its end.
///
/// # Errors
/// No descriptors are left, or the kernel cannot do it.
pub fn peek(pipe: BorrowedFd, buffer: &mut [u8]) -> nix::Result<usize> {
    let (copy, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
    match tee(pipe, &into, buffer.len(), flags) {
        Ok(0) | Err(Errno::EAGAIN) => Ok(0),
        Ok(_) => read(&copy, buffer),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::fd::AsFd;

    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::poll::{PollFd, PollFlags, poll};
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;
    use crate::os::pipe;

    #[test]
    fn everything_arrives_in_order_and_the_end_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (read, write) = pipe::output().unwrap();
        let mut write = File::from(write);
        assert_eq!(pipe_to_file(read.as_fd(), file.as_fd(), 100).unwrap(), Moved::Nothing);
        write.write_all(b"one two").unwrap();
        assert_eq!(pipe_to_file(read.as_fd(), file.as_fd(), 4).unwrap(), Moved::Bytes(4));
        assert_eq!(pipe_to_file(read.as_fd(), file.as_fd(), 100).unwrap(), Moved::Bytes(3));
        drop(write);
        // A process that another test is just starting may still hold a copy.
        poll(&mut [PollFd::new(read.as_fd(), PollFlags::empty())], 10_000_u16).unwrap();
        assert_eq!(pipe_to_file(read.as_fd(), file.as_fd(), 100).unwrap(), Moved::End);
        assert_eq!(fs::read(file.path()).unwrap(), b"one two");
    }

    #[test]
    fn a_look_into_the_pipe_takes_nothing_out() {
        let (read, write) = pipe::output().unwrap();
        let mut buffer = [0; 4];
        assert_eq!(peek(read.as_fd(), &mut buffer), Ok(0));
        let mut write = File::from(write);
        write.write_all(b"seen").unwrap();
        for _ in 0..2 {
            assert_eq!((peek(read.as_fd(), &mut buffer), &buffer), (Ok(4), b"seen"));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(pipe_to_file(read.as_fd(), file.as_fd(), 100).unwrap(), Moved::Bytes(4));
    }

    #[test]
    fn a_file_open_for_appending_is_copied_to() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let appending = File::options().append(true).open(file.path()).unwrap();
        let (read, write) = pipe::output().unwrap();
        File::from(write).write_all(&[7; 40_000]).unwrap();
        let mut total = 0;
        while let Moved::Bytes(bytes) = pipe_to_file(read.as_fd(), appending.as_fd(), 1 << 20).unwrap() {
            total += bytes;
        }
        assert_eq!(total, 40_000);
        assert_eq!(fs::read(file.path()).unwrap(), [7; 40_000]);
    }

    /// A file that must not grow refuses as a full disk does.
    #[test]
    fn what_is_refused_stays_in_the_pipe() {
        let full = memfd_create(c"full", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        fcntl(&full, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
        let (read, write) = pipe::output().unwrap();
        File::from(write).write_all(b"kept").unwrap();
        let refused = pipe_to_file(read.as_fd(), full.as_fd(), 100).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::EPERM as i32));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(pipe_to_file(read.as_fd(), file.as_fd(), 100).unwrap(), Moved::Bytes(4));
        assert_eq!(fs::read(file.path()).unwrap(), b"kept");
    }
}

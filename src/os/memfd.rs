//! A file without a name that lives as long as someone holds it (`memfd_create(2)`): what one process appends, its
//! successor reads. Costs memory only for what it contains.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// An append-only file in memory.
///
/// A process that is killed while it appends can leave the last piece cut off, so what is written must show its own
/// length. [`Memfd::truncate`] removes the cut piece.
#[derive(Debug)]
pub struct Memfd {
    file: File,
    len: u64,
}

impl Memfd {
    /// A new, empty one. The name shows in `/proc/PID/fd` only.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn create(name: &CStr) -> io::Result<Memfd> {
        Ok(Memfd { file: memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into(), len: 0 })
    }

    /// One that exists; goes on behind what it contains.
    ///
    /// # Errors
    /// It is no file.
    pub fn adopt(fd: OwnedFd) -> io::Result<Memfd> {
        let file = File::from(fd);
        let len = file.metadata()?.len();
        Ok(Memfd { file, len })
    }

    /// Appends one piece by one `pwrite(2)`.
    ///
    /// # Errors
    /// `ENOSPC`, `ENOMEM`: no memory is left; what was written of the piece is taken back.
    pub fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        match self.file.write_all_at(piece, self.len) {
            Ok(()) => {
                self.len += piece.len() as u64;
                Ok(())
            }
            Err(error) => {
                let _ = self.file.set_len(self.len);
                Err(error)
            }
        }
    }

    /// Everything in it.
    ///
    /// # Errors
    /// Those of `pread(2)`.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Forgets everything behind the first `len` bytes, and gives the memory back.
    ///
    /// # Errors
    /// Those of `ftruncate(2)`.
    pub fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.len = len;
        Ok(())
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl AsFd for Memfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_goes_on_where_the_first_one_ended() {
        let mut first = Memfd::create(c"journal").unwrap();
        assert!(first.is_empty());
        first.append(b"one ").unwrap();
        first.append(b"two ").unwrap();
        let copy = first.as_fd().try_clone_to_owned().unwrap();
        drop(first);

        let mut second = Memfd::adopt(copy).unwrap();
        assert_eq!(second.read_all().unwrap(), b"one two ");
        second.append(b"thr").unwrap();
        second.truncate(8).unwrap();
        second.append(b"three").unwrap();
        assert_eq!(second.read_all().unwrap(), b"one two three");
        assert_eq!(second.len(), 13);
    }
}

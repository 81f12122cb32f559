//! A file without a name that lives as long as someone holds it (`memfd_create(2)`): what one process writes, its successor
//! reads. Costs memory only for what it contains.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::uio::{pread, pwrite};

/// Bytes copied at a time.
const CHUNK: usize = 32 * 1024;

/// A new, empty one. The name shows in `/proc/PID/fd` only.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn create(name: &CStr) -> io::Result<OwnedFd> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?)
}

/// A new one with the same bytes as this file has now.
///
/// # Errors
/// Those of [`create`], `pread(2)` and `pwrite(2)`.
pub fn copy(file: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    copy_into(file, memfd_create(name, MFdFlags::MFD_CLOEXEC)?)
}

/// The same that nobody can change any more.
///
/// # Errors
/// As [`copy`].
pub fn sealed_copy(file: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let copy = copy_into(file, memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?)?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    Ok(copy)
}

fn copy_into(file: impl AsFd, copy: OwnedFd) -> io::Result<OwnedFd> {
    let mut buffer = [0; CHUNK];
    let mut at = 0;
    loop {
        let read = pread(&file, &mut buffer, at)?;
        let mut rest = buffer.get(..read).unwrap_or_default();
        if rest.is_empty() {
            return Ok(copy);
        }
        while !rest.is_empty() {
            let written = pwrite(&copy, rest, at)?;
            rest = rest.get(written..).unwrap_or_default();
            at += written.cast_signed() as i64;
        }
    }
}

/// Gives back the memory of these bytes; they read as zeros from now on, and the file keeps its length.
///
/// # Errors
/// Those of `fallocate(2)`; not to be expected of a file in memory.
pub fn release(file: impl AsFd, from: u64, to: u64) -> io::Result<()> {
    let whole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let (offset, length) = (from.cast_signed(), to.saturating_sub(from).cast_signed());
    if length == 0 { Ok(()) } else { Ok(fallocate(file, whole, offset, length)?) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_copy_is_independent_and_a_sealed_one_cannot_be_changed() {
        let file = File::from(create(c"test").unwrap());
        let bytes: Vec<u8> = (0..3 * CHUNK + 5).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        file.write_all_at(&bytes, 0).unwrap();
        let (copy, sealed) = (copy(&file, c"copy").unwrap(), sealed_copy(&file, c"sealed").unwrap());
        file.set_len(0).unwrap();
        for copied in [File::from(copy.try_clone().unwrap()), File::from(sealed.try_clone().unwrap())] {
            let mut read = vec![0; bytes.len()];
            copied.read_exact_at(&mut read, 0).unwrap();
            assert!(read == bytes && copied.metadata().unwrap().len() == bytes.len() as u64);
        }
        File::from(copy).write_all_at(b"x", 0).unwrap();
        let sealed = File::from(sealed);
        assert!(sealed.write_all_at(b"x", 0).is_err() && sealed.set_len(0).is_err());
    }

    #[test]
    fn released_bytes_cost_nothing_and_the_rest_stays() {
        let file = File::from(create(c"test").unwrap());
        file.write_all_at(&[1; 64 * 1024], 0).unwrap();
        let before = file.metadata().unwrap().blocks();
        release(&file, 0, 60 * 1024).unwrap();
        assert!(file.metadata().unwrap().blocks() < before);
        let mut byte = [9; 2];
        file.read_exact_at(&mut byte, 60 * 1024 - 1).unwrap();
        assert_eq!(byte, [0, 1]);
        release(&file, 5, 5).unwrap();
    }
}

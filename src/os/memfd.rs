//! A file without a name that lives as long as someone holds it (`memfd_create(2)`): what one process writes, its successor
//! reads. Costs memory only for what it contains.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A new, empty one. The name shows in `/proc/PID/fd` only.
///
/// # Errors
/// `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn create(name: &CStr) -> io::Result<OwnedFd> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?)
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

//! Directories, short files and short texts without allocating: for the keeper, which allocates nothing after its start.

#![allow(unsafe_code)] // A directory read into a buffer of ours; every libc and std listing allocates.

use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::read;

/// Calls `visit` for each entry of a directory whose name is a number.
pub(super) fn each_number(path: &str, mut visit: impl FnMut(i32) -> ControlFlow<()>) -> nix::Result<()> {
    let folder = open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    each_entry(folder.as_fd(), |name| {
        match std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) {
            Some(number) => visit(number),
            None => ControlFlow::Continue(()),
        }
    })
}

/// Calls `visit` with the name of each entry of a directory, from where its descriptor stands.
pub(super) fn each_entry(
    folder: BorrowedFd,
    mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> nix::Result<()> {
    let mut entries = Entries([0; 4096]);
    loop {
        let len = entries.fill(folder)?;
        if len == 0 {
            return Ok(());
        }
        let mut rest = entries.0.get(..len).unwrap_or_default();
        while let Some((name, next)) = entry(rest) {
            rest = next;
            if visit(name).is_break() {
                return Ok(());
            }
        }
    }
}

/// Calls `visit` for each number in a file of numbers, separated by spaces or newlines.
pub(super) fn each_number_in(file: BorrowedFd, mut visit: impl FnMut(i32)) -> nix::Result<()> {
    let mut buffer = [0; 4096];
    let mut number: Option<i32> = None;
    loop {
        let len = read(file, &mut buffer)?;
        for byte in buffer.iter().take(len) {
            match byte {
                b'0'..=b'9' => {
                    let digit = i32::from(byte - b'0');
                    number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
                }
                _ => number.take().into_iter().for_each(&mut visit),
            }
        }
        if len == 0 {
            number.into_iter().for_each(visit);
            return Ok(());
        }
    }
}

/// `struct linux_dirent64` (`getdents64(2)`): inode and offset, 8 bytes each, length of the record, type, name.
#[repr(C, align(8))]
struct Entries([u8; 4096]);

impl Entries {
    fn fill(&mut self, folder: BorrowedFd) -> nix::Result<usize> {
        let (buffer, size) = (self.0.as_mut_ptr(), self.0.len());
        // SAFETY: the kernel writes at most `size` bytes to a buffer of that size.
        let len = unsafe { libc::syscall(libc::SYS_getdents64, folder.as_raw_fd(), buffer, size) };
        Ok(Errno::result(len)?.unsigned_abs() as usize)
    }
}

/// The name of the first record, and the records after it.
fn entry(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = u16::from_ne_bytes(*records.get(16..)?.first_chunk()?);
    let (record, rest) = records.split_at_checked(usize::from(len).max(20))?;
    let name = record.get(19..)?.split(|byte| *byte == 0).next()?;
    Some((name, rest))
}

/// A short text on the stack; what does not fit is cut off.
pub(super) struct Text {
    bytes: [u8; 64],
    len: usize,
}

impl Default for Text {
    fn default() -> Text {
        Text { bytes: [0; 64], len: 0 }
    }
}

impl Text {
    pub(super) fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Write for Text {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let len = text.len().min(room.len());
        for (place, byte) in room.iter_mut().zip(text) {
            *place = *byte;
        }
        self.len += len;
        Ok(len)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_across_the_edge_of_a_buffer() {
        let numbers: Vec<i32> = (1..5_000).collect();
        let text: String = numbers.iter().map(|number| format!("{number}\n")).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text.trim_end()).unwrap();
        let mut found = Vec::new();
        each_number_in(file.reopen().unwrap().as_fd(), |number| found.push(number)).unwrap();
        assert_eq!(found, numbers);
    }
}

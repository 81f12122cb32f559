//! Who is below this process, read from /proc without allocating: for the keeper's last resorts.
//!
//! Not the process table: that one is for people and allocates.

#![allow(unsafe_code)] // A directory read into a buffer of ours; every libc and std listing allocates.

use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{Pid, read};

/// Calls `visit` for each child of this process, alive or not reaped yet. A process that is born or orphaned meanwhile may
/// be missed: look again until `wait::ended` answers `ECHILD`.
///
/// # Errors
/// `/proc` cannot be read.
pub fn each_child(mut visit: impl FnMut(Pid)) -> nix::Result<()> {
    let own = Pid::this();
    each_number("/proc", |number| {
        let pid = Pid::from_raw(number);
        if parent(pid) == Some(own) {
            visit(pid);
        }
        ControlFlow::Continue(())
    })
}

/// Whether a process has this file open, told by device and inode.
pub fn has_open(pid: Pid, file: &FileStat) -> bool {
    let mut found = false;
    let mut folder = Text::default();
    let _ = write!(folder, "/proc/{pid}/fd");
    let _ = each_number(folder.as_str(), |number| {
        let mut path = Text::default();
        let _ = write!(path, "/proc/{pid}/fd/{number}");
        match fstatat(AT_FDCWD, path.as_str(), AtFlags::empty()) {
            Ok(open) if (open.st_dev, open.st_ino) == (file.st_dev, file.st_ino) => {
                found = true;
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    });
    found
}

/// The fourth field of `/proc/PID/stat`; the second, the name, may contain anything up to its last parenthesis.
fn parent(pid: Pid) -> Option<Pid> {
    let mut path = Text::default();
    write!(path, "/proc/{pid}/stat").ok()?;
    let file = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; 256];
    let len = read(&file, &mut buffer).ok()?;
    let text = buffer.get(..len)?;
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(name_end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// Calls `visit` for each entry of a directory whose name is a number.
fn each_number(path: &str, mut visit: impl FnMut(i32) -> ControlFlow<()>) -> nix::Result<()> {
    let folder = open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut entries = Entries([0; 4096]);
    loop {
        let len = entries.fill(folder.as_fd())?;
        if len == 0 {
            return Ok(());
        }
        let mut rest = entries.0.get(..len).unwrap_or_default();
        while let Some((name, next)) = entry(rest) {
            rest = next;
            let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            if number.is_some_and(|number| visit(number).is_break()) {
                return Ok(());
            }
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

/// A short text on the stack.
struct Text {
    bytes: [u8; 64],
    len: usize,
}

impl Default for Text {
    fn default() -> Text {
        Text { bytes: [0; 64], len: 0 }
    }
}

impl Text {
    fn as_str(&self) -> &str {
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

/// Device and inode of an open file, to look for with [`has_open`].
///
/// # Errors
/// Those of `fstat(2)`; not to be expected.
pub fn identity(file: &OwnedFd) -> nix::Result<FileStat> {
    nix::sys::stat::fstat(file)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_and_what_it_holds_are_found() {
        let (read, write) = std::io::pipe().unwrap();
        let pipe = identity(&read.into()).unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(write).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let mut seen = false;
        each_child(|child| seen |= child == pid).unwrap();
        assert!(seen);
        assert!(has_open(pid, &pipe));
        let other = identity(&tempfile::tempfile().unwrap().into()).unwrap();
        assert!(!has_open(pid, &other));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!has_open(pid, &pipe));
        let mut seen = false;
        each_child(|child| seen |= child == pid).unwrap();
        assert!(!seen);
    }
}

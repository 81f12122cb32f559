//! Who is below this process, read from /proc without allocating: for the keeper's last resorts.
//!
//! Not the process table: that one is for people and allocates.

use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{Pid, read};

use super::listing::{Text, each_number};

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

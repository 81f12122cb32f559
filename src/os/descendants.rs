//! Who is below this process, read from /proc without allocating: for the keeper's last resorts.
//!
//! Not the process table: that one is for people and allocates.

use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{Pid, read};

use super::listing::{Text, each_number, each_number_in};

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

/// As [`each_child`], for the children of the calling thread (the keeper has one), and cheaper: also with a thousand others
/// on the machine. Where the kernel has no such list, it is [`each_child`].
///
/// # Errors
/// `/proc` cannot be read.
pub fn each_own_child(mut visit: impl FnMut(Pid)) -> nix::Result<()> {
    match open("/proc/thread-self/children", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(list) => each_number_in(list.as_fd(), |number| visit(Pid::from_raw(number))),
        Err(_) => each_child(visit),
    }
}

/// Processes below this one that were there before it became a launcher, as in a script that does
/// `sidecar & exec provost up`: they are not its own.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(Pid, u64)>);

impl Inherited {
    /// Everyone below this process now. The first process of a PID namespace has none: it ends everything.
    pub fn find() -> Inherited {
        let own = Pid::this();
        let mut found = Inherited::default();
        if own.as_raw() == 1 {
            return found;
        }
        let mut parents = Vec::new();
        let _ = each_number("/proc", |number| {
            let pid = Pid::from_raw(number);
            parents.extend(parent(pid).map(|parent| (parent, pid)));
            ControlFlow::Continue(())
        });
        let mut line = vec![own];
        while let Some(above) = line.pop() {
            for (_, pid) in parents.iter().filter(|(parent, _)| *parent == above) {
                line.push(*pid);
                found.0.extend(glance(*pid).map(|glance| (*pid, glance.start_ticks)));
            }
        }
        found
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this child of ours, which is not reaped, is one of them. Allocates nothing.
    pub fn contain(&self, pid: Pid) -> bool {
        let is_same = |(known, start)| known == pid && glance(pid).is_some_and(|it| it.start_ticks == start);
        self.0.iter().any(|known| is_same(*known))
    }

    /// Whether it is one of them or was forked by one. For a launcher all of whose own children have sessions of their own:
    /// who stands in the launcher's came from one of them. Allocates nothing.
    pub fn contain_family_of(&self, pid: Pid) -> bool {
        let in_our_session = || {
            let own = nix::unistd::getsid(None).ok();
            own.is_some_and(|own| glance(pid).is_some_and(|glance| glance.session == own))
        };
        !self.0.is_empty() && (self.contain(pid) || in_our_session())
    }
}

/// Whether a process has ended and waits to be reaped, its session, when it began, and its name in the process table.
pub fn glance(pid: Pid) -> Option<Glance> {
    let mut buffer = [0; STAT];
    let text = stat(pid, &mut buffer)?;
    let name_start = text.iter().position(|byte| *byte == b'(')? + 1;
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let is_zombie = matches!(state, 'Z' | 'X');
    let session = fields.nth(2)?.parse().ok().map(Pid::from_raw)?;
    let start_ticks = fields.nth(15)?.parse().ok()?;
    let mut name = [0; 15];
    for (place, byte) in name.iter_mut().zip(text.get(name_start..name_end)?) {
        *place = *byte;
    }
    Some(Glance { state, is_zombie, session, start_ticks, name })
}

/// What [`glance`] sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Its state.
    pub state: char,
    /// It has ended.
    pub is_zombie: bool,
    /// Its session.
    pub session: Pid,
    /// When it began, in ticks since the boot: with its number it names it.
    pub start_ticks: u64,
    /// Its name, filled up with zeros.
    pub name: [u8; 15],
}

/// Whether a process runs the program that it was forked with (`PF_FORKNOEXEC`); also told of one that is not reaped yet.
///
/// # Errors
/// `/proc` cannot be read.
pub fn never_executed(pid: Pid) -> nix::Result<bool> {
    const FORKED_NO_EXEC: u64 = 0x40;
    let mut buffer = [0; STAT];
    let text = read_stat(pid, &mut buffer)?;
    let name_end = text.iter().rposition(|byte| *byte == b')').ok_or(Errno::EIO)?;
    let rest = text.get(name_end + 1..).and_then(|rest| std::str::from_utf8(rest).ok()).ok_or(Errno::EIO)?;
    let flags = rest.split_ascii_whitespace().nth(6).and_then(|flags| flags.parse::<u64>().ok());
    flags.map(|flags| flags & FORKED_NO_EXEC != 0).ok_or(Errno::EIO)
}

/// Whether a process was started with this entry (`NAME=value`) in its environment. `false` also if that may not be read.
pub fn started_with(pid: Pid, entry: &[u8]) -> bool {
    let mut path = Text::default();
    let _ = write!(path, "/proc/{pid}/environ");
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let Ok(file) = open(path.as_str(), flags, Mode::empty()) else { return false };
    let mut buffer = [0; 1024];
    // How much of the entry this one begins with; `None`: it is another one.
    let mut same = Some(0);
    while let Ok(len @ 1..) = read(&file, &mut buffer) {
        for byte in buffer.iter().take(len) {
            same = match same {
                Some(count) if *byte == 0 && count == entry.len() => return true,
                _ if *byte == 0 => Some(0),
                Some(count) if entry.get(count) == Some(byte) => Some(count + 1),
                _ => None,
            };
        }
    }
    same == Some(entry.len())
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
    let mut buffer = [0; STAT];
    let text = stat(pid, &mut buffer)?;
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(name_end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// Enough of `/proc/PID/stat` for its first 22 fields.
const STAT: usize = 512;

/// The beginning of `/proc/PID/stat`.
fn stat(pid: Pid, buffer: &mut [u8; STAT]) -> Option<&[u8]> {
    read_stat(pid, buffer).ok()
}

fn read_stat(pid: Pid, buffer: &mut [u8; STAT]) -> nix::Result<&[u8]> {
    let mut path = Text::default();
    write!(path, "/proc/{pid}/stat").map_err(|_| Errno::ENAMETOOLONG)?;
    let file = open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let len = read(&file, buffer)?;
    buffer.get(..len).ok_or(Errno::EIO)
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
    use std::time::{Duration, Instant};

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

    #[test]
    fn name_session_and_environment_of_a_child_are_seen() {
        let value = "x".repeat(5_000);
        let mut command = Command::new("cat");
        command.env("PROVOST_LONG", &value).env("PROVOST_MARK", "1.2.3").stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let mut seen = false;
        each_own_child(|child| seen |= child == pid).unwrap();
        assert!(seen);
        // Spawning returns when exec has begun; name and environment come a moment later.
        let end = Instant::now() + Duration::from_secs(20);
        while !started_with(pid, b"PROVOST_MARK=1.2.3") {
            assert!(Instant::now() < end, "its environment is not seen");
            std::thread::yield_now();
        }
        let glance = glance(pid).unwrap();
        assert!(!glance.is_zombie && glance.name.starts_with(b"cat\0"), "{glance:?}");
        assert_eq!(glance.session, nix::unistd::getsid(None).unwrap());
        for (entry, expected) in
            [("PROVOST_MARK=1.2.3", true), ("PROVOST_MARK=1.2", false), ("ROVOST_MARK=1.2.3", false)]
        {
            assert_eq!(started_with(pid, entry.as_bytes()), expected, "{entry}");
        }
        assert!(started_with(pid, format!("PROVOST_LONG={value}").as_bytes()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!started_with(pid, b"PROVOST_MARK=1.2.3"));
    }
}

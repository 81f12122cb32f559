//! Processes that a launcher which is dead has left behind, told by the environment they were started with.
//!
//! A number is never enough: each process is held by descriptor, and looked at once more while it is held, before it is
//! killed. Who has emptied its environment, or may not be looked at, is not found.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::digest;
use super::pidfd;
use super::proc::{self, Process};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many were killed and are gone.
    pub gone: usize,
    /// How many are still there: not ours to kill, or stuck in the kernel.
    pub left: usize,
}

/// The environment a process was started with.
#[derive(Debug)]
pub struct Environment(Vec<u8>);

impl Environment {
    /// Of this process; empty if it may not be read.
    #[must_use]
    pub fn of(pid: i32) -> Environment {
        Environment(std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default())
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let entries = self.0.split(|byte| *byte == 0);
        entries.filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next()
    }
}

/// Names one launcher among all there ever were on this machine: in its environment, a process carries whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    pid: i32,
    start_ticks: u64,
    /// The boot, the PID namespace and the user: where the number means that process.
    place: u64,
}

impl Launch {
    /// This process, as a launcher.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn own() -> io::Result<Launch> {
        let own = Process::read(std::process::id().cast_signed()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Launch { pid: own.pid, start_ticks: own.start_ticks, place: place()? })
    }

    /// What a process carries, as [`Launch`]'s `Display` writes it.
    pub fn parse(text: &[u8]) -> Option<Launch> {
        let mut fields = std::str::from_utf8(text).ok()?.split('-');
        let (pid, start_ticks) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let place = u64::from_str_radix(fields.next()?, 16).ok()?;
        fields.next().is_none().then_some(Launch { pid, start_ticks, place })
    }

    /// Whether it was a launcher of this user, in this boot and PID namespace, and has ended.
    pub fn is_dead(self) -> bool {
        let lives = || {
            let process = Process::read(self.pid).filter(|process| !matches!(process.state, 'Z' | 'X'));
            process.is_some_and(|process| process.start_ticks == self.start_ticks)
        };
        place().is_ok_and(|place| place == self.place) && !lives()
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:016x}", self.pid, self.start_ticks, self.place)
    }
}

fn place() -> io::Result<u64> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let namespace = std::fs::read_link("/proc/self/ns/pid")?;
    let text = format!("{} {} {}", boot.trim(), namespace.display(), nix::unistd::geteuid());
    Ok(digest::stable(text.as_bytes()))
}

/// Kills every process whose environment tells that it is left over, and waits until they are gone, at most for `limit`.
/// Looks again until none is found, since the dying may have forked. This process and those above it are spared.
///
/// # Errors
/// `/proc` cannot be read.
pub fn remove(is_left: impl Fn(&Environment) -> bool, limit: Duration) -> io::Result<Removed> {
    let end = Instant::now() + limit;
    let spared = own_line();
    let mut gone = BTreeSet::new();
    loop {
        let found = find(&is_left, &spared)?;
        for (process, held) in &found {
            // An error shows in that it stays.
            let _ = pidfd::signal(held.as_fd(), Signal::SIGKILL as i32);
            let left = end.saturating_duration_since(Instant::now());
            if pidfd::wait(held.as_fd(), left)? {
                gone.insert((process.pid, process.start_ticks));
            }
        }
        if found.is_empty() || Instant::now() >= end {
            let left =
                found.iter().filter(|(process, _)| !gone.contains(&(process.pid, process.start_ticks)));
            return Ok(Removed { gone: gone.len(), left: left.count() });
        }
    }
}

fn find(
    is_left: impl Fn(&Environment) -> bool,
    spared: &BTreeSet<i32>,
) -> io::Result<Vec<(Process, OwnedFd)>> {
    let mut found = Vec::new();
    for pid in proc::pids()?.into_iter().filter(|pid| !spared.contains(pid)) {
        if !is_left(&Environment::of(pid)) {
            continue;
        }
        let Some(before) = Process::read(pid) else { continue };
        let Ok(held) = pidfd::open(Pid::from_raw(pid)) else { continue };
        let same = Process::read(pid).is_some_and(|now| now.same_process(&before));
        if same && is_left(&Environment::of(pid)) {
            found.push((before, held));
        }
    }
    Ok(found)
}

/// This process and everyone above it.
fn own_line() -> BTreeSet<i32> {
    let mut line = BTreeSet::new();
    let mut pid = std::process::id().cast_signed();
    while pid > 0 && line.insert(pid) {
        pid = Process::read(pid).map_or(0, |process| process.ppid);
    }
    line
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Dropped, it is killed.
    struct Started(Child);

    impl Drop for Started {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(script: &str, mark: &str) -> Started {
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("PROVOST_TEST_MARK", mark).stdin(Stdio::null());
        Started(command.spawn().unwrap())
    }

    #[test]
    fn those_who_carry_the_mark_are_removed_with_what_they_forked_and_others_live() {
        let mark = format!("{} one", std::process::id());
        let marked_so =
            |environment: &Environment| environment.get("PROVOST_TEST_MARK") == Some(mark.as_bytes());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!(
            "setsid sh -c 'echo $$ > {0}; exec tail -f /dev/null' & exec tail -f /dev/null",
            file.display()
        );
        let mut marked = start(&script, &mark);
        let mut longer = start("exec tail -f /dev/null", &format!("{mark} more"));
        let end = Instant::now() + Duration::from_secs(10);
        let forked = loop {
            assert!(Instant::now() < end);
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some(number) = text.strip_suffix('\n') {
                break number.parse::<i32>().unwrap();
            }
            std::thread::yield_now();
        };
        assert_eq!(remove(marked_so, Duration::from_secs(10)).unwrap(), Removed { gone: 2, left: 0 });
        marked.0.wait().unwrap();
        let state = Process::read(forked).map(|process| process.state);
        assert!(matches!(state, None | Some('Z' | 'X')), "{state:?}");
        assert_eq!(
            longer.0.try_wait().unwrap(),
            None,
            "a value that only begins alike was taken for the mark"
        );
        assert_eq!(remove(marked_so, Duration::ZERO).unwrap(), Removed::default());
    }

    #[test]
    fn a_launcher_is_dead_when_its_process_has_ended_and_lived_where_we_do() {
        let own = Launch::own().unwrap();
        assert_eq!(Launch::parse(own.to_string().as_bytes()), Some(own));
        assert!(!own.is_dead());
        // The number is another process's now.
        let reused = Launch { start_ticks: own.start_ticks + 1, ..own };
        assert!(reused.is_dead());
        // Another boot, another PID namespace or another user.
        assert!(!Launch { place: own.place + 1, ..reused }.is_dead());
        let mut ended = Command::new("true").spawn().unwrap();
        let pid = ended.id().cast_signed();
        let start_ticks = Process::read(pid).unwrap().start_ticks;
        ended.wait().unwrap();
        assert!(Launch { pid, start_ticks, ..own }.is_dead());
        for text in ["", "1", "1-2", "1-2-x", "1-2-3-4", "1.2.3"] {
            assert_eq!(Launch::parse(text.as_bytes()), None, "{text}");
        }
    }
}

//! Processes that somebody who is dead has left behind, told by a variable in the environment they were started with.
//!
//! A number is never enough: each process is held by descriptor, and looked at once more while it is held, before it is
//! killed. Who has emptied its environment, or may not be looked at, is not found.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

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

/// Kills every process that was started with `pair` (`NAME=value`, exactly) in its environment, and waits until they are gone,
/// at most for `limit`. Looks again until none is found, since the dying may have forked. This process and those above it are
/// spared.
///
/// # Errors
/// `/proc` cannot be read.
pub fn remove(pair: &[u8], limit: Duration) -> io::Result<Removed> {
    let end = Instant::now() + limit;
    let spared = own_line();
    let mut gone = BTreeSet::new();
    loop {
        let found = find(pair, &spared)?;
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

fn find(pair: &[u8], spared: &BTreeSet<i32>) -> io::Result<Vec<(Process, OwnedFd)>> {
    let mut found = Vec::new();
    for pid in proc::pids()?.into_iter().filter(|pid| !spared.contains(pid)) {
        if !started_with(pid, pair) {
            continue;
        }
        let Some(before) = Process::read(pid) else { continue };
        let Ok(held) = pidfd::open(Pid::from_raw(pid)) else { continue };
        let same = Process::read(pid).is_some_and(|now| now.same_process(&before));
        if same && started_with(pid, pair) {
            found.push((before, held));
        }
    }
    Ok(found)
}

fn started_with(pid: i32, pair: &[u8]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == pair)
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
        let pair = format!("PROVOST_TEST_MARK={mark}");
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
        assert_eq!(remove(pair.as_bytes(), Duration::from_secs(10)).unwrap(), Removed { gone: 2, left: 0 });
        marked.0.wait().unwrap();
        let state = Process::read(forked).map(|process| process.state);
        assert!(matches!(state, None | Some('Z' | 'X')), "{state:?}");
        assert_eq!(
            longer.0.try_wait().unwrap(),
            None,
            "a value that only begins alike was taken for the mark"
        );
        assert_eq!(remove(pair.as_bytes(), Duration::ZERO).unwrap(), Removed::default());
    }
}

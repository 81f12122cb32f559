//! Learning that a child ended, and taking its exit status. Looking and taking are two calls: between them the number
//! still belongs to the dead process, so what depends on the number can be finished.

#![allow(unsafe_code)] // nix knows neither rusage in wait nor a status with a real-time signal.

use std::mem;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::unistd::Pid;

/// How a process ended and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// `wait(2)` status, raw.
    pub status: i32,
    /// User CPU time, microseconds, of the process and of its own children that it waited for.
    pub user_us: u64,
    /// System CPU time, likewise.
    pub system_us: u64,
    /// Largest resident set, KiB.
    pub max_rss_kib: u64,
}

/// A child that has ended and is not reaped yet; `None`: none at the moment. Does not reap it.
///
/// # Errors
/// `ECHILD`: this process has no children at all, dead or alive. As a subreaper it has no descendants either.
pub fn ended() -> nix::Result<Option<Pid>> {
    look(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL)
}

/// Whether the process is a child of this one, alive or not reaped yet.
///
/// # Errors
/// The kernel did not say.
pub fn is_child(pid: Pid) -> nix::Result<bool> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    match look(libc::P_PID, pid.as_raw().unsigned_abs(), options) {
        Ok(_) => Ok(true),
        Err(Errno::ECHILD) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Waits until the child of this pidfd has ended, and reaps it. For a child that is at its end already.
///
/// # Errors
/// `ECHILD`: not a child of this process, or reaped before.
pub fn reap_by_pidfd(pidfd: &impl AsRawFd) -> nix::Result<()> {
    look(libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs(), libc::WEXITED | libc::__WALL).map(drop)
}

/// Reaps a child that has ended; `None`: it has not.
///
/// # Errors
/// `ECHILD`: not a child of this process, or reaped before.
pub fn reap(pid: Pid) -> nix::Result<Option<End>> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    let answer = loop {
        let options = libc::WNOHANG | libc::__WALL;
        // SAFETY: status and usage live across the call.
        let answer = unsafe { libc::wait4(pid.as_raw(), &raw mut status, options, &raw mut usage) };
        match Errno::result(answer) {
            Err(Errno::EINTR) => {}
            answer => break answer?,
        }
    };
    Ok((answer != 0).then(|| End {
        status,
        user_us: microseconds(usage.ru_utime),
        system_us: microseconds(usage.ru_stime),
        max_rss_kib: usage.ru_maxrss.unsigned_abs(),
    }))
}

/// A `wait(2)` status in words: `exit code 3`, `SIGKILL`.
pub fn describe(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        super::signals::name(libc::WTERMSIG(status))
    } else {
        format!("exit code {}", libc::WEXITSTATUS(status))
    }
}

/// The exit code that shells give a `wait(2)` status: 128 + n for signal n.
pub fn exit_code(status: i32) -> u8 {
    let code =
        if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn microseconds(time: libc::timeval) -> u64 {
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs()
}

fn look(kind: libc::idtype_t, id: libc::id_t, options: libc::c_int) -> nix::Result<Option<Pid>> {
    // SAFETY: an all-zero siginfo is a valid value; the kernel leaves it so if nothing has ended.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    loop {
        // SAFETY: the structure lives across the call.
        let answer = unsafe { libc::waitid(kind, id, &raw mut info, options) };
        match Errno::result(answer) {
            Err(Errno::EINTR) => {}
            answer => break answer.map(drop)?,
        }
    }
    // SAFETY: waitid fills in the child's fields, or they are zero.
    let pid = unsafe { info.si_pid() };
    Ok((pid != 0).then(|| Pid::from_raw(pid)))
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::os::pidfd;

    /// Not through [`ended`], which would find the children of other tests too.
    #[test]
    fn an_end_is_looked_at_and_then_taken_once() {
        let mut child = Command::new("sh").args(["-c", "kill -RTMIN+2 $$"]).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let held = pidfd::open(pid).unwrap();
        assert!(is_child(pid).unwrap());
        assert!(pidfd::wait(std::os::fd::AsFd::as_fd(&held), Duration::from_secs(10)).unwrap());
        assert!(is_child(pid).unwrap(), "looking reaped it");
        let end = reap(pid).unwrap().unwrap();
        assert!(libc::WIFSIGNALED(end.status));
        assert_eq!(libc::WTERMSIG(end.status), libc::SIGRTMIN() + 2);
        assert!(end.max_rss_kib > 0);
        assert!(!is_child(pid).unwrap());
        assert_eq!(reap(pid), Err(Errno::ECHILD));
        assert!(child.wait().is_err(), "it could be taken twice");
    }

    #[test]
    fn a_stranger_is_no_child_and_the_living_are_not_reaped() {
        assert!(!is_child(Pid::from_raw(1)).unwrap());
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        assert_eq!(reap(pid), Ok(None));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

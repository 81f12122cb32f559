//! Learning that a child ended, and taking its exit status. Looking and taking are two calls: between them the number
//! still belongs to the dead process, so what depends on the number can be finished.

#![allow(unsafe_code)] // nix knows neither rusage in wait nor a status with a real-time signal.

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

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
pub fn is_child(pid: Pid) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    look(libc::P_PID, pid.as_raw().unsigned_abs(), options).is_ok()
}

/// Waits until the child of this pidfd has ended, and reaps it. For a child that is at its end already.
///
/// # Errors
/// `ECHILD`: not a child of this process, or reaped before.
pub fn reap_by_pidfd(pidfd: &impl AsRawFd) -> nix::Result<()> {
    look(libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs(), libc::WEXITED | libc::__WALL).map(drop)
}

/// Whether the child of this pidfd, alive or dead, belongs to this process and has ended.
///
/// # Errors
/// `ECHILD`: not a child of this process, or reaped before.
pub fn has_ended(pidfd: BorrowedFd) -> nix::Result<bool> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    Ok(look(libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs(), options)?.is_some())
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

//! A process held by descriptor: its number can be reused, this cannot.

#![allow(unsafe_code)] // The pidfd calls are in neither nix nor libc.

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::unistd::Pid;

/// `PIDFD_SIGNAL_PROCESS_GROUP` (Linux 6.9).
const PROCESS_GROUP: u32 = 1 << 2;

/// Opens the process that has this number now (`pidfd_open(2)`). Free of a race only for one's own children.
///
/// # Errors
/// `ESRCH`: no such process; `EMFILE`, `ENFILE`.
pub fn open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: a plain system call on numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = Errno::result(fd)? as RawFd;
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Which call of those that every supervised process is held by does not work here, and how it fails: the kernel is older
/// than Linux 5.3, or a sandbox refuses it.
#[must_use]
pub fn refused() -> Option<(&'static str, Errno)> {
    match open(Pid::this()) {
        // No room for a descriptor is no refusal.
        Err(errno @ (Errno::ENOSYS | Errno::EPERM | Errno::EACCES)) => Some(("pidfd_open", errno)),
        Err(_) => None,
        Ok(ours) => signal(ours.as_fd(), 0).err().map(|errno| ("pidfd_send_signal", errno)),
    }
}

/// Sends a signal to the process.
///
/// # Errors
/// `ESRCH`: it is gone; `EPERM`.
pub fn signal(pidfd: BorrowedFd, signal: c_int) -> nix::Result<()> {
    send(pidfd, signal, 0)
}

/// Sends a signal and then CONT, so that a stopped process can act on it.
///
/// # Errors
/// Those of [`signal`].
pub fn ask(pidfd: BorrowedFd, number: c_int) -> nix::Result<()> {
    signal(pidfd, number)?;
    signal(pidfd, libc::SIGCONT)
}

/// Sends a signal to every process of the process group that this process leads, and then CONT. Kernels before 6.9 need
/// the number for that; it is used only while the leader is known to be alive or unreaped.
///
/// # Errors
/// `ESRCH`: nobody is left; `EPERM`.
pub fn ask_group(pidfd: BorrowedFd, leader: Pid, number: c_int) -> nix::Result<()> {
    for number in [number, libc::SIGCONT] {
        match send(pidfd, number, PROCESS_GROUP) {
            Err(Errno::EINVAL) => {
                signal(pidfd, 0)?;
                kill_group(leader, number)?;
            }
            answer => answer?,
        }
    }
    Ok(())
}

/// Sends a signal to a process group by number. Only for a leader that this process has not reaped yet.
///
/// # Errors
/// `ESRCH`: no such group.
pub fn kill_group(leader: Pid, signal: c_int) -> nix::Result<()> {
    // SAFETY: a plain system call on numbers.
    Errno::result(unsafe { libc::killpg(leader.as_raw(), signal) }).map(drop)
}

/// Whether a process group has members, zombies included.
pub fn group_exists(leader: Pid) -> bool {
    kill_group(leader, 0) != Err(Errno::ESRCH)
}

/// Waits until the process has ended (it may still be a zombie). `false`: it has not within this time.
///
/// # Errors
/// Those of `poll(2)`.
pub fn wait(pidfd: BorrowedFd, limit: Duration) -> nix::Result<bool> {
    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    loop {
        match nix::poll::poll(&mut polled, limit) {
            Err(Errno::EINTR) => {}
            answer => return answer.map(|ready| ready > 0),
        }
    }
}

fn send(pidfd: BorrowedFd, signal: c_int, flags: u32) -> nix::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a plain system call; the kernel fills in the sender's information itself.
    let answer =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, flags) };
    Errno::result(answer).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    use super::*;

    const BOUND: Duration = Duration::from_secs(10);

    /// Leads a process group of its own; says "y" once it is there.
    fn shell(script: &str) -> (Child, OwnedFd) {
        let mut child =
            Command::new("sh").args(["-c", script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
        let pidfd = open(Pid::from_raw(child.id().cast_signed())).unwrap();
        (child, pidfd)
    }

    #[test]
    fn a_stopped_process_acts_on_what_it_is_asked() {
        let (mut child, pidfd) = shell("echo y; kill -STOP $$; exec tail -f /dev/null");
        ask(pidfd.as_fd(), libc::SIGTERM).unwrap();
        assert!(wait(pidfd.as_fd(), BOUND).unwrap());
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert_eq!(signal(pidfd.as_fd(), 0), Err(Errno::ESRCH));
    }

    #[test]
    fn a_group_is_asked_as_a_whole() {
        let (mut child, pidfd) = shell("tail -f /dev/null & echo y; wait");
        assert!(!wait(pidfd.as_fd(), Duration::ZERO).unwrap());
        ask_group(pidfd.as_fd(), Pid::from_raw(child.id().cast_signed()), libc::SIGTERM).unwrap();
        assert!(wait(pidfd.as_fd(), BOUND).unwrap());
        // The pipe ends when the background process, its last writer, is gone too.
        let mut rest = String::new();
        std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut rest).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    }

    #[test]
    fn a_number_without_a_process_is_not_opened() {
        assert_eq!(open(Pid::from_raw(i32::MAX)).map(drop), Err(Errno::ESRCH));
    }
}

//! What `std::process::Command` lacks, for processes that only accompany ours: a terminal of their own, and an end that
//! is bound to our end. Children of a supervised tree are born in `spawn`.

#![allow(unsafe_code)] // Steps between fork and exec.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::pty::{Winsize, openpty};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, signal};

/// A terminal with a process on it. Dropped, the terminal hangs up.
#[derive(Debug)]
pub struct Seat {
    /// Where a person would sit: what the process writes can be read here.
    pub screen: File,
    /// The process.
    pub child: Child,
}

/// Starts the command as somebody does who opens a terminal and types it: in a session of its own, with a new
/// pseudo-terminal of 80 columns as its controlling terminal. It is killed when the calling thread ends.
///
/// # Errors
/// No terminal or process could be made.
pub fn on_own_terminal(command: &mut Command) -> io::Result<Seat> {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = openpty(Some(&size), None)?;
    let (master, slave): (OwnedFd, OwnedFd) = (pair.master, pair.slave);
    for fd in [&master, &slave] {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    command.stdin(Stdio::from(slave.try_clone()?));
    command.stdout(Stdio::from(slave.try_clone()?)).stderr(Stdio::from(slave));
    let steps = || {
        nix::unistd::setsid()?;
        // SAFETY: a plain system call on descriptor 0, which is the terminal.
        Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
        // SAFETY: no handler is installed. A parent under nohup ignores it, and the terminal could not hang up.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigDfl) }?;
        Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
    };
    // SAFETY: nothing but system calls that are safe between fork and exec; no allocation.
    unsafe { command.pre_exec(steps) };
    let child = command.spawn();
    // The descriptors of the terminal's inner end must go, else it never hangs up.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Seat { screen: File::from(master), child: child? })
}

/// Starts the command; it gets the signal when the calling thread ends, however that happens.
///
/// # Errors
/// No process could be made.
pub fn bound_to_us(command: &mut Command, signal: Signal) -> io::Result<Child> {
    // SAFETY: one system call that is safe between fork and exec.
    unsafe { command.pre_exec(move || Ok(prctl::set_pdeathsig(signal)?)) };
    command.spawn()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;
    use crate::os::proc::{Process, tty_name};

    #[test]
    fn a_process_on_a_terminal_leads_its_session_and_is_hung_up_with_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "tty; exec tail -f /dev/null"]);
        let mut seat = on_own_terminal(&mut command).unwrap();
        let mut line = String::new();
        BufReader::new(&seat.screen).read_line(&mut line).unwrap();
        let pid = seat.child.id().cast_signed();
        let row = Process::read(pid).unwrap();
        assert_eq!((row.sid, row.pgid), (pid, pid));
        assert_eq!(format!("/dev/{}", tty_name(row.tty).unwrap()), line.trim_end());
        drop(seat.screen);
        let end = seat.child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end), Some(libc::SIGHUP));
    }

    #[test]
    fn a_bound_process_ends_with_the_thread_that_started_it() {
        let start = || bound_to_us(Command::new("tail").args(["-f", "/dev/null"]), Signal::SIGKILL).unwrap();
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()),
            Some(libc::SIGKILL)
        );
    }
}

//! What goes over the descriptors of running processes, counted from the kernel's side (`ptrace(2)`), as `strace` does.
//!
//! The kernel keeps no count of the bytes of a Unix socket. So the processes are watched for a moment: each system call
//! stops at its end, and what it returned is noted. They notice nothing but the delay.

#![allow(unsafe_code)] // The kernel's record of a system call is a union.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::proc::socket_of;

/// What went over one descriptor of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes it wrote.
    pub sent: u64,
    /// Bytes it read.
    pub received: u64,
}

/// How long nothing may happen before we look again.
const LOOK: Duration = Duration::from_micros(200);
/// How long a process may take to stop when it is to be released.
const RELEASE: Duration = Duration::from_secs(2);

/// Watches these processes for so long, and tells what went over each socket, by pid and inode. Blocks the calling
/// thread, and needs one for itself: whoever is watched belongs to the thread that watches.
///
/// # Errors
/// `EPERM`: we may not, or a debugger is at work already; `ESRCH`: one is gone.
pub fn watch(pids: &[i32], length: Duration) -> nix::Result<BTreeMap<(i32, u64), Carried>> {
    let mut watch = Watch::default();
    let seized = pids.iter().try_for_each(|pid| watch.seize(*pid));
    let until = Instant::now() + length;
    while seized.is_ok() && Instant::now() < until && !watch.threads.is_empty() {
        if !watch.step()? {
            std::thread::park_timeout(LOOK);
        }
    }
    watch.release();
    seized.map(|()| watch.carried)
}

#[derive(Default)]
struct Watch {
    /// Thread to its process, and to the system call it is in: direction and socket.
    threads: BTreeMap<i32, Thread>,
    carried: BTreeMap<(i32, u64), Carried>,
}

struct Thread {
    pid: i32,
    call: Option<(Direction, u64)>,
}

#[derive(Clone, Copy)]
enum Direction {
    Out,
    In,
}

impl Watch {
    fn seize(&mut self, pid: i32) -> nix::Result<()> {
        let entries = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|_| Errno::ESRCH)?;
        for tid in entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()) {
            let thread = Pid::from_raw(tid);
            ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD)?;
            self.threads.insert(tid, Thread { pid, call: None });
            ptrace::interrupt(thread)?;
        }
        Ok(())
    }

    /// Takes one stop, if there is one.
    fn step(&mut self) -> nix::Result<bool> {
        let Some(status) = next_stop()? else { return Ok(false) };
        let Some(tid) = status.pid() else { return Ok(true) };
        match status {
            WaitStatus::PtraceSyscall(_) => self.syscall(tid),
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                self.threads.remove(&tid.as_raw());
                return Ok(true);
            }
            _ => {}
        }
        // It may have been killed while it stood still.
        let _ = ptrace::syscall(tid, signal_of(status));
        Ok(true)
    }

    fn syscall(&mut self, tid: Pid) {
        let Some(thread) = self.threads.get_mut(&tid.as_raw()) else { return };
        let Ok(info) = ptrace::syscall_info(tid) else { return };
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                // SAFETY: the kernel says by `op` that this member is the one that is filled in.
                let entry = unsafe { info.u.entry };
                let fd = i32::try_from(entry.args[0]).ok();
                let socket = fd.and_then(|fd| socket_of(thread.pid, fd));
                thread.call = direction(entry.nr).zip(socket);
            }
            libc::PTRACE_SYSCALL_INFO_EXIT => {
                // SAFETY: as above.
                let result = unsafe { info.u.exit }.sval;
                let Some((direction, socket)) = thread.call.take() else { return };
                let bytes = u64::try_from(result).unwrap_or(0);
                let carried = self.carried.entry((thread.pid, socket)).or_default();
                match direction {
                    Direction::Out => carried.sent += bytes,
                    Direction::In => carried.received += bytes,
                }
            }
            _ => {}
        }
    }

    /// Lets everybody go, each where it stops next.
    fn release(&mut self) {
        for tid in self.threads.keys() {
            let _ = ptrace::interrupt(Pid::from_raw(*tid));
        }
        let until = Instant::now() + RELEASE;
        while !self.threads.is_empty() && Instant::now() < until {
            let Ok(stop) = next_stop() else { return };
            let Some(status) = stop else {
                std::thread::park_timeout(LOOK);
                continue;
            };
            if let Some(tid) = status.pid() {
                // One that has ended cannot be detached, and needs it no more.
                let _ = ptrace::detach(tid, signal_of(status));
                self.threads.remove(&tid.as_raw());
            }
        }
    }
}

/// A stop of one of this thread's own.
fn next_stop() -> nix::Result<Option<WaitStatus>> {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    match waitpid(None, Some(flags)) {
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => Ok(None),
        Err(Errno::ECHILD) => Ok(None),
        other => other.map(Some),
    }
}

/// A signal that was on its way to the process and has to go on.
fn signal_of(status: WaitStatus) -> Option<Signal> {
    match status {
        WaitStatus::Stopped(_, signal) if signal != Signal::SIGTRAP => Some(signal),
        _ => None,
    }
}

fn direction(call: u64) -> Option<Direction> {
    match i64::try_from(call).ok()? {
        libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_write | libc::SYS_writev => Some(Direction::Out),
        libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_read | libc::SYS_readv => Some(Direction::In),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn bytes_over_a_socket_are_counted_and_the_process_goes_on() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (input, output): (OwnedFd, OwnedFd) = (theirs.try_clone().unwrap().into(), theirs.into());
        let mut cat =
            Command::new("cat").stdin(Stdio::from(input)).stdout(Stdio::from(output)).spawn().unwrap();
        let pid = cat.id().cast_signed();
        let inode = socket_of(pid, 0).unwrap();
        let watcher = std::thread::spawn(move || watch(&[pid], Duration::from_secs(1)).unwrap());
        let mut line = [0; 6];
        while !watcher.is_finished() {
            ours.write_all(b"hello\n").unwrap();
            ours.read_exact(&mut line).unwrap();
        }
        let carried = watcher.join().unwrap()[&(pid, inode)];
        assert!(carried.sent > 0 && carried.sent.is_multiple_of(6), "{carried:?}");
        assert!(carried.received > 0 && carried.received.is_multiple_of(6), "{carried:?}");
        ours.write_all(b"after\n").unwrap();
        ours.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"after\n");
        drop(ours);
        assert!(cat.wait().unwrap().success());
    }

    #[test]
    fn who_is_gone_cannot_be_watched() {
        assert_eq!(watch(&[i32::MAX], Duration::from_secs(5)), Err(Errno::ESRCH));
    }
}

//! What a process says about itself to the kernel.

#![allow(unsafe_code)] // Taking over descriptors that whoever started us left at fixed numbers.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};

/// The name in the process table (`/proc/PID/comm`); cut off after 15 bytes.
///
/// # Errors
/// The name contains a zero byte.
pub fn set_name(name: &str) -> io::Result<()> {
    Ok(prctl::set_name(&CString::new(name)?)?)
}

/// From now on orphaned descendants become children of this process (`PR_SET_CHILD_SUBREAPER`).
///
/// # Errors
/// Those of `prctl(2)`; not to be expected.
pub fn adopt_orphans() -> nix::Result<()> {
    prctl::set_child_subreaper(true)
}

/// From now on this process gets the signal when the thread that made it ends. Cleared by setuid. A parent that is dead
/// already is not noticed: check `getppid` afterwards.
///
/// # Errors
/// Those of `prctl(2)`; not to be expected.
pub fn die_with_parent(signal: Signal) -> nix::Result<()> {
    prctl::set_pdeathsig(signal)
}

/// Gives freed memory back to the kernel (`malloc_trim(3)`): for processes that have done their largest work and go on to
/// live for a long time. Does nothing where the C library is not glibc.
pub fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no argument to get wrong; it touches only what is free.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Leaves the terminal: leader of a new session.
///
/// # Errors
/// `EPERM`: it leads a process group already.
pub fn own_session() -> nix::Result<()> {
    nix::unistd::setsid().map(drop)
}

/// The program of this process, held: it can be started again by `/proc/self/fd/N` even if the file was replaced or
/// removed. The number is high enough not to be taken for anything passed to a child.
///
/// # Errors
/// `/proc` is not mounted.
pub fn own_program() -> nix::Result<OwnedFd> {
    let program = open("/proc/self/exe", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    let number = fcntl(&program, FcntlArg::F_DUPFD_CLOEXEC(FIRST_HELD))?;
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Descriptors that are named by number to a child are kept from this number on.
const FIRST_HELD: RawFd = 64;

/// Takes over a descriptor that this process was started with, and marks it CLOEXEC. Each number once.
///
/// # Errors
/// `EBADF`: it is not open, is one of 0 to 2, or was taken before.
pub fn inherited(number: RawFd) -> nix::Result<OwnedFd> {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    if !(3..64).contains(&number) {
        return Err(Errno::EBADF);
    }
    // SAFETY: only used to ask whether the number is open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let bit = 1 << number;
    if TAKEN.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: open, and this function gives each number away only once; fixed numbers are only used by this contract.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The file mode creation mask of this process. Only while it has one thread: reading it means to set it.
pub fn file_mode_mask() -> u32 {
    let _one = ONE_MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let mask = umask(Mode::from_bits_truncate(0o077));
    umask(mask);
    mask.bits()
}

/// The mask belongs to all threads: each change of it is brought back before the next.
static ONE_MASK: Mutex<()> = Mutex::new(());

/// Does something, briefly, that makes a file with exactly the mode that it asks for. What other threads make meanwhile is
/// not masked either: here they only read.
pub fn without_mask<T>(act: impl FnOnce() -> T) -> T {
    let _one = ONE_MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let mask = umask(Mode::empty());
    let done = act();
    umask(mask);
    done
}

/// How the kernel's out-of-memory killer rates this process (`/proc/self/oom_score_adj`).
///
/// # Errors
/// `/proc` is not mounted.
pub fn oom_score() -> io::Result<i32> {
    fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse().map_err(io::Error::other)
}

/// Sets it: -1000 (never) to 1000 (first).
///
/// # Errors
/// `EACCES`: lowering it needs CAP_SYS_RESOURCE.
pub fn set_oom_score(score: i32) -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", score.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_are_not_there_are_not_taken() {
        for number in [-1, 0, 2, 63, 64, 1000] {
            assert_eq!(inherited(number).map(drop), Err(Errno::EBADF), "{number}");
        }
    }

    #[test]
    fn the_own_program_is_held_out_of_the_way() {
        use std::os::fd::AsRawFd;
        let program = own_program().unwrap();
        assert!(program.as_raw_fd() >= FIRST_HELD);
        let held = fs::read_link(format!("/proc/self/fd/{}", program.as_raw_fd())).unwrap();
        assert_eq!(held, std::env::current_exe().unwrap());
    }

    #[test]
    fn the_score_is_a_number_in_range() {
        assert!((-1000..=1000).contains(&oom_score().unwrap()));
    }
}

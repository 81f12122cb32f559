//! Signals: their names, what this process does with them, and reading them from a descriptor.

#![allow(unsafe_code)] // Whole 64-bit masks and dispositions: libc's own calls hide signals 32 and 33.

use std::ffi::c_int;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The one list of names: `signal(7)`, without `SIG`.
const NAMES: [(&str, c_int); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", 16), // missing on some architectures, where 16 has another name; Linux' number on ours
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// The highest signal number.
pub const LAST: c_int = 64;

/// Every signal number; the kernel itself refuses to change KILL and STOP.
const ALTERABLE: RangeInclusive<c_int> = 1..=LAST;

/// The number of a signal: `TERM`, `SIGTERM`, `term`, `15`, `RTMIN`, `RTMIN+3`, `RTMAX-1`. `None`: there is no such signal.
pub fn parse(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(number) = name.parse::<i32>() {
        return ALTERABLE.contains(&number).then_some(number);
    }
    match name {
        "POLL" => return Some(libc::SIGIO),
        "IOT" => return Some(libc::SIGABRT),
        "CLD" => return Some(libc::SIGCHLD),
        _ => {}
    }
    let real_time = |base: c_int, offset: &str| {
        let number = if offset.is_empty() { base } else { base.checked_add(offset.parse().ok()?)? };
        (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number).then_some(number)
    };
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return real_time(libc::SIGRTMIN(), offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return real_time(libc::SIGRTMAX(), offset);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The name of a signal with its prefix: `SIGTERM`, `SIGRTMIN+3`; a number that has none as it is.
pub fn name(number: i32) -> String {
    if let Some((name, _)) = NAMES.iter().find(|(_, known)| *known == number) {
        return format!("SIG{name}");
    }
    let first = libc::SIGRTMIN();
    match number {
        _ if number == first => "SIGRTMIN".to_owned(),
        _ if (first..=libc::SIGRTMAX()).contains(&number) => format!("SIGRTMIN+{}", number - first),
        _ => number.to_string(),
    }
}

/// Every name without its prefix, for completions and suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Which.
    pub signal: Signal,
    /// The kernel itself sent it: the terminal, to everybody in its foreground process group.
    pub by_kernel: bool,
}

/// Signals that arrive by reading a descriptor instead of interrupting. They stay blocked when this is dropped.
#[derive(Debug)]
pub struct Inbox(SignalFd);

impl Inbox {
    /// Blocks the signals in the calling thread and opens a non-blocking `signalfd(2)` for them.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open(signals: &[Signal]) -> nix::Result<Inbox> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        Ok(Inbox(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The next signal that has arrived, with its source; `None`: none at the moment.
    ///
    /// # Errors
    /// Those of `read(2)`; not to be expected.
    pub fn take(&self) -> nix::Result<Option<Arrived>> {
        let Some(info) = self.0.read_signal()? else { return Ok(None) };
        let by_kernel = info.ssi_code == libc::SI_KERNEL;
        Ok(Signal::try_from(info.ssi_signo as c_int).ok().map(|signal| Arrived { signal, by_kernel }))
    }

    /// The next signal that has arrived; `None`: none at the moment.
    ///
    /// # Errors
    /// Those of `read(2)`; not to be expected.
    pub fn next(&self) -> nix::Result<Option<Signal>> {
        Ok(self.take()?.map(|arrived| arrived.signal))
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether whoever started this process asked that the signal be ignored (`nohup`, a shell's `&`).
pub fn is_ignored(signal: Signal) -> bool {
    is_number_ignored(signal as c_int)
}

fn is_number_ignored(number: c_int) -> bool {
    let mut action = [0_u64; 4];
    let nothing = ptr::null::<u64>();
    // SAFETY: only asks; the answer goes to a structure that lives across the call.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, number, nothing, action.as_mut_ptr(), MASK_BYTES) };
    action[0] == libc::SIG_IGN as u64
}

/// Gives a signal its default disposition. An inherited "ignore" of CHLD would make the kernel reap in our place.
pub fn reset(signal: Signal) {
    dispose(signal as c_int, libc::SIG_DFL);
}

/// Ignores a signal. The only place where this program does: children are freed of it, see [`Ignored`].
pub fn ignore(signal: Signal) {
    IGNORED_SINCE.fetch_or(bit(signal as c_int), Ordering::Relaxed);
    dispose(signal as c_int, libc::SIG_IGN);
}

/// Which signals this process ignores, so that a child is freed of exactly those: exec and `CLONE_CLEAR_SIGHAND` leave them
/// ignored. Asked of the kernel once, since asking costs as much as resetting all: 15 us of a birth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ignored(u64);

/// Ignored by [`ignore`] after that.
static IGNORED_SINCE: AtomicU64 = AtomicU64::new(0);

impl Ignored {
    pub(super) fn now() -> Ignored {
        static AT_FIRST: OnceLock<u64> = OnceLock::new();
        let at_first =
            *AT_FIRST.get_or_init(|| ALTERABLE.filter(|number| is_number_ignored(*number)).map(bit).sum());
        Ignored(at_first | IGNORED_SINCE.load(Ordering::Relaxed))
    }

    /// For a child whose handlers the kernel has cleared. System calls only.
    pub(super) fn reset(self) {
        ALTERABLE
            .filter(|number| self.0 & bit(*number) != 0)
            .for_each(|number| dispose(number, libc::SIG_DFL));
    }
}

/// Gives every signal its default disposition, where the kernel does not clear handlers. System calls only.
pub(super) fn reset_all() {
    ALTERABLE.for_each(|number| dispose(number, libc::SIG_DFL));
}

fn bit(number: c_int) -> u64 {
    1 << (number - 1)
}

/// `rt_sigaction` with the kernel's own structure: handler, flags, restorer and mask, of which only the first is not zero.
fn dispose(signal: c_int, handler: libc::sighandler_t) {
    let action: [u64; 4] = [handler as u64, 0, 0, 0];
    let nothing = ptr::null_mut::<u64>();
    // SAFETY: no handler is installed, only "default" or "ignore"; the structure lives across the call.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), nothing, MASK_BYTES) };
}

/// Size of the kernel's signal mask.
const MASK_BYTES: usize = 8;

/// Every signal blocked in this thread until dropped.
#[derive(Debug)]
pub(super) struct BlockedAll {
    before: u64,
}

impl BlockedAll {
    pub(super) fn new() -> BlockedAll {
        BlockedAll { before: set_mask(u64::MAX) }
    }
}

impl Drop for BlockedAll {
    fn drop(&mut self) {
        set_mask(self.before);
    }
}

/// Empties the mask. A system call only.
pub(super) fn unblock_all() {
    set_mask(0);
}

/// Sets the whole mask of the thread, returns the one before. Cannot fail: the kernel leaves out KILL and STOP by itself.
fn set_mask(mask: u64) -> u64 {
    let mut before = 0u64;
    let how = SigmaskHow::SIG_SETMASK as c_int;
    // SAFETY: both masks live across the call.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const mask, &raw mut before, MASK_BYTES) };
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_list() {
        for (name, number) in NAMES {
            assert_eq!(parse(name), Some(number));
            assert_eq!(parse(&format!("sig{}", name.to_lowercase())), Some(number));
            assert_eq!(parse(&number.to_string()), Some(number));
            assert_eq!(super::name(number), format!("SIG{name}"));
        }
        assert_eq!(names().count(), 31);
    }

    #[test]
    fn real_time_signals_count_from_both_ends() {
        assert_eq!(parse("RTMIN+3"), Some(libc::SIGRTMIN() + 3));
        assert_eq!(parse("SIGRTMAX-1"), Some(libc::SIGRTMAX() - 1));
        assert_eq!(parse("RTMIN"), Some(libc::SIGRTMIN()));
        assert_eq!(name(libc::SIGRTMIN() + 3), "SIGRTMIN+3");
        for wrong in ["RTMIN-1", "RTMAX+1", "RTMIN+99", "RTMIN+x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_signal_is_none() {
        for wrong in ["", "SIG", "0", "65", "-9", "TERMINATE", "9.0", "99999999999"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse(" kill "), Some(9));
        assert_eq!(name(99), "99");
    }

    #[test]
    fn a_dropped_block_restores_the_mask_before() {
        let set: SigSet = [Signal::SIGUSR2].into_iter().collect();
        set.thread_block().unwrap();
        let blocked = BlockedAll::new();
        assert!(SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM));
        drop(blocked);
        let after = SigSet::thread_get_mask().unwrap();
        assert!(after.contains(Signal::SIGUSR2) && !after.contains(Signal::SIGTERM));
    }
}

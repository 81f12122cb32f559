//! The system call: a child that shares our memory, on a stack of its own, while we are suspended (`vfork(2)`).

#![allow(unsafe_code)] // clone3 with a foreign stack cannot be said otherwise.

use std::ffi::{c_int, c_long, c_void};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::newborn::{Kind, Newborn};
use super::{Born, Parent};
use crate::os::{fallback, signals};

/// `CLONE_CLEAR_SIGHAND` of `linux/sched.h`; the libc crate's constant does not fit its type.
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// `CLONE_INTO_CGROUP` (Linux 5.7), likewise.
const INTO_CGROUP: u64 = 0x2_0000_0000;
/// Size of the first published `struct clone_args`, which kernels before 5.7 insist on.
const FIRST_SIZE: usize = 64;

/// What is known of a birth while it is under way, for other threads than the one that waits for it. Zero and -1: nothing yet.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) pid: AtomicI32,
    pub(super) pidfd: AtomicI32,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { pid: AtomicI32::new(0), pidfd: AtomicI32::new(-1) }
    }
}

/// Makes the child and returns when it has exec'ed or ended.
pub(super) fn start(newborn: &Newborn) -> nix::Result<Born> {
    let mut flags = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64;
    if newborn.window().is_some() {
        flags |= libc::CLONE_FILES as u64;
    }
    let mut exit_signal = libc::SIGCHLD;
    if let Parent::Keeper { .. } = newborn.parent() {
        // The child takes over our own exit signal, and clone3 refuses another one.
        flags |= libc::CLONE_PARENT as u64;
        exit_signal = 0;
    }
    let (base, top) = STACK.with(|stack| {
        let stack = match stack.get() {
            Some(stack) => stack,
            None => {
                let _ = stack.set(Stack::map()?);
                stack.get().ok_or(Errno::ENOMEM)?
            }
        };
        Ok::<_, Errno>((stack.usable(), stack.top()))
    })?;
    let progress = newborn.progress();
    let mut call = Call { flags, exit_signal, base, top, newborn, progress };

    // A handler of ours must not run in the child: it would run on our memory.
    let blocked = signals::BlockedAll::new();
    let pid = call.make();
    drop(blocked);

    let pid = Pid::from_raw(pid?);
    let pidfd = progress.pidfd.load(Ordering::Acquire);
    if pidfd < 0 {
        // Before Linux 5.2, and in some imitations of it, the flag for a pidfd is passed over in silence.
        let _ = kill(pid, Signal::SIGKILL);
        return Err(Errno::ENOSYS);
    }
    // SAFETY: the kernel stored a new descriptor there; other threads only duplicate it, while the result holds it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Born { pid, pidfd })
}

thread_local! {
    /// The stack for this thread's births, one at a time: the thread is suspended until the child has left it.
    static STACK: std::cell::OnceCell<Stack> = const { std::cell::OnceCell::new() };
}

/// A mapped stack with an inaccessible lower half: running over its end is a fault, not silent damage.
struct Stack {
    base: usize,
}

impl Stack {
    /// Whole pages on every page size that Linux has.
    const HALF: usize = 64 * 1024;

    fn map() -> nix::Result<Stack> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: a new private mapping touches nothing that exists.
        let base = unsafe { libc::mmap(ptr::null_mut(), 2 * Stack::HALF, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // SAFETY: the first half of the mapping made above, which nobody uses yet.
        Errno::result(unsafe { libc::mprotect(base, Stack::HALF, libc::PROT_NONE) })?;
        Ok(Stack { base: base as usize })
    }

    fn usable(&self) -> usize {
        self.base + Stack::HALF
    }

    fn top(&self) -> usize {
        self.base + 2 * Stack::HALF
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the whole mapping made in `map`; its thread ends, so no child of it is left on it.
        unsafe { libc::munmap(self.base as *mut c_void, 2 * Stack::HALF) };
    }
}

struct Call<'a> {
    flags: u64,
    exit_signal: c_int,
    base: usize,
    top: usize,
    newborn: &'a Newborn<'a>,
    progress: &'a Progress,
}

impl Call<'_> {
    /// `clone3`, or `clone` where a sandbox or an old kernel refuses it (Docker's seccomp answers ENOSYS).
    fn make(&mut self) -> nix::Result<c_int> {
        static REFUSED: AtomicBool = AtomicBool::new(false);
        if !REFUSED.load(Ordering::Relaxed) && !fallback::forced("clone3") {
            match self.clone3() {
                Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL | Errno::E2BIG) => {
                    REFUSED.store(true, Ordering::Relaxed)
                }
                answer => return answer,
            }
        }
        self.clone()
    }

    fn argument(&self) -> *mut c_void {
        ptr::from_ref(self.newborn).cast_mut().cast()
    }

    /// `clone(2)`: the same flags except `CLONE_CLEAR_SIGHAND` and `CLONE_INTO_CGROUP`; the child does both by itself.
    fn clone(&mut self) -> nix::Result<c_int> {
        let flags = self.flags as c_int | self.exit_signal;
        let top = self.top as *mut c_void;
        let argument = self.argument();
        let pidfd = self.progress.pidfd.as_ptr();
        // SAFETY: the stack is this thread's alone until the child is through; `live` never returns and gets the `Newborn` it
        // expects, which outlives the call; with CLONE_PIDFD the fifth argument receives a descriptor.
        Errno::result(unsafe { libc::clone(live, top, flags, argument, pidfd) })
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn clone3(&mut self) -> nix::Result<c_int> {
        let (into, cgroup, size) = match self.newborn.cgroup() {
            Some(cgroup) => {
                (INTO_CGROUP, cgroup.as_raw_fd().unsigned_abs().into(), mem::size_of::<CloneArguments>())
            }
            None => (0, 0, FIRST_SIZE),
        };
        let arguments = CloneArguments {
            flags: self.flags | CLEAR_SIGHAND | into | libc::CLONE_PARENT_SETTID as u64,
            cgroup,
            pidfd: self.progress.pidfd.as_ptr() as u64,
            parent_tid: self.progress.pid.as_ptr() as u64,
            exit_signal: self.exit_signal as u64,
            stack: self.base as u64,
            stack_size: Stack::HALF as u64,
            ..CloneArguments::default()
        };
        // SAFETY: as for `clone`; the structure is what clone3(2) describes and lives across the call.
        let answer = unsafe { clone3(&arguments, size, self.argument()) };
        if answer < 0 { Err(Errno::from_raw(-answer as i32)) } else { Ok(answer as c_int) }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn clone3(&mut self) -> nix::Result<c_int> {
        Err(Errno::ENOSYS)
    }
}

/// Where the child of `clone` begins.
extern "C" fn live(newborn: *mut c_void) -> c_int {
    // SAFETY: `start` passed a reference to a `Newborn`, and waits with it until this process has exec'ed or ended.
    let newborn = unsafe { &*newborn.cast::<Newborn>() };
    newborn.live(Kind::Plain)
}

/// Where the child of `clone3` begins.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
extern "C" fn live_cleared(newborn: *mut c_void) -> c_int {
    // SAFETY: as above.
    let newborn = unsafe { &*newborn.cast::<Newborn>() };
    newborn.live(Kind::Clone3)
}

/// `struct clone_args` of `linux/sched.h`, with `cgroup` (88 bytes).
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// The call proper. The child finds itself after the system call with the new stack and nothing else changed, so it goes
/// straight into `live_cleared`, which never returns; the parent goes on behind that call.
///
/// # Safety
/// `arguments` must be of at least `size` bytes, describe an unused stack and live across the call; `newborn` must be what `live_cleared` expects.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(arguments: &CloneArguments, size: usize, newborn: *mut c_void) -> c_long {
    let answer: c_long;
    // SAFETY: the caller's promise; `syscall` clobbers rcx and r11, which is said; the child never comes back.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp", // the outermost frame, for unwinders
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => answer,
            in("rdi") ptr::from_ref(arguments),
            in("rsi") size,
            in("r12") newborn,
            in("r13") live_cleared as extern "C" fn(*mut c_void) -> c_int,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    answer
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(arguments: &CloneArguments, size: usize, newborn: *mut c_void) -> c_long {
    let answer: c_long;
    // SAFETY: the caller's promise; `svc` clobbers only x0; the child never comes back.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr", // the outermost frame, for unwinders
            "mov x30, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            inlateout("x0") ptr::from_ref(arguments) => answer,
            in("x1") size,
            in("x8") libc::SYS_clone3,
            in("x20") newborn,
            in("x21") live_cleared as extern "C" fn(*mut c_void) -> c_int,
        );
    }
    answer
}

//! What the child does between clone and exec.
//!
//! It runs on its parent's memory while the parent's thread is suspended. So: only system calls, only on what
//! `prepare` laid out; no allocation, no lock, no panic.

#![allow(unsafe_code)] // System calls that nix offers only with an allocation or not at all.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::clone::Progress;
use super::window::{Borrowed, Window};
use super::{Birth, BirthError, Identity, Parent, Step};
use crate::os::{fallback, signals, socket};

/// Longest `failed` packet, with step and errno.
const FAILED_PACKET: usize = 64;

/// One step.
type Act<'a> = fn(&Newborn<'a>) -> nix::Result<()>;

/// How the child was made.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// By `clone3`: it has the default disposition in place of each handler of the parent's, and is in its control group.
    Clone3,
    /// By `clone`: the parent's handlers would run in it, were it not for the mask, and it is in the parent's control group.
    Plain,
}

/// A birth in the form the child can use, and the two numbers it leaves behind.
pub(super) struct Newborn<'a> {
    birth: &'a Birth<'a>,
    caller: Pid,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    /// `LISTEN_PID=` and room for the number: only the child knows it.
    listen_pid: Box<[Cell<u8>; 32]>,
    /// What becomes descriptor 0, 1, 2, ...; the child moves those that are in the way.
    sources: Vec<Cell<RawFd>>,
    /// The child's way to the keeper.
    socket: Cell<RawFd>,
    /// Where it leaves a descriptor table that it shares with the parent; `None`: the table is a copy.
    window: Option<Borrowed>,
    /// For those who do not wait.
    progress: &'a Progress,
    /// `oom_score_adj` in digits.
    oom_score: Option<CString>,
    /// Who it becomes; `None`: it is that already, and may not be allowed to become it once more.
    identity: Option<&'a Identity>,
    /// What the kernel leaves ignored.
    ignored: signals::Ignored,
    /// Descriptors to mark CLOEXEC one by one, where `close_range` is missing.
    open: Vec<RawFd>,
    /// The step the child is at.
    stage: Cell<Step>,
    /// Why it failed there.
    errno: Cell<Option<Errno>>,
}

impl<'a> Newborn<'a> {
    /// The steps, in order. A new kind of preparation is one line here and one function below.
    const STEPS: [(Step, Act<'a>); 20] = [
        (Step::Session, Self::found_session),
        (Step::DeathSignal, Self::tie_to_parent),
        (Step::Register, Self::register),
        (Step::Cgroup, Self::enter_limit_groups),
        (Step::Descriptors, Self::leave_shared_table),
        (Step::Nice, Self::set_nice),
        (Step::OomScore, Self::set_oom_score),
        (Step::Descriptors, Self::place_descriptors),
        (Step::Limits, Self::restore_open_files),
        (Step::Limits, Self::set_limits),
        // From here on another user can stop it, and a folder or a program can make it wait: it holds nothing of others.
        (Step::Descriptors, Self::leave_keeper),
        (Step::Capabilities, Self::limit_privileges),
        (Step::Groups, Self::set_groups),
        (Step::Group, Self::become_group),
        (Step::User, Self::become_user),
        (Step::Capabilities, Self::drop_capabilities),
        // The kernel has forgotten it when the user changed.
        (Step::DeathSignal, Self::tie_to_parent),
        (Step::NoNewPrivs, Self::refuse_privileges),
        (Step::Chdir, Self::enter_directory),
        (Step::Exec, Self::exec),
    ];

    /// Lays everything out.
    ///
    /// # Errors
    /// `Descriptors` if the open descriptors could not be listed, `Register` if a packet is too long.
    pub(super) fn prepare(birth: &'a Birth<'a>, progress: &'a Progress) -> Result<Newborn<'a>, BirthError> {
        let mut listen_pid = [0; 32];
        let _ = (&mut listen_pid[..]).write(b"LISTEN_PID=");
        let listen_pid = Box::new(listen_pid.map(Cell::new));
        let mut env = pointers(&birth.env);
        if birth.listen_pid {
            env.insert(env.len() - 1, listen_pid.as_ptr().cast());
        }
        let socket = match &birth.parent {
            Parent::Caller | Parent::Foreground => -1,
            Parent::Keeper { socket, message, fds, failed, .. } => {
                if failed.len() + 8 > FAILED_PACKET || message.is_empty() || fds.len() > socket::MAX_FDS {
                    return Err(BirthError { step: Step::Register, errno: Errno::EMSGSIZE, pid: None });
                }
                socket.as_raw_fd()
            }
        };
        let open = match close_range_works() {
            true => Vec::new(),
            false => open_descriptors().map_err(|errno| BirthError {
                step: Step::Descriptors,
                errno,
                pid: None,
            })?,
        };
        let needed = birth.stdio.len() + birth.pass.len() + 1;
        let window = open.is_empty().then(|| Window::borrow(needed)).flatten();
        Ok(Newborn {
            birth,
            caller: Pid::this(),
            argv: pointers(&birth.argv),
            env,
            listen_pid,
            sources: birth.stdio.iter().chain(&birth.pass).map(|fd| Cell::new(fd.as_raw_fd())).collect(),
            socket: Cell::new(socket),
            window,
            progress,
            oom_score: birth.terms.oom_score.and_then(|score| CString::new(score.to_string()).ok()),
            identity: birth.terms.identity.as_ref().filter(|identity| !is_ours(identity)),
            ignored: signals::Ignored::now(),
            open,
            stage: Cell::new(Step::Clone),
            errno: Cell::new(None),
        })
    }

    /// The control group it is to be born into.
    pub(super) fn cgroup(&self) -> Option<BorrowedFd<'a>> {
        self.birth.terms.cgroup
    }

    pub(super) fn parent(&self) -> &Parent<'a> {
        &self.birth.parent
    }

    /// See [`Window`]: with one, the clone must not copy the descriptor table.
    pub(super) fn window(&self) -> Option<&Window> {
        self.window.as_deref()
    }

    pub(super) fn progress(&self) -> &'a Progress {
        self.progress
    }

    /// What became of the child, read by the parent after it was resumed.
    pub(super) fn outcome(&self) -> Result<(), (Step, Errno)> {
        match (self.stage.get(), self.errno.get()) {
            (Step::Exec, None) => Ok(()),
            (step, errno) => Err((step, errno.unwrap_or(Errno::ECANCELED))),
        }
    }

    /// The child's whole life up to exec.
    pub(super) fn live(&self, kind: Kind) -> ! {
        let enter: Act<'a> = match kind {
            Kind::Clone3 => {
                self.ignored.reset();
                |_| Ok(())
            }
            Kind::Plain => {
                self.progress.pid.store(Pid::this().as_raw(), Ordering::Release);
                signals::reset_all();
                Self::enter_cgroup
            }
        };
        for (step, act) in [(Step::Cgroup, enter)].into_iter().chain(Self::STEPS) {
            self.stage.set(step);
            if let Err(errno) = act(self) {
                self.errno.set(Some(errno));
                self.report_failure(step, errno);
                break;
            }
        }
        // The keeper takes it from the exit code where it could not be told any more.
        let code = match (self.parent(), self.errno.get()) {
            (Parent::Keeper { .. }, Some(errno)) => errno as c_int,
            _ => 127,
        };
        // SAFETY: ends this process without running anything of the parent's.
        unsafe { libc::_exit(code) }
    }

    fn found_session(&self) -> nix::Result<()> {
        if let Parent::Foreground = self.parent() {
            return Ok(());
        }
        // SAFETY: a plain system call.
        Errno::result(unsafe { libc::setsid() }).map(drop)
    }

    /// The parent's death kills the child, and a parent that died before this call is noticed by its pid.
    fn tie_to_parent(&self) -> nix::Result<()> {
        let parent = match self.parent() {
            Parent::Caller => return Ok(()),
            Parent::Foreground => self.caller,
            Parent::Keeper { keeper, .. } => *keeper,
        };
        // SAFETY: a plain system call on numbers.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
        if Pid::parent() == parent { Ok(()) } else { Err(Errno::ESRCH) }
    }

    fn register(&self) -> nix::Result<()> {
        let Parent::Keeper { socket, message, fds, .. } = self.parent() else { return Ok(()) };
        socket::send(*socket, message, fds)
    }

    /// Until here every descriptor is the parent's. What is still needed goes into the window, and the child keeps a table
    /// that ends with it.
    fn leave_shared_table(&self) -> nix::Result<()> {
        let Some(window) = self.window() else { return Ok(()) };
        let needed = self.sources.iter().chain([&self.socket]).filter(|source| source.get() >= 0);
        for (source, slot) in needed.zip(window.slots()) {
            // SAFETY: a plain system call on numbers; the slot is set aside for this.
            let placed = unsafe { libc::dup3(source.get(), slot, libc::O_CLOEXEC) };
            source.set(Errno::result(placed)?);
        }
        unshare_from(window.end() as u32)
    }

    /// Sources below the last target would be overwritten before their turn, or are their own target: those are first
    /// moved above it. So no order of moves can go wrong.
    fn place_descriptors(&self) -> nix::Result<()> {
        let end = self.sources.len() as RawFd;
        for source in self.sources.iter().chain([&self.socket]) {
            if (0..end).contains(&source.get()) {
                // SAFETY: a plain system call on numbers.
                let moved = unsafe { libc::fcntl(source.get(), libc::F_DUPFD_CLOEXEC, end) };
                source.set(Errno::result(moved)?);
            }
        }
        for (target, source) in (0..).zip(&self.sources) {
            // SAFETY: as above; the descriptor table is the child's own copy.
            Errno::result(unsafe { libc::dup3(source.get(), target, 0) })?;
        }
        if self.open.is_empty() {
            return close_on_exec_from(end as u32);
        }
        for fd in self.open.iter().filter(|fd| **fd >= end) {
            // SAFETY: as above. A number that is closed by now is fine.
            unsafe { libc::fcntl(*fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        Ok(())
    }

    /// Closes everything but what is passed on, the socket to the keeper too: its end must not wait for this process.
    fn leave_keeper(&self) -> nix::Result<()> {
        let Parent::Keeper { .. } = self.parent() else { return Ok(()) };
        self.socket.set(-1);
        let end = self.sources.len() as RawFd;
        if self.open.is_empty() {
            return close_range(end as u32, 0);
        }
        for fd in self.open.iter().filter(|fd| **fd >= end) {
            // SAFETY: the descriptor table is the child's own copy. A number that is closed by now is fine.
            unsafe { libc::close(*fd) };
        }
        Ok(())
    }

    fn enter_cgroup(&self) -> nix::Result<()> {
        self.birth.terms.cgroup.map_or(Ok(()), enter)
    }

    fn enter_limit_groups(&self) -> nix::Result<()> {
        self.birth.terms.limit_groups.iter().try_for_each(|group| enter(*group))
    }

    fn set_nice(&self) -> nix::Result<()> {
        let Some(nice) = self.birth.terms.nice else { return Ok(()) };
        // SAFETY: a plain system call on numbers.
        Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)
    }

    fn set_oom_score(&self) -> nix::Result<()> {
        let Some(score) = &self.oom_score else { return Ok(()) };
        put(libc::AT_FDCWD, c"/proc/thread-self/oom_score_adj", score.to_bytes())
    }

    fn restore_open_files(&self) -> nix::Result<()> {
        self.birth.nofile.map_or(Ok(()), |(soft, hard)| limit(libc::RLIMIT_NOFILE as c_int, soft, hard))
    }

    fn set_limits(&self) -> nix::Result<()> {
        let limits = &self.birth.terms.limits;
        limits.iter().try_for_each(|(what, most)| limit(what.resource() as c_int, *most, *most))
    }

    /// The system calls, not the C library's functions: those would change every thread of the parent as well.
    fn set_groups(&self) -> nix::Result<()> {
        let Some(identity) = &self.identity else { return Ok(()) };
        let groups = &identity.groups;
        // SAFETY: a list and its length.
        Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
    }

    fn become_group(&self) -> nix::Result<()> {
        let Some(Identity { gid, .. }) = self.identity else { return Ok(()) };
        // SAFETY: a plain system call on numbers.
        Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid) }).map(drop)
    }

    /// Afterwards it must be who it is to be: a start as somebody else is none.
    fn become_user(&self) -> nix::Result<()> {
        let Some(Identity { uid, gid, .. }) = self.identity else { return Ok(()) };
        // SAFETY: a plain system call on numbers.
        Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid) })?;
        let (user, group) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
        let users = [user.real, user.effective, user.saved].map(nix::unistd::Uid::as_raw);
        let groups = [group.real, group.effective, group.saved].map(nix::unistd::Gid::as_raw);
        if users == [*uid; 3] && groups == [*gid; 3] { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Whether it changes from root to another user.
    fn leaves_root(&self) -> bool {
        self.identity.is_some_and(|identity| identity.uid != 0)
    }

    /// What a change of user does not take away: the keys of root's session, and what root's capabilities could come back
    /// from (`capabilities(7)`: the bounding set, the ambient set and the securebits).
    fn limit_privileges(&self) -> nix::Result<()> {
        const JOIN_SESSION_KEYRING: c_int = 1;
        if !self.leaves_root() {
            return Ok(());
        }
        // SAFETY: a plain system call; without a name the new keyring is this process's own.
        let joined = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, ptr::null::<c_char>()) };
        match Errno::result(joined) {
            // No keyrings here, or a sandbox that lets neither it nor its parent use any.
            Ok(_) | Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => {}
            Err(errno) => return Err(errno),
        }
        let prctl = |option: c_int, argument: c_int| {
            // SAFETY: a plain system call on numbers.
            Errno::result(unsafe { libc::prctl(option, argument, 0, 0, 0) }).map(drop)
        };
        // Kernels before 4.3 have no ambient set.
        match prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL) {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
        // The kernel's list ends where it says EINVAL. Without CAP_SETPCAP neither can be changed; then `no_new_privs`
        // keeps exec from giving anything.
        let bounded = (0..64).try_for_each(|capability| prctl(libc::PR_CAPBSET_DROP, capability));
        let plain = prctl(libc::PR_SET_SECUREBITS, 0);
        match (bounded, plain) {
            (Ok(()) | Err(Errno::EINVAL), Ok(())) => Ok(()),
            _ if self.birth.terms.no_new_privs => Ok(()),
            (Err(errno), _) | (_, Err(errno)) => Err(errno),
        }
    }

    /// Also where the launcher's securebits keep a change of user from doing it.
    fn drop_capabilities(&self) -> nix::Result<()> {
        const VERSION_3: u32 = 0x2008_0522;
        if !self.leaves_root() {
            return Ok(());
        }
        let (header, none) = ([VERSION_3, 0], [0_u32; 6]);
        // SAFETY: the header and the sets of version 3 (`capset(2)`), which live across the call.
        Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) }).map(drop)
    }

    fn refuse_privileges(&self) -> nix::Result<()> {
        if !self.birth.terms.no_new_privs {
            return Ok(());
        }
        // SAFETY: a plain system call on numbers.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
    }

    fn enter_directory(&self) -> nix::Result<()> {
        // SAFETY: a plain system call on a number, which cannot fail.
        unsafe { libc::umask(self.birth.umask) };
        // SAFETY: a string that ends in zero and outlives the call.
        Errno::result(unsafe { libc::chdir(self.birth.cwd.as_ptr()) }).map(drop)
    }

    /// Returns only if it failed.
    fn exec(&self) -> nix::Result<()> {
        self.write_own_pid();
        signals::unblock_all();
        let (program, argv, env) = (self.birth.program.as_ptr(), self.argv.as_ptr(), self.env.as_ptr());
        // SAFETY: a string and two arrays that end in null, all laid out by `prepare`.
        Errno::result(unsafe { libc::execve(program, argv, env) }).map(drop)
    }

    fn write_own_pid(&self) {
        let mut rest = Pid::this().as_raw();
        let mut digits = [0; 10];
        let mut count = 0;
        for digit in &mut digits {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        let room = self.listen_pid.iter().skip("LISTEN_PID=".len());
        for (place, digit) in room.zip(digits.iter().take(count).rev()) {
            place.set(*digit);
        }
    }

    /// Best effort: the parent reads the same from memory, the keeper at least sees the exit.
    fn report_failure(&self, step: Step, errno: Errno) {
        let Parent::Keeper { failed, .. } = self.parent() else { return };
        if self.socket.get() < 0 {
            return;
        }
        let mut packet = [0; FAILED_PACKET];
        let tail = (step as i32).to_le_bytes().into_iter().chain((errno as i32).to_le_bytes());
        let mut len = 0;
        for (place, byte) in packet.iter_mut().zip(failed.iter().copied().chain(tail)) {
            *place = byte;
            len += 1;
        }
        // SAFETY: the number is this process' own copy of the socket, open until exec.
        let socket = unsafe { BorrowedFd::borrow_raw(self.socket.get()) };
        let _ = socket::send(socket, packet.get(..len).unwrap_or_default(), &[]);
    }
}

/// A null-terminated array of the strings.
fn pointers(strings: &[impl AsRef<CStr>]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ref().as_ptr()).chain([ptr::null()]).collect()
}

/// Whether this process has this identity: then nothing is to be done, which an ordinary user could not do either.
fn is_ours(identity: &Identity) -> bool {
    let (Ok(user), Ok(group)) = (nix::unistd::getresuid(), nix::unistd::getresgid()) else { return false };
    let users = [user.real, user.effective, user.saved].map(nix::unistd::Uid::as_raw);
    let groups = [group.real, group.effective, group.saved].map(nix::unistd::Gid::as_raw);
    !user.effective.is_root() && users == [identity.uid; 3] && groups == [identity.gid; 3]
}

/// Moves this process into a control group.
fn enter(group: BorrowedFd) -> nix::Result<()> {
    put(group.as_raw_fd(), c"cgroup.procs", b"0")
}

fn put(folder: RawFd, file: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: a string that ends in zero and outlives the call.
    let file = unsafe { libc::openat(folder, file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    let file = Errno::result(file)?;
    // SAFETY: a buffer and its length.
    let answer = Errno::result(unsafe { libc::write(file, value.as_ptr().cast(), value.len()) }).map(drop);
    // SAFETY: a descriptor of this process' own table, opened above.
    unsafe { libc::close(file) };
    answer
}

/// By the system call that takes the same numbers everywhere.
fn limit(resource: c_int, soft: u64, hard: u64) -> nix::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let nothing = ptr::null_mut::<libc::rlimit64>();
    // SAFETY: the structure lives across the call; nothing is to be told.
    let answer = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, nothing) };
    Errno::result(answer).map(drop)
}

fn close_on_exec_from(first: u32) -> nix::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

/// Leaves a shared descriptor table for a copy of what is below `first`.
fn unshare_from(first: u32) -> nix::Result<()> {
    close_range(first, libc::CLOSE_RANGE_UNSHARE)
}

fn close_range(first: u32, flags: c_uint) -> nix::Result<()> {
    // SAFETY: closes nothing that this process needs, as the callers say.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) };
    Errno::result(answer).map(drop)
}

/// Makes `slot` another name of what `fd` is, CLOEXEC.
pub(super) fn replace(fd: RawFd, slot: RawFd) {
    // SAFETY: a plain system call on numbers; the slot is set aside for births.
    unsafe { libc::dup3(fd, slot, libc::O_CLOEXEC) };
}

/// Whether `close_range(2)` with CLOEXEC exists (Linux 5.11) and is allowed here.
pub(super) fn close_range_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| !fallback::forced("close_range") && close_on_exec_from(u32::MAX).is_ok())
}

/// Every descriptor of this process: what a launcher left open without CLOEXEC can be anywhere.
fn open_descriptors() -> nix::Result<Vec<c_int>> {
    let listing =
        std::fs::read_dir("/proc/self/fd").map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))?;
    Ok(listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

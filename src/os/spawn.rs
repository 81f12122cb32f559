//! Birth of a process: `clone3(CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND [| CLONE_PARENT])` and exec,
//! with `clone(2)` where `clone3` is refused. The caller is suspended until exec, so the cost does not grow with its memory
//! and an exec error comes back through shared memory.
//!
//! Where the program or its folder may hang, or another user may stop the child, `aside.rs` lets a thread of its own wait.
//!
//! `newborn.rs` is what the child does, step by step; `clone.rs` is the system call and its stack; `window.rs` keeps a birth
//! from growing with the number of descriptors.

mod aside;
mod clone;
mod newborn;
mod window;

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::limits::{self, Rlimit};
use super::wait;
pub use aside::{Begun, Outcome, Unborn, begin};
use clone::Progress;
use newborn::Newborn;
pub use window::reserve;

/// Everything a new process is made of. Prepared before the clone: between clone and exec nothing is allocated.
#[derive(Debug)]
pub struct Birth<'a> {
    /// Program file.
    pub program: CString,
    /// Arguments, the program's name first.
    pub argv: Vec<CString>,
    /// The whole environment, `NAME=value`. With `listen_pid`, `LISTEN_PID=` is added with the child's own pid.
    pub env: Vec<CString>,
    /// Working directory.
    pub cwd: CString,
    /// File mode creation mask.
    pub umask: u32,
    /// Become descriptors 0, 1 and 2.
    pub stdio: [BorrowedFd<'a>; 3],
    /// Become descriptors 3, 4, ... in this order, without CLOEXEC. Everything else is closed by exec.
    pub pass: Vec<BorrowedFd<'a>>,
    /// Whether `LISTEN_PID` is wanted (the passed descriptors are listening sockets).
    pub listen_pid: bool,
    /// Soft and hard `RLIMIT_NOFILE` to restore: provost raises its own.
    pub nofile: Option<(u64, u64)>,
    /// What it is and may be.
    pub terms: Terms<'a>,
    /// Who becomes the parent.
    pub parent: Parent<'a>,
}

/// What a process is and may be, beside what everybody is. Each that cannot be had is a failed birth.
#[derive(Debug, Default)]
pub struct Terms<'a> {
    /// The control group of version 2 it is born into.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Control groups of version 1 it enters.
    pub limit_groups: Vec<BorrowedFd<'a>>,
    /// Resource limits, soft and hard the same.
    pub limits: Vec<(Rlimit, u64)>,
    /// Nice value.
    pub nice: Option<i32>,
    /// How the kernel's out-of-memory killer rates it, -1000 to 1000.
    pub oom_score: Option<i32>,
    /// Who it is; `None`: whoever the caller is.
    pub identity: Option<Identity>,
    /// That exec gives no privileges, to it and all it forks.
    pub no_new_privs: bool,
}

/// The user and the groups of a process: real, effective and saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// Who becomes the parent of the new process.
#[derive(Debug)]
pub enum Parent<'a> {
    /// The caller.
    Caller,
    /// The caller, and the process stays in its session and process group: on a terminal they are one job. It is killed
    /// when the caller dies.
    Foreground,
    /// The caller's own parent, the keeper (`CLONE_PARENT`). The child tells it so before exec: it sends `message` and
    /// the descriptors over `socket` (with SCM_RIGHTS; the kernel adds its credentials). It also asks to be killed when
    /// the keeper dies (`PR_SET_PDEATHSIG`) and checks that the keeper is still `keeper`.
    Keeper {
        /// The child's copy of the SEQPACKET socket to the keeper.
        socket: BorrowedFd<'a>,
        /// One whole packet.
        message: Vec<u8>,
        /// Sent along.
        fds: Vec<BorrowedFd<'a>>,
        /// Packet sent instead of exec'ing on if a later step fails: `step` and `errno` are appended by the child as
        /// two little-endian i32, so that the failure is known to the keeper even when the caller is killed meanwhile.
        failed: Vec<u8>,
        /// The keeper's pid.
        keeper: Pid,
    },
}

/// A process that exists and whose exec succeeded.
#[derive(Debug)]
pub struct Born {
    /// Process id.
    pub pid: Pid,
    /// Refers to the process for as long as it is held, whatever becomes of the number (`pidfd_open(2)`).
    pub pidfd: OwnedFd,
}

/// Which step failed, and how. The process, if there was one, is gone or a zombie of the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {errno}")]
pub struct BirthError {
    /// The step.
    pub step: Step,
    /// The kernel's answer. `ECANCELED`: the child was killed by a signal while it was at this step.
    pub errno: Errno,
    /// The pid the attempt had, if it came that far.
    pub pid: Option<Pid>,
}

impl BirthError {
    /// The machine is short of something that comes back (processes, memory, descriptors): worth trying again later,
    /// and no fault of the program.
    pub fn is_shortage(&self) -> bool {
        limits::is_shortage(self.errno)
    }
}

/// Steps of a birth. The numbers travel in the failure packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    /// clone3 or clone.
    Clone = 1,
    /// `setsid`.
    Session = 2,
    /// `PR_SET_PDEATHSIG`, or the parent was gone already.
    DeathSignal = 3,
    /// Telling the keeper.
    Register = 4,
    /// Moving descriptors into place.
    Descriptors = 5,
    /// `prlimit`.
    Limits = 6,
    /// `chdir`.
    Chdir = 7,
    /// `execve`.
    Exec = 8,
    /// Entering a control group.
    Cgroup = 9,
    /// `setpriority`.
    Nice = 10,
    /// Writing `oom_score_adj`.
    OomScore = 11,
    /// `setgroups`.
    Groups = 12,
    /// `setresgid`.
    Group = 13,
    /// `setresuid`.
    User = 14,
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivs = 15,
    /// `capset` and what limits capabilities.
    Capabilities = 16,
}

impl Step {
    const ALL: [Step; 16] = [
        Step::Clone,
        Step::Session,
        Step::DeathSignal,
        Step::Register,
        Step::Descriptors,
        Step::Limits,
        Step::Chdir,
        Step::Exec,
        Step::Cgroup,
        Step::Nice,
        Step::OomScore,
        Step::Groups,
        Step::Group,
        Step::User,
        Step::NoNewPrivs,
        Step::Capabilities,
    ];

    /// The step of this number.
    pub fn from_number(number: i32) -> Option<Step> {
        Step::ALL.into_iter().find(|step| *step as i32 == number)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Step::Clone => "clone",
            Step::Session => "setsid",
            Step::DeathSignal => "tie to its parent",
            Step::Register => "register with the keeper",
            Step::Descriptors => "place descriptors",
            Step::Limits => "set its limits",
            Step::Chdir => "chdir",
            Step::Exec => "exec",
            Step::Cgroup => "enter its control group",
            Step::Nice => "set its nice value",
            Step::OomScore => "set its oom_score_adj",
            Step::Groups => "set its further groups",
            Step::Group => "become its group",
            Step::User => "become its user",
            Step::NoNewPrivs => "set no_new_privs",
            Step::Capabilities => "drop its capabilities",
        })
    }
}

/// Makes a process. Returns when its program runs, or when it is certain that it will not.
///
/// # Errors
/// The first step that failed. With [`Parent::Caller`] the failed child is already reaped; with [`Parent::Keeper`] it is
/// the keeper's to reap, and the keeper reports its exit if it came as far as registering.
pub fn spawn(birth: &Birth) -> Result<Born, BirthError> {
    let (born, error) = make(birth, &Progress::default());
    match (born, error) {
        (Some(born), None) => Ok(born),
        (born, error) => {
            if let (Parent::Caller | Parent::Foreground, Some(born)) = (&birth.parent, born) {
                // A child that failed is at its end already; nobody else may reap it.
                let _ = wait::reap_by_pidfd(&born.pidfd);
            }
            Err(error.unwrap_or(BirthError { step: Step::Clone, errno: Errno::ECANCELED, pid: None }))
        }
    }
}

/// The process, if there was one, and what failed. Waits until its exec is over.
fn make(birth: &Birth, progress: &Progress) -> (Option<Born>, Option<BirthError>) {
    let newborn = match Newborn::prepare(birth, progress) {
        Ok(newborn) => newborn,
        Err(error) => return (None, Some(error)),
    };
    let _undumpable = birth.terms.identity.is_some().then(Undumpable::begin);
    match clone::start(&newborn) {
        Ok(born) => {
            let failed = newborn.outcome().err();
            let error = failed.map(|(step, errno)| BirthError { step, errno, pid: Some(born.pid) });
            (Some(born), error)
        }
        Err(errno) => (None, Some(BirthError { step: clone_step(birth, errno), errno, pid: None })),
    }
}

/// Whoever changes its user loses the right to look into its memory, and until its exec that is ours. It must not get that
/// right back while any such child is in our memory: its new user could write there.
struct Undumpable;

static CHANGING_USER: Mutex<usize> = Mutex::new(0);

impl Undumpable {
    fn begin() -> Undumpable {
        *CHANGING_USER.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Undumpable
    }
}

impl Drop for Undumpable {
    fn drop(&mut self) {
        let mut count = CHANGING_USER.lock().unwrap_or_else(PoisonError::into_inner);
        *count = count.saturating_sub(1);
        if *count == 0 {
            let _ = nix::sys::prctl::set_dumpable(true);
        }
    }
}

/// Which step it was that clone did not get through: being born into a control group has refusals of its own.
fn clone_step(birth: &Birth, errno: Errno) -> Step {
    let by_group =
        matches!(errno, Errno::EACCES | Errno::EBUSY | Errno::ENODEV | Errno::EOPNOTSUPP | Errno::EBADF);
    if birth.terms.cgroup.is_some() && by_group { Step::Cgroup } else { Step::Clone }
}

#[cfg(test)]
mod tests;

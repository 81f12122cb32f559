//! Birth of a process: `clone3(CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND [| CLONE_PARENT])` and exec,
//! with `clone(2)` where `clone3` is refused. The caller is suspended until exec, so the cost does not grow with its memory
//! and an exec error comes back through shared memory.

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

/// Everything a new process is made of. Prepared before the clone: between clone and exec nothing is allocated.
#[derive(Debug)]
pub struct Birth<'a> {
    /// Program file.
    pub program: CString,
    /// Arguments, the program's name first.
    pub argv: Vec<CString>,
    /// The whole environment, `NAME=value`. With `listen` not empty, `LISTEN_PID=` is added with the child's own pid.
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
    /// Who becomes the parent.
    pub parent: Parent<'a>,
}

/// Who becomes the parent of the new process.
#[derive(Debug)]
pub enum Parent<'a> {
    /// The caller.
    Caller,
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

/// Which step failed, and how. The process, if there was one, is gone or a zombie of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {errno}")]
pub struct BirthError {
    /// The step.
    pub step: Step,
    /// The kernel's answer.
    pub errno: Errno,
    /// The pid the attempt had, if it came that far.
    pub pid: Option<Pid>,
}

/// Steps of a birth, in order. The numbers travel in the failure packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    /// clone3 or clone.
    Clone = 1,
    /// Telling the keeper.
    Register = 2,
    /// `setsid`.
    Session = 3,
    /// Moving descriptors into place.
    Descriptors = 4,
    /// `chdir`.
    Chdir = 5,
    /// `prlimit`.
    Limits = 6,
    /// `PR_SET_PDEATHSIG`, or the keeper was gone already.
    DeathSignal = 7,
    /// `execve`.
    Exec = 8,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Step::Clone => "clone",
            Step::Register => "register with the keeper",
            Step::Session => "setsid",
            Step::Descriptors => "place descriptors",
            Step::Chdir => "chdir",
            Step::Limits => "restore limits",
            Step::DeathSignal => "tie to the keeper",
            Step::Exec => "exec",
        })
    }
}

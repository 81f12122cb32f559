//! The first process: parent of everything, holder of everything that must outlive the supervisor process.
//!
//! Single-threaded, no tokio, fixed tables. It knows no config, prints nothing, and takes no decision beyond: reap, keep
//! exit facts until acknowledged, hold descriptors, and replace the supervisor process when it is gone or hangs. After start it
//! allocates nothing that grows: only the strings for the birth of a supervisor process, which are freed again.
//!
//! `rounds.rs` is its loop; read that first. `remains.rs` is what children leave behind. `incarnation.rs` is one supervisor process and what it was told, `watch.rs` and
//! `door.rs` how a hung one is noticed, `revival.rs` when the next one may start, `ending.rs` when the tree is ended without it, `programs.rs` what it runs,
//! `protocol.rs` the one list of packets, `link.rs` the supervisor's end of the socket.

mod children;
mod door;
mod ending;
mod incarnation;
mod link;
mod notice;
mod programs;
mod protocol;
mod remains;
mod revival;
mod rounds;
mod store;
mod watch;
mod wire;

use std::ffi::CString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use nix::unistd::Pid;

pub use link::Link;
pub use protocol::{
    Beginning, ExitRecord, FromKeeper, Key, LEFT_NAMES, Left, NAME_MAX, OUTPUTS_MAX, Reach, ToKeeper,
};

use crate::os::cgroup::Home;
use crate::os::lock::Lock;

/// Where a supervisor process finds the socket to its keeper. See [`Link::inherited`].
pub const LINK_FD: RawFd = 3;

/// Where a supervisor process finds its journal: a file in memory that the keeper holds and never looks into; one of a
/// new program finds a copy until it has taken over. For
/// `os::process::inherited`.
pub const JOURNAL_FD: RawFd = 4;

/// Where a supervisor process finds its own program, so that a script can be one too: its interpreter opens it by this
/// number. To be closed.
pub const PROGRAM_FD: RawFd = 5;

/// The name under which the store keeps the listening control socket: the keeper looks whether somebody waits there for
/// long.
pub const CONTROL: &str = "control";

/// The variable in the environment of the supervisor process and of every child that names the project's run directory.
pub const RUN_DIR_VARIABLE: &str = "PROVOST_RUN_DIR";

/// The variable in the environment of the supervisor process and of every child that names their launcher: by it they are
/// known as left behind when that is dead. As `os::leftovers::Launch` writes it.
pub const LAUNCH_VARIABLE: &str = "PROVOST_LAUNCH";

/// The variable in the environment of every child that tells whose descendants are whose: `KEEPER.NODE.RUN`, the keeper by
/// its process id.
pub const KEY_VARIABLE: &str = "PROVOST_KEY";

/// Version of the packets between keeper and supervisor process. Both must speak the same.
pub const PROTOCOL: u8 = wire::VERSION;

/// The exit code when the keeper ended the tree itself: it did not end in order.
pub const FORCED: u8 = 1;

/// The exit code of a supervisor process that ended because the machine was short of memory or descriptors (`EX_TEMPFAIL`):
/// that is no crash, and the next one is started a little later.
pub const SHORTAGE: u8 = 75;

/// The exit code when something could not be killed (`EX_OSERR`).
pub const UNKILLABLE: u8 = 71;

/// How the tree ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code; [`UNKILLABLE`] if something is left.
    pub code: u8,
    /// What could not be killed.
    pub left: Vec<Survivor>,
}

/// A process that KILL did not end: frozen, or waiting in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Process id.
    pub pid: Pid,
    /// Its name in the process table.
    pub name: String,
    /// Its state there: `D` waits in the kernel or is frozen.
    pub state: char,
}

/// What the keeper needs to know.
#[derive(Debug)]
pub struct Plan {
    /// The supervisor process' program, held so that a replaced or removed file changes nothing: usually
    /// `os::process::own_program`.
    pub program: OwnedFd,
    /// Its arguments, the program's name first.
    pub argv: Vec<CString>,
    /// One more argument for the supervisor process that is started when others keep crashing.
    pub safe: CString,
    /// Its whole environment.
    pub env: Vec<CString>,
    /// Its working directory; `/` if that cannot be entered.
    pub cwd: CString,
    /// The longest stop of a child; `None`: one may take for ever. An ordered stop in which nothing happens for so long and
    /// some 10 s more is ended by the keeper.
    pub longest_stop: Option<Duration>,
    /// What it finds as [`JOURNAL_FD`].
    pub journal: OwnedFd,
    /// The lock on the run directory, held to the end.
    pub lock: Option<Lock>,
    /// The control groups of the children: emptied and removed in the end.
    pub cgroups: Home,
    /// Gets one byte when the tree is up for the first time, and is closed: for a waiting `up -d`.
    pub ready: Option<OwnedFd>,
}

/// Becomes the keeper: starts the supervisor process, and returns once the tree has ended and nothing is left of it but what
/// cannot be killed.
///
/// The caller must have one thread. Children that it has already are not touched. Its signal mask, its dispositions of CHLD and PIPE and its limit
/// of open files are changed; children are born with what was before.
///
/// # Errors
/// The keeper could not be set up, or the first supervisor process could not be started. Nothing is left running.
pub fn run(plan: Plan) -> io::Result<Ended> {
    Ok(rounds::Keeper::begin(plan)?.keep())
}

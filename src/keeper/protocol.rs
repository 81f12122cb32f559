//! Packets between keeper and supervisor process, over one SOCK_SEQPACKET pair. One packet, one fact.
//!
//! `wire.rs` has their bytes.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

/// Longest name in the descriptor store, in bytes.
pub const NAME_MAX: usize = 63;

/// Most output pipes of one child.
pub const OUTPUTS_MAX: usize = 2;

/// Names one life of one child: the rules' node and run. The keeper only compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Node.
    pub node: u32,
    /// Run.
    pub run: u32,
}

/// Whom the end of a child takes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Everything it has forked.
    #[default]
    Tree,
    /// Its process group.
    Group,
    /// Nobody.
    Process,
}

/// Names of leftovers that are kept.
pub const LEFT_NAMES: usize = 4;

/// What a child left running when it ended, and what was killed for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The first of them: process id, name in the process table.
    named: [(i32, [u8; 15]); LEFT_NAMES],
    /// How many more.
    pub more: u32,
}

impl Left {
    /// One more, unless it is known.
    pub(super) fn add(&mut self, pid: i32, name: [u8; 15]) {
        if self.named.iter().any(|(known, _)| *known == pid) {
            return;
        }
        match self.named.iter_mut().find(|(known, _)| *known == 0) {
            Some(place) => *place = (pid, name),
            None => self.more += 1,
        }
    }

    /// Those whose names are kept.
    pub fn named(&self) -> impl Iterator<Item = (i32, String)> {
        let named = self.named.iter().filter(|(pid, _)| *pid > 0);
        named.map(|(pid, name)| {
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            (*pid, String::from_utf8_lossy(name).into_owned())
        })
    }

    pub(super) fn places(&self) -> &[(i32, [u8; 15]); LEFT_NAMES] {
        &self.named
    }
}

/// What the supervisor process is told.
#[derive(Debug)]
pub enum FromKeeper {
    /// Snapshot: this child is registered (alive, or its exit follows).
    Child {
        /// Which.
        key: Key,
        /// Process id, valid until its exit was acknowledged.
        pid: Pid,
        /// See [`ExitRecord::born_ns`]; the first keepers did not tell it.
        born_ns: Option<u64>,
        /// A duplicate of the keeper's pidfd.
        pidfd: OwnedFd,
        /// Read ends of its output pipes, in the order they were registered.
        outputs: Vec<OwnedFd>,
    },
    /// Snapshot: a descriptor put into the store earlier.
    Stored {
        /// Its name (at most 63 bytes).
        name: String,
        /// A duplicate.
        fd: OwnedFd,
    },
    /// The snapshot is complete.
    SnapshotEnd {
        /// How many supervisor processes there have been, this one included.
        incarnation: u32,
        /// How many processes that no supervisor process registered the keeper has reaped so far: forked by children and
        /// left behind, or killed before they could register.
        orphans: u64,
        /// What this supervisor process comes after.
        beginning: Beginning,
    },
    /// A registered child ended and is reaped; what it left behind was killed first, as far as its [`Reach`] goes. Repeated to every new
    /// supervisor process until acknowledged.
    Exited(ExitRecord),
    /// The keeper was asked to stop (SIGTERM, SIGINT, SIGHUP).
    Stop,
    /// ... for the second time, or by SIGQUIT.
    StopNow,
    /// Say [`ToKeeper::Alive`].
    Ping,
    /// The keeper is dead: the socket is at its end. Comes from the kernel, not as a packet.
    Gone,
}

/// What a supervisor process comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// The start of the launcher, or the end of another supervisor process.
    Usual,
    /// The first of a new program, on trial: it stays if this supervisor process comes to say [`ToKeeper::Alive`].
    Upgraded,
    /// A new program whose first supervisor process ended with this wait status before it had taken over; this is the
    /// program before it.
    RolledBack {
        /// `wait(2)` status.
        status: i32,
    },
    /// Too many supervisor processes crashed, the last with this wait status. This one got [`Plan::safe`](super::Plan) as
    /// an argument, as every one after it does (after `RolledBack` too) until a new program has taken over.
    Safe {
        /// `wait(2)` status.
        status: i32,
    },
}

/// One exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitRecord {
    /// Which.
    pub key: Key,
    /// The process it was.
    pub pid: Pid,
    /// `wait(2)` status, raw.
    pub status: i32,
    /// User and system CPU time in microseconds, largest resident set in KiB (`getrusage(2)`).
    pub user_us: u64,
    /// See `user_us`.
    pub system_us: u64,
    /// See `user_us`.
    pub max_rss_kib: u64,
    /// When it was reaped, `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// When the supervisor process set out to make it; likewise. Before anything the process did.
    pub born_ns: u64,
    /// It never came to exec: the failed step (`Step as i32`) and errno.
    pub birth_failed: Option<(i32, Errno)>,
    /// What it left behind.
    pub left: Left,
}

/// What the supervisor process says.
#[derive(Clone, Copy, Debug)]
pub enum ToKeeper<'a> {
    /// The exit of this run is recorded: forget it.
    Ack(Key),
    /// Keep this descriptor under this name (replacing an older one).
    Store(&'a str, BorrowedFd<'a>),
    /// Close the stored descriptor.
    Unstore(&'a str),
    /// All that was told so far is taken in. Owed to `SnapshotEnd` (then it means: taken over), `Ping` and requests to
    /// stop, and to exits that are not acknowledged at once: whoever stays silent is taken for hung.
    Alive,
    /// This program is the supervisor process' from the next one on. The sender exits now.
    Program(BorrowedFd<'a>),
    /// The tree is up for the first time (a waiting `up -d` may return).
    Up,
    /// The tree is being stopped; its longest stop of a child is this, `None`: for ever.
    Stopping(Option<Duration>),
    /// The tree has ended: exit with this code once nothing is left.
    Finish(u8),
}

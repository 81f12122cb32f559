//! What can happen to a tree: facts (past tense, about one run) and requests.

use serde::{Deserialize, Serialize};

use super::spec::{ChildSpec, Signal, SupervisorSpec};
use super::tree::{NodeId, Run};

/// One thing that happened or is asked for. Facts about a run that is over are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event {
    /// Start the tree.
    Boot,
    /// The process of this run exists and its exec succeeded.
    Spawned(NodeId, Run),
    /// The attempt came to nothing; no process of it is left. Also the answer to a `Kill` that came before the process.
    SpawnFailed(NodeId, Run, StartError),
    /// The start condition said "not here, not now" (OTP `ignore`).
    Ignored(NodeId, Run),
    /// The child reported itself ready. Before `Spawned` it stands for both.
    Ready(NodeId, Run),
    /// A health check or watchdog found the child broken: it is stopped by its own shutdown setting, and that counts as an
    /// abnormal exit. Ignored unless the child is up.
    Unhealthy(NodeId, Run),
    /// These processes are gone, with everything they forked. All exits that are known at one instant come in one
    /// event: the rules handle them in start order (earliest child first), because the kernel gives no other.
    /// The node may be a supervisor that somebody wants killed (OTP `exit(Pid, kill)`): all below it is killed.
    Exited(Vec<ExitFact>),
    /// An operator's or parent's call; answered by [`Action::Reply`](super::Action::Reply) with the same ticket.
    Request(Ticket, Call),
    /// Stop the whole tree in order. Latched: nothing starts any more.
    Stop,
    /// Stop the whole tree without the polite part.
    StopNow,
    /// A deadline may have passed.
    Tick,
}

/// A process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExitFact {
    /// Whose process.
    pub node: NodeId,
    /// Which life of it.
    pub run: Run,
    /// How it ended.
    pub exit: Exit,
}

/// How a process ended, as `wait(2)` tells it. Code and signal are never mixed up: 143 is a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// `exit(code)`.
    Code(u8),
    /// Killed by a signal.
    Signal {
        /// Which one.
        signal: Signal,
        /// Whether a core was dumped.
        core: bool,
    },
    /// The status could not be had.
    Unknown,
}

/// Why an attempt came to nothing. Details (step, errno) stay with the one who tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StartError {
    /// exec or a step before it failed; counts as a failed attempt.
    Failed,
    /// No memory, processes or descriptors right now: tried again on a timer of its own, never counted as a restart.
    NoResources,
}

/// Ties a reply to its request. Unique among the requests that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// OTP's administration calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Call {
    /// `start_child/2` with a new specification, under this supervisor.
    StartChild(NodeId, ChildSpec),
    /// `start_child/2` on a template supervisor: a new instance of this name.
    StartInstance(NodeId, String),
    /// `terminate_child/2`. Ok also for a node that exists no longer (14); names are the caller's business.
    TerminateChild(NodeId),
    /// `restart_child/2`.
    RestartChild(NodeId),
    /// `delete_child/2`.
    DeleteChild(NodeId),
    /// Stop if running, then start, as one operation (an operator's "restart"; not in OTP). Never counted.
    CycleChild(NodeId),
    /// `code_change`: new flags and specifications for the whole tree, matched by name. All or nothing.
    Reload(SupervisorSpec),
}

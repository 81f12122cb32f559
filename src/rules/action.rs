//! What a tree answers: orders (imperative, may fail), replies, and notes of what it decided (data for people).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Exit, StartError, Ticket};
use super::spec::{Signal, SpecError};
use super::time::Moment;
use super::tree::{NodeId, Run};

/// One answer of the rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Start this run; answered by `Spawned`, `SpawnFailed` or `Ignored`.
    Start(NodeId, Run),
    /// Send this signal, then CONT, to the main process; answered by `Exited` in the end.
    Signal(NodeId, Run, Signal),
    /// Kill the process and everything it forked; answered by `Exited`. It may also take back a `Start` that has not been
    /// performed yet; then `SpawnFailed` is the answer, or `Spawned`, and the kill is ordered again.
    Kill(NodeId, Run),
    /// The answer to a request.
    Reply(Ticket, Result<Reply, Refusal>),
    /// This node and what is below it exist no longer; what was kept for it can go. Not sent for nodes that a
    /// restarted supervisor starts anew: those keep their identity. Notes about the node come before this, but the
    /// tree knows its name no longer when they are read.
    Forget(NodeId),
    /// A new node exists: added by a request or a reload, or a removed child that its restarted supervisor brings back.
    /// Below an instance of a template supervisor names end with `@` and the instance's name.
    Added {
        /// The new node.
        node: NodeId,
        /// Its name.
        name: String,
        /// The supervisor it stands under.
        parent: NodeId,
    },
    /// Something worth telling: feeds the log, the event stream and the history.
    Note(Note),
    /// The tree has ended; nothing follows.
    Finished(EndClass),
}

/// What was decided, as data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Note {
    /// A start attempt begins.
    Starting(NodeId, Run),
    /// The attempt succeeded (with readiness: it is ready). Also for supervisors, once all children are up.
    Started(NodeId, Run),
    /// The attempt failed. For a supervisor: its boot was rolled back.
    StartFailed(NodeId, Run, Failure),
    /// The condition said no.
    Ignored(NodeId, Run),
    /// A run ended. Told when it is decided about: at once, unless its supervisor is in the middle of something else.
    Exited {
        /// Whose.
        node: NodeId,
        /// Which.
        run: Run,
        /// How; a supervisor's end is told by `Ended`.
        exit: Exit,
        /// Whether its supervisor had begun to stop it.
        requested: bool,
        /// Whether the stop needed KILL (brutal kill or a polite time that ran out).
        killed: bool,
        /// What follows from it.
        decision: Decision,
    },
    /// A supervisor node has ended, all its children are gone.
    Ended(NodeId, Run, EndClass),
    /// The supervisor begins to stop this child.
    Stopping(NodeId, Run),
    /// The child is killed.
    Killing(NodeId, Run, KillCause),
    /// KILL did not end it within the grace time (uninterruptible sleep); no second generation is started.
    Stuck(NodeId, Run),
    /// A restart is due and counted: a round begins. Once for each counted restart, also if it waits.
    Restarting {
        /// The supervisor.
        supervisor: NodeId,
        /// The child that caused it.
        trigger: NodeId,
        /// Everybody it concerns, in start order.
        set: Vec<NodeId>,
        /// Restarts left in the window.
        restarts_left: u32,
    },
    /// The restart waits.
    Backoff {
        /// Who waits.
        node: NodeId,
        /// Until when.
        until: Moment,
        /// How long in all.
        delay: Duration,
    },
    /// No resources for a start; tried again then.
    ResourceWait(NodeId, Moment),
    /// A health check failed for good.
    Unhealthy(NodeId, Run),
    /// The intensity is exceeded.
    GaveUp {
        /// The supervisor that gives up.
        supervisor: NodeId,
        /// The child that was one restart too many.
        child: NodeId,
    },
    /// A significant child ended the supervisor.
    AutoShutdown {
        /// The supervisor.
        supervisor: NodeId,
        /// The significant child.
        child: NodeId,
    },
    /// A specification was added.
    Added(NodeId),
    /// A specification was removed.
    Removed(NodeId),
    /// A reload took effect.
    Reloaded,
    /// The whole tree is up.
    Up,
}

/// Why a child is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KillCause {
    /// The time of its polite steps is over, or an earlier KILL did not help.
    TimeOut,
    /// Its shutdown setting has no polite step.
    BrutalKill,
    /// All is to end at once: a hurried stop, or a supervisor above was killed.
    AtOnce,
}

/// Why a start attempt failed, as far as the rules know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// Told by `SpawnFailed`.
    Spawn(StartError),
    /// It ended before it was ready (or, a oneshot, without success).
    Exited(Exit),
    /// Not ready in time; stopped.
    Timeout,
    /// A child below could not be started.
    Child(NodeId),
    /// Broken off by a stop.
    Stopped,
}

/// What follows from an exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Started again.
    Restart,
    /// Its specification stays, without a process.
    Stopped,
    /// Its specification goes with it.
    Removed,
    /// The restart intensity is exceeded: its supervisor gives up.
    GiveUp,
    /// Its supervisor shuts down by itself.
    AutoShutdown,
    /// Part of a stop, a round or a failed start that was under way: nothing of its own.
    Absorbed,
}

/// Why a tree or a supervisor node ended. OTP's reason is `shutdown` for the first three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndClass {
    /// Asked to.
    Stopped,
    /// Too many restarts.
    GaveUp,
    /// Significant children ended; how the last of them did.
    AutoShutdown {
        /// The exit that caused it (`None`: a significant supervisor node).
        exit: Option<Exit>,
        /// Whether that exit was a success, or the child not temporary.
        clean: bool,
    },
    /// Could not start; the child that failed.
    BootFailed(NodeId),
    /// Killed with all below it (OTP `exit(Pid, kill)`); never the root. The only end that is abnormal to its parent.
    Killed,
}

/// What a granted request answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// Started, this run (OTP `{ok, Pid}`).
    Started(NodeId, Run),
    /// Accepted, no process came of it (OTP `{ok, undefined}`); `None` if the specification is gone too.
    NoProcess(Option<NodeId>),
    /// Done (OTP `ok`).
    Done,
}

/// Why a request is refused: OTP's error terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// No such child.
    NotFound,
    /// `start_child` of a name that runs.
    AlreadyStarted(NodeId),
    /// `start_child` of a name that is kept, but does not run.
    AlreadyPresent(NodeId),
    /// `restart_child` or `delete_child` of a running child.
    Running,
    /// ... of a restarting child.
    Restarting,
    /// The start came to nothing.
    StartFailed(Failure),
    /// The call does not apply to a template supervisor's child.
    SimpleOneForOne,
    /// KILL did not end it within the grace time. Nothing of it is started before it is gone.
    Stuck,
    /// The specification is not acceptable.
    BadSpec(SpecError),
    /// The supervisor ended before the call was handled.
    SupervisorStopped,
}

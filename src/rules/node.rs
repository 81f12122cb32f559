//! One node and the states of its life.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::{EndClass, Failure};
use super::event::Exit;
use super::spec::{ChildSpec, Signal, StopStep};
use super::supervisor::Supervisor;
use super::time::Moment;
use super::tree::{NodeId, Run};

/// A worker or a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) name: String,
    /// `None` only for the root.
    pub(super) parent: Option<NodeId>,
    pub(super) origin: Origin,
    /// Place in its supervisor's start order.
    pub(super) place: u32,
    /// The newest run; facts about any other are stale.
    pub(super) run: Run,
    /// Automatic restarts so far.
    pub(super) restarts: u32,
    /// Restarts in a row, for the backoff.
    pub(super) streak: u32,
    pub(super) life: Life,
    pub(super) body: Body,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Body {
    Worker,
    Supervisor(Box<Supervisor>),
}

/// Where a node's specification is found. A node does not copy what a reload may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Origin {
    /// At this index of its supervisor's configured children. Comes back whenever the supervisor starts.
    Static(u32),
    /// Here: added by `start_child`, or dropped from the configuration by a reload and kept. Lost with its supervisor.
    Own(Box<ChildSpec>),
    /// An instance: its supervisor's template, read whenever it is needed.
    Instance,
    /// The template itself. It has a name, but never a life.
    Template,
}

/// Where a child is in its life.
///
/// ```text
///             begin              up                exit
/// Down, Owed ------> Starting ------> Up ------------------> Over -----> Down, Owed, or the node is gone
///                       |             | stop, health check
///                       | timeout     v               exit
///                       +--------> Ending ----------------> Down (a stop) or Over (anything else)
/// ```
/// Facts move a life as far as `Over`; what follows from that is decided by the supervisor alone, when its queue or
/// its operation comes to it. `Starting`, `Up` and `Ending` are the states with a process (or with one that may exist);
/// a run never leaves them before its process is known to be gone, so there is never a second generation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Life {
    /// No process, and none is owed.
    Down(Down),
    /// OTP's `restarting`, between attempts.
    Owed(Owed),
    /// A start attempt is under way.
    Starting(Attempt),
    /// OTP's pid.
    Up { since: Moment, by: UpBy },
    /// The process is being brought to its end.
    Ending(Stop, Purpose),
    /// The run is over; its supervisor has not drawn the consequence yet.
    Over(Over),
}

/// Why there is no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Down {
    /// The boot of its supervisor has not come to it.
    Waiting,
    /// Stopped, ignored, or added by a reload.
    Stopped,
    /// Ended by itself, and that was that.
    Exited,
    /// Given up on.
    Failed,
}

/// A restart that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Owed {
    /// Its round is under way.
    Round,
    /// The round waits for this moment.
    Backoff { until: Moment },
    /// In its supervisor's queue of retries.
    Queued(Toll),
}

/// Whether a queued restart has been counted against the intensity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Toll {
    /// Not yet: an attempt failed.
    Due,
    /// Yes, before its delay.
    Paid,
}

/// How far a start attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Attempt {
    /// The order is given; `pause` is the wait that follows if there are no resources.
    Ordered { pause: Duration },
    /// The process exists; the attempt is over when what is awaited comes, or `until` passes.
    Warming { awaits: Awaits, until: Option<Moment> },
    /// No resources for a process. Not a failure: ordered again at `until`.
    NoResources { until: Moment, pause: Duration },
    /// The boot of a subtree.
    Subtree,
}

/// What ends a start attempt well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Awaits {
    /// The report of readiness.
    Ready,
    /// The process's own success.
    Success,
}

/// What made a child count as up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum UpBy {
    /// exec succeeded (a supervisor: all children are up).
    Start,
    /// It reported itself ready.
    Ready,
}

/// How far the ending of a process has come. A supervisor passes through the same states; nothing is sent to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Stop {
    /// Asked with this signal, as soon as the process is reported to exist; the rest of the steps follows at `until`. A
    /// stop goes on as it began, whatever a reload changes in between.
    Asked { signal: Signal, until: Option<Moment>, rest: Vec<StopStep>, birth: Birth },
    /// KILL was ordered; past `until` the process is stuck (a supervisor is stuck when a child of it is).
    Killed { until: Option<Moment>, birth: Birth },
    /// KILL did not help within the grace time.
    Stuck { birth: Birth },
}

/// Whether a process that is being ended has been reported to exist. An order to start can be taken back before: then a
/// failure to start also ends it. A report of the start brings the polite signal, or another KILL, because the first may
/// have come too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Birth {
    Reported,
    Unreported,
}

/// What the ending is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// A requested stop.
    Stop,
    /// A failed or broken-off start attempt.
    Failed(Failure),
    /// A failed health check: the end of it is an exit of class abnormal.
    Health,
    /// Stuck, and no operation waits for it any more.
    Left(After),
}

/// What a stuck child becomes when its process is gone at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum After {
    /// Stopped, or gone if it is not kept without a process.
    Rest,
    /// Restarting: a retry is in the queue.
    Retry,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Over {
    /// The process of a child that was up ended.
    Exited { exit: Exit, class: Class, killed: bool },
    /// A supervisor that was up ended.
    Ended(EndClass),
    /// The start attempt failed.
    Failed(Failure),
    /// The start attempt came to no process, and well: OTP's `ignore`.
    NoProcess(Down),
    /// A stuck child is gone at last.
    Late,
}

/// The two classes that decisions know (OTP: `normal`, `shutdown`, `{shutdown, _}` against any other reason).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Class {
    Success,
    Abnormal,
}

impl Life {
    /// When this state ends by itself.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self {
            Life::Owed(Owed::Backoff { until }) | Life::Starting(Attempt::NoResources { until, .. }) => {
                Some(*until)
            }
            Life::Starting(Attempt::Warming { until, .. })
            | Life::Ending(Stop::Asked { until, .. } | Stop::Killed { until, .. }, _) => *until,
            Life::Starting(Attempt::Ordered { .. } | Attempt::Subtree)
            | Life::Ending(Stop::Stuck { .. }, _)
            | Life::Owed(Owed::Round | Owed::Queued(_))
            | Life::Down(_)
            | Life::Up { .. }
            | Life::Over(_) => None,
        }
    }

    /// Whether the process has been reported to exist, as far as that matters.
    pub(super) fn birth(&self) -> Birth {
        match self {
            Life::Starting(Attempt::Ordered { .. }) => Birth::Unreported,
            Life::Ending(
                Stop::Asked { birth, .. } | Stop::Killed { birth, .. } | Stop::Stuck { birth },
                _,
            ) => *birth,
            _ => Birth::Reported,
        }
    }

    pub(super) fn is_stuck(&self) -> bool {
        matches!(self, Life::Ending(Stop::Stuck { .. }, _))
    }

    /// Whether there is a process, or may be one.
    pub(super) fn is_alive(&self) -> bool {
        match self {
            Life::Starting(_) | Life::Up { .. } | Life::Ending(..) => true,
            Life::Down(_) | Life::Owed(_) | Life::Over(_) => false,
        }
    }

    /// OTP's `restarting`, but for a start attempt (whose meaning depends on the operation it belongs to).
    pub(super) fn is_owed(&self) -> bool {
        matches!(self, Life::Owed(_) | Life::Ending(_, Purpose::Left(After::Retry)))
    }
}

impl Node {
    pub(super) fn supervisor(&self) -> Option<&Supervisor> {
        match &self.body {
            Body::Worker => None,
            Body::Supervisor(supervisor) => Some(supervisor),
        }
    }
}

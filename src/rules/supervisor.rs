//! What a supervisor node has beyond a worker: its children, its budget, its queue and its one operation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::EndClass;
use super::event::{Call, Ticket};
use super::time::Moment;
use super::tree::NodeId;

/// State of a supervisor.
///
/// It handles one thing at a time, to the end (OTP: a `gen_server`). What comes meanwhile waits in the queue, and is
/// taken from it in this order: exits (earliest in start order first, because the kernel gives no other), calls,
/// retries. So a retry never overtakes anything, and a call always gets through a retry loop.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Supervisor {
    pub(super) op: Op,
    /// Children by place. Holes are allowed.
    pub(super) order: BTreeMap<u32, NodeId>,
    /// Of a template supervisor: the node that stands for the template. It is not in `order`.
    pub(super) template: Option<NodeId>,
    /// The counted restarts that may still lie in the period, oldest first.
    pub(super) window: VecDeque<Moment>,
    /// Children whose own end waits for a decision.
    pub(super) exits: BTreeSet<(u32, NodeId)>,
    pub(super) calls: VecDeque<(Ticket, Call)>,
    pub(super) retries: VecDeque<NodeId>,
    /// The template instance this supervisor is or lies in; children's names end with it.
    pub(super) instance: Option<String>,
}

/// The operation of a supervisor. Whatever it waits for is the child [`Op::current`] names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Op {
    /// Not started, or ended.
    Off,
    /// Takes the next thing from the queue.
    Idle,
    /// Starts all children in order (`supervisor:init/1`).
    Boot { rest: VecDeque<NodeId> },
    /// Restarts.
    Round(Round),
    /// Carries out a call.
    Call(Ticket, Errand),
    /// Will be stopped when its turn comes, because a supervisor above it is ending: decides and starts nothing more.
    Held,
    /// Stops all children.
    End(End),
}

/// One round of restarts (OTP `restart/4`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Round {
    /// The child that caused it.
    pub(super) trigger: NodeId,
    pub(super) phase: RoundPhase,
}

/// Stop all, then start all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum RoundPhase {
    /// `rest` from its end is still to be stopped. Then, after `pause`, the `set` is started.
    Stopping { set: Vec<NodeId>, rest: Vec<NodeId>, pause: Duration },
    /// `rest` from its front is still to be started.
    Starting { rest: VecDeque<NodeId> },
}

/// What a call has its supervisor do to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Errand {
    /// Stop it.
    Terminate(NodeId),
    /// Start this new child, keep it only if that comes well.
    Start(NodeId),
    /// Start this kept child.
    Restart(NodeId),
    /// Stop it, then `Restart`.
    Cycle(NodeId),
}

/// The end of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) class: EndClass,
    /// Still to be stopped one by one, from its end.
    pub(super) rest: Vec<NodeId>,
    /// Stopped at the same time as others, or stuck: the supervisor ends when they are gone.
    pub(super) waiting: BTreeSet<NodeId>,
}

impl Supervisor {
    pub(super) fn new(instance: Option<String>) -> Supervisor {
        Supervisor {
            op: Op::Off,
            order: BTreeMap::new(),
            template: None,
            window: VecDeque::new(),
            exits: BTreeSet::new(),
            calls: VecDeque::new(),
            retries: VecDeque::new(),
            instance,
        }
    }

    /// Whether a call about this child waits in the queue.
    pub(super) fn has_call_about(&self, child: NodeId) -> bool {
        self.calls.iter().any(|(_, call)| match call {
            Call::TerminateChild(of)
            | Call::RestartChild(of)
            | Call::DeleteChild(of)
            | Call::CycleChild(of) => *of == child,
            Call::StartChild(..) | Call::StartInstance(..) | Call::Reload(_) => false,
        })
    }

    /// The place behind the last child.
    pub(super) fn next_place(&self) -> u32 {
        self.order.last_key_value().map_or(0, |(place, _)| place + 1)
    }
}

impl Op {
    /// The child whose start or stop the operation waits for.
    pub(super) fn current(&self) -> Option<NodeId> {
        match self {
            Op::Off | Op::Idle | Op::Held => None,
            Op::Boot { rest } => rest.front().copied(),
            Op::Round(Round { phase: RoundPhase::Stopping { rest, .. }, .. }) => rest.last().copied(),
            Op::Round(Round { phase: RoundPhase::Starting { rest }, .. }) => rest.front().copied(),
            Op::Call(_, errand) => Some(errand.child()),
            Op::End(end) => end.rest.last().or(end.waiting.first()).copied(),
        }
    }

    /// Whether the child will be started by this operation without anything else happening.
    pub(super) fn will_start(&self, child: NodeId) -> bool {
        match self {
            Op::Off | Op::Idle | Op::Held | Op::End(_) | Op::Call(..) => false,
            Op::Boot { rest } => rest.contains(&child),
            Op::Round(Round { phase: RoundPhase::Stopping { set, .. }, .. }) => set.contains(&child),
            Op::Round(Round { phase: RoundPhase::Starting { rest }, .. }) => rest.contains(&child),
        }
    }
}

impl Errand {
    pub(super) fn child(self) -> NodeId {
        match self {
            Errand::Terminate(child)
            | Errand::Start(child)
            | Errand::Restart(child)
            | Errand::Cycle(child) => child,
        }
    }
}

//! What a tree looks like from outside, at any instant, also in the middle of an operation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spec::{Flags, Restart};
use super::time::Moment;
use super::tree::{NodeId, Run};

/// A node and what is below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Identity.
    pub id: NodeId,
    /// Name; the root's is empty.
    pub name: String,
    /// Restart type. Nobody restarts the root: it is shown as temporary.
    pub restart: Restart,
    /// Whether significant.
    pub significant: bool,
    /// Where it is in its life.
    pub phase: Phase,
    /// The newest run, 0 before the first.
    pub run: Run,
    /// Automatic restarts so far.
    pub restarts: u32,
    /// Of a supervisor: flags, restarts left in the window, children in start order.
    pub supervisor: Option<SupervisorView>,
}

/// The part of a view that only supervisors have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorView {
    /// Flags in force.
    pub flags: Flags,
    /// Restarts left in the window that ends now.
    pub restarts_left: u32,
    /// Children in start order.
    pub children: Vec<View>,
}

/// Where a child is in its life. In OTP's listing, `Running`, `Ready`, `Unhealthy` and `Stopping` are a pid, `Backoff` and
/// `Restarting` are `restarting`, the rest `undefined`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not reached yet.
    Waiting,
    /// A first start or one by request is under way.
    Starting,
    /// Runs; no readiness configured.
    Running,
    /// Runs and has reported ready.
    Ready,
    /// A health check failed; it is about to be stopped and restarted.
    Unhealthy,
    /// A restart is owed and waits for its time.
    Backoff,
    /// A restart is owed; perhaps an attempt is under way.
    Restarting,
    /// Being stopped.
    Stopping,
    /// Kept without a process: stopped by an operator, ignored, or added by a reload.
    Stopped,
    /// Kept without a process: ended by itself and not to be restarted.
    Exited,
    /// Kept without a process: given up on.
    Failed,
}

impl Phase {
    /// Whether OTP would show a pid.
    #[must_use]
    pub fn is_active(self) -> bool {
        match self {
            Phase::Running | Phase::Ready | Phase::Unhealthy | Phase::Stopping => true,
            Phase::Waiting
            | Phase::Starting
            | Phase::Backoff
            | Phase::Restarting
            | Phase::Stopped
            | Phase::Exited
            | Phase::Failed => false,
        }
    }
}

/// OTP `count_children/1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Specifications.
    pub specs: usize,
    /// Children with a process.
    pub active: usize,
    /// Supervisor children.
    pub supervisors: usize,
    /// Worker children.
    pub workers: usize,
}

/// Why a child is where it is, from the rules' own state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Where it is.
    pub phase: Phase,
    /// KILL has not ended its process within the grace time (of a supervisor: that of a child below it).
    pub stuck: bool,
    /// What it waits for, if anything: a deadline ...
    pub until: Option<Moment>,
    /// ... or a sibling whose start or stop is under way; a call about this child may wait for it, too.
    pub waits_for: Option<NodeId>,
    /// Restarts left in its supervisor's window.
    pub restarts_left: u32,
    /// When the oldest counted restart leaves the window.
    pub window_moves_at: Option<Moment>,
    /// The supervisor's period.
    pub period: Duration,
}

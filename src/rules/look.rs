//! Reading a tree. Every question can be answered at any instant, also in the middle of an operation.

use super::action::{Action, Failure};
use super::end;
use super::node::{After, Attempt, Class, Down, Life, Node, Over, Owed, Purpose, Stop, UpBy};
use super::spec::Restart;
use super::supervisor::Op;
use super::time::Moment;
use super::tree::{NodeId, ROOT, Tree};
use super::view::{Counts, Phase, SupervisorView, View, Why};

impl Tree {
    /// The orders that are still open: what a new supervisor process must perform (or find done) after it took over this
    /// state. They concern different runs, so their order has no meaning; they come in node order. Each may have been
    /// performed before, and must then be harmless: it names its run.
    #[must_use]
    pub fn open_orders(&self) -> Vec<Action> {
        self.nodes.iter().filter_map(|(id, node)| open_order(*id, node)).collect()
    }

    /// The whole tree.
    #[must_use]
    pub fn view(&self, now: Moment) -> View {
        self.view_of(ROOT, now)
    }

    /// Why this node is where it is.
    #[must_use]
    pub fn why(&self, now: Moment, node: NodeId) -> Option<Why> {
        let supervisor = self.nodes.get(&node)?.parent.unwrap_or(node);
        let called = self.nodes[&supervisor].supervisor().is_some_and(|it| it.has_call_about(node));
        let current = || self.op_of(supervisor).and_then(Op::current).filter(|current| *current != node);
        let waits_for = match self.nodes[&node].life {
            _ if called && current().is_some() => current(),
            Life::Starting(_) | Life::Ending(..) if !self.is_inner(node) => None,
            Life::Starting(_) | Life::Ending(..) => self.op_of(node).and_then(Op::current),
            Life::Up { .. } => None,
            Life::Down(Down::Waiting) | Life::Owed(_) | Life::Over(_) => current(),
            Life::Down(Down::Stopped | Down::Exited | Down::Failed) => {
                let op = self.op_of(supervisor);
                op.filter(|op| op.will_start(node)).and_then(Op::current)
            }
        };
        let period = self.supervisor_spec(supervisor).flags.period;
        let window = self.nodes[&supervisor].supervisor().map(|it| &it.window);
        let oldest = window.and_then(|window| window.iter().find(|restart| now.since(**restart) <= period));
        Some(Why {
            phase: self.phase(node),
            stuck: self.nodes[&node].life.is_stuck(),
            until: self.nodes[&node].life.deadline(),
            waits_for,
            restarts_left: self.restarts_left(supervisor, now),
            window_moves_at: oldest.map(|restart| *restart + period),
            period,
        })
    }

    /// OTP `count_children/1` of a supervisor. A template supervisor has one specification and counts instances.
    #[must_use]
    pub fn counts(&self, supervisor: NodeId) -> Option<Counts> {
        self.nodes.get(&supervisor)?.supervisor()?;
        let children = self.children(supervisor);
        let supervisors = children.iter().filter(|child| self.is_inner(**child)).count();
        Some(Counts {
            specs: if self.is_template(supervisor) { 1 } else { children.len() },
            active: children.iter().filter(|child| self.phase(**child).is_active()).count(),
            supervisors,
            workers: children.len() - supervisors,
        })
    }

    /// Restarts that would still be granted now.
    pub(super) fn restarts_left(&self, supervisor: NodeId, now: Moment) -> u32 {
        let flags = &self.supervisor_spec(supervisor).flags;
        let used = self.nodes[&supervisor].supervisor().map_or(0, |it| {
            it.window.iter().rev().take_while(|restart| now.since(**restart) <= flags.period).count()
        });
        flags.intensity.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    fn view_of(&self, id: NodeId, now: Moment) -> View {
        let node = &self.nodes[&id];
        let spec = node.parent.map(|_| self.spec_of(id));
        View {
            id,
            name: node.name.clone(),
            restart: spec.map_or(Restart::Temporary, |spec| spec.restart),
            significant: spec.is_some_and(|spec| spec.significant),
            phase: self.phase(id),
            run: node.run,
            restarts: node.restarts,
            supervisor: node.supervisor().map(|_| SupervisorView {
                flags: self.supervisor_spec(id).flags.clone(),
                restarts_left: self.restarts_left(id, now),
                children: self.children(id).into_iter().map(|child| self.view_of(child, now)).collect(),
            }),
        }
    }

    fn phase(&self, id: NodeId) -> Phase {
        let node = &self.nodes[&id];
        match node.life {
            Life::Down(Down::Waiting) => Phase::Waiting,
            Life::Down(Down::Stopped) => Phase::Stopped,
            Life::Down(Down::Exited) => Phase::Exited,
            Life::Down(Down::Failed) => Phase::Failed,
            Life::Owed(Owed::Backoff { .. }) => Phase::Backoff,
            Life::Owed(Owed::Round | Owed::Queued(_)) => Phase::Restarting,
            Life::Starting(_) => match node.parent.and_then(|parent| self.op_of(parent)) {
                Some(Op::Round(_)) => Phase::Restarting,
                _ => Phase::Starting,
            },
            Life::Up { .. } if matches!(self.op_of(id), Some(Op::End(_))) => Phase::Stopping,
            Life::Up { by: UpBy::Start, .. } => Phase::Running,
            Life::Up { by: UpBy::Ready, .. } => Phase::Ready,
            Life::Ending(_, Purpose::Health) => Phase::Unhealthy,
            Life::Ending(_, Purpose::Left(After::Retry)) => Phase::Restarting,
            Life::Ending(_, Purpose::Failed(Failure::Stopped)) => Phase::Stopping,
            Life::Ending(_, Purpose::Failed(_)) => match node.parent.and_then(|parent| self.op_of(parent)) {
                Some(Op::Round(_)) => Phase::Restarting,
                Some(Op::Boot { .. } | Op::Call(..)) => Phase::Starting,
                Some(Op::Off | Op::Idle | Op::Held | Op::End(_)) | None => Phase::Stopping,
            },
            Life::Ending(_, Purpose::Stop | Purpose::Left(After::Rest)) => Phase::Stopping,
            Life::Over(over) => self.phase_of_ended(id, over),
        }
    }

    /// A run that is over and not decided yet: what is to be expected.
    fn phase_of_ended(&self, id: NodeId, over: Over) -> Phase {
        let class = match over {
            Over::Exited { class, .. } => class,
            Over::Ended(ended) => end::class(ended),
            Over::Failed(_) | Over::NoProcess(_) | Over::Late => return Phase::Stopped,
        };
        match (self.spec(id).map(|spec| spec.restart), class) {
            (Some(Restart::Permanent), _) | (Some(Restart::Transient), Class::Abnormal) => Phase::Restarting,
            (None | Some(Restart::Transient | Restart::Temporary), _) => Phase::Exited,
        }
    }

    fn op_of(&self, id: NodeId) -> Option<&Op> {
        self.nodes[&id].supervisor().map(|supervisor| &supervisor.op)
    }

    fn is_inner(&self, id: NodeId) -> bool {
        self.nodes[&id].supervisor().is_some()
    }
}

fn open_order(id: NodeId, node: &Node) -> Option<Action> {
    match &node.life {
        _ if node.supervisor().is_some() => None,
        Life::Starting(Attempt::Ordered { .. }) => Some(Action::Start(id, node.run)),
        Life::Ending(Stop::Asked { signal, .. }, _) => Some(Action::Signal(id, node.run, *signal)),
        Life::Ending(Stop::Killed { .. } | Stop::Stuck { .. }, _) => Some(Action::Kill(id, node.run)),
        Life::Starting(Attempt::Warming { .. } | Attempt::NoResources { .. } | Attempt::Subtree)
        | Life::Down(_)
        | Life::Owed(_)
        | Life::Up { .. }
        | Life::Over(_) => None,
    }
}

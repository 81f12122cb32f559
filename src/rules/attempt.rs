//! Start attempts, and the boot that is made of them.

use std::time::Duration;

use super::action::{Action, EndClass, Failure, Note};
use super::calls::BrokenOff;
use super::node::{Attempt, Body, Down, Life, Origin, Over, Purpose, Stop, UpBy};
use super::spec::Restart;
use super::supervisor::Op;
use super::tree::{NodeId, ROOT, Run};
use super::turn::{Progress, Turn};

/// First wait for resources; doubles with every failure in a row (reliability D13).
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait for resources.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What has come of a start attempt.
pub(super) enum Attempted {
    /// Not over.
    Waits,
    /// OTP `{ok, Pid}`.
    Up,
    /// OTP `ignore`; what the child is then.
    NoProcess(Down),
    /// OTP `{error, Reason}`.
    Failed(Failure),
    /// Failed, but the process cannot be killed.
    Stuck(Failure),
}

impl Turn<'_> {
    /// Goes on with the start of a child, beginning it if it has not begun.
    pub(super) fn attempt(&mut self, c: NodeId) -> Attempted {
        match *self.life(c) {
            Life::Down(_) | Life::Owed(_) => {
                self.begin(c);
                Attempted::Waits
            }
            Life::Starting(_) => Attempted::Waits,
            Life::Up { .. } => Attempted::Up,
            Life::Ending(Stop::Stuck { .. }, Purpose::Failed(failure)) => Attempted::Stuck(failure),
            Life::Ending(_, Purpose::Failed(_)) => Attempted::Waits,
            Life::Over(Over::Failed(failure)) => Attempted::Failed(failure),
            Life::Over(Over::NoProcess(down)) => Attempted::NoProcess(down),
            // It came up and is on its way out again: that is for the queue.
            Life::Over(Over::Exited { .. } | Over::Ended(_) | Over::Late) => Attempted::Up,
            Life::Ending(_, Purpose::Stop | Purpose::Health | Purpose::Left(_)) => Attempted::Up,
        }
    }

    /// Begins a start attempt.
    pub(super) fn begin(&mut self, c: NodeId) {
        self.begin_after(c, FIRST_WAIT);
    }

    /// ... that waits so long if there are no resources for it.
    pub(super) fn begin_after(&mut self, c: NodeId, pause: Duration) {
        let node = self.tree.node_mut(c);
        node.run = Run(node.run.0 + 1);
        let run = node.run;
        match node.body {
            Body::Worker => {
                self.order(Action::Start(c, run));
                self.note(Note::Starting(c, run));
                self.enter(c, Life::Starting(Attempt::Ordered { pause }));
            }
            Body::Supervisor(_) => {
                self.note(Note::Starting(c, run));
                let first_new = self.tree.next;
                self.tree.lay_out(c);
                self.tell_added(first_new);
                let rest = self.supervisor(c).order.values().copied().collect();
                self.tree.supervisor_mut(c).op = Op::Boot { rest };
                self.enter(c, Life::Starting(Attempt::Subtree));
                self.wake(c);
            }
        }
    }

    /// `supervisor:init/1`: all children in order; the first failure takes all back.
    pub(super) fn boot(&mut self, s: NodeId) -> Progress {
        let Some(c) = self.supervisor(s).op.current() else {
            self.tree.supervisor_mut(s).op = Op::Idle;
            self.up(s, UpBy::Start);
            if s == ROOT {
                self.note(Note::Up);
            }
            return Progress::Made;
        };
        match self.attempt(c) {
            Attempted::Waits => return Progress::Waits,
            Attempted::Up => self.started_in_its_turn(s, c),
            Attempted::NoProcess(down) => self.rest_without_process(c, down),
            Attempted::Failed(Failure::Stopped) => match self.broken_off(s, c) {
                BrokenOff::Rests => self.rest_without_process(c, Down::Stopped),
                BrokenOff::Again => {
                    self.begin(c);
                    return Progress::Waits;
                }
            },
            Attempted::Stuck(Failure::Stopped) => self.broken_off_stuck(s, c),
            Attempted::Failed(_) | Attempted::Stuck(_) => {
                self.end(s, EndClass::BootFailed(c));
                return Progress::Made;
            }
        }
        if let Op::Boot { rest } = &mut self.tree.supervisor_mut(s).op {
            rest.pop_front();
        }
        Progress::Made
    }

    /// A start attempt came well.
    pub(super) fn up(&mut self, id: NodeId, by: UpBy) {
        self.enter(id, Life::Up { since: self.now, by });
        self.note(Note::Started(id, self.node(id).run));
    }

    /// A start attempt failed, and nothing of it is left.
    pub(super) fn fail(&mut self, id: NodeId, failure: Failure) {
        self.note(Note::StartFailed(id, self.node(id).run, failure));
        self.enter(id, Life::Over(Over::Failed(failure)));
    }

    /// A child without a process: its specification is kept unless it is temporary or an instance.
    pub(super) fn rest_without_process(&mut self, c: NodeId, down: Down) {
        if self.is_kept(c) {
            self.enter(c, Life::Down(down));
        } else {
            self.remove(c);
        }
    }

    /// Whether a specification outlives its process.
    pub(super) fn is_kept(&self, c: NodeId) -> bool {
        self.node(c).origin != Origin::Instance && self.spec(c).restart != Restart::Temporary
    }

    /// Takes a child without a process out of the tree.
    pub(super) fn remove(&mut self, c: NodeId) {
        self.tree.uproot(c);
        self.note(Note::Removed(c));
        self.order(Action::Forget(c));
    }

    /// Tells of the nodes that were made since `first`.
    pub(super) fn tell_added(&mut self, first: u32) {
        for id in (first..self.tree.next).map(NodeId) {
            let node = self.node(id);
            let (name, parent) = (node.name.clone(), node.parent.unwrap_or(ROOT));
            self.order(Action::Added { node: id, name, parent });
            self.note(Note::Added(id));
        }
    }
}

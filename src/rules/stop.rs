//! Bringing a child to its end: polite steps, then KILL, then patience.

use std::time::Duration;

use super::action::{Action, Decision, EndClass, Failure, KillCause, Note};
use super::node::{After, Attempt, Birth, Down, Life, Over, Purpose, Stop};
use super::spec::{Shutdown, StopStep};
use super::supervisor::Op;
use super::tree::NodeId;
use super::turn::Turn;

/// How long after KILL a process counts as stuck (uninterruptible sleep).
const KILL_GRACE: Duration = Duration::from_secs(10);
/// ... if a call waits for it: its supervisor serves no other child before that.
const CALL_KILL_GRACE: Duration = Duration::from_secs(2);

/// What has come of a stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Not over.
    Waits,
    /// There is no process.
    Gone,
    /// KILL did not help.
    Stuck,
}

impl Turn<'_> {
    /// Goes on with the stop of a child, beginning it if it has not begun. A child that is gone becomes `Down`, whatever
    /// it was: an exit nobody has handled is absorbed, a restart that is owed is cancelled.
    pub(super) fn stop(&mut self, c: NodeId) -> Stopped {
        match self.life(c).clone() {
            Life::Down(_) => Stopped::Gone,
            Life::Owed(_) | Life::Over(_) => {
                self.absorb(c);
                Stopped::Gone
            }
            Life::Starting(Attempt::NoResources { .. }) => {
                self.fail(c, Failure::Stopped);
                self.absorb(c);
                Stopped::Gone
            }
            Life::Starting(Attempt::Ordered { .. } | Attempt::Warming { .. } | Attempt::Subtree) => {
                self.note(Note::Stopping(c, self.node(c).run));
                self.ask(c, Purpose::Failed(Failure::Stopped));
                Stopped::Waits
            }
            Life::Up { .. } => {
                self.note(Note::Stopping(c, self.node(c).run));
                self.ask(c, Purpose::Stop);
                Stopped::Waits
            }
            // One escalation is enough: the stop goes on where the health check began it.
            Life::Ending(Stop::Stuck { .. }, Purpose::Health | Purpose::Left(_)) => {
                self.cancel_retry(c);
                self.kill(c, Purpose::Stop, KillCause::TimeOut);
                Stopped::Waits
            }
            Life::Ending(stop, Purpose::Health | Purpose::Left(_)) => {
                self.enter(c, Life::Ending(stop, Purpose::Stop));
                Stopped::Waits
            }
            Life::Ending(Stop::Stuck { .. }, Purpose::Stop | Purpose::Failed(_)) => Stopped::Stuck,
            Life::Ending(_, Purpose::Stop | Purpose::Failed(_)) => Stopped::Waits,
        }
    }

    /// Asks a child to end, by its own shutdown setting.
    pub(super) fn ask(&mut self, c: NodeId, purpose: Purpose) {
        match self.spec(c).shutdown.clone() {
            Shutdown::BrutalKill => self.kill(c, purpose, KillCause::BrutalKill),
            Shutdown::Polite(steps) => {
                self.ask_on(c, steps, purpose);
                if self.is_supervisor(c) {
                    self.end(c, EndClass::Stopped);
                }
            }
        }
    }

    /// The next polite step, or KILL when there is none. A step without a wait is over within this turn.
    pub(super) fn ask_on(&mut self, c: NodeId, mut rest: Vec<StopStep>, purpose: Purpose) {
        if rest.is_empty() {
            return self.kill(c, purpose, KillCause::TimeOut);
        }
        let StopStep { signal, wait } = rest.remove(0);
        let birth = self.life(c).birth();
        if !self.is_supervisor(c) && birth == Birth::Reported {
            self.order(Action::Signal(c, self.node(c).run, signal));
        }
        let until = wait.map(|wait| self.now + wait);
        self.enter(c, Life::Ending(Stop::Asked { signal, until, rest, birth }, purpose));
    }

    /// Kills a process with everything it forked, or a whole subtree. An order to start is taken back by it.
    pub(super) fn kill(&mut self, c: NodeId, purpose: Purpose, cause: KillCause) {
        let (run, birth) = (self.node(c).run, self.life(c).birth());
        self.note(Note::Killing(c, run, cause));
        if self.is_supervisor(c) {
            self.enter(c, Life::Ending(Stop::Killed { until: None, birth }, purpose));
            self.kill_all(c);
        } else {
            self.order(Action::Kill(c, run));
            let grace = if self.is_called_for(c) { CALL_KILL_GRACE } else { KILL_GRACE };
            let until = Some(self.now + grace);
            self.enter(c, Life::Ending(Stop::Killed { until, birth }, purpose));
        }
    }

    /// Whether a call is about this child or a supervisor that it stands under.
    fn is_called_for(&self, c: NodeId) -> bool {
        let above = std::iter::successors(Some(c), |node| self.node(*node).parent);
        above.into_iter().any(|node| {
            let parent = self.node(node).parent.map(|parent| &self.supervisor(parent).op);
            matches!(parent, Some(Op::Call(_, errand)) if errand.child() == node)
        })
    }

    /// KILL did not help. The operation that waits will see it and go on without this child, which never gets a second
    /// generation before this one is gone.
    pub(super) fn stick(&mut self, c: NodeId, purpose: Purpose) {
        self.note(Note::Stuck(c, self.node(c).run));
        self.stay_stuck(c, purpose);
    }

    /// The operation that waited for this stuck child goes on without it.
    pub(super) fn leave(&mut self, c: NodeId, after: After) {
        self.stay_stuck(c, Purpose::Left(after));
    }

    /// ... and counts its start attempt as failed.
    pub(super) fn leave_attempt(&mut self, c: NodeId, failure: Failure, after: After) {
        self.note(Note::StartFailed(c, self.node(c).run, failure));
        self.leave(c, after);
    }

    fn stay_stuck(&mut self, c: NodeId, purpose: Purpose) {
        let birth = self.life(c).birth();
        self.enter(c, Life::Ending(Stop::Stuck { birth }, purpose));
    }

    /// A run that is over, or a restart that is owed, means nothing any more.
    pub(super) fn absorb(&mut self, c: NodeId) {
        let node = self.node(c);
        let (run, place, parent) = (node.run, node.place, node.parent);
        if let Life::Over(Over::Exited { exit, killed, .. }) = node.life {
            let decision = Decision::Absorbed;
            self.note(Note::Exited { node: c, run, exit, requested: false, killed, decision });
        }
        if let Some(parent) = parent {
            self.tree.supervisor_mut(parent).exits.remove(&(place, c));
        }
        self.cancel_retry(c);
        self.enter(c, Life::Down(Down::Stopped));
    }

    fn cancel_retry(&mut self, c: NodeId) {
        let node = self.node(c);
        if let Some(parent) = node.parent
            && node.life.is_owed()
        {
            self.tree.supervisor_mut(parent).retries.retain(|waiting| *waiting != c);
        }
    }
}

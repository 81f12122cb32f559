//! The end of a supervisor: who is stopped, when, and what its own supervisor sees of it.

use std::collections::BTreeSet;

use super::action::{Action, EndClass, Failure, KillCause, Note, Refusal};
use super::node::{After, Attempt, Class, Down, Life, Origin, Over, Purpose, Stop};
use super::stop::Stopped;
use super::supervisor::{End, Op};
use super::tree::{NodeId, ROOT};
use super::turn::{Progress, Turn};

impl Turn<'_> {
    /// Begins to end a supervisor. From now on nothing starts in its whole subtree, a start attempt that is under way is
    /// broken off at once, and what dies there is absorbed (D3; OTP lets the attempt finish, and lets supervisors below
    /// carry on until their turn comes).
    pub(super) fn end(&mut self, s: NodeId, class: EndClass) {
        let current = match self.supervisor(s).op {
            Op::Off | Op::End(_) => return,
            ref op => op.current(),
        };
        self.drop_queue(s);
        let children = self.children(s);
        let mut end = End { class, rest: Vec::new(), waiting: BTreeSet::new() };
        if !self.tree.is_template(s) {
            end.rest = children.iter().copied().filter(|c| Some(*c) != current).collect();
            end.rest.extend(current);
        }
        self.tree.supervisor_mut(s).op = Op::End(end);
        for &c in &children {
            if self.is_supervisor(c) {
                self.hold(c);
            }
        }
        if self.tree.is_template(s) {
            let waiting = children.into_iter().filter(|c| self.stop(*c) != Stopped::Gone).collect();
            if let Op::End(end) = &mut self.tree.supervisor_mut(s).op {
                end.waiting = waiting;
            }
        }
        self.wake(s);
    }

    /// A supervisor above is ending.
    fn hold(&mut self, s: NodeId) {
        let current = match self.supervisor(s).op {
            Op::Off | Op::Held | Op::End(_) => return,
            ref op => op.current(),
        };
        self.drop_queue(s);
        self.tree.supervisor_mut(s).op = Op::Held;
        if let Some(c) = current.filter(|c| matches!(self.life(*c), Life::Starting(_))) {
            self.stop(c);
        }
        for c in self.children(s) {
            if self.is_supervisor(c) {
                self.hold(c);
            }
        }
    }

    /// Callers are told; restarts that are owed are forgotten. Exits stay: each is absorbed when its child is stopped.
    fn drop_queue(&mut self, s: NodeId) {
        let supervisor = self.tree.supervisor_mut(s);
        let calls = std::mem::take(&mut supervisor.calls);
        supervisor.retries.clear();
        let underway = match supervisor.op {
            Op::Call(ticket, _) => Some(ticket),
            _ => None,
        };
        for ticket in underway.into_iter().chain(calls.into_iter().map(|(ticket, _)| ticket)) {
            self.order(Action::Reply(ticket, Err(Refusal::SupervisorStopped)));
        }
        for c in self.children(s) {
            match self.life(c) {
                Life::Owed(_) => self.enter(c, Life::Down(Down::Stopped)),
                Life::Ending(Stop::Stuck { .. }, Purpose::Left(After::Retry)) => self.leave(c, After::Rest),
                _ => {}
            }
        }
    }

    /// Stops the next child. One that is stuck does not hold up the others, but the supervisor does not end before it.
    pub(super) fn end_on(&mut self, s: NodeId) -> Progress {
        let Op::End(end) = &self.supervisor(s).op else { return Progress::Waits };
        if let Some(c) = end.rest.last().copied() {
            let stopped = self.stop(c);
            if stopped == Stopped::Waits {
                return Progress::Waits;
            }
            if let Op::End(end) = &mut self.tree.supervisor_mut(s).op {
                end.rest.pop();
                end.waiting.extend((stopped == Stopped::Stuck).then_some(c));
            }
            return Progress::Made;
        }
        if end.waiting.is_empty() {
            let class = end.class;
            self.ended(s, class);
            return Progress::Made;
        }
        let all_stuck = end.waiting.iter().all(|c| self.life(*c).is_stuck());
        if let Life::Ending(Stop::Asked { .. } | Stop::Killed { .. }, purpose) = *self.life(s)
            && all_stuck
        {
            self.stick(s, purpose);
        }
        Progress::Waits
    }

    /// All children are gone. Those added at run time are lost with it.
    fn ended(&mut self, s: NodeId, class: EndClass) {
        for c in self.children(s) {
            if matches!(self.life(c), Life::Over(_)) {
                self.absorb(c);
            }
            if !matches!(self.node(c).origin, Origin::Static(_)) {
                self.remove(c);
            }
        }
        let supervisor = self.tree.supervisor_mut(s);
        supervisor.op = Op::Off;
        supervisor.window.clear();
        let run = self.node(s).run;
        match (self.life(s).clone(), class) {
            (Life::Starting(_), EndClass::BootFailed(child)) => self.fail(s, Failure::Child(child)),
            (Life::Starting(_), _) => self.fail(s, Failure::Stopped),
            (Life::Ending(_, Purpose::Failed(failure)), _) => self.fail(s, failure),
            (Life::Ending(_, purpose), _) => {
                self.note(Note::Ended(s, run, class));
                self.gone(s, purpose);
            }
            (Life::Up { .. }, _) => {
                self.note(Note::Ended(s, run, class));
                self.died(s, Over::Ended(class));
            }
            (Life::Down(_) | Life::Owed(_) | Life::Over(_), _) => {}
        }
        if s == ROOT {
            self.finish(class);
        }
    }

    /// The tree has ended, or will never start.
    pub(super) fn finish(&mut self, class: EndClass) {
        self.enter(ROOT, Life::Over(Over::Ended(class)));
        self.order(Action::Finished(class));
    }

    /// OTP `exit(Pid, kill)` of a supervisor: all below it is killed, and its end is abnormal.
    pub(super) fn kill_supervisor(&mut self, s: NodeId) {
        if s == ROOT || !self.life(s).is_alive() {
            return;
        }
        self.end(s, EndClass::Killed);
        if let Op::End(end) = &mut self.tree.supervisor_mut(s).op {
            end.class = EndClass::Killed;
        }
        self.kill_all(s);
    }

    /// Kills all below a supervisor at the same time.
    pub(super) fn kill_all(&mut self, s: NodeId) {
        self.end(s, EndClass::Stopped);
        for c in self.children(s).into_iter().rev() {
            self.kill_now(c);
        }
        let waiting = self.children(s).into_iter().filter(|c| self.life(*c).is_alive()).collect();
        if let Op::End(end) = &mut self.tree.supervisor_mut(s).op {
            end.rest.clear();
            end.waiting = waiting;
        }
        self.wake(s);
    }

    fn kill_now(&mut self, c: NodeId) {
        match self.life(c).clone() {
            Life::Down(_) | Life::Owed(_) | Life::Over(_) => {}
            Life::Starting(Attempt::NoResources { .. }) => {
                self.stop(c);
            }
            Life::Starting(Attempt::Ordered { .. } | Attempt::Warming { .. } | Attempt::Subtree) => {
                self.kill(c, Purpose::Failed(Failure::Stopped), KillCause::AtOnce);
            }
            Life::Up { .. } => self.kill(c, Purpose::Stop, KillCause::AtOnce),
            Life::Ending(Stop::Asked { .. } | Stop::Stuck { .. }, purpose) => {
                let purpose = match purpose {
                    Purpose::Stop | Purpose::Health | Purpose::Left(_) => Purpose::Stop,
                    Purpose::Failed(failure) => Purpose::Failed(failure),
                };
                self.kill(c, purpose, KillCause::AtOnce);
            }
            Life::Ending(Stop::Killed { .. }, _) => {}
        }
    }
}

/// What a supervisor's end means to the one above it. OTP's reason is `shutdown` for all but a kill.
pub(super) fn class(end: EndClass) -> Class {
    match end {
        EndClass::Stopped | EndClass::GaveUp | EndClass::AutoShutdown { .. } | EndClass::BootFailed(_) => {
            Class::Success
        }
        EndClass::Killed => Class::Abnormal,
    }
}

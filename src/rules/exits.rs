//! A child that was up has ended by itself: what follows.

use std::time::Duration;

use super::action::{Decision, EndClass, Note};
use super::backoff;
use super::end;
use super::event::Exit;
use super::node::{After, Class, Down, Life, Origin, Over, Owed, Purpose, Toll};
use super::spec::{AutoShutdown, GiveUp, Restart};
use super::tree::NodeId;
use super::turn::Turn;

/// Whether one more restart fits into the period.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Budget {
    Counted,
    Exceeded,
}

impl Turn<'_> {
    /// Decides about the end of a child (OTP `restart_child/3`, `do_restart/3`).
    pub(super) fn conclude(&mut self, s: NodeId, c: NodeId) {
        let run = self.node(c).run;
        match *self.life(c) {
            Life::Over(Over::Exited { exit, class, killed }) => {
                let decision = self.judge(s, c, class);
                self.note(Note::Exited { node: c, run, exit, requested: false, killed, decision });
                self.carry_out(s, c, decision, class, Some(exit));
            }
            Life::Over(Over::Ended(ended)) => {
                let class = end::class(ended);
                let decision = self.judge(s, c, class);
                self.carry_out(s, c, decision, class, None);
            }
            Life::Over(Over::Late | Over::Failed(_) | Over::NoProcess(_)) => {
                self.rest_without_process(c, Down::Stopped);
            }
            Life::Down(_) | Life::Owed(_) | Life::Starting(_) | Life::Up { .. } | Life::Ending(..) => {}
        }
    }

    /// Restart type against exit class.
    fn judge(&mut self, s: NodeId, c: NodeId, class: Class) -> Decision {
        match (self.spec(c).restart, class) {
            (Restart::Permanent, _) | (Restart::Transient, Class::Abnormal) => match self.charge(s) {
                Budget::Counted => Decision::Restart,
                Budget::Exceeded => Decision::GiveUp,
            },
            (Restart::Transient, Class::Success) | (Restart::Temporary, _) => {
                if self.ends_its_supervisor(s, c) {
                    Decision::AutoShutdown
                } else if self.is_kept(c) {
                    Decision::Stopped
                } else {
                    Decision::Removed
                }
            }
        }
    }

    fn carry_out(&mut self, s: NodeId, c: NodeId, decision: Decision, class: Class, exit: Option<Exit>) {
        match decision {
            Decision::Restart => self.restart(s, c),
            Decision::GiveUp => self.give_up(s, c),
            Decision::AutoShutdown => {
                let clean = class == Class::Success || self.spec(c).restart != Restart::Temporary;
                self.note(Note::AutoShutdown { supervisor: s, child: c });
                self.rest_without_process(c, Down::Exited);
                self.end(s, EndClass::AutoShutdown { exit, clean });
            }
            Decision::Stopped | Decision::Removed | Decision::Absorbed => {
                self.rest_without_process(c, Down::Exited);
            }
        }
    }

    /// A restart becomes due: counted now, whatever it restarts and however it goes, unless it is one too many.
    /// The window slides and includes its end (6.2).
    fn charge(&mut self, s: NodeId) -> Budget {
        let (intensity, period) = (self.flags(s).intensity, self.flags(s).period);
        let now = self.now;
        let window = &mut self.tree.supervisor_mut(s).window;
        while window.front().is_some_and(|restart| now.since(*restart) > period) {
            window.pop_front();
        }
        if window.len() >= intensity as usize {
            return Budget::Exceeded;
        }
        window.push_back(now);
        Budget::Counted
    }

    /// A retry's turn has come (OTP `try_again_restart`).
    pub(super) fn retry(&mut self, s: NodeId, c: NodeId) {
        match *self.life(c) {
            Life::Owed(Owed::Queued(Toll::Paid)) => self.begin_round(s, c, Duration::ZERO),
            Life::Owed(Owed::Queued(Toll::Due)) | Life::Ending(_, Purpose::Left(After::Retry)) => {
                match self.charge(s) {
                    Budget::Counted => self.restart(s, c),
                    Budget::Exceeded => self.give_up(s, c),
                }
            }
            // Cancelled meanwhile.
            _ => {}
        }
    }

    /// A restart that has been counted: a round, after the child's pause if it has one.
    fn restart(&mut self, s: NodeId, c: NodeId) {
        let node = self.node(c);
        let pause = self.spec(c).backoff.map(|backoff| backoff::pause(&backoff, node.streak, c, node.run));
        if pause.is_some() {
            let node = self.tree.node_mut(c);
            node.streak = node.streak.saturating_add(1);
        }
        self.announce_round(s, c);
        self.begin_round(s, c, pause.unwrap_or_default());
    }

    /// A child that ran long enough starts again with the first pause.
    pub(super) fn forget_streak(&mut self, c: NodeId) {
        let node = self.node(c);
        let Some(parent) = node.parent else { return };
        let (Life::Up { since, .. }, Some(backoff)) = (&node.life, self.spec(c).backoff) else { return };
        if self.now.since(*since) >= backoff.reset_after.unwrap_or(self.flags(parent).period) {
            self.tree.node_mut(c).streak = 0;
        }
    }

    /// One restart too many (6.3). The child is left as it is.
    fn give_up(&mut self, s: NodeId, c: NodeId) {
        self.note(Note::GaveUp { supervisor: s, child: c });
        if !self.life(c).is_alive() {
            self.enter(c, Life::Down(Down::Failed));
        } else if let Life::Ending(ref stop, _) = *self.life(c) {
            let stop = stop.clone();
            self.enter(c, Life::Ending(stop, Purpose::Left(After::Rest)));
        }
        match self.flags(s).give_up {
            GiveUp::Escalate => self.end(s, EndClass::GaveUp),
            GiveUp::Child if self.node(c).origin == Origin::Instance && !self.life(c).is_alive() => {
                self.remove(c);
            }
            GiveUp::Child => {}
        }
    }

    /// Whether this child's end, by itself and for good, ends its supervisor (12).
    fn ends_its_supervisor(&self, s: NodeId, c: NodeId) -> bool {
        if !self.spec(c).significant {
            return false;
        }
        match self.flags(s).auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => {
                let mut others = self.supervisor(s).order.values().filter(|other| **other != c);
                !others.any(|other| self.spec(*other).significant && self.is_active(*other))
            }
        }
    }

    /// Running or restarting.
    fn is_active(&self, c: NodeId) -> bool {
        !matches!(self.life(c), Life::Down(_) | Life::Ending(_, Purpose::Left(After::Rest)))
    }
}

//! Rounds of restarts: stop the set in reverse, start it in order.

use std::time::Duration;

use super::action::{Failure, Note};
use super::attempt::Attempted;
use super::calls::BrokenOff;
use super::node::{After, Down, Life, Owed, Toll};
use super::spec::Strategy;
use super::stop::Stopped;
use super::supervisor::{Op, Round, RoundPhase};
use super::tree::NodeId;
use super::turn::{Progress, Turn};

impl Turn<'_> {
    /// Begins a round for a restart that has been counted.
    pub(super) fn announce_round(&mut self, s: NodeId, trigger: NodeId) {
        let set = self.set_of_round(s, trigger);
        let restarts_left = self.tree.restarts_left(s, self.now);
        self.note(Note::Restarting { supervisor: s, trigger, set, restarts_left });
    }

    /// ... or goes on with it after its pause. A longer pause of a member is taken over: its restart goes up in this
    /// round.
    pub(super) fn begin_round(&mut self, s: NodeId, trigger: NodeId, mut pause: Duration) {
        let set = self.set_of_round(s, trigger);
        for &c in &set {
            if let Life::Owed(Owed::Backoff { until }) = *self.life(c) {
                pause = pause.max(until.since(self.now));
            }
        }
        if !self.life(trigger).is_alive() {
            self.enter(trigger, Life::Owed(Owed::Round));
        }
        let rest = set.iter().copied().filter(|c| *c != trigger || self.life(*c).is_alive()).collect();
        let phase = RoundPhase::Stopping { set, rest, pause };
        self.tree.supervisor_mut(s).op = Op::Round(Round { trigger, phase });
        self.wake(s);
    }

    /// Whom a restart concerns, in start order.
    fn set_of_round(&self, s: NodeId, trigger: NodeId) -> Vec<NodeId> {
        match self.flags(s).strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => vec![trigger],
            Strategy::OneForAll => self.children(s),
            Strategy::RestForOne => {
                let first = self.node(trigger).place;
                self.supervisor(s).order.range(first..).map(|(_, c)| *c).collect()
            }
        }
    }

    pub(super) fn round(&mut self, s: NodeId) -> Progress {
        let Op::Round(Round { trigger, ref phase }) = self.supervisor(s).op else { return Progress::Waits };
        match phase {
            RoundPhase::Stopping { rest, .. } => match rest.last().copied() {
                Some(c) => self.round_stops(s, trigger, c),
                None => self.round_is_stopped(s, trigger),
            },
            RoundPhase::Starting { rest } => match rest.front().copied() {
                Some(c) => self.round_starts(s, c),
                None => {
                    self.tree.supervisor_mut(s).op = Op::Idle;
                    Progress::Made
                }
            },
        }
    }

    fn round_stops(&mut self, s: NodeId, trigger: NodeId, c: NodeId) -> Progress {
        match self.stop(c) {
            Stopped::Waits => return Progress::Waits,
            Stopped::Gone if c == trigger => {}
            Stopped::Gone => self.member_is_stopped(c),
            Stopped::Stuck => {
                self.round_is_stuck(s, trigger, c);
                return Progress::Made;
            }
        }
        if let Op::Round(Round { phase: RoundPhase::Stopping { rest, .. }, .. }) =
            &mut self.tree.supervisor_mut(s).op
        {
            rest.pop();
        }
        Progress::Made
    }

    /// A temporary bystander goes with its process (OTP `del_child`).
    fn member_is_stopped(&mut self, c: NodeId) {
        if !self.is_kept(c) {
            self.remove(c);
        }
    }

    /// A member that cannot be killed: the round is a failed attempt of the trigger, and comes again.
    fn round_is_stuck(&mut self, s: NodeId, trigger: NodeId, c: NodeId) {
        if c != trigger {
            self.leave(c, After::Rest);
        }
        // The trigger has a process only if it is stuck itself, left by an earlier round.
        if self.life(trigger).is_alive() {
            self.leave(trigger, After::Retry);
        } else {
            self.enter(trigger, Life::Owed(Owed::Queued(Toll::Due)));
        }
        self.queue_retry(s, trigger);
    }

    /// The round is over; this child will be tried again behind everything that waits already. A trigger that the round
    /// did not reach is stopped like every other member behind it.
    fn queue_retry(&mut self, s: NodeId, c: NodeId) {
        if let Op::Round(Round { trigger, .. }) = self.supervisor(s).op
            && *self.life(trigger) == Life::Owed(Owed::Round)
        {
            self.enter(trigger, Life::Down(Down::Stopped));
        }
        let supervisor = self.tree.supervisor_mut(s);
        supervisor.retries.push_back(c);
        supervisor.op = Op::Idle;
    }

    /// The pause lies between the two phases. It is not an operation: the queue stays open.
    fn round_is_stopped(&mut self, s: NodeId, trigger: NodeId) -> Progress {
        let supervisor = self.tree.supervisor_mut(s);
        let Op::Round(Round { phase: RoundPhase::Stopping { set, pause, .. }, .. }) = &mut supervisor.op
        else {
            return Progress::Waits;
        };
        let (set, pause) = (std::mem::take(set), *pause);
        if pause.is_zero() {
            let rest = set.into_iter().filter(|c| self.tree.nodes.contains_key(c)).collect();
            self.tree.supervisor_mut(s).op =
                Op::Round(Round { trigger, phase: RoundPhase::Starting { rest } });
            self.enter(trigger, Life::Owed(Owed::Round));
        } else {
            supervisor.op = Op::Idle;
            let until = self.now + pause;
            self.enter(trigger, Life::Owed(Owed::Backoff { until }));
            self.note(Note::Backoff { node: trigger, until, delay: pause });
        }
        Progress::Made
    }

    fn round_starts(&mut self, s: NodeId, c: NodeId) -> Progress {
        if matches!(self.life(c), Life::Down(_) | Life::Owed(_)) {
            let node = self.tree.node_mut(c);
            node.restarts = node.restarts.saturating_add(1);
        }
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
            // Members before it keep their new processes, members after it stay stopped (7.3).
            Attempted::Failed(_) => {
                self.enter(c, Life::Owed(Owed::Queued(Toll::Due)));
                self.queue_retry(s, c);
                return Progress::Made;
            }
            Attempted::Stuck(failure) => {
                self.leave_attempt(c, failure, After::Retry);
                self.queue_retry(s, c);
                return Progress::Made;
            }
        }
        if let Op::Round(Round { phase: RoundPhase::Starting { rest }, .. }) =
            &mut self.tree.supervisor_mut(s).op
        {
            rest.pop_front();
        }
        Progress::Made
    }
}

//! OTP's administration calls (13, 14). None of them counts as a restart or triggers a strategy or an auto-shutdown.

use std::collections::{BTreeSet, VecDeque};

use super::action::{Action, Failure, Refusal, Reply};
use super::attempt::Attempted;
use super::check;
use super::event::{Call, Ticket};
use super::layout::collect_names;
use super::node::{After, Attempt, Down, Life, Origin, Purpose};
use super::spec::{ChildSpec, SpecError};
use super::stop::Stopped;
use super::supervisor::{Errand, Op};
use super::tree::{NodeId, ROOT};
use super::turn::{Progress, Turn};

/// The answer to a call.
type Answer = Result<Reply, Refusal>;

impl Turn<'_> {
    /// Takes a call in. It is carried out when its supervisor's queue comes to it; a reload at once.
    pub(super) fn request(&mut self, ticket: Ticket, call: Call) {
        let supervisor = match &call {
            Call::Reload(_) => Some(ROOT),
            Call::StartChild(supervisor, _) | Call::StartInstance(supervisor, _) => {
                Some(*supervisor).filter(|s| self.exists(*s) && self.is_supervisor(*s))
            }
            Call::TerminateChild(child)
            | Call::RestartChild(child)
            | Call::DeleteChild(child)
            | Call::CycleChild(child) => self.tree.nodes.get(child).and_then(|node| node.parent),
        };
        let Some(supervisor) = supervisor else {
            let answer = self.about_nobody(&call);
            return self.reply(ticket, answer);
        };
        match self.supervisor(supervisor).op {
            Op::Off | Op::Held | Op::End(_) => self.reply(ticket, Err(Refusal::SupervisorStopped)),
            Op::Idle | Op::Boot { .. } | Op::Round(_) | Op::Call(..) if matches!(call, Call::Reload(_)) => {
                self.perform(supervisor, ticket, call);
            }
            Op::Idle | Op::Boot { .. } | Op::Round(_) | Op::Call(..) => {
                self.break_off(supervisor, &call);
                self.tree.supervisor_mut(supervisor).calls.push_back((ticket, call));
                self.wake(supervisor);
            }
        }
    }

    /// What is gone is terminated (14: ok for a process that is gone already). Ids are never given twice, so this is
    /// known of any id that was ever given.
    fn about_nobody(&self, call: &Call) -> Answer {
        match call {
            Call::TerminateChild(child) if child.0 < self.tree.next && !self.exists(*child) => {
                Ok(Reply::Done)
            }
            _ => Err(Refusal::NotFound),
        }
    }

    /// An operator's stop or restart of a child whose start is under way breaks the attempt off at once, by the child's own
    /// stop steps. This is the one operation that does not run to its end (extensions section 2).
    fn break_off(&mut self, s: NodeId, call: &Call) {
        let (Call::TerminateChild(c) | Call::CycleChild(c)) = *call else { return };
        if self.supervisor(s).op.current() != Some(c) {
            return;
        }
        match self.life(c) {
            Life::Starting(Attempt::NoResources { .. }) => self.fail(c, Failure::Stopped),
            Life::Starting(_) => {
                self.stop(c);
            }
            Life::Down(_) | Life::Owed(_) | Life::Up { .. } | Life::Ending(..) | Life::Over(_) => {}
        }
    }

    /// A boot's or round's start of this child was broken off, and nothing of it is left. The newest of the calls that did it
    /// says what follows: the child rests as if it had been ignored, or is started again in its place. What waits behind it
    /// goes on either way.
    pub(super) fn broken_off(&mut self, s: NodeId, c: NodeId) -> BrokenOff {
        let newest = self.supervisor(s).calls.iter().rev().find_map(|(_, call)| match call {
            Call::TerminateChild(of) if *of == c => Some(BrokenOff::Rests),
            Call::CycleChild(of) if *of == c => Some(BrokenOff::Again),
            _ => None,
        });
        let what_follows = newest.unwrap_or(BrokenOff::Rests);
        self.answer_all(s, &Call::TerminateChild(c), &Ok(Reply::Done));
        if what_follows == BrokenOff::Rests {
            self.answer_all(s, &Call::CycleChild(c), &Err(Refusal::StartFailed(Failure::Stopped)));
        }
        what_follows
    }

    /// ... but its process cannot be killed.
    pub(super) fn broken_off_stuck(&mut self, s: NodeId, c: NodeId) {
        self.leave_attempt(c, Failure::Stopped, After::Rest);
        for call in [Call::TerminateChild(c), Call::CycleChild(c)] {
            self.answer_all(s, &call, &Err(Refusal::Stuck));
        }
    }

    /// A boot or round has started this child. Restarts of it that wait are done: each was asked for before this start began,
    /// or it would have broken the start off.
    pub(super) fn started_in_its_turn(&mut self, s: NodeId, c: NodeId) {
        if matches!(self.life(c), Life::Up { .. }) {
            let started = Reply::Started(c, self.node(c).run);
            self.answer_all(s, &Call::CycleChild(c), &Ok(started));
        }
    }

    /// Answers what waits in the queue and is this call.
    fn answer_all(&mut self, s: NodeId, call: &Call, answer: &Answer) {
        let calls = &mut self.tree.supervisor_mut(s).calls;
        let (answered, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(calls).into_iter().partition(|(_, waiting)| waiting == call);
        *calls = rest;
        for (ticket, _) in answered {
            self.reply(ticket, answer.clone());
        }
    }

    /// Carries out a call whose turn has come.
    pub(super) fn perform(&mut self, s: NodeId, ticket: Ticket, call: Call) {
        let begun = match call {
            Call::StartChild(_, spec) => self.start_child(s, spec),
            Call::StartInstance(_, name) => self.start_instance(s, name),
            Call::TerminateChild(child) => self.terminate_child(child),
            Call::RestartChild(child) => self.restart_child(s, child),
            Call::DeleteChild(child) => self.delete_child(s, child),
            Call::CycleChild(child) => self.cycle_child(child),
            Call::Reload(spec) => self.reload(&spec).map(|()| Begun::Done).map_err(Refusal::BadSpec),
        };
        match begun {
            Ok(Begun::Errand(errand)) => {
                self.tree.supervisor_mut(s).op = Op::Call(ticket, errand);
                self.wake(s);
            }
            Ok(Begun::Done) => self.reply(ticket, Ok(Reply::Done)),
            Err(refusal) => self.reply(ticket, Err(refusal)),
        }
    }

    fn start_child(&mut self, s: NodeId, spec: ChildSpec) -> Result<Begun, Refusal> {
        if self.tree.is_template(s) {
            return Err(Refusal::SimpleOneForOne);
        }
        check::child(self.flags(s), &spec, &mut BTreeSet::new()).map_err(Refusal::BadSpec)?;
        let instance = self.supervisor(s).instance.as_deref();
        let names = names_with(&spec.name, &spec, instance);
        self.check_names(s, &names)?;
        Ok(self.add(s, spec.name.clone(), Origin::Own(Box::new(spec.clone())), &spec))
    }

    fn start_instance(&mut self, s: NodeId, name: String) -> Result<Begun, Refusal> {
        if !self.tree.is_template(s) {
            return Err(Refusal::NotFound);
        }
        let template = self.tree.supervisor_spec(s).children[0].clone();
        self.check_names(s, &names_with(&name, &template, Some(&name)))?;
        Ok(self.add(s, name, Origin::Instance, &template))
    }

    /// The first name is the child's own, the others are of children below it. Names are unique in the whole tree, also
    /// against configured children that were removed and will be back.
    fn check_names(&self, s: NodeId, names: &[String]) -> Result<(), Refusal> {
        if let Some(holder) = self.tree.find(&names[0])
            && self.node(holder).parent == Some(s)
        {
            let is_template = self.node(holder).origin == Origin::Template;
            return Err(match self.life(holder) {
                _ if is_template => Refusal::SimpleOneForOne,
                Life::Up { .. } | Life::Ending(_, Purpose::Stop | Purpose::Health) => {
                    Refusal::AlreadyStarted(holder)
                }
                _ => Refusal::AlreadyPresent(holder),
            });
        }
        let taken = names.iter().enumerate().find(|(i, name)| {
            let reserved = self.tree.names.reserved_by(name).is_some_and(|by| *i > 0 || by != s);
            reserved || self.tree.find(name).is_some()
        });
        match taken {
            Some((_, name)) => Err(Refusal::BadSpec(SpecError::DuplicateName(name.clone()))),
            None => Ok(()),
        }
    }

    fn add(&mut self, s: NodeId, name: String, origin: Origin, spec: &ChildSpec) -> Begun {
        let first_new = self.tree.next;
        let child = self.tree.plant(s, name, origin, spec);
        self.tell_added(first_new);
        Begun::Errand(Errand::Start(child))
    }

    fn terminate_child(&mut self, c: NodeId) -> Result<Begun, Refusal> {
        if !self.exists(c) {
            return Ok(Begun::Done);
        }
        self.check_no_template(c)?;
        Ok(Begun::Errand(Errand::Terminate(c)))
    }

    fn restart_child(&mut self, s: NodeId, c: NodeId) -> Result<Begun, Refusal> {
        self.check_at_rest(s, c)?;
        Ok(Begun::Errand(Errand::Restart(c)))
    }

    fn delete_child(&mut self, s: NodeId, c: NodeId) -> Result<Begun, Refusal> {
        self.check_at_rest(s, c)?;
        self.remove(c);
        Ok(Begun::Done)
    }

    fn cycle_child(&mut self, c: NodeId) -> Result<Begun, Refusal> {
        if !self.exists(c) {
            return Err(Refusal::NotFound);
        }
        self.check_no_template(c)?;
        Ok(Begun::Errand(Errand::Cycle(c)))
    }

    /// A template never lives, so it can neither be stopped nor started.
    fn check_no_template(&self, c: NodeId) -> Result<(), Refusal> {
        match self.node(c).origin {
            Origin::Template => Err(Refusal::SimpleOneForOne),
            Origin::Static(_) | Origin::Own(_) | Origin::Instance => Ok(()),
        }
    }

    /// `restart_child` and `delete_child` apply to a kept child without a process.
    fn check_at_rest(&self, s: NodeId, c: NodeId) -> Result<(), Refusal> {
        if !self.exists(c) {
            return Err(Refusal::NotFound);
        }
        if self.tree.is_template(s) {
            return Err(Refusal::SimpleOneForOne);
        }
        match self.life(c) {
            Life::Down(_) => Ok(()),
            life if life.is_owed() => Err(Refusal::Restarting),
            _ => Err(Refusal::Running),
        }
    }

    /// Goes on with a call that waits for a child.
    pub(super) fn errand(&mut self, s: NodeId, ticket: Ticket, errand: Errand) -> Progress {
        let done = match errand {
            Errand::Terminate(c) => match self.stop(c) {
                Stopped::Waits => None,
                Stopped::Gone => {
                    self.rest_without_process(c, Down::Stopped);
                    Some(Ok(Reply::Done))
                }
                Stopped::Stuck => Some(self.leave_stuck(c)),
            },
            Errand::Cycle(c) => match self.stop(c) {
                Stopped::Waits => None,
                Stopped::Gone => {
                    self.tree.supervisor_mut(s).op = Op::Call(ticket, Errand::Restart(c));
                    return Progress::Made;
                }
                Stopped::Stuck => Some(self.leave_stuck(c)),
            },
            Errand::Start(c) => self.start_by_call(c, FailedStart::Forgets),
            Errand::Restart(c) => self.start_by_call(c, FailedStart::Keeps),
        };
        let Some(answer) = done else { return Progress::Waits };
        self.tree.supervisor_mut(s).op = Op::Idle;
        self.reply(ticket, answer);
        Progress::Made
    }

    fn start_by_call(&mut self, c: NodeId, failed: FailedStart) -> Option<Answer> {
        match self.attempt(c) {
            Attempted::Waits => None,
            Attempted::Up => Some(Ok(Reply::Started(c, self.node(c).run))),
            Attempted::NoProcess(down) => {
                self.rest_without_process(c, down);
                Some(Ok(Reply::NoProcess(Some(c).filter(|c| self.exists(*c)))))
            }
            Attempted::Failed(failure) => {
                match failed {
                    FailedStart::Forgets => self.remove(c),
                    FailedStart::Keeps => self.rest_without_process(c, Down::Stopped),
                }
                Some(Err(Refusal::StartFailed(failure)))
            }
            // As long as there is a process, its child is not forgotten.
            Attempted::Stuck(failure) => {
                self.leave_attempt(c, failure, After::Rest);
                Some(Err(Refusal::StartFailed(failure)))
            }
        }
    }

    fn leave_stuck(&mut self, c: NodeId) -> Answer {
        self.leave(c, After::Rest);
        Err(Refusal::Stuck)
    }

    fn reply(&mut self, ticket: Ticket, answer: Answer) {
        self.order(Action::Reply(ticket, answer));
    }

    fn exists(&self, id: NodeId) -> bool {
        self.tree.nodes.contains_key(&id)
    }
}

/// What a call comes to when its turn has come.
enum Begun {
    /// It waits for a child.
    Errand(Errand),
    /// Done at once.
    Done,
}

/// What becomes of a child whose start was broken off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BrokenOff {
    Rests,
    Again,
}

/// All names that a child would bring into the tree, its own first.
fn names_with(name: &str, spec: &ChildSpec, instance: Option<&str>) -> Vec<String> {
    let mut names = Vec::new();
    collect_names(spec, instance, &mut names);
    names[0] = name.to_owned();
    names
}

/// What a failed start leaves of its child.
#[derive(Clone, Copy)]
enum FailedStart {
    Keeps,
    Forgets,
}

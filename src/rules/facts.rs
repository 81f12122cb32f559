//! Facts from outside: what they make of a run. Nothing is decided here, and a fact about a run that is over is ignored.

use super::action::{Action, Decision, Failure, Note};
use super::attempt::{FIRST_WAIT, LONGEST_WAIT};
use super::event::{Exit, ExitFact, StartError};
use super::node::{After, Attempt, Awaits, Birth, Class, Down, Life, Over, Owed, Purpose, Stop, Toll, UpBy};
use super::spec::{Kind, Start, WorkerSpec};
use super::tree::{NodeId, ROOT, Run};
use super::turn::Turn;

impl Turn<'_> {
    pub(super) fn spawned(&mut self, id: NodeId, run: Run) {
        let Some(node) = self.current(id, run) else { return };
        match node.life {
            Life::Starting(Attempt::Ordered { .. }) => {
                let until = |timeout: Option<_>| timeout.map(|timeout| self.now + timeout);
                match self.worker(id).start {
                    Start::Exec => self.up(id, UpBy::Start),
                    Start::Ready { timeout } => {
                        let warming = Attempt::Warming { awaits: Awaits::Ready, until: until(timeout) };
                        self.enter(id, Life::Starting(warming));
                    }
                    Start::Oneshot { timeout } => {
                        let warming = Attempt::Warming { awaits: Awaits::Success, until: until(timeout) };
                        self.enter(id, Life::Starting(warming));
                    }
                }
            }
            // Broken off before it was born.
            Life::Ending(Stop::Asked { signal, until, ref rest, birth: Birth::Unreported }, purpose) => {
                let rest = rest.clone();
                self.order(Action::Signal(id, run, signal));
                let birth = Birth::Reported;
                self.enter(id, Life::Ending(Stop::Asked { signal, until, rest, birth }, purpose));
            }
            // The KILL may have found nothing.
            Life::Ending(Stop::Killed { until, birth: Birth::Unreported }, purpose) => {
                self.order(Action::Kill(id, run));
                let birth = Birth::Reported;
                self.enter(id, Life::Ending(Stop::Killed { until, birth }, purpose));
            }
            Life::Ending(Stop::Stuck { birth: Birth::Unreported }, purpose) => {
                self.order(Action::Kill(id, run));
                self.enter(id, Life::Ending(Stop::Stuck { birth: Birth::Reported }, purpose));
            }
            Life::Starting(Attempt::Warming { .. } | Attempt::NoResources { .. } | Attempt::Subtree)
            | Life::Ending(Stop::Asked { .. } | Stop::Killed { .. } | Stop::Stuck { .. }, _)
            | Life::Down(_)
            | Life::Owed(_)
            | Life::Up { .. }
            | Life::Over(_) => {}
        }
    }

    pub(super) fn spawn_failed(&mut self, id: NodeId, run: Run, error: StartError) {
        let Some(node) = self.current(id, run) else { return };
        match (&node.life, error) {
            (Life::Starting(Attempt::Ordered { .. }), StartError::Failed) => {
                self.fail(id, Failure::Spawn(error));
            }
            (Life::Starting(Attempt::Ordered { pause }), StartError::NoResources) => {
                let (until, pause) = (self.now + *pause, *pause);
                self.enter(id, Life::Starting(Attempt::NoResources { until, pause }));
                self.note(Note::ResourceWait(id, until));
            }
            _ => self.came_to_nothing(id),
        }
    }

    pub(super) fn ignored(&mut self, id: NodeId, run: Run) {
        let Some(node) = self.current(id, run) else { return };
        if matches!(node.life, Life::Starting(Attempt::Ordered { .. })) {
            self.note(Note::Ignored(id, run));
            self.enter(id, Life::Over(Over::NoProcess(Down::Stopped)));
        } else {
            self.came_to_nothing(id);
        }
    }

    /// The answer to an order to start that was taken back meanwhile: there never was a process.
    fn came_to_nothing(&mut self, id: NodeId) {
        let life = self.life(id);
        if let Life::Ending(_, purpose) = *life
            && life.birth() == Birth::Unreported
        {
            self.gone(id, purpose);
        }
    }

    /// A report of readiness says more than `Spawned`, so it is also taken in its place.
    pub(super) fn ready(&mut self, id: NodeId, run: Run) {
        let Some(node) = self.current(id, run) else { return };
        match node.life {
            Life::Starting(Attempt::Warming { awaits: Awaits::Ready, .. }) => self.up(id, UpBy::Ready),
            Life::Starting(Attempt::Ordered { .. }) => {
                self.spawned(id, run);
                if let Life::Starting(Attempt::Warming { awaits: Awaits::Ready, .. }) = self.life(id) {
                    self.up(id, UpBy::Ready);
                }
            }
            Life::Ending(..) => self.spawned(id, run),
            _ => {}
        }
    }

    pub(super) fn unhealthy(&mut self, id: NodeId, run: Run) {
        let Some(node) = self.current(id, run) else { return };
        if matches!(node.life, Life::Up { .. }) && !self.is_supervisor(id) {
            self.note(Note::Unhealthy(id, run));
            self.forget_streak(id);
            self.ask(id, Purpose::Health);
        }
    }

    pub(super) fn exited(&mut self, mut facts: Vec<ExitFact>) {
        facts.sort_by_key(|fact| (fact.node, fact.run));
        for ExitFact { node, run, exit } in facts {
            if self.current(node, run).is_none() {
                continue;
            }
            if self.is_supervisor(node) {
                self.kill_supervisor(node);
            } else {
                self.process_gone(node, exit);
            }
        }
    }

    fn process_gone(&mut self, id: NodeId, exit: Exit) {
        match *self.life(id) {
            Life::Starting(Attempt::Ordered { .. } | Attempt::Warming { .. }) => self.attempt_gone(id, exit),
            Life::Up { .. } => {
                let class = class(self.worker(id), exit);
                self.died(id, Over::Exited { exit, class, killed: false });
            }
            Life::Ending(ref stop, purpose) => {
                let killed = match stop {
                    Stop::Asked { .. } => false,
                    Stop::Killed { .. } | Stop::Stuck { .. } => true,
                };
                if purpose == Purpose::Health {
                    self.died(id, Over::Exited { exit, class: Class::Abnormal, killed });
                } else {
                    let (run, decision) = (self.node(id).run, Decision::Absorbed);
                    self.note(Note::Exited { node: id, run, exit, requested: true, killed, decision });
                    self.gone(id, purpose);
                }
            }
            Life::Starting(Attempt::NoResources { .. } | Attempt::Subtree)
            | Life::Down(_)
            | Life::Owed(_)
            | Life::Over(_) => {}
        }
    }

    /// An exit before the attempt was over: a failure whatever the status, but for a oneshot's success.
    fn attempt_gone(&mut self, id: NodeId, exit: Exit) {
        let worker = self.worker(id);
        let finished = matches!(worker.start, Start::Oneshot { .. }) && class(worker, exit) == Class::Success;
        let decision = if finished { Decision::Stopped } else { Decision::Absorbed };
        let run = self.node(id).run;
        self.note(Note::Exited { node: id, run, exit, requested: false, killed: false, decision });
        if finished {
            self.enter(id, Life::Over(Over::NoProcess(Down::Exited)));
        } else {
            self.fail(id, Failure::Exited(exit));
        }
    }

    /// A child that was up, or was being ended for its health, is gone: its supervisor will decide.
    pub(super) fn died(&mut self, id: NodeId, over: Over) {
        let node = self.node(id);
        let Some(parent) = node.parent else { return };
        let place = node.place;
        self.forget_streak(id);
        self.enter(id, Life::Over(over));
        self.tree.supervisor_mut(parent).exits.insert((place, id));
    }

    /// What was being ended is gone.
    pub(super) fn gone(&mut self, id: NodeId, purpose: Purpose) {
        match purpose {
            Purpose::Stop => self.enter(id, Life::Down(Down::Stopped)),
            Purpose::Failed(failure) => self.fail(id, failure),
            Purpose::Health => {}
            Purpose::Left(After::Rest) => self.died(id, Over::Late),
            Purpose::Left(After::Retry) => self.enter(id, Life::Owed(Owed::Queued(Toll::Due))),
        }
    }

    /// A node's deadline has passed.
    pub(super) fn deadline(&mut self, id: NodeId) {
        match self.life(id).clone() {
            Life::Owed(Owed::Backoff { .. }) => {
                self.enter(id, Life::Owed(Owed::Queued(Toll::Paid)));
                let parent = self.node(id).parent.unwrap_or(ROOT);
                self.tree.supervisor_mut(parent).retries.push_back(id);
            }
            Life::Starting(Attempt::Warming { .. }) => {
                self.note(Note::Stopping(id, self.node(id).run));
                self.ask(id, Purpose::Failed(Failure::Timeout));
            }
            Life::Starting(Attempt::NoResources { pause, .. }) => {
                self.begin_after(id, pause.saturating_mul(2).clamp(FIRST_WAIT, LONGEST_WAIT));
            }
            Life::Ending(Stop::Asked { rest, .. }, purpose) => {
                self.ask_on(id, rest, purpose);
            }
            Life::Ending(Stop::Killed { .. }, purpose) => self.stick(id, purpose),
            Life::Starting(Attempt::Ordered { .. } | Attempt::Subtree)
            | Life::Ending(Stop::Stuck { .. }, _)
            | Life::Owed(Owed::Round | Owed::Queued(_))
            | Life::Down(_)
            | Life::Up { .. }
            | Life::Over(_) => {}
        }
    }

    fn worker(&self, id: NodeId) -> &WorkerSpec {
        match &self.spec(id).kind {
            Kind::Worker(worker) => worker,
            Kind::Supervisor(_) => unreachable!("a reload never turns a worker into a supervisor"),
        }
    }
}

/// The class of an exit nobody asked for. Normal and the configured successes are one class: no decision tells them
/// apart. A foreign TERM is abnormal unless it is configured, and 143 is a code.
fn class(worker: &WorkerSpec, exit: Exit) -> Class {
    match exit {
        Exit::Code(0) => Class::Success,
        Exit::Code(code) if worker.success_codes.contains(&code) => Class::Success,
        Exit::Signal { signal, .. } if worker.success_signals.contains(&signal) => Class::Success,
        Exit::Code(_) | Exit::Signal { .. } | Exit::Unknown => Class::Abnormal,
    }
}

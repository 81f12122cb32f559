//! A tree together with all the world that matters to it, as a value: what can happen next, and what must hold.

use std::collections::BTreeMap;
use std::time::Duration;

use provost::rules::{
    Action, Call, ChildSpec, EndClass, Event, Exit, ExitFact, Flags, Kind, Moment, NodeId, Note, Phase,
    Restart, Run, Shutdown, Signal, Start, StartError, StopStep, Strategy, SupervisorSpec, Ticket, Tree,
    View, WorkerSpec,
};

const TERM: Signal = Signal(15);

/// One state of the tree and of everything outside.
#[derive(Clone, Hash)]
pub(crate) struct State {
    pub(crate) tree: Tree,
    pub(crate) now: u64,
    /// What the world knows of each node's process.
    pub(crate) processes: BTreeMap<NodeId, Process>,
    pub(crate) finished: Option<EndClass>,
    /// Faults that may still happen.
    pub(crate) faults: u32,
    /// Calls that may still be made, and whether any was.
    pub(crate) calls: u32,
    pub(crate) calls_made: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Process {
    pub(crate) run: Run,
    pub(crate) stage: Stage,
    pub(crate) asked: Asked,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Stage {
    Ordered,
    Warming,
    Up,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Asked {
    No,
    Politely,
    Killed,
}

/// Things that can happen, with what they cost.
pub(crate) struct Choice {
    pub(crate) event: Event,
    pub(crate) faults: u32,
    pub(crate) calls: u32,
    pub(crate) millis: u64,
}

/// How a state was reached; told when something does not hold there.
pub(crate) struct History(pub(crate) Vec<Event>);

impl Drop for History {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("after:");
            self.0.iter().for_each(|event| eprintln!("  {event:?}"));
        }
    }
}

impl State {
    /// A tree before its boot.
    pub(crate) fn new(spec: SupervisorSpec, faults: u32, calls: u32) -> State {
        State {
            tree: Tree::new(spec).expect("it is good"),
            now: 0,
            processes: BTreeMap::new(),
            finished: None,
            faults,
            calls,
            calls_made: false,
        }
    }

    /// Everything that can happen next.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        let mut add = |event, faults, calls| {
            if faults <= self.faults && calls <= self.calls {
                choices.push(Choice { event, faults, calls, millis: 0 });
            }
        };
        if self.finished.is_some() {
            return choices;
        }
        let root = self.tree.view(Moment(self.now));
        if root.phase == Phase::Waiting {
            add(Event::Boot, 0, 0);
            return choices;
        }
        for (&node, process) in &self.processes {
            let run = process.run;
            match process.stage {
                Stage::Ordered => {
                    add(Event::Spawned(node, run), 0, 0);
                    add(Event::Ready(node, run), 1, 0);
                    add(Event::SpawnFailed(node, run, StartError::Failed), 1, 0);
                    add(Event::SpawnFailed(node, run, StartError::NoResources), 1, 0);
                    add(Event::Ignored(node, run), 1, 0);
                    add(exited(&[(node, run, 1)]), 1, 0);
                }
                Stage::Warming => {
                    add(Event::Ready(node, run), 0, 0);
                    add(
                        exited(&[(node, run, 0)]),
                        u32::from(!matches!(self.start_of(node), Some(Start::Oneshot { .. }))),
                        0,
                    );
                }
                Stage::Up => {
                    add(Event::Unhealthy(node, run), 1, 0);
                    add(exited(&[(node, run, 0)]), u32::from(process.asked == Asked::No), 0);
                    add(exited(&[(node, run, 1)]), 1, 0);
                }
            }
            if process.asked != Asked::No && process.stage != Stage::Ordered {
                add(exited(&[(node, run, 0)]), 0, 0);
            }
            let others = self.processes.iter().filter(|(other, it)| **other > node && it.stage == Stage::Up);
            for (&other, it) in others {
                add(exited(&[(other, it.run, 1), (node, run, 1)]), 2, 0);
                add(exited(&[(other, it.run, 1), (node, run, 0)]), 2, 0);
            }
        }
        for call in self.possible_calls(&root) {
            add(Event::Request(Ticket(u64::from(self.calls)), call), 0, 1);
        }
        if let Some(deadline) = self.tree.next_deadline() {
            let millis = deadline.0.saturating_sub(self.now);
            // A process that lets a deadline pass is a fault; a pause that is over is not.
            let slow = self.processes.values().any(|it| it.stage != Stage::Up || it.asked != Asked::No);
            if !slow || self.faults > 0 {
                choices.push(Choice { event: Event::Tick, faults: u32::from(slow), calls: 0, millis });
            }
        }
        choices
    }

    fn start_of(&self, node: NodeId) -> Option<Start> {
        match &self.tree.spec(node)?.kind {
            Kind::Worker(worker) => Some(worker.start),
            Kind::Supervisor(_) => None,
        }
    }

    fn possible_calls(&self, root: &View) -> Vec<Call> {
        let mut calls = Vec::new();
        if self.calls == 0 {
            return calls;
        }
        if root.supervisor.as_ref().is_some_and(|it| it.flags.strategy == Strategy::SimpleOneForOne) {
            calls.push(Call::StartInstance(root.id, format!("t@{}", self.calls)));
        }
        for node in nodes(root).into_iter().filter(|node| node.id != root.id) {
            calls.push(Call::TerminateChild(node.id));
            calls.push(Call::RestartChild(node.id));
            calls.push(Call::DeleteChild(node.id));
            calls.push(Call::CycleChild(node.id));
        }
        calls
    }

    pub(crate) fn after(&self, choice: Choice) -> (State, Vec<Note>) {
        let mut next = self.clone();
        next.now += choice.millis;
        next.faults -= choice.faults;
        next.calls -= choice.calls;
        next.calls_made |= choice.calls > 0;
        let notes = next.happen(choice.event);
        (next, notes)
    }

    /// Something happens: first in the world, then to the tree, then what the tree orders.
    pub(crate) fn happen(&mut self, event: Event) -> Vec<Note> {
        match &event {
            Event::Exited(facts) => {
                for fact in facts {
                    self.processes.retain(|node, it| (*node, it.run) != (fact.node, fact.run));
                }
            }
            Event::SpawnFailed(node, run, _) | Event::Ignored(node, run) => {
                self.processes.retain(|of, it| (*of, it.run) != (*node, *run));
            }
            Event::Spawned(node, run) => {
                let done = self.start_of(*node) == Some(Start::Exec) && !self.is_broken_off(*node);
                self.set_stage(*node, *run, if done { Stage::Up } else { Stage::Warming });
            }
            Event::Ready(node, run) => {
                let stage = if self.is_broken_off(*node) { Stage::Warming } else { Stage::Up };
                self.set_stage(*node, *run, stage);
            }
            _ => {}
        }
        let mut actions = Vec::new();
        self.tree.step(Moment(self.now), event, &mut actions);
        let mut notes = Vec::new();
        for action in actions {
            match action {
                Action::Note(note) => notes.push(note),
                action => self.perform(action),
            }
        }
        notes
    }

    /// A start that is broken off never comes up.
    fn is_broken_off(&self, node: NodeId) -> bool {
        let phase = self.tree.why(Moment(self.now), node).map(|why| why.phase);
        phase == Some(Phase::Stopping) && self.processes.get(&node).is_some_and(|it| it.stage != Stage::Up)
    }

    fn set_stage(&mut self, node: NodeId, run: Run, stage: Stage) {
        if let Some(process) = self.processes.get_mut(&node).filter(|process| process.run == run) {
            process.stage = stage;
        }
    }

    fn perform(&mut self, action: Action) {
        assert_eq!(self.finished, None, "nothing follows the end, not {action:?}");
        match action {
            Action::Start(node, run) => {
                let process = Process { run, stage: Stage::Ordered, asked: Asked::No };
                let before = self.processes.insert(node, process);
                assert_eq!(before, None, "two generations of {node:?}");
                self.check_start(node);
            }
            Action::Signal(node, run, signal) => {
                let process = self.process(node, run);
                assert_eq!((process.asked, signal), (Asked::No, TERM), "{node:?} is asked once");
                process.asked = Asked::Politely;
                // A start is broken off before anybody else is stopped.
                if process.stage == Stage::Up {
                    self.check_stop(node);
                }
            }
            Action::Kill(node, run) => self.process(node, run).asked = Asked::Killed,
            Action::Finished(class) => {
                assert!(self.processes.is_empty(), "left running: {:?}", self.processes);
                assert_eq!(self.tree.next_deadline(), None, "a deadline is left");
                self.finished = Some(class);
            }
            Action::Forget(node) => {
                assert!(!self.processes.contains_key(&node), "{node:?} is forgotten alive")
            }
            Action::Note(_) | Action::Reply(..) | Action::Added { .. } => {}
        }
    }

    fn process(&mut self, node: NodeId, run: Run) -> &mut Process {
        let process = self.processes.get_mut(&node).unwrap_or_else(|| panic!("no process of {node:?}"));
        assert_eq!(process.run, run, "an order for another run");
        process
    }

    /// A group starts in order: nobody behind a child that starts has a process. Calls may start anybody at any time.
    fn check_start(&self, node: NodeId) {
        let root = self.tree.view(Moment(self.now));
        let Some((strategy, behind)) = behind(&root, node) else { return };
        match strategy {
            Strategy::OneForOne | Strategy::SimpleOneForOne => {}
            Strategy::OneForAll | Strategy::RestForOne => {
                let early = behind.iter().find(|id| self.processes.contains_key(id));
                assert!(self.calls_made || early.is_none(), "{node:?} starts, {early:?} is there already");
            }
        }
    }

    /// Stops go in reverse order, one after the other: everybody behind is gone, or was killed.
    fn check_stop(&self, node: NodeId) {
        let root = self.tree.view(Moment(self.now));
        let view = nodes(&root).into_iter().find(|view| view.id == node).expect("a node has a view");
        let Some((strategy, behind)) = behind(&root, node) else { return };
        if strategy == Strategy::SimpleOneForOne || view.phase == Phase::Unhealthy || self.calls_made {
            return;
        }
        let late =
            behind.iter().find(|id| self.processes.get(id).is_some_and(|it| it.asked != Asked::Killed));
        assert_eq!(late, None, "{node:?} is asked before it");
    }

    /// What is shown is what is there.
    pub(crate) fn check(&self) {
        let root = self.tree.view(Moment(self.now));
        for view in nodes(&root) {
            let process = self.processes.get(&view.id);
            match view.phase {
                Phase::Waiting | Phase::Backoff | Phase::Stopped | Phase::Exited | Phase::Failed => {
                    assert_eq!(process, None, "{view:?}");
                }
                Phase::Running | Phase::Ready | Phase::Unhealthy if view.supervisor.is_none() => {
                    assert_eq!(process.map(|it| (it.run, it.stage)), Some((view.run, Stage::Up)), "{view:?}");
                }
                Phase::Stopping if view.supervisor.is_none() => {
                    let is_ending = |it: &Process| it.asked != Asked::No || it.stage == Stage::Ordered;
                    assert!(process.is_some_and(is_ending), "{view:?}");
                }
                _ => {}
            }
            if let Some(it) = &view.supervisor {
                let counts = self.tree.counts(view.id).expect("a supervisor");
                assert_eq!(counts.active, it.children.iter().filter(|c| c.phase.is_active()).count());
                let used = it.flags.intensity - it.restarts_left;
                assert!(used <= it.flags.intensity, "the budget is kept");
            }
        }
        for (node, process) in &self.processes {
            let view = nodes(&root).into_iter().find(|view| view.id == *node);
            assert_eq!(view.map(|view| view.run), Some(process.run), "a process nobody knows: {process:?}");
        }
    }

    /// Facts that are late, early, double or about nobody change nothing.
    pub(crate) fn check_noise(&self) {
        let root = self.tree.view(Moment(self.now));
        let mut noise = vec![Event::Boot, Event::Tick, Event::Spawned(NodeId(999), Run(1))];
        if root.phase == Phase::Waiting {
            noise.remove(0);
        }
        if self.tree.next_deadline().is_some_and(|deadline| deadline.0 <= self.now) {
            return;
        }
        for view in nodes(&root).into_iter().filter(|view| view.supervisor.is_none()) {
            let wrong = [view.run.0.wrapping_sub(1), view.run.0 + 1].map(Run);
            // No process: nothing can be true of the newest run either.
            let gone = (!self.processes.contains_key(&view.id)).then_some(view.run);
            for run in wrong.into_iter().chain(gone) {
                noise.extend(facts(view.id, run));
            }
            match self.processes.get(&view.id).map(|it| it.stage) {
                Some(Stage::Up) => {
                    noise.push(Event::Spawned(view.id, view.run));
                    noise.push(Event::Ready(view.id, view.run));
                }
                Some(Stage::Warming) => noise.push(Event::Spawned(view.id, view.run)),
                Some(Stage::Ordered) | None => {}
            }
        }
        let mut tree = self.tree.clone();
        let mut actions = Vec::new();
        for event in noise {
            tree.step(Moment(self.now), event.clone(), &mut actions);
            assert_eq!(actions, [], "{event:?}");
        }
        assert_eq!(tree, self.tree, "noise moves nothing");
    }

    /// A stop at this instant ends the tree, in order and whatever was under way; so does a hurried one.
    pub(crate) fn check_stops(&self) {
        if self.finished.is_some() {
            return;
        }
        for events in [&[Event::Stop][..], &[Event::Stop, Event::StopNow]] {
            let mut state = self.clone();
            for event in events {
                if state.finished.is_none() {
                    state.happen(event.clone());
                }
            }
            let ordered: Vec<_> =
                state.processes.iter().filter(|(_, it)| it.stage == Stage::Ordered).collect();
            for (node, run) in ordered.into_iter().map(|(node, it)| (*node, it.run)).collect::<Vec<_>>() {
                state.happen(Event::Spawned(node, run));
            }
            assert!(
                state.processes.values().all(|it| it.stage == Stage::Up || it.asked != Asked::No),
                "start attempts are broken off at once: {:?}",
                state.processes
            );
            let known: Vec<_> = state.processes.keys().copied().collect();
            for _ in 0..100 {
                let Some((&node, process)) = state.processes.iter().find(|(_, it)| it.asked != Asked::No)
                else {
                    break;
                };
                let fact = exited(&[(node, process.run, 0)]);
                state.happen(fact);
                assert!(state.processes.keys().all(|node| known.contains(node)), "nothing starts any more");
            }
            assert!(state.finished.is_some(), "it does not end: {:?}\n{:#?}", state.processes, state.tree);
        }
    }
}

pub(crate) fn facts(node: NodeId, run: Run) -> Vec<Event> {
    vec![
        Event::Spawned(node, run),
        Event::SpawnFailed(node, run, StartError::Failed),
        Event::SpawnFailed(node, run, StartError::NoResources),
        Event::Ignored(node, run),
        Event::Ready(node, run),
        Event::Unhealthy(node, run),
        exited(&[(node, run, 1)]),
    ]
}

pub(crate) fn exited(deaths: &[(NodeId, Run, u8)]) -> Event {
    let fact = |&(node, run, code): &(NodeId, Run, u8)| ExitFact { node, run, exit: Exit::Code(code) };
    Event::Exited(deaths.iter().map(fact).collect())
}

pub(crate) fn nodes(view: &View) -> Vec<&View> {
    let below = view.supervisor.iter().flat_map(|it| &it.children).flat_map(nodes);
    std::iter::once(view).chain(below).collect()
}

/// The strategy a node stands under, and the nodes behind it in start order, with all below them.
pub(crate) fn behind(root: &View, node: NodeId) -> Option<(Strategy, Vec<NodeId>)> {
    let parent = nodes(root).into_iter().find_map(|view| {
        view.supervisor.as_ref().filter(|it| it.children.iter().any(|child| child.id == node))
    })?;
    let behind = parent.children.iter().skip_while(|child| child.id != node).skip(1).flat_map(nodes);
    Some((parent.flags.strategy, behind.map(|view| view.id).collect()))
}

pub(crate) fn polite(millis: Option<u64>) -> Shutdown {
    Shutdown::Polite(vec![StopStep { signal: TERM, wait: millis.map(Duration::from_millis) }])
}

pub(crate) fn permanent(name: &str) -> ChildSpec {
    let start = Start::Ready { timeout: Some(Duration::from_secs(3)) };
    ChildSpec {
        name: name.into(),
        restart: Restart::Permanent,
        significant: false,
        shutdown: polite(Some(1000)),
        backoff: None,
        kind: Kind::Worker(WorkerSpec { start, ..WorkerSpec::default() }),
    }
}

pub(crate) fn transient(name: &str) -> ChildSpec {
    ChildSpec { restart: Restart::Transient, ..permanent(name) }
}

pub(crate) fn temporary(name: &str) -> ChildSpec {
    ChildSpec { restart: Restart::Temporary, ..permanent(name) }
}

pub(crate) fn inner(name: &str, spec: SupervisorSpec) -> ChildSpec {
    ChildSpec { shutdown: polite(None), kind: Kind::Supervisor(spec), ..permanent(name) }
}

pub(crate) fn tree(strategy: Strategy, intensity: u32, children: &[ChildSpec]) -> SupervisorSpec {
    let flags = Flags { strategy, intensity, period: Duration::from_secs(3_600_000), ..Flags::default() };
    SupervisorSpec { flags, children: children.to_vec() }
}

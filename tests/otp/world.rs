//! A simulated world for a tree: a clock that jumps, and processes that behave as their plan says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use provost::rules::{
    Action, Call, EndClass, Event, Exit, ExitFact, KillCause, Moment, NodeId, Note, Refusal, Reply, Run,
    Signal, StartError, SupervisorSpec, Ticket, Tree, View,
};

pub(crate) const TERM: Signal = Signal(15);
pub(crate) const KILL: Signal = Signal(9);

/// What the next process of a name does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Ready at once, ends with 0 when asked.
    #[default]
    Ok,
    /// Exits 1 before it is ready.
    Fail,
    /// ... after so many milliseconds.
    FailAfter(u64),
    /// The start condition says no.
    Ignore,
    /// exec fails.
    NoExec,
    /// No resources for a process.
    NoResources,
    /// Ready after so many milliseconds.
    SlowStart(u64),
    /// Takes so many milliseconds to end when asked.
    Slow(u64),
    /// Does not end when asked.
    Hang,
    /// Is never ready, and does not end when asked.
    HangsStarting,
    /// Is never ready, and takes so many milliseconds to end when asked.
    NeverReady(u64),
    /// Not even KILL ends it, until `World::thaw`.
    Frozen,
    /// ... and it is never ready.
    FrozenStart,
    /// Ends with this code when asked.
    StopAs(u8),
    /// Dies by the signal when asked.
    DieOfIt,
    /// Runs so long, then exits with this code, never ready.
    Oneshot(u64, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    Politely,
    Killed,
}

#[derive(Clone, Debug)]
struct Process {
    plan: Plan,
    ready: bool,
    asked: Asked,
}

impl Process {
    fn is_frozen(&self) -> bool {
        matches!(self.plan, Plan::Frozen | Plan::FrozenStart)
    }
}

/// Something that will happen.
#[derive(Clone, Debug)]
enum Coming {
    Fact(Event),
    /// The process ends if it is still there.
    End(NodeId, Run, Exit),
    Ready(NodeId, Run),
}

/// How often the supervisor process is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takeovers {
    Never,
    AfterEachStep,
}

pub(crate) struct World {
    pub(crate) tree: Tree,
    pub(crate) now: u64,
    /// Trace tokens with their times, as in cases.md.
    pub(crate) trace: Vec<(u64, String)>,
    pub(crate) notes: Vec<(u64, Note)>,
    pub(crate) replies: BTreeMap<Ticket, Result<Reply, Refusal>>,
    pub(crate) finished: Option<EndClass>,
    pub(crate) takeovers: Takeovers,
    pub(crate) names: BTreeMap<NodeId, String>,
    plans: BTreeMap<String, VecDeque<Plan>>,
    attempts: BTreeMap<String, u32>,
    numbers: BTreeMap<(NodeId, Run), u32>,
    /// Orders to start that were carried out.
    started: BTreeSet<(NodeId, Run)>,
    processes: BTreeMap<(NodeId, Run), Process>,
    coming: BTreeMap<(u64, u64), Coming>,
    serial: u64,
}

impl World {
    pub(crate) fn new(spec: SupervisorSpec) -> World {
        let tree = Tree::new(spec).expect("the specification is good");
        let mut names = BTreeMap::new();
        collect_names(&tree.view(Moment(0)), &mut names);
        World {
            tree,
            now: 1000,
            trace: Vec::new(),
            notes: Vec::new(),
            replies: BTreeMap::new(),
            finished: None,
            takeovers: Takeovers::Never,
            names,
            plans: BTreeMap::new(),
            attempts: BTreeMap::new(),
            numbers: BTreeMap::new(),
            started: BTreeSet::new(),
            processes: BTreeMap::new(),
            coming: BTreeMap::new(),
            serial: 0,
        }
    }

    /// A booted tree with everything settled.
    pub(crate) fn booted(spec: SupervisorSpec) -> World {
        let mut world = World::new(spec);
        world.boot();
        world
    }

    pub(crate) fn boot(&mut self) {
        self.step(Event::Boot);
        self.settle();
    }

    /// The next processes of this name; an empty list means: as usual.
    pub(crate) fn plan(&mut self, name: &str, plans: &[Plan]) {
        self.plans.insert(name.to_owned(), plans.iter().copied().collect());
    }

    pub(crate) fn node(&self, name: &str) -> NodeId {
        self.tree.find(name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// A process ends by itself.
    pub(crate) fn dies(&mut self, name: &str, exit: Exit) {
        self.die_together(&[(name, exit)]);
    }

    /// Several do, and the tree learns it at one instant.
    pub(crate) fn die_together(&mut self, deaths: &[(&str, Exit)]) {
        let mut facts = Vec::new();
        for (name, exit) in deaths {
            let (node, run) = self.running(name).unwrap_or_else(|| panic!("{name} does not run"));
            let number = self.numbers[&(node, run)];
            self.processes.remove(&(node, run));
            self.say(format!("x{name}.{number}({})", shown(*exit)));
            facts.push(ExitFact { node, run, exit: *exit });
        }
        self.step(Event::Exited(facts));
    }

    /// Somebody kills a whole supervisor.
    pub(crate) fn kill_supervisor(&mut self, name: &str) {
        let node = self.node(name);
        let run = self.run_of(node);
        self.say(format!("x{name}.{}(KILL)", self.numbers[&(node, run)]));
        self.step(Event::Exited(vec![ExitFact { node, run, exit: killed() }]));
    }

    /// The process of this name, if there is one.
    pub(crate) fn running(&self, name: &str) -> Option<(NodeId, Run)> {
        self.processes.keys().copied().find(|(node, _)| self.names[node] == name)
    }

    /// The current attempt number of a name.
    pub(crate) fn number(&self, node: NodeId, run: Run) -> u32 {
        self.numbers.get(&(node, run)).copied().unwrap_or(0)
    }

    /// Frozen processes end after all.
    pub(crate) fn thaw(&mut self) {
        let frozen: Vec<_> = self.processes.iter().filter(|(_, p)| p.is_frozen()).map(|(k, _)| *k).collect();
        for (node, run) in frozen {
            self.later(0, Coming::End(node, run, killed()));
        }
        self.settle();
    }

    /// A process is gone, and the test tells the tree itself.
    pub(crate) fn vanish(&mut self, node: NodeId, run: Run) {
        self.processes.remove(&(node, run));
    }

    /// Makes a call and waits for the answer.
    pub(crate) fn call(&mut self, call: Call) -> Result<Reply, Refusal> {
        let ticket = self.send(call);
        for _ in 0..100_000 {
            if let Some(reply) = self.replies.remove(&ticket) {
                return reply;
            }
            assert!(self.next().is_some(), "nothing is left that could answer {ticket:?}\n{:#?}", self.tree);
        }
        panic!("no answer to {ticket:?}");
    }

    /// Makes a call and does not wait.
    pub(crate) fn send(&mut self, call: Call) -> Ticket {
        self.serial += 1;
        let ticket = Ticket(self.serial);
        self.step(Event::Request(ticket, call));
        ticket
    }

    /// Lets time pass until nothing has happened for 150 ms.
    pub(crate) fn settle(&mut self) {
        let mut last = self.now;
        while self.next_time().is_some_and(|next| next <= last + 150) {
            last = self.next().expect("something is next");
        }
        self.now = last + 150;
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn sleep(&mut self, millis: u64) {
        let end = self.now + millis;
        while self.next_time().is_some_and(|next| next <= end) {
            self.next();
        }
        self.now = end;
    }

    /// Until the tree has ended.
    pub(crate) fn finish(&mut self) {
        while self.finished.is_none() {
            assert!(self.next().is_some(), "nothing is left that could end it\n{:#?}", self.tree);
        }
    }

    /// Tokens since the last call.
    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace).into_iter().map(|(_, token)| token).collect()
    }

    pub(crate) fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.tree.step(Moment(self.now), event, &mut actions);
        for action in actions {
            let is_order = matches!(action, Action::Start(..) | Action::Signal(..) | Action::Kill(..));
            if self.takeovers == Takeovers::Never || !is_order {
                self.perform(action);
            }
        }
        if self.takeovers == Takeovers::AfterEachStep {
            self.take_over();
        }
    }

    /// The supervisor process died before it carried out any order of the step. A new one reads the state and gives the
    /// open orders, of which many were carried out earlier.
    fn take_over(&mut self) {
        let bytes = postcard::to_stdvec(&self.tree).expect("a state can be written");
        let tree: Tree = postcard::from_bytes(&bytes).expect("a state can be read");
        assert_eq!(tree, self.tree);
        self.tree = tree;
        for action in self.tree.open_orders() {
            self.perform(action);
        }
    }

    fn next_time(&self) -> Option<u64> {
        let coming = self.coming.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.tree.next_deadline().map(|Moment(at)| at.max(self.now));
        coming.into_iter().chain(deadline).min()
    }

    /// Goes to the next thing that happens.
    pub(crate) fn next(&mut self) -> Option<u64> {
        let at = self.next_time()?;
        self.now = at;
        match self.coming.first_entry().filter(|entry| entry.key().0 == at) {
            Some(entry) => match entry.remove() {
                Coming::Fact(event) => self.step(event),
                Coming::Ready(node, run) => {
                    if let Some(process) = self.processes.get_mut(&(node, run)) {
                        process.ready = true;
                        self.step(Event::Ready(node, run));
                    }
                }
                Coming::End(node, run, exit) => self.process_ends(node, run, exit),
            },
            None => self.step(Event::Tick),
        }
        Some(at)
    }

    fn process_ends(&mut self, node: NodeId, run: Run, exit: Exit) {
        let Some(process) = self.processes.remove(&(node, run)) else { return };
        let (name, number) = (self.names[&node].clone(), self.numbers[&(node, run)]);
        let is_attempt = !process.ready;
        match (process.asked, process.plan) {
            _ if is_attempt => {}
            (Asked::No, _) => self.say(format!("x{name}.{number}({})", shown(exit))),
            (Asked::Politely, Plan::StopAs(_)) => self.say(format!("-{name}.{number}({})", shown(exit))),
            (Asked::Politely, _) => self.say(format!("-{name}.{number}")),
            (Asked::Killed, _) => self.say(format!("K{name}.{number}")),
        }
        self.step(Event::Exited(vec![ExitFact { node, run, exit }]));
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start(node, run) => self.start(node, run),
            Action::Signal(node, run, signal) => self.signal(node, run, signal),
            Action::Kill(node, run) => self.kill(node, run),
            Action::Reply(ticket, reply) => {
                assert!(self.replies.insert(ticket, reply).is_none(), "{ticket:?} is answered twice");
            }
            Action::Added { node, name, .. } => {
                self.names.insert(node, name);
            }
            Action::Forget(node) => {
                assert!(self.processes.keys().all(|(of, _)| *of != node), "{node:?} is forgotten alive");
            }
            Action::Finished(class) => {
                assert!(self.processes.is_empty(), "left running: {:?}", self.processes);
                self.finished = Some(class);
            }
            Action::Note(note) => self.take_note(note),
        }
    }

    fn take_note(&mut self, note: Note) {
        let root = NodeId(0);
        match &note {
            Note::Starting(node, run) if *node != root => {
                let number = self.attempts.entry(self.names[node].clone()).or_default();
                *number += 1;
                self.numbers.insert((*node, *run), *number);
            }
            Note::Started(node, run) if *node != root => self.say_of('+', *node, *run, ""),
            Note::StartFailed(node, run, _) if *node != root => self.say_of('!', *node, *run, ""),
            Note::Ignored(node, run) => self.say_of('~', *node, *run, ""),
            Note::Ended(node, run, class) if *node != root && *class != EndClass::Killed => {
                self.say_of('^', *node, *run, "(shutdown)");
            }
            _ => {}
        }
        self.notes.push((self.now, note));
    }

    fn start(&mut self, node: NodeId, run: Run) {
        if !self.started.insert((node, run)) {
            return;
        }
        let clash = self.processes.keys().any(|(of, _)| *of == node);
        assert!(!clash, "a second generation of {}", self.names[&node]);
        let plan = self.plans.get_mut(&self.names[&node]).and_then(VecDeque::pop_front).unwrap_or_default();
        match plan {
            Plan::Ignore => return self.later(0, Coming::Fact(Event::Ignored(node, run))),
            Plan::NoExec => {
                let failed = Event::SpawnFailed(node, run, StartError::Failed);
                return self.later(0, Coming::Fact(failed));
            }
            Plan::NoResources => {
                let failed = Event::SpawnFailed(node, run, StartError::NoResources);
                return self.later(0, Coming::Fact(failed));
            }
            _ => {}
        }
        let process = Process { plan, ready: false, asked: Asked::No };
        self.processes.insert((node, run), process);
        self.later(0, Coming::Fact(Event::Spawned(node, run)));
        match plan {
            Plan::Fail => self.later(1, Coming::End(node, run, Exit::Code(1))),
            Plan::FailAfter(millis) => self.later(millis, Coming::End(node, run, Exit::Code(1))),
            Plan::Oneshot(millis, code) => self.later(millis, Coming::End(node, run, Exit::Code(code))),
            Plan::FrozenStart | Plan::HangsStarting | Plan::NeverReady(_) => {}
            Plan::SlowStart(millis) => self.later(millis, Coming::Ready(node, run)),
            _ => self.later(1, Coming::Ready(node, run)),
        }
    }

    fn signal(&mut self, node: NodeId, run: Run, signal: Signal) {
        let Some(process) = self.processes.get_mut(&(node, run)) else { return };
        if process.asked != Asked::No {
            return;
        }
        process.asked = Asked::Politely;
        let (after, exit) = match process.plan {
            Plan::Slow(millis) => (millis, Exit::Code(0)),
            Plan::NeverReady(millis) => (millis, Exit::Code(0)),
            Plan::Hang | Plan::HangsStarting | Plan::Frozen | Plan::FrozenStart => return,
            Plan::StopAs(code) => (0, Exit::Code(code)),
            Plan::DieOfIt => (0, Exit::Signal { signal, core: false }),
            _ => (1, Exit::Code(0)),
        };
        self.later(after, Coming::End(node, run, exit));
    }

    fn kill(&mut self, node: NodeId, run: Run) {
        let Some(process) = self.processes.get_mut(&(node, run)) else { return };
        if process.asked == Asked::Killed {
            return;
        }
        process.asked = Asked::Killed;
        if !process.is_frozen() {
            self.later(0, Coming::End(node, run, killed()));
        }
    }

    fn later(&mut self, millis: u64, coming: Coming) {
        self.serial += 1;
        self.coming.insert((self.now + millis, self.serial), coming);
    }

    fn say_of(&mut self, sign: char, node: NodeId, run: Run, tail: &str) {
        let token = format!("{sign}{}.{}{tail}", self.names[&node], self.numbers[&(node, run)]);
        self.say(token);
    }

    fn say(&mut self, token: String) {
        self.trace.push((self.now, token));
    }

    fn run_of(&self, node: NodeId) -> Run {
        find_view(&self.tree.view(Moment(self.now)), node).expect("a node has a view").run
    }

    /// Why this name was killed, each time.
    pub(crate) fn killings(&self, name: &str) -> Vec<KillCause> {
        let node = self.node(name);
        let cause = |(_, note): &(u64, Note)| match note {
            Note::Killing(of, _, cause) if *of == node => Some(*cause),
            _ => None,
        };
        self.notes.iter().filter_map(cause).collect()
    }

    /// What a supervisor looks like.
    pub(crate) fn view_of(&self, name: &str) -> View {
        let node = self.node(name);
        find_view(&self.tree.view(Moment(self.now)), node).expect("a node has a view")
    }
}

pub(crate) fn killed() -> Exit {
    Exit::Signal { signal: KILL, core: false }
}

/// How a case of cases.md writes it.
fn shown(exit: Exit) -> String {
    match exit {
        Exit::Code(77) => "ok-code".into(),
        Exit::Code(code) => code.to_string(),
        Exit::Signal { signal: KILL, .. } => "KILL".into(),
        Exit::Signal { signal: TERM, .. } => "TERM".into(),
        Exit::Signal { signal, .. } => format!("signal {}", signal.0),
        Exit::Unknown => "?".into(),
    }
}

fn find_view(view: &View, node: NodeId) -> Option<View> {
    if view.id == node {
        return Some(view.clone());
    }
    view.supervisor.iter().flat_map(|s| &s.children).find_map(|child| find_view(child, node))
}

fn collect_names(view: &View, names: &mut BTreeMap<NodeId, String>) {
    names.insert(view.id, view.name.clone());
    for child in view.supervisor.iter().flat_map(|s| &s.children) {
        collect_names(child, names);
    }
}

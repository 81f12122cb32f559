//! What a supervisor process must know and the next one must know too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::extras::{Extras, Offer};
use super::series::{Plan, Series, SeriesId, SeriesStep};
use crate::config::{Output, ProcessSpec, Project};
use crate::os;
use crate::rules::{
    Action, Call, Decision, EndClass, Event, Exit, Moment, NodeId, Note, Refusal, Reply, Run, SpecError,
    Ticket, Tree, View,
};

/// The remembered state: the project as it was read, the tree, and what was told about each node.
///
/// It changes only through [`World::learn`], so replaying the journal's records gives the same world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// What the config file said when it was read the last time.
    pub project: Project,
    /// The rules' state.
    pub tree: Tree,
    /// Children that the config file does not know, and calls under way.
    pub extras: Extras,
    /// Requests of several calls that are under way.
    pub series: BTreeMap<SeriesId, Series>,
    /// How the newest ended run of a node ended.
    pub last_exits: BTreeMap<NodeId, (Run, Exit)>,
    /// How a node that is not to run came to rest.
    pub rests: BTreeMap<NodeId, Rest>,
    /// Nodes whose newest run was started with other settings than are in force since a reload.
    pub outdated: BTreeSet<NodeId>,
    /// Ended runs that are not in the history yet.
    pub ended: BTreeMap<(NodeId, Run), Ending>,
    /// Whether the tree has been asked to boot.
    pub booted: bool,
    /// Whether the tree has been up at least once.
    pub up: bool,
    /// How the tree ended, once it has.
    pub finished: Option<EndClass>,
    /// What became of the newest change of program.
    pub upgrade: Option<Upgrade>,
    /// How long nothing of this project ran, in all: the rules' clock stood still for so long.
    pub paused: Duration,
    /// Lines of the history that are not in its file yet, oldest first.
    pub unwritten: Vec<String>,
}

/// What became of a change of program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The supervisor process (counted from the launcher's start) that remembered it.
    pub incarnation: u32,
    /// The program's version; else the wait status with which it ended before it had taken over: the one before is back.
    pub outcome: Result<String, i32>,
}

/// How a node came to rest, as far as its phase does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rest {
    /// A request stopped it.
    Requested,
    /// Its supervisor stopped it, in a round or at its own end.
    Stopped,
    /// Its start condition said no.
    Ignored,
    /// Its start failed and was not to be retried.
    Failed,
    /// It had no process when what was known of it was lost.
    Lost,
}

/// What the history needs to know of a run that has ended, beside what the keeper remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The name its node had: a temporary child's node goes with it.
    pub name: String,
    /// Where its output went; that is forgotten with the node, too.
    pub output: Output,
    /// What the rules made of it; `None` while they have more urgent things to do.
    pub verdict: Option<Verdict>,
}

/// What followed from an exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether its supervisor had begun to stop it.
    pub requested: bool,
    /// Whether it was killed by its supervisor.
    pub killed: bool,
    /// The decision.
    pub decision: Decision,
    /// Siblings that are restarted because of it.
    pub touched: Vec<String>,
}

impl Verdict {
    /// Of an exit that the rules have no use for.
    const NONE: Verdict =
        Verdict { requested: false, killed: false, decision: Decision::Absorbed, touched: Vec::new() };
}

/// One change of a world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The rules took this fact in.
    Step(Moment, Event),
    /// The rules took this call in, with what it brings.
    Call(Moment, Ticket, Box<Call>, Offer),
    /// A series begins.
    Begin(Plan),
    /// The call that is due in this series is made.
    Next(Moment, Ticket, SeriesId),
    /// The ends of these runs are in the history, but for these lines, which wait until its file can be written.
    Recorded(Vec<(NodeId, Run)>, Vec<String>),
    /// The program of the supervisor process was changed.
    Upgrade(Upgrade),
    /// Nothing of this project ran for so long.
    Paused(Duration),
    /// The lines of the history that waited are in its file.
    Written,
}

impl World {
    /// A world that has not been booted.
    ///
    /// # Errors
    /// What the rules refuse; `config` has checked it before.
    pub fn new(project: Project) -> Result<World, SpecError> {
        let tree = Tree::new(project.tree.clone())?;
        Ok(World {
            project,
            tree,
            extras: Extras::default(),
            series: BTreeMap::new(),
            last_exits: BTreeMap::new(),
            rests: BTreeMap::new(),
            outdated: BTreeSet::new(),
            ended: BTreeMap::new(),
            booted: false,
            up: false,
            finished: None,
            upgrade: None,
            paused: Duration::ZERO,
            unwritten: Vec::new(),
        })
    }

    /// A world in the middle of its life of which only this is known: see [`Tree::rebuilt`].
    ///
    /// # Errors
    /// As [`World::new`].
    pub(super) fn rebuilt(
        project: Project,
        now: Moment,
        alive: &BTreeMap<NodeId, Run>,
        ended: &BTreeMap<NodeId, Run>,
    ) -> Result<World, SpecError> {
        let tree = Tree::rebuilt(project.tree.clone(), now, alive, ended)?;
        let nodes = nodes(&tree.view(now));
        let lost = nodes.into_iter().filter(|node| !alive.contains_key(node));
        let rests = lost.map(|node| (node, Rest::Lost)).collect();
        Ok(World { tree, rests, booted: true, up: true, ..World::new(project)? })
    }

    /// Takes a change in; returns what is to be performed, unless the change is only being repeated.
    pub fn learn(&mut self, record: Record) -> Vec<Action> {
        match record {
            Record::Step(now, event) => self.step(now, event),
            Record::Call(now, ticket, call, offer) => self.call(now, ticket, *call, offer),
            Record::Begin(plan) => {
                self.begin(plan);
                Vec::new()
            }
            Record::Next(now, ticket, id) => {
                let Some(series) = self.series.get_mut(&id) else { return Vec::new() };
                let Some(SeriesStep { call, offer }) = series.due().cloned() else { return Vec::new() };
                series.made(ticket);
                self.call(now, ticket, call, offer)
            }
            Record::Recorded(runs, unwritten) => {
                self.ended.retain(|run, _| !runs.contains(run));
                self.unwritten.extend(unwritten);
                Vec::new()
            }
            Record::Written => {
                self.unwritten.clear();
                Vec::new()
            }
            Record::Upgrade(upgrade) => {
                self.upgrade = Some(upgrade);
                Vec::new()
            }
            Record::Paused(length) => {
                self.paused += length;
                Vec::new()
            }
        }
    }

    /// The time as the rules count it.
    #[must_use]
    pub fn now(&self) -> Moment {
        let now = Duration::from_nanos(os::clock::monotonic_ns()).saturating_sub(self.paused);
        Moment(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    /// What to run for this node; `None` for supervisors and for nodes that are gone.
    #[must_use]
    pub fn process(&self, node: NodeId) -> Option<&ProcessSpec> {
        let name = self.tree.name(node)?;
        self.extras.spec(name).or_else(|| self.project.processes.get(name))
    }

    /// What everybody runs, also those who are not there at the moment.
    pub fn processes(&self) -> impl Iterator<Item = (&String, &ProcessSpec)> {
        let shadowed = |name: &String| self.extras.spec(name).is_some();
        let configured = self.project.processes.iter().filter(move |(name, _)| !shadowed(name));
        configured.chain(self.extras.specs())
    }

    /// The series whose next call is due.
    pub(super) fn due(&self) -> Option<(SeriesId, &SeriesStep)> {
        self.series.iter().find_map(|(id, series)| Some((*id, series.due()?)))
    }

    fn call(&mut self, now: Moment, ticket: Ticket, call: Call, offer: Offer) -> Vec<Action> {
        self.extras.opened(ticket, call.clone(), offer, &self.tree, &self.project);
        self.step(now, Event::Request(ticket, call))
    }

    fn begin(&mut self, plan: Plan) {
        let id = plan.id;
        let series = Series::begin(plan);
        if !series.is_over() {
            self.series.insert(id, series);
        }
    }

    /// Takes one step of the rules and remembers what it said.
    fn step(&mut self, now: Moment, event: Event) -> Vec<Action> {
        self.booted |= event == Event::Boot;
        self.note_ends(&event);
        let mut actions = Vec::new();
        self.tree.step(now, event, &mut actions);
        let mut forgets = false;
        for (at, action) in actions.iter().enumerate() {
            // Once for all that are gone, before another takes a name of theirs, and once for what is said of them after that.
            if matches!(action, Action::Forget(_)) && !std::mem::replace(&mut forgets, true) {
                self.forget();
            }
            self.remember(now, action, &actions[at..]);
        }
        if forgets {
            self.forget();
        }
        actions
    }

    /// Runs that are told to have ended now, and not again.
    fn note_ends(&mut self, event: &Event) {
        let Event::Exited(facts) = event else { return };
        for fact in facts {
            let Some(name) = self.tree.name(fact.node).map(str::to_owned) else { continue };
            if !self.knows_end(fact.node, fact.run) {
                self.close(fact.node);
                let output = self.process(fact.node).map_or(Output::Null, |spec| spec.output.clone());
                // The rules have no use for a run that they know nothing of.
                let verdict = (self.tree.run(fact.node) != Some(fact.run)).then_some(Verdict::NONE);
                self.ended.insert((fact.node, fact.run), Ending { name, output, verdict });
            }
        }
    }

    /// The rules will say nothing more about earlier runs of this node.
    fn close(&mut self, node: NodeId) {
        for (_, ending) in self.ended.range_mut((node, Run(0))..=(node, Run(u32::MAX))) {
            ending.verdict.get_or_insert(Verdict::NONE);
        }
    }

    /// Names of the siblings in the round of restarts that the end of this node has caused.
    fn touched_by(&self, node: NodeId, decision: Decision, actions: &[Action]) -> Vec<String> {
        if decision != Decision::Restart {
            return Vec::new();
        }
        let set = actions.iter().find_map(|action| match action {
            Action::Note(Note::Restarting { trigger, set, .. }) if *trigger == node => Some(set),
            _ => None,
        });
        let siblings = set.into_iter().flatten().filter(|sibling| **sibling != node);
        siblings.filter_map(|sibling| self.tree.name(*sibling)).map(str::to_owned).collect()
    }

    /// Whether the rules have heard already that this run has ended.
    #[must_use]
    pub fn knows_end(&self, node: NodeId, run: Run) -> bool {
        let ended = self.last_exits.get(&node).is_some_and(|(last, _)| *last >= run);
        ended || self.ended.contains_key(&(node, run)) || self.tree.name(node).is_none()
    }

    /// Some nodes and what was below them are gone.
    fn forget(&mut self) {
        let exists = |node: &NodeId| self.tree.name(*node).is_some();
        self.extras.retain(exists);
        self.last_exits.retain(|node, _| exists(node));
        self.rests.retain(|node, _| exists(node));
        self.outdated.retain(exists);
    }

    /// `actions` begin with this one.
    fn remember(&mut self, now: Moment, action: &Action, actions: &[Action]) {
        match action {
            Action::Note(Note::Exited { node, run, exit, requested, killed, decision }) => {
                self.last_exits.insert(*node, (*run, *exit));
                let touched = self.touched_by(*node, *decision, actions);
                if let Some(ending) = self.ended.get_mut(&(*node, *run)) {
                    let (requested, killed, decision) = (*requested, *killed, *decision);
                    ending.verdict = Some(Verdict { requested, killed, decision, touched });
                }
            }
            Action::Note(note) => self.remember_note(note),
            Action::Added { node, name, parent } => {
                self.extras.added(*node, name, *parent, &self.tree, &self.project);
            }
            Action::Forget(node) => self.close(*node),
            Action::Reply(ticket, answer) => self.answered(now, *ticket, answer),
            Action::Finished(class) => self.finished = Some(*class),
            Action::Start(..) | Action::Signal(..) | Action::Kill(..) => {}
        }
    }

    /// The rules have taken this configuration in.
    fn reloaded(&mut self, project: Project, view: &View) {
        let nodes = nodes(view);
        let before: Vec<Option<ProcessSpec>> =
            nodes.iter().map(|node| self.process(*node).cloned()).collect();
        let old = std::mem::replace(&mut self.project, project);
        self.extras.reloaded(&old, &self.project, &self.tree, view);
        for (node, before) in nodes.into_iter().zip(before) {
            if before.as_ref() != self.process(node) {
                self.outdated.insert(node);
            }
        }
    }

    fn remember_note(&mut self, note: &Note) {
        match note {
            Note::Starting(node, _) => {
                self.rests.remove(node);
                self.outdated.remove(node);
            }
            Note::Stopping(node, _) => {
                self.rests.insert(*node, Rest::Stopped);
            }
            Note::Ignored(node, _) => {
                self.rests.insert(*node, Rest::Ignored);
            }
            Note::StartFailed(node, ..) => {
                self.rests.insert(*node, Rest::Failed);
            }
            Note::Up => self.up = true,
            _ => {}
        }
    }

    fn answered(&mut self, now: Moment, ticket: Ticket, answer: &Result<Reply, Refusal>) {
        for series in self.series.values_mut().filter(|series| series.open == Some(ticket)) {
            series.answered(answer);
        }
        self.series.retain(|_, series| !series.is_over());
        let Some(open) = self.extras.closed(ticket) else { return };
        match (open.call, open.offer) {
            (Call::TerminateChild(node), _)
                if matches!(answer, Ok(_) | Err(Refusal::Stuck)) && self.tree.name(node).is_some() =>
            {
                self.rests.insert(node, Rest::Requested);
            }
            (Call::Reload(_), Offer::Project(project, then)) if answer.is_ok() => {
                self.reloaded(*project, &self.tree.view(now));
                then.into_iter().for_each(|plan| self.begin(plan));
            }
            _ => {}
        }
    }
}

/// A node and all below it.
fn nodes(view: &View) -> Vec<NodeId> {
    let children = view.supervisor.iter().flat_map(|supervisor| &supervisor.children);
    std::iter::once(view.id).chain(children.flat_map(nodes)).collect()
}

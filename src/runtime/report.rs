//! What is told: each note of the rules becomes one event, and the event goes to everybody who listens.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use nix::unistd::Pid;
use tokio::sync::broadcast;

use super::level::{Weight, level, level_of_end};
use super::why;
use crate::control::{
    Ending, EventJson, EventKind, ExitJson, LeftJson, LeftProcessJson, Level, PsJson, Replaced, Response,
};
use crate::keeper::{Beginning, ExitRecord, Left};
use crate::os;
use crate::rules::{
    Action, EndClass, Exit, Failure, KillCause, NodeId, Note, Reply, Run, StartError, Tree, View,
};

/// The terminal of `provost up`, seen from here. It must not block: a stopped terminal costs its lines, nothing else.
pub trait Console {
    /// The tree is up; this is the process table.
    fn up(&mut self, table: &PsJson);
    /// Something happened.
    fn event(&mut self, event: &EventJson);
}

/// How many events a slow reader of the stream may lag behind before it loses the oldest. The stop of a thousand children
/// is told in one breath, and costs nobody an event.
const BACKLOG: usize = 4096;
/// How many events are remembered for readers who come later.
const REMEMBERED: usize = 256;

/// Makes events and hands them on.
pub(super) struct Reporter {
    pub(super) console: Box<dyn Console>,
    /// Made for the first reader.
    stream: Option<broadcast::Sender<String>>,
    recent: VecDeque<EventJson>,
    project: String,
    seq: u64,
    processes: BTreeMap<NodeId, Life>,
    failures: BTreeMap<NodeId, String>,
    /// What nodes are called: the tree forgets it before it is told that they are gone.
    names: BTreeMap<NodeId, String>,
    /// The starts, among what is being performed, that somebody asked for.
    requested: Vec<(NodeId, Run)>,
}

/// The newest process of a node, and its predecessor's end.
#[derive(Default)]
struct Life {
    run: Run,
    pid: Option<Pid>,
    /// When it was born; `None` if an earlier supervisor process bore it and it lives.
    began_ns: Option<u64>,
    ended: Option<Ended>,
}

/// How a process ended.
struct Ended {
    pid: Pid,
    exit: Exit,
    at_ns: u64,
    /// Not because its supervisor had asked for it.
    by_itself: bool,
    weight: Weight,
    left: Option<LeftJson>,
}

impl Reporter {
    pub(super) fn new(project: String, console: Box<dyn Console>) -> Reporter {
        Reporter {
            console,
            stream: None,
            recent: VecDeque::new(),
            project,
            seq: 0,
            processes: BTreeMap::new(),
            failures: BTreeMap::new(),
            names: BTreeMap::new(),
            requested: Vec::new(),
        }
    }

    /// These starts come of requests.
    pub(super) fn requested(&mut self, actions: &[Action]) {
        let started = |action: &Action| match action {
            Action::Reply(_, Ok(Reply::Started(node, run))) => Some((*node, *run)),
            _ => None,
        };
        self.requested = actions.iter().filter_map(started).collect();
    }

    /// These nodes exist.
    pub(super) fn learn_names(&mut self, view: &View) {
        self.names.insert(view.id, view.name.clone());
        let children = view.supervisor.iter().flat_map(|supervisor| &supervisor.children);
        children.for_each(|child| self.learn_names(child));
    }

    /// The events after number `since` that are remembered, and all that come.
    pub(super) fn subscribe(&mut self, since: Option<u64>) -> Response {
        let known = since.unwrap_or(self.seq);
        let past = self.recent.iter().filter(|event| event.seq > known).filter_map(line).collect();
        let stream = self.stream.get_or_insert_with(|| broadcast::channel(BACKLOG).0);
        Response::Events { past, coming: stream.subscribe() }
    }

    /// The process of this run exists, since `began_ns` if that is known.
    pub(super) fn born(&mut self, node: NodeId, run: Run, pid: Pid, began_ns: Option<u64>) {
        let life = self.processes.entry(node).or_default();
        (life.run, life.pid, life.began_ns) = (run, Some(pid), began_ns);
        self.failures.remove(&node);
    }

    /// The attempt failed like this: the sentence for the `start_failed` that follows, and for whoever asks later.
    pub(super) fn failed(&mut self, node: NodeId, sentence: String) {
        self.failures.insert(node, sentence);
    }

    /// Why the newest attempt of this node failed.
    pub(super) fn failure(&self, node: NodeId) -> Option<&str> {
        self.failures.get(&node).map(String::as_str)
    }

    /// Why the newest attempt of a node of this name failed, also if the node went with it.
    pub(super) fn failure_of(&self, name: &str) -> Option<&str> {
        let (_, sentence) =
            self.failures.iter().rfind(|(node, _)| self.names.get(node).is_some_and(|it| it == name))?;
        Some(sentence)
    }

    /// The process of this run was reaped. Told before the rules hear of it.
    pub(super) fn reaped(&mut self, node: NodeId, run: Run, record: &ExitRecord, exit: Exit, weight: Weight) {
        let life = self.processes.entry(node).or_default();
        let left = left_json(&record.left);
        life.ended =
            Some(Ended { pid: record.pid, exit, at_ns: record.at_ns, by_itself: true, weight, left });
        if life.run <= run {
            (life.run, life.pid, life.began_ns) = (run, None, Some(record.born_ns));
        }
    }

    /// What the newest ended run of this node left behind, if this supervisor process was told of it.
    pub(super) fn left_by(&self, node: NodeId) -> Option<LeftJson> {
        self.processes.get(&node)?.ended.as_ref()?.left.clone()
    }

    /// Output of this node waits for its log, for this reason, or flows again.
    pub(super) fn output(&mut self, tree: &Tree, node: NodeId, stalled: Option<String>) {
        let kind = if stalled.is_some() { EventKind::OutputStalled } else { EventKind::OutputResumed };
        let mut event = self.blank(kind, self.name(tree, node));
        event.reason = stalled;
        self.tell(event);
    }

    /// Some nodes are gone.
    pub(super) fn forget(&mut self, tree: &Tree) {
        self.processes.retain(|node, _| tree.name(*node).is_some());
        self.failures.retain(|node, _| tree.name(*node).is_some());
        self.names.retain(|node, _| tree.name(*node).is_some());
    }

    /// A new supervisor process took over this many children.
    pub(super) fn takeover(
        &mut self,
        incarnation: u32,
        beginning: Beginning,
        children: usize,
        lost: Option<&str>,
    ) {
        let (kind, why) = match beginning {
            Beginning::Usual => (EventKind::Takeover, String::new()),
            Beginning::Upgraded => {
                (EventKind::Upgraded, format!("; it is provost {}", env!("CARGO_PKG_VERSION")))
            }
            Beginning::RolledBack { status } => {
                let how = os::wait::describe(status);
                (EventKind::Takeover, format!("; the new program ended with {how}, the one before is back"))
            }
            Beginning::Safe { status } => (EventKind::Takeover, format!("; {}", super::safe::reason(status))),
        };
        let mut event = self.blank(kind, "supervisor".into());
        event.run = Some(incarnation);
        event.pid = Some(std::process::id().cast_signed());
        let lost = lost.map(|lost| format!("; {lost}")).unwrap_or_default();
        event.reason = Some(format!("took over {children} running children{why}{lost}"));
        self.tell(event);
    }

    /// A run ended, and nothing follows from it: nobody decides.
    pub(super) fn ended_undecided(&mut self, name: String, run: Run, pid: Pid, exit: Exit) {
        let mut event = self.blank(EventKind::Exited, name);
        (event.run, event.pid, event.exit) = (Some(run.0), Some(pid.as_raw()), Some(exit_json(exit)));
        self.tell(event);
    }

    /// The tree has ended.
    pub(super) fn finished(&mut self, tree: &Tree, class: EndClass) {
        let mut event = self.blank(EventKind::Stopped, self.project.clone());
        event.level = level_of_end(class);
        event.class = Some(ending(class));
        event.reason = Some(match class {
            EndClass::GaveUp => "too many restarts: the root supervisor gave up".into(),
            other => self.end_text(tree, other),
        });
        self.tell(event);
    }

    fn end_text(&self, tree: &Tree, class: EndClass) -> String {
        match class {
            EndClass::Stopped => "as asked".into(),
            EndClass::GaveUp => "too many restarts: it gave up".into(),
            EndClass::Killed => "killed".into(),
            EndClass::AutoShutdown { .. } => "a significant child ended".into(),
            EndClass::BootFailed(node) => {
                let name = tree.name(node).unwrap_or_default();
                let why = self.failure(node).unwrap_or("it ended before it was ready");
                format!("could not start {name}: {why}")
            }
        }
    }

    /// Turns a note of the rules into an event.
    pub(super) fn note(&mut self, tree: &Tree, note: &Note) {
        if let Note::Added(node) = note
            && let Some(name) = tree.name(*node)
        {
            self.names.insert(*node, name.to_owned());
        }
        if let Some(event) = self.event(tree, note) {
            self.tell(event);
        }
    }

    fn event(&mut self, tree: &Tree, note: &Note) -> Option<EventJson> {
        let name = |node: NodeId| self.name(tree, node);
        let event = match note {
            Note::Starting(node, run) => self.about(EventKind::Starting, tree, *node, *run),
            Note::Started(node, run) => self.started(tree, *node, *run),
            Note::StartFailed(node, run, failure) => {
                let mut event = self.about(EventKind::StartFailed, tree, *node, *run);
                if *failure == Failure::Stopped {
                    event.level = Level::Info;
                }
                let sentence = self.sentence(tree, *node, *failure);
                event.reason = Some(sentence.clone());
                self.failures.insert(*node, sentence);
                event
            }
            Note::Ignored(node, run) => self.about(EventKind::Ignored, tree, *node, *run),
            Note::Exited { node, run, exit, requested, killed, decision } => {
                let mut event = self.about(EventKind::Exited, tree, *node, *run);
                event.exit = Some(exit_json(*exit));
                event.requested = Some(*requested);
                event.killed = Some(*killed);
                event.decision = Some(*decision);
                if let Some(life) = self.processes.get_mut(node)
                    && let Some(ended) = &mut life.ended
                {
                    ended.by_itself = !requested;
                    event.level = if *requested { ended.weight.asked } else { ended.weight.by_itself };
                    event.pid = Some(ended.pid.as_raw());
                    event.left_behind.clone_from(&ended.left);
                    event.took_ms = life.began_ns.map(|began| millis(ended.at_ns.saturating_sub(began)));
                }
                event
            }
            Note::Ended(node, run, class) => {
                let mut event = self.about(EventKind::Stopped, tree, *node, *run);
                event.level = level_of_end(*class);
                event.class = Some(ending(*class));
                event.reason = Some(self.end_text(tree, *class));
                event
            }
            Note::Stopping(node, run) => self.about(EventKind::Stopping, tree, *node, *run),
            Note::Killing(node, run, cause) => {
                let mut event = self.about(EventKind::Killed, tree, *node, *run);
                event.reason = Some(match cause {
                    KillCause::TimeOut => format!("did not stop in time: {} is killed", pid(&event)),
                    KillCause::BrutalKill => format!("is killed as its shutdown says: {}", pid(&event)),
                    KillCause::AtOnce => format!("is to end at once: {} is killed", pid(&event)),
                });
                event
            }
            Note::Stuck(node, run) => {
                let mut event = self.about(EventKind::Killed, tree, *node, *run);
                event.reason = Some(match event.pid {
                    Some(pid) => format!("does not die: {}", why::unkillable(pid)),
                    None => "does not end: a process below it was killed and is still there".into(),
                });
                event
            }
            Note::Restarting { supervisor, set, restarts_left, .. } => {
                let mut event = self.blank(EventKind::Restarting, name(*supervisor));
                event.set = set.iter().copied().map(name).collect();
                event.restarts_left = Some(*restarts_left);
                event
            }
            Note::Backoff { node, delay, .. } => {
                let mut event = self.blank(EventKind::Backoff, name(*node));
                event.took_ms = Some(delay.as_secs_f64() * 1e3);
                event
            }
            Note::ResourceWait(node, _) => {
                let mut event = self.blank(EventKind::StartFailed, name(*node));
                event.level = Level::Warning;
                event.reason =
                    self.failure(*node).map(|why| format!("{why}; tried again shortly, not counted"));
                event
            }
            Note::Unhealthy(node, run) => self.about(EventKind::Unhealthy, tree, *node, *run),
            Note::GaveUp { supervisor, child } => {
                let mut event = self.blank(EventKind::GaveUp, name(*supervisor));
                event.reason = Some(format!("{} needed one restart too many", name(*child)));
                event
            }
            Note::AutoShutdown { supervisor, child } => {
                let mut event = self.blank(EventKind::AutoShutdown, name(*supervisor));
                event.reason = Some(format!("{} is significant and ended", name(*child)));
                event
            }
            Note::Added(node) => self.blank(EventKind::Added, name(*node)),
            Note::Removed(node) => self.blank(EventKind::Removed, name(*node)),
            Note::Reloaded => self.blank(EventKind::Reloaded, self.project.clone()),
            Note::Up => self.blank(EventKind::Ready, self.project.clone()),
        };
        Some(event)
    }

    fn started(&self, tree: &Tree, node: NodeId, run: Run) -> EventJson {
        let mut event = self.about(EventKind::Started, tree, node, run);
        if self.requested.contains(&(node, run)) {
            event.level = Level::Debug;
        }
        if let Some(life) = self.processes.get(&node)
            && let Some(ended) = &life.ended
        {
            event.took_ms = Some(millis(os::clock::monotonic_ns().saturating_sub(ended.at_ns)));
            event.replaces = Some(Replaced {
                pid: ended.pid.as_raw(),
                exit: exit_json(ended.exit),
                by_itself: ended.by_itself,
            });
        }
        event
    }

    fn sentence(&self, tree: &Tree, node: NodeId, failure: Failure) -> String {
        match failure {
            Failure::Spawn(StartError::Failed | StartError::NoResources) => {
                self.failure(node).unwrap_or("its process could not be made").to_owned()
            }
            Failure::Exited(exit) => format!("it ended before it was ready ({})", exit_text(exit)),
            Failure::Timeout => "it was not ready in time and was stopped".to_owned(),
            Failure::Child(child) => {
                format!("its child {} could not be started", tree.name(child).unwrap_or_default())
            }
            Failure::Stopped => "the start was broken off by a stop".to_owned(),
        }
    }

    fn about(&self, kind: EventKind, tree: &Tree, node: NodeId, run: Run) -> EventJson {
        let mut event = self.blank(kind, self.name(tree, node));
        event.run = Some(run.0);
        event.pid = self
            .processes
            .get(&node)
            .filter(|life| life.run == run)
            .and_then(|life| life.pid)
            .map(Pid::as_raw);
        event
    }

    /// What a node is called, or was.
    pub(super) fn name(&self, tree: &Tree, node: NodeId) -> String {
        let name = tree.name(node).or_else(|| self.names.get(&node).map(String::as_str));
        name.unwrap_or_default().to_owned()
    }

    fn blank(&self, event: EventKind, name: String) -> EventJson {
        EventJson {
            seq: self.seq + 1,
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            mono_ms: os::clock::monotonic_ns() / 1_000_000,
            event,
            level: level(event),
            name: if name.is_empty() { self.project.clone() } else { name },
            run: None,
            pid: None,
            exit: None,
            requested: None,
            killed: None,
            decision: None,
            took_ms: None,
            replaces: None,
            set: Vec::new(),
            restarts_left: None,
            left_behind: None,
            class: None,
            reason: None,
        }
    }

    fn tell(&mut self, event: EventJson) {
        self.seq += 1;
        self.console.event(&event);
        if let Some(stream) = &self.stream
            && stream.receiver_count() > 0
            && let Some(line) = line(&event)
        {
            // Nobody listening any more is no error.
            let _ = stream.send(line);
        }
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(event);
    }
}

/// Our shapes have string keys and finite numbers, so there is always a line.
fn line(event: &EventJson) -> Option<String> {
    serde_json::to_string(event).ok()
}

fn pid(event: &EventJson) -> String {
    event.pid.map_or_else(|| "its process".into(), |pid| format!("PID {pid}"))
}

fn millis(ns: u64) -> f64 {
    (ns as f64) / 1e6
}

fn ending(class: EndClass) -> Ending {
    match class {
        EndClass::Stopped => Ending::Stopped,
        EndClass::GaveUp => Ending::GaveUp,
        EndClass::AutoShutdown { .. } => Ending::AutoShutdown,
        EndClass::BootFailed(_) => Ending::BootFailed,
        EndClass::Killed => Ending::Killed,
    }
}

/// What a run left behind in the shape of the API; `None`: nothing.
pub(super) fn left_json(left: &Left) -> Option<LeftJson> {
    let processes: Vec<_> = left.named().map(|(pid, name)| LeftProcessJson { pid, name }).collect();
    (!processes.is_empty()).then_some(LeftJson { processes, more: left.more })
}

/// An exit in the shape of the API.
pub(super) fn exit_json(exit: Exit) -> ExitJson {
    match exit {
        Exit::Code(code) => ExitJson::Code { code },
        Exit::Signal { signal, core } => {
            ExitJson::Signal { signal: signal.0, name: os::signals::name(signal.0), core }
        }
        Exit::Unknown => ExitJson::Unknown { unknown: true },
    }
}

fn exit_text(exit: Exit) -> String {
    exit_json(exit).to_string()
}

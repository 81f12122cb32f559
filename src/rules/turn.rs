//! One step of the tree: what is shared by everything that happens in it.

use std::collections::BTreeSet;
use std::mem;

use super::action::{Action, EndClass, Note};
use super::event::Event;
use super::node::{Life, Node};
use super::spec::{ChildSpec, Flags};
use super::supervisor::{Op, Supervisor};
use super::time::Moment;
use super::tree::{NodeId, ROOT, Run, Tree};

/// A tree, the time, and where answers go.
///
/// Facts only move the lives of nodes ([`Turn::enter`]) and put the supervisor concerned on the agenda. When all facts
/// of the event are in, the supervisors on the agenda go on with what they are doing, parents first: so of several
/// exits that are known at one instant, none is decided before all are known.
pub(super) struct Turn<'a> {
    pub(super) tree: &'a mut Tree,
    pub(super) now: Moment,
    out: &'a mut Vec<Action>,
    agenda: BTreeSet<NodeId>,
}

/// What came of letting a supervisor go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It did something, and may do more.
    Made,
    /// It waits for a fact.
    Waits,
}

impl<'a> Turn<'a> {
    pub(super) fn new(tree: &'a mut Tree, now: Moment, out: &'a mut Vec<Action>) -> Turn<'a> {
        Turn { tree, now, out, agenda: BTreeSet::new() }
    }

    pub(super) fn run(mut self, event: Event) {
        self.take(event);
        self.settle();
        while let Some(&(deadline, node)) = self.tree.timers.first()
            && deadline <= self.now
        {
            self.deadline(node);
            self.settle();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Boot => self.boot_tree(),
            Event::Spawned(node, run) => self.spawned(node, run),
            Event::SpawnFailed(node, run, error) => self.spawn_failed(node, run, error),
            Event::Ignored(node, run) => self.ignored(node, run),
            Event::Ready(node, run) => self.ready(node, run),
            Event::Unhealthy(node, run) => self.unhealthy(node, run),
            Event::Exited(facts) => self.exited(facts),
            Event::Request(ticket, call) => self.request(ticket, call),
            Event::Stop => self.stop_tree(),
            Event::StopNow => self.stop_tree_now(),
            Event::Tick => {}
        }
    }

    fn settle(&mut self) {
        while let Some(supervisor) = self.agenda.pop_first() {
            // It may be gone by now, with a parent that came first.
            while self.tree.nodes.contains_key(&supervisor) && self.advance(supervisor) == Progress::Made {}
        }
    }

    fn advance(&mut self, s: NodeId) -> Progress {
        match self.supervisor(s).op {
            Op::Off | Op::Held => Progress::Waits,
            Op::Idle => self.take_next(s),
            Op::Boot { .. } => self.boot(s),
            Op::Round(_) => self.round(s),
            Op::Call(ticket, errand) => self.errand(s, ticket, errand),
            Op::End(_) => self.end_on(s),
        }
    }

    /// The queue: exits before calls before retries.
    fn take_next(&mut self, s: NodeId) -> Progress {
        let supervisor = self.tree.supervisor_mut(s);
        if let Some((_, child)) = supervisor.exits.pop_first() {
            self.conclude(s, child);
        } else if let Some((ticket, call)) = supervisor.calls.pop_front() {
            self.perform(s, ticket, call);
        } else if let Some(child) = supervisor.retries.pop_front() {
            self.retry(s, child);
        } else {
            return Progress::Waits;
        }
        Progress::Made
    }

    fn boot_tree(&mut self) {
        if matches!(self.life(ROOT), Life::Down(_)) {
            self.begin(ROOT);
        }
    }

    fn stop_tree(&mut self) {
        match self.life(ROOT) {
            Life::Down(_) => self.finish(EndClass::Stopped),
            Life::Starting(_) | Life::Up { .. } => {
                self.note(Note::Stopping(ROOT, self.node(ROOT).run));
                self.end(ROOT, EndClass::Stopped);
            }
            Life::Owed(_) | Life::Ending(..) | Life::Over(_) => {}
        }
    }

    fn stop_tree_now(&mut self) {
        self.stop_tree();
        if self.life(ROOT).is_alive() {
            self.kill_all(ROOT);
        }
    }

    /// Moves a node's life. The only place where a life changes while the tree runs.
    pub(super) fn enter(&mut self, id: NodeId, life: Life) {
        let node = self.tree.node_mut(id);
        let parent = node.parent;
        let alive = life.is_alive();
        let after = life.deadline();
        let before = mem::replace(&mut node.life, life).deadline();
        if before != after {
            if let Some(moment) = before {
                self.tree.timers.remove(&(moment, id));
            }
            if let Some(moment) = after {
                self.tree.timers.insert((moment, id));
            }
        }
        let Some(parent) = parent else { return };
        if let Op::End(end) = &mut self.tree.supervisor_mut(parent).op
            && !alive
        {
            end.waiting.remove(&id);
        }
        self.wake(parent);
    }

    pub(super) fn wake(&mut self, supervisor: NodeId) {
        self.agenda.insert(supervisor);
    }

    pub(super) fn order(&mut self, action: Action) {
        self.out.push(action);
    }

    pub(super) fn note(&mut self, note: Note) {
        self.out.push(Action::Note(note));
    }

    /// The node, if this is its newest run.
    pub(super) fn current(&self, id: NodeId, run: Run) -> Option<&Node> {
        self.tree.nodes.get(&id).filter(|node| node.run == run)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.tree.nodes[&id]
    }

    pub(super) fn life(&self, id: NodeId) -> &Life {
        &self.node(id).life
    }

    pub(super) fn spec(&self, id: NodeId) -> &ChildSpec {
        self.tree.spec_of(id)
    }

    pub(super) fn flags(&self, supervisor: NodeId) -> &Flags {
        &self.tree.supervisor_spec(supervisor).flags
    }

    pub(super) fn supervisor(&self, id: NodeId) -> &Supervisor {
        self.node(id).supervisor().expect("a parent is a supervisor")
    }

    pub(super) fn is_supervisor(&self, id: NodeId) -> bool {
        self.node(id).supervisor().is_some()
    }

    /// Children in start order.
    pub(super) fn children(&self, supervisor: NodeId) -> Vec<NodeId> {
        self.tree.children(supervisor)
    }
}

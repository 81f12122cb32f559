//! What a supervisor process must know and the next one must know too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{ProcessSpec, Project};
use crate::rules::{Action, EndClass, Event, Exit, Moment, NodeId, Note, Run, SpecError, Tree};

/// The remembered state: the project as it was read, the tree, and what was told about each node.
///
/// It changes only through [`World::apply`] and [`World::learn`], so replaying the journal's records gives the same world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// What the config file said.
    pub project: Project,
    /// The rules' state.
    pub tree: Tree,
    /// How the newest ended run of a node ended.
    pub last_exits: BTreeMap<NodeId, (Run, Exit)>,
    /// Whether the tree has been asked to boot.
    pub booted: bool,
    /// Whether the tree has been up at least once.
    pub up: bool,
    /// How the tree ended, once it has.
    pub finished: Option<EndClass>,
    /// What became of the newest change of program.
    pub upgrade: Option<Upgrade>,
}

/// What became of a change of program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The supervisor process (counted from the launcher's start) that remembered it.
    pub incarnation: u32,
    /// The program's version; else the wait status with which it ended before it had taken over: the one before is back.
    pub outcome: Result<String, i32>,
}

/// One change of a world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The rules took this step.
    Step(Moment, Event),
    /// The program of the supervisor process was changed.
    Upgrade(Upgrade),
}

impl World {
    /// A world that has not been booted.
    ///
    /// # Errors
    /// What the rules refuse; `config` has checked it before.
    pub fn new(project: Project) -> Result<World, SpecError> {
        let tree = Tree::new(project.tree.clone())?;
        let last_exits = BTreeMap::new();
        Ok(World { project, tree, last_exits, booted: false, up: false, finished: None, upgrade: None })
    }

    /// Takes one step of the rules and remembers what it said.
    pub fn apply(&mut self, now: Moment, event: Event) -> Vec<Action> {
        self.booted |= event == Event::Boot;
        let mut actions = Vec::new();
        self.tree.step(now, event, &mut actions);
        for action in &actions {
            match action {
                Action::Note(Note::Exited { node, run, exit, .. }) => {
                    self.last_exits.insert(*node, (*run, *exit));
                }
                Action::Note(Note::Up) => self.up = true,
                Action::Forget(node) => {
                    self.last_exits.remove(node);
                }
                Action::Finished(class) => self.finished = Some(*class),
                _ => {}
            }
        }
        actions
    }

    /// Repeats a recorded change, without performing anything.
    pub fn learn(&mut self, record: Record) {
        match record {
            Record::Step(now, event) => {
                self.apply(now, event);
            }
            Record::Upgrade(upgrade) => self.upgrade = Some(upgrade),
        }
    }

    /// What to run for this node; `None` for supervisors and for nodes that are gone.
    #[must_use]
    pub fn process(&self, node: NodeId) -> Option<&ProcessSpec> {
        self.project.processes.get(self.tree.name(node)?)
    }
}

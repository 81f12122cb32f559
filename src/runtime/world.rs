//! What a supervisor process must know and the next one must know too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{ProcessSpec, Project};
use crate::rules::{Action, Decision, EndClass, Event, Exit, Moment, NodeId, Note, Run, SpecError, Tree};

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
}

/// What became of a change of program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The supervisor process (counted from the launcher's start) that remembered it.
    pub incarnation: u32,
    /// The program's version; else the wait status with which it ended before it had taken over: the one before is back.
    pub outcome: Result<String, i32>,
}

/// What the history needs to know of a run that has ended, beside what the keeper remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The name its node had: a temporary child's node goes with it.
    pub name: String,
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
    /// The rules took this step.
    Step(Moment, Event),
    /// The ends of these runs are in the history.
    Recorded(Vec<(NodeId, Run)>),
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
        let (last_exits, ended) = (BTreeMap::new(), BTreeMap::new());
        Ok(World {
            project,
            tree,
            last_exits,
            ended,
            booted: false,
            up: false,
            finished: None,
            upgrade: None,
        })
    }

    /// Takes one step of the rules and remembers what it said.
    pub fn apply(&mut self, now: Moment, event: Event) -> Vec<Action> {
        self.booted |= event == Event::Boot;
        self.note_ends(&event);
        let mut actions = Vec::new();
        self.tree.step(now, event, &mut actions);
        for action in &actions {
            match action {
                Action::Note(Note::Exited { node, run, exit, requested, killed, decision }) => {
                    self.last_exits.insert(*node, (*run, *exit));
                    let touched = self.touched_by(*node, &actions);
                    if let Some(ending) = self.ended.get_mut(&(*node, *run)) {
                        let (requested, killed, decision) = (*requested, *killed, *decision);
                        ending.verdict = Some(Verdict { requested, killed, decision, touched });
                    }
                }
                Action::Note(Note::Up) => self.up = true,
                Action::Forget(node) => {
                    self.last_exits.remove(node);
                    self.close(*node);
                }
                Action::Finished(class) => self.finished = Some(*class),
                _ => {}
            }
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
                self.ended.insert((fact.node, fact.run), Ending { name, verdict: None });
            }
        }
    }

    /// The rules will say nothing more about earlier runs of this node.
    fn close(&mut self, node: NodeId) {
        for (_, ending) in self.ended.range_mut((node, Run(0))..=(node, Run(u32::MAX))) {
            ending.verdict.get_or_insert(Verdict::NONE);
        }
    }

    /// Names of the siblings in the round of restarts that this node has caused.
    fn touched_by(&self, node: NodeId, actions: &[Action]) -> Vec<String> {
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

    /// Repeats a recorded change, without performing anything.
    pub fn learn(&mut self, record: Record) {
        match record {
            Record::Step(now, event) => {
                self.apply(now, event);
            }
            Record::Recorded(runs) => self.ended.retain(|run, _| !runs.contains(run)),
            Record::Upgrade(upgrade) => self.upgrade = Some(upgrade),
        }
    }

    /// What to run for this node; `None` for supervisors and for nodes that are gone.
    #[must_use]
    pub fn process(&self, node: NodeId) -> Option<&ProcessSpec> {
        self.project.processes.get(self.tree.name(node)?)
    }
}

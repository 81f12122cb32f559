//! The tree: every supervisor's state and the one function that moves it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::check;
use super::event::Event;
use super::names::Names;
use super::node::Node;
use super::spec::{ChildSpec, SpecError, SupervisorSpec};
use super::time::Moment;
use super::turn::Turn;

/// A node of the tree: stable as long as its specification exists, never given twice. The root is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

/// One life of a child: 1, 2, 3 ... Every start attempt takes the next number. 0 means "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Run(pub u32);

/// The root.
pub(super) const ROOT: NodeId = NodeId(0);

/// A supervision tree.
///
/// Every supervisor node is a state machine of its own, with its own queue and one operation at a time; supervisors run
/// independently of each other, except that a parent is busy while a child of it, supervisor or worker, starts or stops.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tree {
    /// The configuration in force.
    pub(super) root: SupervisorSpec,
    /// A node's parent always has the smaller id.
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) names: Names,
    /// The deadline of every node that has one.
    pub(super) timers: BTreeSet<(Moment, NodeId)>,
    /// The next id to give.
    pub(super) next: u32,
}

impl Tree {
    /// A tree that has not been booted.
    ///
    /// # Errors
    /// What OTP's `init` check refuses; nothing is started then.
    pub fn new(spec: SupervisorSpec) -> Result<Tree, SpecError> {
        check::tree(&spec)?;
        Ok(Tree::planted(spec))
    }

    /// Handles one event at `now` and appends the answers to `actions`. Deadlines that have passed by then are handled
    /// after the event, whatever it is; [`Event::Tick`] does nothing else.
    pub fn step(&mut self, now: Moment, event: Event, actions: &mut Vec<Action>) {
        Turn::new(self, now, actions).run(event);
        #[cfg(debug_assertions)]
        self.check_invariants();
    }

    /// When the next `Tick` is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.timers.first().map(|(moment, _)| *moment)
    }

    /// A node by name. A template has a name, too; every call on it is refused as OTP refuses a template's child id.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.names.find(name)
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, node: NodeId) -> Option<&str> {
        self.nodes.get(&node).map(|node| node.name.as_str())
    }

    /// OTP `get_childspec/2`: the specification in force. An instance's is its template. The root has none.
    #[must_use]
    pub fn spec(&self, node: NodeId) -> Option<&ChildSpec> {
        self.nodes.get(&node)?.parent.map(|_| self.spec_of(node))
    }
}

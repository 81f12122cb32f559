//! The tree: every supervisor's state and the one function that moves it.

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::event::Event;
use super::spec::{SpecError, SupervisorSpec};
use super::time::Moment;
use super::view::{Counts, View, Why};

/// A node of the tree: stable as long as its specification exists, never given twice. The root is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

/// One life of a child: 1, 2, 3 ... Every start attempt takes the next number. 0 means "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Run(pub u32);

/// A supervision tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tree {
    root: SupervisorSpec,
}

impl Tree {
    /// A tree that has not been booted.
    ///
    /// # Errors
    /// What OTP's `init` check refuses; nothing is started then.
    pub fn new(spec: SupervisorSpec) -> Result<Tree, SpecError> {
        Ok(Tree { root: spec })
    }

    /// Handles one event at `now` and appends the answers to `actions`.
    pub fn step(&mut self, _now: Moment, _event: Event, _actions: &mut Vec<Action>) {}

    /// When the next `Tick` is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        None
    }

    /// The orders that are still open, in the order they were given: what a new supervisor process must perform (or
    /// find done) after it took over this state.
    #[must_use]
    pub fn open_orders(&self) -> Vec<Action> {
        Vec::new()
    }

    /// The whole tree.
    #[must_use]
    pub fn view(&self, _now: Moment) -> View {
        unreachable!("{:?}", self.root)
    }

    /// Why this node is where it is.
    #[must_use]
    pub fn why(&self, _now: Moment, _node: NodeId) -> Option<Why> {
        None
    }

    /// A node by name.
    #[must_use]
    pub fn find(&self, _name: &str) -> Option<NodeId> {
        None
    }

    /// A node's name.
    #[must_use]
    pub fn name(&self, _node: NodeId) -> Option<&str> {
        None
    }

    /// OTP `count_children/1` of a supervisor.
    #[must_use]
    pub fn counts(&self, _supervisor: NodeId) -> Option<Counts> {
        None
    }
}

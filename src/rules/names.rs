//! Names: who holds one, who will want it back, and what is remembered of those who had it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::tree::{NodeId, Run};

/// How many names of removed children are remembered. Beyond it the oldest is forgotten and would count its runs from 1
/// again: an endless stream of new names must not fill the memory.
const REMEMBERED: usize = 1024;

/// Every name of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Names {
    held: BTreeMap<String, NodeId>,
    /// Names of configured children that were removed, and the supervisor that brings them back when it starts anew. Under
    /// that supervisor somebody may hold one meanwhile, but whoever does is lost with its end.
    reserved: BTreeMap<String, NodeId>,
    /// Last runs of removed names.
    runs: BTreeMap<String, Run>,
    /// The keys of `runs`, oldest first.
    removed: VecDeque<String>,
}

impl Names {
    pub(super) fn find(&self, name: &str) -> Option<NodeId> {
        self.held.get(name).copied()
    }

    /// Who brings a child of this name back.
    pub(super) fn reserved_by(&self, name: &str) -> Option<NodeId> {
        self.reserved.get(name).copied()
    }

    /// Gives the name to a node; returns the last run anybody had under it.
    pub(super) fn hold(&mut self, name: String, node: NodeId) -> Run {
        let run = self.runs.remove(&name).unwrap_or_default();
        if run != Run::default() {
            self.removed.retain(|removed| *removed != name);
        }
        self.held.insert(name, node);
        run
    }

    /// Takes the name back.
    pub(super) fn release(&mut self, name: &str, node: NodeId) {
        self.held.remove(name);
        self.unreserve(node);
    }

    pub(super) fn reserve(&mut self, name: String, supervisor: NodeId) {
        self.reserved.insert(name, supervisor);
    }

    /// This supervisor has its children back.
    pub(super) fn unreserve(&mut self, supervisor: NodeId) {
        self.reserved.retain(|_, by| *by != supervisor);
    }

    pub(super) fn remember(&mut self, name: String, run: Run) {
        if run == Run::default() || self.runs.insert(name.clone(), run).is_some() {
            return;
        }
        self.removed.push_back(name);
        if self.removed.len() > REMEMBERED
            && let Some(oldest) = self.removed.pop_front()
        {
            self.runs.remove(&oldest);
        }
    }

    #[cfg(debug_assertions)]
    pub(super) fn held(&self) -> &BTreeMap<String, NodeId> {
        &self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_comes_back_goes_on_counting() {
        let mut names = Names::default();
        assert_eq!(names.hold("a".into(), NodeId(1)), Run(0));
        names.release("a", NodeId(1));
        names.remember("a".into(), Run(7));
        assert_eq!(names.hold("a".into(), NodeId(2)), Run(7));
        assert_eq!(names.find("a"), Some(NodeId(2)));
    }

    #[test]
    fn only_so_many_removed_names_are_remembered() {
        let mut names = Names::default();
        for i in 0..3 * REMEMBERED {
            names.remember(format!("job-{i}"), Run(1));
        }
        assert_eq!((names.runs.len(), names.removed.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(names.hold("job-0".into(), NodeId(1)), Run(0));
        assert_eq!(names.hold(format!("job-{}", 3 * REMEMBERED - 1), NodeId(2)), Run(1));
    }
}

//! A tree whose state was lost, made again from the processes that there are.

use std::collections::BTreeMap;

use super::check;
use super::node::{Body, Down, Life, Origin, UpBy};
use super::spec::{SpecError, SupervisorSpec};
use super::supervisor::Op;
use super::time::Moment;
use super::tree::{NodeId, Run, Tree};

impl Tree {
    /// A tree in the middle of its life of which only this is known: the runs that have a process, or had one until an exit
    /// that is still to be told, and the newest run of the others. The first count as up; every other worker is stopped.
    /// Every supervisor runs and has all of its restarts left.
    ///
    /// # Errors
    /// As [`Tree::new`].
    pub fn rebuilt(
        spec: SupervisorSpec,
        now: Moment,
        alive: &BTreeMap<NodeId, Run>,
        ended: &BTreeMap<NodeId, Run>,
    ) -> Result<Tree, SpecError> {
        check::tree(&spec)?;
        let mut tree = Tree::planted(spec);
        for (id, node) in &mut tree.nodes {
            let up = Life::Up { since: now, by: UpBy::Start };
            match (&mut node.body, &node.origin) {
                (_, Origin::Template) => {}
                (Body::Supervisor(supervisor), _) => {
                    supervisor.op = Op::Idle;
                    (node.run, node.life) = (Run(1), up);
                }
                (Body::Worker, _) => {
                    (node.run, node.life) = match (alive.get(id), ended.get(id)) {
                        (Some(run), _) => (*run, up),
                        (None, run) => (run.copied().unwrap_or_default(), Life::Down(Down::Stopped)),
                    }
                }
            }
        }
        #[cfg(debug_assertions)]
        tree.check_invariants();
        Ok(tree)
    }

    /// The newest run of a node.
    #[must_use]
    pub fn run(&self, node: NodeId) -> Option<Run> {
        self.nodes.get(&node).map(|node| node.run)
    }
}

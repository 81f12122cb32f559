//! What must hold between two steps, recomputed from scratch in debug builds.

use std::collections::{BTreeMap, BTreeSet};

use super::node::{After, Attempt};
use super::node::{Life, Node, Origin, Over, Owed, Purpose};
use super::supervisor::{Op, Supervisor};
use super::tree::{NodeId, ROOT, Run, Tree};

/// A check looks at every node. Beyond this size the tests that want it large want it fast.
const LARGEST: usize = 300;

impl Tree {
    pub(super) fn check_invariants(&self) {
        if self.nodes.len() > LARGEST {
            return;
        }
        let names: BTreeMap<_, _> = self.nodes.iter().map(|(id, node)| (node.name.clone(), *id)).collect();
        assert_eq!(&names, self.names.held(), "every node holds its name");
        let timers: BTreeSet<_> =
            self.nodes.iter().filter_map(|(id, node)| Some((node.life.deadline()?, *id))).collect();
        assert_eq!(timers, self.timers, "every deadline is in the set");
        for (id, node) in &self.nodes {
            self.check_node(*id, node);
            if let Some(supervisor) = node.supervisor() {
                self.check_supervisor(*id, node, supervisor);
            }
        }
    }

    fn check_node(&self, id: NodeId, node: &Node) {
        assert!(id.0 < self.next);
        let Some(parent) = node.parent else { return assert_eq!(id, ROOT) };
        assert!(parent < id, "{id:?} is younger than its supervisor");
        let supervisor = self.nodes[&parent].supervisor().expect("a parent is a supervisor");
        if node.origin == Origin::Template {
            assert_eq!(supervisor.template, Some(id));
            assert!(matches!(node.life, Life::Down(_)), "a template has no life");
            return;
        }
        assert_eq!(supervisor.order.get(&node.place), Some(&id), "{id:?} is in its place");
        if node.life.is_alive() || matches!(node.life, Life::Over(_)) {
            assert_ne!(supervisor.op, Op::Off, "{id:?} lives under a supervisor that is down: {node:?}");
            assert_ne!(node.run, Run(0));
        }
        if matches!(node.origin, Origin::Own(_) | Origin::Instance) {
            assert_ne!(supervisor.op, Op::Off, "{id:?} is lost with its supervisor");
        }
        let undecided = match node.life {
            Life::Over(Over::Exited { .. } | Over::Ended(_) | Over::Late) => true,
            Life::Over(Over::Failed(_) | Over::NoProcess(_)) => {
                assert!(matches!(supervisor.op, Op::Held | Op::End(_)), "an outcome is handled at once");
                false
            }
            _ => false,
        };
        assert_eq!(
            supervisor.exits.contains(&(node.place, id)),
            undecided,
            "{id:?} waits for a decision: {node:?}"
        );
        let in_round = matches!(&supervisor.op, Op::Round(round) if round.trigger == id);
        let queued =
            matches!(node.life, Life::Owed(Owed::Queued(_)) | Life::Ending(_, Purpose::Left(After::Retry)));
        let times = supervisor.retries.iter().filter(|c| **c == id).count();
        assert_eq!(times, usize::from(queued && !in_round), "{id:?} is in the queue of retries: {node:?}");
        if node.life == Life::Owed(Owed::Round) {
            assert!(
                matches!(&supervisor.op, Op::Round(round) if round.trigger == id),
                "{id:?}: {supervisor:?}"
            );
        }
        if matches!(node.life, Life::Starting(_)) {
            let current = supervisor.op.current();
            let held = matches!(supervisor.op, Op::Held);
            assert!(current == Some(id) && !held, "nothing starts but what the operation starts: {id:?}");
        }
        let ends = matches!(node.life, Life::Ending(_, Purpose::Stop | Purpose::Failed(_)));
        if ends && matches!(supervisor.op, Op::Idle) {
            panic!("nobody waits for the end of {id:?}: {node:?}");
        }
    }

    fn check_supervisor(&self, id: NodeId, node: &Node, supervisor: &Supervisor) {
        for (place, child) in &supervisor.order {
            let child = self.nodes.get(child).expect("the order names children");
            assert_eq!((child.parent, child.place), (Some(id), *place));
        }
        match (&supervisor.op, &node.life) {
            (Op::Off, Life::Down(_) | Life::Owed(_) | Life::Over(_))
            | (Op::Idle | Op::Round(_) | Op::Call(..), Life::Up { .. })
            | (Op::Boot { .. }, Life::Starting(Attempt::Subtree))
            | (Op::Held, Life::Up { .. } | Life::Starting(_))
            | (Op::End(_), Life::Starting(_) | Life::Up { .. } | Life::Ending(..)) => {}
            (op, life) => panic!("{id:?} is {life:?} and does {op:?}"),
        }
        if matches!(supervisor.op, Op::Idle) {
            assert!(supervisor.exits.is_empty() && supervisor.calls.is_empty(), "an idle queue is empty");
            assert!(supervisor.retries.is_empty(), "an idle queue is empty: {id:?} {supervisor:?}");
        }
        if matches!(supervisor.op, Op::Off | Op::Held | Op::End(_)) {
            assert!(supervisor.calls.is_empty() && supervisor.retries.is_empty(), "a queue is dropped");
        }
        if let Op::End(end) = &supervisor.op {
            assert!(end.waiting.iter().all(|c| self.nodes[c].life.is_alive()), "{id:?} waits for the living");
        }
    }
}

//! Which node each stored socket was made for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::task::AbortHandle;

use crate::rules::NodeId;

/// A socket that was made for a node.
pub(super) struct Held {
    /// Its name in the store.
    pub(super) stored: String,
    pub(super) path: PathBuf,
    /// The task that hears it, if it is for notifications.
    pub(super) ear: Option<AbortHandle>,
}

/// The sockets of all nodes. Each has one holder, the node that was given it last: a temporary child and the node that its
/// restarted supervisor makes in its place have one name, so one socket, and for one step both exist.
#[derive(Default)]
pub(super) struct Holdings(BTreeMap<NodeId, Vec<Held>>);

impl Holdings {
    pub(super) fn has(&self, node: NodeId, stored: &str) -> bool {
        self.0.get(&node).is_some_and(|held| held.iter().any(|held| held.stored == stored))
    }

    /// This node is given the socket. Another that held it has nothing to release any more.
    pub(super) fn hold(&mut self, node: NodeId, held: Held) {
        if self.has(node, &held.stored) {
            return;
        }
        for others in self.0.values_mut() {
            let taken = others.extract_if(.., |other| other.stored == held.stored);
            taken.filter_map(|other| other.ear).for_each(|ear| ear.abort());
        }
        self.0.entry(node).or_default().push(held);
    }

    /// What is not at its path any more; it is held no longer.
    pub(super) fn missing(&mut self, is_there: impl Fn(&Path) -> bool) -> Vec<(NodeId, Held)> {
        let mut missing = Vec::new();
        for (node, held) in &mut self.0 {
            missing.extend(held.extract_if(.., |held| !is_there(&held.path)).map(|held| (*node, held)));
        }
        missing
    }

    /// The notification socket of this node, by its name in the store.
    pub(super) fn heard(&self, node: NodeId) -> Option<&str> {
        let heard = self.0.get(&node)?.iter().find(|held| held.ear.is_some())?;
        Some(&heard.stored)
    }

    /// From now on this task hears the socket; the one before ends.
    pub(super) fn hear(&mut self, node: NodeId, stored: &str, ear: AbortHandle) {
        let held = self.0.get_mut(&node).and_then(|held| held.iter_mut().find(|held| held.stored == stored));
        if let Some(before) = held.and_then(|held| held.ear.replace(ear)) {
            before.abort();
        }
    }

    /// What nodes that are gone still hold; they hold it no longer.
    pub(super) fn of_gone(&mut self, exists: impl Fn(NodeId) -> bool) -> Vec<Held> {
        let gone: Vec<_> = self.0.keys().copied().filter(|node| !exists(*node)).collect();
        gone.into_iter().filter_map(|node| self.0.remove(&node)).flatten().collect()
    }

    /// What this node, which is about to get the sockets `wanted` (name in the store, path), holds beside them, and what
    /// another holds where one of them is to be; it is held no longer.
    pub(super) fn stale(&mut self, node: NodeId, wanted: &[(String, PathBuf)]) -> Vec<Held> {
        let mut stale = Vec::new();
        for (holder, held) in &mut self.0 {
            stale.extend(held.extract_if(.., |held| {
                let is_wanted = wanted.iter().any(|(stored, _)| *stored == held.stored);
                let in_the_way = wanted.iter().any(|(_, path)| *path == held.path);
                !is_wanted && (*holder == node || in_the_way)
            }));
        }
        stale
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.0.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::{
        Just, ProptestConfig, Strategy as Generate, any, prop_assert_eq, prop_oneof, proptest,
    };
    use proptest::strategy::BoxedStrategy;

    use super::*;
    use crate::rules::{
        Action, AutoShutdown, ChildSpec, Event, Exit, ExitFact, Flags, Kind, Moment, Restart, Run, Shutdown,
        Start, Strategy, SupervisorSpec, Tree, WorkerSpec,
    };

    fn any_supervisor(levels: u32) -> BoxedStrategy<SupervisorSpec> {
        let strategy =
            prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)];
        let restart =
            prop_oneof![Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)];
        let start = prop_oneof![
            Just(Start::Exec),
            Just(Start::Ready { timeout: None }),
            Just(Start::Oneshot { timeout: None })
        ];
        let kind = match levels {
            0 => start.prop_map(worker).boxed(),
            _ => prop_oneof![
                2 => start.prop_map(worker),
                1 => any_supervisor(levels - 1).prop_map(Kind::Supervisor),
            ]
            .boxed(),
        };
        let child = (restart, any::<bool>(), kind).prop_map(|(restart, significant, kind)| ChildSpec {
            name: String::new(),
            restart,
            significant,
            shutdown: Shutdown::BrutalKill,
            backoff: None,
            kind,
        });
        (strategy, 0..3u32, any::<bool>(), vec(child, 1..4))
            .prop_map(|(strategy, intensity, significant, children)| {
                let auto_shutdown =
                    if significant { AutoShutdown::AnySignificant } else { AutoShutdown::Never };
                let period = Duration::from_secs(5);
                let flags = Flags { strategy, intensity, period, auto_shutdown, ..Flags::default() };
                SupervisorSpec { flags, children }
            })
            .boxed()
    }

    fn worker(start: Start) -> Kind {
        Kind::Worker(WorkerSpec { start, ..WorkerSpec::default() })
    }

    fn name(spec: &mut SupervisorSpec, count: &mut u32) {
        for child in &mut spec.children {
            *count += 1;
            child.name = format!("n{count}");
            child.significant &=
                child.restart != Restart::Permanent && spec.flags.auto_shutdown != AutoShutdown::Never;
            if let Kind::Supervisor(below) = &mut child.kind {
                name(below, count);
            }
        }
    }

    /// What the supervisor process and the keeper do with a tree in which every worker has a socket.
    struct Keeping {
        tree: Tree,
        now: u64,
        held: Holdings,
        /// The keeper's store, and the files.
        store: BTreeSet<String>,
        running: BTreeMap<NodeId, (Run, String)>,
        facts: Vec<Event>,
    }

    impl Keeping {
        fn step(&mut self, event: Event) {
            self.now += 1;
            if let Event::Exited(facts) = &event {
                facts.iter().for_each(|fact| drop(self.running.remove(&fact.node)));
            }
            let mut actions = Vec::new();
            self.tree.step(Moment(self.now), event, &mut actions);
            for action in &actions {
                match action {
                    Action::Start(node, run) => self.start(*node, *run),
                    Action::Kill(node, run) => {
                        let exit = Exit::Unknown;
                        self.facts.push(Event::Exited(vec![ExitFact { node: *node, run: *run, exit }]));
                    }
                    _ => {}
                }
            }
            if actions.iter().any(|action| matches!(action, Action::Forget(_))) {
                for held in self.held.of_gone(|node| self.tree.name(node).is_some()) {
                    self.store.remove(&held.stored);
                }
            }
        }

        fn start(&mut self, node: NodeId, run: Run) {
            let name = self.tree.name(node).expect("what starts has a name").to_owned();
            let path = PathBuf::from(&name);
            assert!(self.held.stale(node, &[(name.clone(), path.clone())]).is_empty());
            self.store.insert(name.clone());
            self.held.hold(node, Held { stored: name.clone(), path, ear: None });
            self.running.insert(node, (run, name));
            self.facts.push(Event::Ready(node, run));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whoever_runs_has_its_socket_in_every_tree(
            mut spec in any_supervisor(2),
            deaths in vec((any::<u32>(), any::<u8>(), 1..4usize), 0..40),
        ) {
            name(&mut spec, &mut 0);
            let mut keeping = Keeping {
                tree: Tree::new(spec).expect("it is good"),
                now: 0,
                held: Holdings::default(),
                store: BTreeSet::new(),
                running: BTreeMap::new(),
                facts: vec![Event::Boot],
            };
            for (which, code, together) in deaths {
                while let Some(fact) = keeping.facts.pop() {
                    keeping.step(fact);
                    let missing = keeping.running.values().find(|(_, name)| !keeping.store.contains(name));
                    prop_assert_eq!(missing, None);
                    let holders: Vec<_> = keeping.held.iter().map(|held| held.path.as_path()).collect();
                    let distinct: BTreeSet<_> = holders.iter().collect();
                    prop_assert_eq!(holders.len(), distinct.len(), "two hold one socket");
                }
                let exits = keeping.running.iter().cycle().skip(which as usize % 8).take(together);
                let fact = |(node, (run, _)): (&NodeId, &(Run, String))| {
                    ExitFact { node: *node, run: *run, exit: Exit::Code(code % 2) }
                };
                let facts: Vec<ExitFact> = exits.map(fact).collect();
                keeping.facts.push(Event::Exited(facts));
            }
        }
    }
}

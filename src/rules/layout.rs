//! How nodes come from the configuration and go again.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Names;
use super::node::{Body, Down, Life, Node, Origin};
use super::spec::{ChildSpec, Kind, Strategy, SupervisorSpec};
use super::supervisor::Supervisor;
use super::tree::{NodeId, ROOT, Run, Tree};

impl Tree {
    /// A node for each configured child, none of them started. The configuration has been checked.
    pub(super) fn planted(spec: SupervisorSpec) -> Tree {
        let root = Node {
            name: String::new(),
            parent: None,
            origin: Origin::Static(0),
            place: 0,
            run: Run(0),
            restarts: 0,
            streak: 0,
            life: Life::Down(Down::Waiting),
            body: Body::Supervisor(Box::new(Supervisor::new(None))),
        };
        let mut names = Names::default();
        names.hold(String::new(), ROOT);
        let mut tree = Tree {
            root: SupervisorSpec::default(),
            nodes: BTreeMap::from([(ROOT, root)]),
            names,
            timers: BTreeSet::new(),
            next: 1,
        };
        tree.plant_children(ROOT, &spec);
        tree.root = spec;
        tree
    }

    /// The specification of a node that is not the root.
    pub(super) fn spec_of(&self, id: NodeId) -> &ChildSpec {
        let node = &self.nodes[&id];
        let siblings = || &self.supervisor_spec(node.parent.unwrap_or(ROOT)).children;
        match &node.origin {
            Origin::Static(rank) => &siblings()[*rank as usize],
            Origin::Own(spec) => spec,
            Origin::Instance | Origin::Template => &siblings()[0],
        }
    }

    /// Flags and configured children of a supervisor.
    pub(super) fn supervisor_spec(&self, id: NodeId) -> &SupervisorSpec {
        if id == ROOT {
            return &self.root;
        }
        match &self.spec_of(id).kind {
            Kind::Supervisor(spec) => spec,
            Kind::Worker(_) => unreachable!("a reload never turns a supervisor into a worker"),
        }
    }

    pub(super) fn is_template(&self, supervisor: NodeId) -> bool {
        self.supervisor_spec(supervisor).is_template()
    }

    /// What a configured child is called: its name, and below an instance also the instance's.
    pub(super) fn name_under(&self, supervisor: NodeId, name: &str) -> String {
        let instance = self.nodes[&supervisor].supervisor().and_then(|it| it.instance.as_deref());
        qualified(name, instance)
    }

    /// Makes a node and what is below it, last in its supervisor's order.
    pub(super) fn plant(&mut self, parent: NodeId, name: String, origin: Origin, spec: &ChildSpec) -> NodeId {
        let id = NodeId(self.next);
        self.next += 1;
        let instance = match origin {
            Origin::Instance => Some(name.clone()),
            Origin::Static(_) | Origin::Own(_) | Origin::Template => {
                self.nodes[&parent].supervisor().and_then(|it| it.instance.clone())
            }
        };
        let is_template = origin == Origin::Template;
        let place = self.supervisor_mut(parent).next_place();
        let body = match &spec.kind {
            Kind::Supervisor(_) if !is_template => Body::Supervisor(Box::new(Supervisor::new(instance))),
            Kind::Supervisor(_) | Kind::Worker(_) => Body::Worker,
        };
        let run = self.names.hold(name.clone(), id);
        let life = Life::Down(Down::Waiting);
        let node =
            Node { name, parent: Some(parent), origin, place, run, restarts: 0, streak: 0, life, body };
        self.nodes.insert(id, node);
        if is_template {
            self.supervisor_mut(parent).template = Some(id);
            return id;
        }
        self.supervisor_mut(parent).order.insert(place, id);
        if let Kind::Supervisor(below) = &spec.kind {
            self.plant_children(id, below);
        }
        id
    }

    fn plant_children(&mut self, supervisor: NodeId, spec: &SupervisorSpec) {
        for (rank, child) in (0..).zip(&spec.children) {
            let origin = match spec.flags.strategy {
                Strategy::SimpleOneForOne => Origin::Template,
                Strategy::OneForOne | Strategy::OneForAll | Strategy::RestForOne => Origin::Static(rank),
            };
            let name = self.name_under(supervisor, &child.name);
            self.plant(supervisor, name, origin, child);
        }
    }

    /// Brings a supervisor that is about to start to its configuration: removed children are back, all in order.
    /// Children added at run time are gone since it ended.
    pub(super) fn lay_out(&mut self, supervisor: NodeId) {
        self.arrange(supervisor);
        for id in self.children(supervisor) {
            let node = self.node_mut(id);
            node.life = Life::Down(Down::Waiting);
            node.streak = 0;
        }
    }

    /// Ties the children to the configuration: first the configured ones in its order, those that are missing made new,
    /// then the others.
    pub(super) fn arrange(&mut self, supervisor: NodeId) {
        self.names.unreserve(supervisor);
        if self.is_template(supervisor) {
            return self.rename_template(supervisor);
        }
        let mut order = Vec::new();
        for rank in 0..self.supervisor_spec(supervisor).children.len() {
            let name = self.name_under(supervisor, &self.supervisor_spec(supervisor).children[rank].name);
            let origin = Origin::Static(rank as u32);
            match self.names.find(&name) {
                Some(id) => {
                    self.node_mut(id).origin = origin;
                    order.push(id);
                }
                None => {
                    let spec = self.supervisor_spec(supervisor).children[rank].clone();
                    let id = self.plant(supervisor, name, origin, &spec);
                    self.node_mut(id).life = Life::Down(Down::Stopped);
                    order.push(id);
                }
            }
        }
        let configured: BTreeSet<_> = order.iter().copied().collect();
        order.extend(self.children(supervisor).into_iter().filter(|id| !configured.contains(id)));
        self.reorder(supervisor, order);
    }

    fn rename_template(&mut self, supervisor: NodeId) {
        let name = self.name_under(supervisor, &self.supervisor_spec(supervisor).children[0].name);
        let Some(id) = self.supervisor_mut(supervisor).template else { return };
        if self.nodes[&id].name != name {
            let old = std::mem::replace(&mut self.node_mut(id).name, name.clone());
            self.names.release(&old, id);
            self.names.hold(name, id);
        }
    }

    /// Gives the children new places.
    pub(super) fn reorder(&mut self, supervisor: NodeId, order: Vec<NodeId>) {
        for (place, id) in (0..).zip(&order) {
            self.node_mut(*id).place = place;
        }
        let exits = std::mem::take(&mut self.supervisor_mut(supervisor).exits);
        let exits = exits.into_iter().map(|(_, id)| (self.nodes[&id].place, id)).collect();
        let it = self.supervisor_mut(supervisor);
        it.exits = exits;
        it.order = (0..).zip(order).collect();
    }

    /// Takes a node without a process out of the tree, with what is below it.
    pub(super) fn uproot(&mut self, id: NodeId) {
        let node = &self.nodes[&id];
        let Some(parent) = node.parent else { return };
        let place = node.place;
        let reserved = match node.origin {
            Origin::Static(_) => self.configured_names(id),
            Origin::Own(_) | Origin::Instance | Origin::Template => Vec::new(),
        };
        let supervisor = self.supervisor_mut(parent);
        supervisor.order.remove(&place);
        supervisor.exits.remove(&(place, id));
        let remembered = supervisor.instance.is_none() && self.nodes[&id].origin != Origin::Instance;
        self.drop_node(id, if remembered { Memory::Kept } else { Memory::None });
        for name in reserved {
            self.names.reserve(name, parent);
        }
    }

    fn drop_node(&mut self, id: NodeId, memory: Memory) {
        let template = self.nodes[&id].supervisor().and_then(|it| it.template);
        for child in self.children(id).into_iter().chain(template) {
            self.drop_node(child, memory);
        }
        let Some(node) = self.nodes.remove(&id) else { return };
        if let Some(deadline) = node.life.deadline() {
            self.timers.remove(&(deadline, id));
        }
        self.names.release(&node.name, id);
        match memory {
            Memory::Kept => self.names.remember(node.name, node.run),
            Memory::None => {}
        }
    }

    /// Children in start order.
    pub(super) fn children(&self, id: NodeId) -> Vec<NodeId> {
        self.nodes[&id].supervisor().map_or_else(Vec::new, |it| it.order.values().copied().collect())
    }

    /// The names that this child and those below it have whenever they are there.
    pub(super) fn configured_names(&self, id: NodeId) -> Vec<String> {
        let node = &self.nodes[&id];
        let instance =
            self.nodes[&node.parent.unwrap_or(ROOT)].supervisor().and_then(|it| it.instance.as_deref());
        let mut names = Vec::new();
        collect_names(self.spec_of(id), instance, &mut names);
        names
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node that is referred to exists")
    }

    pub(super) fn supervisor_mut(&mut self, id: NodeId) -> &mut Supervisor {
        match &mut self.node_mut(id).body {
            Body::Supervisor(supervisor) => supervisor,
            Body::Worker => unreachable!("a parent is a supervisor"),
        }
    }
}

/// Whether the runs of a removed name go on when it comes back.
#[derive(Clone, Copy)]
enum Memory {
    Kept,
    /// Names of instances, and below them, are never given twice.
    None,
}

/// The names of a child and of those configured below it. What a template would make has no names yet.
pub(super) fn collect_names(spec: &ChildSpec, instance: Option<&str>, names: &mut Vec<String>) {
    names.push(qualified(&spec.name, instance));
    let Kind::Supervisor(below) = &spec.kind else { return };
    for child in &below.children {
        match below.flags.strategy {
            Strategy::SimpleOneForOne => names.push(qualified(&child.name, instance)),
            Strategy::OneForOne | Strategy::OneForAll | Strategy::RestForOne => {
                collect_names(child, instance, names);
            }
        }
    }
}

fn qualified(name: &str, instance: Option<&str>) -> String {
    match instance {
        Some(instance) => [name, "@", instance].concat(),
        None => name.to_owned(),
    }
}

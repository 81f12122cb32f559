//! Children that the config file does not know: added, kept by a reload, instances of templates. And the calls that are
//! under way, with what they bring.
//!
//! The rules say whether a child exists; here stands what it runs. An entry comes with the rules' `Added` and goes with
//! their `Forget`, so the two cannot disagree.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::series::Plan;
use crate::config::{Output, ProcessSpec, Project};
use crate::rules::{Call, ChildSpec, Kind, NodeId, SupervisorSpec, Ticket, Tree, View};

/// What a call brings beside what the rules need to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Offer {
    /// Nothing.
    #[default]
    Nothing,
    /// A new child: what it, or what is below it, runs.
    Child(BTreeMap<String, ProcessSpec>),
    /// A new instance of a template.
    Instance(Instance),
    /// A new configuration, and what is to be done once it is in force.
    Project(Box<Project>, Option<Plan>),
}

/// What makes an instance different from its template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Appended to the template's command.
    pub args: Vec<String>,
    /// `PROVOST_INSTANCE`; `None` if it was given a name of its own.
    pub number: Option<u32>,
}

/// A call that has not been answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) call: Call,
    pub(super) offer: Offer,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extras {
    /// What they run, by name. These come before the config file's: an added child may have the name of a removed one.
    specs: BTreeMap<String, ProcessSpec>,
    /// Where each of these comes from: a node, and the names in `specs` that go with it.
    tops: BTreeMap<NodeId, Extra>,
    open: BTreeMap<Ticket, Open>,
    /// The newest number given to an instance of each template.
    numbers: BTreeMap<String, u32>,
}

/// One child of them, with all that is below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Extra {
    origin: Origin,
    names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Origin {
    /// Added at run time.
    Added,
    /// Missing in the newest configuration.
    Kept,
    /// Made of a template.
    Instance(Instance),
}

impl Extras {
    /// What a child of this name runs, if it is one of these.
    pub(super) fn spec(&self, name: &str) -> Option<&ProcessSpec> {
        self.specs.get(name)
    }

    /// What each of them runs.
    pub(super) fn specs(&self) -> impl Iterator<Item = (&String, &ProcessSpec)> {
        self.specs.iter()
    }

    /// Whether a reload found this child missing and kept it.
    pub(super) fn is_kept(&self, node: NodeId) -> bool {
        self.tops.get(&node).is_some_and(|extra| extra.origin == Origin::Kept)
    }

    /// The number of the next instance of a template. No number is given twice.
    pub(super) fn next_number(&self, template: &str) -> u32 {
        self.numbers.get(template).map_or(1, |newest| newest.saturating_add(1))
    }

    /// Whether there has been an instance of this name, as far as it was numbered: no number is given twice.
    pub(super) fn was_instance(&self, name: &str) -> bool {
        let numbered = name.rsplit_once('@').and_then(|(template, number)| {
            let newest = self.numbers.get(template)?;
            Some(*newest >= number.parse::<u32>().ok()?)
        });
        numbered.unwrap_or(false)
    }

    /// A call is made.
    pub(super) fn opened(
        &mut self,
        ticket: Ticket,
        call: Call,
        offer: Offer,
        tree: &Tree,
        project: &Project,
    ) {
        if let (Call::StartInstance(supervisor, _), Offer::Instance(Instance { number: Some(number), .. })) =
            (&call, &offer)
            && let Some(template) = template_of(*supervisor, tree, project)
        {
            self.numbers.insert(template.name.clone(), *number);
        }
        self.open.insert(ticket, Open { call, offer });
    }

    /// A call is answered.
    pub(super) fn closed(&mut self, ticket: Ticket) -> Option<Open> {
        self.open.remove(&ticket)
    }

    /// A node is new. If a call brought it, it is the oldest of those that ask for this name there: a supervisor takes
    /// calls in their order.
    pub(super) fn added(&mut self, node: NodeId, name: &str, parent: NodeId, tree: &Tree, project: &Project) {
        let brought = |open: &&mut Open| match (&open.call, &open.offer) {
            (Call::StartChild(under, child), Offer::Child(_)) => *under == parent && child.name == name,
            (Call::StartInstance(under, wanted), Offer::Instance(_)) => *under == parent && wanted == name,
            _ => false,
        };
        let Some(open) = self.open.values_mut().find(brought) else { return };
        match std::mem::take(&mut open.offer) {
            Offer::Child(processes) => {
                let names = processes.keys().cloned().collect();
                self.specs.extend(processes);
                self.tops.insert(node, Extra { origin: Origin::Added, names });
            }
            Offer::Instance(instance) => {
                self.tops.insert(node, Extra { origin: Origin::Instance(instance), names: Vec::new() });
                self.derive(node, tree, project);
            }
            Offer::Nothing | Offer::Project(..) => {}
        }
    }

    /// Nodes are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&NodeId) -> bool) {
        for node in self.tops.keys().copied().filter(|node| !exists(node)).collect::<Vec<_>>() {
            self.forget(node);
        }
    }

    fn forget(&mut self, node: NodeId) {
        for name in self.tops.remove(&node).into_iter().flat_map(|extra| extra.names) {
            self.specs.remove(&name);
        }
    }

    /// The rules have taken `new` in place of `old`. What is missing in it and lives on takes along what it runs; what was
    /// an extra and is in it now is none any more; instances follow their template.
    pub(super) fn reloaded(&mut self, old: &Project, new: &Project, tree: &Tree, view: &View) {
        let before = self.specs.clone();
        let configured = names_below(&new.tree);
        let named = |node: &NodeId| tree.name(*node).is_some_and(|name| configured.contains(name));
        for node in self.tops.keys().copied().filter(named).collect::<Vec<_>>() {
            self.forget(node);
        }
        let mut missing = Vec::new();
        self.collect_missing(view, &configured, &mut missing);
        for node in missing {
            let Some(spec) = tree.spec(node) else { continue };
            let names: Vec<String> = names_of(spec).into_iter().map(str::to_owned).collect();
            for name in &names {
                if let Some(run) = before.get(name).or_else(|| old.processes.get(name)) {
                    self.specs.insert(name.clone(), run.clone());
                }
            }
            self.tops.insert(node, Extra { origin: Origin::Kept, names });
        }
        for node in self.tops.keys().copied().collect::<Vec<_>>() {
            self.derive(node, tree, new);
        }
    }

    fn collect_missing(&self, view: &View, configured: &BTreeSet<&str>, missing: &mut Vec<NodeId>) {
        for child in view.supervisor.iter().flat_map(|supervisor| &supervisor.children) {
            if self.tops.contains_key(&child.id) {
                continue;
            }
            if configured.contains(child.name.as_str()) {
                self.collect_missing(child, configured, missing);
            } else {
                missing.push(child.id);
            }
        }
    }

    /// Makes anew what an instance, or what is below it, runs: settings are the template's, read whenever they are needed
    /// (OTP `simple_one_for_one`).
    fn derive(&mut self, node: NodeId, tree: &Tree, project: &Project) {
        let Some(Extra { origin: Origin::Instance(instance), .. }) = self.tops.get(&node) else { return };
        let (Some(name), Some(template)) = (tree.name(node), tree.spec(node)) else { return };
        let source = |name: &str| self.specs.get(name).or_else(|| project.processes.get(name));
        let runs: BTreeMap<String, ProcessSpec> = match &template.kind {
            Kind::Worker(_) => {
                let run = source(&template.name).map(|template| instance.of(template, name));
                run.map(|run| (name.to_owned(), run)).into_iter().collect()
            }
            // The rules call those below by their own name and the instance's.
            Kind::Supervisor(below) => names_below(below)
                .into_iter()
                .filter_map(|below| {
                    let qualified = format!("{below}@{name}");
                    let run = source(below)?.clone();
                    Some((qualified.clone(), under(&qualified, run)))
                })
                .collect(),
        };
        let names = runs.keys().cloned().collect();
        if let Some(extra) = self.tops.get_mut(&node) {
            for name in std::mem::replace(&mut extra.names, names) {
                self.specs.remove(&name);
            }
        }
        self.specs.extend(runs);
    }
}

/// The same process under another name, by which its log is called.
fn under(name: &str, mut run: ProcessSpec) -> ProcessSpec {
    if let Output::File(log) = &mut run.output {
        log.path.set_file_name(format!("{name}.log"));
    }
    run
}

impl Instance {
    /// The template's command with our arguments. The log stands beside the template's, under the instance's own name.
    fn of(&self, template: &ProcessSpec, name: &str) -> ProcessSpec {
        let mut run = under(name, template.clone());
        // A shell's first argument after the line is its $0, and ours are to be $1, $2 ...
        if let [shell, flag, _] = run.argv.as_slice()
            && flag == "-c"
        {
            run.argv.push(shell.clone());
        }
        run.argv.extend(self.args.iter().cloned());
        run.instance = self.number;
        run
    }
}

/// The template of a supervisor; `None` if it has none.
pub(super) fn template_of<'t>(
    supervisor: NodeId,
    tree: &'t Tree,
    project: &'t Project,
) -> Option<&'t ChildSpec> {
    let spec = match tree.spec(supervisor) {
        Some(ChildSpec { kind: Kind::Supervisor(spec), .. }) => spec,
        Some(ChildSpec { kind: Kind::Worker(_), .. }) => return None,
        None => &project.tree,
    };
    spec.children.first().filter(|_| spec.is_template())
}

/// The name of a child and of all configured below it.
pub(super) fn names_of(spec: &ChildSpec) -> Vec<&str> {
    let mut names = vec![spec.name.as_str()];
    if let Kind::Supervisor(below) = &spec.kind {
        names.extend(names_below(below));
    }
    names
}

fn names_below(spec: &SupervisorSpec) -> BTreeSet<&str> {
    spec.children.iter().flat_map(names_of).collect()
}

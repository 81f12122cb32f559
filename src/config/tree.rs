//! The children put together: who is under whom, and what only the whole can tell.

use std::collections::{BTreeMap, BTreeSet};

use super::child::{Body, Child, Wish};
use super::explain::explain;
use super::flags::Flagged;
use super::report::{At, Report};
use crate::rules::{AutoShutdown, ChildSpec, Kind, Restart, SpecError, Strategy, SupervisorSpec};
use crate::suggest::nearest;

/// Supervisors nested deeper than this are a mistake, and every walk of the tree may recurse.
const DEEPEST: usize = 32;

/// All supervisors with their children.
pub(crate) struct Family<'c> {
    root: Flagged,
    children: &'c [Child],
    by_name: BTreeMap<&'c str, usize>,
    parents: Vec<Parent>,
}

/// Whom a child belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Parent {
    Root,
    /// The supervisor with this index.
    Child(usize),
    /// Its `parent` is wrong.
    Unclear,
}

/// A supervisor with its children in start order.
pub(crate) struct Group<'f> {
    /// `None` for the root.
    pub(crate) supervisor: Option<&'f Child>,
    pub(crate) flagged: &'f Flagged,
    pub(crate) children: Vec<&'f Child>,
}

impl<'c> Family<'c> {
    /// Finds each child's supervisor. Reports names used twice, parents that are none, and circles.
    pub(crate) fn link(report: &Report, root: Flagged, children: &'c [Child]) -> Family<'c> {
        let mut by_name: BTreeMap<&'c str, usize> = BTreeMap::new();
        for (index, child) in children.iter().enumerate() {
            let Some(name) = child.name.as_deref() else { continue };
            match by_name.get(name) {
                Some(first) => {
                    let (message, hint) = explain(&SpecError::DuplicateName(name.to_owned()));
                    let line = report.line(children[*first].at);
                    report.error(child.at, format!("{message}, first on line {line}"), hint);
                }
                None => {
                    by_name.insert(name, index);
                }
            }
        }
        let parents = children.iter().map(|child| parent_of(report, child, children, &by_name)).collect();
        let family = Family { root, children, by_name, parents };
        family.check_circles(report);
        family
    }

    /// The children with a name of their own: not those without one, nor the later ones of a name used twice.
    pub(crate) fn children_with_names(&self) -> impl Iterator<Item = &'c Child> {
        let first: BTreeSet<usize> = self.by_name.values().copied().collect();
        first.into_iter().map(|index| &self.children[index])
    }

    /// Reports what OTP refuses about a supervisor and its children together.
    pub(crate) fn check(&self, report: &Report) {
        for group in self.groups() {
            if group.flagged.sound && group.flagged.flags.strategy == Strategy::SimpleOneForOne {
                self.check_template(report, &group);
            }
            for child in &group.children {
                check_significance(report, child, group.flagged);
            }
        }
        for (index, child) in self.children.iter().enumerate() {
            if let Body::Process(process) = &child.body
                && let Some(at) = process.listens_at
                && self.is_made_at_run_time(index)
            {
                report.error(
                    at,
                    "`listen` names one socket, and every instance of this template would want it",
                    "take it out, or write another strategy",
                );
            }
        }
    }

    /// Whether a child is a template, or stands below one. Circles have been reported, and lead nowhere.
    fn is_made_at_run_time(&self, index: usize) -> bool {
        let mut parent = self.parents[index];
        for _ in 0..=DEEPEST {
            let flagged = match parent {
                Parent::Root => &self.root,
                Parent::Child(above) => match &self.children[above].body {
                    Body::Supervisor(flagged) => flagged,
                    Body::Process(_) | Body::Unknown => return false,
                },
                Parent::Unclear => return false,
            };
            if flagged.flags.strategy == Strategy::SimpleOneForOne {
                return true;
            }
            let Parent::Child(above) = parent else { return false };
            parent = self.parents[above];
        }
        false
    }

    /// Every supervisor, the root first.
    pub(crate) fn groups(&self) -> Vec<Group<'_>> {
        let mut members: BTreeMap<Parent, Vec<&Child>> = BTreeMap::new();
        for (child, parent) in self.children.iter().zip(&self.parents) {
            members.entry(*parent).or_default().push(child);
        }
        let mut children_of = |parent| members.remove(&parent).unwrap_or_default();
        let root = Group { supervisor: None, flagged: &self.root, children: children_of(Parent::Root) };
        let inner = self.children.iter().enumerate().filter_map(|(index, child)| match &child.body {
            Body::Supervisor(flagged) => {
                Some(Group { supervisor: Some(child), flagged, children: children_of(Parent::Child(index)) })
            }
            Body::Process(_) | Body::Unknown => None,
        });
        std::iter::once(root).chain(inner).collect()
    }

    /// The tree for the rules. Only for a family about which nothing was reported.
    pub(crate) fn tree(&self) -> SupervisorSpec {
        self.supervisor(Parent::Root, &self.root)
    }

    fn supervisor(&self, parent: Parent, flagged: &Flagged) -> SupervisorSpec {
        let members = self.children.iter().enumerate().filter(|(index, _)| self.parents[*index] == parent);
        let children = members.flat_map(|(index, child)| self.specs(index, child)).collect();
        SupervisorSpec { flags: flagged.flags.clone(), children }
    }

    /// One specification, or one for each instance.
    fn specs(&self, index: usize, child: &Child) -> Vec<ChildSpec> {
        let spec = |name: &str, backoff, kind| ChildSpec {
            name: name.to_owned(),
            restart: child.restart.unwrap_or_default(),
            significant: child.significant_at.is_some(),
            shutdown: child.shutdown.clone(),
            backoff,
            kind,
        };
        match &child.body {
            Body::Process(process) => {
                let backoff = process.backoff.map(|(backoff, _)| backoff);
                let worker = || Kind::Worker(process.worker.clone());
                process.runs.iter().map(|(name, _)| spec(name, backoff, worker())).collect()
            }
            Body::Supervisor(flagged) => {
                let inner = self.supervisor(Parent::Child(index), flagged);
                vec![spec(child.name.as_deref().unwrap_or_default(), None, Kind::Supervisor(inner))]
            }
            Body::Unknown => Vec::new(),
        }
    }

    fn check_circles(&self, report: &Report) {
        for (index, child) in self.children.iter().enumerate() {
            let Wish::Named(parent, at) = &child.parent else { continue };
            let mut above = BTreeSet::new();
            let mut here = self.parents[index];
            while let Parent::Child(next) = here {
                if !above.insert(next) || above.len() > DEEPEST {
                    break;
                }
                here = self.parents[next];
            }
            let name = child.name.as_deref().unwrap_or_default();
            if above.contains(&index) {
                // Each circle once, at the first of its members.
                if above.first() == Some(&index) {
                    report.error(
                        *at,
                        format!("\"{name}\" is under \"{parent}\" and above it at once"),
                        "take one parent of the circle out",
                    );
                }
            } else if above.len() > DEEPEST {
                let message = format!("\"{name}\" is nested deeper than {DEEPEST} supervisors");
                report.error(*at, message, "write a flatter tree");
            }
        }
    }

    fn check_template(&self, report: &Report, group: &Group) {
        let flagged = group.flagged;
        if flagged.flags.auto_shutdown != AutoShutdown::Never {
            refuse(report, flagged.auto_shutdown_at, &SpecError::TemplateAutoShutdown);
        }
        let [template] = group.children.as_slice() else {
            // A child whose parent is unclear may be the one that is missing here.
            if !self.parents.contains(&Parent::Unclear) {
                refuse(report, flagged.strategy_at, &SpecError::TemplateCount(group.children.len()));
            }
            return;
        };
        if let Body::Process(process) = &template.body
            && let Some(at) = process.instances_at
        {
            report.error(
                at,
                "`instances` has no meaning in a template, whose instances are added at run time",
                "take it out, or write another strategy",
            );
        }
    }
}

fn parent_of(report: &Report, child: &Child, children: &[Child], by_name: &BTreeMap<&str, usize>) -> Parent {
    let (name, at) = match &child.parent {
        Wish::Root => return Parent::Root,
        Wish::Named(name, at) => (name, at),
        Wish::Illegible => return Parent::Unclear,
    };
    let supervisors = || {
        let named = by_name.iter().filter(|(_, index)| matches!(children[**index].body, Body::Supervisor(_)));
        named.map(|(name, _)| *name)
    };
    match by_name.get(name.as_str()).map(|index| (*index, &children[*index].body)) {
        Some((index, Body::Supervisor(_))) => return Parent::Child(index),
        Some((_, Body::Unknown)) => {}
        Some((_, Body::Process(_))) => report.error(
            *at,
            format!("`parent = \"{name}\"` is a process, and only a supervisor has children"),
            format!("give \"{name}\" type = \"supervisor\", or name another parent"),
        ),
        None => {
            let hint = match nearest(name, supervisors()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("write a [[child]] with name = \"{name}\" and type = \"supervisor\""),
            };
            report.error(*at, format!("`parent = \"{name}\"` names no child of this file"), hint);
        }
    }
    Parent::Unclear
}

/// OTP's `bad_combination`, in OTP's order: first the supervisor's side, then the child's own.
fn check_significance(report: &Report, child: &Child, supervisor: &Flagged) {
    let (Some(at), true) = (child.significant_at, supervisor.sound) else { return };
    let name = || child.name.clone().unwrap_or_else(|| "this child".into());
    if supervisor.flags.auto_shutdown == AutoShutdown::Never {
        refuse(report, at, &SpecError::SignificantNever(name()));
    } else if child.restart == Some(Restart::Permanent) {
        refuse(report, at, &SpecError::SignificantPermanent(name()));
    }
}

fn refuse(report: &Report, at: At, error: &SpecError) {
    let (message, hint) = explain(error);
    report.error(at, message, hint);
}

//! `code_change`: a new configuration for a running tree (15).

use std::collections::BTreeSet;

use super::action::Note;
use super::check;
use super::layout::collect_names;
use super::node::{Body, Origin};
use super::spec::{ChildSpec, Kind, SpecError, SupervisorSpec};
use super::supervisor::Op;
use super::tree::{NodeId, ROOT};
use super::turn::Turn;

/// What a reload will touch.
#[derive(Default)]
struct Plan {
    /// The supervisors that exist and stay, parents first, each with the names of its configured children to be.
    supervisors: Vec<(NodeId, BTreeSet<String>)>,
    /// Names of children that do not exist yet.
    new_names: BTreeSet<String>,
}

impl Turn<'_> {
    /// Takes effect at once and as a whole, or not at all. It touches no process and no operation: settings are read
    /// when they are needed, a round under way keeps its members, new children are added as stopped.
    ///
    /// Children are matched by name under the same supervisor. A child that is missing in the new configuration is kept
    /// with its old settings, and keeps its name: to move a child to another supervisor, remove it first.
    pub(super) fn reload(&mut self, spec: &SupervisorSpec) -> Result<(), SpecError> {
        check::tree(spec)?;
        let plan = self.plan_reload(spec)?;
        for (s, names) in &plan.supervisors {
            self.keep_missing(*s, names);
        }
        self.tree.root = spec.clone();
        let first_new = self.tree.next;
        for (s, _) in plan.supervisors {
            self.tree.arrange(s);
        }
        self.tell_added(first_new);
        self.note(Note::Reloaded);
        Ok(())
    }

    fn plan_reload(&self, spec: &SupervisorSpec) -> Result<Plan, SpecError> {
        let mut plan = Plan::default();
        self.plan_supervisor(ROOT, spec, &mut plan)?;
        // A name is also taken if a supervisor that this reload does not reach will want it back.
        let reached: BTreeSet<_> = plan.supervisors.iter().map(|(s, _)| *s).collect();
        let taken = |name: &&String| {
            let wanted = self.tree.names.reserved_by(name).is_some_and(|by| !reached.contains(&by));
            wanted || self.tree.find(name).is_some()
        };
        match plan.new_names.iter().find(taken) {
            Some(name) => Err(SpecError::DuplicateName(name.clone())),
            None => Ok(plan),
        }
    }

    fn plan_supervisor(&self, s: NodeId, spec: &SupervisorSpec, plan: &mut Plan) -> Result<(), SpecError> {
        let old = self.tree.supervisor_spec(s);
        if old.is_template() != spec.is_template() {
            return Err(SpecError::TemplateSwitch(self.node(s).name.clone()));
        }
        let names = spec.children.iter().map(|child| self.tree.name_under(s, &child.name)).collect();
        plan.supervisors.push((s, names));
        if spec.is_template() {
            self.plan_template(s, &old.children[0], &spec.children[0], plan)
        } else {
            spec.children.iter().try_for_each(|child| self.plan_child(s, child, plan))
        }
    }

    fn plan_child(&self, s: NodeId, child: &ChildSpec, plan: &mut Plan) -> Result<(), SpecError> {
        let known = self.tree.find(&self.tree.name_under(s, &child.name));
        let Some(id) = known.filter(|id| self.node(*id).parent == Some(s)) else {
            let mut names = Vec::new();
            collect_names(child, self.supervisor(s).instance.as_deref(), &mut names);
            return add_new(names, plan);
        };
        match (&child.kind, &self.node(id).body) {
            (Kind::Worker(_), Body::Worker) => Ok(()),
            (Kind::Supervisor(below), Body::Supervisor(_)) => self.plan_supervisor(id, below, plan),
            (Kind::Worker(_), Body::Supervisor(_)) | (Kind::Supervisor(_), Body::Worker) => {
                Err(SpecError::KindSwitch(child.name.clone()))
            }
        }
    }

    fn plan_template(
        &self,
        s: NodeId,
        old: &ChildSpec,
        new: &ChildSpec,
        plan: &mut Plan,
    ) -> Result<(), SpecError> {
        if old.name != new.name {
            add_new(vec![self.tree.name_under(s, &new.name)], plan)?;
        }
        match (&old.kind, &new.kind) {
            (Kind::Worker(_), Kind::Worker(_)) => Ok(()),
            (Kind::Supervisor(_), Kind::Supervisor(below)) => {
                self.children(s).into_iter().try_for_each(|c| self.plan_supervisor(c, below, plan))
            }
            (Kind::Worker(_), Kind::Supervisor(_)) | (Kind::Supervisor(_), Kind::Worker(_)) => {
                Err(SpecError::KindSwitch(new.name.clone()))
            }
        }
    }

    /// A child that is no longer configured takes its specification along. Under a supervisor that is down there is
    /// nothing to keep.
    fn keep_missing(&mut self, s: NodeId, configured: &BTreeSet<String>) {
        let down = matches!(self.supervisor(s).op, Op::Off);
        for c in self.children(s) {
            let node = self.node(c);
            let missing = matches!(node.origin, Origin::Static(_)) && !configured.contains(&node.name);
            if missing && down {
                self.remove(c);
            } else if missing {
                let spec = Box::new(self.spec(c).clone());
                self.tree.node_mut(c).origin = Origin::Own(spec);
            }
        }
    }
}

fn add_new(names: Vec<String>, plan: &mut Plan) -> Result<(), SpecError> {
    for name in names {
        if let Some(twice) = plan.new_names.replace(name) {
            return Err(SpecError::DuplicateName(twice));
        }
    }
    Ok(())
}

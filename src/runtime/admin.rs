//! Adding, scaling and counting children.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::answer::find_view;
use super::extras::{self, Instance, Offer};
use super::requests::{Way, error};
use super::room;
use super::series::{OnRefusal, Plan, SeriesId, SeriesStep};
use super::supervisor::{RuntimeError, Supervisor};
use crate::config::{self, Addition, Context, Diagnostic, MOST_INSTANCES, Output, ProcessSpec};
use crate::control::{self, Add, ApiError, CountsJson, DiagnosticJson, ErrorCode, Response, ScaleJson};
use crate::rules::{Call, ChildSpec, Kind, NodeId, SupervisorSpec, View};

/// What is to be called about a child of this name.
struct Prepared {
    name: String,
    call: Call,
    offer: Offer,
}

impl Supervisor {
    /// OTP `start_child`.
    pub(super) fn add(&mut self, add: Add, way: Way) -> Result<(), RuntimeError> {
        let prepared = match add {
            Add::Child { parent, file, text } => self.prepare_child(parent, &file, &text),
            Add::Instance { parent, name, args } => self.prepare_instance(parent.as_deref(), name, args),
        };
        match prepared {
            Ok(Prepared { name, call, offer }) => self.call(&name, call, offer, way),
            Err(error) => {
                let _ = way.send(Err(error));
                Ok(())
            }
        }
    }

    fn prepare_child(&self, parent: Option<String>, file: &str, text: &str) -> Result<Prepared, ApiError> {
        let project = &self.world.project;
        let Addition { parent: written, child, processes } =
            config::parse_addition(Path::new(file), text, project, &Context::of_process())
                .map_err(|diagnostics| bad_config(&diagnostics))?;
        if let (Some(asked), Some(written)) = (&parent, &written)
            && asked != written
        {
            let message = format!(
                "{file} puts {} under {written}, not under {asked}; take one of the two out",
                child.name
            );
            return Err(error(ErrorCode::BadRequest, &child.name, message));
        }
        let supervisor = self.supervisor(parent.or(written).as_deref())?;
        if let Some((path, owner)) = self.taken_path(&processes) {
            let message = format!("{path:?} is {owner}'s; give {} a path of its own", child.name);
            return Err(error(ErrorCode::BadRequest, &child.name, message));
        }
        self.check_room(processes.values())?;
        let name = child.name.clone();
        Ok(Prepared { name, call: Call::StartChild(supervisor, child), offer: Offer::Child(processes) })
    }

    /// A log file or socket that these processes want and another one has.
    fn taken_path(&self, processes: &BTreeMap<String, ProcessSpec>) -> Option<(PathBuf, String)> {
        let wanted: BTreeSet<PathBuf> = processes.values().flat_map(paths).collect();
        let others = self.world.processes().filter(|(name, _)| !processes.contains_key(*name));
        others
            .flat_map(|(name, spec)| paths(spec).map(move |path| (path, name)))
            .find(|(path, _)| wanted.contains(path))
            .map(|(path, name)| (path, name.clone()))
    }

    fn prepare_instance(
        &self,
        parent: Option<&str>,
        name: Option<String>,
        args: Vec<String>,
    ) -> Result<Prepared, ApiError> {
        let supervisor = self.supervisor(parent)?;
        let Some(template) = extras::template_of(supervisor, &self.world.tree, &self.world.project) else {
            let parent = parent.unwrap_or(&self.world.project.name);
            let message = format!(
                "{parent} is no simple_one_for_one supervisor and has no template; name the file of a new child: \
                 provost add CHILD.toml --parent {parent}"
            );
            return Err(error(ErrorCode::BadRequest, parent, message));
        };
        if args.iter().any(|arg| arg.contains('\0')) {
            return Err(ApiError::new(ErrorCode::BadRequest, "an argument contains a NUL byte"));
        }
        if let (Kind::Supervisor(_), false) = (&template.kind, args.is_empty()) {
            let message =
                format!("{} is a supervisor, which has no command for arguments; give none", template.name);
            return Err(error(ErrorCode::BadRequest, &template.name, message));
        }
        let (extras, processes) = (&self.world.extras, &self.world.project.processes);
        let names = extras::names_of(template).into_iter();
        self.check_room(names.filter_map(|name| extras.spec(name).or_else(|| processes.get(name))))?;
        let (name, number) = match name {
            Some(name) if config::is_child_name(&name) => (name, None),
            Some(name) => {
                let message = format!(
                    "{name:?} cannot be the name of a child; write letters a-z, digits, \".\", \"_\" and \"-\""
                );
                return Err(error(ErrorCode::BadRequest, &name, message));
            }
            None => {
                let number = self.world.extras.next_number(&template.name);
                (format!("{}@{number}", template.name), Some(number))
            }
        };
        let offer = Offer::Instance(Instance { args, number });
        Ok(Prepared { call: Call::StartInstance(supervisor, name.clone()), name, offer })
    }

    /// Refuses more children than there can be descriptors for.
    fn check_room<'a>(&'a self, more: impl Iterator<Item = &'a ProcessSpec>) -> Result<(), ApiError> {
        let all = self.world.processes().map(|(_, spec)| spec).chain(more);
        room::lack(all).map_or(Ok(()), |sentence| Err(ApiError::new(ErrorCode::BadRequest, sentence)))
    }

    /// Makes so many instances of a child that the config file gives several of.
    pub(super) fn scale(&mut self, base_name: &str, count: u32, way: Way) -> Result<(), RuntimeError> {
        let id = SeriesId(self.number());
        match self.plan_scale(id, base_name, count) {
            Ok(plan) => {
                let name = base_name.to_owned();
                self.begin_series(plan, way, |done| {
                    Response::Scale(ScaleJson { version: control::VERSION, name, done })
                })
            }
            Err(error) => {
                let _ = way.send(Err(error));
                Ok(())
            }
        }
    }

    fn plan_scale(&self, id: SeriesId, base_name: &str, count: u32) -> Result<Plan, ApiError> {
        self.check_scalable(base_name)?;
        if count > MOST_INSTANCES {
            let message = format!("{base_name} cannot have more than {MOST_INSTANCES} instances");
            return Err(error(ErrorCode::BadRequest, base_name, message));
        }
        let project = &self.world.project;
        let first = format!("{base_name}@1");
        let supervisor = self.supervisor(supervisor_of(&first, None, &project.tree).flatten())?;
        let members = self.instances(supervisor, base_name);
        let excess = members.len().saturating_sub(count as usize);
        let missing = (count as usize).saturating_sub(members.len()) as u32;
        let last = members.last_key_value().map_or(0, |(number, _)| *number);
        let mut steps = Vec::new();
        for node in members.values().rev().take(excess) {
            steps.extend([Call::TerminateChild(*node), Call::DeleteChild(*node)].map(SeriesStep::plain));
        }
        if missing > 0 {
            let scaled = config::scaled(project, base_name, last + missing, &Context::of_process());
            let mut scaled = scaled.map_err(|diagnostics| bad_config(&diagnostics))?;
            let names = last + 1..=last + missing;
            let new = names.filter_map(|number| scaled.processes.get(&format!("{base_name}@{number}")));
            self.check_room(new)?;
            for number in last + 1..=last + missing {
                let name = format!("{base_name}@{number}");
                let spec = child_of(&name, &scaled.tree).cloned();
                let run = scaled.processes.remove_entry(&name);
                if let (Some(spec), Some(run)) = (spec, run) {
                    let offer = Offer::Child(BTreeMap::from([run]));
                    steps.push(SeriesStep { call: Call::StartChild(supervisor, spec), offer });
                }
            }
        }
        Ok(Plan::new(id, OnRefusal::End, steps))
    }

    fn check_scalable(&self, base_name: &str) -> Result<(), ApiError> {
        let groups = || self.world.project.processes.values().filter(|spec| spec.instance.is_some());
        if groups().any(|spec| spec.base_name == base_name) {
            return Ok(());
        }
        let message = if let Some(group) =
            base_name.split('@').next().filter(|base| groups().any(|it| it.base_name == *base))
        {
            format!("{base_name} is one instance; to scale all of them name {group}")
        } else {
            self.find(base_name)?;
            format!("{base_name} is not one of several; write instances = 1 into its [[child]] and reload")
        };
        Err(error(ErrorCode::BadRequest, base_name, message))
    }

    /// The instances there are, by number.
    fn instances(&self, supervisor: NodeId, base_name: &str) -> BTreeMap<u32, NodeId> {
        let view = self.world.tree.view(self.world.now());
        let children = find_view(&view, supervisor).and_then(|view| view.supervisor.as_ref());
        let children = children.map(|supervisor| supervisor.children.as_slice()).unwrap_or_default();
        let number = |child: &View| {
            let spec = self.world.process(child.id).filter(|spec| spec.base_name == base_name)?;
            Some((spec.instance?, child.id))
        };
        children.iter().filter_map(number).collect()
    }

    /// OTP `count_children`.
    pub(super) fn counts(&self, supervisor: Option<&str>) -> Result<CountsJson, ApiError> {
        let node = self.supervisor(supervisor)?;
        let counts = self.world.tree.counts(node).unwrap_or_default();
        Ok(CountsJson {
            version: control::VERSION,
            specs: counts.specs,
            active: counts.active,
            supervisors: counts.supervisors,
            workers: counts.workers,
        })
    }

    /// A supervisor by name, or by the name of its template; `None` and the project's name are the root.
    pub(super) fn supervisor(&self, name: Option<&str>) -> Result<NodeId, ApiError> {
        let tree = &self.world.tree;
        let name = match name {
            Some(name) if name != self.world.project.name || tree.find(name).is_some() => name,
            Some(_) | None => "",
        };
        let view = tree.view(self.world.now());
        let node = self.find(name)?;
        if find_view(&view, node).is_some_and(|view| view.supervisor.is_some()) {
            return Ok(node);
        }
        let is_template = |node| {
            extras::template_of(node, tree, &self.world.project).is_some_and(|template| template.name == name)
        };
        supervisors(&view).into_iter().find(|node| is_template(*node)).ok_or_else(|| {
            error(
                ErrorCode::BadRequest,
                name,
                format!("{name} is a process, and only a supervisor has children"),
            )
        })
    }
}

/// Complaints about a file as one refusal.
pub(super) fn bad_config(diagnostics: &[Diagnostic]) -> ApiError {
    let message = match diagnostics {
        [only] => only.to_string(),
        [first, ..] => format!("{first} (and {} more)", diagnostics.len() - 1),
        [] => "the file is not acceptable".to_owned(),
    };
    let diagnostics = diagnostics.iter().map(diagnostic_json).collect();
    ApiError { diagnostics, ..ApiError::new(ErrorCode::BadConfig, message) }
}

pub(super) fn diagnostic_json(diagnostic: &Diagnostic) -> DiagnosticJson {
    DiagnosticJson {
        file: diagnostic.file.display().to_string(),
        line: diagnostic.place.map(|(line, _)| line),
        column: diagnostic.place.map(|(_, column)| column),
        message: diagnostic.message.clone(),
        hint: diagnostic.hint.clone(),
    }
}

/// The files and sockets that must be a process's alone.
fn paths(spec: &ProcessSpec) -> impl Iterator<Item = PathBuf> {
    let logs = match &spec.output {
        Output::File(log) => log.paths(),
        Output::Null | Output::Inherit => Vec::new(),
    };
    spec.listen.iter().map(|listen| listen.unix.clone()).chain(logs)
}

/// The supervisor that configures this child: `Some(None)` is the root.
fn supervisor_of<'s>(
    child: &str,
    name: Option<&'s str>,
    spec: &'s SupervisorSpec,
) -> Option<Option<&'s str>> {
    if spec.children.iter().any(|it| it.name == child) {
        return Some(name);
    }
    spec.children.iter().find_map(|it| match &it.kind {
        Kind::Supervisor(below) => supervisor_of(child, Some(&it.name), below),
        Kind::Worker(_) => None,
    })
}

fn child_of<'s>(name: &str, spec: &'s SupervisorSpec) -> Option<&'s ChildSpec> {
    spec.children.iter().find_map(|child| match &child.kind {
        _ if child.name == name => Some(child),
        Kind::Supervisor(below) => child_of(name, below),
        Kind::Worker(_) => None,
    })
}

fn supervisors(view: &View) -> Vec<NodeId> {
    let Some(supervisor) = &view.supervisor else { return Vec::new() };
    std::iter::once(view.id).chain(supervisor.children.iter().flat_map(supervisors)).collect()
}

//! `plan` and `reload`: the config file is read again, compared with what runs, and taken over as a whole or not at all.
//!
//! What would change is not predicted: the reload is made on a copy of the world, and the copy compared with the original.

use std::collections::BTreeMap;

use super::admin::{bad_config, diagnostic_json};
use super::extras::{self, Offer};
use super::history::History;
use super::requests::Way;
use super::room;
use super::series::{OnRefusal, Plan, SeriesId, SeriesStep};
use super::supervisor::{RuntimeError, Supervisor};
use super::world::{Record, World};
use crate::capture::LOG_DIR_MODE;
use crate::config::{self, Context, Diagnostic, Loaded, Project, Settings, When};
use crate::control::{
    self, ApiError, Apply, ChangeJson, ChangeKind, ErrorCode, KeyJson, PlanJson, ReloadJson, Response,
};
use crate::os::folder::Folder;
use crate::rules::{Action, Call, ChildSpec, NodeId, Phase, Refusal, SpecError, Ticket, View};

/// What the file is read for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Plan,
    Reload(Apply),
}

/// The config file as it was read by a thread of its own: a disk that does not answer must not stop the supervision.
pub(super) struct FileRead {
    loaded: Result<Loaded, Vec<Diagnostic>>,
    purpose: Purpose,
    way: Way,
}

/// What differs between two worlds, and the calls that make it so in the processes too.
#[derive(Default)]
struct Comparison {
    changes: Vec<ChangeJson>,
    unchanged: usize,
    /// Children that were never started and whose supervisor runs, without those below new supervisors.
    new: Vec<NodeId>,
    missing: Vec<NodeId>,
    /// Running, and differing in what takes effect at the next start.
    outdated: Vec<NodeId>,
}

impl Supervisor {
    /// Reads the config file; what follows is for [`Supervisor::file_read`].
    pub(super) fn read_file(&mut self, purpose: Purpose, way: Way) {
        let (file, reads) = (self.world.project.file.clone(), self.reads.clone());
        let reading = std::thread::Builder::new().name("config".into()).spawn(move || {
            let loaded = config::load(&file, &Context::of_process());
            // The loop is gone only when the process ends.
            let _ = reads.blocking_send(FileRead { loaded, purpose, way });
        });
        // The way back went with the thread: whoever asked is told to ask again.
        if let Err(error) = reading {
            tracing::warn!(%error, "cannot start a thread that reads the config file");
        }
    }

    /// The config file has been read.
    pub(super) fn file_read(&mut self, read: FileRead) -> Result<(), RuntimeError> {
        let FileRead { loaded, purpose, way } = read;
        let id = SeriesId(self.number());
        let answer = match loaded {
            Ok(loaded) => self.compare(&loaded),
            Err(diagnostics) => Err(bad_config(&diagnostics)),
        };
        let (plan, comparison, project) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let _ = way.send(Err(error));
                return Ok(());
            }
        };
        match purpose {
            Purpose::Plan => {
                let _ = way.send(Ok(Response::Plan(plan)));
                Ok(())
            }
            Purpose::Reload(apply) => {
                let steps = comparison.steps(apply);
                self.reload(project, plan, Plan::new(id, OnRefusal::GoOn, steps), way)
            }
        }
    }

    fn reload(&mut self, project: Project, plan: PlanJson, then: Plan, way: Way) -> Result<(), RuntimeError> {
        // Not made at `check`: a log directory that cannot be used costs this reload, nothing else.
        if let Err(error) = Folder::make(&project.log_dir, LOG_DIR_MODE) {
            let message = format!("cannot use the log dir {}: {error}", project.log_dir.display());
            let _ = way.send(Err(ApiError::new(ErrorCode::BadConfig, message)));
            return Ok(());
        }
        let moves = self.world.project.log_dir != project.log_dir;
        let (ticket, id) = (Ticket(self.number()), then.id);
        let call = Call::Reload(project.tree.clone());
        let offer = Offer::Project(Box::new(project), Some(then));
        let now = self.tell_time()?;
        self.take(Record::Call(now, ticket, Box::new(call), offer))?;
        self.admit_group();
        if moves {
            self.history = History::new(&self.world.project.log_dir);
        }
        self.await_series(id, way, |done| Response::Reload(ReloadJson { plan, done }));
        Ok(())
    }

    /// What taking over this reading of the file would change.
    fn compare(&self, loaded: &Loaded) -> Result<(PlanJson, Comparison, Project), ApiError> {
        let Loaded { project, warnings } = loaded;
        check_fixed(&self.world.project, project)?;
        let mut after = self.world.clone();
        let record = Record::Call(
            self.world.now(),
            Ticket(u64::MAX),
            Box::new(Call::Reload(project.tree.clone())),
            Offer::Project(Box::new(project.clone()), None),
        );
        for action in after.learn(record) {
            if let Action::Reply(_, Err(refusal)) = action {
                return Err(self.reload_refused(project, &refusal));
            }
        }
        if let Some(sentence) = room::lack_of_more(&self.world, &after) {
            return Err(ApiError::new(ErrorCode::BadConfig, sentence));
        }
        let comparison = Comparison::of(&self.world, &after);
        let plan = PlanJson {
            version: control::VERSION,
            project: project.name.clone(),
            file: project.file.display().to_string(),
            changes: comparison.changes.clone(),
            unchanged: comparison.unchanged,
            warnings: warnings.iter().map(diagnostic_json).collect(),
        };
        Ok((plan, comparison, project.clone()))
    }

    fn reload_refused(&self, project: &Project, refusal: &Refusal) -> ApiError {
        let (message, hint) = match refusal {
            Refusal::BadSpec(SpecError::DuplicateName(name)) => (
                format!(
                    "\"{name}\" is under another supervisor in the running project, and a reload moves no child"
                ),
                format!("stop and remove it first: provost stop {name}; provost remove {name}"),
            ),
            Refusal::BadSpec(error) => config::explain(error),
            refusal => return self.refused(&project.name, refusal),
        };
        bad_config(&[Diagnostic { file: project.file.clone(), place: None, message, hint }])
    }
}

/// What is laid down for the life of a launcher.
fn check_fixed(old: &Project, new: &Project) -> Result<(), ApiError> {
    let fixed = |key: &str, old: String, new: String| {
        let complaint = Diagnostic {
            file: std::path::PathBuf::new(),
            place: None,
            message: format!(
                "`{key}` cannot change while the project runs: it is {old:?}, and the file says {new:?}"
            ),
            hint: format!("write {key} = {old:?}, or stop the project and start it anew"),
        };
        (old != new).then_some(complaint)
    };
    let path = |path: &std::path::Path| path.display().to_string();
    let complaints: Vec<Diagnostic> = [
        fixed("name", old.name.clone(), new.name.clone()),
        fixed("run_dir", path(&old.run_dir), path(&new.run_dir)),
    ]
    .into_iter()
    .flatten()
    .map(|complaint| Diagnostic { file: new.file.clone(), ..complaint })
    .collect();
    if complaints.is_empty() { Ok(()) } else { Err(bad_config(&complaints)) }
}

impl Comparison {
    fn of(before: &World, after: &World) -> Comparison {
        let (old, new) = (before.tree.view(before.now()), after.tree.view(after.now()));
        let mut comparison = Comparison::default();
        let mut known = BTreeMap::new();
        collect(&old, None, &mut known);
        comparison.add(&new, None, before, after, &known);
        let mut left = BTreeMap::new();
        collect(&new, None, &mut left);
        for (node, (view, parent)) in &known {
            if !left.contains_key(node) {
                comparison.tell(ChangeKind::Removed, view, *parent, Vec::new(), before);
            }
        }
        comparison
    }

    /// Compares a node and what is below it.
    fn add(&mut self, view: &View, parent: Option<&View>, before: &World, after: &World, known: &Known) {
        match known.get(&view.id) {
            None => {
                let starts =
                    parent.is_some_and(|parent| parent.phase.is_active() && known.contains_key(&parent.id));
                self.new.extend(starts.then_some(view.id));
                self.tell(ChangeKind::New, view, parent, Vec::new(), after);
            }
            Some(_) if after.extras.is_kept(view.id) => {
                self.missing.push(view.id);
                self.tell(ChangeKind::Missing, view, parent, Vec::new(), after);
                // What is below it is kept along with it.
                return;
            }
            Some((old, _)) => self.add_known(old, view, parent, before, after),
        }
        for child in view.supervisor.iter().flat_map(|supervisor| &supervisor.children) {
            self.add(child, Some(view), before, after, known);
        }
    }

    fn add_known(&mut self, old: &View, new: &View, parent: Option<&View>, before: &World, after: &World) {
        let differences = config::differences(settings(old, before), settings(new, after));
        let running = new.phase.is_active() && new.supervisor.is_none();
        let was_outdated = running && before.outdated.contains(&new.id);
        if was_outdated || running && differences.iter().any(|it| it.when == When::NextStart) {
            self.outdated.push(new.id);
        }
        let unstarted = old.phase == Phase::Stopped && !before.rests.contains_key(&new.id);
        self.new
            .extend((unstarted && parent.is_some_and(|parent| parent.phase.is_active())).then_some(new.id));
        let mut keys: Vec<KeyJson> = differences.into_iter().map(key_json).collect();
        keys.extend(order(old, new));
        if !keys.is_empty() {
            self.tell(ChangeKind::Changed, new, parent, keys, after);
        } else if unstarted {
            self.tell(ChangeKind::Unstarted, new, parent, keys, after);
        } else if was_outdated {
            self.tell(ChangeKind::Outdated, new, parent, keys, after);
        } else {
            self.unchanged += 1;
        }
        self.add_template(new, before, after);
    }

    /// The template itself is no node of the tree.
    fn add_template(&mut self, view: &View, before: &World, after: &World) {
        let template = |world: &World| -> Option<ChildSpec> {
            extras::template_of(view.id, &world.tree, &world.project).cloned()
        };
        let (Some(old), Some(new)) = (template(before), template(after)) else { return };
        let settings = |child, world| Settings {
            child: Some(child),
            process: process_of(child, world),
            ..Settings::default()
        };
        let differences = config::differences(settings(&old, before), settings(&new, after));
        if !differences.is_empty() {
            self.changes.push(ChangeJson {
                name: new.name.clone(),
                change: ChangeKind::Changed,
                parent: Some(name_of(view, after)),
                keys: differences.into_iter().map(key_json).collect(),
            });
        }
    }

    fn tell(
        &mut self,
        change: ChangeKind,
        view: &View,
        parent: Option<&View>,
        keys: Vec<KeyJson>,
        world: &World,
    ) {
        let parent = parent.map(|parent| name_of(parent, world));
        self.changes.push(ChangeJson { name: name_of(view, world), change, parent, keys });
    }

    /// The calls that follow the reload: room is made before it is taken.
    fn steps(&self, apply: Apply) -> Vec<SeriesStep> {
        let mut calls = Vec::new();
        if apply >= Apply::Children {
            for node in self.missing.iter().rev() {
                calls.extend([Call::TerminateChild(*node), Call::DeleteChild(*node)]);
            }
            calls.extend(self.new.iter().map(|node| Call::RestartChild(*node)));
        }
        if apply >= Apply::Restart {
            calls.extend(self.outdated.iter().map(|node| Call::CycleChild(*node)));
        }
        calls.into_iter().map(SeriesStep::plain).collect()
    }
}

type Known<'v> = BTreeMap<NodeId, (&'v View, Option<&'v View>)>;

fn collect<'v>(view: &'v View, parent: Option<&'v View>, known: &mut Known<'v>) {
    known.insert(view.id, (view, parent));
    for child in view.supervisor.iter().flat_map(|supervisor| &supervisor.children) {
        collect(child, Some(view), known);
    }
}

fn settings<'w>(view: &'w View, world: &'w World) -> Settings<'w> {
    Settings {
        child: world.tree.spec(view.id),
        flags: view.supervisor.as_ref().map(|supervisor| &supervisor.flags),
        process: world.process(view.id),
        control: world.project.control.as_ref().filter(|_| view.name.is_empty()),
    }
}

fn process_of<'w>(child: &ChildSpec, world: &'w World) -> Option<&'w config::ProcessSpec> {
    world.extras.spec(&child.name).or_else(|| world.project.processes.get(&child.name))
}

fn key_json(difference: config::Difference) -> KeyJson {
    let config::Difference { key, old, new, when } = difference;
    let when = match when {
        When::Now => "now",
        When::NextExit => "next_exit",
        When::NextStop => "next_stop",
        When::NextStart => "next_start",
    };
    KeyJson { key, old, new, when: when.to_owned() }
}

/// Another order of the children that are there before and after.
fn order(old: &View, new: &View) -> Option<KeyJson> {
    let children = |view: &View| -> Vec<(NodeId, String)> {
        let children = view.supervisor.iter().flat_map(|supervisor| &supervisor.children);
        children.map(|child| (child.id, child.name.clone())).collect()
    };
    let (before, after) = (children(old), children(new));
    let common = |these: &[(NodeId, String)], those: &[(NodeId, String)]| -> Vec<String> {
        let both = these.iter().filter(|child| those.contains(child));
        both.map(|(_, name)| name.clone()).collect()
    };
    let (old, new) = (common(&before, &after), common(&after, &before));
    (old != new).then(|| KeyJson {
        key: "children".into(),
        old: old.into(),
        new: new.into(),
        when: "now".into(),
    })
}

fn name_of(view: &View, world: &World) -> String {
    if view.name.is_empty() { world.project.name.clone() } else { view.name.clone() }
}

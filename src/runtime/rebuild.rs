//! A world made again when the journal cannot be read: from the config file and from what the keeper holds.
//!
//! The living are adopted, and exits that are not acknowledged are decided like any other. Everything else stays stopped,
//! because whether it was to run is not known, and is told. What the config file does not say is lost: children that were
//! added, requests under way, restarts that were counted.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::config::{self, Context, Project};
use crate::control::read_history;
use crate::keeper::{Key, RUN_DIR_VARIABLE};
use crate::os::leftovers::Environment;
use crate::os::{self, descendants};
use crate::rules::{Moment, NodeId, Run, Tree, View};

use super::births::NAME_VARIABLE;
use super::takeover::Snapshot;
use super::world::World;

/// Exits in which the newest runs are looked for.
const EXITS: usize = 10_000;

/// What was made, and what is to be said of it.
pub(super) struct Rebuilt {
    pub(super) world: World,
    /// Processes that are not what the config file says, and their names: added, or a change of the file was in force.
    pub(super) strangers: BTreeMap<Key, String>,
    /// Who stays stopped.
    pub(super) stopped: Vec<String>,
}

/// The project as its config file says it now.
///
/// # Errors
/// Everything that is wrong with it, in sentences.
pub(super) fn project() -> Result<Project, String> {
    let context = Context::of_process();
    let file = context.env.get(OsStr::new(config::CONFIG_VARIABLE)).map(OsString::as_os_str);
    let loaded = config::locate(None, file).map_err(|diagnostic| vec![diagnostic]);
    let loaded = loaded.and_then(|file| config::load(&file, &context));
    let project = loaded
        .map(|loaded| loaded.project)
        .map_err(|diagnostics| diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    match context.env.get(OsStr::new(RUN_DIR_VARIABLE)) {
        Some(run_dir) if project.run_dir.as_os_str() == run_dir => Ok(project),
        _ => Err(format!("{} names another run_dir by now", project.file.display())),
    }
}

/// The world again.
///
/// # Errors
/// The project cannot be used; one sentence.
pub(super) fn rebuild(project: Project, snapshot: &Snapshot, launch: &str) -> Result<Rebuilt, String> {
    let now = Moment(os::clock::monotonic_ns() / 1_000_000);
    let unfit = |error| format!("the tree is not acceptable: {error:?}");
    let planned = Tree::new(project.tree.clone()).map_err(unfit)?;
    let names: Vec<String> = project.processes.keys().cloned().collect();
    let (mut alive, mut strangers) = (BTreeMap::new(), BTreeMap::new());
    for child in &snapshot.children {
        let node = NodeId(child.key.node);
        match planned.name(node) {
            Some(name) if names.iter().any(|known| known == name) && !is_another(child.pid, name, &names) => {
                let newest = alive.entry(node).or_insert(Run(0));
                *newest = Run(child.key.run).max(*newest);
            }
            _ => drop(strangers.insert(child.key, name_of(child.pid))),
        }
    }
    let exits = read_history(&project.log_dir, None, EXITS).unwrap_or_default();
    let mut ended = BTreeMap::new();
    // A number that no child ever comes to was not written by us.
    for exit in exits.iter().filter(|exit| exit.launch == launch && exit.run < u32::MAX / 2) {
        let newest = ended.entry(NodeId(exit.node)).or_insert(Run(0));
        *newest = Run(exit.run).max(*newest);
    }
    let world = World::rebuilt(project, now, &alive, &ended).map_err(unfit)?;
    let mut stopped = Vec::new();
    collect_stopped(&world.tree.view(now), &alive, &mut stopped);
    Ok(Rebuilt { world, strangers, stopped })
}

/// The name that a child was started with, as long as it has not changed that; always with its PID.
fn name_of(pid: nix::unistd::Pid) -> String {
    let environment = Environment::of(pid.as_raw());
    let name = environment.get(NAME_VARIABLE).map(String::from_utf8_lossy).unwrap_or_default();
    if name.is_empty() { format!("PID {pid}") } else { format!("{name} (PID {pid})") }
}

/// Whether a process was started as another child than this one. One that has cleared its environment is believed.
fn is_another(pid: nix::unistd::Pid, name: &str, names: &[String]) -> bool {
    let started_as =
        |name: &str| descendants::started_with(pid, format!("{NAME_VARIABLE}={name}").as_bytes());
    !started_as(name) && names.iter().any(|other| started_as(other))
}

fn collect_stopped(view: &View, alive: &BTreeMap<NodeId, Run>, names: &mut Vec<String>) {
    for child in view.supervisor.iter().flat_map(|supervisor| &supervisor.children) {
        if child.supervisor.is_none() && !alive.contains_key(&child.id) {
            names.push(child.name.clone());
        }
        collect_stopped(child, alive, names);
    }
}

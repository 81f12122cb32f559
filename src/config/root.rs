//! The top of the file: the project itself.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::account;
use super::child;
use super::claims;
use super::context::Context;
use super::diagnostic::Diagnostic;
use super::document::document;
use super::expand::Scope;
use super::explain::explain;
use super::flags::Flagged;
use super::keys;
use super::lint;
use super::listen;
use super::name::{name, sanitised};
use super::project::{ControlGroup, GroupMay, Project};
use super::read::read_to_find;
use super::report::{At, Report};
use super::safety::Trusted;
use super::table::Table;
use super::tree::Family;
use super::value::Value;
use crate::rules::Tree;

/// provost's own socket in the run directory.
const CONTROL_SOCKET: &str = "control.sock";

/// What a verb needs to find a running launcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The config file, absolute.
    pub file: PathBuf,
    /// The user to whom the file belongs.
    pub owner: u32,
    /// The project's name.
    pub name: String,
    /// Where its sockets are.
    pub run_dir: PathBuf,
    /// Where its logs are.
    pub log_dir: PathBuf,
}

/// Name and directories of a project: of the launcher that this user runs from the file, else of the one that the file's
/// owner runs, if there is one. Looks at no other key, so that a running project can still be reached while
/// its file is being changed: not even at whether the tables below these keys are TOML.
///
/// # Errors
/// The file cannot be read, is not TOML, or these two keys are wrong.
pub fn place_of(file: &Path, context: &Context) -> Result<Place, Vec<Diagnostic>> {
    let file = absolute(file).map_err(|diagnostic| vec![diagnostic])?;
    let (text, owner) = read_to_find(&file, Trusted::of(context)).map_err(|diagnostic| vec![diagnostic])?;
    let whole = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = if is_toml(whole) {
        whole
    } else {
        Some(before_tables(whole)).filter(|head| is_toml(head)).unwrap_or(whole)
    };
    let report = Report::new(&file, text);
    let place = document(&report, text).map(|document| {
        // The other keys are none of our business here.
        let root = Table::unchecked(&report, At(0), &document, &keys::ROOT);
        let place_for = |context: &Context| {
            let scope = outer_scope(&file, context);
            let name = project_name(&root, &file);
            let run_dir = run_dir(&root, &scope, &name);
            let log_dir = log_dir(&root, &Scope { run_dir: Some(&run_dir), ..scope }, &name, &run_dir);
            Place { file: file.clone(), owner, name, run_dir, log_dir }
        };
        let own = place_for(context);
        if owner == context.uid || has_launcher(&own) {
            return own;
        }
        let owners = place_for(&context.of_user(owner));
        if has_launcher(&owners) { owners } else { own }
    });
    report.finish()?;
    Ok(place.unwrap_or_else(|| unreachable!("no document without an error")))
}

/// Whether there is a control socket, or a run directory that this user may not look into.
fn has_launcher(place: &Place) -> bool {
    match place.run_dir.join(CONTROL_SOCKET).symlink_metadata() {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

fn is_toml(text: &str) -> bool {
    DeTable::parse(text).is_ok()
}

/// The keys of the file itself, which stand above its first table.
fn before_tables(text: &str) -> &str {
    let lines = text.split_inclusive('\n').take_while(|line| !line.trim_start().starts_with('['));
    &text[..lines.map(str::len).sum()]
}

/// The absolute path of a config file as it was named: links stay, so that a project keeps its name when the folder
/// behind a link changes. Everything the file says is text, and so must this be.
pub(crate) fn absolute(file: &Path) -> Result<PathBuf, Diagnostic> {
    let complain = |message: String, hint: &str| Diagnostic {
        file: file.to_path_buf(),
        place: None,
        message,
        hint: hint.into(),
    };
    let absolute = std::path::absolute(file).map_err(|error| {
        complain(format!("the path cannot be made absolute: {error}"), "name the file by its full path")
    })?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let dotted = folder.components().any(|part| part == std::path::Component::ParentDir);
    let folder = match folder.canonicalize() {
        Ok(real) if dotted => real,
        _ => folder.to_path_buf(),
    };
    let path = absolute.file_name().map_or(folder.clone(), |name| folder.join(name));
    if path.to_str().is_none() {
        return Err(complain("the path is not UTF-8".into(), "rename the folder or the file"));
    }
    Ok(path)
}

/// The project, as far as it can be made out. Whether it is sound, the report knows.
pub(crate) fn project<'a>(
    report: &'a Report<'a>,
    document: &'a DeTable<'a>,
    file: &Path,
    context: &Context,
    scaled: Option<(&str, u32)>,
) -> Option<Project> {
    if document.is_empty() {
        report.error(
            None,
            "the file says nothing",
            "write a [[child]] with a name and a command, as in command = [\"sleep\", \"60\"]",
        );
        return None;
    }
    let root = Table::open(report, At(0), document, &keys::ROOT);
    let outer = Scope { scaled, ..outer_scope(file, context) };
    let name = project_name(&root, file);
    let run_dir = run_dir(&root, &outer, &name);
    let log_dir = log_dir(&root, &Scope { run_dir: Some(&run_dir), ..outer }, &name, &run_dir);
    let on_keeper_loss = root.get("on_keeper_loss").and_then(|value| value.word(keys::KEEPER_LOSSES));
    let scope = Scope { run_dir: Some(&run_dir), log_dir: Some(&log_dir), ..outer };
    let control = root.get("control").and_then(|value| control_group(value, &scope));

    let flags = match root.get("supervisor") {
        Some(value) => match value.table(&keys::SUPERVISOR, "write [supervisor] as a table of its own") {
            Some(table) => Flagged::read(&table),
            None => Flagged::unknown(root.at),
        },
        None => Flagged::default_at(root.at),
    };
    let children = child::all(&root, &scope);
    let family = Family::link(report, flags, &children);
    family.check(report);
    claims::check(report, family.children_with_names());
    if report.errors_so_far() > 0 {
        return None;
    }
    lint::check(report, &family);
    let tree = family.tree();
    if let Err(error) = Tree::new(tree.clone()) {
        // Whatever the rules refuse beyond what was checked with its place above.
        let (message, hint) = explain(&error);
        report.error(None, message, hint);
        return None;
    }
    Some(Project {
        name,
        file: file.to_path_buf(),
        run_dir,
        log_dir,
        control,
        on_keeper_loss: on_keeper_loss.unwrap_or_default(),
        tree,
        processes: child::into_processes(children),
        text: report.text().to_owned(),
    })
}

/// `control`: a group and what its members may do.
fn control_group(value: Value, scope: &Scope) -> Option<ControlGroup> {
    const HINT: &str = "write { group = \"ops\", allow = \"read\" } (or \"operate\")";
    let table = value.table(&keys::CONTROL, HINT)?;
    let Some(group) = table.get("group") else {
        value.wrong("does not name a group", HINT);
        return None;
    };
    let gid = account::group(group, scope);
    let allow = table.get("allow").map_or(Some(GroupMay::default()), |word| word.word(keys::GROUP_MAY));
    Some(ControlGroup { gid: gid?.as_raw(), allow: allow? })
}

pub(crate) fn outer_scope<'a>(file: &'a Path, context: &'a Context) -> Scope<'a> {
    let config_dir = file.parent().unwrap_or(Path::new("/"));
    Scope { context, config_dir, run_dir: None, log_dir: None, name: None, instance: None, scaled: None }
}

/// `name`, else the name of the config file's folder.
fn project_name(root: &Table, file: &Path) -> String {
    let folder =
        || file.parent().and_then(Path::file_name).and_then(|name| sanitised(&name.to_string_lossy()));
    root.get("name").and_then(name).or_else(folder).unwrap_or_else(|| "project".into())
}

/// `run_dir`, else the place that is private to the user and gone after a boot.
fn run_dir(root: &Table, scope: &Scope, name: &str) -> PathBuf {
    let context = scope.context;
    let given = root.get("run_dir").and_then(|value| value.path(scope, scope.config_dir));
    let run_dir = given.unwrap_or_else(|| {
        if context.uid == 0 {
            Path::new("/run/provost").join(name)
        } else if let Some(runtime) = context.folder("XDG_RUNTIME_DIR") {
            runtime.join("provost").join(name)
        } else {
            PathBuf::from(format!("/tmp/provost-{}", context.uid)).join(name)
        }
    });
    if let Some(excess) = listen::excess(&run_dir.join(CONTROL_SOCKET)) {
        root.report.error(
            root.get("run_dir").map(|value| value.at),
            format!(
                "the run directory {run_dir:?} is too long by {excess} bytes for the control socket in it"
            ),
            "write a shorter run_dir",
        );
    }
    run_dir
}

/// `log_dir`, else where the system or the user keeps state.
fn log_dir(root: &Table, scope: &Scope, name: &str, run_dir: &Path) -> PathBuf {
    let context = scope.context;
    let given = root.get("log_dir").and_then(|value| value.path(scope, scope.config_dir));
    given.unwrap_or_else(|| {
        let state = || context.folder("HOME").map(|home| home.join(".local/state"));
        if context.uid == 0 {
            Path::new("/var/log/provost").join(name)
        } else if let Some(state) = context.folder("XDG_STATE_HOME").or_else(state) {
            state.join("provost").join(name)
        } else {
            run_dir.join("log")
        }
    })
}

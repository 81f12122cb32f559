//! One `[[child]]`.

use std::collections::BTreeMap;

use super::claims::Claim;
use super::expand::Scope;
use super::flags::Flagged;
use super::keys::{self, ChildType};
use super::name::{child_name, name};
use super::process::Process;
use super::project::ProcessSpec;
use super::report::At;
use super::stop::shutdown;
use super::table::Table;
use super::value::Value;
use crate::rules::{Restart, Shutdown};

/// More children than this in one project, instances counted, is a slip of the keyboard.
const MOST_CHILDREN: usize = 10_000;

/// A child as written: what can be told without looking at the others.
pub(crate) struct Child {
    /// `None` when there is none or it is illegal.
    pub(crate) name: Option<String>,
    /// The place of the name, or of the table.
    pub(crate) at: At,
    pub(crate) parent: Wish,
    /// `None` when it is wrong.
    pub(crate) restart: Option<Restart>,
    /// The place of `significant = true`.
    pub(crate) significant_at: Option<At>,
    pub(crate) shutdown: Shutdown,
    /// The place of `shutdown`, or of the table.
    pub(crate) shutdown_at: At,
    pub(crate) body: Body,
}

/// `parent`: the supervisor a child wants to be under.
pub(crate) enum Wish {
    /// It says none.
    Root,
    /// This one, and the place that says so.
    Named(String, At),
    /// What it says is no name.
    Illegible,
}

/// What kind of child.
pub(crate) enum Body {
    Process(Box<Process>),
    Supervisor(Flagged),
    /// Its `type` is wrong.
    Unknown,
}

impl Child {
    /// The paths that its processes want for themselves.
    pub(crate) fn claims(&self) -> &[Claim] {
        match &self.body {
            Body::Process(process) => &process.claims,
            Body::Supervisor(_) | Body::Unknown => &[],
        }
    }
}

/// Every `[[child]]` of the file, in its order.
pub(crate) fn all(root: &Table, scope: &Scope) -> Vec<Child> {
    let hint = "write [[child]] with two brackets, one for each child";
    let list = root.get("child").and_then(|value| value.list(hint)).unwrap_or_default();
    let mut children = Vec::new();
    let mut count = 0;
    for value in list {
        let Some(table) = value.table(&keys::CHILD, hint) else { continue };
        let child = read(&table, scope);
        count += match &child.body {
            Body::Process(process) => process.runs.len(),
            Body::Supervisor(_) | Body::Unknown => 1,
        };
        if count > MOST_CHILDREN {
            root.report.error(
                child.at,
                format!("here the project passes {MOST_CHILDREN} children"),
                "write fewer, or fewer instances",
            );
            break;
        }
        children.push(child);
        if root.report.is_full() {
            break;
        }
    }
    children
}

/// What to run, by full name.
pub(crate) fn into_processes(children: Vec<Child>) -> BTreeMap<String, ProcessSpec> {
    let processes = children.into_iter().filter_map(|child| match child.body {
        Body::Process(process) => Some(process.runs),
        Body::Supervisor(_) | Body::Unknown => None,
    });
    processes.flatten().collect()
}

fn read(table: &Table, scope: &Scope) -> Child {
    let name_value = table.get("name");
    if name_value.is_none() {
        table.report.error(table.at, "this child has no name", "write name = \"...\"");
    }
    let name = name_value.and_then(child_name);
    let child_type = match table.get("type") {
        Some(value) => value.word(keys::CHILD_TYPES),
        None => Some(ChildType::Worker),
    };
    if let Some(child_type) = child_type {
        table.check_owner(child_type);
    }
    let body = match child_type {
        // A child whose name is wrong is read on under a name that stands for it.
        Some(process @ (ChildType::Worker | ChildType::Oneshot)) => {
            let name = name.as_deref().unwrap_or("this child");
            Body::Process(Box::new(Process::read(table, name, process, scope)))
        }
        Some(ChildType::Supervisor) => Body::Supervisor(Flagged::read(table)),
        None => Body::Unknown,
    };
    Child {
        at: name_value.map_or(table.at, |value| value.at),
        parent: table.get("parent").map_or(Wish::Root, wish),
        restart: match table.get("restart") {
            Some(value) => value.word(keys::RESTARTS),
            None => Some(Restart::default()),
        },
        significant_at: table.get("significant").filter(|value| value.boolean() == Some(true)).map(|v| v.at),
        shutdown: shutdown(table, child_type.unwrap_or(ChildType::Worker)),
        shutdown_at: table.place_of("shutdown"),
        name,
        body,
    }
}

fn wish(value: Value) -> Wish {
    name(value).map_or(Wish::Illegible, |name| Wish::Named(name, value.at))
}

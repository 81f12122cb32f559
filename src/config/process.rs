//! The keys of a child that is a process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::account::account;
use super::backoff::backoff;
use super::claims::Claim;
use super::command::command;
use super::expand::Scope;
use super::keys::{self, ChildType};
use super::limits::limits;
use super::listen::listen;
use super::output::output;
use super::project::{Account, Inherit, KillMode, Limits, ProcessSpec, Ready};
use super::ready::ready;
use super::report::At;
use super::signal::signal;
use super::table::Table;
use super::value::Value;
use crate::rules::{Backoff, WorkerSpec};

/// As many instances may a child have.
pub const MOST_INSTANCES: u32 = 1_000;

/// File mode creation mask without a word in the file.
const UMASK: u32 = 0o022;

/// Variables that provost sets itself; a file that sets them would be overruled in silence.
const OURS: [&str; 11] = [
    "PROVOST_NAME",
    "PROVOST_INSTANCE",
    "PROVOST_RUN",
    "PROVOST_RUN_DIR",
    "PROVOST_KEY",
    "PROVOST_LAUNCH",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// A child that is a process, or several instances of one.
pub(crate) struct Process {
    /// What the rules need to know, the same for all instances.
    pub(crate) worker: WorkerSpec,
    /// The pause between restarts, and its place.
    pub(crate) backoff: Option<(Backoff, At)>,
    /// The place of `instances`, if it is there.
    pub(crate) instances_at: Option<At>,
    /// The place of `listen`, if it is there.
    pub(crate) listens_at: Option<At>,
    /// What to run, by full name, in order.
    pub(crate) runs: Vec<(String, ProcessSpec)>,
    /// Files and sockets that must be theirs alone.
    pub(crate) claims: Vec<Claim>,
}

/// What does not depend on the instance.
struct Shared {
    ready: Option<Ready>,
    env_inherit: Inherit,
    umask: u32,
    kill_mode: KillMode,
    account: Option<Account>,
    nice: Option<i32>,
    oom_score_adj: Option<i32>,
    limits: Limits,
    no_new_privs: bool,
}

impl Process {
    /// Reads the keys of a process. What is wrong is reported, and the first instance speaks for all.
    pub(crate) fn read(table: &Table, base_name: &str, child_type: ChildType, scope: &Scope) -> Process {
        let (start, ready) = ready(table, child_type);
        let shared = Shared {
            ready,
            env_inherit: env_inherit(table),
            umask: table.get("umask").and_then(|value| value.octal("022")).unwrap_or(UMASK),
            kill_mode: table
                .get("kill_mode")
                .and_then(|value| value.word(keys::KILL_MODES))
                .unwrap_or_default(),
            account: account(table, scope),
            nice: table.get("nice").and_then(|value| value.signed(-20..=19)),
            oom_score_adj: table.get("oom_score_adj").and_then(|value| value.signed(-1_000..=1_000)),
            limits: limits(table),
            no_new_privs: table.get("no_new_privs").and_then(Value::boolean).unwrap_or(table.has("user")),
        };
        let mut process = Process {
            worker: WorkerSpec {
                start,
                success_codes: success_codes(table),
                success_signals: set(table, "success_signals", signal),
            },
            backoff: backoff(table),
            instances_at: table.has("instances").then(|| table.place_of("instances")),
            listens_at: table.has("listen").then(|| table.place_of("listen")),
            runs: Vec::new(),
            claims: Vec::new(),
        };
        // A number that is wrong still says that there are instances.
        let count = table.get("instances").map(|value| value.integer(1..=MOST_INSTANCES).unwrap_or(1));
        let scaled = scope.scaled.filter(|(name, _)| *name == base_name).map(|(_, count)| count);
        let count = count.map(|count| scaled.unwrap_or(count));
        let errors = table.report.errors_so_far();
        for instance in instances(count) {
            process.add_run(table, base_name, instance, scope, &shared);
            if table.report.errors_so_far() > errors {
                break;
            }
        }
        process
    }

    fn add_run(
        &mut self,
        table: &Table,
        base_name: &str,
        instance: Option<u32>,
        outer: &Scope,
        shared: &Shared,
    ) {
        let name = instance.map_or(base_name.to_owned(), |instance| format!("{base_name}@{instance}"));
        let scope = Scope { name: Some(&name), instance, ..*outer };
        let path = |value: Value| value.path(&scope, scope.config_dir);
        let cwd = table.get("cwd").and_then(path).unwrap_or_else(|| scope.config_dir.to_owned());
        let command = command(table, &scope, &cwd);
        let (program, argv) = command.unwrap_or_default();
        let run = ProcessSpec {
            program,
            argv,
            base_name: base_name.to_owned(),
            instance,
            cwd,
            env: env(table, &scope),
            env_inherit: shared.env_inherit.clone(),
            umask: shared.umask,
            listen: listen(table, &scope, &mut self.claims),
            ready: shared.ready.clone(),
            output: output(table, &scope, &mut self.claims),
            condition_exists: condition(table, &scope),
            kill_mode: shared.kill_mode,
            account: shared.account.clone(),
            nice: shared.nice,
            oom_score_adj: shared.oom_score_adj,
            limits: shared.limits.clone(),
            no_new_privs: shared.no_new_privs,
        };
        self.runs.push((name, run));
    }
}

fn instances(count: Option<u32>) -> Vec<Option<u32>> {
    match count {
        Some(count) => (1..=count).map(Some).collect(),
        None => vec![None],
    }
}

fn success_codes(table: &Table) -> BTreeSet<u8> {
    set(table, "success_codes", |value| value.integer(0..=255).and_then(|code| u8::try_from(code).ok()))
}

fn set<'a, T: Ord>(
    table: &Table<'a>,
    key: &'static str,
    read: impl Fn(Value<'a>) -> Option<T>,
) -> BTreeSet<T> {
    let list = table.get(key).and_then(|value| value.list("write a list, as in [15]"));
    list.into_iter().flatten().filter_map(read).collect()
}

fn condition(table: &Table, scope: &Scope) -> Option<PathBuf> {
    const HINT: &str = "write { exists = \"/path\" }";
    let value = table.get("condition")?;
    let condition = value.table(&keys::CONDITION, HINT)?;
    let Some(exists) = condition.get("exists") else {
        value.wrong("says no condition", HINT);
        return None;
    };
    exists.path(scope, scope.config_dir)
}

fn env(table: &Table, scope: &Scope) -> BTreeMap<String, String> {
    let Some(value) = table.get("env") else {
        return BTreeMap::new();
    };
    let Some(variables) = value.entries() else {
        value.mistyped("write { NAME = \"value\" }");
        return BTreeMap::new();
    };
    variables.into_iter().filter_map(|(name, at, value)| variable(name, at, value, scope)).collect()
}

fn variable(name: &str, at: At, value: Value, scope: &Scope) -> Option<(String, String)> {
    if !is_variable_name(name) {
        value.report.error(
            at,
            format!("{name:?} cannot be the name of a variable"),
            "write one without \"=\"",
        );
        return None;
    }
    if OURS.contains(&name) {
        value.report.error(at, format!("provost sets `{name}` itself"), "take it out");
        return None;
    }
    Some((name.to_owned(), value.text(scope, "write the value in quotes")?))
}

fn env_inherit(table: &Table) -> Inherit {
    const HINT: &str = "write true for all, a list of names, or leave it out for the usual ones";
    let Some(value) = table.get("env_inherit") else {
        return Inherit::Basic;
    };
    if value.is_true() {
        return Inherit::All;
    }
    let names = value.list(HINT).into_iter().flatten();
    Inherit::These(names.filter_map(variable_name).collect())
}

fn variable_name(value: Value) -> Option<String> {
    let Some(name) = value.as_string() else {
        value.mistyped("write a name in quotes");
        return None;
    };
    if !is_variable_name(name) {
        value.wrong("cannot be the name of a variable", "write a name without \"=\"");
        return None;
    }
    Some(name.to_owned())
}

/// What `environ(7)` can hold.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

//! `ready`: when a start counts as done.

use std::time::Duration;

use super::duration::Wait;
use super::keys::{self, ChildType};
use super::project::{Ready, ReadyKind};
use super::table::Table;
use super::value::Value;
use crate::rules::Start;

/// How long a child that tells its readiness may take, unless the file says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

const HINT: &str = "write { notify = true, timeout = \"10s\" }";

/// What the rules wait for, and how it is told. A oneshot is ready when it has ended with success; unless the file sets
/// a timeout it may run as long as it takes, for nobody can guess how long a migration runs.
pub(crate) fn ready(table: &Table, child_type: ChildType) -> (Start, Option<Ready>) {
    let oneshot = child_type == ChildType::Oneshot;
    let given = table.get("ready").and_then(|value| if oneshot { read_oneshot(value) } else { read(value) });
    match given {
        Some(timeout) if oneshot => (Start::Oneshot { timeout: timeout.limit() }, None),
        None if oneshot => (Start::Oneshot { timeout: None }, None),
        Some(timeout) => {
            let timeout = timeout.limit();
            (Start::Ready { timeout }, Some(Ready { kind: ReadyKind::Notify, timeout }))
        }
        None => (Start::Exec, None),
    }
}

fn read(value: Value) -> Option<Wait> {
    let table = value.table(&keys::READY, HINT)?;
    let timeout = table.get("timeout").map_or(Some(Wait::For(TIMEOUT)), timeout);
    match table.get("notify") {
        Some(notify) => match notify.boolean()? {
            true => timeout,
            false => {
                notify.wrong("names no other way to tell readiness", "leave ready out");
                None
            }
        },
        // A kind that is not supported yet has been reported by name.
        None if keys::READY.keys.iter().any(|key| table.has(key.name) && key.name != "timeout") => None,
        None => {
            value.wrong("does not say how readiness is told", HINT);
            None
        }
    }
}

fn read_oneshot(value: Value) -> Option<Wait> {
    let table = value.table(&keys::READY, "write { timeout = \"10min\" }")?;
    if let Some(notify) = table.get("notify") {
        notify.wrong(
            "has no meaning for a oneshot, which is ready when it has ended",
            "take it out; a timeout may stay",
        );
        return None;
    }
    table.get("timeout").and_then(timeout)
}

fn timeout(value: Value) -> Option<Wait> {
    let wait = value.wait()?;
    if wait == Wait::For(Duration::ZERO) {
        value.wrong("is no time at all", "write a longer time, or \"infinity\"");
        return None;
    }
    Some(wait)
}

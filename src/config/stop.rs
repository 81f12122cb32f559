//! `shutdown`: how a child is stopped.

use std::time::Duration;

use nix::libc::{SIGKILL, SIGSTOP, SIGTERM};

use super::duration::Wait;
use super::keys::{self, ChildType};
use super::signal::signal;
use super::table::Table;
use super::value::Value;
use crate::rules::{Shutdown, Signal, StopStep};
use crate::suggest::nearest;

/// OTP's default for a worker.
const WORKER: Duration = Duration::from_secs(5);

const HINT: &str = "write { signal = \"INT\", wait = \"1s\" }";

/// How this child is stopped; what is wrong is reported and OTP's default taken.
pub(crate) fn shutdown(table: &Table, child_type: ChildType) -> Shutdown {
    let given = table.get("shutdown").and_then(|value| read(value, child_type));
    given.unwrap_or_else(|| match child_type {
        ChildType::Worker | ChildType::Oneshot => polite(Some(WORKER)),
        ChildType::Supervisor => polite(None),
    })
}

fn read(value: Value, child_type: ChildType) -> Option<Shutdown> {
    if value.as_string() == Some("brutal_kill") {
        return Some(Shutdown::BrutalKill);
    }
    let Some(list) = value.as_list() else {
        return wait(value).map(|wait| polite(wait.limit()));
    };
    if child_type == ChildType::Supervisor {
        value.wrong("sends signals, and a supervisor is no process", "write a time, or leave it out");
        return None;
    }
    let Some((last, earlier)) = list.split_last() else {
        value.wrong("has no steps", "write shutdown = \"brutal_kill\" to kill at once");
        return None;
    };
    let mut steps = Vec::new();
    for value in earlier {
        let step = step(*value);
        if step.is_some_and(|step| step.wait.is_none()) {
            value.wrong("waits for ever, and steps follow", "write a time, as in wait = \"1s\"");
        }
        steps.push(step);
    }
    steps.push(step(*last));
    steps.into_iter().collect::<Option<Vec<_>>>().map(Shutdown::Polite)
}

/// A time or `"infinity"`, with a word for those who mistyped `"brutal_kill"`.
fn wait(value: Value) -> Option<Wait> {
    match value.as_string().and_then(|text| nearest(text, ["brutal_kill", "infinity"])) {
        Some(near) if Some(near) != value.as_string() => {
            value.wrong("is not known", format!("did you mean \"{near}\"?"));
            None
        }
        _ => value.wait(),
    }
}

/// `{ signal = "INT", wait = "1s" }`
fn step(value: Value) -> Option<StopStep> {
    let table = value.table(&keys::STOP_STEP, HINT)?;
    let (Some(name), Some(wait)) = (table.get("signal"), table.get("wait")) else {
        value.wrong("is not a whole step", "write { signal = \"INT\", wait = \"1s\" }");
        return None;
    };
    let (signal, wait) = (signal(name), wait.wait());
    if let Some(Signal(SIGKILL | SIGSTOP)) = signal {
        name.wrong(
            "leaves the child no choice",
            "write a polite signal; KILL follows the last step by itself",
        );
        return None;
    }
    Some(StopStep { signal: signal?, wait: wait?.limit() })
}

fn polite(wait: Option<Duration>) -> Shutdown {
    Shutdown::Polite(vec![StopStep { signal: Signal(SIGTERM), wait }])
}

//! Reading what a case of cases.jsonl gives.

use std::collections::BTreeSet;
use std::time::Duration;

use provost::rules::{
    AutoShutdown, ChildSpec, Exit, Flags, Kind, Restart, Shutdown, Start, SupervisorSpec, WorkerSpec,
};
use serde_json::Value;

use crate::build::polite;
use crate::world::Plan;

pub(crate) fn supervisor_spec(given: &Value, supervisor_instances: bool) -> SupervisorSpec {
    let flags = &given["flags"];
    let mut children: Vec<_> = array(&given["children"]).iter().map(child_spec).collect();
    if supervisor_instances {
        children[0].kind = Kind::Supervisor(SupervisorSpec::default());
    }
    SupervisorSpec {
        flags: Flags {
            strategy: parsed(&flags["strategy"]),
            intensity: parsed(&flags["intensity"]),
            period: Duration::from_secs(parsed(&flags["period"])),
            auto_shutdown: match text(&flags["auto_shutdown"]) {
                "never" => AutoShutdown::Never,
                "any_significant" => AutoShutdown::AnySignificant,
                "all_significant" => AutoShutdown::AllSignificant,
                other => panic!("auto_shutdown {other}"),
            },
            ..Flags::default()
        },
        children,
    }
}

pub(crate) fn child_spec(given: &Value) -> ChildSpec {
    let shutdown = &given["shutdown"];
    ChildSpec {
        name: text(&given["id"]).to_owned(),
        restart: parsed::<Restart>(&given["restart"]),
        significant: parsed(&given["significant"]),
        shutdown: match shutdown.as_str() {
            Some("brutal_kill") => Shutdown::BrutalKill,
            Some("infinity") => polite(None),
            _ => polite(Some(parsed(shutdown))),
        },
        backoff: None,
        kind: match &given["sub"] {
            Value::Null => Kind::Worker(WorkerSpec {
                start: Start::Ready { timeout: Some(Duration::from_secs(30)) },
                success_codes: BTreeSet::from([77]),
                success_signals: BTreeSet::new(),
            }),
            sub => Kind::Supervisor(supervisor_spec(sub, false)),
        },
    }
}

pub(crate) fn plan_of(plan: &Value) -> Plan {
    let (word, number) = match plan {
        Value::String(word) => (word.as_str(), 0),
        plan => (text(&plan[0]), plan[1].as_u64().unwrap_or_default()),
    };
    match word {
        "ok" => Plan::Ok,
        "fail" => Plan::Fail,
        "fail_after" => Plan::FailAfter(number),
        "ignore" => Plan::Ignore,
        "slowstart" => Plan::SlowStart(number),
        "slow" => Plan::Slow(number),
        "hang" => Plan::Hang,
        "stop_as" => match exit_of(&plan[1]) {
            Exit::Code(code) => Plan::StopAs(code),
            other => panic!("stop_as {other:?}"),
        },
        other => panic!("plan {other}"),
    }
}

/// OTP's reason `{shutdown, _}` stands for a success code.
pub(crate) fn exit_of(how: &Value) -> Exit {
    match how.as_str().unwrap_or_else(|| text(&how[0])) {
        "normal" => Exit::Code(0),
        "err" => Exit::Code(1),
        "shutdown" => Exit::Code(77),
        other => panic!("exit {other}"),
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string"))
}

pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list"))
}

pub(crate) fn parsed<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

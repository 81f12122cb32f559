//! What differs between two readings of a child: key, old and new value, and when the new one takes effect.
//!
//! Every field of the specifications is compared, by way of its serialised form: a key that is added later cannot be
//! forgotten here. Names and values are then put as a config file writes them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::project::{ControlGroup, ProcessSpec};
use crate::os::signals;
use crate::rules::{ChildSpec, Flags, Kind};

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The key, as in `supervisor.toml`; `env.NAME` for a variable.
    pub key: String,
    /// The value now, null where there is none. Of variables only that they are set: values may be secret.
    pub old: Value,
    /// The value after the reload.
    pub new: Value,
    /// When it takes effect.
    pub when: When,
}

/// When a changed setting takes effect (OTP `code_change`: settings are read when they are needed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once.
    Now,
    /// When the process ends.
    NextExit,
    /// When it is stopped.
    NextStop,
    /// When it is started.
    NextStart,
}

/// The settings of one node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// `None` for the root.
    pub child: Option<&'a ChildSpec>,
    /// Only of a supervisor.
    pub flags: Option<&'a Flags>,
    /// Only of a process.
    pub process: Option<&'a ProcessSpec>,
    /// Only of the root.
    pub control: Option<&'a ControlGroup>,
}

/// Instead of the value of a variable.
const HIDDEN: &str = "(set)";

/// What differs, in the order of the keys' names.
#[must_use]
pub fn differences(old: Settings, new: Settings) -> Vec<Difference> {
    let (before, after) = (table(old), table(new));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |table: &Map<String, Value>, key: &str| table.get(key).cloned().unwrap_or(Value::Null);
    let mut found = Vec::new();
    for key in keys {
        let (old, new) = (value(&before, key), value(&after, key));
        match (&old, &new) {
            _ if old == new => {}
            (Value::Object(old), Value::Object(new)) if key == "env" => found.extend(variables(old, new)),
            _ => found.push(Difference { key: key.clone(), old, new, when: when(key) }),
        }
    }
    found
}

fn variables(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<Difference> {
    let hidden = |value: Option<&Value>| value.map_or(Value::Null, |_| HIDDEN.into());
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let difference = |name: &String| Difference {
        key: format!("env.{name}"),
        old: hidden(old.get(name)),
        new: hidden(new.get(name)),
        when: When::NextStart,
    };
    changed.map(difference).collect()
}

fn when(key: &str) -> When {
    match key {
        "strategy" | "intensity" | "period" | "auto_shutdown" | "give_up" | "control" => When::Now,
        "restart" | "significant" | "success_codes" | "success_signals" | "backoff" => When::NextExit,
        "shutdown" => When::NextStop,
        _ => When::NextStart,
    }
}

/// All settings under the names that the config file has for them.
fn table(settings: Settings) -> Map<String, Value> {
    let mut all = Map::new();
    if let Some(child) = settings.child {
        all.extend(fields(child).into_iter().filter(|(key, _)| !["name", "kind"].contains(&key.as_str())));
        if let Kind::Worker(worker) = &child.kind {
            all.extend(fields(worker));
        }
    }
    all.extend(settings.flags.map(fields).unwrap_or_default());
    all.extend(settings.control.map(|control| ("control".to_owned(), json!(control))));
    let identity = ["base_name", "instance"];
    let process = settings.process.map(fields).unwrap_or_default();
    all.extend(process.into_iter().filter(|(key, _)| !identity.contains(&key.as_str())));
    // The rules' side of readiness says what the process's side says, and knows oneshots besides.
    if let Some(start) = all.remove("start") {
        all.insert("ready".into(), start);
    }
    let known =
        [("argv", "command"), ("output", "log"), ("condition_exists", "condition"), ("account", "user")];
    for (ours, written) in known {
        if let Some(value) = all.remove(ours) {
            all.insert(written.into(), value);
        }
    }
    all.into_iter().map(|(key, value)| (key.clone(), as_written(&key, value))).collect()
}

fn fields(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        // Our specifications are structures with string keys.
        Ok(_) | Err(_) => Map::new(),
    }
}

fn as_written(key: &str, value: Value) -> Value {
    match (key, value) {
        ("env", value) => value,
        ("umask" | "mode", Value::Number(bits)) => {
            format!("{:04o}", bits.as_u64().unwrap_or_default()).into()
        }
        ("signal", Value::Number(number)) => signal(&number.into()),
        ("user", Value::Object(account)) => {
            let number = |key: &str| account.get(key).and_then(Value::as_u64).unwrap_or_default();
            format!("{}:{}", number("uid"), number("gid")).into()
        }
        ("limits", Value::Object(limits)) => limits_as_written(limits).into(),
        ("backoff", Value::Null) => "none".into(),
        ("backoff", Value::Object(fields)) => fields.into_iter().map(backoff_field).collect(),
        ("success_signals", Value::Array(numbers)) => numbers.iter().map(signal).collect(),
        ("shutdown", Value::Object(polite)) => {
            let steps = polite.get("polite").cloned().unwrap_or_default();
            shutdown(as_written("steps", steps))
        }
        (_, Value::Object(fields)) => duration(&fields).unwrap_or_else(|| {
            fields.into_iter().map(|(key, value)| (key.clone(), as_written(&key, value))).collect()
        }),
        (key, Value::Array(list)) => list.into_iter().map(|value| as_written(key, value)).collect(),
        (_, value) => value,
    }
}

/// One table of those that are set.
fn limits_as_written(mut limits: Map<String, Value>) -> Map<String, Value> {
    let each = limits.remove("each");
    let mut all = each.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    all.values_mut().filter(|most| **most == json!(u64::MAX)).for_each(|most| *most = "unlimited".into());
    all.extend(limits.into_iter().filter(|(_, most)| !most.is_null()).map(|(key, most)| {
        match (key.strip_suffix("_milli"), most.as_f64()) {
            (Some(name), Some(thousandths)) => (name.to_owned(), json!(thousandths / 1e3)),
            _ => (key, most),
        }
    }));
    all
}

/// Thousandths, so that the rules can compare them, are written as fractions.
fn backoff_field((key, value): (String, Value)) -> (String, Value) {
    match (key.strip_suffix("_milli"), value.as_f64()) {
        (Some(name), Some(thousandths)) => (name.to_owned(), json!(thousandths / 1e3)),
        _ => (key.clone(), as_written(&key, value)),
    }
}

/// The usual stop is written as its time.
fn shutdown(steps: Value) -> Value {
    match steps.as_array().map(Vec::as_slice) {
        Some([step]) if step["signal"] == "SIGTERM" && step["wait"].is_null() => "infinity".into(),
        Some([step]) if step["signal"] == "SIGTERM" => step["wait"].clone(),
        _ => steps,
    }
}

fn signal(number: &Value) -> Value {
    let number = number.as_i64().and_then(|number| i32::try_from(number).ok());
    number.map_or(Value::Null, |number| json!(signals::name(number)))
}

fn duration(fields: &Map<String, Value>) -> Option<Value> {
    let number = |name: &str| fields.get(name).and_then(Value::as_u64);
    let (secs, nanos) = (number("secs")?, number("nanos").and_then(|nanos| u32::try_from(nanos).ok())?);
    (fields.len() == 2)
        .then(|| humantime::format_duration(Duration::new(secs, nanos)).to_string().replace(' ', "").into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Context, Project, parse};

    fn project(child: &str) -> Project {
        let text = format!("[[child]]\nname = 'a'\ncommand = ['/bin/a']\n{child}");
        parse(Path::new("/srv/x/supervisor.toml"), &text, &Context::default()).expect(&text).project
    }

    fn settings(project: &Project) -> Settings<'_> {
        Settings {
            child: project.tree.children.first(),
            flags: None,
            process: project.processes.get("a"),
            control: project.control.as_ref(),
        }
    }

    fn changes(old: &str, new: &str) -> Vec<(String, Value, Value, When)> {
        let (old, new) = (project(old), project(new));
        let found = differences(settings(&old), settings(&new));
        found.into_iter().map(|it| (it.key, it.old, it.new, it.when)).collect()
    }

    fn change(new: &str) -> (String, Value, Value, When) {
        let mut found = changes("", new);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn values_stand_as_a_person_writes_them() {
        let cases = [
            ("restart = 'no'", ("restart", json!("permanent"), json!("temporary"), When::NextExit)),
            ("shutdown = '1m'", ("shutdown", json!("5s"), json!("1m"), When::NextStop)),
            ("shutdown = 'brutal_kill'", ("shutdown", json!("5s"), json!("brutal_kill"), When::NextStop)),
            ("shutdown = 'infinity'", ("shutdown", json!("5s"), json!("infinity"), When::NextStop)),
            (
                "shutdown = [{ signal = 'INT', wait = '1s' }]",
                ("shutdown", json!("5s"), json!([{"signal": "SIGINT", "wait": "1s"}]), When::NextStop),
            ),
            ("umask = '077'", ("umask", json!("0022"), json!("0077"), When::NextStart)),
            (
                "limits = { nofile = 9, core = 'unlimited', cpu = 1.5 }",
                ("limits", json!({}), json!({"nofile": 9, "core": "unlimited", "cpu": 1.5}), When::NextStart),
            ),
            (
                "user = 7\ngroup = 8\nno_new_privs = false",
                ("user", Value::Null, json!("7:8"), When::NextStart),
            ),
            ("kill_mode = 'group'", ("kill_mode", json!("tree"), json!("group"), When::NextStart)),
            ("cwd = '/tmp'", ("cwd", json!("/srv/x"), json!("/tmp"), When::NextStart)),
            ("success_signals = ['HUP']", ("success_signals", json!([]), json!(["SIGHUP"]), When::NextExit)),
            (
                "ready = { notify = true, timeout = '2s' }",
                ("ready", json!("exec"), json!({"ready": {"timeout": "2s"}}), When::NextStart),
            ),
            (
                "backoff = { initial = '1s', max = '2s', factor = 1.5 }",
                (
                    "backoff",
                    json!("none"),
                    json!({"initial": "1s", "max": "2s", "factor": 1.5, "jitter": 0.0, "reset_after": null}),
                    When::NextExit,
                ),
            ),
        ];
        for (new, (key, before, after, when)) in cases {
            assert_eq!(change(new), (key.to_owned(), before, after, when), "{new}");
        }
    }

    #[test]
    fn values_of_variables_are_never_told() {
        let found = changes(
            "env = { A = 'x', B = 'secret', C = 'same' }",
            "env = { B = 'new', C = 'same', D = 'y' }",
        );
        let told: Vec<_> =
            found.iter().map(|(key, old, new, _)| (key.as_str(), old.clone(), new.clone())).collect();
        let (set, none) = (json!("(set)"), Value::Null);
        assert_eq!(
            told,
            [("env.A", set.clone(), none.clone()), ("env.B", set.clone(), set.clone()), ("env.D", none, set)]
        );
    }

    #[test]
    fn flags_take_effect_now() {
        let flags = Flags { intensity: 9, period: Duration::from_secs(60), ..Flags::default() };
        let with = |flags| Settings { flags: Some(flags), ..Settings::default() };
        let found = differences(with(&Flags::default()), with(&flags));
        let told: Vec<_> = found.iter().map(|it| (it.key.as_str(), &it.old, &it.new, it.when)).collect();
        assert_eq!(
            told,
            [
                ("intensity", &json!(1), &json!(9), When::Now),
                ("period", &json!("5s"), &json!("1m"), When::Now)
            ]
        );
    }

    #[test]
    fn the_same_file_has_no_differences() {
        let child = "env = { A = 'x' }\nlisten = [{ name = 'x', unix = 'x.sock' }]\nbackoff = { initial = '1s', max = '2s' }";
        assert_eq!(changes(child, child), []);
    }
}

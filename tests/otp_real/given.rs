//! The `given` of a case as a config file. What is OTP's default is left out, so that the defaults are tested too.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::case::{Child, Flags, Supervisor};
use crate::probe;

/// The exit code that a case means by OTP's reason `{shutdown, _}`.
pub(crate) const SUCCESS: u8 = 77;

/// The config file of a supervisor tree whose workers are probes in `dir`.
pub(crate) fn config(given: &Supervisor, dir: &Path) -> String {
    let mut text = "[supervisor]\n".to_owned();
    flags(&mut text, &given.flags);
    for child in &given.children {
        add_child(&mut text, child, None, dir);
    }
    text
}

/// One child of its own.
pub(crate) fn child(child: &Child, dir: &Path) -> String {
    let mut text = String::new();
    add_child(&mut text, child, None, dir);
    text
}

/// One child, as a table of its own.
fn add_child(text: &mut String, child: &Child, parent: Option<&str>, dir: &Path) {
    *text += "[[child]]\n";
    let mut key = |key: &str, value: &str| writeln!(text, "{key} = {value}").unwrap();
    if let Some(parent) = parent {
        key("parent", &quoted(parent));
    }
    for (name, value) in settings(child, dir) {
        key(name, &value);
    }
    if let Some(sub) = &child.sub {
        flags(text, &sub.flags);
        for below in &sub.children {
            add_child(text, below, Some(&child.id), dir);
        }
    }
}

/// The keys of one child, each with its value as TOML.
fn settings(child: &Child, dir: &Path) -> Vec<(&'static str, String)> {
    let mut keys = vec![("name", quoted(&child.id))];
    if child.restart != "permanent" {
        keys.push(("restart", quoted(&child.restart)));
    }
    if child.significant {
        keys.push(("significant", "true".into()));
    }
    let default = if child.sub.is_some() { Value::from("infinity") } else { Value::from(5000) };
    match &child.shutdown {
        shutdown if *shutdown == default => {}
        Value::String(word) => keys.push(("shutdown", quoted(word))),
        millis => keys.push(("shutdown", quoted(&format!("{millis}ms")))),
    }
    if child.sub.is_some() {
        keys.push(("type", quoted("supervisor")));
        return keys;
    }
    let program = std::env::current_exe().unwrap();
    let (program, dir) = (program.display(), dir.display());
    keys.extend([
        ("command", format!("[{:?}]", program.to_string())),
        ("env", format!("{{ {} = {:?} }}", probe::DIR, dir.to_string())),
        ("ready", "{ notify = true }".into()),
        ("success_codes", format!("[{SUCCESS}]")),
        ("condition", format!("{{ exists = {:?} }}", format!("{dir}/here/{}", child.id))),
        ("log", quoted("null")),
    ]);
    keys
}

fn flags(text: &mut String, flags: &Flags) {
    let Flags { strategy, intensity, period, auto_shutdown } = flags;
    let mut key = |key: &str, value: String, default: &str| {
        if value != default {
            writeln!(text, "{key} = {value}").unwrap();
        }
    };
    key("strategy", quoted(strategy), "\"one_for_one\"");
    key("intensity", intensity.to_string(), "1");
    key("period", quoted(&format!("{period}s")), "\"5s\"");
    key("auto_shutdown", quoted(auto_shutdown), "\"never\"");
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

//! `provost prove`: what it shows of separate processes is true, and each claim fails where it is false.
//!
//! `whole` runs it as a user does, `untrue` on set-ups in which a claim is false, `rows` are the rows of the comparison
//! between actors and processes, each checked a second time by what any user has: `/proc`, `ps`, `ss`, `kill`.

#[path = "../support/mod.rs"]
mod support;

mod rows;
mod untrue;
mod whole;

use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use support::Project;

/// `provost prove ARGS...`, its temporary files in `dir`.
fn prove_in(dir: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_provost"));
    command.arg("prove").args(args).env("TMPDIR", dir.path()).current_dir(dir.path()).stdin(Stdio::null());
    command
}

fn temporary() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("prove-").tempdir().unwrap()
}

/// What it found, as data, and whether it ended with 0.
fn found(output: &Output) -> (Value, bool) {
    let proof: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(proof["version"], 1);
    assert_eq!(proof["proven"], output.status.success(), "the exit code is the verdict: {output:?}");
    (proof, output.status.success())
}

/// The shipped project, examined once for all tests that only read it: it takes a while.
fn whole() -> &'static Value {
    static WHOLE: LazyLock<Value> = LazyLock::new(|| {
        let dir = temporary();
        let (proof, proven) = found(&prove_in(&dir, &["--json"]).output().unwrap());
        assert!(proven, "{proof:#}");
        proof
    });
    &WHOLE
}

/// One process with all names, likewise.
fn one_process() -> &'static Value {
    static ONE: LazyLock<Value> = LazyLock::new(|| {
        let dir = temporary();
        let (proof, proven) = found(&prove_in(&dir, &["--one-process", "--json"]).output().unwrap());
        assert!(!proven, "one process passes as several: {proof:#}");
        proof
    });
    &ONE
}

/// The claim of that name.
fn claim<'a>(proof: &'a Value, name: &str) -> &'a Value {
    let claims = proof["claims"].as_array().unwrap();
    claims
        .iter()
        .find(|claim| claim["evidence"]["claim"] == name || claim["evidence"]["of"] == name)
        .unwrap_or_else(|| panic!("no {name} in {proof:#}"))
}

/// Checks of a claim that do not hold: what was found.
fn against(claim: &Value) -> Vec<String> {
    let checks = claim["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["holds"] == false)
        .map(|check| format!("{}: {}", text(&check["what"]), text(&check["found"])))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The shipped project, under a name of the test's own.
fn shipped() -> Project {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/supervisor.toml")).unwrap();
    Project::new(&text.replace("name = \"reddit\"", ""))
}

fn pid(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap_or_else(|| panic!("no pid: {value}"))).unwrap()
}

//! What is expected of a step and of a whole case, and whether it is so.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::case::{Case, Step};
use crate::given;
use crate::run::{Run, identities, is_up};
use crate::support::{self, Project};
use crate::trace::{Token, texts};
use crate::world::{Happened, nodes};

/// How far a measured time may be off.
const EARLY_NS: u64 = 150_000_000;
/// A busy machine is late, never early.
const LATE_NS: u64 = 600_000_000;

/// Boots that come to nothing before the tree is asked: what provost says, and how it exits.
const REFUSED: &[(&str, &str)] = &[
    ("error: bad config", "strategy"),
    ("error: crash crash", "not a regular file"),
    ("error: template supervisor needs exactly one child spec", "exactly one child"),
    ("error: bad child spec {bad_combination,[{auto_shutdown,never},{significant,true}]}", "auto_shutdown"),
    ("error: bad child spec {bad_combination,[{restart,permanent},{significant,true}]}", "permanent"),
    ("error: bad child spec {duplicate_child_name,a}", "\"a\""),
];

pub(crate) type Verdict = Result<(), String>;

/// The config file of a case. Two cases are about a file that is none.
pub(crate) fn write_config(case: &Case, project: &Project, dir: &Path) {
    match case.steps[0].start.as_deref() {
        Some("error: bad config") => project.configure("[supervisor]\nstrategy = \"none\"\n"),
        Some("error: crash crash") => {
            fs::remove_file(project.config()).unwrap();
            fs::create_dir(project.config()).unwrap();
        }
        _ => project.configure(&given::config(&case.given, dir)),
    }
}

/// Waits until a step is over, then compares.
pub(crate) fn step(run: &mut Run, step: &Step, began: u64) -> Verdict {
    if let Some(expected) = &step.api {
        same("replies", expected, &run.take_replies())?;
    }
    let (Some(then), true) = (&step.then, step.wait) else { return Ok(()) };
    let loose = run.case.timing_sensitive;
    let exact = |tokens: Vec<String>| if loose { without_failures(tokens) } else { tokens };
    let expected = exact(then.clone());
    let deaths = expected.iter().filter(|token| token.starts_with('x')).count();
    let deeds = expected.len() - deaths;
    run.world.settle(|did, noticed| exact(texts(did)).len() >= deeds && noticed.len() >= deaths);
    match step.sup.as_deref() {
        Some("up") => same("the tree is up", &true, &run.world.up)?,
        _ => run.code = Some(run.world.wait_exit()),
    }
    let happened = run.world.take();
    agree(run, &happened, step.unordered)?;
    let got = texts(&happened.trace);
    if loose {
        let (expected, got) = (failures(then), failures(&got));
        check(expected.abs_diff(got) <= 2, &format!("{expected} failed attempts, got {got}"))?;
    }
    let got = exact(got);
    match step.unordered {
        true => same("trace", &sorted(expected), &sorted(got))?,
        false => same("trace", &expected, &got)?,
    }
    if !loose {
        times(step, began, &happened.trace)?;
    }
    if let Some(start) = &step.start {
        refused(run, start)?;
    }
    if run.code.is_none() {
        look(run, step)?;
    }
    Ok(())
}

/// Whether provost's story and the children's are one.
fn agree(run: &Run, happened: &Happened, unordered: bool) -> Verdict {
    let loose = run.case.timing_sensitive;
    let trace = texts(&happened.trace);
    let deaths = trace.iter().filter(|token| token.starts_with('x')).cloned().collect();
    same(
        "deaths, as they were and as provost noticed them",
        &sorted(deaths),
        &sorted(happened.noticed.clone()),
    )?;
    // A child that is killed, ignored or no process at all writes nothing of it.
    let written = |token: &String| {
        let label = token[1..].split('.').next().unwrap_or_default();
        !token.starts_with(['K', '~', '^']) && !token.ends_with("(KILL)") && !run.is_supervisor(label)
    };
    let mut by_provost: Vec<String> = trace.into_iter().filter(written).collect();
    let mut by_children = texts(&happened.told);
    // ... and an attempt that is broken off by a stop neither.
    if loose {
        (by_provost, by_children) = (without_failures(by_provost), without_failures(by_children));
    }
    if unordered {
        (by_provost, by_children) = (sorted(by_provost), sorted(by_children));
    }
    same("what the children wrote", &by_provost, &by_children)
}

fn times(step: &Step, began: u64, trace: &[Token]) -> Verdict {
    for (text, millis) in &step.timing_ms {
        let expected = began + millis * 1_000_000;
        let token = trace.iter().find(|token| token.text == *text);
        let got = token.map(|token| token.at_ns).unwrap_or_default();
        if got + EARLY_NS < expected || got > expected + LATE_NS {
            return Err(format!(
                "{text} after {millis} ms, got {} ms",
                got.saturating_sub(began) / 1_000_000
            ));
        }
    }
    Ok(())
}

/// Nothing runs because the boot failed, or was not even begun.
fn refused(run: &mut Run, start: &str) -> Verdict {
    let output = run.world.launcher.rest_of_output().concat();
    if let Some(child) = start.strip_prefix("error: failed_to_start_child ") {
        same("exit code", &Some(69), &run.code)?;
        let end = run.world.end.clone().ok_or("no last event")?;
        same("class", &Some("boot_failed".to_owned()), &end.class)?;
        let reason = end.reason.unwrap_or_default();
        return check(reason.starts_with(&format!("could not start {child}: ")), &reason);
    }
    let (_, word) = REFUSED.iter().find(|(error, _)| *error == start).ok_or("an unknown error")?;
    same("exit code", &Some(78), &run.code)?;
    check(output.contains(word), &output)?;
    same("processes there were", &0, &run.world.log.lives().len())
}

/// Listing, counts and processes.
fn look(run: &mut Run, step: &Step) -> Verdict {
    let tree = run.world.tree();
    if run.at_boot.is_none() {
        run.at_boot = Some(identities(&run.world, &tree));
    }
    let template = tree["strategy"] == "simple_one_for_one";
    let loose = run.case.timing_sensitive;
    let entry = |name: &str, state: &str, number: u64| match (state, loose) {
        ("restarting", _) if template => "undefined=restarting".to_owned(),
        ("up", false) => format!("{name}=up.{number}"),
        (state, _) => format!("{name}={state}"),
    };
    if let Some(children) = &step.children {
        let expected: Vec<_> =
            children.iter().map(|(name, state, number)| entry(name, state, (*number).into())).collect();
        let got = tree["children"].as_array().ok_or("no children")?.iter().map(|node| {
            let label = run.world.label(node["name"].as_str().unwrap_or_default());
            entry(&label, state(node), run.world.number(&label).into())
        });
        let got: Vec<_> = got.collect();
        // The order of instances is free.
        match template {
            true => same("listing", &sorted(expected), &sorted(got))?,
            false => same("listing", &expected, &got)?,
        }
    }
    if let Some(expected) = &step.counts {
        same("counts", expected, &counts(&tree))?;
        let told = run.world.control.get("/v1/counts").ok_or("no answer")?.body;
        let told =
            ["specs", "active", "supervisors", "workers"].map(|what| told[what].as_u64().unwrap_or(u64::MAX));
        same("counts, as provost counts them", expected, &told)?;
    }
    processes(run, &tree)
}

/// OTP `count_children/1`, by the listing.
fn counts(tree: &Value) -> [u64; 4] {
    let children = tree["children"].as_array().cloned().unwrap_or_default();
    let count = |what: &dyn Fn(&Value) -> bool| children.iter().filter(|child| what(child)).count() as u64;
    let supervisors = count(&|child| child["type"] == "supervisor");
    let specs = if tree["strategy"] == "simple_one_for_one" { 1 } else { children.len() as u64 };
    [specs, count(&is_up), supervisors, children.len() as u64 - supervisors]
}

fn state(node: &Value) -> &'static str {
    match node["phase"].as_str() {
        _ if is_up(node) => "up",
        Some("restarting" | "backoff") => "restarting",
        _ => "stopped",
    }
}

/// The kernel has exactly the processes that provost says, and they are who it says.
fn processes(run: &mut Run, tree: &Value) -> Verdict {
    let keeper = run.world.launcher.pid();
    let mut expected = vec![run.world.supervisor_process()];
    let mut changing = false;
    for node in nodes(tree).iter().filter(|node| node["type"] != "supervisor") {
        let (name, number) = (node["name"].as_str().ok_or("a name")?, node["run"].as_u64().ok_or("a run")?);
        changing |= state(node) == "restarting";
        let Some(pid) = node["pid"].as_i64().map(|pid| pid as i32) else { continue };
        if state(node) != "up" {
            continue;
        }
        expected.push(pid);
        let life = run.world.log.newest(&run.world.label(name)).ok_or(format!("{name} wrote nothing"))?;
        same(
            &format!("the pid and run of {name}, and that it lives and is ready"),
            &(pid, number, true, false),
            &(life.pid, life.run.into(), life.ready, life.ended),
        )?;
        if tree["strategy"] != "simple_one_for_one" {
            same("runs and attempts", &number, &run.world.number(name).into())?;
        }
        let stat = support::stat(pid).ok_or(format!("{name} is no process"))?;
        same(&format!("parent and session of {name}"), &(keeper, pid), &(stat.ppid, stat.sid))?;
        let environ = fs::read(format!("/proc/{pid}/environ")).map_err(|error| error.to_string())?;
        let says = |pair: String| environ.split(|byte| *byte == 0).any(|has| has == pair.as_bytes());
        check(says(format!("PROVOST_NAME={name}")) && says(format!("PROVOST_RUN={number}")), name)?;
    }
    let mut got = run.world.launcher.below();
    if changing {
        got.retain(|pid| expected.contains(pid));
    }
    expected.sort_unstable();
    got.sort_unstable();
    same("processes", &expected, &got)
}

/// How a case ended: which processes are the same, and what the launcher says.
pub(crate) fn end(run: &mut Run) -> Verdict {
    let Some(code) = run.code else {
        same("final state", "up", run.case.end.sup.as_str())?;
        let now = identities(&run.world, &run.world.tree());
        return pids(run, &now);
    };
    for (label, life) in run.world.log.lives() {
        check(!support::alive(life.pid), &format!("{label}.{} is still there", life.number))?;
    }
    if run.case.end.sup == "none" {
        return Ok(());
    }
    same("final state", "exited", run.case.end.sup.as_str())?;
    let end = run.world.end.clone().ok_or("no last event")?;
    let class = run.case.end.class.as_deref();
    let (word, expected) = match class {
        Some("stopped") => ("stopped", 0),
        Some("give_up") => ("gave_up", 70),
        Some("auto_shutdown") => ("auto_shutdown", exit_of_significant(run)),
        other => return Err(format!("an end {other:?}")),
    };
    same("class", &Some(word.to_owned()), &end.class)?;
    same("exit code", &expected, &code)?;
    pids(run, &BTreeMap::new())
}

/// A temporary significant child that failed hands its status on.
fn exit_of_significant(run: &Run) -> i32 {
    let last = run.case.steps.iter().rev().find_map(|step| step.then.as_ref()).and_then(|then| then.first());
    let death = last.map(String::as_str).unwrap_or_default();
    let name = death.trim_start_matches('x').split('.').next().unwrap_or_default();
    match run.restarts.get(name).map(String::as_str) {
        Some("temporary") if death.ends_with("(KILL)") => 128 + libc::SIGKILL,
        Some("temporary") if death.ends_with("(1)") => 1,
        _ => 0,
    }
}

fn pids(run: &Run, now: &BTreeMap<String, String>) -> Verdict {
    for (what, names) in &run.case.pids {
        for name in names {
            let got = match (run.at_boot.as_ref().and_then(|at_boot| at_boot.get(name)), now.get(name)) {
                (_, None) => "not_running",
                (None, Some(_)) => "added",
                (Some(before), Some(after)) if before == after => "same",
                (Some(_), Some(_)) => "new",
            };
            same(&format!("process of {name}"), what.as_str(), got)?;
        }
    }
    Ok(())
}

/// How many attempts fit into a time may differ.
fn without_failures(tokens: Vec<String>) -> Vec<String> {
    let kept = tokens.into_iter().filter(|token| !token.starts_with('!'));
    kept.map(|token| token.split('.').next().unwrap_or_default().to_owned()).collect()
}

fn failures(tokens: &[String]) -> usize {
    tokens.iter().filter(|token| token.starts_with('!')).count()
}

fn sorted(mut tokens: Vec<String>) -> Vec<String> {
    tokens.sort();
    tokens
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, expected: &T, got: &T) -> Verdict {
    if expected == got {
        return Ok(());
    }
    Err(format!("{what}\n      expected {expected:?}\n      got      {got:?}"))
}

fn check(holds: bool, what: &str) -> Verdict {
    if holds { Ok(()) } else { Err(format!("not so: {what}")) }
}

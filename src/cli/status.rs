//! `provost status NAME`.

use std::time::Duration;

use super::args::StatusArgs;
use super::exit::Exit;
use super::human;
use super::tree::policy;
use super::{Failure, print, print_json};
use crate::control::{ChildJson, Client, ShutdownJson, StatusJson, StepJson};
use crate::rules::Phase;
use crate::text;

pub(super) async fn run(client: &Client, args: &StatusArgs) -> Result<Exit, Failure> {
    let status = client.child(&args.name).await?;
    if args.output.json {
        print_json(&status)?;
    } else {
        print(&text(&status))?;
    }
    Ok(if is_running(&status.child) { Exit::Ok } else { Exit::NotRunning })
}

/// Whether it has a process, or as a supervisor is up.
fn is_running(child: &ChildJson) -> bool {
    match child.phase {
        Phase::Running | Phase::Ready | Phase::Unhealthy => true,
        Phase::Starting | Phase::Stopping => child.pid.is_some(),
        Phase::Waiting
        | Phase::Backoff
        | Phase::Restarting
        | Phase::Stopped
        | Phase::Exited
        | Phase::Failed => false,
    }
}

fn text(status: &StatusJson) -> String {
    let child = &status.child;
    let spec = child.spec.as_deref();
    let maybe = |value: Option<String>| value.unwrap_or_else(|| human::NONE.to_owned());
    let lines = [
        ("name", child.name.clone()),
        ("type", child.kind.clone()),
        ("phase", human::phase(child.phase).to_owned()),
        ("pid", maybe(child.pid.map(|pid| pid.to_string()))),
        ("run", child.run.to_string()),
        ("restarts", child.restarts.to_string()),
        ("last exit", maybe(last_exit(status))),
        ("policy", policy(child)),
    ];
    let command = spec.and_then(|spec| spec.command.as_ref()).map(|command| ("command", command.join(" ")));
    let shutdown = spec.map(|spec| ("shutdown", shutdown(&spec.shutdown)));
    let waits = status.log_stalled.iter().map(|reason| ("output", format!("waits: {reason}")));
    let left = left_behind(status).map(|left| ("left", format!("{left}, killed")));
    let lines = lines.into_iter().chain(left).chain(command).chain(shutdown).chain(waits);
    let mut text: String =
        lines.map(|(key, value)| format!("{key:<9}  {}\n", text::escaped(value.as_bytes()))).collect();
    for line in &status.log_tail {
        text.push_str(&format!("{} {} | {}\n", line.at, line.name, text::escaped(line.line.as_bytes())));
    }
    text
}

/// Under this launcher, or else under an earlier one, with what the history knows.
fn last_exit(status: &StatusJson) -> Option<String> {
    match &status.last_exit {
        Some(past) => {
            Some(format!("{} at {}, after {}", past.exit, past.ended, human::length(past.uptime_ms)))
        }
        None => status.child.last_exit.as_ref().map(ToString::to_string),
    }
}

/// What that run left running.
fn left_behind(status: &StatusJson) -> Option<String> {
    let past = status.last_exit.as_ref().and_then(|past| past.left_behind.as_ref());
    past.or(status.child.left_behind.as_ref()).map(ToString::to_string)
}

/// How a child is stopped.
fn shutdown(shutdown: &ShutdownJson) -> String {
    let ShutdownJson::Steps(steps) = shutdown else { return "KILL at once".to_owned() };
    let step = |step: &StepJson| match step.wait_ms {
        Some(millis) => {
            format!("{}, {}", step.signal, humantime::format_duration(Duration::from_millis(millis)))
        }
        None => format!("{}, waits without end", step.signal),
    };
    let mut text: Vec<String> = steps.iter().map(step).collect();
    if steps.iter().all(|step| step.wait_ms.is_some()) {
        text.push("KILL".to_owned());
    }
    text.join(", then ")
}

/// A child in one line, for the verbs that change it.
pub(super) fn line(child: &ChildJson) -> String {
    let process = match child.pid {
        Some(pid) => format!(", pid {pid}, run {}", child.run),
        None => String::new(),
    };
    let left = match &child.left_behind {
        Some(left) => format!("; killed what it had left running: {left}"),
        None => String::new(),
    };
    format!("{}: {}{process}{left}\n", child.name, human::phase(child.phase))
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::worker;
    use super::*;
    use crate::control::{BrutalKill, SpecJson};

    #[test]
    fn the_end_of_a_stop_is_told() {
        assert_eq!(shutdown(&ShutdownJson::Word(BrutalKill::BrutalKill)), "KILL at once");
        let endless = StepJson { signal: "TERM".into(), wait_ms: None };
        assert_eq!(shutdown(&ShutdownJson::Steps(vec![endless])), "TERM, waits without end");
    }

    #[test]
    fn one_child_is_exactly_this() {
        let expected = "\
name       engine
type       worker
phase      ready
pid        4242
run        1
restarts   0
last exit  -
policy     permanent
command    bin/engine --fast
shutdown   INT, 1s, then TERM, 500ms, then KILL
";
        let mut engine = worker("engine", Phase::Ready, Some(4242));
        let step = |signal: &str, wait_ms| StepJson { signal: signal.into(), wait_ms };
        let steps = vec![step("INT", Some(1000)), step("TERM", Some(500))];
        let command = Some(["bin/engine", "--fast"].map(str::to_owned).to_vec());
        engine.spec = Some(Box::new(SpecJson { command, shutdown: ShutdownJson::Steps(steps) }));
        assert_eq!(text(&StatusJson::new(engine.clone())), expected);
        assert_eq!(line(&engine), "engine: ready, pid 4242, run 1\n");
        assert_eq!(line(&worker("web", Phase::Stopped, None)), "web: stopped\n");
    }

    #[test]
    fn its_last_exit_and_its_last_words_are_shown() {
        let mut status = StatusJson::new(worker("engine", Phase::Ready, Some(4242)));
        let past = super::super::history::tests::killed();
        status.log_tail = past.log_tail.clone();
        status.last_exit = Some(past);
        status.log_stalled = Some("cannot write /log/engine.log: no space".into());
        let expected = "\
last exit  killed by SIGKILL at 2026-11-23T08:30:05.120Z, after 2m13s
policy     permanent
output     waits: cannot write /log/engine.log: no space
2026-11-23T08:30:04.000000Z engine | last \\x1b[2Jwords
";
        assert!(text(&status).ends_with(expected), "{}", text(&status));
    }

    #[test]
    fn running_means_a_process() {
        assert!(is_running(&worker("a", Phase::Running, Some(1))));
        assert!(is_running(&worker("a", Phase::Stopping, Some(1))));
        assert!(!is_running(&worker("a", Phase::Starting, None)));
        assert!(!is_running(&worker("a", Phase::Backoff, None)));
    }
}

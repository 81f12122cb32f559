//! The shipped `supervisor.toml` as a user runs it: an engine and three clients as separate processes.

mod support;

use std::fs;
use std::process::{Command, Stdio};

use support::{Launcher, Project, alive, eventually, kill, read, stat};

const CLIENTS: [&str; 3] = ["client@1", "client@2", "client@3"];

fn shipped() -> Launcher {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/supervisor.toml")).unwrap();
    let anonymous = text.replace("name = \"reddit\"", "");
    assert_ne!(anonymous, text, "the test gives the project a name of its own");
    Project::new(&anonymous).up()
}

/// Waits until every client reports work again after `since` bytes of its log.
fn wait_work(launcher: &Launcher, since: [usize; 3]) {
    for (client, since) in CLIENTS.into_iter().zip(since) {
        eventually(&format!("{client} at work"), || {
            let text = log(launcher, client);
            let at_work = |line: &str| line.contains("ops/s") && !line.contains(" 0 ops/s");
            text.get(since..)?.lines().any(at_work).then_some(())
        });
    }
}

fn log(launcher: &Launcher, client: &str) -> String {
    read(&launcher.project.path(&format!("log/{client}.log")))
}

#[test]
fn engine_and_clients_are_separate_processes_at_work() {
    let launcher = shipped();
    let rows = launcher.ps();
    let children: Vec<_> = rows.iter().filter(|row| row["role"] == "child").collect();
    assert_eq!(children.len(), 4);
    let mut pids: Vec<i64> = children.iter().map(|row| row["pid"].as_i64().unwrap()).collect();
    assert!(pids.iter().all(|pid| alive(*pid as i32)));
    assert!(children.iter().all(|row| row["pid"] == row["sid"]), "each has its own session");
    pids.dedup();
    assert_eq!(pids.len(), 4);
    wait_work(&launcher, [0; 3]);
}

#[test]
fn a_killed_client_returns_and_the_rest_does_not_notice() {
    let launcher = shipped();
    let others = ["engine", "client@1", "client@3", "supervisor"];
    let before = others.map(|name| launcher.pid_of(name).unwrap());
    let victim = launcher.pid_of("client@2").unwrap();
    kill(victim, libc::SIGKILL);
    launcher.wait_new_pid("client@2", victim);
    assert_eq!(others.map(|name| launcher.pid_of(name).unwrap()), before);
    wait_work(&launcher, [0; 3]);
}

#[test]
fn a_killed_engine_returns_and_the_clients_survive_and_reconnect() {
    let launcher = shipped();
    wait_work(&launcher, [0; 3]);
    let before = CLIENTS.map(|name| launcher.pid_of(name).unwrap());
    let starts = before.map(|pid| stat(pid).unwrap().start);
    let engine = launcher.pid_of("engine").unwrap();
    kill(engine, libc::SIGKILL);
    launcher.wait_new_pid("engine", engine);
    let since = CLIENTS.map(|client| log(&launcher, client).len());
    wait_work(&launcher, since);
    assert_eq!(CLIENTS.map(|name| launcher.pid_of(name).unwrap()), before);
    assert_eq!(before.map(|pid| stat(pid).unwrap().start), starts);
    for client in CLIENTS {
        let text = log(&launcher, client);
        assert!(!text.contains("engine not available"), "no connection was refused meanwhile: {text}");
    }
}

#[test]
fn a_person_uses_the_engine_of_a_running_project_by_its_name() {
    let launcher = shipped();
    let engine = launcher.pid_of("engine").unwrap();
    let by_hand = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reddit-client"));
        command.args(words).stdin(Stdio::null()).env("PROVOST_RUN_DIR", launcher.project.path("run"));
        let output = command.env("XDG_STATE_HOME", launcher.project.path("state")).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(by_hand(&["ping"]), format!("pong: engine (pid {engine})\n"));
    by_hand(&["register", "somebody"]);
    by_hand(&["create", "by_hand"]);
    by_hand(&["post", "by_hand", "Among the simulated"]);
    kill(engine, libc::SIGKILL);
    assert!(by_hand(&["feed", "--wait-engine", "60s"]).contains("Among the simulated"));
}

#[test]
fn the_killed_supervisor_process_disturbs_no_payload() {
    let launcher = shipped();
    let names = ["engine", "client@1", "client@2", "client@3"];
    let before = names.map(|name| launcher.pid_of(name).unwrap());
    let supervisor = launcher.pid_of("supervisor").unwrap();
    kill(supervisor, libc::SIGKILL);
    launcher.wait_new_pid("supervisor", supervisor);
    assert_eq!(names.map(|name| launcher.pid_of(name).unwrap()), before);
    let since = CLIENTS.map(|client| log(&launcher, client).len());
    wait_work(&launcher, since);
}

//! The shipped `supervisor.toml` as a user runs it: an engine and three clients as separate processes.

mod support;

use std::fs;

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

//! The shipped `supervisor.toml` as a user runs it: an engine and three clients as separate processes.

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Group, Uid, User};

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

/// A user whose primary group is a private one: as root some user of the system, else this one.
fn user_with_private_group() -> Option<User> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uids = users.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok().map(Uid::from_raw));
    let us = Uid::effective();
    let mut candidates = uids.filter(|uid| if us.is_root() { !uid.is_root() } else { *uid == us });
    let found = candidates.find_map(|uid| {
        let user = User::from_uid(uid).ok()??;
        let group = Group::from_gid(user.gid).ok()??;
        let primary_of = users.lines().filter(|line| line.split(':').nth(3) == Some(&user.gid.to_string()));
        (group.name == user.name && group.mem.is_empty() && primary_of.count() == 1).then_some(user)
    });
    if found.is_none() {
        println!("skipped: no user here has a private group");
    }
    found
}

/// `umask 002; cd FOLDER; COMMAND`, as this user.
fn under_umask_002(user: &User, folder: &Path, command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("umask 002; {command}"), env!("CARGO_BIN_EXE_provost")]).current_dir(folder);
    if Uid::effective().is_root() {
        shell.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    for name in ["SUDO_UID", "PROVOST_CONFIG", "PROVOST_PROJECT"] {
        shell.env_remove(name);
    }
    shell.env("HOME", folder).env("XDG_RUNTIME_DIR", folder).env("XDG_STATE_HOME", folder.join("state"));
    shell.stdin(Stdio::null());
    shell
}

/// A project whose folder belongs to the user, with the shipped file in it as a clone leaves it under umask 002.
fn cloned(user: &User, root_keys: &str) -> Project {
    let project = Project::new("");
    fs::remove_file(project.config()).unwrap();
    chown(project.dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/supervisor.toml")).unwrap();
    let mut copy = under_umask_002(user, project.dir.path(), "mkdir clone && cat > clone/supervisor.toml")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    write!(copy.stdin.take().unwrap(), "{root_keys}{text}").unwrap();
    assert!(copy.wait().unwrap().success());
    let mode = |name: &str| fs::metadata(project.path(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("clone"), mode("clone/supervisor.toml")), (0o775, 0o664));
    project
}

#[test]
fn under_umask_002_a_fresh_clone_starts_for_an_ordinary_user() {
    let Some(user) = user_with_private_group() else { return };
    let project = cloned(&user, "");
    let mut command = under_umask_002(&user, project.dir.path(), "cd clone && exec \"$0\" up");
    command.env("PATH", "/usr/bin:/bin");
    let mut launcher = project.start_by(command);
    launcher.wait_line("distinct PIDs");
    kill(launcher.pid(), libc::SIGTERM);
    assert_eq!(launcher.wait_exit(), 0);
}

#[test]
fn an_ordinary_users_clone_starts_for_root_by_sudo_only() {
    if !Uid::effective().is_root() {
        return println!("skipped: this test does not run as root");
    }
    let Some(user) = user_with_private_group() else { return };
    let place = tempfile::tempdir().unwrap();
    let place = place.path().display();
    let project = cloned(&user, &format!("run_dir = \"{place}/run\"\nlog_dir = \"{place}/log\"\n"));
    let root = User { uid: Uid::from_raw(0), gid: Gid::from_raw(0), ..user.clone() };
    let clone = project.path("clone");
    let plain = under_umask_002(&root, &clone, "exec \"$0\" up").output().unwrap();
    let told = String::from_utf8_lossy(&plain.stderr);
    assert_eq!(plain.status.code(), Some(78), "{told}");
    let advice = format!("copy the config file below /etc, or run provost as user {}", user.name);
    assert!(told.contains(&advice) && !told.contains("chown"), "{told}");
    let mut by_sudo = under_umask_002(&root, &clone, "exec \"$0\" up");
    by_sudo.env("SUDO_UID", user.uid.to_string());
    let mut launcher = project.start_by(by_sudo);
    launcher.wait_line("distinct PIDs");
    kill(launcher.pid(), libc::SIGTERM);
    assert_eq!(launcher.wait_exit(), 0);
}

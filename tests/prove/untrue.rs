//! Set-ups in which a claim is false. Each is seen.

#![allow(unsafe_code, reason = "memory that two processes share is mapped by a raw call")]

use std::fs::OpenOptions;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};

use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use serde_json::Value;

use super::support::{Launcher, Project, eventually, let_pass};
use super::{against, claim, found, one_process, temporary};

/// Runs it on a running launcher and expects that it is not convinced.
fn unconvinced(launcher: &Launcher, only: &str) -> Value {
    let output = launcher.project.provost(&["prove", "--attach", "--json", "--only", only]).output().unwrap();
    let (proof, proven) = found(&output);
    assert!(!proven, "{proof:#}");
    proof
}

/// Engine and two clients, with these keys of the root and of the second client.
fn project(root: &str, second: &str) -> Project {
    Project::new(&format!(
        r#"
[supervisor]
intensity = 50
period = "10s"
{root}

[[child]]
name = "engine"
command = ["reddit-engine"]
listen = [{{ name = "engine", unix = "${{RUN_DIR}}/engine.sock", mode = "0600" }}]
ready = {{ notify = true }}

[[child]]
name = "one"
command = ["reddit-client", "--engine", "${{RUN_DIR}}/engine.sock", "--users", "50"]

[[child]]
name = "two"
{second}
"#
    ))
}

const HONEST: &str = r#"command = ["reddit-client", "--engine", "${RUN_DIR}/engine.sock", "--users", "50"]"#;

#[test]
fn one_process_with_four_names_fails_every_claim() {
    let proof = one_process();
    for (name, hint) in [
        ("identity", "engine, client@1, client@2 and client@3 are all PID"),
        ("sockets", "each with both ends inside PID"),
        ("memory", "engine and client@1 have one"),
        ("deaths", "is gone too"),
        ("terminals", "are all on pts/"),
        ("machines", "are all in network namespace"),
        ("contrast", "there is no client that lives"),
    ] {
        let claim = claim(proof, name);
        assert_eq!(claim["proven"], false, "{claim:#}");
        assert!(against(claim).join("\n").contains(hint), "{hint}: {:#?}", against(claim));
    }
}

#[test]
fn the_set_up_of_these_tests_is_proven_as_long_as_it_is_honest() {
    let launcher = project("", HONEST).up();
    let output = launcher.project.provost(&["prove", "--attach", "--json"]).output().unwrap();
    assert!(found(&output).1, "{:#}", found(&output).0);
}

#[test]
fn a_client_whose_death_restarts_the_others_does_not_die_alone() {
    let launcher = project("strategy = \"one_for_all\"", HONEST).up();
    let proof = unconvinced(&launcher, "deaths");
    let found = against(claim(&proof, "deaths")).join("\n");
    assert!(found.contains("SIGKILL to one: every other PID and start time is unchanged"), "{found}");
    assert!(found.contains("engine was PID"), "{found}");
}

#[test]
fn a_client_that_stays_dead_does_not_come_back() {
    let launcher = project("", &format!("{HONEST}\nrestart = \"temporary\"")).up();
    launcher.ok(&["stop", "one"]);
    let proof = unconvinced(&launcher, "deaths");
    let found = against(claim(&proof, "deaths")).join("\n");
    assert!(found.contains("SIGKILL to two") && found.contains("nothing came back"), "{found}");
}

#[test]
fn a_client_that_is_connected_with_a_stranger_is_told() {
    let other = temporary();
    let socket = other.path().join("other.sock");
    let mut stranger = Command::new(env!("CARGO_BIN_EXE_reddit-engine"));
    stranger.arg("--listen").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut stranger = stranger.spawn().unwrap();
    let second = format!("command = [\"reddit-client\", \"--engine\", {:?}, \"--users\", \"50\"]", socket);
    let launcher = project("", &second).up();
    let proof = unconvinced(&launcher, "sockets");
    let found = against(claim(&proof, "sockets")).join("\n");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(found.contains("no client is connected with anybody else"), "{found}");
    assert!(found.contains(&format!("reddit-engine (PID {}", stranger.id())), "{found}");
    assert!(!found.contains("one and the engine"), "the other client is in order: {found}");
}

#[test]
fn a_client_that_lives_in_the_engines_process_has_no_connection_to_it() {
    // The engine's process has a client in it; what is called a client is a process that does nothing.
    let launcher = Project::new(
        r#"
[[child]]
name = "engine"
command = ["reddit-one-process", "--clients", "1", "--users", "50"]
env = { TMPDIR = "${RUN_DIR}" }

[[child]]
name = "client"
command = ["tail", "-f", "/dev/null"]
"#,
    )
    .up();
    let proof = hasty(&launcher, "sockets");
    let found = against(claim(&proof, "sockets")).join("\n");
    assert!(found.contains("has no connection to another process"), "{found}");
}

/// As [`unconvinced`], where nobody will ever be connected.
fn hasty(launcher: &Launcher, only: &str) -> Value {
    let args = ["prove", "--attach", "--json", "--settle", "100ms", "--only", only];
    let (proof, proven) = found(&launcher.project.provost(&args).output().unwrap());
    assert!(!proven, "{proof:#}");
    proof
}

fn attached(launcher: &Launcher, only: &str) -> (Value, bool) {
    found(&launcher.project.provost(&["prove", "--attach", "--json", "--only", only]).output().unwrap())
}

#[test]
fn an_engine_and_a_client_of_one_program_are_told() {
    let launcher = project("", HONEST).up();
    assert!(attached(&launcher, "identity").1);
    let same = Project::new(
        r#"
[[child]]
name = "engine"
command = ["tail", "-f", "/dev/null"]

[[child]]
name = "client"
command = ["tail", "-f", "/dev/null"]
"#,
    )
    .up();
    let proof = hasty(&same, "identity");
    assert_eq!(against(claim(&proof, "identity")).len(), 1, "{proof:#}");
    assert!(against(claim(&proof, "identity"))[0].contains("client runs the engine's file"));
}

/// Not a test by itself: as a child of the test below it is a process that shares memory.
#[test]
fn plays_a_process_that_shares_memory() {
    let Some(path) = std::env::var_os("PROVE_SHARED_FILE") else { return };
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let length = NonZeroUsize::new(4096).unwrap();
    let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping, which nothing in this process looks at.
    let mapped = unsafe { mmap(None, length, rights, MapFlags::MAP_SHARED, &file, 0) };
    mapped.unwrap();
    let_pass(std::time::Duration::from_secs(600));
}

#[test]
fn memory_that_two_processes_share_is_told() {
    let dir = temporary();
    let file = dir.path().join("shared");
    std::fs::write(&file, [0; 4096]).unwrap();
    let me = std::env::current_exe().unwrap();
    let child = |name: &str| {
        format!(
            "[[child]]\nname = {name:?}\ncommand = [{me:?}, \"--exact\", \"untrue::plays_a_process_that_shares_memory\"]\n\
             env = {{ PROVE_SHARED_FILE = {file:?} }}\n"
        )
    };
    let launcher = Project::new(&(child("engine") + &child("client"))).up();
    let mapped = |name: &str| {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", launcher.pid_of(name)?)).ok()?;
        maps.contains(file.to_str()?).then_some(())
    };
    eventually("both have mapped the file", || mapped("engine").and_then(|()| mapped("client")));
    let proof = hasty(&launcher, "memory");
    let found = against(claim(&proof, "memory")).join("\n");
    assert!(found.contains(&format!("engine and client share {}", file.display())), "{found}");
}

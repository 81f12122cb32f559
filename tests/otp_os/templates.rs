//! Many children added at run time.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Project, alive, eventually, kill};
use crate::watched::{Watched, flags, idle};

fn template(command: &str) -> Project {
    let child =
        format!("[[child]]\nname = \"job\"\nrestart = \"temporary\"\nlog = \"null\"\ncommand = {command}\n");
    Project::new(&(flags("simple_one_for_one", 0) + &child))
}

fn is_empty(watched: &Watched) -> bool {
    let counts = watched.control.get("/v1/counts").unwrap().body;
    let counts = ["specs", "active", "supervisors", "workers"].map(|what| counts[what].as_u64().unwrap());
    watched.root()["children"].as_array().unwrap().is_empty() && counts == [1, 0, 0, 0]
}

/// Resident memory in bytes.
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn o21_temporary_instances_leave_nothing_behind() {
    const MB: u64 = 1024 * 1024;
    let watched = Watched::up(template("[\"false\"]"));
    let supervisor = watched.launcher.pid_of("supervisor").unwrap();
    let before = resident(supervisor);
    let argument = json!({ "args": ["x".repeat(50 * 1024)] });
    for _ in 0..2000 {
        let answer = watched.post("/v1/children", &argument);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    eventually("no instance", || is_empty(&watched).then_some(()));
    let after = resident(supervisor);
    assert!(after < before + 10 * MB, "from {before} to {after} bytes");
}

/// The time to start and stop so many.
fn start_and_stop(watched: &Watched, count: usize, add: impl Fn(usize) -> Value) -> Duration {
    let began = Instant::now();
    let names: Vec<String> = (0..count)
        .map(|number| {
            let answer = watched.post("/v1/children", &add(number));
            answer.body["child"]["name"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
        })
        .collect();
    for name in names {
        assert_eq!(watched.ask(&name, "stop").status, 200);
        // A temporary child is gone with its process.
        watched.control.delete(&format!("/v1/children/{name}")).unwrap();
    }
    began.elapsed()
}

fn scales(watched: &Watched, add: impl Fn(usize) -> Value) {
    let few = start_and_stop(watched, 50, &add);
    let many = start_and_stop(watched, 500, &add);
    assert!(many <= few * 50, "50 took {few:?}, 500 took {many:?}");
}

#[test]
fn o22_instances_scale() {
    scales(&Watched::up(template("[\"sleep\", \"1000\"]")), |_| json!({}));
}

#[test]
fn o22_children_scale() {
    let watched = Watched::up(Project::new(&(flags("one_for_one", 0) + &idle("first", ""))));
    scales(&watched, |number| json!({ "child": idle(&format!("c{number}"), "") }));
}

/// A template may be a supervisor: every instance has its own of all that stands below it, also after a reload and in the
/// next supervisor process.
#[test]
fn instances_of_a_supervisor_have_their_own_of_what_is_below() {
    let config = |seconds: u32| {
        format!(
            "[[child]]\nname = \"pool\"\ntype = \"supervisor\"\nstrategy = \"simple_one_for_one\"\nintensity = 9\n\
             [[child]]\nname = \"team\"\nparent = \"pool\"\ntype = \"supervisor\"\nintensity = 9\n\
             [[child]]\nname = \"worker\"\nparent = \"team\"\nlog = \"null\"\ncommand = [\"sleep\", \"{seconds}\"]\n"
        )
    };
    let watched = Watched::up(Project::new(&config(1000)));
    for team in ["team@1", "team@2"] {
        let answer = watched.post("/v1/children", &json!({ "parent": "pool" }));
        assert_eq!(answer.body["child"]["name"], team, "{answer:?}");
    }
    let refused = watched.post("/v1/children", &json!({ "parent": "pool", "args": ["x"] }));
    assert_eq!(refused.body["error"]["code"], "bad_request", "a supervisor has no command");
    let [first, second] = ["worker@team@1", "worker@team@2"].map(|worker| watched.pid(worker));
    assert_ne!(first, second);
    assert_eq!(watched.ask("team@1", "stop").status, 200);
    assert!(!alive(first) && alive(second));

    watched.launcher.project.configure(&config(2000));
    let answer = watched.post("/v1/reload", &json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let supervisor = watched.launcher.pid_of("supervisor").unwrap();
    kill(supervisor, libc::SIGKILL);
    watched.launcher.wait_new_pid("supervisor", supervisor);
    let mut watched = Watched::watch(watched.launcher);
    assert_eq!(watched.pid("worker@team@2"), second);
    kill(second, libc::SIGKILL);
    watched.wait("started", "worker@team@2");
    let third = watched.pid("worker@team@2");
    // The kernel lets the parent go on a moment before the new program's arguments can be read.
    let command = eventually("its command line", || {
        fs::read(format!("/proc/{third}/cmdline")).ok().filter(|command| !command.is_empty())
    });
    assert_eq!(command, b"sleep\x002000\x00");
}

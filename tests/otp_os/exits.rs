//! Which end means what.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Project, alive, kill, wait_gone};
use crate::watched::{Orders, Watched, flags, idle, obedient};

#[test]
fn o01_exit_codes_of_a_transient_child() {
    let project = Project::new(&(flags("one_for_one", 9) + &obedient("a", "restart = \"transient\"")));
    let mut orders = Orders::create(&project.path("a.order"));
    let mut watched = Watched::up(project);
    watched.wait("started", "a");
    for (run, code) in (2..).zip([1, 2, 77, 126, 127, 255]) {
        orders.exit(code);
        let exited = watched.wait("exited", "a");
        assert_eq!((&exited["exit"], &exited["decision"]), (&json!({ "code": code }), &json!("restart")));
        assert_eq!(watched.wait("started", "a")["run"], run);
    }
    assert_eq!((&watched.child("a")["restarts"], &watched.root()["restarts_left"]), (&json!(6), &json!(3)));
}

#[test]
fn o02_success_codes() {
    let keys = "restart = \"transient\"\nsuccess_codes = [77]";
    let project = Project::new(&(flags("one_for_one", 9) + &obedient("a", keys)));
    let mut orders = Orders::create(&project.path("a.order"));
    let mut watched = Watched::up(project);
    watched.wait("started", "a");
    orders.exit(77);
    assert_eq!(watched.wait("exited", "a")["decision"], "stopped");
    assert_eq!(watched.child("a")["phase"], "exited");
    assert_eq!(watched.root()["restarts_left"], 9, "not counted");
    assert_eq!(watched.ask("a", "start").status, 200);
    watched.wait("started", "a");
    orders.exit(78);
    assert_eq!(watched.wait("exited", "a")["decision"], "restart");
    assert_eq!(watched.wait("started", "a")["run"], 3);
    assert_eq!(watched.root()["restarts_left"], 8);
}

#[test]
fn o05_success_signals() {
    let keys = "restart = \"transient\"\nsuccess_signals = [\"TERM\"]";
    let mut watched = Watched::up(Project::new(&(flags("one_for_one", 9) + &idle("a", keys))));
    watched.wait("started", "a");
    kill(watched.pid("a"), libc::SIGTERM);
    assert_eq!(watched.wait("exited", "a")["decision"], "stopped");
    assert_eq!(watched.ask("a", "start").status, 200);
    watched.wait("started", "a");
    kill(watched.pid("a"), libc::SIGKILL);
    assert_eq!(watched.wait("exited", "a")["decision"], "restart");
    assert_eq!(watched.wait("started", "a")["run"], 3);
}

#[test]
fn o07_the_signal_that_we_sent_is_a_clean_stop() {
    let mut watched = Watched::up(Project::new(&(flags("one_for_all", 0) + &idle("a", "") + &idle("b", ""))));
    let b = watched.pid("b");
    assert_eq!(watched.ask("a", "stop").status, 200);
    let exited = watched.wait("exited", "a");
    assert_eq!((&exited["requested"], &exited["killed"]), (&json!(true), &json!(false)));
    assert_eq!(exited["exit"]["signal"], Signal::SIGTERM as i32);
    assert_eq!(watched.child("a")["phase"], "stopped");
    assert_eq!(watched.pid("b"), b, "no strategy for what was asked");
    kill(watched.launcher.pid(), libc::SIGTERM);
    assert_eq!(watched.launcher.wait_exit(), 0);
    assert!(!alive(b));
    assert_eq!(watched.wait("exited", "b")["requested"], true);
    assert_eq!(watched.wait("stopped", "test")["class"], "stopped");
}

/// The leftover of a dead main process is gone before its successor starts.
#[test]
fn o15_leftovers_of_a_dead_main_process() {
    let script = "sleep 1000 & echo $! > leftover; read code < a.order; exit $code";
    let child = format!("[[child]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", {script:?}]\nlog = \"null\"\n");
    let project = Project::new(&(flags("one_for_one", 2) + &child));
    let mut orders = Orders::create(&project.path("a.order"));
    let mut watched = Watched::up(project);
    watched.wait("started", "a");
    let path = watched.launcher.project.path("leftover");
    let leftover = || std::fs::read_to_string(&path).ok()?.trim().parse::<i32>().ok();
    let first = crate::support::eventually("the leftover", leftover);
    orders.exit(1);
    watched.wait("started", "a");
    assert!(!alive(first), "two generations at once");
    assert_eq!(watched.child("a")["run"], 2);
}

#[test]
fn o12_process_group() {
    let script = "sleep 1000 & sleep 1001 & wait";
    let child = format!("[[child]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", {script:?}]\nlog = \"null\"\n");
    let watched = Watched::up(Project::new(&(flags("one_for_one", 2) + &child)));
    let supervisor = watched.launcher.pid_of("supervisor").unwrap();
    let family = crate::support::eventually("a family of three", || {
        let below = watched.launcher.below();
        let family: Vec<i32> = below.into_iter().filter(|pid| *pid != supervisor).collect();
        (family.len() == 3).then_some(family)
    });
    assert_eq!(watched.ask("a", "stop").status, 200);
    for pid in &family {
        assert!(crate::support::stat(*pid).is_none(), "{pid} outlives the answer");
    }
}

#[test]
fn o17_supervisor_killed() {
    let tree = || {
        let inner = "[[child]]\nname = \"inner\"\ntype = \"supervisor\"\n".to_owned();
        let outer = ["a", "b", "c"].map(|name| idle(name, "")).concat();
        let below = ["d", "e", "f"].map(|name| idle(name, "parent = \"inner\"")).concat();
        Watched::up(Project::new(&(flags("one_for_all", 0) + &outer + &inner + &below)))
    };
    let workers = ["a", "b", "c", "d", "e", "f"];

    let mut watched = tree();
    let below = watched.launcher.below();
    assert_eq!(below.len(), 7);
    let began = std::time::Instant::now();
    kill(watched.launcher.pid(), libc::SIGKILL);
    wait_gone(&below);
    assert!(began.elapsed().as_secs() < 2, "took {:?}", began.elapsed());
    watched.launcher.wait_exit();

    let watched = tree();
    let before = workers.map(|name| watched.pid(name));
    let supervisor = watched.launcher.pid_of("supervisor").unwrap();
    kill(supervisor, libc::SIGKILL);
    watched.launcher.wait_new_pid("supervisor", supervisor);
    assert_eq!(workers.map(|name| watched.pid(name)), before);
    assert!(before.iter().all(|pid| alive(*pid)));
}

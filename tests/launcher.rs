//! The main promise, with real processes: kill anything, and the program heals.

mod support;

use support::{Project, alive, eventually, kill, read, stat, wait_gone};

/// Three idle workers, the middle one's strategy and budget as given.
fn three(flags: &str) -> Project {
    let child = |name: &str| format!("[[child]]\nname = \"{name}\"\ncommand = [\"sleep\", \"1000\"]\n");
    Project::new(&format!("[supervisor]\n{flags}\n{}{}{}", child("a"), child("b"), child("c")))
}

const ROOMY: &str = "intensity = 100\nperiod = \"10s\"";

#[test]
fn a_killed_child_returns_with_a_new_pid_and_the_others_keep_theirs() {
    let launcher = three(ROOMY).up();
    let [a, b, c] = ["a", "b", "c"].map(|name| launcher.pid_of(name).unwrap());
    kill(b, libc::SIGKILL);
    let line = launcher.wait_line("b restarted");
    let new = launcher.wait_new_pid("b", b);
    assert!(line.contains(&format!("PID {b} (killed by SIGKILL) -> PID {new} in ")), "{line}");
    assert_eq!((launcher.pid_of("a"), launcher.pid_of("c")), (Some(a), Some(c)));
}

#[test]
fn the_killed_supervisor_process_is_back_and_nothing_else_changes() {
    let launcher = three(ROOMY).up();
    let names = ["a", "b", "c"];
    let before = names.map(|name| launcher.pid_of(name).unwrap());
    let starts = before.map(|pid| stat(pid).unwrap().start);
    let supervisor = launcher.pid_of("supervisor").unwrap();
    kill(supervisor, libc::SIGKILL);
    wait_gone(&[supervisor]);
    let next = launcher.wait_new_pid("supervisor", supervisor);
    assert!(alive(next));
    assert_eq!(names.map(|name| launcher.pid_of(name).unwrap()), before);
    assert_eq!(before.map(|pid| stat(pid).unwrap().start), starts);
    // ... and it supervises them as before.
    kill(before[0], libc::SIGKILL);
    launcher.wait_new_pid("a", before[0]);
    assert_eq!(launcher.pid_of("b"), Some(before[1]));
}

#[test]
fn a_child_that_ends_while_the_supervisor_process_is_away_is_restarted_once() {
    let launcher = three(ROOMY).up();
    let (a, supervisor) = (launcher.pid_of("a").unwrap(), launcher.pid_of("supervisor").unwrap());
    kill(supervisor, libc::SIGSTOP);
    kill(a, libc::SIGKILL);
    eventually("the keeper has reaped a", || stat(a).is_none().then_some(()));
    kill(supervisor, libc::SIGKILL);
    let new = launcher.wait_new_pid("a", a);
    let row = launcher.ps().into_iter().find(|row| row["name"] == "a").unwrap();
    assert_eq!((row["run"].as_i64(), row["restarts"].as_i64()), (Some(2), Some(1)));
    assert!(alive(new));
}

#[test]
fn the_restart_window_survives_the_supervisor_process() {
    let mut launcher = three("intensity = 2\nperiod = \"1h\"").up();
    for _ in 0..2 {
        let a = launcher.pid_of("a").unwrap();
        kill(a, libc::SIGKILL);
        launcher.wait_new_pid("a", a);
        let supervisor = launcher.pid_of("supervisor").unwrap();
        kill(supervisor, libc::SIGKILL);
        launcher.wait_new_pid("supervisor", supervisor);
    }
    let below = launcher.below();
    kill(launcher.pid_of("a").unwrap(), libc::SIGKILL);
    assert_eq!(launcher.wait_exit(), 70, "the third death in an hour is one too many");
    wait_gone(&below);
}

#[test]
fn an_ordered_stop_leaves_no_process() {
    let mut launcher = three(ROOMY).up();
    let below = launcher.below();
    assert_eq!(below.len(), 4, "supervisor and three children");
    kill(launcher.pid(), libc::SIGTERM);
    assert_eq!(launcher.wait_exit(), 0);
    wait_gone(&below);
    assert!(!launcher.project.path("run/control.sock").exists());
}

#[test]
fn children_are_stopped_in_reverse_order() {
    let child = |name: &str| {
        let script = format!(
            "trap 'echo {name} >> order; exit 0' TERM; echo ready; while :; do read -t 1000 x <> fifo; done"
        );
        format!("[[child]]\nname = \"{name}\"\ncommand = [\"bash\", \"-c\", {script:?}]\nlog = \"inherit\"\n")
    };
    let project = Project::new(&["a", "b", "c"].map(child).concat());
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut launcher = project.start();
    for _ in 0..3 {
        launcher.wait_line("ready");
    }
    kill(launcher.pid(), libc::SIGTERM);
    assert_eq!(launcher.wait_exit(), 0);
    assert_eq!(read(&launcher.project.path("order")), "c\nb\na\n");
}

#[test]
fn the_killed_keeper_leaves_nothing_running() {
    let mut launcher = Project::new(
        "[[child]]\nname = \"family\"\ncommand = [\"sh\", \"-c\", \"sleep 1000 & sleep 1001 & wait\"]\n\
         [[child]]\nname = \"deaf\"\ncommand = [\"sh\", \"-c\", \"trap '' TERM HUP INT; sleep 1002; sleep 1003\"]\n",
    )
    .up();
    let below = eventually("the whole family", || Some(launcher.below()).filter(|below| below.len() == 6));
    let started = std::time::Instant::now();
    kill(launcher.pid(), libc::SIGKILL);
    wait_gone(&below);
    assert!(started.elapsed() < std::time::Duration::from_secs(1), "took {:?}", started.elapsed());
    launcher.child.wait().unwrap();
}

#[test]
fn a_child_that_ignores_term_is_killed_after_its_time() {
    let mut launcher = Project::new(
        "[[child]]\nname = \"deaf\"\nshutdown = \"100ms\"\n\
         command = [\"sh\", \"-c\", \"trap '' TERM; echo deaf now; while :; do sleep 1000; done\"]\nlog = \"inherit\"\n",
    )
    .start();
    launcher.wait_line("deaf now");
    let below = launcher.below();
    kill(launcher.pid(), libc::SIGINT);
    launcher.wait_line("deaf did not stop in time");
    assert_eq!(launcher.wait_exit(), 0);
    wait_gone(&below);
}

#[test]
fn one_for_all_and_rest_for_one_replace_whom_they_say() {
    for (strategy, expected) in [("one_for_all", [true, true, true]), ("rest_for_one", [false, true, true])] {
        let launcher = three(&format!("strategy = \"{strategy}\"")).up();
        let names = ["a", "b", "c"];
        let before = names.map(|name| launcher.pid_of(name).unwrap());
        kill(before[1], libc::SIGKILL);
        launcher.wait_new_pid("c", before[2]);
        let after = names.map(|name| launcher.pid_of(name).unwrap());
        let changed: Vec<bool> = before.iter().zip(after).map(|(before, after)| *before != after).collect();
        assert_eq!(changed, expected, "{strategy}");
    }
}

#[test]
fn transient_and_temporary_children_end_as_they_should() {
    let launcher = Project::new(
        "[supervisor]\nintensity = 10\n\
         [[child]]\nname = \"done\"\nrestart = \"transient\"\ncommand = [\"true\"]\n\
         [[child]]\nname = \"once\"\nrestart = \"temporary\"\ncommand = [\"false\"]\n\
         [[child]]\nname = \"stays\"\ncommand = [\"sleep\", \"1000\"]\n",
    )
    .up();
    let names = eventually("only two specifications are left", || {
        let tree = launcher.json("tree");
        let children = tree["root"]["children"].as_array().unwrap().clone();
        let phases: Vec<(String, String)> = children
            .iter()
            .map(|child| (child["name"].as_str().unwrap().into(), child["phase"].as_str().unwrap().into()))
            .collect();
        (phases.len() == 2 && phases[0].1 == "exited").then_some(phases)
    });
    assert_eq!(names[0].0, "done");
    assert_eq!(names[1], ("stays".into(), "running".into()));
}

#[test]
fn a_nested_supervisor_gives_up_alone_and_its_parent_restarts_it() {
    let launcher = Project::new(
        "[[child]]\nname = \"inner\"\ntype = \"supervisor\"\nintensity = 0\n\
         [[child]]\nname = \"x\"\nparent = \"inner\"\ncommand = [\"sleep\", \"1000\"]\n\
         [[child]]\nname = \"y\"\nparent = \"inner\"\ncommand = [\"sleep\", \"1000\"]\n\
         [[child]]\nname = \"z\"\ncommand = [\"sleep\", \"1000\"]\n",
    )
    .up();
    let [x, y, z] = ["x", "y", "z"].map(|name| launcher.pid_of(name).unwrap());
    kill(x, libc::SIGKILL);
    launcher.wait_new_pid("y", y);
    launcher.wait_new_pid("x", x);
    assert_eq!(launcher.pid_of("z"), Some(z));
}

//! The main promise, with real processes: kill anything, and the program heals.

mod support;

use std::fs;

use support::{Project, alive, eventually, kill, read, stat, wait_gone, worker};

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

/// What a tidy-up of /tmp or /run removes.
#[derive(Clone, Copy, Debug)]
enum Tidied {
    Everything,
    RegularFiles,
    Lock,
}

fn tidy(project: &Project, tidied: Tidied) {
    let run_dir = project.path("run");
    match tidied {
        Tidied::Everything => fs::remove_dir_all(run_dir).unwrap(),
        Tidied::Lock => fs::remove_file(run_dir.join("lock")).unwrap(),
        Tidied::RegularFiles => fs::read_dir(run_dir)
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().unwrap().is_file())
            .for_each(|entry| fs::remove_file(entry.path()).unwrap()),
    }
}

#[test]
fn a_second_launcher_is_refused_when_the_run_folder_was_tidied_away() {
    for tidied in [Tidied::Everything, Tidied::RegularFiles, Tidied::Lock] {
        let config = [worker("a", ""), worker("b", "")].concat();
        let by_us = Some(Project::new(&config));
        for project in by_us.into_iter().chain(Project::new(&config).by_nobody()) {
            let launcher = project.up();
            let before = ["a", "b"].map(|name| launcher.pid_of(name));
            tidy(&launcher.project, tidied);
            for verb in [&["up"][..], &["up", "-d"]] {
                let second = launcher.project.run(verb);
                let told = String::from_utf8_lossy(&second.stderr);
                assert_eq!(second.status.code(), Some(75), "{tidied:?}: {told}");
                assert!(told.contains(&format!("another launcher (PID {})", launcher.pid())), "{told}");
            }
            eventually("a launcher that answers", || {
                launcher.project.run(&["ps"]).status.success().then_some(())
            });
            assert_eq!(["a", "b"].map(|name| launcher.pid_of(name)), before, "{tidied:?}");
            launcher.ok(&["down"]);
        }
    }
}

#[test]
fn a_run_folder_that_is_tidied_away_is_made_again_with_its_sockets() {
    let ready = "ready = { notify = true }\nlisten = [{ name = \"x\", unix = \"${RUN_DIR}/x.sock\" }]";
    let say = "import os, socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); \
               s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET']); time.sleep(1000)";
    if std::process::Command::new("python3").arg("-V").output().is_err() {
        return println!("skipped: no python3 to say that it is ready");
    }
    let config = format!("[[child]]\nname = \"a\"\ncommand = [\"python3\", \"-c\", {say:?}]\n{ready}\n");
    let launcher = Project::new(&config).up();
    let a = launcher.pid_of("a").unwrap();
    tidy(&launcher.project, Tidied::Everything);
    launcher.wait_line("x.sock; it is there again after: provost restart a");
    let told = launcher.wait_line("somebody removed");
    assert!(told.contains("the control socket, the notification socket of a"), "{told}");
    assert_eq!(launcher.pid_of("a"), Some(a));
    launcher.ok(&["restart", "a"]);
    assert_eq!(launcher.json_of(&["status", "a"])["child"]["phase"], "ready");
    assert!(launcher.project.path("run/x.sock").exists());
    // The next supervisor process finds all of it.
    launcher.replace_supervisor();
    launcher.ok(&["restart", "a"]);
}

#[test]
fn children_from_before_the_launcher_are_not_signalled() {
    for requests in [1, 3] {
        let project = Project::new(&worker("a", ""));
        let script = "sleep 1000 & echo $! > first; setsid sleep 1000 & echo $! > second; \
                      (sleep 1000 & echo $! > third; exec sleep 0.01) & exec \"$@\"";
        let up = project.provost(&["up"]);
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", script, "bash"]).arg(up.get_program()).args(up.get_args());
        shell.current_dir(project.dir.path());
        let mut launcher = project.start_by(shell);
        launcher.wait_line("distinct PIDs");
        let before = ["first", "second", "third"]
            .map(|name| eventually(name, || read(&launcher.project.path(name)).trim().parse::<i32>().ok()));
        let listed: Vec<i64> = launcher.ps().iter().filter_map(|row| row["pid"].as_i64()).collect();
        assert!(!listed.contains(&i64::from(before[0])), "{before:?} in {listed:?}");
        let below = launcher.below();
        // The third one ends the tree without its order.
        for _ in 0..requests {
            kill(launcher.pid(), libc::SIGTERM);
        }
        launcher.wait_exit();
        let left: Vec<i32> = below.into_iter().filter(|pid| alive(*pid)).collect();
        let living = before.map(alive);
        before.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
        assert_eq!(living, [true; 3], "after {requests} requests");
        assert!(left.iter().all(|pid| before.contains(pid)), "{left:?} beside {before:?}");
    }
}

#[test]
fn down_removes_its_own_sockets_and_nothing_that_took_their_place() {
    let listens = |name: &str| {
        let path = format!("${{CONFIG_DIR}}/{name}.sock");
        worker(name, &format!("listen = [{{ name = \"x\", unix = {path:?}, mode = \"0666\" }}]"))
    };
    let launcher = Project::new(&(listens("a") + &listens("b"))).up();
    let [a, b] = ["a.sock", "b.sock"].map(|name| launcher.project.path(name));
    fs::remove_file(&a).unwrap();
    fs::write(&a, "precious").unwrap();
    launcher.ok(&["down"]);
    assert_eq!(read(&a), "precious");
    assert!(!b.exists() && !launcher.project.path("run/control.sock").exists());
}

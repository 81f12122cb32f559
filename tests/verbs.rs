//! The verbs against a real launcher.

mod support;

use support::{Project, alive, kill, stat, wait_gone, worker};

fn idle(names: &[&str]) -> Project {
    let child = |name: &&str| format!("[[child]]\nname = \"{name}\"\ncommand = [\"sleep\", \"1000\"]\n");
    Project::new(&names.iter().map(child).collect::<String>())
}

#[test]
fn stop_start_and_restart() {
    let launcher = idle(&["a", "b"]).up();
    let a = launcher.pid_of("a").unwrap();
    let b = launcher.pid_of("b");
    launcher.ok(&["stop", "a"]);
    assert!(!alive(a), "stop answers when the child is gone");
    assert_eq!(launcher.pid_of("a"), None);
    launcher.ok(&["start", "a"]);
    let second = launcher.pid_of("a").unwrap();
    launcher.ok(&["restart", "a"]);
    let third = launcher.pid_of("a").unwrap();
    assert!(!alive(second) && alive(third));
    assert_eq!(launcher.pid_of("b"), b);
    let row = launcher.ps().into_iter().find(|row| row["name"] == "a").unwrap();
    assert_eq!(
        (row["run"].as_i64(), row["restarts"].as_i64()),
        (Some(3), Some(0)),
        "an operator's restart is not counted"
    );
}

#[test]
fn kill_sends_the_signal_that_is_named() {
    let launcher = idle(&["a"]).up();
    let a = launcher.pid_of("a").unwrap();
    launcher.ok(&["kill", "-s", "STOP", "a"]);
    support::eventually("a is stopped", || (stat(a)?.state == 'T').then_some(()));
    launcher.ok(&["kill", "-s", "SIGCONT", "a"]);
    launcher.ok(&["kill", "-s", "9", "a"]);
    launcher.wait_line("a restarted");
    assert_ne!(launcher.wait_new_pid("a", a), a);
}

#[test]
fn down_stops_everything_and_waits() {
    let mut launcher = idle(&["a", "b"]).up();
    let below = launcher.below();
    launcher.ok(&["down"]);
    assert!(!alive(launcher.pid()), "down answers when the launcher is gone");
    assert!(below.iter().all(|pid| !alive(*pid)));
    assert_eq!(launcher.wait_exit(), 0);
}

#[test]
fn up_detached_returns_when_the_tree_is_up() {
    let project = idle(&["a"]);
    let output = project.run(&["up", "-d"]);
    assert!(output.status.success(), "{output:?}");
    let ps = project.run(&["ps", "--json"]);
    let table: serde_json::Value = serde_json::from_slice(&ps.stdout).unwrap();
    let pids: Vec<i32> = table["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["pid"].as_i64().unwrap() as i32)
        .collect();
    assert_eq!(pids.len(), 3);
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pids[0])).unwrap();
    assert_eq!(name.trim_end(), "provost", "ps tells what it is");
    assert!(project.run(&["down"]).status.success());
    wait_gone(&pids);
}

#[test]
fn up_detached_says_why_the_boot_failed() {
    let project = Project::new("[[child]]\nname = \"a\"\ncommand = [\"/no/such/program\"]\n");
    let output = project.run(&["up", "-d"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("could not start a"), "{output:?}");
}

#[test]
fn tree_shows_nodes_strategies_and_phases() {
    let launcher = Project::new(
        "[supervisor]\nstrategy = \"rest_for_one\"\nintensity = 3\n\
         [[child]]\nname = \"inner\"\ntype = \"supervisor\"\nstrategy = \"one_for_all\"\n\
         [[child]]\nname = \"a\"\nparent = \"inner\"\ncommand = [\"sleep\", \"1000\"]\n",
    )
    .up();
    let root = &launcher.json("tree")["root"];
    assert_eq!((root["strategy"].as_str(), root["restarts_left"].as_i64()), (Some("rest_for_one"), Some(3)));
    let inner = &root["children"][0];
    assert_eq!(
        (inner["type"].as_str(), inner["strategy"].as_str()),
        (Some("supervisor"), Some("one_for_all"))
    );
    assert_eq!(inner["children"][0]["pid"].as_i64(), launcher.pid_of("a").map(i64::from));
    let text = launcher.ok(&["tree"]);
    assert!(text.contains("inner") && text.contains("one_for_all") && text.contains("running"), "{text}");
}

#[test]
fn ps_tells_what_the_kernel_says() {
    let launcher =
        Project::new("[[child]]\nname = \"family\"\ncommand = [\"sh\", \"-c\", \"sleep 1000 & wait\"]\n")
            .up();
    let rows = support::eventually("three processes and a descendant", || {
        Some(launcher.ps()).filter(|rows| rows.len() == 4)
    });
    let roles: Vec<&str> = rows.iter().map(|row| row["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["keeper", "supervisor", "child", "descendant"]);
    for row in &rows {
        let pid = row["pid"].as_i64().unwrap() as i32;
        let kernel = stat(pid).unwrap();
        assert_eq!(row["ppid"].as_i64(), Some(kernel.ppid.into()), "{row}");
        assert_eq!(row["sid"].as_i64(), Some(kernel.sid.into()), "{row}");
        assert_eq!(row["start_ticks"].as_u64(), Some(kernel.start), "{row}");
        assert!(row["rss_bytes"].as_u64().unwrap() > 0 && row["fds"].as_u64().is_some(), "{row}");
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert_eq!(row["exe"].as_str(), exe.to_str());
    }
    let [keeper, supervisor, family, sleeper] = [0, 1, 2, 3].map(|at| rows[at]["pid"].as_i64().unwrap());
    assert_eq!(rows[1]["ppid"], keeper, "the keeper is the parent of the supervisor process");
    assert_eq!(rows[2]["ppid"], keeper, "... and of every child");
    assert_eq!(rows[3]["ppid"], family);
    assert_eq!(rows[2]["sid"], family, "a child has a session of its own");
    assert!(supervisor != family && sleeper != family);
    // The table shows what is, not what was: a row is gone as soon as its process is.
    kill(sleeper as i32, libc::SIGSTOP);
    let stopped = support::eventually("the descendant is shown as stopped", || {
        launcher.ps().into_iter().find(|row| row["pid"] == sleeper && row["state"] == "T")
    });
    assert_eq!(stopped["name"], "family");
}

#[test]
fn the_api_answers_plain_curl() {
    use std::io::{Read, Write};
    let launcher = idle(&["a"]).up();
    let mut socket =
        std::os::unix::net::UnixStream::connect(launcher.project.path("run/control.sock")).unwrap();
    socket.write_all(b"GET /v1/tree HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"strategy\":\"one_for_one\""),
        "{answer}"
    );
}

#[test]
fn output_of_children_is_captured_over_a_supervisor_change() {
    let project = Project::new(
        "[[child]]\nname = \"writer\"\ncommand = [\"bash\", \"-c\", \
         \"n=0; while :; do n=$((n+1)); echo line $n; read -t 0.001 x <> fifo; done\"]\n",
    );
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.up();
    let log = launcher.project.path("log/writer.log");
    let lines = |at_least: usize| {
        support::eventually("more lines", || {
            let text = support::read(&log);
            (text.lines().count() >= at_least).then_some(text)
        })
    };
    for _ in 0..5 {
        let seen = lines(1).lines().count();
        kill(launcher.pid_of("supervisor").unwrap(), libc::SIGKILL);
        lines(seen + 50);
    }
    let text = lines(100);
    let whole = text.rfind('\n').unwrap();
    for (at, line) in text[..whole].lines().enumerate() {
        assert_eq!(line, format!("line {}", at + 1));
    }
}

/// A child whose start takes as long as nobody breaks it off; it says in a file what it lives through, and undoes its work
/// when it is asked to.
fn slow_start(name: &str, keys: &str) -> String {
    let script = "trap 'echo undone >> said; exit 3' TERM; echo begun >> said; while :; do read -t 1000 x <> fifo; done";
    support::scripted(name, script, keys)
}

/// Two children and a slow start between them, under way.
fn starting(keys: &str) -> support::Launcher {
    let children = worker("first", "") + &slow_start("slow", keys) + &worker("last", "");
    let project = Project::new(&("[supervisor]\nstrategy = \"one_for_one\"\n".to_owned() + &children));
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.start();
    wait_said(&launcher, "begun\n");
    launcher
}

fn wait_said(launcher: &support::Launcher, text: &str) {
    let path = launcher.project.path("said");
    support::eventually(text, || (support::read(&path) == text).then_some(()));
}

const SLOW: [&str; 2] = ["type = \"oneshot\"", "ready = { notify = true, timeout = \"5min\" }"];

#[test]
fn a_start_that_a_stop_of_everything_breaks_off_is_asked_first() {
    for keys in SLOW {
        let mut launcher = starting(keys);
        launcher.ok(&["down"]);
        assert_eq!(launcher.wait_exit(), 0);
        wait_said(&launcher, "begun\nundone\n");
        let told = launcher.rest_of_output().concat();
        assert!(!told.contains("in time") && told.contains("broken off"), "{told}");

        let mut launcher = starting(keys);
        kill(launcher.pid(), libc::SIGINT);
        assert_eq!(launcher.wait_exit(), 0);
        wait_said(&launcher, "begun\nundone\n");
    }
}

#[test]
fn a_start_that_takes_too_long_is_asked_first() {
    let mut launcher = starting("ready = { notify = true, timeout = \"200ms\" }");
    assert_eq!(launcher.wait_exit(), 69);
    wait_said(&launcher, "begun\nundone\n");
    let told = launcher.rest_of_output().concat();
    assert!(told.contains("not ready in time and was stopped"), "{told}");
}

#[test]
fn stop_and_restart_break_a_start_off_and_the_boot_goes_on() {
    for keys in SLOW {
        let launcher = starting(keys);
        launcher.ok(&["stop", "slow"]);
        wait_said(&launcher, "begun\nundone\n");
        launcher.wait_line("distinct PIDs");
        assert!(launcher.pid_of("last").is_some());
        assert_eq!(launcher.pid_of("slow"), None);
    }
    let launcher = starting(SLOW[1]);
    let mut restart = support::Aside(launcher.project.provost(&["restart", "slow"]).spawn().unwrap());
    wait_said(&launcher, "begun\nundone\nbegun\n");
    launcher.ok(&["stop", "slow"]);
    wait_said(&launcher, "begun\nundone\nbegun\nundone\n");
    assert_eq!(restart.0.wait().unwrap().code(), Some(1), "its start was broken off");
}

#[test]
fn a_request_that_waits_for_a_siblings_start_says_so() {
    use std::io::{BufRead, BufReader};
    let launcher = starting(SLOW[1]);
    let mut command = launcher.project.provost(&["restart", "first"]);
    let mut restart = support::Aside(command.stderr(std::process::Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(restart.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("first waits for slow"), "{line}");
    assert!(launcher.ok(&["why", "first"]).contains("a request about it waits for slow"));
    launcher.ok(&["stop", "slow"]);
    assert!(restart.0.wait().unwrap().success());
}

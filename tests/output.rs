//! What is kept of children: their output by `logs`, their exits by `history`, both by the API.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::Value;
use support::{Launcher, Project, eventually, http_get, kill, read, scripted};

fn text(project: &Project, args: &[&str]) -> String {
    let output = project.run(args);
    assert!(output.status.success(), "provost {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of `provost logs` without their times.
fn logged(project: &Project, args: &[&str]) -> Vec<String> {
    let all = text(project, &[&["logs"], args].concat());
    all.lines()
        .map(|line| {
            let (time, rest) = line.split_once(' ').unwrap();
            assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
            rest.to_owned()
        })
        .collect()
}

fn wait_for_log(launcher: &Launcher, name: &str, text: &str) {
    let path = launcher.project.path(&format!("log/{name}"));
    eventually(&format!("{text:?} in {name}"), || read(&path).contains(text).then_some(()));
}

fn history(project: &Project, args: &[&str]) -> Vec<Value> {
    let json: Value = serde_json::from_str(&text(project, &[&["history", "--json"], args].concat())).unwrap();
    assert_eq!(json["version"], 1);
    json["exits"].as_array().unwrap().clone()
}

#[test]
fn logs_shows_all_children_in_order_with_and_without_a_launcher() {
    let config = scripted("a", "for n in $(seq 30); do echo a$n; done; exec sleep 1000", "")
        + &scripted("b", "echo -e 'b1 \\e[31m'; exec sleep 1000", "");
    let launcher = Project::new(&config).up();
    wait_for_log(&launcher, "a.log", "a30\n");
    wait_for_log(&launcher, "b.log", "b1");
    let mut seen = logged(&launcher.project, &[]);
    assert_eq!(seen.len(), 11, "the last ten lines of a, and all of b: {seen:?}");
    seen.retain(|line| line.starts_with("a "));
    let expected: Vec<String> = (21..=30).map(|n| format!("a | a{n}")).collect();
    assert_eq!(seen, expected);
    assert_eq!(logged(&launcher.project, &["b"]), ["b | b1 \\x1b[31m"]);
    launcher.ok(&["down"]);
    assert_eq!(logged(&launcher.project, &["-n", "2", "a"]), ["a | a29", "a | a30"]);
    assert_eq!(logged(&launcher.project, &["-n", "all", "a"]).len(), 30);
    assert_eq!(logged(&launcher.project, &["--since", "1h", "a"]).len(), 30);
    assert_eq!(logged(&launcher.project, &["--since", "2999-01-01T00:00:00Z"]).len(), 0);
    let unknown = launcher.project.run(&["logs", "bb"]);
    assert_eq!(unknown.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean b?"), "{unknown:?}");
}

#[test]
fn logs_reaches_instances_separate_files_and_children_that_left_the_config() {
    let separate = "instances = 2\nlog = { stderr = \"separate\" }";
    let config = scripted("w", "echo out; echo err >&2; exec sleep 1000", separate);
    let launcher = Project::new(&config).up();
    for name in ["w@1.log", "w@1.err.log", "w@2.log", "w@2.err.log"] {
        wait_for_log(&launcher, name, if name.contains("err") { "err\n" } else { "out\n" });
    }
    assert_eq!(read(&launcher.project.path("log/w@1.log")), "out\n");
    let mut seen = logged(&launcher.project, &["w"]);
    seen.sort();
    assert_eq!(seen, ["w@1     | out", "w@1.err | err", "w@2     | out", "w@2.err | err"]);
    launcher.project.configure("[[child]]\nname = \"other\"\ncommand = [\"true\"]\n");
    assert_eq!(logged(&launcher.project, &[]).len(), 0);
    assert_eq!(logged(&launcher.project, &["w@2"]).len(), 2);
    launcher.project.configure("this is no config");
    assert_eq!(launcher.project.run(&["logs"]).status.code(), Some(78));
}

#[test]
fn separate_streams_survive_the_supervisor_process() {
    let script = "n=0; while :; do n=$((n+1)); echo line $n; echo line $n >&2; read -t 0.001 x <> fifo; done";
    let project = Project::new(&scripted("w", script, "log = { stderr = \"separate\" }"));
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.up();
    for _ in 0..5 {
        let supervisor = launcher.pid_of("supervisor").unwrap();
        kill(supervisor, libc::SIGKILL);
        launcher.wait_new_pid("supervisor", supervisor);
    }
    launcher.ok(&["stop", "w"]);
    for name in ["w.log", "w.err.log"] {
        let text = read(&launcher.project.path(&format!("log/{name}")));
        for (n, line) in text.lines().enumerate() {
            assert_eq!(line, format!("line {}", n + 1), "{name}");
        }
    }
}

#[test]
fn logs_follows_over_rotations_and_the_death_of_the_supervisor_process() {
    let script = "n=0; while [ $n -lt 3000 ]; do n=$((n+1)); echo line $n; done; exec sleep 1000";
    let limits = "log = { max_size = \"4KiB\", max_files = 50 }";
    let waits = format!("echo line 0; read x < fifo; {script}");
    let project = Project::new(&scripted("w", &waits, limits));
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.up();
    let follower = launcher.project.provost(&["logs", "--follow", "w"]).stdout(Stdio::piped()).spawn();
    let mut follower = support::Aside(follower.unwrap());
    let mut lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    for n in 0..=3000 {
        let line = lines.next().unwrap().unwrap();
        assert!(line.ends_with(&format!(" w | line {n}")), "line {n}: {line}");
        if n == 0 {
            fs::write(launcher.project.path("fifo"), "go\n").unwrap();
        }
        if n == 1000 {
            kill(launcher.pid_of("supervisor").unwrap(), libc::SIGKILL);
        }
    }
}

#[test]
fn the_api_gives_the_same_lines_and_goes_on_with_new_ones() {
    let script = "echo one; echo two; read x < fifo; echo three; exec sleep 1000";
    let project = Project::new(&scripted("w", script, ""));
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.up();
    wait_for_log(&launcher, "w.log", "two\n");
    let socket = launcher.project.path("run/control.sock");
    let lines = |answer: &str| -> Vec<String> {
        let data = answer.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|json| serde_json::from_str::<Value>(json).unwrap()["line"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(lines(&http_get(&socket, "/v1/logs/w")), ["one", "two"]);
    assert_eq!(lines(&http_get(&socket, "/v1/logs/w?lines=1")), ["two"]);
    assert_eq!(lines(&http_get(&socket, "/v1/logs/w?since=1h&lines=5")), ["one", "two"]);
    assert_eq!(lines(&http_get(&socket, "/v1/logs/w?since=2999-01-01T00%3A00%3A00Z")), [""; 0]);
    assert!(http_get(&socket, "/v1/logs/x").starts_with("HTTP/1.1 404"));
    for bad in ["lines=x", "since=then", "color=red"] {
        assert!(http_get(&socket, &format!("/v1/logs/w?{bad}")).starts_with("HTTP/1.1 400"), "{bad}");
    }
    let mut follower = UnixStream::connect(&socket).unwrap();
    follower.set_read_timeout(Some(support::BOUND)).unwrap();
    follower.write_all(b"GET /v1/logs/w?follow&lines=1 HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
    let mut answer = String::new();
    let mut until = |follower: &mut UnixStream, text: &str| {
        while !answer.contains(text) {
            let mut byte = [0; 512];
            let read = follower.read(&mut byte).unwrap();
            assert!(read > 0, "ended: {answer}");
            answer.push_str(std::str::from_utf8(&byte[..read]).unwrap());
        }
    };
    until(&mut follower, "\"two\"");
    fs::write(launcher.project.path("fifo"), "go\n").unwrap();
    until(&mut follower, "\"three\"");
}

/// A client that asks for everything and reads nothing.
#[test]
fn a_client_that_does_not_read_its_logs_costs_nobody_anything() {
    let script = "while :; do echo 0123456789012345678901234567890123456789; done";
    let launcher = Project::new(&scripted("w", script, "log = { max_size = \"1MiB\", max_files = 1 }")).up();
    let socket = launcher.project.path("run/control.sock");
    let clients: Vec<UnixStream> = (0..40)
        .map(|_| {
            let mut client = UnixStream::connect(&socket).unwrap();
            client.write_all(b"GET /v1/logs/w?follow&lines=100000 HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
            client
        })
        .collect();
    let supervisor = launcher.pid_of("supervisor").unwrap();
    for _ in 0..20 {
        assert!(http_get(&socket, "/healthz").starts_with("HTTP/1.1 200"));
    }
    let memory = support::status_number(supervisor, "VmRSS").unwrap();
    assert!(memory < 64 * 1024, "{memory} KiB");
    drop(clients);
    assert_eq!(launcher.pid_of("supervisor"), Some(supervisor));
}

#[test]
fn history_keeps_every_exit_over_supervisor_processes_and_launchers() {
    let config = "[supervisor]\nstrategy = \"rest_for_one\"\nintensity = 100\n".to_owned()
        + &scripted("a", "echo a speaks in run $PROVOST_RUN; exec sleep 1000", "")
        + &scripted("b", "exec sleep 1000", "");
    let mut launcher = Project::new(&config).up();
    for run in 1..=2 {
        wait_for_log(&launcher, "a.log", &format!("run {run}\n"));
        let a = launcher.pid_of("a").unwrap();
        kill(a, libc::SIGKILL);
        launcher.wait_new_pid("a", a);
        let supervisor = launcher.pid_of("supervisor").unwrap();
        kill(supervisor, libc::SIGKILL);
        launcher.wait_new_pid("supervisor", supervisor);
    }
    wait_for_log(&launcher, "a.log", "run 3\n");
    launcher.ok(&["down"]);
    assert_eq!(launcher.wait_exit(), 0);
    let exits = history(&launcher.project, &["a"]);
    assert_eq!(exits.len(), 3, "{exits:#?}");
    for (exit, run) in exits.iter().zip(1..) {
        assert_eq!((exit["name"].as_str(), exit["run"].as_i64()), (Some("a"), Some(run)));
        let last_words = exit["log_tail"].as_array().unwrap();
        assert_eq!(last_words.len(), 1, "of this run alone: {exit:#?}");
        assert_eq!(last_words[0]["line"], format!("a speaks in run {run}"));
        assert!(exit["rusage"]["max_rss_bytes"].as_u64().unwrap() > 0);
        let times =
            ["started", "ended"].map(|at| humantime::parse_rfc3339(exit[at].as_str().unwrap()).unwrap());
        assert!(times[0] < times[1]);
    }
    assert_eq!(exits[0]["exit"], serde_json::json!({"signal": 9, "name": "SIGKILL", "core": false}));
    assert_eq!((&exits[0]["decision"], &exits[0]["requested"]), (&"restart".into(), &false.into()));
    assert_eq!(exits[0]["touched"], serde_json::json!(["b"]));
    assert_eq!((&exits[2]["exit"]["signal"], &exits[2]["requested"]), (&15.into(), &true.into()));
    // The next launcher adds to it.
    let first_launch = exits[0]["launch"].clone();
    let second = launcher.project.clone().up();
    second.ok(&["stop", "a"]);
    let exits = history(&second.project, &["a"]);
    assert_eq!(exits.len(), 4);
    assert_ne!(exits[3]["launch"], first_launch);
    assert_eq!(history(&second.project, &["-n", "1"]).len(), 1);
    let table = text(&second.project, &["history"]);
    assert!(table.starts_with("ENDED") && table.contains("killed by SIGKILL"), "{table}");
    let answer = http_get(&second.project.path("run/control.sock"), "/v1/history?name=a&lines=2");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["exits"], serde_json::json!(exits[2..]));
}

#[test]
fn history_knows_children_that_go_with_their_exit_and_starts_that_fail() {
    let launcher = Project::new(
        &(scripted("once", "echo bye; exit 7", "restart = \"temporary\"")
            + &scripted("stays", "exec sleep 1000", "")),
    )
    .up();
    let exits = eventually("the exit", || {
        Some(history(&launcher.project, &["once"])).filter(|exits| exits.len() == 1)
    });
    assert_eq!((&exits[0]["exit"]["code"], &exits[0]["decision"]), (&7.into(), &"removed".into()));
    assert_eq!(exits[0]["log_tail"][0]["line"], "bye");
}

#[test]
fn status_shows_the_last_exit_and_the_last_lines() {
    let config = "[supervisor]\nintensity = 9\n".to_owned()
        + &scripted("web", "echo hello from run $PROVOST_RUN; exec sleep 1000", "");
    let launcher = Project::new(&config).up();
    wait_for_log(&launcher, "web.log", "run 1\n");
    let web = launcher.pid_of("web").unwrap();
    kill(web, libc::SIGKILL);
    launcher.wait_new_pid("web", web);
    wait_for_log(&launcher, "web.log", "run 2\n");
    let status = eventually("the last exit", || {
        Some(launcher.ok(&["status", "web"])).filter(|status| status.contains("killed by SIGKILL at "))
    });
    assert!(
        status.contains("web | hello from run 1\n") && status.contains("web | hello from run 2\n"),
        "{status}"
    );
}

#[test]
fn a_planted_link_gets_no_line_of_a_background_launcher() {
    let project = Project::new(&support::worker("a", ""));
    fs::create_dir(project.path("log")).unwrap();
    fs::write(project.path("precious"), "precious").unwrap();
    std::os::unix::fs::symlink(project.path("precious"), project.path("log/provost.log")).unwrap();
    let output = project.run(&["up", "-d"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(told.contains("log/provost.log: it is a symbolic link; remove it"), "{told}");
    assert_eq!(read(&project.path("precious")), "precious");
}

#[test]
fn a_log_folder_swapped_for_another_users_link_changes_no_other_folder() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: only root can make another user's link");
    }
    let log = "log = { max_size = \"4KiB\", max_files = 1 }";
    let script = "while read -r line; do for n in $(seq 999); do echo number $n of $line; done; done <> fifo";
    let project = Project::new(&scripted("a", script, log));
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.up();
    let mut fifo = fs::OpenOptions::new().write(true).open(launcher.project.path("fifo")).unwrap();
    writeln!(fifo, "before").unwrap();
    wait_for_log(&launcher, "a.log", "of before");
    let at = |name: &str| launcher.project.path(name);
    fs::create_dir(at("precious")).unwrap();
    let names = ["a.log", "a.log.1", "a.log.2", "a.log.idx", "history.jsonl"];
    names.iter().for_each(|name| fs::write(at("precious").join(name), *name).unwrap());
    std::os::unix::fs::symlink(at("precious"), at("link")).unwrap();
    std::os::unix::fs::lchown(at("link"), Some(support::NOBODY), None).unwrap();
    fs::rename(at("log"), at("moved")).unwrap();
    fs::rename(at("link"), at("log")).unwrap();
    writeln!(fifo, "after").unwrap();
    eventually("output that waits", || {
        let status = launcher.json_of(&["status", "a"]).to_string();
        status.contains("is a symbolic link that another user could have made").then_some(())
    });
    for name in names {
        assert_eq!(read(&at("precious").join(name)), name);
    }
    assert_eq!(fs::read_dir(at("precious")).unwrap().count(), names.len());
}

//! `counts`, `why` and `wait`, through a real launcher.

mod support;

use std::process::{Child, Stdio};

use serde_json::{Value, json};
use support::{Launcher, Project, eventually, kill, read, worker};

fn why(launcher: &Launcher, name: &str) -> Value {
    launcher.json_of(&["why", name])
}

#[test]
fn counts_are_otps() {
    let launcher = Project::new(
        &(worker("a", "")
            + &worker("b", "")
            + "[[child]]\nname = \"pool\"\ntype = \"supervisor\"\nstrategy = \"simple_one_for_one\"\n"
            + &worker("job", "parent = \"pool\"")),
    )
    .up();
    launcher.ok(&["stop", "b"]);
    launcher.ok(&["add", "--parent", "pool"]);
    launcher.ok(&["add", "--parent", "pool"]);
    let counts = |args: &[&str]| {
        let counts = launcher.json_of(&[&["counts"], args].concat());
        ["specs", "active", "supervisors", "workers"].map(|key| counts[key].as_u64().unwrap())
    };
    assert_eq!(counts(&[]), [3, 2, 1, 2]);
    assert_eq!(counts(&["test"]), [3, 2, 1, 2], "the root is called as the project");
    assert_eq!(counts(&["pool"]), [1, 2, 0, 2]);
    let text = launcher.ok(&["counts", "pool"]);
    assert_eq!(text, "specs        1\nactive       2\nsupervisors  0\nworkers      2\n");
}

#[test]
fn why_tells_how_a_child_came_to_where_it_is() {
    let launcher = Project::new(
        &("[supervisor]\nintensity = 1\nperiod = \"1h\"\ngive_up = \"child\"\n".to_owned()
            + &worker("runs", "")
            + &worker("asked", "")
            + "[[child]]\nname = \"ends\"\nrestart = \"transient\"\ncommand = [\"sh\", \"-c\", \"exit 0\"]\n"
            + &worker("ignored", "condition = { exists = \"/no/such/file\" }")
            + &worker("dies", "")),
    )
    .up();
    let reason = |name: &str| why(&launcher, name)["reason"].as_str().unwrap().to_owned();
    launcher.ok(&["stop", "asked"]);
    eventually("ends has ended", || (reason("ends") == "ended").then_some(()));
    for _ in 0..2 {
        let pid = eventually("dies runs", || launcher.pid_of("dies"));
        kill(pid, libc::SIGKILL);
        eventually("it is dealt with", || (launcher.pid_of("dies") != Some(pid)).then_some(()));
    }
    eventually("dies is given up on", || (reason("dies") == "given_up").then_some(()));
    let check = || {
        assert_eq!(reason("asked"), "stopped_by_request");
        assert_eq!(reason("ignored"), "ignored");
        assert_eq!(reason("ends"), "ended");
        assert_eq!(reason("dies"), "given_up");
        let runs = why(&launcher, "runs");
        assert_eq!((&runs["reason"], &runs["run"]), (&json!("runs"), &json!(1)));
        assert_eq!(runs["pid"].as_i64(), launcher.pid_of("runs").map(i64::from));
        assert!(runs["uptime_ms"].as_u64().is_some());
        assert_eq!((&runs["restarts_left"], &runs["supervisor"]), (&json!(0), &json!("test")));
        assert_eq!(why(&launcher, "ends")["last_exit"], json!({"code": 0}));
    };
    check();
    launcher.replace_supervisor();
    check();
    let text = launcher.ok(&["why", "asked"]);
    assert!(text.starts_with("asked is stopped: somebody asked for it"), "{text}");
    assert!(text.contains("test has 0 of 1 restarts in 1h left; one more in "), "{text}");
    // A child given up on needs no reset: it can be started.
    launcher.ok(&["start", "dies"]);
    assert_eq!(reason("dies"), "runs");
}

#[test]
fn why_names_what_is_waited_for() {
    let stubborn = "[[child]]\nname = \"slow\"\nshutdown = \"infinity\"\n\
                    command = [\"bash\", \"-c\", \"trap '' TERM; echo up; read x < fifo\"]\n";
    let project = Project::new(
        &("[supervisor]\nstrategy = \"one_for_all\"\n".to_owned() + &worker("first", "") + stubborn),
    );
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.up();
    let log = launcher.project.path("log/slow.log");
    eventually("slow ignores TERM", || read(&log).contains("up").then_some(()));
    kill(launcher.pid_of("first").unwrap(), libc::SIGKILL);
    let first =
        eventually("first waits", || Some(why(&launcher, "first")).filter(|why| why["reason"] == "restarts"));
    assert_eq!(first["waits_for"], "slow");
    assert_eq!(why(&launcher, "slow")["reason"], "stops");
    kill(launcher.pid_of("slow").unwrap(), libc::SIGKILL);
    eventually("first is back", || launcher.pid_of("first"));
}

#[test]
fn wait_ends_when_it_is_so_or_the_time_is_over() {
    let launcher = Project::new(&(worker("a", "") + &worker("t", "restart = \"temporary\""))).up();
    launcher.ok(&["wait", "a", "--for", "ready"]);
    let late = launcher.project.run(&["wait", "a", "--for", "stopped", "--timeout", "50ms"]);
    assert_eq!(late.status.code(), Some(124), "{late:?}");
    let unknown = launcher.project.run(&["wait", "nobody", "--for", "stopped"]);
    assert_eq!(unknown.status.code(), Some(4), "{unknown:?}");
    let wait = |args: &[&str]| launcher.project.provost(args).stdout(Stdio::piped()).spawn().unwrap();
    let ended = |wait: Child| {
        let output = wait.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let stopped = wait(&["wait", "a", "--for", "stopped"]);
    let gone = wait(&["wait", "t", "--for", "stopped"]);
    launcher.replace_supervisor();
    launcher.ok(&["stop", "a"]);
    kill(launcher.pid_of("t").unwrap(), libc::SIGKILL);
    assert_eq!(ended(stopped), (Some(0), "a: stopped\n".into()));
    assert_eq!(ended(gone), (Some(0), "t: gone\n".into()));
    let ready = wait(&["wait", "a", "--for", "ready", "--json"]);
    launcher.ok(&["start", "a"]);
    let (code, status) = ended(ready);
    assert_eq!(code, Some(0));
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["child"]["pid"].as_i64(), launcher.pid_of("a").map(i64::from));
}

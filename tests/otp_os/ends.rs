//! How launchers end, when, and by which clock.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Project, alive, kill, wait_gone};
use crate::watched::{Orders, Watched, flags, idle, obedient, refused};

/// The clock on the wall jumps two hours ahead between two deaths of an hour: they are still two in an hour.
#[test]
fn o23_the_wall_clock_jumps() {
    let project = Project::new(&(flags("one_for_one", 1) + &obedient("a", "")));
    let mut orders = Orders::create(&project.path("a.order"));
    let (jump, source, shim) = (project.path("jump"), project.path("shim.c"), project.path("shim.so"));
    let code = "#include <time.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n\
        int clock_gettime(clockid_t clock, struct timespec *time) {\n\
            int result = syscall(SYS_clock_gettime, clock, time);\n\
            if (result == 0 && clock == CLOCK_REALTIME && access(JUMP, F_OK) == 0) time->tv_sec += 7200;\n\
            return result;\n}\n";
    std::fs::write(&source, code).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", &format!("-DJUMP={:?}", jump.to_str().unwrap()), "-o"])
        .args([&shim, &source])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let mut up = project.provost(&["up"]);
    up.env("LD_PRELOAD", &shim);
    let launcher = project.start_by(up);
    launcher.wait_line("distinct PIDs");
    let mut watched = Watched::watch(launcher);
    orders.exit(1);
    let first = watched.wait("exited", "a");
    watched.wait("started", "a");
    std::fs::write(&jump, "").unwrap();
    orders.exit(1);
    let second = watched.wait("exited", "a");
    let wall = |event: &Value| humantime::parse_rfc3339(event["at"].as_str().unwrap()).unwrap();
    let jumped = wall(&second).duration_since(wall(&first)).unwrap();
    assert!(jumped >= Duration::from_secs(7200), "the clock has not jumped, but gone on by {jumped:?}");
    assert_eq!(second["decision"], "give_up");
    assert_eq!(watched.launcher.wait_exit(), 70);
}

/// A stop breaks a start off at once, and nothing else begins. (OTP would finish the boot first.)
#[test]
fn o25_stop_during_boot() {
    let slow = idle("c", "ready = { notify = true, timeout = \"30s\" }");
    let tree = idle("a", "") + &idle("b", "") + &slow + &idle("d", "");
    let mut watched = Watched::watch(Project::new(&(flags("one_for_one", 1) + &tree)).start());
    watched.wait("started", "b");
    let c = crate::support::eventually("a process of c", || watched.child("c")["pid"].as_i64()) as i32;
    let began = Instant::now();
    kill(watched.launcher.pid(), libc::SIGTERM);
    assert_eq!(watched.launcher.wait_exit(), 0);
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
    assert!(!alive(c));
    watched.wait("started", "a");
    assert_eq!(watched.wait("stopped", "test")["class"], "stopped");
    let rest = watched.rest();
    let told = |event: &Value| {
        let (kind, name) = (event["event"].as_str()?, event["name"].as_str()?);
        let tells = name != "test" && ["exited", "start_failed"].contains(&kind);
        tells.then(|| format!("{kind} {name}"))
    };
    let told: Vec<String> = rest.iter().filter_map(told).collect();
    assert_eq!(told, ["exited c", "start_failed c", "exited b", "exited a"]);
    assert!(rest.iter().all(|event| event["name"] != "d" || event["event"] == "added"), "{rest:#?}");
}

#[test]
fn o27_backoff_is_the_state_restarting() {
    let backoff = "backoff = { initial = \"30s\", max = \"30s\" }";
    let project = Project::new(&(flags("one_for_one", 9) + &obedient("a", backoff) + &idle("b", "")));
    let mut orders = Orders::create(&project.path("a.order"));
    let mut watched = Watched::up(project);
    orders.exit(1);
    watched.wait("backoff", "a");
    assert_eq!(refused(&watched.post("/v1/children", &json!({ "child": idle("a", "") }))), "already_present");
    assert_eq!(refused(&watched.ask("a", "start")), "restarting");
    assert_eq!(refused(&watched.control.delete("/v1/children/a").unwrap()), "restarting");
    let counts = watched.control.get("/v1/counts").unwrap().body;
    assert_eq!((&counts["specs"], &counts["active"]), (&json!(2), &json!(1)));
    let began = Instant::now();
    kill(watched.launcher.pid(), libc::SIGTERM);
    assert_eq!(watched.launcher.wait_exit(), 0);
    assert!(began.elapsed() < Duration::from_secs(2), "the pause is not waited for: {:?}", began.elapsed());
}

/// Runs a project to its end, with what makes it end; nothing is left of it.
fn status(config: &str, end: impl FnOnce(&mut Watched, &mut Orders)) -> i32 {
    let project = Project::new(config);
    let mut orders = Orders::create(&project.path("a.order"));
    let mut watched = Watched::up(project);
    let below = watched.launcher.below();
    end(&mut watched, &mut orders);
    let code = watched.launcher.wait_exit();
    wait_gone(&below);
    code
}

#[test]
fn o33_exit_status_of_the_launcher() {
    let stopped = status(&obedient("a", ""), |watched, _| kill(watched.launcher.pid(), libc::SIGTERM));
    let gave_up = status(&(flags("one_for_one", 0) + &obedient("a", "")), |_, orders| orders.exit(1));
    let significant = obedient("a", "restart = \"transient\"\nsignificant = true") + &idle("b", "");
    let shut_down =
        status(&format!("[supervisor]\nauto_shutdown = \"any_significant\"\n{significant}"), |_, orders| {
            orders.exit(0)
        });
    let failed = idle("a", "") + "[[child]]\nname = \"b\"\ncommand = [\"/no/such/program\"]\n";
    let failed = Project::new(&failed).run(&["up"]).status.code();
    let broken = Project::new("[supervisor]\nstrategy = \"none\"\n").run(&["up"]).status.code();
    assert_eq!((stopped, gave_up, shut_down, failed, broken), (0, 70, 0, Some(69), Some(78)));
}

#[test]
fn o36_levels() {
    let tree = obedient("a", "") + &obedient("t", "restart = \"transient\"");
    let project = Project::new(&(flags("one_for_one", 9) + &tree));
    let mut orders = Orders::create(&project.path("a.order"));
    let mut done = Orders::create(&project.path("t.order"));
    let mut watched = Watched::up(project);
    let mut level = |kind: &str, name: &str| watched.wait(kind, name)["level"].as_str().unwrap().to_owned();
    assert_eq!(level("started", "a"), "info", "at boot");
    orders.exit(0);
    assert_eq!(level("exited", "a"), "error", "permanent children do not end");
    assert_eq!(level("started", "a"), "info", "by itself");
    level("started", "t");
    done.exit(1);
    assert_eq!(level("exited", "t"), "error", "abnormal");
    level("started", "t");
    done.exit(0);
    assert_eq!(level("exited", "t"), "info", "done");
    watched.ask("a", "stop");
    watched.ask("a", "start");
    let mut level = |kind: &str, name: &str| watched.wait(kind, name)["level"].as_str().unwrap().to_owned();
    assert_eq!(level("exited", "a"), "info", "as asked");
    assert_eq!(level("started", "a"), "debug", "as asked");
}

//! Rows of the fault matrix that are about starts that cannot be and configs that should not be, by their numbers: exec
//! errors, lack of memory and of descriptors, secrets in the launcher's environment, bad reloads.
//!
//! F08 and what concerns users, limits and control groups are elsewhere.

mod support;

use std::fs::{self, OpenOptions, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{
    Aside, Launcher, Project, alive, eventually, http_get, kill, let_pass, scripted, stat, worker,
};

const ROOMY: &str = "[supervisor]\nintensity = 9\nperiod = \"1h\"\n";

/// A program file with this content and mode.
fn program(project: &Project, name: &str, content: &[u8], mode: u32) {
    fs::write(project.path(name), content).unwrap();
    fs::set_permissions(project.path(name), Permissions::from_mode(mode)).unwrap();
}

/// The restarts its supervisor has left.
fn restarts_left(launcher: &Launcher) -> u64 {
    launcher.json("tree")["root"]["restarts_left"].as_u64().unwrap()
}

#[test]
fn f07_what_cannot_be_executed_fails_at_once_with_errno_and_path() {
    let launcher = Project::new(&(ROOMY.to_owned() + &worker("a", ""))).up();
    let project = &launcher.project;
    let a = launcher.pid_of("a").unwrap();
    program(project, "gone", b"#!/bin/sh\n", 0o700);
    program(project, "closed", b"#!/bin/sh\n", 0o600);
    program(project, "garbage", &[0x7f, 0x0b, 0xad], 0o700);
    program(project, "busy", &fs::read("/bin/sleep").unwrap(), 0o700);
    symlink("loop", project.path("loop")).unwrap();
    let _open_for_writing = OpenOptions::new().write(true).open(project.path("busy")).unwrap();
    for (name, errno, keys) in [
        ("gone", "ENOENT", ""),
        ("closed", "EACCES", ""),
        ("garbage", "ENOEXEC", ""),
        ("loop", "ELOOP", ""),
        ("busy", "ETXTBSY", ""),
        ("true", "ENOENT", "cwd = \"no-such-folder\""),
    ] {
        let command = if name == "true" { "/bin/true".to_owned() } else { format!("./{name}") };
        let child = format!("[[child]]\nname = \"{name}\"\ncommand = [{command:?}]\n{keys}\n");
        fs::write(project.path("child.toml"), child).unwrap();
        if name == "gone" {
            fs::remove_file(project.path("gone")).unwrap();
        }
        let output = project.run(&["add", "--json", project.path("child.toml").to_str().unwrap()]);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(0), "{name}: {said}");
        let path = if keys.is_empty() { format!("/{name}") } else { "no-such-folder".to_owned() };
        assert!(said.contains(errno) && said.contains(&path), "{name}, {errno}, {path}: {said}");
    }
    assert_eq!(launcher.pid_of("a"), Some(a));
    assert_eq!(restarts_left(&launcher), 9, "none of it is a restart");
}

/// Attached to the supervisor process, it fails the next two clones and writes that into `report`.
fn injector(supervisor: i32, report: &Path) -> Option<Aside> {
    let strace = Command::new("strace")
        .args(["-p", &supervisor.to_string(), "-o"])
        .arg(report)
        .args(["-e", "trace=clone3", "-e", "inject=clone3:error=ENOMEM:when=1..2"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut strace = Aside(strace.ok()?);
    let mut first = String::new();
    BufReader::new(strace.0.stderr.take()?).read_line(&mut first).ok()?;
    first.contains("attached").then_some(strace)
}

#[test]
fn f09_without_memory_for_a_clone_it_is_tried_again_and_counts_for_nothing() {
    let launcher = Project::new(&(ROOMY.to_owned() + &worker("a", "") + &worker("b", ""))).up();
    let supervisor = launcher.pid_of("supervisor").unwrap();
    let report = launcher.project.path("strace.txt");
    let Some(strace) = injector(supervisor, &report) else {
        println!("skipped: there is no strace that may attach to a process");
        return;
    };
    let [a, b] = ["a", "b"].map(|name| launcher.pid_of(name).unwrap());
    kill(a, libc::SIGKILL);
    launcher.wait_new_pid("a", a);
    drop(strace);
    let failed = fs::read_to_string(report).unwrap().matches("ENOMEM").count();
    assert_eq!(failed, 2, "clones failed before one succeeded");
    assert_eq!(launcher.pid_of("b"), Some(b));
    assert_eq!(launcher.pid_of("supervisor"), Some(supervisor));
    assert_eq!(restarts_left(&launcher), 8, "one death, one restart");
}

/// Sets the soft limit of open files of another process.
fn limit_descriptors(pid: i32, soft: u64) {
    let status =
        Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={soft}:")]).status();
    assert!(status.unwrap().success());
}

/// CPU time of a process, in clock ticks (a hundred a second).
fn cpu_ticks(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = text.rsplit_once(')').unwrap();
    let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    fields[11] + fields[12]
}

#[test]
fn f10_without_descriptors_it_waits_and_goes_on_when_there_are_some() {
    if Command::new("prlimit").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: there is no prlimit");
        return;
    }
    let launcher = Project::new(&(ROOMY.to_owned() + &worker("a", "") + &worker("b", ""))).up();
    let supervisor = launcher.pid_of("supervisor").unwrap();
    let [a, b] = ["a", "b"].map(|name| launcher.pid_of(name).unwrap());
    let socket = launcher.project.path("run/control.sock");
    limit_descriptors(supervisor, 3);
    kill(a, libc::SIGKILL);
    eventually("the end of a", || (!alive(a)).then_some(()));
    // Somebody asks meanwhile: the connection waits in the queue.
    let asked = std::thread::spawn(move || http_get(&socket, "/healthz"));
    let before = cpu_ticks(supervisor);
    let_pass(Duration::from_secs(1));
    let spent = cpu_ticks(supervisor) - before;
    assert!(spent < 30, "{spent} ticks in a second: it spins");
    assert!(alive(b) && stat(supervisor).is_some_and(|stat| stat.state != 'Z'));
    limit_descriptors(supervisor, 1024);
    assert!(asked.join().unwrap().starts_with("HTTP/1.1 200"));
    let began = Instant::now();
    launcher.wait_new_pid("a", a);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(launcher.pid_of("supervisor"), Some(supervisor), "nobody had to be replaced");
    assert_eq!(launcher.pid_of("b"), Some(b));
    assert_eq!(restarts_left(&launcher), 8, "one death, one restart");
}

/// Whether some file below the folder has these bytes in it.
fn somewhere_below(folder: &Path, bytes: &[u8]) -> Option<String> {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let found = match () {
            () if kind.is_dir() => somewhere_below(&path, bytes),
            () if kind.is_file() => {
                let content = fs::read(&path).unwrap();
                content.windows(bytes.len()).any(|part| part == bytes).then(|| path.display().to_string())
            }
            () => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

#[test]
fn f23_secrets_of_the_launcher_are_passed_to_nobody_and_told_to_nobody() {
    const CANARY: &str = "canary-3f9a71";
    let tell = "env; exec sleep 1000";
    let project =
        Project::new(&(ROOMY.to_owned() + &scripted("a", tell, "env = { TOKEN = \"token-77c1\" }")));
    let mut up = project.provost(&["up"]);
    up.env("DATABASE_PASSWORD", CANARY);
    let launcher = project.start_by(up);
    launcher.wait_line("distinct PIDs");
    let environ = fs::read(format!("/proc/{}/environ", launcher.pid_of("a").unwrap())).unwrap();
    let environ = String::from_utf8_lossy(&environ);
    assert!(environ.contains("TOKEN=token-77c1") && !environ.contains(CANARY), "{environ}");
    kill(launcher.pid_of("a").unwrap(), libc::SIGABRT);
    eventually("the exit", || launcher.ok(&["history", "a"]).contains("SIGABRT").then_some(()));
    for verb in ["ps", "tree", "counts", "history", "plan"] {
        let answer = launcher.ok(&[verb, "--json"]);
        assert!(!answer.contains(CANARY), "{verb}: {answer}");
    }
    for verb in ["status", "why"] {
        let answer = launcher.json_of(&[verb, "a"]);
        let spec = answer["child"]["spec"].to_string();
        assert!(!answer.to_string().contains(CANARY) && !spec.contains("token-77c1"), "{verb}: {answer}");
    }
    for folder in ["run", "log"] {
        assert_eq!(somewhere_below(&launcher.project.path(folder), CANARY.as_bytes()), None);
    }
}

#[test]
fn f35_a_reload_that_cannot_be_changes_nothing_and_one_that_can_is_done_whole() {
    let config = |more: &str| ROOMY.to_owned() + &worker("a", "") + &worker("b", "") + more;
    let launcher = Project::new(&config("")).up();
    let socket = launcher.project.path("run/control.sock");
    // Asked for directly: the verbs read the file to find the launcher.
    let tree = || http_get(&socket, "/v1/tree").rsplit_once("\r\n\r\n").unwrap().1.to_owned();
    let before = tree();
    let node = |name: &str, parent: &str| {
        format!("[[child]]\nname = \"{name}\"\ntype = \"supervisor\"\nparent = \"{parent}\"\n")
    };
    for (bad, word) in [
        ("[[child]\nname = 1", "supervisor.toml:"),
        (&(node("x", "y") + &node("y", "x")), "supervisor.toml:"),
        (&worker("a", ""), "a"),
    ] {
        launcher.project.configure(&config(bad));
        for verb in ["plan", "reload"] {
            let output = launcher.project.run(&[verb]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{verb} {bad}: {said}");
            assert!(said.contains(word), "{verb} {bad}: {said}");
        }
        assert_eq!(tree(), before);
    }
    // b goes, c is the same under another name, a stays: all of it at once.
    let a = launcher.pid_of("a").unwrap();
    let b = launcher.pid_of("b").unwrap();
    launcher.project.configure(&(ROOMY.to_owned() + &worker("a", "") + &worker("c", "")));
    launcher.ok(&["reload", "--apply"]);
    let tree = launcher.json("tree");
    let names: Vec<&Value> =
        tree["root"]["children"].as_array().unwrap().iter().map(|child| &child["name"]).collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(launcher.pid_of("a"), Some(a));
    assert!(!alive(b) && launcher.pid_of("c").is_some());
}

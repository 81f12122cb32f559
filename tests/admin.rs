//! OTP's administration, through a real launcher: every verb, its words for what is refused, and that nothing of it is
//! lost with the supervisor process.

mod support;

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use support::{Launcher, Project, alive, eventually, kill, read, wait_gone, worker};

fn supervisor(name: &str, more: &str) -> String {
    format!("[[child]]\nname = \"{name}\"\ntype = \"supervisor\"\n{more}\n")
}

/// A template supervisor `pool` whose instances say who they are.
fn pool() -> String {
    supervisor("pool", "strategy = \"simple_one_for_one\"\nintensity = 9")
        + "[[child]]\nname = \"job\"\nparent = \"pool\"\ncommand = [\"sh\", \"-c\", \
           \"echo $PROVOST_NAME $PROVOST_INSTANCE: $*; exec sleep 1000\"]\n"
}

/// What a verb with `--json` printed, and its exit code.
fn answer(output: &Output) -> (Value, Option<i32>) {
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {output:?}"));
    (value, output.status.code())
}

/// Runs a verb that is to be refused; returns OTP's word and the exit code.
fn refused(launcher: &Launcher, args: &[&str]) -> (String, Option<i32>) {
    let (answer, code) = answer(&launcher.project.run(&[&args[..1], &["--json"], &args[1..]].concat()));
    (answer["error"]["code"].as_str().unwrap_or_else(|| panic!("{args:?}: {answer}")).to_owned(), code)
}

/// Writes a child file and returns its path.
fn child_file(launcher: &Launcher, text: &str) -> String {
    let path = launcher.project.path("child.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn add(launcher: &Launcher, text: &str) -> String {
    launcher.ok(&["add", &child_file(launcher, text)])
}

/// A node of the tree, by name.
fn node(launcher: &Launcher, name: &str) -> Option<Value> {
    fn find(node: &Value, name: &str) -> Option<Value> {
        if node["name"] == name {
            return Some(node.clone());
        }
        node["children"].as_array()?.iter().find_map(|child| find(child, name))
    }
    find(&launcher.json("tree")["root"], name)
}

fn children(launcher: &Launcher, name: &str) -> Vec<String> {
    let node = node(launcher, name).unwrap();
    node["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|child| child["name"].as_str().unwrap().to_owned())
        .collect()
}

fn why(launcher: &Launcher, name: &str) -> Value {
    launcher.json_of(&["why", name])
}

#[test]
fn every_refusal_has_otps_word() {
    let launcher =
        Project::new(&(worker("a", "") + &supervisor("inner", "") + &worker("b", "parent = \"inner\""))).up();
    let refused = |args: &[&str]| refused(&launcher, args);
    let of = |name: &str| child_file(&launcher, &worker(name, ""));
    assert_eq!(refused(&["start", "a"]), ("running".into(), Some(1)));
    assert_eq!(refused(&["remove", "a"]), ("running".into(), Some(1)));
    for verb in ["start", "stop", "restart", "remove", "why", "status"] {
        assert_eq!(refused(&[verb, "nobody"]), ("not_found".into(), Some(4)), "{verb}");
    }
    assert_eq!(refused(&["counts", "nobody"]), ("not_found".into(), Some(4)));
    assert_eq!(refused(&["counts", "a"]), ("bad_request".into(), Some(1)));
    assert_eq!(refused(&["add", &of("x"), "--parent", "nobody"]), ("not_found".into(), Some(4)));
    assert_eq!(refused(&["add", &of("x"), "--parent", "a"]), ("bad_request".into(), Some(1)));
    assert_eq!(refused(&["add", &of("a")]), ("already_started".into(), Some(1)));
    // Names are unique in the whole project.
    assert_eq!(refused(&["add", &of("b")]), ("already_started".into(), Some(1)));
    launcher.ok(&["stop", "a", "b"]);
    launcher.ok(&["stop", "a"]);
    assert_eq!(refused(&["add", &of("a")]), ("already_present".into(), Some(1)));
    assert_eq!(refused(&["add", &of("b")]), ("already_present".into(), Some(1)));
    launcher.ok(&["remove", "b"]);
    assert_eq!(refused(&["add", &of("b")]), ("already_present".into(), Some(1)), "it comes back with inner");
    let broken = worker("x", "").replace("\"sleep\", \"1000\"", "\"/no/such/program\"");
    assert_eq!(refused(&["add", &child_file(&launcher, &broken)]), ("start_failed".into(), Some(1)));
    assert_eq!(node(&launcher, "x"), None, "what cannot be started is not kept");
    assert_eq!(refused(&["scale", "a", "2"]), ("bad_request".into(), Some(1)));
    assert_eq!(refused(&["scale", "nobody", "2"]), ("not_found".into(), Some(4)));
}

#[test]
fn a_restarting_child_can_only_be_stopped() {
    let slow = "backoff = { initial = \"1h\", max = \"1h\" }";
    let launcher = Project::new(&format!("[supervisor]\nintensity = 5\n{}", worker("a", slow))).up();
    kill(launcher.pid_of("a").unwrap(), libc::SIGKILL);
    eventually("a waits for its restart", || (node(&launcher, "a")?["phase"] == "backoff").then_some(()));
    assert_eq!(refused(&launcher, &["start", "a"]).0, "restarting");
    assert_eq!(refused(&launcher, &["remove", "a"]).0, "restarting");
    assert_eq!(refused(&launcher, &["add", &child_file(&launcher, &worker("a", ""))]).0, "already_present");
    let why = why(&launcher, "a");
    assert_eq!(
        (&why["reason"], &why["restarts_left"], &why["intensity"]),
        (&json!("backoff"), &json!(4), &json!(5))
    );
    let (until, window) = (why["until_ms"].as_u64().unwrap(), why["window_moves_ms"].as_u64().unwrap());
    assert!((3_500_000..=3_600_000).contains(&until) && (1..=5_000).contains(&window), "{why}");
    launcher.ok(&["stop", "a"]);
    launcher.ok(&["start", "a"]);
    assert!(launcher.pid_of("a").is_some());
}

#[test]
fn an_added_child_is_a_child_like_any_other() {
    let launcher = Project::new(&(worker("a", "") + &supervisor("inner", "intensity = 5"))).up();
    add(&launcher, &worker("b", "parent = \"inner\"\nenv = { COLOUR = \"red\" }"));
    assert_eq!(children(&launcher, "inner"), ["b"]);
    let first = launcher.pid_of("b").unwrap();
    let environment = fs::read_to_string(format!("/proc/{first}/environ")).unwrap();
    assert!(
        environment.contains("PROVOST_NAME=b\0") && environment.contains("COLOUR=red\0"),
        "{environment}"
    );
    launcher.replace_supervisor();
    assert_eq!(launcher.pid_of("b"), Some(first));
    kill(first, libc::SIGKILL);
    let second = launcher.wait_new_pid("b", first);
    let environment = fs::read_to_string(format!("/proc/{second}/environ")).unwrap();
    assert!(
        environment.contains("COLOUR=red\0"),
        "its settings outlive the supervisor process: {environment}"
    );
    // OTP: a supervisor starts anew from its configuration.
    launcher.ok(&["restart", "inner"]);
    assert_eq!(children(&launcher, "inner"), [""; 0]);
    wait_gone(&[second]);
    add(&launcher, &worker("b", ""));
    assert_eq!(children(&launcher, "test"), ["a", "inner", "b"], "last in its supervisor's order");
}

#[test]
fn a_supervisor_is_added_with_its_children() {
    let launcher = Project::new(&worker("a", "")).up();
    let inner = supervisor("inner", "strategy = \"one_for_all\"\nintensity = 5")
        + &worker("x", "parent = \"inner\"")
        + &worker("y", "parent = \"inner\"");
    add(&launcher, &inner);
    let [x, y] = ["x", "y"].map(|name| launcher.pid_of(name).unwrap());
    launcher.ok(&["stop", "x"]);
    launcher.ok(&["remove", "x"]);
    launcher.replace_supervisor();
    kill(y, libc::SIGKILL);
    launcher.wait_new_pid("y", y);
    assert_eq!(children(&launcher, "inner"), ["y"]);
    launcher.ok(&["restart", "inner"]);
    assert_eq!(children(&launcher, "inner"), ["x", "y"], "it starts anew from what was added");
    assert_ne!(launcher.pid_of("x"), Some(x));
    launcher.ok(&["stop", "inner"]);
    launcher.ok(&["remove", "inner"]);
    assert_eq!(node(&launcher, "y"), None);
    add(&launcher, &worker("y", ""));
}

#[test]
fn a_removed_child_stays_removed_until_its_supervisor_starts_anew() {
    let launcher = Project::new(
        &(supervisor("inner", "") + &worker("a", "parent = \"inner\"") + &worker("b", "parent = \"inner\"")),
    )
    .up();
    let b = launcher.pid_of("b");
    launcher.ok(&["stop", "a"]);
    assert_eq!(launcher.ok(&["remove", "a"]), "a: removed\n");
    assert_eq!(children(&launcher, "inner"), ["b"]);
    launcher.replace_supervisor();
    assert_eq!(children(&launcher, "inner"), ["b"]);
    assert_eq!(launcher.pid_of("b"), b);
    launcher.ok(&["restart", "inner"]);
    assert_eq!(children(&launcher, "inner"), ["a", "b"]);
}

#[test]
fn another_child_may_take_the_name_of_a_removed_one() {
    let launcher = Project::new(&(supervisor("inner", "") + &worker("a", "parent = \"inner\""))).up();
    launcher.ok(&["stop", "a"]);
    launcher.ok(&["remove", "a"]);
    add(&launcher, &worker("a", "parent = \"inner\"").replace("1000", "2000"));
    let command = || read(format!("/proc/{}/cmdline", launcher.pid_of("a").unwrap()).as_ref());
    assert_eq!(command(), "sleep\x002000\0");
    launcher.replace_supervisor();
    launcher.ok(&["restart", "a"]);
    assert_eq!(command(), "sleep\x002000\0");
    launcher.ok(&["restart", "inner"]);
    assert_eq!(command(), "sleep\x001000\0", "the configured one is back");
}

#[test]
fn scale_adds_and_removes_the_last_and_touches_no_other() {
    let group = "[[child]]\nname = \"c\"\ninstances = 2\ncommand = [\"sh\", \"-c\", \"echo ${NAME} ${INSTANCE}; exec sleep 1000\"]\n";
    let launcher = Project::new(&(group.to_owned() + &worker("z", ""))).up();
    let before = ["c@1", "c@2", "z"].map(|name| launcher.pid_of(name).unwrap());
    assert_eq!(launcher.ok(&["scale", "c", "2"]), "c: 2 instances already\n");
    let (scaled, _) = answer(&launcher.project.run(&["scale", "c", "4", "--json"]));
    let deeds: Vec<(&str, &str)> = scaled["done"]
        .as_array()
        .unwrap()
        .iter()
        .map(|done| (done["name"].as_str().unwrap(), done["deed"].as_str().unwrap()))
        .collect();
    assert_eq!(deeds, [("c@3", "added"), ("c@4", "added")]);
    assert_eq!(children(&launcher, "test"), ["c@1", "c@2", "z", "c@3", "c@4"]);
    let log = launcher.project.path("log/c@4.log");
    eventually("c@4 is expanded for itself", || (read(&log) == "c@4 4\n").then_some(()));
    launcher.replace_supervisor();
    let fourth = launcher.pid_of("c@4").unwrap();
    launcher.ok(&["restart", "c@4"]);
    eventually("its settings are still there", || (read(&log) == "c@4 4\nc@4 4\n").then_some(()));
    wait_gone(&[fourth]);
    launcher.ok(&["scale", "c", "1"]);
    assert_eq!(children(&launcher, "test"), ["c@1", "z"]);
    launcher.replace_supervisor();
    assert_eq!(children(&launcher, "test"), ["c@1", "z"]);
    assert_eq!(["c@1", "z"].map(|name| launcher.pid_of(name)), [Some(before[0]), Some(before[2])]);
    launcher.ok(&["scale", "c", "0"]);
    launcher.ok(&["scale", "c", "1"]);
    assert_eq!(children(&launcher, "test"), ["z", "c@1"]);
    assert_eq!(refused(&launcher, &["scale", "c@1", "2"]).0, "bad_request");
    assert_eq!(refused(&launcher, &["scale", "c", "100000"]).0, "bad_request");
    assert!(!alive(before[1]));
}

#[test]
fn what_scale_could_not_start_is_told_and_the_rest_left() {
    let picky =
        "[[child]]\nname = \"c\"\ninstances = 1\ncommand = [\"${CONFIG_DIR}/run-${INSTANCE}\", \"1000\"]\n";
    let project = Project::new(picky);
    for number in [1, 2] {
        std::os::unix::fs::symlink("/bin/sleep", project.path(&format!("run-{number}"))).unwrap();
    }
    let launcher = project.up();
    let output = launcher.project.run(&["scale", "c", "4", "--json"]);
    let (scaled, code) = answer(&output);
    assert_eq!(code, Some(1));
    let done = scaled["done"].as_array().unwrap();
    assert_eq!(done.len(), 2, "nothing is tried after a failure: {done:?}");
    assert!(done[0]["error"].is_null());
    assert_eq!(done[1]["error"]["code"], "start_failed");
    assert_eq!(children(&launcher, "test"), ["c@1", "c@2"]);
}

#[test]
fn a_granted_scale_is_brought_to_its_end_by_the_next_supervisor_process() {
    // Each instance ends only when the fifo is opened for writing.
    let stubborn = "[[child]]\nname = \"c\"\ninstances = 3\nshutdown = \"infinity\"\n\
                    command = [\"bash\", \"-c\", \"trap '' TERM; echo up; read x < fifo\"]\n";
    let project = Project::new(stubborn);
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.up();
    let third = launcher.project.path("log/c@3.log");
    eventually("c@3 ignores TERM", || read(&third).contains("up").then_some(()));
    let mut scale = launcher.project.provost(&["scale", "c", "1"]);
    let mut scale = scale.stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("the stop of c@3 has begun", || {
        (node(&launcher, "c@3")?["phase"] == "stopping").then_some(())
    });
    launcher.replace_supervisor();
    assert!(!scale.wait().unwrap().success(), "whoever asked is told that the connection broke");
    assert_eq!(children(&launcher, "test"), ["c@1", "c@2", "c@3"]);
    kill(launcher.pid_of("c@3").unwrap(), libc::SIGKILL);
    eventually("c@3 is gone and the stop of c@2 has begun", || {
        (children(&launcher, "test") == ["c@1", "c@2"] && node(&launcher, "c@2")?["phase"] == "stopping")
            .then_some(())
    });
    kill(launcher.pid_of("c@2").unwrap(), libc::SIGKILL);
    eventually("c@1 is left", || (children(&launcher, "test") == ["c@1"]).then_some(()));
    kill(launcher.pid_of("c@1").unwrap(), libc::SIGKILL);
}

#[test]
fn instances_of_a_template_have_names_arguments_and_logs_of_their_own() {
    let launcher = Project::new(&pool()).up();
    assert_eq!(children(&launcher, "pool"), [""; 0], "a template is no process");
    let added = launcher.ok(&["add", "--parent", "pool", "--", "one", "--two"]);
    assert!(added.starts_with("job@1: running, pid "), "{added}");
    launcher.ok(&["add", "--parent", "pool", "--name", "special"]);
    launcher.ok(&["add", "--parent", "job", "--", "three"]);
    assert_eq!(children(&launcher, "pool"), ["job@1", "special", "job@2"]);
    let said = |name: &str, text: &str| {
        let log = launcher.project.path(&format!("log/{name}.log"));
        eventually(text, || (read(&log).lines().last() == Some(text)).then_some(()));
    };
    said("job@1", "job@1 1: one --two");
    said("special", "special :");
    said("job@2", "job@2 2: three");
    // A restart uses the same arguments, whoever decides it.
    launcher.replace_supervisor();
    let first = launcher.pid_of("job@1").unwrap();
    kill(first, libc::SIGKILL);
    launcher.wait_new_pid("job@1", first);
    let log = launcher.project.path("log/job@1.log");
    let twice = "job@1 1: one --two\n".repeat(2);
    eventually("it says the same again", || (read(&log) == twice).then_some(()));
    assert_eq!(launcher.ok(&["logs", "job@1"]).lines().count(), 2, "its log is found");
    // Stopped means gone, and its number is not given again.
    launcher.ok(&["stop", "job@2"]);
    assert_eq!(children(&launcher, "pool"), ["job@1", "special"]);
    launcher.replace_supervisor();
    assert!(launcher.ok(&["add", "--parent", "pool"]).starts_with("job@3: "));
    let refused = |args: &[&str]| refused(&launcher, args).0;
    assert_eq!(refused(&["start", "special"]), "bad_request");
    assert_eq!(refused(&["remove", "special"]), "bad_request");
    assert_eq!(refused(&["stop", "job"]), "bad_request", "the template itself");
    assert_eq!(refused(&["add", "--parent", "pool", "--name", "special"]), "already_started");
    assert_eq!(refused(&["add", "--parent", "pool", "--name", "job@9"]), "bad_request");
    assert_eq!(refused(&["add", "--parent", "test", "--", "x"]), "bad_request", "the root has no template");
    assert_eq!(
        refused(&["add", &child_file(&launcher, &worker("x", "")), "--parent", "pool"]),
        "bad_request"
    );
}

#[test]
fn instances_that_end_leave_nothing_behind() {
    // The engine tells when it is ready, on a socket of its own.
    let template = supervisor("pool", "strategy = \"simple_one_for_one\"")
        + "[[child]]\nname = \"job\"\nparent = \"pool\"\nrestart = \"temporary\"\nready = { notify = true }\n\
           command = [\"reddit-engine\", \"--listen\"]\n";
    let launcher = Project::new(&template).up();
    let descriptors = |name: &str| {
        let row = launcher.ps().into_iter().find(|row| row["name"] == name).unwrap();
        row["fds"].as_u64().unwrap()
    };
    let listen = launcher.project.path("engine.sock");
    let add = || launcher.ok(&["add", "--parent", "pool", "--", listen.to_str().unwrap()]);
    assert!(add().starts_with("job@1: ready"));
    launcher.ok(&["stop", "job@1"]);
    let before = ["keeper", "supervisor"].map(descriptors);
    for number in 2..6 {
        add();
        let socket = launcher.project.path(&format!("run/notify/job@{number}"));
        assert!(socket.exists());
        launcher.ok(&["stop", &format!("job@{number}")]);
        assert!(!socket.exists(), "its notification socket goes with it");
    }
    eventually("all descriptors are closed", || {
        (["keeper", "supervisor"].map(descriptors).iter().zip(before).all(|(now, then)| *now <= then))
            .then_some(())
    });
}

#[test]
fn bad_child_files_are_told_by_line_and_nothing_is_added() {
    let launcher = Project::new(&worker("a", "")).up();
    let before = launcher.json("tree");
    let bad = |text: &str, args: &[&str]| {
        let file = child_file(&launcher, text);
        let output = launcher.project.run(&[&["add", &file], args].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = bad(&worker("b", "restrat = \"no\""), &[]);
    assert_eq!(code, Some(78));
    assert!(
        said.contains("child.toml:4:1: unknown key \"restrat\"") && said.contains("\"restart\""),
        "{said}"
    );
    assert_eq!(bad("[[child]\n", &[]).0, Some(78));
    assert_eq!(bad(&worker("b", "instances = 2"), &[]).0, Some(78));
    let (code, said) = bad(&worker("b", "significant = true\nrestart = \"transient\""), &[]);
    assert!(code == Some(1) && said.contains("never shuts down"), "{said}");
    let (code, said) = bad(&worker("b", "log = { file = \"a.log\" }"), &[]);
    assert!(code == Some(1) && said.contains("is a's"), "{said}");
    let (code, said) = bad(&worker("b", "parent = \"test\""), &["--parent", "a"]);
    assert!(code == Some(1) && said.contains("take one of the two out"), "{said}");
    assert_eq!(launcher.project.run(&["add", "/no/such/file.toml"]).status.code(), Some(78));
    assert_eq!(launcher.json("tree"), before);
}

#[test]
fn root_adds_no_child_that_others_can_write() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root refuses files of others");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let launcher = Project::new(&worker("a", "")).up();
    let file = child_file(&launcher, &worker("b", ""));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let output = launcher.project.run(&["add", &file]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert_eq!(node(&launcher, "b"), None);
}

#[test]
fn events_name_the_child_that_went() {
    let launcher = Project::new(&worker("a", "")).up();
    add(&launcher, &worker("short", "restart = \"temporary\"\n"));
    let events = launcher.project.provost(&["events"]).stdout(std::process::Stdio::piped()).spawn();
    let mut events = support::Aside(events.unwrap());
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(events.0.stdout.take().unwrap()));
    // The stream has begun once something is heard on it.
    let heard = std::thread::spawn(move || {
        let mut names = Vec::new();
        while let Some(Ok(line)) = lines.next() {
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == "removed" {
                names.push(event["name"].as_str().unwrap().to_owned());
                break;
            }
        }
        names
    });
    eventually("the removal is told", || {
        if node(&launcher, "short").is_none() {
            add(&launcher, &worker("short", "restart = \"temporary\"\n"));
        }
        launcher.ok(&["stop", "short"]);
        heard.is_finished().then_some(())
    });
    assert_eq!(heard.join().unwrap(), ["short"]);
}

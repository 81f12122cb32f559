//! `plan` and `reload`, through a real launcher: OTP's code_change, all or nothing, and what provost adds to it.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use support::{Launcher, Project, alive, eventually, kill, read, worker};

const ROOMY: &str = "[supervisor]\nintensity = 100\nperiod = \"10s\"\n";

/// A worker with another command.
fn other(name: &str, more: &str) -> String {
    worker(name, more).replace("1000", "2000")
}

/// `(name, change)` of a plan or a reload.
fn changes(answer: &Value) -> Vec<(&str, &str)> {
    let changes = answer["changes"].as_array().unwrap();
    changes.iter().map(|it| (it["name"].as_str().unwrap(), it["change"].as_str().unwrap())).collect()
}

/// `(name, deed)` of what a reload did.
fn deeds(answer: &Value) -> Vec<(&str, &str)> {
    let done = answer["done"].as_array().unwrap();
    assert!(done.iter().all(|it| it["error"].is_null()), "{done:?}");
    done.iter().map(|it| (it["name"].as_str().unwrap(), it["deed"].as_str().unwrap())).collect()
}

fn children(launcher: &Launcher) -> Vec<(String, String)> {
    let tree = launcher.json("tree");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    tree["root"]["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (text(&it["name"]), text(&it["phase"])))
        .collect()
}

fn command_of(launcher: &Launcher, name: &str) -> String {
    read(format!("/proc/{}/cmdline", launcher.pid_of(name).unwrap()).as_ref())
}

/// Kills a child and returns the pid it comes back with.
fn crash(launcher: &Launcher, name: &str) -> i32 {
    let pid = launcher.pid_of(name).unwrap();
    kill(pid, libc::SIGKILL);
    launcher.wait_new_pid(name, pid)
}

#[test]
fn a_plan_tells_key_old_and_new_and_changes_nothing() {
    let before = ROOMY.to_owned()
        + &worker("a", "env = { TOKEN = \"s3cret\" }")
        + &worker("b", "")
        + &worker("old", "");
    let launcher = Project::new(&before).up();
    let tree = launcher.json("tree");
    assert_eq!(launcher.json("plan")["changes"], json!([]));
    launcher.project.configure(
        &(ROOMY.replace("100", "50")
            + &other("a", "env = { TOKEN = \"0ther\" }\nrestart = \"transient\"\nshutdown = \"7s\"")
            + &worker("new", "")
            + &worker("b", "")),
    );
    let plan = launcher.json("plan");
    assert_eq!(changes(&plan), [("test", "changed"), ("a", "changed"), ("new", "new"), ("old", "missing")]);
    assert_eq!(plan["unchanged"], 1);
    let key = |key: &str, old: Value, new: Value, when: &str| json!({"key": key, "old": old, "new": new, "when": when});
    assert_eq!(plan["changes"][0]["keys"], json!([key("intensity", json!(100), json!(50), "now")]));
    assert_eq!(
        plan["changes"][1]["keys"],
        json!([
            key("command", json!(["sleep", "1000"]), json!(["sleep", "2000"]), "next_start"),
            key("env.TOKEN", json!("(set)"), json!("(set)"), "next_start"),
            key("restart", json!("permanent"), json!("transient"), "next_exit"),
            key("shutdown", json!("5s"), json!("7s"), "next_stop"),
        ])
    );
    let text = launcher.ok(&["plan"]);
    assert!(
        text.contains("  intensity: 100 -> 50 (at once)\n") && text.contains("old: not in the file"),
        "{text}"
    );
    assert!(
        !plan.to_string().contains("s3cret") && !text.contains("0ther"),
        "values of variables are not told"
    );
    assert_eq!(launcher.json("tree"), tree);
    assert_eq!(launcher.json("plan"), plan, "asked twice it says the same");
}

#[test]
fn settings_are_replaced_and_count_from_the_next_event() {
    let project = Project::new(&(ROOMY.to_owned() + &worker("a", "") + &worker("b", "") + &worker("c", "")));
    let launcher = project.up();
    let before = ["a", "b", "c"].map(|name| launcher.pid_of(name).unwrap());
    launcher.project.configure(
        &(ROOMY.to_owned()
            + &other("a", "")
            + &worker("b", "restart = \"temporary\"")
            + &worker("c", "shutdown = \"brutal_kill\"")),
    );
    launcher.ok(&["reload"]);
    assert_eq!(["a", "b", "c"].map(|name| launcher.pid_of(name).unwrap()), before, "no process is touched");
    launcher.replace_supervisor();
    assert_eq!(command_of(&launcher, "a"), "sleep\x001000\0");
    crash(&launcher, "a");
    assert_eq!(command_of(&launcher, "a"), "sleep\x002000\0");
    kill(before[1], libc::SIGKILL);
    eventually("b goes, being temporary now", || (children(&launcher).len() == 2).then_some(()));
    launcher.ok(&["stop", "c"]);
    let why = launcher.json_of(&["why", "c"]);
    assert_eq!(why["last_exit"]["name"], "SIGKILL", "stopped as the new settings say");
}

#[test]
fn a_lowered_intensity_counts_what_was_before() {
    let mut launcher =
        Project::new(&("[supervisor]\nintensity = 9\nperiod = \"1h\"\n".to_owned() + &worker("a", ""))).up();
    crash(&launcher, "a");
    crash(&launcher, "a");
    launcher
        .project
        .configure(&("[supervisor]\nintensity = 2\nperiod = \"1h\"\n".to_owned() + &worker("a", "")));
    launcher.ok(&["reload"]);
    kill(launcher.pid_of("a").unwrap(), libc::SIGKILL);
    assert_eq!(launcher.wait_exit(), 70);
}

#[test]
fn new_children_are_added_stopped_and_missing_ones_kept() {
    let launcher =
        Project::new(&(ROOMY.to_owned() + &worker("old", "env = { WHO = \"old\" }") + &worker("a", ""))).up();
    let [old, a] = ["old", "a"].map(|name| launcher.pid_of(name).unwrap());
    launcher.project.configure(&(ROOMY.to_owned() + &worker("new", "") + &worker("a", "")));
    launcher.ok(&["reload"]);
    let is = |name: &str, phase: &str| (name.to_owned(), phase.to_owned());
    let expected = [is("new", "stopped"), is("a", "running"), is("old", "running")];
    assert_eq!(children(&launcher), expected, "in the order of the file, then what is kept");
    assert_eq!(launcher.json_of(&["why", "new"])["reason"], "added");
    // What is kept is supervised as it was, by whichever supervisor process.
    launcher.replace_supervisor();
    assert_eq!((launcher.pid_of("old"), launcher.pid_of("a")), (Some(old), Some(a)));
    let again = crash(&launcher, "old");
    assert!(read(format!("/proc/{again}/environ").as_ref()).contains("WHO=old\0"));
    launcher.ok(&["start", "new"]);
    // Back in the file, it is the file's again.
    launcher
        .project
        .configure(&(ROOMY.to_owned() + &other("old", "") + &worker("new", "") + &worker("a", "")));
    assert_eq!(changes(&launcher.json("plan")), [("test", "changed"), ("old", "changed")]);
    launcher.ok(&["reload"]);
    assert_eq!(launcher.pid_of("old"), Some(again));
    crash(&launcher, "old");
    assert_eq!(command_of(&launcher, "old"), "sleep\x002000\0");
}

#[test]
fn apply_starts_the_new_and_removes_the_missing() {
    let launcher =
        Project::new(&(ROOMY.to_owned() + &worker("old", "") + &worker("a", "") + &worker("b", ""))).up();
    let before = ["old", "a", "b"].map(|name| launcher.pid_of(name).unwrap());
    launcher.project.configure(
        &(ROOMY.to_owned()
            + &other("a", "")
            + &worker("b", "")
            + "[[child]]\nname = \"inner\"\ntype = \"supervisor\"\n"
            + &worker("new", "parent = \"inner\"")),
    );
    let reload = launcher.json_of(&["reload", "--apply"]);
    assert_eq!(deeds(&reload), [("old", "removed"), ("inner", "started")]);
    assert!(!alive(before[0]));
    assert!(launcher.pid_of("new").is_some(), "a new supervisor is started with its children");
    assert_eq!(
        ["a", "b"].map(|name| launcher.pid_of(name).unwrap()),
        before[1..],
        "a runs on with its old command"
    );
    // What is still to be done stays known.
    launcher.replace_supervisor();
    assert_eq!(changes(&launcher.json("plan")), [("a", "outdated")]);
    let reload = launcher.json_of(&["reload", "--restart"]);
    assert_eq!(deeds(&reload), [("a", "restarted")]);
    assert_eq!(command_of(&launcher, "a"), "sleep\x002000\0");
    assert_eq!(launcher.pid_of("b"), Some(before[2]));
    assert_eq!(launcher.json("plan")["changes"], json!([]));
}

#[test]
fn a_later_apply_does_what_an_earlier_reload_left() {
    let launcher = Project::new(&(ROOMY.to_owned() + &worker("old", "") + &worker("a", ""))).up();
    launcher.project.configure(&(ROOMY.to_owned() + &worker("a", "") + &worker("new", "")));
    launcher.ok(&["reload"]);
    launcher.ok(&["stop", "a"]);
    assert_eq!(changes(&launcher.json("plan")), [("new", "unstarted"), ("old", "missing")]);
    let reload = launcher.json_of(&["reload", "--apply"]);
    assert_eq!(deeds(&reload), [("old", "removed"), ("new", "started")]);
    assert_eq!(launcher.pid_of("a"), None, "what somebody stopped stays stopped");
}

#[test]
fn what_cannot_be_started_is_told_and_the_rest_done() {
    let launcher = Project::new(&(ROOMY.to_owned() + &worker("a", ""))).up();
    let broken = worker("broken", "").replace("\"sleep\", \"1000\"", "\"/no/such/program\"");
    launcher.project.configure(&(ROOMY.to_owned() + &worker("a", "") + &broken + &worker("new", "")));
    let output = launcher.project.run(&["reload", "--apply", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let reload: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reload["done"][0]["error"]["code"], "start_failed", "{reload}");
    assert!(launcher.pid_of("new").is_some());
}

#[test]
fn whatever_is_wrong_nothing_is_changed() {
    let inner = "[[child]]\nname = \"inner\"\ntype = \"supervisor\"\n";
    let pool = "[[child]]\nname = \"pool\"\ntype = \"supervisor\"\nstrategy = \"simple_one_for_one\"\n";
    let good = ROOMY.to_owned()
        + &worker("a", "")
        + inner
        + &worker("b", "parent = \"inner\"")
        + pool
        + &worker("job", "parent = \"pool\"");
    let launcher = Project::new(&good).up();
    let tree = launcher.json("tree");
    let cases = [
        (good.clone() + "restrat = \"no\"\n", "unknown key \"restrat\""),
        (good.clone() + "[[child]\n", ""),
        (good.clone() + &worker("a", ""), "is used twice"),
        (good.replace("intensity = 100", "intensity = -1"), "intensity"),
        (good.replace("parent = \"inner\"", ""), "\"b\" is under another supervisor"),
        (good.replace("strategy = \"simple_one_for_one\"", ""), "to or from simple_one_for_one"),
        (
            good.replace(inner, &worker("inner", "")).replace("parent = \"inner\"", ""),
            "\"inner\" cannot change between worker and supervisor",
        ),
    ];
    for (text, expected) in cases {
        launcher.project.configure(&(text + &worker("new", "")));
        for verb in [&["reload"][..], &["reload", "--apply"], &["plan"]] {
            let output = launcher.project.run(verb);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{verb:?}: {output:?}");
            assert!(said.contains(expected) && said.contains("supervisor.toml"), "{said}");
        }
        launcher.project.configure(&good);
        assert_eq!(launcher.json("tree"), tree, "{expected}");
        assert_eq!(launcher.json("plan")["changes"], json!([]), "{expected}");
    }
}

#[test]
fn complaints_are_data_too() {
    let launcher = Project::new(&worker("a", "")).up();
    launcher.project.configure(&worker("a", "restrat = \"no\"\nshutdown = 5"));
    let output = launcher.project.run(&["reload", "--json"]);
    assert_eq!(output.status.code(), Some(78));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = &answer["error"];
    assert_eq!(error["code"], "bad_config");
    let places: Vec<_> =
        error["diagnostics"].as_array().unwrap().iter().map(|it| it["line"].as_u64()).collect();
    assert_eq!(places, [Some(7), Some(8)], "{error}");
    assert!(error["diagnostics"][0]["file"].as_str().unwrap().ends_with("supervisor.toml"));
}

#[test]
fn what_is_laid_down_for_life_is_refused_by_name() {
    let launcher = Project::new(&worker("a", "")).up();
    let tree = launcher.json("tree");
    let file = launcher.project.config();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("name = \"test\"", "name = \"west\"")).unwrap();
    let output = launcher.project.run(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(
        said.contains("`name` cannot change") && said.contains("\"test\"") && said.contains("\"west\""),
        "{said}"
    );
    // A verb would look for the launcher in the other run directory: the API is asked where it is.
    fs::write(&file, text.replace("/run\"", "/nur\"")).unwrap();
    let mut socket = UnixStream::connect(launcher.project.path("run/control.sock")).unwrap();
    socket
        .write_all(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("`run_dir` cannot change"), "{answer}");
    fs::write(&file, text).unwrap();
    assert_eq!(launcher.json("tree"), tree);
}

#[test]
fn children_added_at_run_time_are_no_business_of_a_reload() {
    let group = "[[child]]\nname = \"c\"\ninstances = 1\ncommand = [\"sleep\", \"1000\"]\n";
    let config = ROOMY.to_owned() + group;
    let launcher = Project::new(&config).up();
    let file = launcher.project.path("child.toml");
    fs::write(&file, worker("extra", "")).unwrap();
    launcher.ok(&["add", file.to_str().unwrap()]);
    launcher.ok(&["scale", "c", "3"]);
    let before = ["c@1", "c@2", "c@3", "extra"].map(|name| launcher.pid_of(name).unwrap());
    launcher.project.configure(&(config.replace("instances = 1", "instances = 2") + &worker("new", "")));
    let reload = launcher.json_of(&["reload", "--apply"]);
    assert_eq!(deeds(&reload), [("new", "started")]);
    assert_eq!(["c@1", "c@2", "c@3", "extra"].map(|name| launcher.pid_of(name).unwrap()), before);
    // The file's own settings count for the instance that it has now, the others keep theirs.
    launcher.replace_supervisor();
    for name in ["c@2", "c@3", "extra"] {
        crash(&launcher, name);
    }
}

#[test]
fn instances_follow_their_template() {
    let pool = "[[child]]\nname = \"pool\"\ntype = \"supervisor\"\nstrategy = \"simple_one_for_one\"\nintensity = 9\n";
    let launcher = Project::new(&(pool.to_owned() + &worker("job", "parent = \"pool\""))).up();
    launcher.ok(&["add", "--parent", "pool", "--", "7"]);
    let first = launcher.pid_of("job@1").unwrap();
    launcher
        .project
        .configure(&(pool.to_owned() + &other("job", "parent = \"pool\"\nshutdown = \"brutal_kill\"")));
    let plan = launcher.json("plan");
    assert_eq!(
        changes(&plan),
        [("job", "changed"), ("job@1", "changed")],
        "the template, and what is made of it"
    );
    launcher.ok(&["reload"]);
    launcher.replace_supervisor();
    assert_eq!(launcher.pid_of("job@1"), Some(first));
    crash(&launcher, "job@1");
    assert_eq!(command_of(&launcher, "job@1"), "sleep\x002000\x007\0");
}

#[test]
fn a_socket_whose_path_changes_moves_with_the_next_start() {
    let listen = |path: &str, mode: &str| {
        worker(
            "a",
            &format!("listen = [{{ name = \"x\", unix = \"${{RUN_DIR}}/{path}\", mode = \"{mode}\" }}]"),
        )
    };
    let launcher = Project::new(&(ROOMY.to_owned() + &listen("one.sock", "0600"))).up();
    let [one, two] = ["run/one.sock", "run/two.sock"].map(|path| launcher.project.path(path));
    launcher.project.configure(&(ROOMY.to_owned() + &listen("two.sock", "0600")));
    launcher.ok(&["reload"]);
    assert!(one.exists() && !two.exists(), "the process has the old one");
    launcher.ok(&["reload", "--restart"]);
    assert!(!one.exists() && two.exists());
    UnixStream::connect(&two).expect("somebody listens");
    launcher.project.configure(&(ROOMY.to_owned() + &listen("two.sock", "0660")));
    launcher.ok(&["reload", "--restart"]);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&two).unwrap().permissions().mode() & 0o777, 0o660);
    UnixStream::connect(&two).expect("somebody listens");
}

#[test]
fn a_reload_that_was_granted_is_applied_by_the_next_supervisor_process() {
    let stubborn = "[[child]]\nname = \"old\"\nshutdown = \"infinity\"\n\
                    command = [\"bash\", \"-c\", \"trap '' TERM; echo up; read x < fifo\"]\n";
    let project = Project::new(&(ROOMY.to_owned() + &worker("a", "") + stubborn));
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.up();
    let log = launcher.project.path("log/old.log");
    eventually("old ignores TERM", || read(&log).contains("up").then_some(()));
    launcher.project.configure(&(ROOMY.to_owned() + &worker("a", "") + &worker("new", "")));
    let mut reload = launcher.project.provost(&["reload", "--apply"]);
    let mut reload = reload.stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("the stop of old has begun", || {
        children(&launcher).contains(&("old".to_owned(), "stopping".to_owned())).then_some(())
    });
    launcher.replace_supervisor();
    assert!(!reload.wait().unwrap().success(), "whoever asked is told that the connection broke");
    kill(launcher.pid_of("old").unwrap(), libc::SIGKILL);
    let is = |name: &str| (name.to_owned(), "running".to_owned());
    eventually("old is gone and new runs", || (children(&launcher) == [is("a"), is("new")]).then_some(()));
}

//! Bad input gets one sentence that says what to do, the right exit code, and changes nothing.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use support::Project;

const IDLE: &str = "[[child]]\nname = \"idle\"\ncommand = [\"sleep\", \"1000\"]\n";

fn refused(output: &Output, code: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    assert_eq!(error.trim_end().lines().count(), 1, "one sentence: {error}");
}

#[test]
fn a_missing_config() {
    let project = Project::new(IDLE);
    fs::remove_file(project.config()).unwrap();
    refused(&project.run(&["up"]), 78, &["supervisor.toml: there is no such file"]);
    assert!(!project.path("run").exists());
}

#[test]
fn an_unreadable_config() {
    let project = Project::new(IDLE);
    fs::remove_file(project.config()).unwrap();
    fs::create_dir(project.config()).unwrap();
    refused(&project.run(&["up"]), 78, &["supervisor.toml"]);
}

#[test]
fn an_empty_config() {
    let project = Project::new(IDLE);
    fs::write(project.config(), "").unwrap();
    refused(&project.run(&["up"]), 78, &["supervisor.toml", "[[child]]"]);
}

#[test]
fn an_unknown_key_points_at_its_line() {
    let project = Project::new("[[child]]\nname = \"a\"\ncomand = [\"true\"]\n");
    let output = project.run(&["up"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78));
    assert!(error.contains("supervisor.toml:6:1: ") && error.contains("did you mean"), "{error}");
    assert!(!project.path("run").exists(), "nothing was started");
}

#[test]
fn a_command_that_does_not_exist() {
    let project = Project::new("[[child]]\nname = \"a\"\ncommand = [\"no-such-program-anywhere\"]\n");
    refused(
        &project.run(&["up"]),
        78,
        &["supervisor.toml:6:11: ", "no-such-program-anywhere", "write its path"],
    );
}

#[test]
fn a_program_file_that_does_not_exist_fails_the_boot_with_its_path_and_errno() {
    let project = Project::new(&format!("{IDLE}[[child]]\nname = \"a\"\ncommand = [\"/no/such/program\"]\n"));
    let started = std::time::Instant::now();
    let output = project.run(&["up"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(said.contains("a could not be started: cannot execute /no/such/program: "), "{said}");
    assert!(said.contains("ENOENT"), "{said}");
    assert!(started.elapsed() < support::BOUND);
}

#[test]
fn a_second_launcher_names_the_first() {
    let launcher = Project::new(IDLE).up();
    let before = launcher.pid_of("idle");
    let pid = launcher.pid().to_string();
    refused(&launcher.project.run(&["up"]), 75, &[&pid, "provost down"]);
    assert_eq!(launcher.pid_of("idle"), before);
}

#[test]
fn no_permission_for_the_run_dir() {
    let project = Project::new(IDLE);
    // A file in the place of a folder on the way stops root too.
    fs::write(project.path("run"), "").unwrap();
    refused(&project.run(&["up"]), 69, &["run dir", "run_dir"]);
}

#[test]
fn a_run_dir_that_others_can_enter_is_refused() {
    let project = Project::new(IDLE);
    fs::create_dir(project.path("run")).unwrap();
    fs::set_permissions(project.path("run"), fs::Permissions::from_mode(0o777)).unwrap();
    refused(&project.run(&["up"]), 69, &["run dir"]);
}

#[test]
fn a_control_socket_path_that_is_too_long() {
    let project = Project::new(IDLE);
    let long = project.path(&"x".repeat(120));
    fs::write(project.config(), format!("run_dir = {long:?}\n{IDLE}")).unwrap();
    refused(&project.run(&["up"]), 78, &["supervisor.toml:1:11: ", "too long by", "shorter run_dir"]);
    assert!(!long.exists());
}

#[test]
fn a_listening_socket_path_that_is_too_long() {
    let long = "y".repeat(120);
    let config = format!("{IDLE}listen = [{{ name = \"s\", unix = \"${{RUN_DIR}}/{long}\" }}]\n");
    refused(&Project::new(&config).run(&["up"]), 78, &["107", "supervisor.toml:7:"]);
}

#[test]
fn kill_of_an_unknown_child() {
    let launcher = Project::new(IDLE).up();
    refused(&launcher.project.run(&["kill", "idel"]), 4, &["idel", "did you mean idle?"]);
}

#[test]
fn kill_of_a_stopped_child() {
    let launcher = Project::new(IDLE).up();
    launcher.ok(&["stop", "idle"]);
    refused(&launcher.project.run(&["kill", "idle"]), 3, &["idle", "provost start idle"]);
}

#[test]
fn kill_with_an_unknown_signal() {
    let launcher = Project::new(IDLE).up();
    let before = launcher.pid_of("idle");
    let output = launcher.project.run(&["kill", "-s", "KIL", "idle"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(launcher.pid_of("idle"), before);
}

#[test]
fn a_verb_without_a_launcher() {
    let project = Project::new(IDLE);
    for verb in [&["ps"][..], &["tree"], &["stop", "idle"], &["down"]] {
        refused(&project.run(verb), 7, &["provost up"]);
    }
}

#[test]
fn start_of_a_running_child_and_stop_of_a_stopped_one() {
    let launcher = Project::new(IDLE).up();
    refused(&launcher.project.run(&["start", "idle"]), 1, &["idle", "running"]);
    launcher.ok(&["stop", "idle"]);
    launcher.ok(&["stop", "idle"]);
}

/// What a terminal or the order of a line would obey: controls, a C1 control, a bidirectional override, an invalid byte.
fn acts(byte: &[u8]) -> bool {
    let text = String::from_utf8_lossy(byte);
    text.chars().any(|letter| {
        (letter.is_control() && !matches!(letter, '\n' | '\t')) || ('\u{202a}'..='\u{202e}').contains(&letter)
    }) || std::str::from_utf8(byte).is_err()
}

/// A child whose descendant has taken a name that sets the clipboard, and a program whose path turns the line round.
#[test]
fn no_name_of_a_process_or_file_acts_on_the_terminal() {
    let project = Project::new("");
    let sleeper = project.path("sleep\u{202e}\u{9b}");
    fs::copy("/bin/sleep", &sleeper).unwrap();
    let script = "(printf '\\033]52;c;aGk=\\a' > /proc/$BASHPID/comm; echo \"$BASHPID\" > named; while :; do read -t 100 < wait; done) & \
                  ./sleep$'\\u202e\\u009b' 1000 & printf '\\033]52;c;aGk=\\a\\377\\n'; wait";
    let made = std::process::Command::new("mkfifo").arg(project.path("wait")).status().unwrap();
    assert!(made.success());
    project.configure(&support::scripted("a", script, "env = { LC_ALL = \"C.UTF-8\" }"));
    let launcher = project.up();
    support::eventually("both descendants", || {
        let named = launcher.project.path("named").exists();
        let below = launcher.below();
        let exe = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == sleeper);
        (named && below.iter().any(exe)).then_some(())
    });
    fs::write(launcher.project.path("log/a@\u{1b}]52;c;aGk=\u{7}.log"), "x\n").unwrap();
    let verbs: [&[&str]; 13] = [
        &["ps"],
        &["ps", "--json"],
        &["status", "a"],
        &["logs"],
        &["logs", "a"],
        &["logs", "a", "--json"],
        &["logs", "no\u{1b}[2Jbody"],
        &["stop", "a"],
        &["status", "a"],
        &["status", "a", "--json"],
        &["history"],
        &["history", "a"],
        &["history", "--json"],
    ];
    for verb in verbs {
        let output = launcher.project.run(verb);
        let said = [output.stdout, output.stderr].concat();
        assert!(!acts(&said), "{verb:?}: {:?}", String::from_utf8_lossy(&said));
        if verb == ["stop", "a"] {
            assert!(
                String::from_utf8_lossy(&said).contains("\\x1b]52;c;aGk=\\x07 (PID"),
                "the test shows nothing"
            );
        }
    }
}

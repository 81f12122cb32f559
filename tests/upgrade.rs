//! `provost upgrade`: the supervisor process is replaced by another program, and nobody else notices.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use support::{Launcher, Project, alive, kill, stat};

const IDLE: &str = "command = [\"tail\", \"-f\", \"/dev/null\"]\n";

fn idle() -> Project {
    let child = |name: &str| format!("[[child]]\nname = \"{name}\"\n{IDLE}");
    Project::new(&format!("[supervisor]\nintensity = 100\n{}", ["a", "b"].map(child).concat()))
}

/// What must not change: the children, and the keeper.
fn standing(launcher: &Launcher) -> Vec<(i32, u64)> {
    let pids = ["a", "b", "keeper"].map(|name| launcher.pid_of(name).unwrap());
    pids.iter().map(|pid| (*pid, stat(*pid).unwrap().start)).collect()
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

fn exe(pid: i32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

#[test]
fn another_program_takes_over_and_supervises_as_before() {
    for project in [Some(idle()), idle().by_nobody()].into_iter().flatten() {
        let copy = project.path("provost-next");
        fs::copy(env!("CARGO_BIN_EXE_provost"), &copy).unwrap();
        let launcher = project.up();
        let (before, supervisor) = (standing(&launcher), launcher.pid_of("supervisor").unwrap());
        let said = launcher.ok(&["upgrade", "--binary", copy.to_str().unwrap()]);
        let line = launcher.wait_line("supervisor process upgraded");
        assert!(line.contains(&format!("it is provost {}", env!("CARGO_PKG_VERSION"))), "{line}");
        let next = launcher.pid_of("supervisor").unwrap();
        assert!(said.contains(&format!("PID {next}")), "{said}");
        assert_ne!(next, supervisor);
        assert_eq!(exe(next), copy.canonicalize().unwrap());
        assert_eq!(standing(&launcher), before);
        // It stays, whatever becomes of the process and of the file.
        fs::remove_file(&copy).unwrap();
        kill(next, libc::SIGKILL);
        let third = launcher.wait_new_pid("supervisor", next);
        assert!(exe(third).to_str().unwrap().ends_with("provost-next (deleted)"));
        let (a, _) = before[0];
        kill(a, libc::SIGKILL);
        launcher.wait_new_pid("a", a);
        // And back, by the default: the program that is typed.
        launcher.ok(&["upgrade"]);
        let last = launcher.pid_of("supervisor").unwrap();
        assert_eq!(exe(last), Path::new(env!("CARGO_BIN_EXE_provost")).canonicalize().unwrap());
    }
}

#[test]
fn a_program_that_fails_the_examination_is_refused_with_the_reason_and_nothing_changes() {
    let launcher = idle().up();
    let (before, supervisor) = (standing(&launcher), launcher.pid_of("supervisor").unwrap());
    let script = |name: &str, text: &str| {
        let path = launcher.project.path(name);
        executable(&path, text);
        path.to_str().unwrap().to_owned()
    };
    fs::write(launcher.project.path("text"), "no program").unwrap();
    let cases = [
        ("/bin/false".to_owned(), "it ended with exit code 1"),
        ("/bin/true".to_owned(), "it is no provost"),
        ("/nonexistent".to_owned(), "No such file"),
        (launcher.project.path("text").to_str().unwrap().to_owned(), "cannot be executed"),
        (script("old", "#!/bin/sh\necho provost 0.0.1 protocol 250\n"), "speaks protocol 250"),
        (script("killed", "#!/bin/sh\nkill -SEGV $$\n"), "SIGSEGV"),
        (
            script("blind", "#!/bin/sh\necho cannot read this journal; exit 3\n"),
            "said: cannot read this journal",
        ),
    ];
    for (binary, reason) in cases {
        let output = launcher.project.run(&["upgrade", "--binary", &binary]);
        assert_eq!(output.status.code(), Some(1), "{binary}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(reason) && said.contains("nothing was changed"), "{said}");
    }
    assert_eq!(launcher.pid_of("supervisor"), Some(supervisor));
    assert_eq!(standing(&launcher), before);
}

/// It is handed the journal to read it. Here it passes the examination, and spoils what it was given before it dies.
#[test]
fn a_program_that_spoils_the_journal_and_dies_spoils_a_copy() {
    let launcher = idle().up();
    let before = standing(&launcher);
    let own = env!("CARGO_BIN_EXE_provost");
    for (name, act) in [
        ("cuts", "(: > /proc/self/fd/4) 2>&-"),
        ("overwrites", "(head -c 9999 /dev/zero 1<>/proc/self/fd/4) 2>&-"),
    ] {
        let path = launcher.project.path(name);
        executable(
            &path,
            &format!("#!/bin/sh\n{act}\ncase \"$*\" in *--check*) exec {own} \"$@\";; esac\nexit 1\n"),
        );
        let output = launcher.project.run(&["upgrade", "--binary", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let line = launcher.wait_line("the one before is back");
        assert!(!line.contains("damaged"), "{line}");
        assert_eq!(standing(&launcher), before);
        let (a, _) = before[0];
        assert_eq!(launcher.json("tree")["root"]["children"][0]["run"], 1, "what it knew is known");
        assert!(alive(a));
    }
    let (a, _) = before[0];
    kill(a, libc::SIGKILL);
    launcher.wait_new_pid("a", a);
    launcher.ok(&["upgrade"]);
}

#[test]
fn a_program_that_others_could_have_written_is_refused() {
    let launcher = idle().up();
    let before = standing(&launcher);
    let path = launcher.project.path("next");
    let refused = |why: &str| {
        let output = launcher.project.run(&["upgrade", "--binary", path.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why) && said.contains("nothing was changed"), "{said}");
    };
    fs::copy(env!("CARGO_BIN_EXE_provost"), &path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o757)).unwrap();
    refused("can be written by others");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(support::NOBODY), None).unwrap();
        refused("whom provost would obey");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    } else {
        println!("skipped for another owner: only root can give a file away");
    }
    launcher.ok(&["upgrade", "--binary", path.to_str().unwrap()]);
    assert_eq!(standing(&launcher), before);
}

/// It is replaced by its name while it is examined.
#[test]
fn what_was_examined_is_what_runs() {
    let launcher = idle().up();
    let (path, other) = (launcher.project.path("next"), launcher.project.path("other"));
    let (ran, own) = (launcher.project.path("ran"), env!("CARGO_BIN_EXE_provost"));
    executable(&other, &format!("#!/bin/sh\n: > {}\nexec {own} \"$@\"\n", ran.display()));
    let replace = format!("mv {} {}", other.display(), path.display());
    executable(&path, &format!("#!/bin/sh\n{replace} 2>&-\nexec {own} \"$@\"\n"));
    launcher.ok(&["upgrade", "--binary", path.to_str().unwrap()]);
    assert!(!other.exists() && !ran.exists(), "the other one ran");
}

#[test]
fn a_program_that_dies_or_hangs_at_the_start_is_rolled_back() {
    let launcher = idle().up();
    let before = standing(&launcher);
    let own = env!("CARGO_BIN_EXE_provost");
    for (name, act) in [("dies", "exit 9"), ("hangs", "kill -STOP $$")] {
        let path = launcher.project.path(name);
        executable(&path, &format!("#!/bin/sh\ncase \"$*\" in *--check*) exec {own} \"$@\";; esac\n{act}\n"));
        let supervisor = launcher.pid_of("supervisor").unwrap();
        let began = Instant::now();
        let output = launcher.project.run(&["upgrade", "--binary", path.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("runs the program it ran before"), "{said}");
        assert!(began.elapsed().as_secs() < 15, "{:?}", began.elapsed());
        let line = launcher.wait_line("the one before is back");
        let how = if name == "dies" { "exit code 9" } else { "SIGKILL" };
        assert!(said.contains(how) && line.contains(how), "{said}{line}");
        let now = launcher.pid_of("supervisor").unwrap();
        assert_ne!(now, supervisor);
        assert_eq!(exe(now), Path::new(own).canonicalize().unwrap());
        assert_eq!(standing(&launcher), before);
    }
    let (a, _) = before[0];
    kill(a, libc::SIGKILL);
    launcher.wait_new_pid("a", a);
}

//! What is left when the supervisor process cannot start any more: its children live on, can be seen and be stopped.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use support::{Launcher, Project, alive, eventually, kill, read, wait_gone};

/// Each tells its end, in a file of all.
fn project() -> Project {
    let child = |name: &str| {
        let script = format!(
            "trap 'echo {name} >> order; exit 0' TERM; : > runs.{name}; while :; do read -t 1000 x <> fifo.{name}; done"
        );
        format!("[[child]]\nname = \"{name}\"\ncommand = [\"bash\", \"-c\", {script:?}]\n")
    };
    let children = ["a", "b", "c"].map(child).concat();
    let project = Project::new(&format!("[supervisor]\nintensity = 100\n{children}"));
    for name in ["a", "b", "c"] {
        let fifo = project.path(&format!("fifo.{name}"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::set_permissions(&fifo, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    }
    project
}

fn up(project: Project) -> Launcher {
    let launcher = project.up();
    for name in ["a", "b", "c"] {
        let file = launcher.project.path(&format!("runs.{name}"));
        eventually("its trap is set", || file.exists().then_some(()));
    }
    launcher
}

/// The keeper's journal, opened through `/proc`.
fn journal(launcher: &Launcher) -> File {
    let folder = format!("/proc/{}/fd", launcher.pid());
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let path = entries.into_iter().find(|path| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("provost-journal"))
    });
    File::options().read(true).write(true).open(path.unwrap()).unwrap()
}

/// Writes over what the journal says, as a bug or a bad memory chip would, and lets the supervisor process start again.
fn break_journal(launcher: &Launcher) {
    let supervisor = launcher.pid_of("supervisor").unwrap();
    kill(supervisor, libc::SIGSTOP);
    let journal = journal(launcher);
    let length = journal.metadata().unwrap().len();
    journal.write_all_at(&vec![0xa5; usize::try_from(length).unwrap()], 0).unwrap();
    kill(supervisor, libc::SIGKILL);
}

#[test]
fn with_a_broken_journal_the_children_live_on_and_are_stopped_in_reverse_order() {
    for project in [Some(project()), project().by_nobody()].into_iter().flatten() {
        let mut launcher = up(project);
        let names = ["a", "b", "c"];
        let children = names.map(|name| launcher.pid_of(name).unwrap());
        break_journal(&launcher);
        let line = launcher.wait_line("safe mode");
        assert!(line.contains("crashed five times within a minute, last with exit code 1"), "{line}");

        // Seen, under the only names that are left, with a word of warning.
        let output = launcher.project.run(&["ps"]);
        let warning = String::from_utf8(output.stderr).unwrap();
        assert!(warning.contains("safe mode: ") && warning.contains("the journal is damaged"), "{warning}");
        let rows = launcher.ps();
        let seen: Vec<i64> = rows
            .iter()
            .filter(|row| row["role"] == "child")
            .map(|row| row["pid"].as_i64().unwrap())
            .collect();
        assert_eq!(seen, children.map(i64::from));
        assert!(
            String::from_utf8(launcher.project.run(&["tree"]).stdout)
                .unwrap()
                .contains(&children[0].to_string())
        );

        // Nothing is started, not even what dies.
        let output = launcher.project.run(&["start", "a"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("nothing is started"));
        kill(children[1], libc::SIGKILL);
        launcher.wait_line("ended");
        assert!(alive(children[0]) && alive(children[2]));
        let output = launcher.project.run(&["upgrade"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("the journal is damaged"));

        // It is as hard to kill as ever.
        let supervisor = launcher.pid_of("supervisor").unwrap();
        kill(supervisor, libc::SIGKILL);
        launcher.wait_new_pid("supervisor", supervisor);

        let below = launcher.below();
        launcher.ok(&["down"]);
        assert_eq!(launcher.wait_exit(), 1);
        wait_gone(&below);
        assert_eq!(read(&launcher.project.path("order")), "c\na\n");
    }
}

/// The journal can be read, but what was recorded last in it makes every supervisor process crash. Here a stop is asked
/// for and one child after the other.
#[test]
fn a_child_is_stopped_by_name_and_a_working_journal_leads_back() {
    let launcher = up(project());
    let [a, b, c] = ["a", "b", "c"].map(|name| launcher.pid_of(name).unwrap());
    let supervisor = launcher.pid_of("supervisor").unwrap();
    kill(supervisor, libc::SIGSTOP);
    // One byte of a record after the snapshot; kept to put it right again.
    let journal = journal(&launcher);
    let mut at = [0; 8];
    journal.read_exact_at(&mut at, 8).unwrap();
    let snapshot = u64::from_le_bytes(at);
    let mut length = [0; 4];
    journal.read_exact_at(&mut length, snapshot).unwrap();
    let record = (snapshot + 8 + u64::from(u32::from_le_bytes(length))).next_multiple_of(8);
    let mut byte = [0];
    journal.read_exact_at(&mut byte, record + 8).unwrap();
    journal.write_all_at(&[!byte[0]], record + 8).unwrap();
    kill(supervisor, libc::SIGKILL);
    launcher.wait_line("safe mode");

    // Its names are known from the snapshot.
    assert_eq!(launcher.pid_of("b"), Some(b));
    launcher.ok(&["stop", "b"]);
    assert!(!alive(b));
    kill(a, libc::SIGKILL);
    eventually("a is known to have ended", || launcher.pid_of("a").is_none().then_some(()));

    journal.write_all_at(&byte, record + 8).unwrap();
    // A program that reads it and then dies leaves things as they are.
    let dies = launcher.project.path("dies");
    let own = env!("CARGO_BIN_EXE_provost");
    fs::write(&dies, format!("#!/bin/sh\ncase \"$*\" in *--check*) exec {own} \"$@\";; esac\nexit 9\n"))
        .unwrap();
    fs::set_permissions(&dies, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = launcher.project.run(&["upgrade", "--binary", dies.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the new program ended with exit code 9"), "{said}");
    assert_eq!(launcher.pid_of("a"), None, "nothing is started in safe mode");

    let said = launcher.ok(&["upgrade"]);
    assert!(said.contains("the supervisor process is provost"), "{said}");
    // Both ended by no order of the tree: what is due is done now.
    launcher.wait_new_pid("a", a);
    launcher.wait_new_pid("b", b);
    assert_eq!(launcher.pid_of("c"), Some(c));
    let output = launcher.project.run(&["ps"]);
    assert!(output.stderr.is_empty(), "{output:?}");
}

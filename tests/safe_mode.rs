//! What is left when the supervisor process cannot go on: without its journal it begins again from what there is, and when it
//! cannot start at all its children live on, can be seen and be stopped.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use support::{Launcher, Project, alive, eventually, kill, read, wait_gone, worker};

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
    with_supervisor_stopped(launcher, || {
        let journal = journal(launcher);
        let length = journal.metadata().unwrap().len();
        journal.write_all_at(&vec![0xa5; usize::try_from(length).unwrap()], 0).unwrap();
    });
}

/// Does something while the supervisor process does nothing, then has another one take its place.
fn with_supervisor_stopped(launcher: &Launcher, act: impl FnOnce()) {
    let supervisor = launcher.pid_of("supervisor").unwrap();
    kill(supervisor, libc::SIGSTOP);
    act();
    kill(supervisor, libc::SIGKILL);
    wait_gone(&[supervisor]);
}

#[test]
fn without_its_journal_it_adopts_the_living_and_restarts_what_ended_meanwhile() {
    for damage in ["written over", "cut off"] {
        let config = "[supervisor]\nintensity = 1\n".to_owned()
            + &["a", "b", "c", "stopped"].map(|name| worker(name, "")).concat()
            + "[[child]]\nname = \"below\"\ntype = \"supervisor\"\n"
            + &worker("deep", "parent = \"below\"");
        let launcher = Project::new(&config).up();
        let [a, b, c, deep] = ["a", "b", "c", "deep"].map(|name| launcher.pid_of(name).unwrap());
        kill(a, libc::SIGKILL);
        let a = launcher.wait_new_pid("a", a);
        launcher.ok(&["stop", "stopped"]);
        with_supervisor_stopped(&launcher, || {
            let journal = journal(&launcher);
            match damage {
                "cut off" => journal.set_len(0).unwrap(),
                _ => journal.write_all_at(&[0xa5; 64], 0).unwrap(),
            }
            kill(b, libc::SIGKILL);
        });
        let told = launcher.wait_line("the journal is damaged");
        assert!(told.contains("no process and stay stopped: stopped"), "{told}");
        // The restart before is not counted any more.
        launcher.wait_new_pid("b", b);
        assert_eq!(["a", "c", "deep"].map(|name| launcher.pid_of(name)), [Some(a), Some(c), Some(deep)]);
        assert_eq!(launcher.pid_of("stopped"), None);
        let why = launcher.ok(&["why", "stopped"]);
        assert!(why.contains("lost its journal"), "{why}");
        launcher.ok(&["start", "stopped"]);
        launcher.replace_supervisor();
        let exits = launcher.json_of(&["history"])["exits"].as_array().unwrap().len();
        assert_eq!(exits, 3, "a, stopped and b");
        kill(deep, libc::SIGKILL);
        launcher.wait_new_pid("deep", deep);
    }
}

/// A child that was added while it ran is in no config file; whoever has its number there is somebody else.
#[test]
fn without_its_journal_it_ends_what_the_config_file_does_not_know() {
    let launcher = Project::new(&format!("[supervisor]\nintensity = 9\n{}", worker("a", ""))).up();
    let before = format!("{}{}", worker("z", ""), worker("a", ""));
    launcher.project.configure(&format!("[supervisor]\nintensity = 9\n{before}"));
    launcher.ok(&["reload"]);
    launcher.ok(&["start", "z"]);
    let [a, z] = ["a", "z"].map(|name| launcher.pid_of(name).unwrap());
    break_journal(&launcher);
    let told = launcher.wait_line("stay stopped: z, a");
    for (name, pid) in [("a", a), ("z", z)] {
        assert!(told.contains(&format!("{name} (PID {pid})")), "{told}");
    }
    wait_gone(&[a, z]);
    launcher.ok(&["start", "z", "a"]);
}

#[test]
fn with_a_broken_journal_and_config_the_children_live_on_and_are_stopped_in_reverse_order() {
    for project in [Some(project()), project().by_nobody()].into_iter().flatten() {
        let mut launcher = up(project);
        let names = ["a", "b", "c"];
        let children = names.map(|name| launcher.pid_of(name).unwrap());
        let config = read(&launcher.project.config());
        let write = |text: &str| fs::write(launcher.project.config(), text).unwrap();
        write(&format!("{config}\nbroken"));
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
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("the journal is damaged") && said.contains("mend the file"), "{said}");

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

#[test]
fn a_mended_config_file_and_an_upgrade_lead_out_of_safe_mode_without_a_journal() {
    let launcher = up(project());
    let [a, b, c] = ["a", "b", "c"].map(|name| launcher.pid_of(name).unwrap());
    let config = read(&launcher.project.config());
    fs::write(launcher.project.config(), format!("{config}\nbroken")).unwrap();
    break_journal(&launcher);
    launcher.wait_line("safe mode");
    kill(b, libc::SIGKILL);
    launcher.wait_line("ended");
    fs::write(launcher.project.config(), config).unwrap();
    let said = launcher.ok(&["upgrade"]);
    assert!(said.contains("the supervisor process is provost"), "{said}");
    launcher.wait_new_pid("b", b);
    assert_eq!([launcher.pid_of("a"), launcher.pid_of("c")], [Some(a), Some(c)]);
}

/// Here a stop is asked for and one child after the other.
#[test]
fn a_child_is_stopped_by_name_and_a_working_program_leads_back() {
    let launcher = up(project());
    let [a, b, c] = ["a", "b", "c"].map(|name| launcher.pid_of(name).unwrap());
    for _ in 0..5 {
        let supervisor = launcher.pid_of("supervisor").unwrap();
        kill(supervisor, libc::SIGABRT);
        wait_gone(&[supervisor]);
    }
    launcher.wait_line("safe mode");

    // Its names are known from the snapshot.
    assert_eq!(launcher.pid_of("b"), Some(b));
    launcher.ok(&["stop", "b"]);
    assert!(!alive(b));
    kill(a, libc::SIGKILL);
    eventually("a is known to have ended", || launcher.pid_of("a").is_none().then_some(()));

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

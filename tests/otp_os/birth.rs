//! Starts that fail, and what a started process is given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Project, kill};
use crate::watched::{Watched, flags, idle};

/// A program that cannot be executed any more, in this way, fails exactly so often, then its supervisor gives up.
fn exec_error(errno: &str, spoil: impl Fn(&Path)) {
    let child = "[[child]]\nname = \"a\"\ncommand = [\"./program\", \"1000\"]\nlog = \"null\"\n";
    let project = Project::new(&(flags("one_for_one", 3) + child + &idle("b", "")));
    let program = project.path("program");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut watched = Watched::up(project);
    watched.wait("started", "a");
    spoil(&program);
    kill(watched.pid("a"), libc::SIGKILL);
    watched.wait("exited", "a");
    for run in 2..=4 {
        let failed = watched.wait("start_failed", "a");
        assert_eq!(failed["run"], run);
        assert!(failed["reason"].as_str().unwrap().contains(errno), "{failed}");
    }
    watched.wait("exited", "b");
    assert_eq!(watched.wait("stopped", "test")["class"], "gave_up");
    assert_eq!(watched.launcher.wait_exit(), 70);
    let rest = watched.rest();
    let of_a =
        |kind: &str| rest.iter().filter(|event| event["event"] == kind && event["name"] == "a").count();
    assert_eq!((of_a("start_failed"), of_a("exited"), of_a("started")), (0, 0, 0), "{rest:#?}");
}

#[test]
fn o08_exec_error_no_file() {
    exec_error("ENOENT", |program| fs::remove_file(program).unwrap());
}

#[test]
fn o08_exec_error_no_permission() {
    exec_error("EACCES", |program| fs::set_permissions(program, fs::Permissions::from_mode(0o600)).unwrap());
}

#[test]
fn o08_exec_error_no_program() {
    exec_error("ENOEXEC", |program| {
        fs::remove_file(program).unwrap();
        fs::write(program, [0x7f, 0x0b, 0xad]).unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o700)).unwrap();
    });
}

/// A launcher that was given an open file, ignored and blocked signals hands none of it on.
#[test]
fn o34_descriptors_and_signals() {
    let project = Project::new(&(flags("one_for_one", 1) + &idle("a", "")));
    let mut up = Command::new("sh");
    let script = "trap '' PIPE USR1 HUP; exec 9< /etc/passwd; exec env --block-signal=USR2 \"$0\" \"$@\"";
    let provost = project.provost(&["up"]);
    up.args(["-c", script]).arg(provost.get_program()).args(provost.get_args()).stdin(Stdio::null());
    let launcher = project.start_by(up);
    launcher.wait_line("distinct PIDs");
    let a = launcher.pid_of("a").unwrap();
    let mut open: Vec<String> = fs::read_dir(format!("/proc/{a}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    let set = |pid: i32, name: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
    };
    for name in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        assert_eq!(set(a, name), 0, "{name}");
    }
    let hangup = 1 << (libc::SIGHUP - 1);
    assert_eq!(set(launcher.pid(), "SigIgn") & hangup, hangup, "the launcher itself was given it");
}

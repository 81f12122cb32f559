//! provost as an init: as the first process of a PID namespace, and `provost run` anywhere.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use support::{NOBODY, Project, alive, eventually, kill, read, wait_gone};

const OWN: &str = env!("CARGO_BIN_EXE_provost");

/// How to become the first process of a namespace: as root, and as a user without rights where the system lets them.
fn namespaces() -> Vec<Vec<String>> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut ways = vec![words("unshare -Urfp --mount-proc")];
    if nix::unistd::geteuid().is_root() {
        ways[0] = words(&format!(
            "setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups unshare -Urfp --mount-proc"
        ));
        ways.push(words("unshare -fp --mount-proc"));
    }
    ways.retain(|way| {
        let works =
            Command::new(&way[0]).args(&way[1..]).arg("true").output().is_ok_and(|it| it.status.success());
        if !works {
            println!("skipped, not allowed here: {}", way.join(" "));
        }
        works
    });
    ways
}

fn within(way: &[String], rest: &[&str]) -> Command {
    let mut command = Command::new(&way[0]);
    command.args(&way[1..]).args(rest).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    Command::new(OWN).arg("run").arg("--").args(args).stdin(Stdio::null()).output().unwrap()
}

/// Starts `provost run -- bash -c SCRIPT` and waits for its first line.
fn started(script: &str) -> (Child, String) {
    let mut command = Command::new(OWN);
    command.args(["run", "--", "bash", "-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().to_owned())
}

#[test]
fn run_ends_as_its_command_does() {
    assert_eq!(run(&["sh", "-c", "echo out; echo err >&2; exit 42"]).status.code(), Some(42));
    let output = run(&["sh", "-c", "echo out; echo err >&2; exit 0"]);
    assert_eq!(
        (output.status.code(), &output.stdout[..], &output.stderr[..]),
        (Some(0), &b"out\n"[..], &b"err\n"[..])
    );
    assert_eq!(run(&["sh", "-c", "kill -TERM $$"]).status.code(), Some(128 + libc::SIGTERM));
    assert_eq!(run(&["no-such-program"]).status.code(), Some(127));
    assert_eq!(run(&["/no/such/program"]).status.code(), Some(127));
    assert_eq!(run(&["/etc/passwd"]).status.code(), Some(126));
    assert_eq!(Command::new(OWN).arg("run").output().unwrap().status.code(), Some(2));
    // Its options are its own.
    assert_eq!(run(&["printf", "%s", "--help"]).stdout, b"--help");
}

#[test]
fn run_passes_signals_on() {
    for signal in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGWINCH,
        libc::SIGCONT,
        libc::SIGALRM,
    ] {
        let script = format!("trap 'exit 77' {signal}; echo ready; tail -f /dev/null & wait");
        let (mut child, _) = started(&script);
        let pid = i32::try_from(child.id()).unwrap();
        kill(pid, signal);
        let code = eventually("its end", || child.try_wait().unwrap()).code();
        assert_eq!(code, Some(77), "signal {signal}");
    }
}

#[test]
fn run_keeps_the_callers_session_and_group_and_starts_with_clean_signals() {
    let output =
        run(&["sh", "-c", "grep -E '^Sig(Blk|Ign)' /proc/self/status; cut -d' ' -f4-6 /proc/$$/stat"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let own: Vec<String> = {
        let text = read(std::path::Path::new("/proc/self/stat"));
        text[text.rfind(')').unwrap() + 2..].split(' ').map(str::to_owned).collect()
    };
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "SigBlk:\t0000000000000000");
    assert_eq!(lines[1], "SigIgn:\t0000000000000000");
    let ids: Vec<&str> = lines[2].split(' ').collect();
    assert_eq!(ids[1..], [&own[2], &own[3]], "process group and session are those of the test");
}

#[test]
fn run_leaves_nothing_behind_and_its_death_ends_all() {
    let daemon = "setsid sh -c 'trap \"\" TERM; exec tail -f /dev/null' >/dev/null 2>&1 & echo $!";
    let (mut child, line) = started(daemon);
    let left: i32 = line.parse().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    wait_gone(&[left]);
    let (mut child, line) = started("echo $$; exec tail -f /dev/null");
    let command: i32 = line.parse().unwrap();
    assert!(alive(command));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_gone(&[command]);
}

#[test]
fn run_leaves_alone_what_its_process_had_before() {
    let script = "sleep 1000 & echo $!; exec \"$0\" run -- true";
    let mut command = Command::new("bash");
    command.args(["-c", script, OWN]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let before: i32 = line.trim().parse().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let living = alive(before);
    kill(before, libc::SIGKILL);
    assert!(living);
}

#[test]
fn as_the_first_process_run_reaps_and_ends_as_its_command_does() {
    for way in namespaces() {
        // Orphans of orphans become zombies of process 1, unless it reaps them.
        let script = "echo first $PPID; for i in 1 2 3 4 5; do (sh -c 'true & true' &); done; \
             until [ $(ls -d /proc/[0-9]* | wc -l) -le 5 ]; do sleep 0.01; done; \
             grep -l '^State:.Z' /proc/[0-9]*/status; kill -KILL $$";
        let output = within(&way, &[OWN, "run", "--", "bash", "-c", script]).output().unwrap();
        assert_eq!(output.status.code(), Some(137), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "first 1\n", "{way:?}");
    }
}

#[test]
fn as_the_first_process_run_is_stopped_by_term() {
    for way in namespaces() {
        let script = "trap 'exit 7' TERM; echo ready; tail -f /dev/null & wait";
        let mut child =
            within(&way, &[OWN, "run", "--", "bash", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let outside = i32::try_from(child.id()).unwrap();
        let init = eventually("the first process", || {
            let below = support::descendants(outside);
            below.into_iter().find(|pid| {
                fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("provost"))
            })
        });
        kill(init, libc::SIGTERM);
        let code = eventually("its end", || child.try_wait().unwrap()).code();
        assert_eq!(code, Some(7), "{way:?}");
    }
}

#[test]
fn as_the_first_process_up_supervises_reaps_and_stops() {
    for mut way in namespaces() {
        // As root of a user namespace it would refuse a config file below folders of somebody unknown.
        way.iter_mut().filter(|word| *word == "-Urfp").for_each(|word| *word = "-Ucfp".to_owned());
        let project = Project::new(
            "[supervisor]\nintensity = 100\n[[child]]\nname = \"a\"\ncommand = [\"tail\", \"-f\", \"/dev/null\"]\n\
             [[child]]\nname = \"orphans\"\ncommand = [\"sh\", \"-c\", \"while :; do (sh -c 'true & true' &); read -t 1 x < /dev/null; \
             kill -STOP $$; done\"]\n",
        );
        let project = if way[0] == "setpriv" { project.by_nobody().unwrap() } else { project };
        let config = project.config();
        let mut child = within(&way, &[OWN, "-f", config.to_str().unwrap(), "up"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("distinct PIDs")));
        let outside = i32::try_from(child.id()).unwrap();
        let named = |name: &str| {
            eventually(name, || {
                support::descendants(outside)
                    .into_iter()
                    .find(|pid| read(std::path::Path::new(&format!("/proc/{pid}/comm"))).trim() == name)
            })
        };
        let keeper = support::descendants(outside)[0];
        // Heals, and whichever process of it dies.
        let tail = named("tail");
        kill(tail, libc::SIGKILL);
        eventually("tail under another pid", || Some(named("tail")).filter(|pid| *pid != tail));
        let supervisor = named("provost-super");
        kill(supervisor, libc::SIGKILL);
        eventually("another supervisor process", || {
            Some(named("provost-super")).filter(|pid| *pid != supervisor)
        });
        eventually("no zombie", || {
            let zombies = read(std::path::Path::new(&format!("/proc/{keeper}/task/{keeper}/children")));
            let zombie =
                |pid: &str| support::stat(pid.parse().unwrap()).is_some_and(|stat| stat.state == 'Z');
            (!zombies.split_whitespace().any(zombie)).then_some(())
        });
        kill(keeper, libc::SIGTERM);
        let code = eventually("its end", || child.try_wait().unwrap()).code();
        assert_eq!(code, Some(0), "{way:?}");
    }
}

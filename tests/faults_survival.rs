//! Rows of the fault matrix that are about survival, by their numbers: what is done to the supervisor process, the keeper and
//! their sockets, as root and as a user without rights. Verdicts come from the kernel and from what children write.
//!
//! F01 and F02 at length are `chaos.rs`; F22 is in `keeper_life`.

mod support;

use std::fs::{self, Permissions};
use std::io::{IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use support::{
    Launcher, NOBODY, Project, alive, descendants, eventually, kill, read, scripted, stat, wait_gone, worker,
};

const IDLE: &str = "command = [\"tail\", \"-f\", \"/dev/null\"]\n";

/// Three idle children, as this user and as nobody.
fn as_both(check: impl Fn(Launcher)) {
    let project = || {
        let child = |name: &str| format!("[[child]]\nname = \"{name}\"\n{IDLE}");
        Project::new(&format!("[supervisor]\nintensity = 100\n{}", ["a", "b", "c"].map(child).concat()))
    };
    check(project().up());
    if let Some(project) = project().by_nobody() {
        check(project.up());
    }
}

fn pids(launcher: &Launcher, names: &[&str]) -> Vec<i32> {
    names.iter().map(|name| launcher.pid_of(name).unwrap()).collect()
}

fn last(launcher: &Launcher) -> i32 {
    launcher.pid_of("supervisor").unwrap()
}

fn wait(length: Duration) {
    let end = Instant::now() + length;
    eventually("the end of a wait", || (Instant::now() >= end).then_some(()));
}

/// Open descriptors of a process.
fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// A number of `/proc/PID/status`.
fn status_number(pid: i32, field: &str) -> u64 {
    let status = read(Path::new(&format!("/proc/{pid}/status")));
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn f01_killed_again_and_again_it_changes_nothing() {
    as_both(|launcher| {
        let before = pids(&launcher, &["a", "b", "c"]);
        for _ in 0..10 {
            let supervisor = last(&launcher);
            kill(supervisor, libc::SIGKILL);
            launcher.wait_new_pid("supervisor", supervisor);
        }
        assert_eq!(pids(&launcher, &["a", "b", "c"]), before);
    });
}

#[test]
fn f02_an_exit_while_it_is_away_is_known_exactly_and_answered_once() {
    as_both(|launcher| {
        let (a, supervisor) = (launcher.pid_of("a").unwrap(), last(&launcher));
        kill(supervisor, libc::SIGSTOP);
        kill(a, libc::SIGUSR1);
        eventually("the keeper has reaped a", || stat(a).is_none().then_some(()));
        kill(supervisor, libc::SIGKILL);
        launcher.wait_new_pid("a", a);
        let tree = launcher.json("tree");
        let child = &tree["root"]["children"][0];
        assert_eq!((child["run"].as_u64(), child["restarts"].as_u64()), (Some(2), Some(1)));
        assert_eq!(child["last_exit"]["name"], "SIGUSR1");
    });
}

#[test]
fn f03_hung_while_something_happens_it_is_replaced() {
    as_both(|launcher| {
        let supervisor = last(&launcher);
        let [a, b, c] = pids(&launcher, &["a", "b", "c"])[..] else { unreachable!() };
        kill(supervisor, libc::SIGSTOP);
        kill(a, libc::SIGKILL);
        let began = Instant::now();
        eventually("the end of the hung one", || (!alive(supervisor)).then_some(()));
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
        launcher.wait_new_pid("a", a);
        assert_eq!(pids(&launcher, &["b", "c"]), [b, c]);
    });
}

#[test]
fn f03_hung_while_nothing_happens_it_is_replaced_when_somebody_asks() {
    as_both(|launcher| {
        let supervisor = last(&launcher);
        let children = pids(&launcher, &["a", "b", "c"]);
        kill(supervisor, libc::SIGSTOP);
        assert_ne!(last(&launcher), supervisor, "the question was answered by the next one");
        assert_eq!(pids(&launcher, &["a", "b", "c"]), children);
    });
}

/// Whoever has nothing to do is not woken, not even to be watched.
#[test]
fn an_idle_launcher_is_never_woken() {
    as_both(|launcher| {
        let idle = [launcher.pid(), last(&launcher)];
        let switches = || idle.map(|pid| status_number(pid, "voluntary_ctxt_switches:"));
        // What the last question left to do is done within a second or two.
        eventually("both are idle", || {
            let before = switches();
            wait(Duration::from_millis(1500));
            (switches() == before).then_some(())
        });
        let before = switches();
        wait(Duration::from_secs(3));
        assert_eq!(switches(), before);
    });
}

/// A child that forks a process into a session of its own, which closes everything and is deaf to TERM.
fn with_daemon() -> Project {
    Project::new(
        "[[child]]\nname = \"family\"\ncommand = [\"bash\", \"-c\", '''\n\
         (setsid bash -c 'trap \"\" TERM HUP; echo $$ > daemon.part; mv daemon.part daemon; while :; do read -t 1000 x <> fifo; done' \
         </dev/null >/dev/null 2>&1 &)\nexec tail -f /dev/null''']\n",
    )
}

fn daemon(launcher: &Launcher) -> i32 {
    eventually("the daemon", || read(&launcher.project.path("daemon")).trim().parse().ok())
}

fn up_with_daemon(project: Project) -> (Launcher, i32) {
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    fs::set_permissions(project.path("fifo"), Permissions::from_mode(0o666)).unwrap();
    let launcher = project.up();
    let daemon = daemon(&launcher);
    (launcher, daemon)
}

#[test]
fn f04_the_killed_keeper_leaves_nothing_not_even_daemons() {
    for project in [Some(with_daemon()), with_daemon().by_nobody()].into_iter().flatten() {
        let (mut launcher, daemon) = up_with_daemon(project);
        let mut below = launcher.below();
        assert!(below.contains(&daemon), "the daemon belongs to the keeper");
        below.push(launcher.pid());
        let began = Instant::now();
        kill(launcher.pid(), libc::SIGKILL);
        wait_gone(&below);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        launcher.child.wait().unwrap();
    }
}

#[test]
fn f04_what_both_left_behind_is_removed_by_the_next_launcher_and_strangers_are_not() {
    for project in [Some(with_daemon()), with_daemon().by_nobody()].into_iter().flatten() {
        let (mut launcher, daemon) = up_with_daemon(project);
        let (family, supervisor) = (launcher.pid_of("family").unwrap(), last(&launcher));
        // Look the same: of another run directory, and of a shell in which somebody has named this one.
        let decoy = |run_dir: &str| {
            let mut command = std::process::Command::new("bash");
            command.args(["-c", "trap '' TERM; exec -a bash tail -f /dev/null"]);
            command.env("PROVOST_RUN_DIR", launcher.project.path(run_dir));
            support::Aside(command.spawn().unwrap())
        };
        let mut decoys = ["run.other", "run"].map(decoy);
        // So is another project's launcher that was started there.
        let other = Project::new(&support::worker("a", ""));
        let mut command = other.provost(&["up"]);
        command.env("PROVOST_RUN_DIR", launcher.project.path("run"));
        let other = other.start_by(command);
        other.wait_line("distinct PIDs");
        let others = other.below();
        kill(supervisor, libc::SIGSTOP);
        kill(launcher.pid(), libc::SIGKILL);
        launcher.child.wait().unwrap();
        wait_gone(&[family]);
        assert!(alive(daemon) && alive(supervisor), "there is nothing to remove");
        fs::remove_file(launcher.project.path("daemon")).unwrap();
        let next = launcher.project.clone().start();
        let line = next.wait_line("left behind");
        assert!(line.contains("removed ") && line.contains("that an earlier launcher left behind"), "{line}");
        next.wait_line("distinct PIDs");
        assert!(!alive(daemon) && !alive(supervisor));
        for decoy in &mut decoys {
            assert_eq!(decoy.0.try_wait().unwrap(), None, "a stranger was killed");
        }
        assert!(alive(other.pid()) && other.below() == others, "another project was harmed");
    }
}

#[test]
fn f11_a_crash_loop_ends_exactly_when_the_budget_does() {
    let mut launcher = Project::new(
        "[supervisor]\nintensity = 7\nperiod = \"1h\"\n[[child]]\nname = \"x\"\n\
         command = [\"sh\", \"-c\", \"echo life >> lives; exit 1\"]\n",
    )
    .start();
    assert_eq!(launcher.wait_exit(), 70);
    assert_eq!(read(&launcher.project.path("lives")).lines().count(), 8, "the first life and seven restarts");
}

/// Wall-clock time is for people only. Whoever decides or waits does not know it, so a clock that jumps changes nothing.
#[test]
fn f24_nobody_who_decides_or_waits_knows_the_wall_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders: Vec<_> =
        ["rules", "keeper", "runtime", "capture"].map(|folder| root.join(folder)).into();
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            seen += 1;
            let text = read(&path);
            let says = ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME"].iter().any(|word| text.contains(word));
            let for_people = TIMES_FOR_PEOPLE.iter().any(|name| path.ends_with(name));
            assert!(!says || for_people, "{} knows the wall clock", path.display());
        }
    }
    assert!(seen > 30);
}

/// Files that put times into what people read, or read them from there.
const TIMES_FOR_PEOPLE: [&str; 5] =
    ["runtime/report.rs", "runtime/departures.rs", "capture/log.rs", "capture/reader.rs", "capture/tests.rs"];

#[test]
fn f25_a_tree_that_was_frozen_as_a_whole_goes_on_as_it_was() {
    as_both(|launcher| {
        let supervisor = last(&launcher);
        let [a, b, c] = pids(&launcher, &["a", "b", "c"])[..] else { unreachable!() };
        // An answer is owed when the frost begins.
        kill(supervisor, libc::SIGSTOP);
        kill(a, libc::SIGKILL);
        eventually("the keeper has reaped a", || stat(a).is_none().then_some(()));
        for pid in [launcher.pid(), b, c] {
            kill(pid, libc::SIGSTOP);
        }
        // Longer than a hung supervisor process is given.
        wait(Duration::from_secs(7));
        for pid in [launcher.pid(), supervisor, b, c] {
            kill(pid, libc::SIGCONT);
        }
        launcher.wait_new_pid("a", a);
        assert_eq!((last(&launcher), pids(&launcher, &["b", "c"])), (supervisor, vec![b, c]));
    });
}

/// Even where the folders would let them.
#[test]
fn f26_another_user_gets_no_answer() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: only root can become another user");
    }
    let launcher = Project::new(&format!("[[child]]\nname = \"a\"\n{IDLE}")).up();
    let ask = || launcher.project.provost(&["ps"]).uid(NOBODY).gid(NOBODY).output().unwrap();
    assert!(!ask().status.success());
    let open = |name: &str, mode| {
        fs::set_permissions(launcher.project.path(name), Permissions::from_mode(mode)).unwrap();
    };
    open("", 0o755);
    open("supervisor.toml", 0o644);
    open("run", 0o755);
    open("run/control.sock", 0o777);
    let output = ask();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let refused = String::from_utf8(output.stderr).unwrap();
    assert!(refused.contains("connection"), "{refused}");
    launcher.ok(&["ps"]);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let len = self.next() % most;
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// `PROVOST_FUZZ_FRAMES` makes it more; the keeper's packets have their own 100,000 beside their definition.
#[test]
fn f27_random_frames_on_the_control_socket_are_refused_and_forgotten() {
    let frames = std::env::var("PROVOST_FUZZ_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    as_both(|launcher| {
        let supervisor = last(&launcher);
        let socket = launcher.project.path("run/control.sock");
        let mut random = Random(27);
        let heads: [&[u8]; 6] = [
            b"",
            b"GET /v1/ps HTTP/1.1\r\nHost: x\r\n",
            b"POST /v1/upgrade HTTP/1.1\r\nContent-Length: 4294967295\r\n\r\n",
            b"POST /v1/children/a/signal HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"GET /v1/children/%00%ff HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ];
        let mut before = (0, 0);
        for number in 0..frames {
            if number == frames / 3 {
                before = (status_number(supervisor, "VmRSS:"), descriptors(supervisor));
            }
            let mut stream = UnixStream::connect(&socket).unwrap();
            let head = heads[(random.next() % 6) as usize];
            let rest = random.bytes(if number % 100 == 0 { 100_000 } else { 200 });
            // It may have hung up by now.
            let _ = stream.write_all(head).and_then(|()| stream.write_all(&rest));
            if number % 10 == 0 {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
                let _ = stream.read(&mut [0; 512]);
            }
        }
        assert_eq!(last(&launcher), supervisor, "it did not survive");
        eventually("its descriptors are closed", || (descriptors(supervisor) <= before.1 + 8).then_some(()));
        let after = status_number(supervisor, "VmRSS:");
        assert!(after < before.0 + 16 * 1024, "from {} to {after} KiB", before.0);
    });
}

#[test]
fn f28_clients_that_never_finish_or_never_read_cost_nobody_else_anything() {
    as_both(|launcher| {
        let socket = launcher.project.path("run/control.sock");
        let mut silent = Vec::new();
        for number in 0..100 {
            let mut stream = UnixStream::connect(&socket).unwrap();
            let part: &[u8] = match number % 3 {
                0 => b"",
                1 => b"GET /v1/ps HT",
                _ => b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n",
            };
            let _ = stream.write_all(part);
            silent.push(stream);
        }
        let began = Instant::now();
        launcher.ok(&["ps"]);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let a = launcher.pid_of("a").unwrap();
        kill(a, libc::SIGKILL);
        launcher.wait_new_pid("a", a);
    });
}

/// Played by this executable when provost starts it: tells that it is ready once the test says so, on its own socket or on
/// another child's.
#[test]
fn role_of_a_child_that_notifies() {
    let (Ok(own), Ok(folder)) = (std::env::var("NOTIFY_SOCKET"), std::env::var("NOTIFY_ROLE")) else {
        return;
    };
    let folder = Path::new(&folder);
    let socket = UnixDatagram::unbound().unwrap();
    if std::env::var("PROVOST_NAME").unwrap() == "liar" {
        socket.send_to(b"READY=1\n", &own).unwrap();
        let other = Path::new(&own).with_file_name("honest");
        eventually("the other's socket", || socket.send_to(b"READY=1\n", &other).ok());
    } else {
        eventually("the word", || folder.join("go").exists().then_some(()));
        socket.send_to(b"READY=1\n", &own).unwrap();
    }
    eventually("the end", || folder.join("never").exists().then_some(()));
}

fn notifiers() -> Project {
    let own = std::env::current_exe().unwrap();
    let child = |name: &str| {
        format!(
            "[[child]]\nname = \"{name}\"\nready = {{ notify = true, timeout = \"5min\" }}\nshutdown = \"brutal_kill\"\n\
             command = [{own:?}, \"--exact\", \"role_of_a_child_that_notifies\"]\nenv = {{ NOTIFY_ROLE = \"${{RUN_DIR}}/..\" }}\n"
        )
    };
    Project::new(&["liar", "honest"].map(child).concat())
}

fn phase(launcher: &Launcher, name: &str) -> String {
    let tree = launcher.json("tree");
    let children = tree["root"]["children"].as_array().unwrap();
    children.iter().find(|child| child["name"] == name).unwrap()["phase"].as_str().unwrap().to_owned()
}

fn ignored(launcher: &Launcher) -> u64 {
    let mut stream = UnixStream::connect(launcher.project.path("run/control.sock")).unwrap();
    stream.write_all(b"GET /v1/about HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<serde_json::Value>(body).unwrap()["ignored_notifications"].as_u64().unwrap()
}

#[test]
fn f29_f30_hostile_and_foreign_notifications_are_ignored_and_counted() {
    for project in [Some(notifiers()), notifiers().by_nobody()].into_iter().flatten() {
        hostile_and_foreign_notifications(&project.start());
    }
}

fn hostile_and_foreign_notifications(launcher: &Launcher) {
    eventually("honest starts", || {
        let output = launcher.project.run(&["tree", "--json"]);
        (output.status.success() && phase(launcher, "honest") == "starting").then_some(())
    });
    assert_eq!(phase(launcher, "liar"), "ready");
    // F30: the liar's word about the other one.
    eventually("the lie was heard", || (ignored(launcher) >= 1).then_some(()));
    let supervisor = last(launcher);
    let before = (descriptors(supervisor), ignored(launcher));

    let path = launcher.project.path("run/notify/honest");
    let socket = UnixDatagram::unbound().unwrap();
    let mut long = b"READY=1\n".to_vec();
    long.resize(64 * 1024, b'x');
    let pid = launcher.pid();
    let messages = [
        Vec::new(),
        long,
        (0..=255).collect(),
        b"READY=1".to_vec(),
        b"MAINPID=0\nREADY=1\n".to_vec(),
        b"MAINPID=1\n".to_vec(),
        format!("MAINPID={pid}\n").into_bytes(),
        format!("MAINPID={supervisor}\nREADY=1\n").into_bytes(),
        b"FDSTORE=1\n".to_vec(),
    ];
    for message in &messages {
        socket.send_to(message, &path).unwrap();
    }
    let fds = vec![socket.as_raw_fd(); 250];
    let address = UnixAddr::new(&path).unwrap();
    let parts = [IoSlice::new(b"READY=1\n")];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg(socket.as_raw_fd(), &parts, &rights, MsgFlags::empty(), Some(&address)).unwrap();
    let expected = before.1 + messages.len() as u64 + 1;
    eventually("all are counted", || (ignored(launcher) == expected).then_some(()));
    assert_eq!(phase(launcher, "honest"), "starting");
    assert_eq!(last(launcher), supervisor, "it did not survive");
    eventually("no descriptor is kept", || (descriptors(supervisor) <= before.0).then_some(()));

    // The handler is alive: now the child itself speaks.
    fs::write(launcher.project.path("go"), "").unwrap();
    eventually("honest is ready", || (phase(launcher, "honest") == "ready").then_some(()));
}

#[test]
fn f33_a_second_launcher_is_refused_and_names_the_first() {
    as_both(|launcher| {
        let children = pids(&launcher, &["a", "b", "c"]);
        for verb in [&["up"][..], &["up", "-d"]] {
            let output = launcher.project.run(verb);
            assert_eq!(output.status.code(), Some(75));
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains(&format!("(PID {})", launcher.pid())), "{said}");
        }
        assert_eq!(pids(&launcher, &["a", "b", "c"]), children);
    });
}

#[test]
fn f34_whatever_lies_in_the_run_directory_is_no_truth() {
    let project = || Project::new(&format!("[[child]]\nname = \"a\"\n{IDLE}"));
    let garbage: [&[u8]; 3] = [b"", b"\xff\x00garbage\n", b"1\n"];
    for (number, lock) in garbage.into_iter().enumerate() {
        let project = project();
        fs::create_dir(project.path("run")).unwrap();
        fs::set_permissions(project.path("run"), Permissions::from_mode(0o700)).unwrap();
        fs::write(project.path("run/lock"), lock).unwrap();
        // As a dead launcher leaves it, and as nobody would.
        if number == 0 {
            drop(std::os::unix::net::UnixListener::bind(project.path("run/control.sock")).unwrap());
        } else {
            fs::write(project.path("run/control.sock"), "no socket").unwrap();
        }
        let launcher = project.up();
        assert!(alive(launcher.pid_of("a").unwrap()));
    }
    let Some(project) = project().by_nobody() else { return };
    fs::create_dir(project.path("run")).unwrap();
    std::os::unix::fs::chown(project.path("run"), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(project.path("run"), Permissions::from_mode(0o500)).unwrap();
    let output = project.run(&["up"]);
    assert_eq!(output.status.code(), Some(69));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot lock") && said.contains("Permission denied"), "{said}");
}

#[test]
fn f36_a_stop_that_has_begun_is_final_and_asked_for_again_faster() {
    let script = "trap '' TERM; : > deaf.now; while :; do read -t 1000 x <> fifo; done";
    let project = Project::new(&format!(
        "[[child]]\nname = \"deaf\"\nshutdown = \"10min\"\ncommand = [\"bash\", \"-c\", {script:?}]\n\
         [[child]]\nname = \"b\"\n{IDLE}"
    ));
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut launcher = project.up();
    eventually("deaf is deaf", || launcher.project.path("deaf.now").exists().then_some(()));
    let b = launcher.pid_of("b").unwrap();
    kill(launcher.pid(), libc::SIGTERM);
    wait_gone(&[b]);
    let output = launcher.project.run(&["start", "b"]);
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(launcher.pid_of("b"), None);
    // The stop survives the supervisor process that was told of it.
    let supervisor = last(&launcher);
    kill(supervisor, libc::SIGKILL);
    launcher.wait_new_pid("supervisor", supervisor);
    assert_eq!(launcher.pid_of("b"), None);
    let below = descendants(launcher.pid());
    let began = Instant::now();
    kill(launcher.pid(), libc::SIGTERM);
    assert_eq!(launcher.wait_exit(), 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    wait_gone(&below);
}

/// A child that starts and another that is being stopped when everything is frozen, both with less time than the frost lasts.
#[test]
fn time_in_which_nothing_ran_counts_against_nobody() {
    let own = std::env::current_exe().unwrap();
    let inner = "[[child]]\nname = \"s\"\ntype = \"supervisor\"\n";
    let ending = support::scripted(
        "ending",
        "trap 'until [ -e go ]; do read -t 0.01 x <> fifo; done; echo clean > ended; exit 0' TERM; echo up > ending; \
         while :; do read -t 1000 x <> fifo; done",
        "parent = \"s\"\nshutdown = \"6s\"",
    );
    let starting = format!(
        "[[child]]\nname = \"starting\"\nready = {{ notify = true, timeout = \"6s\" }}\n\
         command = [{own:?}, \"--exact\", \"role_of_a_child_that_notifies\"]\nenv = {{ NOTIFY_ROLE = \"${{RUN_DIR}}/..\" }}\n"
    );
    let project = Project::new(&format!("{inner}{ending}{starting}"));
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.start();
    eventually("ending is up", || launcher.project.path("ending").exists().then_some(()));
    let mut stop = support::Aside(launcher.project.provost(&["stop", "ending"]).spawn().unwrap());
    eventually("ending is asked", || (phase_below(&launcher, "ending") == "stopping").then_some(()));
    eventually("starting is there", || launcher.pid_of("starting"));

    let mut all = descendants(launcher.pid());
    all.push(launcher.pid());
    all.iter().for_each(|pid| kill(*pid, libc::SIGSTOP));
    wait(Duration::from_secs(7));
    fs::write(launcher.project.path("go"), "").unwrap();
    all.iter().rev().for_each(|pid| kill(*pid, libc::SIGCONT));

    launcher.wait_line("distinct PIDs");
    assert!(stop.0.wait().unwrap().success());
    assert!(launcher.project.path("ended").exists());
    let exits = launcher.json_of(&["history"]);
    assert_eq!(exits["exits"].as_array().unwrap().len(), 1, "{exits:#}");
}

fn phase_below(launcher: &Launcher, name: &str) -> String {
    let tree = launcher.json("tree");
    let children = tree["root"]["children"][0]["children"].as_array().unwrap();
    children.iter().find(|child| child["name"] == name).unwrap()["phase"].as_str().unwrap().to_owned()
}

/// A control group of the old freezer: a frozen process does not even die of KILL. Dropped, it is thawed and removed.
struct Freezer(std::path::PathBuf);

impl Freezer {
    fn of(pid: i32) -> Option<Freezer> {
        let group = Path::new("/sys/fs/cgroup/freezer").join(format!("provost-test-{pid}"));
        if let Err(error) = fs::create_dir(&group) {
            println!("skipped: no freezer of control groups version 1 can be used: {error}");
            return None;
        }
        let freezer = Freezer(group);
        fs::write(freezer.0.join("cgroup.procs"), pid.to_string()).unwrap();
        fs::write(freezer.0.join("freezer.state"), "FROZEN").unwrap();
        let state = freezer.0.join("freezer.state");
        eventually("it is frozen", || (read(&state).trim() == "FROZEN").then_some(()));
        Some(freezer)
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        fs::write(self.0.join("freezer.state"), "THAWED").unwrap();
        eventually("the end of the freezer", || fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn what_cannot_be_killed_is_named_and_its_siblings_are_served() {
    let child = |name: &str| format!("[[child]]\nname = \"{name}\"\nshutdown = \"100ms\"\n{IDLE}");
    let launcher =
        Project::new(&format!("[supervisor]\nintensity = 100\n{}", ["a", "b"].map(child).concat())).up();
    let [a, b] = pids(&launcher, &["a", "b"])[..] else { unreachable!() };
    let Some(freezer) = Freezer::of(a) else { return };
    for verb in ["stop", "restart"] {
        let refused = launcher.project.run(&[verb, "a"]);
        let told = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(124), "{told}");
        assert!(told.contains("does not die") && told.contains(&format!("PID {a}")), "{told}");
        assert!(told.contains("state D"), "{told}");
    }
    kill(b, libc::SIGKILL);
    launcher.wait_new_pid("b", b);
    assert!(launcher.ok(&["why", "a"]).contains(&format!("PID {a}")));
    let start = launcher.project.run(&["start", "a"]);
    assert!(String::from_utf8(start.stderr).unwrap().contains("does not die"));

    drop(freezer);
    wait_gone(&[a]);
    eventually("a is stopped", || (phase(&launcher, "a") == "stopped").then_some(()));
    launcher.ok(&["start", "a"]);
    assert_ne!(launcher.pid_of("a"), Some(a));
}

/// Played by this executable: tells that the child it belongs to is ready, and ends.
#[test]
fn role_of_a_helper_that_says_one_word() {
    let (Ok(own), Ok(_)) = (std::env::var("NOTIFY_SOCKET"), std::env::var("NOTIFY_HELPER")) else { return };
    UnixDatagram::unbound().unwrap().send_to(b"READY=1\n", own).unwrap();
}

/// A child whose script runs the helper as `$TELL` once the file `go` exists, and puts `done` there afterwards.
fn told_by_a_helper(script: &str, more: &str) -> Project {
    let own = std::env::current_exe().unwrap();
    let tell = format!("{} --exact role_of_a_helper_that_says_one_word >/dev/null", own.display());
    let script = format!("until [ -e go ]; do sleep 0.01; done; TELL='{tell}'; {script}");
    let more = format!(
        "ready = {{ notify = true, timeout = \"5min\" }}\nenv = {{ NOTIFY_HELPER = \"1\" }}\ncwd = \".\"\n{more}"
    );
    Project::new(&(scripted("told", &script, &more) + &worker("after", "")))
}

/// The word is said, and who said it has ended, while the supervisor process cannot look.
fn say_it_unseen(launcher: &Launcher) {
    let starting = || {
        let output = launcher.project.run(&["tree", "--json"]);
        (output.status.success() && phase(launcher, "told") == "starting").then_some(())
    };
    eventually("it starts", starting);
    let supervisor = last(launcher);
    kill(supervisor, libc::SIGSTOP);
    fs::write(launcher.project.path("go"), "").unwrap();
    eventually("the word is said", || launcher.project.path("done").exists().then_some(()));
    kill(supervisor, libc::SIGCONT);
}

#[test]
fn readiness_told_by_a_helper_that_has_ended_counts() {
    // In the child's own session and in one of its own.
    for tell in ["$TELL", "setsid --wait $TELL"] {
        let launcher = told_by_a_helper(&format!("{tell}; : > done; exec sleep 1000"), "").start();
        say_it_unseen(&launcher);
        launcher.wait_line("distinct PIDs");
        assert_eq!((phase(&launcher, "told"), phase(&launcher, "after")), ("ready".into(), "running".into()));
    }
}

#[test]
fn readiness_told_by_a_child_that_ends_at_once_comes_before_its_end() {
    let launcher = told_by_a_helper("$TELL; : > done", "restart = \"transient\"").start();
    say_it_unseen(&launcher);
    launcher.wait_line("distinct PIDs");
    eventually("it has ended", || (phase(&launcher, "told") == "exited").then_some(()));
    assert!(launcher.pid_of("after").is_some());
}

#[test]
fn readiness_told_in_another_session_counts() {
    let script = "setsid sh -c \"$TELL; : > done; exec sleep 1000\" & exec sleep 1000";
    let launcher = told_by_a_helper(script, "").start();
    eventually("it is on its way", || launcher.project.run(&["ps"]).status.success().then_some(()));
    fs::write(launcher.project.path("go"), "").unwrap();
    launcher.wait_line("distinct PIDs");
    assert_eq!(phase(&launcher, "told"), "ready");
}

/// However the end is asked for: the siblings end, the launcher ends, and what could not be killed is named.
#[test]
fn an_unkillable_child_does_not_hold_up_the_end_and_is_named() {
    for requests in [0, 1, 2] {
        let child = |name: &str| format!("[[child]]\nname = \"{name}\"\nshutdown = \"1s\"\n{IDLE}");
        let config = format!("[supervisor]\nintensity = 100\n{}", ["a", "b", "c"].map(child).concat());
        let mut launcher = Project::new(&config).up();
        let [a, b, c] = pids(&launcher, &["a", "b", "c"])[..] else { unreachable!() };
        let Some(freezer) = Freezer::of(b) else { return };
        let verb = |mut down: Command| down.stderr(Stdio::piped()).spawn().unwrap();
        let down = (requests == 0).then(|| verb(launcher.project.provost(&["down"])));
        for _ in 0..requests {
            kill(launcher.pid(), libc::SIGTERM);
            // Two that are pending at once are one.
            wait(Duration::from_millis(300));
        }
        let end = Instant::now() + Duration::from_secs(200);
        while alive(launcher.pid()) {
            assert!(Instant::now() < end, "the launcher does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        assert_eq!(launcher.wait_exit(), 71);
        assert!(!alive(a) && !alive(c), "the siblings are gone");
        let said = launcher.rest_of_output().join("\n");
        assert!(said.contains(&format!("PID {b} (")) && said.contains("could not be killed"), "{said}");
        if let Some(down) = down {
            let output = down.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.code() == Some(71) && said.contains(&format!("b (PID {b}, ")),
                "{output:?}"
            );
        }
        drop(freezer);
        wait_gone(&[b]);
    }
}

#[test]
fn the_start_folder_may_be_removed_and_that_is_told() {
    let project = Project::new(&format!("[[child]]\nname = \"a\"\ncwd = \"/\"\n{IDLE}"));
    let folder = project.path("start");
    fs::create_dir(&folder).unwrap();
    let mut command = project.provost(&["up"]);
    command.current_dir(&folder);
    let launcher = project.start_by(command);
    launcher.wait_line("distinct PIDs");
    let a = launcher.pid_of("a").unwrap();
    fs::remove_dir(&folder).unwrap();
    launcher.replace_supervisor();
    launcher.wait_line("the folder in which provost was started is gone");
    kill(a, libc::SIGKILL);
    launcher.wait_new_pid("a", a);
    let supervisor = last(&launcher);
    launcher.ok(&["upgrade"]);
    launcher.wait_new_pid("supervisor", supervisor);
    launcher.ok(&["down"]);
}

//! What must hold.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::launch::{Kernel, Launch, gone_within, is_running, pid};

type Case = fn(Kernel);

pub(crate) const ALL: [(&str, Case); 24] = [
    (
        "a_child_belongs_to_the_keeper_and_its_exit_is_told",
        a_child_belongs_to_the_keeper_and_its_exit_is_told,
    ),
    ("a_failed_exec_is_told_twice_with_its_errno", a_failed_exec_is_told_twice_with_its_errno),
    ("a_child_starts_with_defaults_whatever_we_were_started_with", a_child_starts_with_defaults),
    ("children_outlive_the_supervisor_process", children_outlive_the_supervisor_process),
    ("an_exit_while_nobody_listens_is_not_lost", an_exit_while_nobody_listens_is_not_lost),
    ("an_exit_is_told_until_it_is_acknowledged", an_exit_is_told_until_it_is_acknowledged),
    ("the_store_outlives_the_supervisor_process", the_store_outlives_the_supervisor_process),
    ("more_exits_than_the_queue_holds_all_arrive", more_exits_than_the_queue_holds_all_arrive),
    ("what_a_child_leaves_in_its_group_dies_with_it", what_a_child_leaves_in_its_group_dies_with_it),
    ("the_death_of_the_keeper_ends_every_child", the_death_of_the_keeper_ends_every_child),
    ("a_crashed_or_mute_supervisor_process_is_replaced", a_crashed_or_mute_supervisor_process_is_replaced),
    ("requests_to_stop_grow_stronger", requests_to_stop_grow_stronger),
    ("a_second_request_kills_without_the_supervisor_process", a_second_request_kills_alone),
    ("a_stop_ends_though_supervisor_processes_die_young", a_stop_ends_though_supervisors_die_young),
    ("a_request_to_stop_is_told_to_a_later_supervisor_process", a_request_to_stop_is_told_later),
    ("finish_leaves_nothing_behind", finish_leaves_nothing_behind),
    (
        "a_supervisor_process_that_does_not_leave_is_removed",
        a_supervisor_process_that_does_not_leave_is_removed,
    ),
    ("up_is_told_once", up_is_told_once),
    ("a_stuck_birth_does_not_hold_up_the_next_supervisor_process", a_stuck_birth_holds_nobody_up),
    ("nonsense_on_the_socket_changes_nothing", nonsense_on_the_socket_changes_nothing),
    ("a_child_that_kept_the_socket_is_not_believed", a_child_that_kept_the_socket_is_not_believed),
    ("a_keeper_without_descriptors_loses_no_birth", a_keeper_without_descriptors_loses_no_birth),
    ("a_refused_receive_loses_no_birth", a_refused_receive_loses_no_birth),
    ("a_storm_of_kills_loses_and_doubles_nobody", a_storm_of_kills_loses_and_doubles_nobody),
];

const FOREVER: &str = "exec tail -f /dev/null";

/// Tells its pid and lives on in a session of its own, deaf to TERM.
const DAEMON: &str = "setsid sh -c 'trap \"\" TERM; echo $$; exec tail -f /dev/null >/dev/null'";

fn a_child_belongs_to_the_keeper_and_its_exit_is_told(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    launch.next_supervisor();
    let child = launch.spawn("1 1", "echo $PPID; exit 7");
    assert_eq!(launch.expect("exited 1 1"), format!("{child} {}", 7 << 8));
    launch.say("read 1 1");
    assert_eq!(launch.expect("output 1 1"), format!("{}\\n", launch.pid()));
    launch.spawn("1 2", "kill -SEGV $$");
    assert!(launch.expect("exited 1 2").ends_with(&format!(" {}", 11)));
}

fn a_failed_exec_is_told_twice_with_its_errno(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    launch.next_supervisor();
    // The exit code carries the error: the socket to the keeper is closed by then.
    for (run, program, errno, code) in
        [(1, "/nonexistent", "ENOENT", libc::ENOENT), (2, "/etc", "EACCES", libc::EACCES)]
    {
        launch.say(&format!("exec 1 {run} {program}"));
        assert_eq!(launch.expect(&format!("unborn 1 {run}")), format!("exec {errno}"));
        let exited = launch.expect(&format!("exited 1 {run}"));
        assert!(exited.ends_with(&format!(" {} 8 {errno}", code << 8)), "{exited}");
    }
}

/// F22: started with HUP, INT and PIPE ignored, USR1 blocked, descriptor 9 open and umask 077.
fn a_child_starts_with_defaults(kernel: Kernel) {
    let usr1: SigSet = [Signal::SIGUSR1].into_iter().collect();
    usr1.thread_block().unwrap();
    let mut shell = Command::new("sh");
    let script = "trap '' HUP INT PIPE; umask 077; exec 9</dev/null; exec \"$0\" role:keeper role:supervisor";
    let mut launch = Launch::start_as(kernel, shell.args(["-c", script]).arg(env::current_exe().unwrap()));
    usr1.thread_unblock().unwrap();
    launch.next_supervisor();
    launch.spawn("1 1", "exec grep -E '^Sig(Blk|Ign)' /proc/self/status");
    launch.spawn("1 2", "umask; exec ls /proc/self/fd");
    launch.say("read 1 1");
    let nothing = "0000000000000000";
    assert_eq!(launch.expect("output 1 1"), format!("SigBlk:\\t{nothing}\\nSigIgn:\\t{nothing}\\n"));
    launch.say("read 1 2");
    // 3 is the listing itself.
    assert_eq!(launch.expect("output 1 2"), "0022\\n0\\n1\\n2\\n3\\n");
    // Ignored by whoever started us, so it must not stop the tree.
    launch.signal(Signal::SIGHUP);
    launch.signal(Signal::SIGINT);
    launch.signal(Signal::SIGUSR1);
    launch.say("echo here");
    launch.expect("echo here");
    launch.never_heard("stop");
}

/// Waits until a process has come to run this program.
fn wait_program(pid: Pid, name: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() != name {
        assert!(Instant::now() < end, "{pid} does not come to run {name}");
        std::thread::yield_now();
    }
}

fn children_outlive_the_supervisor_process(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let mut supervisor = launch.next_supervisor();
    let first = launch.spawn("1 1", FOREVER);
    let second = launch.spawn("2 1", "echo before; read line </dev/null; exec tail -f /dev/null");
    for incarnation in 2..6 {
        kill(supervisor, Signal::SIGKILL).unwrap();
        supervisor = pid(&launch.expect("hello"));
        assert_eq!(launch.expect("child 1 1"), format!("{first} alive=true outputs=1"));
        assert_eq!(launch.expect("child 2 1"), format!("{second} alive=true outputs=1"));
        assert_eq!(launch.expect("end"), format!("{incarnation} 0"));
    }
    assert!(is_running(first) && is_running(second));
    launch.never_heard("exited");
    wait_program(second, "tail");
    kill(second, Signal::SIGKILL).unwrap();
    launch.expect("exited 2 1");
    launch.say("read 2 1");
    assert_eq!(launch.expect("output 2 1"), "before\\n");
}

/// F02: the supervisor process hangs, a child ends, the supervisor process is killed.
fn an_exit_while_nobody_listens_is_not_lost(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    let child = launch.spawn("1 1", FOREVER);
    kill(supervisor, Signal::SIGSTOP).unwrap();
    kill(child, Signal::SIGTERM).unwrap();
    assert!(gone_within(child, Duration::from_secs(5)));
    kill(supervisor, Signal::SIGKILL).unwrap();
    launch.next_supervisor();
    assert_eq!(launch.expect("exited 1 1"), format!("{child} 15"));
}

fn an_exit_is_told_until_it_is_acknowledged(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let mut supervisor = launch.next_supervisor();
    let child = launch.spawn("1 1", "exit 3");
    launch.expect("exited 1 1");
    for _ in 0..2 {
        kill(supervisor, Signal::SIGKILL).unwrap();
        supervisor = pid(&launch.expect("hello"));
        assert!(launch.expect("child 1 1").starts_with(&format!("{child} alive=false")));
        launch.expect("end");
        assert_eq!(launch.expect("exited 1 1"), format!("{child} {}", 3 << 8));
    }
    launch.say("ack 1 1");
    let witness = launch.spawn("1 2", "exit 4");
    launch.expect("exited 1 2");
    kill(supervisor, Signal::SIGKILL).unwrap();
    launch.expect("hello");
    // The first child it hears of is the witness: the acknowledged one is forgotten.
    assert!(launch.expect("child").starts_with(&format!("1 2 {witness}")));
    launch.expect("exited 1 2");
}

fn the_store_outlives_the_supervisor_process(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    launch.say("store a old");
    launch.say("store b other");
    launch.say("store a new");
    launch.say("store c gone");
    launch.say("unstore c");
    launch.say("echo stored");
    launch.expect("echo");
    kill(supervisor, Signal::SIGKILL).unwrap();
    launch.expect("hello");
    assert_eq!(launch.expect("stored"), "b other");
    assert_eq!(launch.expect("stored"), "a new");
    launch.expect("end");
    launch.never_heard("stored c");
}

fn more_exits_than_the_queue_holds_all_arrive(kernel: Kernel) {
    const COUNT: usize = 400;
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    launch.say(&format!("crowd {COUNT}"));
    launch.expect("crowded");
    // The snapshot is larger than the queue too.
    kill(supervisor, Signal::SIGKILL).unwrap();
    let supervisor = pid(&launch.expect("hello"));
    let children: BTreeSet<Pid> =
        (0..COUNT).map(|_| pid(launch.expect("child").splitn(3, ' ').nth(2).unwrap())).collect();
    launch.expect("end");
    assert_eq!(children.len(), COUNT);
    kill(supervisor, Signal::SIGSTOP).unwrap();
    for child in &children {
        kill(*child, Signal::SIGKILL).unwrap();
    }
    for child in &children {
        assert!(gone_within(*child, Duration::from_secs(5)));
    }
    kill(supervisor, Signal::SIGCONT).unwrap();
    let told: BTreeSet<Pid> =
        (0..COUNT).map(|_| pid(launch.expect("exited").splitn(3, ' ').nth(2).unwrap())).collect();
    assert_eq!(told, children);
}

fn what_a_child_leaves_in_its_group_dies_with_it(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    launch.spawn("1 1", "tail -f /dev/null >/dev/null & echo $!");
    launch.expect("exited 1 1");
    launch.say("read 1 1");
    let left: Pid = pid(launch.expect("output 1 1").trim_end_matches("\\n"));
    assert!(gone_within(left, Duration::from_secs(5)));
    // It was reaped by the keeper, and counted.
    let end = Instant::now() + Duration::from_secs(5);
    while fs::exists(format!("/proc/{left}")).unwrap() {
        assert!(Instant::now() < end, "the leftover stays a zombie");
        std::thread::yield_now();
    }
    kill(supervisor, Signal::SIGKILL).unwrap();
    assert_eq!(launch.expect("end"), "2 1");
}

/// F04.
fn the_death_of_the_keeper_ends_every_child(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    let children = [
        launch.spawn("1 1", FOREVER),
        launch.spawn("2 1", "trap '' TERM HUP INT; while :; do read x </dev/null; done"),
    ];
    let killed = Instant::now();
    launch.signal(Signal::SIGKILL);
    for child in children {
        assert!(gone_within(child, Duration::from_secs(1)), "{child} lives on");
    }
    launch.expect("gone");
    assert!(gone_within(supervisor, Duration::from_secs(1)));
    assert!(killed.elapsed() < Duration::from_secs(1));
}

fn a_crashed_or_mute_supervisor_process_is_replaced(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    launch.next_supervisor();
    let child = launch.spawn("1 1", FOREVER);
    for command in ["exit 0", "exit 3", "mute"] {
        launch.say(command);
        launch.expect("hello");
        assert_eq!(launch.expect("child 1 1"), format!("{child} alive=true outputs=1"));
        launch.expect("end");
    }
}

fn requests_to_stop_grow_stronger(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    let child = launch.spawn("1 1", "trap '' TERM; while :; do read x </dev/null; done");
    launch.signal(Signal::SIGTERM);
    launch.expect("stop");
    launch.signal(Signal::SIGINT);
    launch.expect("stop-now");
    launch.signal(Signal::SIGTERM);
    assert_eq!(launch.ended(), Some(i32::from(provost::keeper::FORCED)));
    assert!(!is_running(child) && !is_running(supervisor));

    let launch = Launch::start(kernel);
    launch.next_supervisor();
    launch.signal(Signal::SIGQUIT);
    launch.expect("stop-now");
    launch.never_heard("stop ");
}

fn a_second_request_kills_alone(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    let child = launch.spawn("1 1", FOREVER);
    kill(supervisor, Signal::SIGSTOP).unwrap();
    launch.signal(Signal::SIGTERM);
    launch.signal(Signal::SIGINT);
    assert!(gone_within(child, Duration::from_secs(20)));
    assert_eq!(launch.ended(), Some(i32::from(provost::keeper::FORCED)));
    assert!(!is_running(supervisor));
}

/// As in a safe mode that crashes too: whoever comes is killed before it has done anything.
fn a_stop_ends_though_supervisors_die_young(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    launch.next_supervisor();
    let child = launch.spawn("1 1", FOREVER);
    launch.signal(Signal::SIGTERM);
    launch.expect("stop");
    launch.say("exit 1");
    // The pauses between them grow with their crashes.
    while let Some(line) = launch.line() {
        if line.starts_with("end") {
            launch.say("exit 1");
        }
    }
    assert_eq!(launch.ended(), Some(i32::from(provost::keeper::FORCED)));
    assert!(!is_running(child));
}

fn a_request_to_stop_is_told_later(kernel: Kernel) {
    let launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    kill(supervisor, Signal::SIGSTOP).unwrap();
    launch.signal(Signal::SIGTERM);
    kill(supervisor, Signal::SIGKILL).unwrap();
    launch.next_supervisor();
    launch.expect("stop");
}

fn finish_leaves_nothing_behind(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    launch.next_supervisor();
    let child = launch.spawn("1 1", FOREVER);
    launch.spawn("2 1", &format!("{DAEMON} | {{ read pid; echo $pid; kill $$; }}"));
    launch.expect("exited 2 1");
    launch.say("read 2 1");
    let daemon = pid(launch.expect("output 2 1").trim_end_matches("\\n"));
    assert!(is_running(daemon));
    launch.say("finish 70");
    assert_eq!(launch.ended(), Some(70));
    assert!(!is_running(child) && !is_running(daemon));
}

fn a_supervisor_process_that_does_not_leave_is_removed(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    launch.say("finish-but-stay 0");
    assert_eq!(launch.ended(), Some(0));
    assert!(!is_running(supervisor));
}

fn up_is_told_once(kernel: Kernel) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ready");
    let mut command = Command::new(env::current_exe().unwrap());
    let mut launch =
        Launch::start_as(kernel, command.args(["role:keeper", "role:supervisor"]).env("READY_FILE", &file));
    launch.next_supervisor();
    assert_eq!(fs::read(&file).unwrap(), b"");
    launch.say("up");
    launch.say("up");
    launch.say("finish 0");
    assert_eq!(launch.ended(), Some(0));
    assert_eq!(fs::read(&file).unwrap(), b"\n");
}

/// Somebody who is not registered still holds the dead supervisor process' socket, and would register later. Others who are
/// not registered are left alone.
fn a_stuck_birth_holds_nobody_up(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    let child = launch.spawn("1 1", FOREVER);
    launch.spawn("2 1", &format!("{DAEMON} | {{ read pid; echo $pid; kill $$; }}"));
    launch.expect("exited 2 1");
    launch.say("read 2 1");
    let daemon = pid(launch.expect("output 2 1").trim_end_matches("\\n"));
    launch.say("stuck");
    let stuck = pid(&launch.expect("stuck"));
    let killed = Instant::now();
    kill(supervisor, Signal::SIGKILL).unwrap();
    launch.expect("hello");
    let pause = killed.elapsed();
    // It lets go of the socket a moment before it is gone.
    assert!(gone_within(stuck, Duration::from_secs(5)));
    assert!(is_running(child) && is_running(daemon));
    assert!(pause > Duration::from_millis(900) && pause < Duration::from_secs(3), "{pause:?}");
    assert_eq!(launch.expect("child 1 1"), format!("{child} alive=true outputs=1"));
    launch.say("finish 0");
    assert_eq!(launch.ended(), Some(0));
    assert!(!is_running(daemon));
}

/// Packets that are none, orders to register oneself, and a key used twice: only the first child of a key lives.
fn nonsense_on_the_socket_changes_nothing(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    let child = launch.spawn("1 1", FOREVER);
    launch.say("babble");
    launch.expect("babbled");
    launch.say("again 1 1");
    let second = pid(&launch.expect("again"));
    assert!(gone_within(second, Duration::from_secs(5)));
    kill(supervisor, Signal::SIGKILL).unwrap();
    launch.expect("hello");
    assert_eq!(launch.expect("child"), format!("1 1 {child} alive=true outputs=1"));
    // The second one was never registered.
    assert_eq!(launch.expect("end"), "2 1");
    launch.never_heard("child 9");
    launch.never_heard("exited");
}

/// It says that its birth failed, registers itself under two keys, and tells that the tree has ended.
fn a_child_that_kept_the_socket_is_not_believed(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    let supervisor = launch.next_supervisor();
    launch.say("forger 1 1");
    let forger = pid(&launch.expect("forged"));
    launch.say("echo heard");
    launch.expect("echo heard");
    kill(supervisor, Signal::SIGKILL).unwrap();
    launch.expect("hello");
    assert_eq!(launch.expect("child"), format!("1 1 {forger} alive=true outputs=0"));
    launch.expect("end");
    kill(forger, Signal::SIGKILL).unwrap();
    assert_eq!(launch.expect("exited 1 1"), format!("{forger} 9"));
    let next = launch.spawn("1 2", "exit 4");
    assert_eq!(launch.expect("exited 1 2"), format!("{next} {}", 4 << 8));
    launch.never_heard("child 9");
    launch.say("finish 0");
    assert_eq!(launch.ended(), Some(0));
}

/// Lets the keeper have no new descriptor, or again as many as before.
fn limit_descriptors(keeper: Pid, soft: &str) -> bool {
    let limit =
        Command::new("prlimit").arg(format!("--pid={keeper}")).arg(format!("--nofile={soft}")).status();
    limit.is_ok_and(|status| status.success())
}

fn a_keeper_without_descriptors_loses_no_birth(kernel: Kernel) {
    let mut launch = Launch::start(kernel);
    launch.next_supervisor();
    if !limit_descriptors(launch.pid(), "3:") {
        println!("skipped a_keeper_without_descriptors_loses_no_birth: prlimit does not work here");
        return;
    }
    let first = launch.spawn("1 1", FOREVER);
    let second = launch.spawn("2 1", "exit 5");
    let end = Instant::now() + Duration::from_secs(20);
    while is_running(second) {
        assert!(Instant::now() < end, "{second} does not end");
        std::thread::yield_now();
    }
    // It lives although the keeper cannot hold it yet.
    assert!(is_running(first));
    launch.never_heard("exited");
    assert!(limit_descriptors(launch.pid(), "1024:"));
    assert_eq!(launch.expect("exited 2 1"), format!("{second} {}", 5 << 8));
    assert!(is_running(first));
    kill(first, Signal::SIGKILL).unwrap();
    assert_eq!(launch.expect("exited 1 1"), format!("{first} 9"));
}

/// Each of the calls by which the keeper learns of a birth and a death fails a few times.
fn a_refused_receive_loses_no_birth(kernel: Kernel) {
    for fault in [
        "recvmsg:error=ENOMEM",
        "recvmsg:error=EMFILE",
        "recvfrom:error=ENOMEM",
        "waitid:error=EIO",
        "wait4:error=EIO",
        "pidfd_open:error=ENOMEM",
        "poll:error=ENOMEM",
    ] {
        println!("{fault}");
        let mut launch = Launch::start(kernel);
        launch.next_supervisor();
        let keeper = launch.pid();
        let calls = fault.split(':').next().unwrap();
        let strace = Command::new("strace")
            .args(["-q", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e"])
            .args([&format!("inject={fault}:when=1..3"), "-p", &keeper.to_string()])
            .stderr(std::process::Stdio::null())
            .spawn();
        let Ok(mut strace) = strace else {
            println!("skipped a_refused_receive_loses_no_birth: there is no strace");
            return;
        };
        let status = || fs::read_to_string(format!("/proc/{keeper}/status")).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while status().contains("TracerPid:\t0\n") {
            if strace.try_wait().unwrap().is_some() {
                println!("skipped a_refused_receive_loses_no_birth: strace may not attach here");
                return;
            }
            assert!(Instant::now() < end, "strace does not attach");
            std::thread::yield_now();
        }
        let child = launch.spawn("1 1", FOREVER);
        let second = launch.spawn("2 1", "exit 6");
        assert_eq!(launch.expect("exited 2 1"), format!("{second} {}", 6 << 8), "{fault}");
        kill(child, Signal::SIGKILL).unwrap();
        assert_eq!(launch.expect("exited 1 1"), format!("{child} 9"), "{fault}");
        kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGINT).unwrap();
        strace.wait().unwrap();
    }
}

/// F01: the supervisor process starts children without pause and is killed at random instants. Each child holds a lock of
/// its node while it lives: a second life at the same time would find it taken.
fn a_storm_of_kills_loses_and_doubles_nobody(kernel: Kernel) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    let mut launch =
        Launch::start_as(kernel, command.args(["role:keeper", "role:storm-supervisor"]).arg(folder.path()));
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut kills = 0;
    let end = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < end {
        let supervisor = pid(&launch.expect("hello"));
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        assert!(!gone_within(supervisor, Duration::from_millis((random >> 33) % 24)), "it ended by itself");
        kill(supervisor, Signal::SIGKILL).unwrap();
        kills += 1;
    }
    // Any unregistered child would have ended, and been counted, after its 30 ms.
    let supervisor = pid(&launch.expect("hello"));
    gone_within(supervisor, Duration::from_millis(100));
    kill(supervisor, Signal::SIGKILL).unwrap();
    launch.expect("hello");
    let snapshot = launch.expect("end");
    assert_eq!(snapshot.split(' ').nth(1), Some("0"), "unregistered children were reaped");
    launch.signal(Signal::SIGTERM);
    assert_eq!(launch.ended(), Some(0));

    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    let doubles: Vec<&str> = log.lines().filter(|line| line.starts_with("double")).collect();
    assert!(doubles.is_empty(), "{doubles:?}");
    let starts: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("start ")).collect();
    let runs: BTreeSet<&str> = starts.iter().map(|start| start.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(runs.len(), starts.len(), "a run was used twice");
    assert!(starts.len() > kills && kills > 30, "hardly a storm: {} starts, {kills} kills", starts.len());
    for start in starts {
        assert!(!is_running(pid(start.rsplit_once(' ').unwrap().1)));
    }
}

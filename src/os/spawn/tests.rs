use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;

use super::*;
use crate::os::signals;

/// A birth of `/bin/sh -c script` with its output in `out`.
fn shell<'a>(script: &str, null: BorrowedFd<'a>, out: BorrowedFd<'a>) -> Birth<'a> {
    Birth {
        program: c"/bin/sh".into(),
        argv: vec![c"sh".into(), c"-c".into(), CString::new(script).unwrap()],
        env: vec![c"PATH=/usr/bin:/bin".into(), c"LANG=C".into()],
        cwd: c"/".into(),
        umask: 0o027,
        stdio: [null, out, out],
        pass: Vec::new(),
        listen_pid: false,
        nofile: None,
        terms: Terms::default(),
        parent: Parent::Caller,
    }
}

fn null() -> File {
    File::open("/dev/null").unwrap()
}

fn pipe() -> (File, File) {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
    (read.into(), write.into())
}

/// Runs the birth to its end and returns what it wrote.
fn output_of(change: impl FnOnce(&mut Birth), script: &str) -> String {
    output_with(&[], change, script)
}

/// The same with these descriptors passed on.
fn output_with(pass: &[File], change: impl FnOnce(&mut Birth), script: &str) -> String {
    let (null, (mut read, write)) = (null(), pipe());
    let mut birth = shell(script, null.as_fd(), write.as_fd());
    birth.pass = pass.iter().map(AsFd::as_fd).collect();
    change(&mut birth);
    let born = spawn(&birth).unwrap();
    drop(birth);
    drop(write);
    let mut output = String::new();
    read.read_to_string(&mut output).unwrap();
    wait::reap_by_pidfd(&born.pidfd).unwrap();
    output
}

#[test]
fn gets_what_was_prepared_and_nothing_else() {
    let output =
        output_of(|_| {}, "pwd; umask; echo $LANG; env | grep -c PROVOST; ps -o pid=,sid=,pgid= -p $$");
    let mut lines = output.lines();
    assert_eq!(lines.next(), Some("/"));
    assert_eq!(lines.next(), Some("0027"));
    assert_eq!(lines.next(), Some("C"));
    assert_eq!(lines.next(), Some("0"));
    let ids: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "not the leader of its own session: {ids:?}");
}

/// The Rust runtime ignores PIPE before the first birth; the other one is ignored when births may have happened already.
#[test]
fn what_we_ignore_is_not_ignored_by_the_child() {
    signals::ignore(Signal::SIGURG);
    assert!(signals::is_ignored(Signal::SIGURG) && signals::is_ignored(Signal::SIGPIPE));
    assert_eq!(output_of(|_| {}, "grep SigIgn /proc/self/status"), "SigIgn:\t0000000000000000\n");
    signals::reset(Signal::SIGURG);
}

#[test]
fn the_pid_it_is_told_is_its_own() {
    let output = output_of(|birth| birth.listen_pid = true, "echo $$ $LISTEN_PID");
    let (own, told) = output.trim().split_once(' ').unwrap();
    assert_eq!(own, told);
}

#[test]
fn the_limit_of_open_files_is_restored() {
    let output = output_of(|birth| birth.nofile = Some((123, 456)), "ulimit -Sn; ulimit -Hn");
    assert_eq!(output, "123\n456\n");
}

#[test]
fn a_failed_exec_is_known_at_once_and_leaves_no_child() {
    let (null, (_read, write)) = (null(), pipe());
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    let plain = plain.to_str().unwrap();
    for (program, errno) in [("/nonexistent", Errno::ENOENT), ("/etc", Errno::EACCES), (plain, Errno::EACCES)]
    {
        let mut birth = shell("", null.as_fd(), write.as_fd());
        birth.program = CString::new(program).unwrap();
        let error = spawn(&birth).unwrap_err();
        assert_eq!((error.step, error.errno), (Step::Exec, errno), "{program}");
        assert!(!wait::is_child(error.pid.unwrap()).unwrap(), "{program} is still there");
        assert!(!error.is_shortage());
    }
}

#[test]
fn a_missing_directory_and_a_refused_limit_name_their_step() {
    let (null, (_read, write)) = (null(), pipe());
    let mut birth = shell("", null.as_fd(), write.as_fd());
    birth.cwd = c"/nonexistent".into();
    let error = spawn(&birth).unwrap_err();
    assert_eq!((error.step, error.errno), (Step::Chdir, Errno::ENOENT));
    assert_eq!(error.to_string(), "chdir: ENOENT: No such file or directory");

    let mut birth = shell("", null.as_fd(), write.as_fd());
    birth.nofile = Some((2, 1)); // soft above hard
    assert_eq!(spawn(&birth).unwrap_err().step, Step::Limits);
}

/// Sources that are each other's targets: with 12 passed descriptors their numbers overlap the range 3..15 in any order.
#[test]
fn descriptors_whose_numbers_overlap_arrive_in_order() {
    let files: Vec<File> = (0..12)
        .map(|n| {
            let mut file = tempfile::tempfile().unwrap();
            write!(file, "{n} ").unwrap();
            file
        })
        .collect();
    let script = "for fd in 3 4 5 6 7 8 9 10 11 12 13 14; do cat /dev/fd/$fd; done; ls /proc/self/fd | wc -l";
    for turn in 0..files.len() {
        let mut order: Vec<usize> = (0..files.len()).collect();
        order.rotate_left(turn);
        if turn % 2 == 1 {
            order.reverse();
        }
        let (null, (mut read, write)) = (null(), pipe());
        let mut birth = shell(script, null.as_fd(), write.as_fd());
        birth.pass = order.iter().map(|n| files[*n].as_fd()).collect();
        let born = spawn(&birth).unwrap();
        drop(birth);
        drop(write);
        let mut output = String::new();
        read.read_to_string(&mut output).unwrap();
        wait::reap_by_pidfd(&born.pidfd).unwrap();
        // 0 to 14, and the one of the listing itself.
        let expected: String = order.iter().map(|n| format!("{n} ")).collect();
        assert_eq!(output.trim_end(), format!("{expected}16"), "turn {turn}");
    }
}

#[test]
fn threads_can_give_birth_at_the_same_time() {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for n in 0..20 {
                    let expected = format!("{thread} {n}\n");
                    assert_eq!(output_of(|_| {}, &format!("echo {thread} {n}")), expected);
                }
            });
        }
    });
}

/// The cheapest of many failed births, in microseconds: everything but the exec itself, undisturbed by others.
fn cost() -> u128 {
    let (null, (_read, write)) = (null(), pipe());
    let mut birth = shell("", null.as_fd(), write.as_fd());
    birth.program = c"/nonexistent".into();
    let costs = (0..101).map(|_| {
        let start = std::time::Instant::now();
        spawn(&birth).unwrap_err();
        start.elapsed().as_micros()
    });
    costs.min().unwrap()
}

/// A fork copies page tables: at 200 MB it costs about a hundred times what it costs at 2 MB.
#[test]
fn the_cost_does_not_grow_with_our_memory() {
    let small = cost();
    let memory = std::hint::black_box(vec![1_u8; 200 << 20]);
    let large = cost();
    assert!(large < 8 * small + 200, "{small} us at first, {large} us with {} bytes more", memory.len());
}

#[test]
fn the_number_of_a_step_leads_back_to_it() {
    for step in Step::ALL {
        assert_eq!(Step::from_number(step as i32), Some(step));
    }
    assert_eq!(Step::from_number(0), None);
    assert_eq!(Step::from_number(99), None);
}

/// In a process of many threads, some with births of their own: whatever order they come in.
#[test]
fn with_a_window_a_birth_is_the_same_and_ours_stay_open() {
    reserve().unwrap();
    reserve().unwrap();
    let far: Vec<File> = (0..300).map(|_| null()).collect();
    let (mut far_read, far_write) = pipe();
    let far_write = [far_write];
    let script = "ls -l /proc/self/fd | grep -c pipe; ls /proc/self/fd | wc -l; echo told >&3";
    // 0-2, 3, and the one that `ls` opens itself.
    let output = output_with(&far_write, |_| {}, script);
    assert_eq!(output, "3\n5\n");
    drop(far_write);
    let mut told = String::new();
    far_read.read_to_string(&mut told).unwrap();
    assert_eq!(told, "told\n", "the only writing end is closed");
    let missing = Birth { program: c"/none".into(), ..shell("", far[0].as_fd(), far[0].as_fd()) };
    assert_eq!(spawn(&missing).unwrap_err().errno, Errno::ENOENT);
    assert_eq!(output_with(&far[..30], |_| {}, "ls /proc/self/fd | wc -l"), "34\n");
    assert!(far.iter().all(|file| file.metadata().is_ok()));
}

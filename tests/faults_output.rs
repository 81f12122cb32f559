//! Faults around the output of children, by their numbers in the fault matrix. What is true is read from files and from
//! the kernel, not from the supervisor's own words.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{
    Launcher, Project, alive, eventually, http_get, kill, let_pass, read, scripted, status_number, whole_log,
};

/// Voluntary and involuntary context switches of a process.
fn switches(pid: i32) -> u64 {
    let number = |name| status_number(pid, name).unwrap();
    number("voluntary_ctxt_switches") + number("nonvoluntary_ctxt_switches")
}

fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Every line is `line N`, N counts from 1 by one, and the last line is whole.
fn assert_numbered(text: &[u8], least: usize) {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.ends_with('\n'), "torn at the end: {:?}", text.lines().next_back());
    let mut count = 0;
    for line in text.lines() {
        count += 1;
        assert_eq!(line, format!("line {count}"));
    }
    assert!(count >= least, "only {count} lines");
}

#[test]
fn f16_a_child_that_closes_its_output_lives_on_and_costs_nothing() {
    let launcher = Project::new(&scripted("mute", "exec >&- 2>&-; exec sleep 1000", "")).up();
    let (mute, supervisor) = (launcher.pid_of("mute").unwrap(), launcher.pid_of("supervisor").unwrap());
    eventually("the child's pipe is closed", || {
        (!Path::new(&format!("/proc/{mute}/fd/1")).exists()).then_some(())
    });
    // What the verb above has started (idle timeouts of its connection) ends by itself.
    let_pass(Duration::from_millis(200));
    let before = switches(supervisor);
    let_pass(Duration::from_secs(1));
    let spent = switches(supervisor) - before;
    assert!(spent < 20, "{spent} context switches in a second");
    assert_eq!(launcher.pid_of("mute"), Some(mute));
}

/// The test itself holds the pipe, as a process would that the child has started and left behind.
#[test]
fn f17_a_pipe_that_others_hold_does_not_delay_the_exit_and_is_read_on() {
    let launcher = Project::new(
        &scripted("main", "echo run $PROVOST_RUN; exec sleep 1000", "")
            .replace("[[child]]", "[supervisor]\nintensity = 99\n[[child]]"),
    )
    .up();
    let log = launcher.project.path("log/main.log");
    let main = launcher.pid_of("main").unwrap();
    let mut held = fs::OpenOptions::new().write(true).open(format!("/proc/{main}/fd/1")).unwrap();
    let started = Instant::now();
    kill(main, libc::SIGKILL);
    let next = launcher.wait_new_pid("main", main);
    eventually("the next run writes", || read(&log).contains("run 2\n").then_some(()));
    assert!(started.elapsed() < Duration::from_secs(4), "took {:?}", started.elapsed());
    let pipe = |pid: i32| fs::read_link(format!("/proc/{pid}/fd/1")).unwrap();
    assert_ne!(pipe(next), pipe(std::process::id().cast_signed()), "the next run has a pipe of its own");
    held.write_all(b"late\n").unwrap();
    eventually("the late line", || read(&log).contains("late\n").then_some(()));
    // The keeper holds the old pipe until it is read to its end: the next supervisor process goes on with it.
    launcher.replace_supervisor();
    held.write_all(b"later\n").unwrap();
    eventually("the later line", || read(&log).contains("later\n").then_some(()));
    assert_eq!(launcher.pid_of("main"), Some(next));
    let keeper = launcher.pid();
    let with_old_pipe = open_files(keeper);
    drop(held);
    eventually("the keeper has let go of the old pipe", || {
        (open_files(keeper) < with_old_pipe).then_some(())
    });
    let exits = launcher.project.run(&["history", "--json"]);
    let history: serde_json::Value = serde_json::from_slice(&exits.stdout).unwrap();
    assert_eq!(history["exits"].as_array().unwrap().len(), 1, "told once: {history}");
}

#[test]
fn f17_a_pipe_that_others_hold_for_ever_is_let_go() {
    let launcher = Project::new(&scripted("main", "exec sleep 1000", "")).up();
    let (main, keeper) = (launcher.pid_of("main").unwrap(), launcher.pid());
    let before = open_files(keeper);
    let mut held = fs::OpenOptions::new().write(true).open(format!("/proc/{main}/fd/1")).unwrap();
    kill(main, libc::SIGKILL);
    launcher.wait_new_pid("main", main);
    eventually("the old pipe is closed", || (open_files(keeper) == before).then_some(()));
    eventually("nobody reads any more", || held.write_all(b"x").is_err().then_some(()));
}

#[test]
fn f18_a_line_without_end_costs_no_memory() {
    const SIZE: u64 = 256 << 20;
    let script = format!("head -c {SIZE} /dev/zero; exec sleep 1000");
    let launcher = Project::new(&scripted("zeros", &script, "log = { max_size = \"1GiB\" }")).up();
    let (supervisor, log) = (launcher.pid_of("supervisor").unwrap(), launcher.project.path("log/zeros.log"));
    let memory = || status_number(supervisor, "VmHWM").unwrap();
    let before = memory();
    eventually("all of it is on disk", || (fs::metadata(&log).ok()?.len() == SIZE).then_some(()));
    let grown = memory() - before;
    assert!(grown < 2048, "{grown} KiB more");
    let mut file = fs::File::open(&log).unwrap();
    let mut block = vec![1; 1 << 20];
    for _ in 0..SIZE >> 20 {
        file.read_exact(&mut block).unwrap();
        assert!(block.iter().all(|byte| *byte == 0));
    }
    assert_eq!(launcher.pid_of("supervisor"), Some(supervisor));
}

#[test]
fn f19_a_flood_from_one_child_delays_nobody_else() {
    let quiet = "while :; do echo $EPOCHREALTIME; read -t 0.01 x <> fifo; done";
    let limits = "log = { max_size = \"1MiB\", max_files = 1 }";
    let project =
        Project::new(&(scripted("flood", "exec yes flooded", limits) + &scripted("quiet", quiet, "")));
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.up();
    let flood = launcher.project.path("log/flood.log.1");
    eventually("the flood", || flood.exists().then_some(()));
    let socket = launcher.project.path("run/control.sock");
    let mut answers: Vec<Duration> = (0..100)
        .map(|_| {
            let asked = Instant::now();
            assert!(http_get(&socket, "/healthz").starts_with("HTTP/1.1 200"));
            asked.elapsed()
        })
        .collect();
    answers.sort();
    assert!(answers[90] < Duration::from_millis(50), "a tenth of the answers took {:?} or more", answers[90]);
    // The child's own clock against the time its line was captured at.
    let lines = eventually("a hundred lines", || {
        let output = launcher.project.run(&["logs", "--json", "-n", "100", "quiet"]);
        let lines: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        (lines.len() == 100).then_some(lines)
    });
    let mut delays: Vec<f64> = lines
        .iter()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let captured = humantime::parse_rfc3339(line["at"].as_str().unwrap()).unwrap();
            let captured = captured.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
            captured - line["line"].as_str().unwrap().parse::<f64>().unwrap()
        })
        .collect();
    delays.sort_by(f64::total_cmp);
    assert!(delays[90] < 0.05, "a tenth of the lines waited {} s or more", delays[90]);
    // Between two renames of a rotation a file is not there.
    let size = |path: &std::path::Path| eventually("the file", || fs::metadata(path).ok()).len();
    let (new, old) = (size(&launcher.project.path("log/flood.log")), size(&flood));
    assert!(old < 3 << 20 && new < 3 << 20, "the files stay small");
}

/// Starts the launcher where its log directory is a disk of its own, with little room left beside a ballast. `None`, and said
/// so, where that is not possible.
fn start_on_small_disk(project: Project) -> Option<Launcher> {
    let log_dir = project.path("log");
    fs::create_dir(&log_dir).unwrap();
    // An ordinary user stays himself in there: provost would not obey files of a root that is somebody else outside.
    let own_user = &["-Um", "--map-current-user", "--keep-caps"][..];
    let namespace = if nix::unistd::geteuid().is_root() { &["-m"] } else { own_user };
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["sh", "-c", script, "sh"]).arg(&log_dir).stdin(Stdio::null());
        command
    };
    let mount = "mount -t tmpfs -o size=512k tmpfs \"$1\" && head -c 400k /dev/zero > \"$1/ballast\"";
    // ... which is what the folders above look like to most users in there.
    let probe = format!("{mount} && case $(stat -c %u /) in 0 | $(id -u)) ;; *) exit 1 ;; esac");
    if !unshared(&probe).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("skipped: this user cannot have a small disk of his own here");
        return None;
    }
    let mut launch = unshared(&format!("{mount} && shift && exec \"$@\""));
    launch.arg(env!("CARGO_BIN_EXE_provost")).arg("-f").arg(project.config()).arg("up");
    Some(project.start_by(launch))
}

#[test]
fn f20_a_full_disk_makes_a_child_wait_and_loses_nothing() {
    let script = "for n in $(seq 40000); do echo line $n; done; exec sleep 1000";
    let log = "log = { max_size = \"1GiB\" }";
    let idle = "[[child]]\nname = \"idle\"\ncommand = [\"sleep\", \"1000\"]\n";
    let Some(launcher) = start_on_small_disk(Project::new(&(scripted("writer", script, log) + idle))) else {
        return;
    };
    launcher.wait_line("writer waits with its output: cannot write");
    let status = |launcher: &Launcher| -> serde_json::Value {
        serde_json::from_slice(&launcher.project.run(&["status", "writer", "--json"]).stdout).unwrap()
    };
    let writer = launcher.pid_of("writer").unwrap();
    eventually("the status says so", || {
        let status = status(&launcher);
        (status["log_stalled"].as_str()?.contains("No space") && status["log_stalls"] == 1).then_some(())
    });
    launcher.replace_supervisor();
    launcher.wait_line("writer waits with its output");
    // A child that dies meanwhile is restarted as ever, although its end cannot be written down.
    let idle = launcher.pid_of("idle").unwrap();
    kill(idle, libc::SIGKILL);
    launcher.wait_new_pid("idle", idle);
    let inside = Path::new("/proc").join(launcher.pid().to_string()).join("root");
    let file = |name: &str| inside.join(launcher.project.path("log").strip_prefix("/").unwrap()).join(name);
    fs::remove_file(file("ballast")).unwrap();
    launcher.wait_line("writer goes on");
    let text = eventually("the last line", || {
        let text = fs::read(file("writer.log")).unwrap();
        text.ends_with(b"line 40000\n").then_some(text)
    });
    assert_numbered(&text, 40_000);
    assert_eq!(launcher.pid_of("writer"), Some(writer));
    assert!(status(&launcher)["log_stalled"].is_null());
}

/// The history of a project, as its verb tells it: `(name, run)`, oldest first.
fn history(launcher: &Launcher) -> Vec<(String, u64)> {
    let told: serde_json::Value =
        serde_json::from_slice(&launcher.project.run(&["history", "-n", "1000", "--json"]).stdout).unwrap();
    let exits = told["exits"].as_array().unwrap().iter();
    exits.map(|exit| (exit["name"].as_str().unwrap().to_owned(), exit["run"].as_u64().unwrap())).collect()
}

#[test]
fn exits_during_a_full_disk_are_in_the_history_when_there_is_room() {
    let idle = "[supervisor]\nintensity = 100\n[[child]]\nname = \"idle\"\ncommand = [\"sleep\", \"1000\"]\nlog = \"null\"\n";
    let filler = scripted(
        "filler",
        "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
        "log = { max_size = \"1GiB\" }",
    );
    let Some(launcher) = start_on_small_disk(Project::new(&(idle.to_owned() + &filler))) else { return };
    launcher.wait_line("filler waits with its output");
    for run in 1..=3 {
        let idle = launcher.pid_of("idle").unwrap();
        kill(idle, libc::SIGKILL);
        launcher.wait_new_pid("idle", idle);
        if run == 1 {
            launcher.wait_line("cannot write the history");
        }
        launcher.replace_supervisor();
    }
    let inside = Path::new("/proc").join(launcher.pid().to_string()).join("root");
    let log_dir = inside.join(launcher.project.path("log").strip_prefix("/").unwrap());
    // The verb reads where this test lives, not on the launcher's small disk.
    let lines = || read(&log_dir.join("history.jsonl"));
    assert_eq!(lines(), "");
    launcher.ok(&["stop", "filler"]);
    fs::remove_file(log_dir.join("ballast")).unwrap();
    let exits = eventually("the history", || Some(lines()).filter(|text| text.lines().count() >= 4));
    let runs: Vec<u64> = exits
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|exit| exit["name"] == "idle")
        .map(|exit| exit["run"].as_u64().unwrap())
        .collect();
    assert_eq!(runs, [1, 2, 3]);
}

#[test]
fn a_history_that_is_removed_is_begun_anew() {
    let launcher = Project::new(&format!("[supervisor]\nintensity = 100\n{}", support::worker("a", ""))).up();
    let file = launcher.project.path("log/history.jsonl");
    for run in 1..=4 {
        let a = launcher.pid_of("a").unwrap();
        kill(a, libc::SIGKILL);
        launcher.wait_new_pid("a", a);
        eventually("the exit is told", || (history(&launcher) == [("a".to_owned(), run)]).then_some(()));
        match run {
            1 => fs::remove_file(&file).unwrap(),
            2 => fs::rename(&file, launcher.project.path("elsewhere")).unwrap(),
            _ => fs::remove_dir_all(launcher.project.path("log")).unwrap(),
        }
    }
}

/// Each reload is a record as long as the whole file.
#[test]
fn under_a_limit_on_file_size_the_journal_stays_below_it() {
    let padding = format!("# {}\n", "x".repeat(98)).repeat(300);
    let with = |seconds: u32| {
        format!(
            "[[child]]\nname = \"a\"\ncommand = [\"sleep\", \"1000\"]\nshutdown = \"{seconds}s\"\n{padding}"
        )
    };
    let project = Project::new(&with(1));
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -f 512 && exec \"$@\"", "bash", env!("CARGO_BIN_EXE_provost"), "-f"]);
    limited.arg(project.config()).arg("up").stdin(Stdio::null());
    let launcher = project.start_by(limited);
    launcher.wait_line("distinct PIDs");
    let supervisor = launcher.pid_of("supervisor").unwrap();
    for round in 0..50 {
        launcher.project.configure(&with(2 + round % 2));
        launcher.ok(&["reload"]);
    }
    assert_eq!(launcher.pid_of("supervisor"), Some(supervisor));
    launcher.replace_supervisor();
    let a = launcher.pid_of("a").unwrap();
    kill(a, libc::SIGKILL);
    launcher.wait_new_pid("a", a);
}

#[test]
fn a_log_that_reaches_a_limit_on_file_size_is_rotated() {
    let script = "for n in $(seq 60000); do echo line $n; done; exec sleep 1000";
    let project = Project::new(&scripted("writer", script, "log = { max_size = \"1GiB\", max_files = 9 }"));
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -f 400 && exec \"$@\"", "bash", env!("CARGO_BIN_EXE_provost"), "-f"]);
    limited.arg(project.config()).arg("up").stdin(Stdio::null());
    let launcher = project.start_by(limited);
    let log = launcher.project.path("log/writer.log");
    let text =
        eventually("the last line", || Some(whole_log(&log)).filter(|text| text.ends_with(b"line 60000\n")));
    assert_numbered(&text, 60_000);
}

#[test]
fn f21_a_log_that_is_moved_or_removed_is_begun_anew_without_loss() {
    let script = "n=0; while :; do n=$((n+1)); echo line $n; read -t 0.0005 x <> fifo; done";
    let project = Project::new(&scripted("writer", script, ""));
    nix::unistd::mkfifo(&project.path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let launcher = project.up();
    let log = launcher.project.path("log/writer.log");
    let grows = || {
        eventually("output in the log", || (fs::metadata(&log).ok()?.len() > 1_000).then_some(()));
    };
    let mut text = Vec::new();
    for round in 0..20 {
        grows();
        // What was written before it went is read through the open file.
        let mut old = fs::File::open(&log).unwrap();
        match round % 2 {
            0 => fs::rename(&log, launcher.project.path("elsewhere")).unwrap(),
            _ => fs::remove_file(&log).unwrap(),
        }
        grows();
        old.read_to_end(&mut text).unwrap();
    }
    launcher.ok(&["stop", "writer"]);
    text.extend(fs::read(&log).unwrap());
    assert_numbered(&text, 1_000);
}

#[test]
fn f31_links_and_special_files_are_no_logs() {
    for kind in ["symlink", "hard link", "fifo", "device"] {
        let project = Project::new(&scripted("web", "echo hello; exec sleep 1000", ""));
        let (log, victim) = (project.path("log/web.log"), project.path("victim"));
        fs::create_dir(project.path("log")).unwrap();
        fs::write(&victim, "precious").unwrap();
        match kind {
            "symlink" => symlink(&victim, &log).unwrap(),
            "hard link" => fs::hard_link(&victim, &log).unwrap(),
            "fifo" => nix::unistd::mkfifo(&log, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            _ => {
                use nix::sys::stat::{Mode, SFlag, makedev, mknod};
                if mknod(&log, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 3)).is_err() {
                    println!("skipped: a device cannot be made by this user");
                    continue;
                }
            }
        }
        let output = project.run(&["up"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(69), "{kind}: {said}");
        assert!(said.contains("web could not be started: cannot open its log file"), "{kind}: {said}");
        assert_eq!(read(&victim), "precious", "{kind}");
    }
}

/// The file that another user puts into a log folder that is his.
#[test]
fn a_history_of_any_kind_and_size_costs_little_and_holds_up_nothing() {
    let launcher = Project::new(&support::worker("a", "")).up();
    let supervisor = launcher.pid_of("supervisor").unwrap();
    launcher.ok(&["history"]);
    let number = |name| status_number(supervisor, name).unwrap();
    let socket = launcher.project.path("run/control.sock");
    let get = |path: &str| http_get(&socket, path);
    let file = launcher.project.path("log/history.jsonl");
    let secret = launcher.project.path("secret");
    fs::write(&secret, "secret").unwrap();
    let before = number("VmHWM");
    for name in ["log/history.jsonl", "log/history.jsonl.1", "log/a.log"] {
        let file = fs::File::create(launcher.project.path(name)).unwrap();
        file.set_len(1_500_000_000).unwrap();
    }
    for _ in 0..4 {
        assert!(get("/v1/history?lines=1000000000").starts_with("HTTP/1.1 200"));
        assert!(get("/v1/children/a").starts_with("HTTP/1.1 200"));
    }
    let grown = number("VmHWM") - before;
    assert!(grown < 80 * 1024, "{grown} KiB more");
    for kind in ["fifo", "symlink", "hard link"] {
        fs::remove_file(&file).unwrap();
        match kind {
            "fifo" => nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "symlink" => symlink(&secret, &file).unwrap(),
            _ => fs::hard_link(&secret, &file).unwrap(),
        }
        assert!(get("/v1/history").starts_with("HTTP/1.1 500"), "{kind}");
        assert!(get("/v1/children/a").starts_with("HTTP/1.1 200"), "{kind}");
        assert_eq!(launcher.project.run(&["history"]).status.code(), Some(1), "{kind}");
    }
    assert_eq!(launcher.pid_of("supervisor"), Some(supervisor));
}

#[test]
fn what_a_third_user_put_into_a_log_folder_is_not_read() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can give a file away");
        return;
    }
    let launcher = Project::new(&support::worker("a", "")).up();
    let folder = launcher.project.path("log");
    let (history, log) = (folder.join("history.jsonl"), folder.join("a.log"));
    std::os::unix::fs::chown(&folder, Some(support::NOBODY), None).unwrap();
    fs::write(&history, "").unwrap();
    for (owner, read) in [(support::NOBODY, true), (12_345, false), (0, true)] {
        for file in [&history, &log] {
            std::os::unix::fs::chown(file, Some(owner), None).unwrap();
        }
        assert_eq!(launcher.project.run(&["history"]).status.success(), read, "{owner}");
        assert_eq!(launcher.project.run(&["logs", "a"]).status.success(), read, "{owner}");
    }
}

#[test]
fn f31_a_history_that_is_a_link_is_not_written() {
    let project = Project::new("[[child]]\nname = \"a\"\ncommand = [\"sleep\", \"1000\"]\n");
    fs::create_dir(project.path("log")).unwrap();
    fs::write(project.path("victim"), "precious").unwrap();
    symlink(project.path("victim"), project.path("log/history.jsonl")).unwrap();
    let launcher = project.up();
    let a = launcher.pid_of("a").unwrap();
    kill(a, libc::SIGKILL);
    launcher.wait_new_pid("a", a);
    launcher.ok(&["stop", "a"]);
    assert_eq!(read(&launcher.project.path("victim")), "precious");
}

#[test]
fn logs_are_for_their_owner_and_group() {
    let launcher = Project::new(&scripted("web", "echo hello; exec sleep 1000", "")).up();
    let log = launcher.project.path("log/web.log");
    eventually("output", || read(&log).contains("hello").then_some(()));
    for (path, others) in [(log.clone(), 0o137), (log.with_extension("log.idx"), 0o137)] {
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode & others, 0, "{}: {mode:o}", path.display());
    }
    assert_eq!(fs::metadata(launcher.project.path("log")).unwrap().mode() & 0o027, 0);
}

/// Three children write without pause while their supervisor process is killed again and again, rotation included.
#[test]
fn no_byte_is_lost_or_torn_while_the_supervisor_process_is_killed_fifty_times_a_second() {
    let script = "n=0; while :; do n=$((n+1)); echo line $n; done";
    let limits = "log = { max_size = \"256KiB\", max_files = 1000 }";
    let names = ["a", "b", "c"];
    let launcher = Project::new(&names.map(|name| scripted(name, script, limits)).concat()).up();
    let until = Instant::now() + Duration::from_secs(3);
    let mut killed = 0;
    let mut last = 0;
    while Instant::now() < until {
        let next = eventually("a supervisor process", || {
            support::child_named(launcher.pid(), "provost-super").filter(|pid| *pid != last)
        });
        let_pass(Duration::from_millis(15));
        kill(next, libc::SIGKILL);
        (last, killed) = (next, killed + 1);
    }
    assert!(killed > 50, "only {killed} kills");
    let pids = names.map(|name| launcher.pid_of(name).unwrap());
    assert!(pids.iter().all(|pid| alive(*pid)));
    for name in names {
        launcher.ok(&["stop", name]);
        assert_numbered(&whole_log(&launcher.project.path(&format!("log/{name}.log"))), 10_000);
    }
    for (name, pid) in names.iter().zip(pids) {
        let history = launcher.project.run(&["history", name, "--json"]);
        let history: serde_json::Value = serde_json::from_slice(&history.stdout).unwrap();
        let exits = history["exits"].as_array().unwrap();
        assert_eq!(
            (exits.len(), exits[0]["pid"].as_i64()),
            (1, Some(pid.into())),
            "{name} was never restarted"
        );
    }
}

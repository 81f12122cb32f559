//! Survival: the supervisor process is killed at random instants, some fifty times a second, while children start, write and
//! exit and an operator stops and starts one of them.
//!
//! The verdict comes from what the children write, not from provost's words: each holds a lock of its slot while it lives,
//! numbers its lines, and records its start, its end and how it chose to end. Only then provost's account is compared with
//! it. `PROVOST_CHAOS_SECONDS` makes the storm longer; each half of it (as this user, as nobody) takes that long.

mod support;

use std::collections::BTreeMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{self, exit};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use serde_json::Value;
use support::{Project, alive, eventually, kill, read, stat};

/// Children that live a moment each.
const SLOTS: usize = 6;
/// The one the operator stops and starts.
const OPERATED: &str = "operated";
/// Enough for any storm.
const INTENSITY: u64 = 1_000_000;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("child") => child(&arguments[1], &arguments[2]),
        // As cargo asks every test executable.
        Some("--list") => println!("storm: test\nstorm_as_nobody: test"),
        _ => {
            let seconds = env::var("PROVOST_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
            let length = Duration::from_secs_f64(seconds.unwrap_or(2.0));
            storm(project(), length, "storm");
            if let Some(project) = project().by_nobody() {
                storm(project, length, "storm_as_nobody");
            }
        }
    }
}

fn project() -> Project {
    let own = env::current_exe().unwrap();
    // Stopped by a signal that does nothing, so that every life ends as it chose to.
    let child = |name: &str| {
        format!(
            "[[child]]\nname = \"{name}\"\ncommand = [{own:?}, \"child\", \"${{RUN_DIR}}/..\", \"{name}\"]\n\
             shutdown = [{{ signal = \"CONT\", wait = \"20s\" }}]\n"
        )
    };
    let slots: String = (0..SLOTS).map(|slot| child(&format!("slot{slot}"))).collect();
    Project::new(&format!(
        "[supervisor]\nintensity = {INTENSITY}\nperiod = \"10h\"\n\
         {slots}{}[[child]]\nname = \"rock\"\ncommand = [\"tail\", \"-f\", \"/dev/null\"]\n",
        child(OPERATED),
    ))
}

/// One life: locks its slot, writes numbered lines, ends in a way it has written down before.
fn child(folder: &str, slot: &str) -> ! {
    let run = env::var("PROVOST_RUN").unwrap();
    let mut evidence =
        OpenOptions::new().append(true).create(true).open(format!("{folder}/evidence.{slot}")).unwrap();
    let mut record = |text: String| evidence.write_all(text.as_bytes()).unwrap();
    let lock = File::create(format!("{folder}/lock.{slot}")).unwrap();
    let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock);
    record(format!("{} {run} {}\n", if lock.is_ok() { "start" } else { "DUP" }, process::id()));
    let mut random = Random(u64::from(process::id()) << 20 | run.parse::<u64>().unwrap());
    let mut out = std::io::stdout().lock();
    let mut lines = 0;
    for _ in 0..random.below(6) {
        for _ in 0..random.below(40) {
            out.write_all(format!("{slot} {run} {lines}\n").as_bytes()).unwrap();
            lines += 1;
        }
        let _ = poll(&mut [], PollTimeout::try_from(random.below(12)).unwrap());
    }
    out.flush().unwrap();
    let how = random.below(60);
    record(format!("end {run} {lines} {how}\n"));
    match how {
        50.. => {
            raise(Signal::SIGKILL).unwrap();
            exit(0)
        }
        code => exit(i32::try_from(code).unwrap()),
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(end)).unwrap()
    }
}

fn storm(project: Project, length: Duration, title: &str) {
    let mut launcher = project.up();
    let rock = launcher.pid_of("rock").unwrap();
    let over = AtomicBool::new(false);
    let (project, keeper) = (&launcher.project, launcher.pid());
    let (kills, orders) = thread::scope(|scope| {
        let operator = scope.spawn(|| operate(project, &over));
        let kills = strike(keeper, length);
        over.store(true, Ordering::Relaxed);
        (kills, operator.join().unwrap())
    });
    assert!(alive(rock), "the child that never ends is gone");
    launcher.ok(&["stop", OPERATED]);
    for slot in 0..SLOTS {
        launcher.ok(&["stop", &format!("slot{slot}")]);
    }
    let account = launcher.json("tree");
    kill(launcher.pid(), libc::SIGTERM);
    assert_eq!(launcher.wait_exit(), 0);
    let said = launcher.rest_of_output();

    let mut lives = 0;
    let mut restarts = 0;
    for name in (0..SLOTS).map(|slot| format!("slot{slot}")).chain([OPERATED.to_owned()]) {
        let evidence = Evidence::read(&launcher.project.path(&format!("evidence.{name}")));
        evidence.compare_log(&launcher.project.path(&format!("log/{name}.log")), &name);
        restarts += evidence.compare_account(&account, &name);
        evidence.compare_words(&said, &name);
        evidence.compare_history(&launcher.project, &name);
        lives += evidence.lives.len();
    }
    let left = account["root"]["restarts_left"].as_u64().unwrap();
    assert_eq!(INTENSITY - left, restarts, "every counted restart is in the window, and nothing else is");
    let busy = length.as_secs_f64();
    assert!(kills as f64 > busy * 4.0 && lives as f64 > busy * 4.0 && orders > 0, "hardly a storm");
    println!("test {title} ... ok ({kills} kills, {lives} lives, {orders} orders in {busy} s)");
}

/// Kills every supervisor process that appears, each after a moment of its own.
fn strike(keeper: i32, length: Duration) -> usize {
    let mut random = Random(u64::from(process::id()));
    let until = Instant::now() + length;
    let mut kills = 0;
    while Instant::now() < until {
        let pid = eventually("a supervisor process", || supervisor(keeper));
        let _ = poll(&mut [], PollTimeout::try_from(random.below(35)).unwrap());
        kill(pid, libc::SIGKILL);
        eventually("the end of a killed supervisor process", || (!alive(pid)).then_some(()));
        kills += 1;
    }
    kills
}

/// The keeper's child that runs provost. A child on its way to exec looks like the supervisor process that makes it, but for
/// the kernel's word that it never called exec.
fn supervisor(keeper: i32) -> Option<i32> {
    let children = read(Path::new(&format!("/proc/{keeper}/task/{keeper}/children")));
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| {
        // The command line second: what has called exec by then has its own.
        stat(*pid).is_some_and(|stat| stat.state != 'Z' && stat.flags & FORKED_NO_EXEC == 0)
            && read(Path::new(&format!("/proc/{pid}/cmdline"))).split('\0').any(|word| word == "supervise")
    })
}

/// `PF_FORKNOEXEC` of `linux/sched.h`.
const FORKED_NO_EXEC: u64 = 0x40;

/// Stops and starts one child. An order that was confirmed is in force, whoever confirmed it.
fn operate(project: &Project, over: &AtomicBool) -> usize {
    let lock = project.path(&format!("lock.{OPERATED}"));
    let confirmed = |verb: &str| {
        let until = Instant::now() + support::BOUND;
        loop {
            let output = project.run(&[verb, OPERATED]);
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() || said.contains("operated is running") {
                return;
            }
            assert!(Instant::now() < until, "{verb} was never confirmed: {said}");
        }
    };
    let mut orders = 0;
    while !over.load(Ordering::Relaxed) {
        confirmed("stop");
        let held = Flock::lock(File::open(&lock).unwrap(), FlockArg::LockExclusiveNonblock);
        assert!(held.is_ok(), "{OPERATED} runs although it is stopped");
        // Nobody starts it while it is stopped: a start would find the lock taken, and say so.
        let _ = poll(&mut [], PollTimeout::from(30_u8));
        drop(held);
        confirmed("start");
        orders += 2;
    }
    orders
}

/// What the lives of one slot wrote down.
struct Evidence {
    lives: BTreeMap<u64, Life>,
}

#[derive(Default)]
struct Life {
    pid: i64,
    lines: u64,
    how: i64,
}

impl Evidence {
    fn read(path: &Path) -> Evidence {
        let mut lives: BTreeMap<u64, Life> = BTreeMap::new();
        let mut open = None;
        for line in read(path).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<i64>().unwrap();
            let run = number(1).cast_unsigned();
            match words[0] {
                "start" => {
                    assert_eq!(open, None, "{}: run {run} began before the end of another", path.display());
                    let first = lives.insert(run, Life { pid: number(2), ..Life::default() });
                    assert!(first.is_none(), "{}: run {run} was used twice", path.display());
                    open = Some(run);
                }
                "end" => {
                    assert_eq!(open, Some(run), "{}: run {run} ended", path.display());
                    let life = lives.get_mut(&run).unwrap();
                    (life.lines, life.how) = (number(2).cast_unsigned(), number(3));
                    open = None;
                }
                _ => panic!("{}: {line}", path.display()),
            }
        }
        assert_eq!(open, None, "{}: a life without an end", path.display());
        let runs: Vec<u64> = lives.keys().copied().collect();
        assert_eq!(runs, (1..=runs.len() as u64).collect::<Vec<_>>(), "{}: a run is missing", path.display());
        Evidence { lives }
    }

    /// Every line of every life, in order, and nothing else.
    fn compare_log(&self, log: &Path, name: &str) {
        let text = read(log);
        let mut lines = text.lines();
        for (run, life) in &self.lives {
            for number in 0..life.lines {
                assert_eq!(
                    lines.next(),
                    Some(format!("{name} {run} {number}").as_str()),
                    "{}",
                    log.display()
                );
            }
        }
        assert_eq!(lines.next(), None, "{}", log.display());
    }

    /// The tree's account of this child: as many runs as there were, the last exit as it was chosen. Returns its restarts.
    fn compare_account(&self, account: &Value, name: &str) -> u64 {
        let children = account["root"]["children"].as_array().unwrap();
        let child = children.iter().find(|child| child["name"] == name).unwrap();
        let (run, life) = self.lives.last_key_value().unwrap();
        assert_eq!(child["run"].as_u64(), Some(*run), "{child}");
        assert_eq!(child["pid"], Value::Null, "{child}");
        assert!(life.matches(&child["last_exit"].clone()), "{name} {run} chose {}: {child}", life.how);
        let restarts = child["restarts"].as_u64().unwrap();
        if name != OPERATED {
            // All but the first run are restarts.
            assert_eq!(restarts, run - 1, "{child}");
        }
        restarts
    }

    /// The history has the exit of every life, once, and as it was chosen.
    fn compare_history(&self, project: &Project, name: &str) {
        let output = project.run(&["history", name, "-n", "all", "--json"]);
        let history: Value = serde_json::from_slice(&output.stdout).unwrap();
        let exits = history["exits"].as_array().unwrap();
        let runs: Vec<u64> = exits.iter().map(|exit| exit["run"].as_u64().unwrap()).collect();
        assert_eq!(runs, self.lives.keys().copied().collect::<Vec<_>>(), "{name}");
        for (exit, life) in exits.iter().zip(self.lives.values()) {
            assert!(life.matches(&exit["exit"]), "{name} chose {}: {exit}", life.how);
            assert_eq!(exit["pid"].as_i64(), Some(life.pid));
        }
    }

    /// What was told about these processes is true.
    fn compare_words(&self, said: &[String], name: &str) {
        for line in said {
            let Some((_, rest)) = line.split_once(&format!("{name} restarted: PID ")) else { continue };
            let (pid, rest) = rest.split_once(" (").unwrap();
            let (exit, _) = rest.split_once(')').unwrap();
            let pid: i64 = pid.parse().unwrap();
            // A number may have been used by several lives.
            let mut lives = self.lives.values().filter(|life| life.pid == pid);
            assert!(lives.any(|life| exit == "stopped" || exit == life.text()), "{line}");
        }
    }
}

impl Life {
    fn matches(&self, exit: &Value) -> bool {
        match self.how {
            50.. => exit["signal"].as_i64() == Some(i64::from(libc::SIGKILL)),
            code => exit["code"].as_i64() == Some(code),
        }
    }

    fn text(&self) -> String {
        match self.how {
            50.. => "killed by SIGKILL".to_owned(),
            code => format!("exit code {code}"),
        }
    }
}

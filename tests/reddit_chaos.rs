//! Chaos: engine and clients of the shipped project are killed with `kill -9` at random moments, under load, and what
//! clients were told is held against the store afterwards: nothing is lost, nothing is doubled (I14 to I17).
//!
//! Every kill is followed by a look at all clients: each must have written down a new acknowledgement after the killed
//! process was back, so each found the engine again. `REDDIT_CHAOS_SECONDS` makes the storm longer, and
//! `REDDIT_CHAOS_SEED` another one.

mod support;

use std::env;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Launcher, Project, eventually, kill, let_pass};

const ENGINE: &str = env!("CARGO_BIN_EXE_reddit-engine");
const CLIENTS: [&str; 3] = ["client@1", "client@2", "client@3"];

/// The most that one life of a client can have in flight: while everybody registers.
const IN_FLIGHT: u64 = 64;

/// The shipped file with ledgers, fewer users at full speed, and no limit to restarts.
fn project() -> Project {
    let mut text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/supervisor.toml")).unwrap();
    for (shipped, ours) in [
        ("name = \"reddit\"", ""),
        (
            "\"--users\", \"1000\"",
            "\"--users\", \"200\", \"--rate\", \"0\", \"--time-scale\", \"0.02\", \"--drop-every\", \"2s\", \
             \"--ledger\", \"${LOG_DIR}/${NAME}.ledger\"",
        ),
        ("intensity = 10 ", "intensity = 1000000 "),
        ("intensity = 20", "intensity = 1000000"),
        ("factor = 2, max = \"2s\"", "factor = 1, max = \"100ms\""),
    ] {
        assert!(text.contains(shipped), "{shipped:?} is not in the shipped file any more");
        text = text.replace(shipped, ours);
    }
    Project::new(&text)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn ledger(launcher: &Launcher, client: &str) -> std::path::PathBuf {
    launcher.project.path(&format!("log/{client}.ledger"))
}

fn lengths(launcher: &Launcher) -> [u64; 3] {
    CLIENTS.map(|client| fs::metadata(ledger(launcher, client)).map_or(0, |file| file.len()))
}

/// Waits until every client has written down more than there was.
fn wait_acted(launcher: &Launcher, since: [u64; 3]) {
    for (at, client) in CLIENTS.into_iter().enumerate() {
        eventually(&format!("{client} to have acted again"), || {
            (lengths(launcher)[at] > since[at]).then_some(())
        });
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_whoever_is_killed() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let length = Duration::from_secs(number("REDDIT_CHAOS_SECONDS").unwrap_or(6));
    let mut random = Random(number("REDDIT_CHAOS_SEED").unwrap_or(1));
    let mut launcher = project().up();
    wait_acted(&launcher, [0; 3]);

    let names = ["engine", "client@1", "client@2", "client@3"];
    let (mut kills, mut rounds) = ([0_u64; 4], 0_u64);
    let until = Instant::now() + length;
    while Instant::now() < until || kills[0] == 0 || kills[1..].iter().sum::<u64>() == 0 {
        let_pass(Duration::from_millis(random.below(150)));
        // The engine half of the time; now and then somebody else in the same moment.
        let first = if random.below(2) == 0 { 0 } else { 1 + random.below(3) };
        let second = (first + 1 + random.below(3)) % 4;
        let victims = if random.below(4) == 0 { vec![first, second] } else { vec![first] };
        let before: Vec<(usize, i32)> = victims
            .into_iter()
            .map(|at| usize::try_from(at).unwrap())
            .map(|at| (at, eventually("a process to kill", || launcher.pid_of(names[at]))))
            .collect();
        for (at, pid) in &before {
            kill(*pid, libc::SIGKILL);
            kills[*at] += 1;
        }
        for (at, pid) in before {
            launcher.wait_new_pid(names[at], pid);
        }
        wait_acted(&launcher, lengths(&launcher));
        rounds += 1;
    }
    launcher.ok(&["down"]);
    assert_eq!(launcher.wait_exit(), 0);

    let store = launcher.project.path("log/engine.store");
    let mut check = Command::new(ENGINE);
    check.arg("check").arg("--json").arg("--store").arg(store).arg("--ledger");
    let checked = check.args(CLIENTS.map(|client| ledger(&launcher, client))).output().unwrap();
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{told} {}", String::from_utf8_lossy(&checked.stderr));
    let account = serde_json::from_str::<Value>(&told).unwrap()["ledgers"].clone();
    let count = |what: &str| account[what].as_u64().unwrap();
    let found = count("in_log") + count("in_snapshot") + count("unchanged");
    assert_eq!(count("acknowledged"), found, "{account}");
    // A client that lives asks again until it has its answer: only its death can leave one unread.
    let lives = 3 + kills[1..].iter().sum::<u64>();
    assert!(count("unread") <= lives * IN_FLIGHT, "{account}");
    println!("{rounds} rounds, {} kills of the engine, {} of clients: {account}", kills[0], lives - 3);
}

//! Many children at once: started from nothing, all killed at the same moment and back, all stopped.
//!
//! Two sides, the same probe program on both, by turns: provost, and a bare loop of vfork, exec and wait (what
//! `std::process::Command` does when it is asked for nothing more). A start counts until the last probe's `main` has
//! begun, a stop until the last process is reaped. While all are killed and come back, the control API is asked every 5 ms;
//! an answer is late from the moment at which it should have been asked for.

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

mod support;
use support::{Launcher, monotonic_ns, quantile};

const COUNTS: [usize; 2] = [100, 1_000];
const ROUNDS: usize = 5;
const SOCKET: &str = "PROBE_SOCKET";
/// Pause between two questions to the control API.
const ASK_EVERY: u64 = 5_000_000;

fn main() {
    let now = monotonic_ns();
    match std::env::var_os(SOCKET) {
        Some(socket) => probe(Path::new(&socket), now),
        None => COUNTS.into_iter().for_each(measure),
    }
}

/// The supervised program: tells its pid and when it began, then waits to be killed.
fn probe(socket: &Path, began: u64) {
    let mut message = began.to_le_bytes().to_vec();
    message.extend_from_slice(&std::process::id().to_le_bytes());
    UnixDatagram::unbound().and_then(|own| own.send_to(&message, socket)).expect("the bench listens");
    loop {
        std::thread::park();
    }
}

/// Started from nothing, killed and back, stopped: nanoseconds.
type Times = [u64; 3];

fn measure(count: usize) {
    let mut all: [Vec<Times>; 2] = Default::default();
    // The log files of the first round serve the others: how fast a file system makes files is not the question.
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut answers = Vec::new();
    for _ in 0..ROUNDS {
        all[0].push(bare(count));
        all[1].push(ours(count, folder.path(), &mut answers));
    }
    println!("{count} children, median of {ROUNDS} rounds\n");
    println!("{:<22}{:>12}{:>18}{:>12}", "", "started", "killed and back", "stopped");
    let median = |side: &Vec<Times>, what: usize| {
        let values: Vec<u64> = side.iter().map(|times| times[what]).collect();
        quantile(&values, 0.5) as f64 / 1e6
    };
    let ms = |value: f64| format!("{value:.1} ms");
    for (name, side) in [("bare", &all[0]), ("provost", &all[1])] {
        let [started, back, stopped] = [0, 1, 2].map(|what| ms(median(side, what)));
        println!("{name:<22}{started:>12}{back:>18}{stopped:>12}");
    }
    let [started, back, stopped] =
        [0, 1, 2].map(|what| format!("{:.2}x", median(&all[1], what) / median(&all[0], what)));
    println!("{:<22}{started:>12}{back:>18}{stopped:>12}", "provost / bare");
    let [half, most, all] = [0.5, 0.99, 1.0].map(|part| ms(quantile(&answers, part) as f64 / 1e6));
    println!("control API while all are killed: p50 {half}, p99 {most}, max {all}\n");
}

/// Where the probes of one side speak.
struct Ear {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Ear {
    fn new() -> Ear {
        let folder = tempfile::tempdir().expect("temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("ear")).expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("timeout");
        Ear { folder, socket }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ear")
    }

    /// Waits for so many probes; their pids, and when the last of them began.
    fn hear(&self, count: usize) -> (Vec<Pid>, u64) {
        let mut last = 0;
        let pids = (0..count).map(|_| {
            let mut message = [0; 12];
            self.socket.recv(&mut message).expect("a probe speaks");
            let (began, pid) = message.split_at(8);
            last = last.max(u64::from_le_bytes(began.try_into().expect("8 bytes")));
            Pid::from_raw(i32::from_le_bytes(pid.try_into().expect("4 bytes")))
        });
        (pids.collect(), last)
    }
}

fn bare(count: usize) -> Times {
    let ear = Ear::new();
    let own = std::env::current_exe().expect("own program");
    // The socket's queue is short: somebody has to listen while others are still being born.
    let spawn = || -> Vec<Child> {
        let one = || Command::new(&own).env_clear().env(SOCKET, ear.path()).spawn().expect("spawn");
        (0..count).map(|_| one()).collect()
    };
    let born = || {
        std::thread::scope(|scope| {
            let heard = scope.spawn(|| ear.hear(count));
            let children = spawn();
            (children, heard.join().expect("all probes spoke").1)
        })
    };
    let end = |children: Vec<Child>, signal| {
        let pids = children.iter().map(|child| Pid::from_raw(child.id().cast_signed()));
        pids.for_each(|pid| kill(pid, signal).expect("the probe lives"));
        for mut child in children {
            child.wait().expect("wait");
        }
    };
    let begun = monotonic_ns();
    let (children, last) = born();
    let started = last - begun;
    let begun = monotonic_ns();
    end(children, Signal::SIGKILL);
    let (children, last) = born();
    let back = last - begun;
    let begun = monotonic_ns();
    end(children, Signal::SIGTERM);
    [started, back, monotonic_ns() - begun]
}

/// Asks the control API at fixed moments until `done`, whether the earlier questions are answered or not; how long each
/// answer took, in nanoseconds.
fn ask(socket: &Path, done: &AtomicBool) -> Vec<u64> {
    std::thread::scope(|scope| {
        let mut answers = Vec::new();
        let mut due = monotonic_ns();
        while !done.load(Ordering::Relaxed) {
            while let Some(early) = due.checked_sub(monotonic_ns()).filter(|early| *early > 0) {
                std::thread::park_timeout(Duration::from_nanos(early));
            }
            answers.push(scope.spawn(move || answered(socket) - due));
            due += ASK_EVERY;
        }
        answers.into_iter().map(|answer| answer.join().expect("an answer")).collect()
    })
}

/// Asks once; when the answer was there.
fn answered(socket: &Path) -> u64 {
    let mut stream = UnixStream::connect(socket).expect("the control socket");
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request).and_then(|()| stream.read_to_string(&mut answer)).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    monotonic_ns()
}

fn ours(count: usize, folder: &Path, answers: &mut Vec<u64>) -> Times {
    let ear = Ear::new();
    let own = std::env::current_exe().expect("own program");
    let config = format!(
        "[supervisor]\nintensity = 1000000\n[[child]]\nname = \"probe\"\ninstances = {count}\ncommand = [{own:?}]\n\
         env = {{ {SOCKET} = {:?} }}\n",
        ear.path()
    );
    let begun = monotonic_ns();
    let mut launcher = Launcher::start(folder, &config);
    let (pids, last) = ear.hear(count);
    let started = last - begun;
    let (socket, done) = (folder.join("run/control.sock"), AtomicBool::new(false));
    let back = std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&socket, &done));
        let begun = monotonic_ns();
        pids.into_iter().for_each(|pid| kill(pid, Signal::SIGKILL).expect("the probe lives"));
        let (_, last) = ear.hear(count);
        done.store(true, Ordering::Relaxed);
        answers.extend(asked.join().expect("it asks"));
        last - begun
    });
    let begun = monotonic_ns();
    launcher.stop();
    [started, back, monotonic_ns() - begun]
}

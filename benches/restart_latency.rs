//! Restart latency: from `kill -9` of a process to the first line of its successor's `main`.
//!
//! Two sides in one run, the same probe program on both: provost, and a bare loop of kill, wait, vfork and exec (what
//! `std::process::Command` does when it is asked for nothing more). Rounds alternate, so both see the same noise.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

const ROUNDS: usize = 300;
const SOCKET: &str = "PROBE_SOCKET";

fn main() {
    let now = monotonic_ns();
    match std::env::var_os(SOCKET) {
        Some(socket) => probe(Path::new(&socket), now),
        None => measure(),
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC");
    now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
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

/// One side: a probe that is alive, and whoever brings it back.
struct Side {
    name: &'static str,
    socket: UnixDatagram,
    pid: i32,
    latencies_ns: Vec<u64>,
}

impl Side {
    fn new(name: &'static str, folder: &Path) -> Side {
        let socket = UnixDatagram::bind(folder.join(name)).expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        Side { name, socket, pid: 0, latencies_ns: Vec::with_capacity(ROUNDS) }
    }

    /// Waits for the next probe; returns when it began.
    fn wait(&mut self) -> u64 {
        let mut message = [0; 12];
        self.socket.recv(&mut message).expect("a probe speaks");
        let (began, pid) = message.split_at(8);
        self.pid = i32::from_le_bytes(pid.try_into().expect("4 bytes"));
        u64::from_le_bytes(began.try_into().expect("8 bytes"))
    }

    fn kill(&self) -> u64 {
        let now = monotonic_ns();
        kill(Pid::from_raw(self.pid), Signal::SIGKILL).expect("the probe lives");
        now
    }

    fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.latencies_ns.clone();
        sorted.sort_unstable();
        sorted[((sorted.len() - 1) as f64 * q).round() as usize] as f64 / 1e6
    }
}

fn measure() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let own = std::env::current_exe().expect("own program");
    let mut bare = Side::new("bare", folder.path());
    let mut ours = Side::new("provost", folder.path());
    let mut launcher = launch(folder.path(), &own);
    let mut child = spawn(folder.path(), &own);
    bare.wait();
    ours.wait();
    for _ in 0..ROUNDS {
        let killed = bare.kill();
        child.wait().expect("wait");
        child = spawn(folder.path(), &own);
        let began = bare.wait();
        bare.latencies_ns.push(began - killed);

        let killed = ours.kill();
        let began = ours.wait();
        ours.latencies_ns.push(began - killed);
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    kill(Pid::from_raw(launcher.id().cast_signed()), Signal::SIGTERM).expect("the launcher lives");
    launcher.wait().expect("wait");
    println!("kill -9 to the successor's first line, {ROUNDS} rounds each\n");
    println!("{:<22}{:>10}{:>10}", "", "p50", "p99");
    for side in [&bare, &ours] {
        println!("{:<22}{:>7.3} ms{:>7.3} ms", side.name, side.quantile(0.5), side.quantile(0.99));
    }
    let ratio = |q| ours.quantile(q) / bare.quantile(q);
    println!("{:<22}{:>9.2}x{:>9.2}x", "provost / bare", ratio(0.5), ratio(0.99));
}

fn spawn(folder: &Path, own: &Path) -> Child {
    Command::new(own).env_clear().env(SOCKET, folder.join("bare")).spawn().expect("spawn")
}

fn launch(folder: &Path, own: &Path) -> Child {
    let config = folder.join("supervisor.toml");
    let text = format!(
        "name = \"bench\"\nrun_dir = \"{0}/run\"\nlog_dir = \"{0}/log\"\n[supervisor]\nintensity = 1000000\n\
         [[child]]\nname = \"probe\"\ncommand = [{own:?}]\nenv = {{ {SOCKET} = \"{0}/provost\" }}\n",
        folder.display()
    );
    fs::write(&config, text).expect("write the config");
    Command::new(env!("CARGO_BIN_EXE_provost"))
        .arg("-f")
        .arg(config)
        .arg("up")
        .stdout(Stdio::null())
        .spawn()
        .expect("provost starts")
}

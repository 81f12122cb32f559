//! A thousand children: started from nothing, all killed at once and back, stopped.
//!
//! Two sides in one run, the same program on both: provost as it is (a log and a control group for each), and a bare loop of
//! vfork, exec, kill and wait (`std::process::Command`) without output. Every figure is taken from what the children tell: a
//! datagram each when it begins.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const CHILDREN: usize = 1_000;
const ROUNDS: usize = 3;
const SOCKET: &str = "PROBE_SOCKET";

fn main() {
    match std::env::var_os(SOCKET) {
        Some(socket) => probe(Path::new(&socket)),
        None => measure(),
    }
}

/// The supervised program: tells that it lives, then waits for its end.
fn probe(socket: &Path) {
    let pid = std::process::id().to_le_bytes();
    UnixDatagram::unbound().and_then(|own| own.send_to(&pid, socket)).expect("the bench listens");
    loop {
        std::thread::park();
    }
}

/// How long each act took, in milliseconds.
#[derive(Default)]
struct Times(BTreeMap<&'static str, Vec<f64>>);

impl Times {
    fn took(&mut self, act: &'static str, began: Instant) {
        self.0.entry(act).or_default().push(began.elapsed().as_secs_f64() * 1e3);
    }

    fn middle(&self, act: &str) -> f64 {
        let mut times = self.0.get(act).cloned().unwrap_or_default();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }
}

const ACTS: [&str; 3] = ["started", "killed and back", "stopped"];

fn measure() {
    let own = std::env::current_exe().expect("own program");
    let (mut bare, mut ours) = (Times::default(), Times::default());
    // In memory: on a disk this measures how long a filesystem takes to make two thousand files.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folders: Vec<_> =
        (0..ROUNDS).map(|_| tempfile::tempdir_in(&place).expect("temporary folder")).collect();
    for folder in &folders {
        measure_bare(&own, folder.path(), &mut bare);
        measure_ours(&own, folder.path(), &mut ours);
    }
    println!("{CHILDREN} children, middle of {ROUNDS} rounds\n");
    println!("{:<18}{:>12}{:>12}{:>17}", "", "bare", "provost", "provost / bare");
    for act in ACTS {
        let (bare, ours) = (bare.middle(act), ours.middle(act));
        println!("{act:<18}{bare:>9.0} ms{ours:>9.0} ms{:>16.2}x", ours / bare);
    }
}

/// Takes as many datagrams as there are children; returns who sent them.
fn all(socket: &UnixDatagram) -> Vec<Pid> {
    let mut pid = [0; 4];
    let one = |_| {
        socket.recv(&mut pid).expect("a probe speaks");
        Pid::from_raw(i32::from_le_bytes(pid))
    };
    (0..CHILDREN).map(one).collect()
}

fn bind(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).expect("bind");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("timeout");
    socket
}

/// Whoever listens must do so beside the loop that starts: the queue of a socket is short.
fn measure_bare(own: &Path, folder: &Path, times: &mut Times) {
    let path = folder.join("bare");
    let socket = bind(&path);
    let start = || -> Vec<Child> {
        (0..CHILDREN)
            .map(|_| {
                let mut command = Command::new(own);
                command.env_clear().env(SOCKET, &path).stdin(Stdio::null()).stdout(Stdio::null());
                command.spawn().expect("spawn")
            })
            .collect()
    };
    let begin = || {
        std::thread::scope(|scope| {
            let heard = scope.spawn(|| all(&socket));
            let children = start();
            heard.join().expect("all have spoken");
            children
        })
    };
    let end = |children: &mut Vec<Child>, signal| {
        for child in children.iter() {
            kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it lives");
        }
        for child in children {
            child.wait().expect("wait");
        }
    };
    let began = Instant::now();
    let mut children = begin();
    times.took("started", began);
    let began = Instant::now();
    end(&mut children, Signal::SIGKILL);
    let mut children = begin();
    times.took("killed and back", began);
    let began = Instant::now();
    end(&mut children, Signal::SIGTERM);
    times.took("stopped", began);
}

fn measure_ours(own: &Path, folder: &Path, times: &mut Times) {
    let path = folder.join("ours");
    let socket = bind(&path);
    let config = folder.join("supervisor.toml");
    let text = format!(
        "name = \"bench\"\nrun_dir = \"{0}/run\"\nlog_dir = \"{0}/log\"\n[supervisor]\nintensity = 1000000\n\
         [[child]]\nname = \"probe\"\ncommand = [{own:?}]\ninstances = {CHILDREN}\nenv = {{ {SOCKET} = {path:?} }}\n",
        folder.display()
    );
    fs::write(&config, text).expect("write the config");
    let began = Instant::now();
    let mut launcher = Command::new(env!("CARGO_BIN_EXE_provost"))
        .arg("-f")
        .arg(&config)
        .arg("up")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("provost starts");
    let pids = all(&socket);
    times.took("started", began);
    let began = Instant::now();
    for pid in pids {
        kill(pid, Signal::SIGKILL).expect("it lives");
    }
    all(&socket);
    times.took("killed and back", began);
    let began = Instant::now();
    kill(Pid::from_raw(launcher.id().cast_signed()), Signal::SIGTERM).expect("the launcher lives");
    launcher.wait().expect("wait");
    times.took("stopped", began);
}

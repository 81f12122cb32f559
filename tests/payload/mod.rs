//! Engines and clients under test: real processes on sockets of the test's own.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

pub mod person;

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use provost::node::{self, Node};
use provost::reddit::protocol::{Asked, EngineRequest, OpId, Reply, Request, Secret, Stats, user_registry};
use provost::reddit::{Remote, Whereabouts};
use tempfile::TempDir;
use tokio::task::LocalSet;

/// Bounds every wait of these tests; reached only when something is broken.
pub const BOUND: Duration = Duration::from_secs(30);

pub const ENGINE: &str = env!("CARGO_BIN_EXE_reddit-engine");
pub const CLIENT: &str = env!("CARGO_BIN_EXE_reddit-client");

/// A process of the test, with everything it prints; killed when the test is over.
pub struct Process {
    pub child: Child,
    lines: Receiver<String>,
    pub seen: Vec<String>,
}

impl Process {
    pub fn start(command: &mut Command) -> Process {
        for name in
            ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "PROVOST_NAME", "PROVOST_INSTANCE", "RUST_LOG"]
        {
            command.env_remove(name);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines() {
                    if line.is_err() || sender.send(line.unwrap_or_default()).is_err() {
                        return;
                    }
                }
            });
        }
        Process { child, lines, seen: Vec::new() }
    }

    pub fn engine(socket: &Path) -> Process {
        let mut engine = Process::start(Command::new(ENGINE).arg("--listen").arg(socket));
        engine.wait_for("listening on");
        engine
    }

    /// An engine on a socket that the test holds, as a supervisor would, in a run directory of the test's.
    pub fn engine_on(listener: &UnixListener, run_dir: &Path) -> Process {
        let socket = OwnedFd::from(listener.try_clone().unwrap());
        let script =
            "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_FDNAMES=engine LISTEN_PID=$$; exec \"$0\"";
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(ENGINE).stdin(Stdio::from(socket)).env("PROVOST_RUN_DIR", run_dir);
        Process::start(&mut command)
    }

    pub fn client(socket: &Path, name: &str, options: &[&str]) -> Process {
        let mut command = Command::new(CLIENT);
        command.arg("--engine").arg(socket).args(["--name", name, "--users", "50"]).args(options);
        Process::start(&mut command)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The next line that contains `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + BOUND;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no {text:?} in:\n{}", self.seen.join("\n")));
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for its end; everything it printed is in `seen` then.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + BOUND;
        // The outputs close when the process ends, so this waits for the end without polling.
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push(line);
        }
        assert!(Instant::now() < deadline, "still running:\n{}", self.seen.join("\n"));
        self.child.wait().unwrap()
    }

    pub fn count(&self, text: &str) -> usize {
        self.seen.iter().filter(|line| line.contains(text)).count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Place {
    pub dir: TempDir,
    pub socket: PathBuf,
}

impl Place {
    /// A command in whose eyes this place is where nodes and secrets are.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("PROVOST_RUN_DIR", self.dir.path()).env("XDG_STATE_HOME", self.dir.path().join("state"));
        for name in ["LISTEN_FDS", "PROVOST_NAME", "PROVOST_INSTANCE", "REDDIT_USER", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// An engine that is found here by its name.
    pub fn named_engine(&self, options: &[&str]) -> Process {
        let mut engine = Process::start(self.command(ENGINE).args(options));
        engine.wait_for("listening on");
        engine
    }

    /// `reddit-client WORDS`, to its end.
    pub fn hand(&self, words: &[&str]) -> Output {
        self.command(CLIENT).args(words).stdin(Stdio::null()).output().unwrap()
    }

    /// The same where it must succeed: what it printed.
    pub fn said(&self, words: &[&str]) -> String {
        let output = self.hand(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same where it must fail: the exit code, and why.
    pub fn refused(&self, words: &[&str]) -> (Option<i32>, String) {
        let output = self.hand(words);
        assert!(output.stdout.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// A node of this process that knows where the others here are.
    pub fn node(&self, name: &str) -> Node {
        let folder = self.dir.path().join("nodes");
        let options = node::Options { folder, patience: BOUND, ..Whereabouts::default().options() };
        Node::start_with(name, options).unwrap()
    }
}

/// Runs a test on the runtime that nodes are made for, with a bound on all its waits.
pub fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(3 * BOUND, test).await.expect("the test did not end") };
    LocalSet::new().block_on(&runtime, bounded)
}

pub fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    Place { dir, socket }
}

/// Asks an engine from this process, as a node of its own.
pub fn ask<T>(socket: &Path, test: impl AsyncFnOnce(Remote) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { test(connect(socket).await).await })
}

/// The engine that listens on `socket`, for a node of its own.
pub async fn connect(socket: &Path) -> Remote {
    static NODES: AtomicU32 = AtomicU32::new(1);
    let name = format!("test{}-{}", NODES.fetch_add(1, Ordering::Relaxed), std::process::id());
    let engine = Whereabouts::from(socket);
    let options = node::Options { patience: BOUND, ..engine.options() };
    let node = Node::start_with(&name, options).unwrap();
    Remote::find(&node, engine.node(), BOUND).await.unwrap()
}

pub async fn stats(engine: &Remote) -> Stats {
    match engine.call(&Request::Engine(EngineRequest::Stats).into(), BOUND).await.unwrap() {
        Ok(Reply::Engine(stats)) => stats,
        other => panic!("{other:?}"),
    }
}

/// Carries out an operation in each of so many other streams that the engine forgets those that were there before.
pub async fn crowd_out_streams(engine: &Rc<Remote>) {
    const STREAMS: u64 = 4097;
    for first in (0..STREAMS).step_by(256) {
        let mut open = tokio::task::JoinSet::new();
        for number in first..STREAMS.min(first + 256) {
            let engine = Rc::clone(engine);
            open.spawn_local(async move {
                let name = format!("crowd-{number}").into();
                let register = user_registry::Request::Register { name, secret: Secret([1; 16]), key: None };
                let op = OpId { stream: u64::MAX - number, number: 1 };
                let since = stats(&engine).await.operations;
                let register = Request::UserRegistry(register).asked(Asked { op, since });
                engine.call(&register, BOUND).await.unwrap().unwrap();
            });
        }
        while let Some(done) = open.join_next().await {
            done.unwrap();
        }
    }
}

//! The engine: the real program, in a process of its own.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use nix::unistd::{SysconfVar, sysconf};
use provost::node::{Node, Options};
use provost::os::command::bound_to_us;
use provost::reddit::protocol::{
    Answer, EngineRequest, Envelope, OpId, Reply, Request, Secret, Session, Stats, dm_manager,
    subreddit_manager, user_registry,
};
use provost::reddit::{Remote, Whereabouts};

const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of a segment of the log before the next one begins.
const SEGMENT: u64 = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Process,
    Power,
    None,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Process => "acknowledged writes survive kill -9",
            Durability::Power => "acknowledged writes survive a power failure",
            Durability::None => "nothing kept",
        })
    }
}

/// A size in memory.
pub(crate) struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} MB", self.0 as f64 / 1e6)
    }
}

/// Killed when it is dropped.
pub(crate) struct Engine {
    process: Child,
    folder: tempfile::TempDir,
    durability: Durability,
}

impl Engine {
    pub(crate) fn start(durability: Durability) -> Engine {
        let folder = tempfile::tempdir().expect("temporary folder");
        let process = begin(folder.path(), durability);
        let engine = Engine { process, folder, durability };
        engine.stats();
        engine
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(crate) fn stats(&self) -> Stats {
        let stats = Request::Engine(EngineRequest::Stats).into();
        match run(ask(&self.socket(), "looker", vec![stats])).pop() {
            Some(Ok(Reply::Engine(stats))) => stats,
            other => panic!("{other:?}"),
        }
    }

    /// CPU time it has used.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(self.process.id())
    }

    pub(crate) fn rss(&self) -> Bytes {
        self.status("VmRSS:")
    }

    pub(crate) fn highest_rss(&self) -> Bytes {
        self.status("VmHWM:")
    }

    fn status(&self, what: &str) -> Bytes {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("the line");
        Bytes(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024)
    }

    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.store()).expect("the store").flatten();
        let mut files: Vec<_> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(kind))
            .map(|entry| entry.path())
            .collect();
        files.sort();
        files
    }

    /// The newest snapshot, if there is one.
    pub(crate) fn snapshots(&self) -> Option<PathBuf> {
        self.files("snapshot-").pop()
    }

    /// Bytes before the next segment of the log begins.
    pub(crate) fn left_in_segment(&self) -> u64 {
        let last = self.files("log-").pop().expect("a log");
        SEGMENT.saturating_sub(fs::metadata(last).expect("the segment").len())
    }

    /// From its violent end to the first acknowledged write of the next one.
    pub(crate) fn restart(&mut self) -> Duration {
        self.process.kill().expect("kill");
        let begun = Instant::now();
        self.process.wait().expect("wait");
        self.process = begin(self.folder.path(), self.durability);
        run(write_once(&self.socket()));
        begun.elapsed()
    }

    /// How long the check of its store takes. The engine goes on, and has nothing to do.
    pub(crate) fn check(&self) -> Duration {
        let begun = Instant::now();
        let check = Command::new(env!("CARGO_BIN_EXE_reddit-engine"))
            .arg("check")
            .arg("--store")
            .arg(self.store())
            .output()
            .expect("check");
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        begun.elapsed()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn begin(folder: &Path, durability: Durability) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reddit-engine"));
    command.env("RUST_LOG", "error").arg("--listen").arg(folder.join("engine.sock")).stdin(Stdio::null());
    if durability != Durability::None {
        command.arg("--store").arg(folder.join("store"));
    }
    if durability == Durability::Power {
        command.args(["--durability", "power"]);
    }
    // A bench that fails must not leave it behind.
    bound_to_us(&mut command, Signal::SIGKILL).expect("the engine starts")
}

/// CPU time of a process, all its threads.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().expect("ticks a second") as f64;
    Duration::from_secs_f64(ticks as f64 / a_second)
}

pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// A node that only connects, and the engine; tried until it is there.
pub(crate) async fn find(socket: &Path, name: &str) -> Remote {
    let engine = Whereabouts::from(socket);
    let options = Options { patience: PATIENCE, ..engine.options() };
    let node = Node::start_with(&format!("{name}-{}", std::process::id()), options).expect("a node");
    let begun = Instant::now();
    loop {
        match Remote::find(&node, engine.node(), PATIENCE).await {
            Ok(found) => return found,
            Err(error) if begun.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn ask(socket: &Path, name: &str, requests: Vec<Envelope>) -> Vec<Answer> {
    let engine = find(socket, name).await;
    let mut answers = Vec::new();
    for request in requests {
        answers.push(engine.call(&request, PATIENCE).await.expect("an answer"));
    }
    answers
}

/// Registers, if it must, and writes.
async fn write_once(socket: &Path) {
    let engine = find(socket, "writer").await;
    let register =
        user_registry::Request::Register { name: "writer".into(), secret: Secret([7; 16]), key: None };
    let answer = engine.call(&Request::UserRegistry(register).into(), PATIENCE).await.expect("an answer");
    let Ok(Reply::UserRegistry(user_registry::Reply::LoggedIn(session))) = answer else {
        panic!("{answer:?}");
    };
    let Session { user, .. } = session;
    let to = provost::reddit::protocol::UserId(if user.0 == 1 { 2 } else { 1 });
    let send = dm_manager::Request::Send { session, to, subject: "back".into(), body: "again".into() };
    let op = OpId { stream: std::process::id().into(), number: now_us() };
    let sent = engine.call(&Request::DmManager(send).once(op), PATIENCE).await.expect("an answer");
    assert!(sent.is_ok(), "{sent:?}");
}

/// A number that no earlier call got.
fn now_us() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    (now.as_micros() % u128::from(u32::MAX)) as u32
}

/// Makes the subreddits.
pub(crate) async fn found(engine: &Remote, session: Session, count: u32) {
    for number in 0..count {
        let create = subreddit_manager::Request::Create {
            session,
            name: format!("topic_{number}").into(),
            description: "what people talk about there".into(),
        };
        let made = engine.call(&Request::SubredditManager(create).into(), PATIENCE).await.expect("an answer");
        assert!(made.is_ok(), "{made:?}");
    }
}

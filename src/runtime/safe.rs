//! What runs when the supervisor process keeps crashing: it adopts, reports and stops, and starts nothing. `answer.rs` has
//! the control API's requests.
//!
//! It takes no step of the rules and replays no journal, since one of those may be what crashes. It knows the children from
//! the keeper and, if the journal's newest snapshot can be read, their names; a child it cannot name is called by the number
//! of its node. Exits are not acknowledged, so an ordinary supervisor process that comes later (`provost upgrade`) hears of
//! each of them and does what is due.

mod answer;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::Signal as Posix;
use nix::unistd::Pid;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use super::births::Context;
use super::exit_of;
use super::journal::{Journal, JournalError};
use super::outputs::Outputs;
use super::report::{Console, Reporter};
use super::sockets;
use super::supervisor::RuntimeError;
use super::takeover::end_all;
use super::upgrade::Approved;
use super::world::World;
use crate::capture::Tap;
use crate::control::{self, ApiError, Call, ErrorCode, Response};
use crate::keeper::{Beginning, CONTROL, ExitRecord, FromKeeper, Link, RUN_DIR_VARIABLE, ToKeeper};
use crate::os;
use crate::os::cgroup::Home;
use crate::rules::{Exit, NodeId, Run};

/// How long a child may take to end after TERM.
const POLITE: Duration = Duration::from_secs(5);
/// How long it may take to end after KILL; one that is stuck in the kernel takes longer.
const KILLED: Duration = Duration::from_secs(10);
/// The exit code of a launcher that was stopped in this state, or had nothing to adopt.
const EXIT_CODE: u8 = 1;
/// The keeper writes its snapshot before it lets us start.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(10);
const WAITING: usize = 64;

type Reply = oneshot::Sender<Result<Response, ApiError>>;

/// Why nothing is started, in words.
pub(super) fn reason(status: i32) -> String {
    format!("{REASON}, last with {}", os::wait::describe(status))
}

const REASON: &str = "safe mode: the supervisor process crashed five times within a minute";

/// Runs it to its end.
///
/// # Errors
/// See [`RuntimeError`].
pub fn run(link: Link, journal: OwnedFd, console: Box<dyn Console>) -> Result<(), RuntimeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let safe = Safe::take_over(link, journal, console)?;
        let run_dir = safe.run_dir.clone();
        safe.live().await.inspect_err(|error| {
            let broken =
                matches!(error, RuntimeError::Io(error) if error.kind() == io::ErrorKind::BrokenPipe);
            if broken || matches!(error, RuntimeError::KeeperGone) {
                end_all(&Home::make(&os::cgroup::home_name(&run_dir)));
            }
        })
    })
}

/// A child: alive, or ended without anybody having decided what follows.
struct Held {
    run: Run,
    pid: Pid,
    pidfd: OwnedFd,
    taps: Vec<Rc<Tap>>,
    exit: Option<Exit>,
}

/// The child that is being stopped.
struct Stopping {
    node: NodeId,
    killed: bool,
    /// When it is killed, or given up.
    until: Instant,
}

struct Safe {
    link: Link,
    journal: File,
    /// As it was at the newest snapshot, if that can be read.
    world: Result<World, JournalError>,
    project: String,
    run_dir: PathBuf,
    why: String,
    /// How a program ended that was tried just before.
    failed_upgrade: Option<i32>,
    incarnation: u32,
    control: Option<OwnedFd>,
    reporter: Reporter,
    context: Context,
    children: BTreeMap<NodeId, Held>,
    outputs: Outputs,
    /// To be stopped, in this order.
    queue: VecDeque<NodeId>,
    stopping: Option<Stopping>,
    /// Callers who wait for the end of a child.
    replies: BTreeMap<NodeId, Vec<Reply>>,
    /// Everything is being stopped.
    down: bool,
}

impl Safe {
    fn take_over(link: Link, journal: OwnedFd, console: Box<dyn Console>) -> Result<Safe, RuntimeError> {
        let world = Journal::snapshot_of(journal.try_clone()?);
        let run_dir = match &world {
            Ok(world) => world.project.run_dir.clone(),
            Err(_) => std::env::var_os(RUN_DIR_VARIABLE).unwrap_or_default().into(),
        };
        let project = match &world {
            Ok(world) => world.project.name.clone(),
            Err(_) => run_dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        let home_name = os::cgroup::home_name(&run_dir);
        let cgroups = Home::make(&home_name);
        let mut safe = Safe {
            reporter: Reporter::new(project.clone(), console),
            link,
            journal: journal.into(),
            world,
            project,
            run_dir,
            why: String::new(),
            failed_upgrade: None,
            incarnation: 0,
            control: None,
            context: Context {
                inherited: std::env::vars_os().collect::<Vec<(OsString, OsString)>>(),
                open_files: os::limits::raise_open_files().map_err(io::Error::from)?,
                null: File::open("/dev/null")?.into(),
                cgroups,
                home_name,
            },
            children: BTreeMap::new(),
            outputs: Outputs::default(),
            queue: VecDeque::new(),
            stopping: None,
            replies: BTreeMap::new(),
            down: false,
        };
        safe.receive_snapshot()?;
        Ok(safe)
    }

    fn receive_snapshot(&mut self) -> Result<(), RuntimeError> {
        loop {
            match self.link.recv_within(SNAPSHOT_WAIT)? {
                FromKeeper::Child { key, pid, pidfd, outputs, .. } => {
                    let (node, run) = (NodeId(key.node), Run(key.run));
                    let taps = self.taps(node, outputs);
                    let newer = self.children.get(&node).is_none_or(|held| held.run < run);
                    if newer {
                        self.children.insert(node, Held { run, pid, pidfd, taps, exit: None });
                    }
                }
                FromKeeper::Stored { name, fd } if name == CONTROL => self.control = Some(fd),
                FromKeeper::SnapshotEnd { incarnation, beginning, .. } => {
                    self.incarnation = incarnation;
                    self.why = match beginning {
                        Beginning::Safe { status } => reason(status),
                        Beginning::RolledBack { status } => {
                            self.failed_upgrade = Some(status);
                            REASON.to_owned()
                        }
                        Beginning::Usual | Beginning::Upgraded => REASON.to_owned(),
                    };
                    if let Err(error) = &self.world {
                        self.why.push_str(&format!("; {error}"));
                    }
                    self.reporter.takeover(incarnation, beginning, self.children.len(), None);
                    return Ok(());
                }
                FromKeeper::Gone => return Err(RuntimeError::KeeperGone),
                FromKeeper::Stored { .. }
                | FromKeeper::Exited(_)
                | FromKeeper::Stop
                | FromKeeper::StopNow
                | FromKeeper::Ping => {}
            }
        }
    }

    /// Output goes on where it was. Where that is not known it waits in its pipe, which the keeper holds.
    fn taps(&mut self, node: NodeId, pipes: Vec<OwnedFd>) -> Vec<Rc<Tap>> {
        let spec = self.world.as_ref().ok().and_then(|world| world.process(node));
        let logs = spec.map(|spec| self.outputs.adopt(node, spec)).unwrap_or_default();
        pipes.into_iter().zip(logs).filter_map(|(pipe, log)| Tap::open(pipe, log).ok()).collect()
    }

    async fn live(mut self) -> Result<(), RuntimeError> {
        let (calls, mut requests) = mpsc::channel::<Call>(WAITING);
        let (approved, mut programs) = mpsc::channel::<Approved>(1);
        let group = self.world.as_ref().ok().and_then(|world| world.project.control).map(sockets::access);
        let (_, group) = watch::channel(group);
        let server = tokio::task::spawn_local(control::serve(self.control_socket()?, calls, group));
        let wake = os::watch::readable(self.link.as_fd().try_clone_to_owned()?)?;
        self.link.send(&ToKeeper::Alive)?;
        if self.children.is_empty() && !self.world.as_ref().is_ok_and(|world| world.up) {
            // Nothing was ever started, and nothing will be.
            self.down = true;
        }
        loop {
            self.stop_on();
            if self.down && self.stopping.is_none() && self.queue.is_empty() {
                // The next launcher would replace it; nobody answers on it any more.
                let _ = std::fs::remove_file(self.run_dir.join(control::SOCKET));
                self.link.send(&ToKeeper::Finish(EXIT_CODE))?;
                break;
            }
            let until = self.stopping.as_ref().map(|stopping| stopping.until);
            tokio::select! {
                biased;
                ready = wake.readable() => {
                    ready?.clear_ready();
                    self.hear_keeper()?;
                }
                Some(call) = requests.recv() => self.answer(call, &approved)?,
                Some(approved) = programs.recv() => {
                    let _ = approved.reply.send(Ok(Response::Done));
                    self.link.send(&ToKeeper::Program(approved.program.as_fd()))?;
                    break;
                }
                () = at(until) => self.lose_patience(),
            }
        }
        drop((self, requests));
        let _ = server.await;
        Ok(())
    }

    fn control_socket(&mut self) -> Result<tokio::net::UnixListener, RuntimeError> {
        let fd = match self.control.take() {
            Some(fd) => fd,
            None => {
                let path = self.run_dir.join(control::SOCKET);
                os::rundir::clear(&path)?;
                let fd = os::socket::listen(&path, 0o600)?;
                self.link.send(&ToKeeper::Store(CONTROL, fd.as_fd()))?;
                fd
            }
        };
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true)?;
        Ok(tokio::net::UnixListener::from_std(listener)?)
    }

    fn hear_keeper(&mut self) -> Result<(), RuntimeError> {
        while let Some(packet) = self.link.recv()? {
            match packet {
                FromKeeper::Exited(record) => self.ended(&record),
                FromKeeper::Stop => self.stop_all()?,
                FromKeeper::StopNow => {
                    self.stop_all()?;
                    self.children.values().for_each(|held| signal(held, Posix::SIGKILL));
                }
                FromKeeper::Gone => return Err(RuntimeError::KeeperGone),
                FromKeeper::Ping
                | FromKeeper::Child { .. }
                | FromKeeper::Stored { .. }
                | FromKeeper::SnapshotEnd { .. } => {}
            }
        }
        Ok(self.link.send(&ToKeeper::Alive)?)
    }

    fn ended(&mut self, record: &ExitRecord) {
        let (node, run) = (NodeId(record.key.node), Run(record.key.run));
        let name = self.name(node);
        let Some(held) = self.children.get_mut(&node).filter(|held| held.run == run) else { return };
        held.taps.iter().for_each(|tap| tap.finish());
        let exit = exit_of(record.status);
        held.exit = Some(exit);
        self.reporter.ended_undecided(name, run, record.pid, exit);
    }

    fn name(&self, node: NodeId) -> String {
        let known = self.world.as_ref().ok().and_then(|world| world.tree.name(node));
        known.map_or_else(|| format!("child{}", node.0), str::to_owned)
    }

    /// In reverse start order: nodes are numbered in the order of the config file.
    fn stop_all(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.down, true) {
            self.link.send(&ToKeeper::Stopping(Some(POLITE)))?;
            self.queue = self.children.keys().rev().copied().collect();
        }
        Ok(())
    }

    /// Takes the next child in turn once the present one is gone.
    fn stop_on(&mut self) {
        loop {
            if let Some(Stopping { node, .. }) = self.stopping {
                if self.children.get(&node).is_some_and(|held| held.exit.is_none()) {
                    return;
                }
                for reply in self.replies.remove(&node).unwrap_or_default() {
                    let _ = reply.send(Ok(Response::Child(self.child(node))));
                }
                self.stopping = None;
            }
            let Some(node) = self.queue.pop_front() else { return };
            if let Some(held) = self.children.get(&node).filter(|held| held.exit.is_none()) {
                signal(held, Posix::SIGTERM);
            }
            self.stopping = Some(Stopping { node, killed: false, until: Instant::now() + POLITE });
        }
    }

    fn lose_patience(&mut self) {
        let Some(stopping) = &mut self.stopping else { return };
        let node = stopping.node;
        let Some(held) = self.children.get(&node) else { return };
        if !stopping.killed {
            signal(held, Posix::SIGKILL);
            (stopping.killed, stopping.until) = (true, Instant::now() + KILLED);
            return;
        }
        // The keeper names what is left in the end.
        self.stopping = None;
        let message = format!("PID {} could not be killed: it is frozen or waits in the kernel", held.pid);
        tracing::warn!("{message}");
        for reply in self.replies.remove(&node).unwrap_or_default() {
            let _ = reply.send(Err(ApiError::new(ErrorCode::Timeout, message.clone())));
        }
    }
}

/// To the main process; whoever is gone needs none.
fn signal(held: &Held, signal: Posix) {
    let _ = os::pidfd::ask(held.pidfd.as_fd(), signal as i32);
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

//! The beginning of every supervisor process: hear what the keeper holds, load the world, make the two agree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::Pid;

use super::births::Context;
use super::clock::Clock;
use super::departures::Departures;
use super::history::History;
use super::holdings::Holdings;
use super::journal::{Journal, JournalError};
use super::outputs::Outputs;
use super::rebuild::{self, Rebuilt, rebuild};
use super::report::{Console, Reporter};
use super::supervisor::{Desks, Process, RuntimeError, Supervisor};
use super::world::{Record, Upgrade, World};
use crate::capture::Tap;
use crate::keeper::{Beginning, FromKeeper, Key, LAUNCH_VARIABLE, Link, ToKeeper};
use crate::os;
use crate::os::cgroup::Home;
use crate::os::leftovers::Environment;
use crate::rules::{Action, Event, NodeId, Run, StartError};

/// The keeper writes its snapshot before it lets us start; longer than this means that it is stopped or gone.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(10);

/// How long those are waited for that were killed because the keeper is gone.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the keeper holds.
pub(super) struct Snapshot {
    pub(super) children: Vec<HeldChild>,
    store: BTreeMap<String, Rc<OwnedFd>>,
    incarnation: u32,
    beginning: Beginning,
    keeper_gone: bool,
}

/// A run that is registered: alive, or its exit follows.
pub(super) struct HeldChild {
    pub(super) key: Key,
    pub(super) pid: Pid,
    born_ns: Option<u64>,
    pidfd: OwnedFd,
    outputs: Vec<OwnedFd>,
}

impl Snapshot {
    fn receive(link: &Link) -> io::Result<Snapshot> {
        let mut snapshot = Snapshot {
            children: Vec::new(),
            store: BTreeMap::new(),
            incarnation: 0,
            beginning: Beginning::Usual,
            keeper_gone: false,
        };
        loop {
            match link.recv_within(SNAPSHOT_WAIT)? {
                FromKeeper::Child { key, pid, born_ns, pidfd, outputs } => {
                    snapshot.children.push(HeldChild { key, pid, born_ns, pidfd, outputs });
                }
                FromKeeper::Stored { name, fd } => {
                    snapshot.store.insert(name, Rc::new(fd));
                }
                FromKeeper::SnapshotEnd { incarnation, beginning, .. } => {
                    (snapshot.incarnation, snapshot.beginning) = (incarnation, beginning);
                    return Ok(snapshot);
                }
                FromKeeper::Gone => {
                    snapshot.keeper_gone = true;
                    return Ok(snapshot);
                }
                packet @ (FromKeeper::Exited(_)
                | FromKeeper::Stop
                | FromKeeper::StopNow
                | FromKeeper::Ping) => {
                    return Err(io::Error::other(format!("{packet:?} inside the keeper's snapshot")));
                }
            }
        }
    }
}

/// A world, and what is to be told of it if it had to be made again.
struct Loaded {
    journal: Journal,
    world: World,
    strangers: BTreeMap<Key, String>,
    lost: Option<String>,
}

/// Replays the journal; makes the world again if that cannot be read.
fn load(journal: OwnedFd, snapshot: &Snapshot, launch: &str) -> Result<Loaded, JournalError> {
    let unreadable = match Journal::open(journal.try_clone()?) {
        Ok((journal, world)) => return Ok(Loaded { journal, world, strangers: BTreeMap::new(), lost: None }),
        Err(error) if !error.is_unreadable() => return Err(error),
        Err(error) => error,
    };
    let project = match Journal::snapshot_of(journal.try_clone()?) {
        Ok(world) => Ok(world.project),
        Err(_) => rebuild::project(),
    };
    let rebuilt = project.and_then(|project| rebuild(project, snapshot, launch));
    let Rebuilt { world, strangers, stopped } = match rebuilt {
        Ok(rebuilt) => rebuilt,
        Err(why) => {
            tracing::error!("the state cannot be made again from the config file: {why}");
            return Err(unreadable);
        }
    };
    let stopped = match stopped.is_empty() {
        true => "nobody else was to be found".to_owned(),
        false => format!("these had no process and stay stopped: {}", stopped.join(", ")),
    };
    let killed = match strangers.is_empty() {
        true => String::new(),
        false => {
            let names: Vec<&str> = strangers.values().map(String::as_str).collect();
            format!("; killed, as the config file does not know them: {}", names.join(", "))
        }
    };
    let lost = format!("{unreadable}, so its state was made again from the config file; {stopped}{killed}");
    Ok(Loaded { journal: Journal::create(journal, &world)?, world, strangers, lost: Some(lost) })
}

impl Supervisor {
    /// Receives the keeper's snapshot and loads the world.
    pub(super) fn take_over(
        link: Link,
        journal: OwnedFd,
        console: Box<dyn Console>,
        desks: Desks,
    ) -> Result<Supervisor, RuntimeError> {
        let snapshot = Snapshot::receive(&link)?;
        let launch = launch_id(link.keeper());
        let Loaded { journal, world, strangers, lost } = load(journal, &snapshot, &launch)?;
        let wake = os::watch::readable(link.as_fd().try_clone_to_owned()?)?;
        let mut reporter = Reporter::new(world.project.name.clone(), console);
        reporter.learn_names(&world.tree.view(world.now()));
        let home_name = os::cgroup::home_name(&world.project.run_dir);
        let cgroups = Home::make(&home_name);
        let context = Context {
            inherited: std::env::vars_os().collect(),
            open_files: os::limits::raise_open_files().map_err(io::Error::from)?,
            null: File::open("/dev/null")?.into(),
            cgroups,
            home_name,
        };
        let history = History::new(&world.project.log_dir);
        let Snapshot { children, store, incarnation, beginning, keeper_gone } = snapshot;
        let mut supervisor = Supervisor {
            link,
            wake,
            world,
            journal,
            reporter,
            context,
            clock: Clock::default(),
            incarnation,
            beginning,
            lost,
            processes: BTreeMap::new(),
            store,
            outputs: Outputs::default(),
            departures: Departures::default(),
            history,
            launch,
            queue: std::collections::VecDeque::new(),
            hearing: false,
            exits: Vec::new(),
            orders: std::collections::VecDeque::new(),
            forgets: false,
            postponed: std::collections::VecDeque::new(),
            said: desks.said,
            approved: desks.approved,
            delivered: desks.delivered,
            unborn: BTreeMap::new(),
            stuck: BTreeMap::new(),
            ignored_notifications: 0,
            replies: BTreeMap::new(),
            callers: BTreeMap::new(),
            // Calls of an earlier supervisor process may still be open.
            tickets: u64::from(incarnation) << 32,
            held: Holdings::default(),
            group: tokio::sync::watch::Sender::new(None),
            reads: desks.reads,
            table_due: false,
        };
        for HeldChild { key, pid, born_ns, pidfd, outputs } in children {
            if strangers.contains_key(&key) {
                // Its end is told by the keeper. An error means that it has ended already.
                tracing::warn!(pid = pid.as_raw(), "killed a process that the config file does not know");
                let _ = os::pidfd::signal(pidfd.as_fd(), libc::SIGKILL);
                continue;
            }
            let process = Process { run: Run(key.run), pid, born_ns, pidfd, taps: Vec::new() };
            supervisor.adopt(NodeId(key.node), process, outputs);
        }
        if keeper_gone { Err(supervisor.keeper_gone()) } else { Ok(supervisor) }
    }

    /// Holds a child that an earlier supervisor process started. Its output goes on where it was. An ended run whose output
    /// somebody still holds may stand beside the next run of the same node.
    fn adopt(&mut self, node: NodeId, mut process: Process, pipes: Vec<OwnedFd>) {
        let logs = match self.world.process(node) {
            Some(spec) => self.outputs.adopt(node, spec),
            None => Vec::new(),
        };
        process.taps =
            pipes.into_iter().zip(logs).filter_map(|(pipe, log)| Tap::open(pipe, log).ok()).collect();
        let mut earlier = process;
        if self.processes.get(&node).is_none_or(|other| other.run < earlier.run) {
            self.reporter.born(node, earlier.run, earlier.pid, earlier.born_ns);
            let Some(replaced) = self.processes.insert(node, earlier) else { return };
            earlier = replaced;
        }
        self.departures.expect(Key { node: node.0, run: earlier.run.0 }, earlier.taps);
    }

    /// Goes on where the world stopped: boots it, or performs what was ordered and is not done. Then the keeper hears that
    /// this supervisor process has taken over.
    pub(super) fn resume(&mut self) -> Result<(), RuntimeError> {
        self.hold_sockets()?;
        self.remember_upgrade()?;
        if self.world.booted {
            self.go_on()?;
        } else {
            self.handle(Event::Boot)?;
        }
        Ok(self.link.send(&ToKeeper::Alive)?)
    }

    /// The keeper changed the program, or had to change it back.
    fn remember_upgrade(&mut self) -> Result<(), RuntimeError> {
        let outcome = match self.beginning {
            Beginning::Usual | Beginning::Safe { .. } => return Ok(()),
            Beginning::Upgraded => Ok(env!("CARGO_PKG_VERSION").to_owned()),
            Beginning::RolledBack { status } => Err(status),
        };
        self.take(Record::Upgrade(Upgrade { incarnation: self.incarnation, outcome }))
    }

    fn go_on(&mut self) -> Result<(), RuntimeError> {
        self.reporter.takeover(self.incarnation, self.beginning, self.processes.len(), self.lost.as_deref());
        if self.world.up {
            // The one that remembered it may not have come to say it.
            self.link.send(&ToKeeper::Up)?;
        }
        for order in self.world.tree.open_orders() {
            match order {
                Action::Start(node, run) if self.has(node, run) => {
                    if !self.await_adopted(node, run) {
                        self.queue.push_back(Event::Spawned(node, run));
                    }
                }
                // Ended, and the keeper will say so; or an order to start that was taken back before it was performed, or
                // that failed and was not told.
                Action::Signal(node, run, _) | Action::Kill(node, run) if !self.has(node, run) => {
                    self.queue.push_back(Event::SpawnFailed(node, run, StartError::Failed));
                }
                order => self.perform(order)?,
            }
        }
        Ok(())
    }

    fn has(&self, node: NodeId, run: Run) -> bool {
        self.processes.get(&node).is_some_and(|process| process.run == run)
    }

    /// The keeper was killed, so nobody reaps or holds anything any more: nothing may be left running unsupervised. The
    /// children die with the keeper (`PR_SET_PDEATHSIG`); this also reaches what they forked, into their process groups or
    /// out of them.
    pub(super) fn keeper_gone(&self) -> RuntimeError {
        for process in self.processes.values() {
            // An error means that nobody is left.
            let _ = os::pidfd::ask_group(process.pidfd.as_fd(), process.pid, libc::SIGKILL);
        }
        self.save_output();
        self.remove_sockets();
        end_all(&self.context.cgroups);
        RuntimeError::KeeperGone
    }
}

/// Ends everybody who was started under this process's keeper. What cannot be ended is left to the next launcher.
pub(super) fn end_all(cgroups: &Home) {
    cgroups.empty(FAREWELL);
    if let Some(launch) = std::env::var_os(LAUNCH_VARIABLE) {
        let is_left = |process: &Environment| process.get(LAUNCH_VARIABLE) == Some(launch.as_bytes());
        if let Err(error) = os::leftovers::remove(is_left, FAREWELL) {
            tracing::warn!(%error, "cannot look for what the children forked");
        }
    }
    cgroups.remove_all();
}

/// The keeper's process, and the boot of the machine it lives in.
fn launch_id(keeper: Pid) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let start = os::proc::Process::read(keeper.as_raw()).map_or(0, |process| process.start_ticks);
    format!("{}-{keeper}-{start}", boot.split('-').next().unwrap_or_default().trim())
}

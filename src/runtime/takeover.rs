//! The beginning of every supervisor process: load the world, hear what the keeper holds, make the two agree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::Pid;

use super::births::Context;
use super::clock::Clock;
use super::departures::Departures;
use super::history::History;
use super::holdings::Holdings;
use super::journal::Journal;
use super::outputs::Outputs;
use super::report::{Console, Reporter};
use super::supervisor::{Desks, Process, RuntimeError, Supervisor};
use super::world::{Record, Upgrade};
use crate::capture::Tap;
use crate::keeper::{Beginning, FromKeeper, Key, Link, RUN_DIR_VARIABLE, ToKeeper};
use crate::os;
use crate::os::cgroup::Home;
use crate::rules::{Action, Event, NodeId, Run, StartError};

/// The keeper writes its snapshot before it lets us start; longer than this means that it is stopped or gone.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(10);

/// How long those are waited for that were killed because the keeper is gone.
const FAREWELL: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Loads the world and receives the keeper's snapshot.
    pub(super) fn take_over(
        link: Link,
        journal: OwnedFd,
        console: Box<dyn Console>,
        desks: Desks,
    ) -> Result<Supervisor, RuntimeError> {
        let (journal, world) = Journal::open(journal)?;
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
        let launch = launch_id(link.keeper());
        let mut supervisor = Supervisor {
            link,
            wake,
            world,
            journal,
            reporter,
            context,
            clock: Clock::default(),
            incarnation: 0,
            beginning: Beginning::Usual,
            processes: BTreeMap::new(),
            store: BTreeMap::new(),
            outputs: Outputs::default(),
            departures: Departures::default(),
            history,
            launch,
            queue: std::collections::VecDeque::new(),
            said: desks.said,
            approved: desks.approved,
            ignored_notifications: 0,
            replies: BTreeMap::new(),
            callers: BTreeMap::new(),
            tickets: 0,
            held: Holdings::default(),
            group: tokio::sync::watch::Sender::new(None),
            reads: desks.reads,
            table_due: false,
        };
        supervisor.receive_snapshot()?;
        Ok(supervisor)
    }

    fn receive_snapshot(&mut self) -> Result<(), RuntimeError> {
        loop {
            match self.link.recv_within(SNAPSHOT_WAIT)? {
                FromKeeper::Child { key, pid, born_ns, pidfd, outputs } => {
                    let process = Process { run: Run(key.run), pid, born_ns, pidfd, taps: Vec::new() };
                    self.adopt(NodeId(key.node), process, outputs);
                }
                FromKeeper::Stored { name, fd } => {
                    self.store.insert(name, Rc::new(fd));
                }
                FromKeeper::SnapshotEnd { incarnation, beginning, .. } => {
                    self.incarnation = incarnation;
                    self.beginning = beginning;
                    // Calls of an earlier supervisor process may still be open.
                    self.tickets = u64::from(incarnation) << 32;
                    return Ok(());
                }
                FromKeeper::Gone => return Err(self.keeper_gone()),
                packet @ (FromKeeper::Exited(_)
                | FromKeeper::Stop
                | FromKeeper::StopNow
                | FromKeeper::Ping) => {
                    return Err(io::Error::other(format!("{packet:?} inside the keeper's snapshot")).into());
                }
            }
        }
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
        self.reporter.takeover(self.incarnation, self.beginning, self.processes.len());
        if self.world.up {
            // The one that remembered it may not have come to say it.
            self.link.send(&ToKeeper::Up)?;
        }
        for order in self.world.tree.open_orders() {
            match order {
                Action::Start(node, run) if self.has(node, run) => {
                    self.queue.push_back(Event::Spawned(node, run))
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
        end_all(&self.context.cgroups, &self.world.project.run_dir);
        RuntimeError::KeeperGone
    }
}

/// Ends everybody who was started for this run directory. What cannot be ended is left to the next launcher.
pub(super) fn end_all(cgroups: &Home, run_dir: &Path) {
    cgroups.empty(FAREWELL);
    let pair = [RUN_DIR_VARIABLE.as_bytes(), b"=", run_dir.as_os_str().as_bytes()].concat();
    if let Err(error) = os::leftovers::remove(&pair, FAREWELL) {
        tracing::warn!(%error, "cannot look for what the children forked");
    }
    cgroups.remove_all();
}

/// The keeper's process, and the boot of the machine it lives in.
fn launch_id(keeper: Pid) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let start = os::proc::Process::read(keeper.as_raw()).map_or(0, |process| process.start_ticks);
    format!("{}-{keeper}-{start}", boot.split('-').next().unwrap_or_default().trim())
}

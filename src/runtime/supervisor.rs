//! The loop.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Said;
use super::births::Context;
use super::clock::{Clock, READ_EVERY};
use super::departures::Departures;
use super::history::History;
use super::holdings::Holdings;
use super::journal::{Journal, JournalError};
use super::outputs::Outputs;
use super::perform::Ended;
use super::reload::FileRead;
use super::report::{Console, Reporter};
use super::requests::{SeriesCaller, Waiting};
use super::restore::Upkeep;
use super::series::SeriesId;
use super::unborn::{Delivered, Stuck, Unborn};
use super::upgrade::Approved;
use super::world::{Record, World};
use crate::capture::Tap;
use crate::control::{self, Call, GroupAccess, PsJson, Response};
use crate::keeper::{Beginning, FromKeeper, Link, ToKeeper};
use crate::os;
use crate::rules::{Action, Event, ExitFact, Moment, NodeId, Run, Ticket};

/// How long events are handled, orders performed or ended runs written down, in a row before the loop looks round: a tree
/// of a thousand children must not be deaf while it boots, or while all of them end at once.
const SLICE: Duration = Duration::from_millis(5);
/// Requests and facts that may wait for the loop; whoever comes later waits to be let in.
const WAITING: usize = 64;

/// Why a supervisor process ends without its tree having ended. The keeper starts the next one.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The socket to the keeper, or the event loop, failed.
    #[error("cannot talk to the keeper: {0}")]
    Io(#[from] io::Error),
    /// The keeper is gone; what it left behind was killed.
    #[error("the keeper is gone")]
    KeeperGone,
}

impl RuntimeError {
    /// Whether the machine was short of something that comes back.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        let RuntimeError::Io(error) = self else { return false };
        error.raw_os_error().is_some_and(|errno| os::limits::is_shortage(Errno::from_raw(errno)))
    }
}

/// A child's process as this supervisor process holds it.
pub(super) struct Process {
    pub(super) run: Run,
    pub(super) pid: Pid,
    /// When it was set out to make it; `None`: by a supervisor process that did not tell.
    pub(super) born_ns: Option<u64>,
    pub(super) pidfd: OwnedFd,
    pub(super) taps: Vec<Rc<Tap>>,
}

/// Everything one supervisor process has at hand. What must outlive it is in `world`, or held by the keeper.
pub(super) struct Supervisor {
    pub(super) link: Link,
    /// Says that the link has something to read.
    pub(super) wake: AsyncFd<OwnedFd>,
    pub(super) world: World,
    pub(super) journal: Journal,
    pub(super) reporter: Reporter,
    pub(super) context: Context,
    pub(super) clock: Clock,
    pub(super) incarnation: u32,
    pub(super) beginning: Beginning,
    /// What was lost with the journal, to be told once.
    pub(super) lost: Option<String>,
    /// The newest process of each node that has one; until its exit is told.
    pub(super) processes: BTreeMap<NodeId, Process>,
    /// What the keeper's store holds, by name.
    pub(super) store: BTreeMap<String, Rc<OwnedFd>>,
    pub(super) outputs: Outputs,
    /// Ended runs that are not acknowledged.
    pub(super) departures: Departures,
    pub(super) history: History,
    /// Names this launcher among all there ever were.
    pub(super) launch: String,
    /// Facts that performing an order brought.
    pub(super) queue: VecDeque<Event>,
    /// The keeper may have more to say.
    pub(super) hearing: bool,
    /// Exits that it has told, until it has told all it knows.
    pub(super) exits: Vec<ExitFact>,
    /// Orders of the newest record that are still to be performed.
    pub(super) orders: VecDeque<Action>,
    /// One of them said that a node is gone.
    pub(super) forgets: bool,
    /// Changes that were asked for while there were orders.
    pub(super) postponed: VecDeque<Call>,
    /// Where the tasks that hear children put what these say.
    pub(super) said: mpsc::Sender<Said>,
    /// Runs whose exec has not returned yet. They stand in `processes` too.
    pub(super) unborn: BTreeMap<NodeId, Unborn>,
    /// The newest process of a node that was given up before its exec, until it has ended.
    pub(super) stuck: BTreeMap<NodeId, Stuck>,
    /// Where the tasks that wait for an exec put its outcome.
    pub(super) delivered: mpsc::Sender<Delivered>,
    /// Where those who examine programs put what they approve of.
    pub(super) approved: mpsc::Sender<Approved>,
    /// Notifications that came from nobody who may send them.
    pub(super) ignored_notifications: u64,
    /// Who waits for the rules' reply.
    pub(super) replies: BTreeMap<Ticket, Waiting>,
    /// Who waits for the end of a series.
    pub(super) callers: BTreeMap<SeriesId, SeriesCaller>,
    /// The newest number given to a call or a series; unique over all supervisor processes of this launcher.
    pub(super) tickets: u64,
    /// The sockets that were made for a node.
    pub(super) held: Holdings,
    /// Whom the control API admits beside the owner and root.
    pub(super) group: watch::Sender<Option<GroupAccess>>,
    /// Where the threads that read the config file put it.
    pub(super) reads: mpsc::Sender<FileRead>,
    /// The process table is owed to the console.
    pub(super) table_due: bool,
}

/// Where tasks and threads beside the loop put what they have found out.
pub(super) struct Desks {
    pub(super) said: mpsc::Sender<Said>,
    pub(super) reads: mpsc::Sender<FileRead>,
    pub(super) approved: mpsc::Sender<Approved>,
    pub(super) delivered: mpsc::Sender<Delivered>,
}

/// Where the loop takes it from.
struct Inboxes {
    heard: mpsc::Receiver<Said>,
    files: mpsc::Receiver<FileRead>,
    programs: mpsc::Receiver<Approved>,
    births: mpsc::Receiver<Delivered>,
}

/// Runs the supervisor process to its end.
///
/// `link` is the way to the keeper, `journal` the file in memory with the world.
///
/// # Errors
/// See [`RuntimeError`]; the process should exit with failure, the keeper goes on from there.
pub fn run(link: Link, journal: OwnedFd, console: Box<dyn Console>) -> Result<(), RuntimeError> {
    // Before the children there are: they bring several descriptors each.
    os::spawn::reserve()?;
    // Everything is a task, the loop too: only tasks are woken without a detour through a descriptor of the runtime's own.
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let (said, heard) = mpsc::channel(WAITING);
        let (reads, files) = mpsc::channel(WAITING);
        let (approved, programs) = mpsc::channel(1);
        let (delivered, births) = mpsc::channel(WAITING);
        let supervisor =
            Supervisor::take_over(link, journal, console, Desks { said, reads, approved, delivered })?;
        let life = tokio::task::spawn_local(supervisor.live(Inboxes { heard, files, programs, births }));
        life.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    })
}

impl Supervisor {
    async fn live(mut self, inboxes: Inboxes) -> Result<(), RuntimeError> {
        let (calls, mut requests) = mpsc::channel::<Call>(WAITING);
        let mut upkeep = Upkeep::new(calls, self.group.subscribe());
        upkeep.serve(self.control_socket()?);
        match self.work(inboxes, &mut requests, &mut upkeep).await {
            Err(RuntimeError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(self.keeper_gone());
            }
            Err(RuntimeError::KeeperGone) => return Err(self.keeper_gone()),
            other => other?,
        }
        // The last answers and events are on their way: the server ends when nobody can answer it any more.
        drop((self, requests));
        upkeep.end().await;
        Ok(())
    }

    /// The loop proper, until the tree has ended or another program takes over.
    async fn work(
        &mut self,
        inboxes: Inboxes,
        requests: &mut mpsc::Receiver<Call>,
        upkeep: &mut Upkeep,
    ) -> Result<(), RuntimeError> {
        let Inboxes { mut heard, mut files, mut programs, mut births } = inboxes;
        let (show, mut tables) = mpsc::channel::<PsJson>(1);
        let alarm = self.outputs.alarm();
        self.resume()?;
        loop {
            if self.hearing {
                self.hear_keeper()?;
            }
            self.settle()?;
            let idle = self.is_idle();
            let unsettled = !idle || self.settle_departures(&Slice::begin())?;
            self.tell_stalls();
            // Not before the last ends are in the history.
            if !unsettled && self.finish()? {
                return Ok(());
            }
            self.read_table(&show);
            let deadline = self.world.tree.next_deadline();
            if deadline.is_none() {
                self.clock.rest();
            }
            let left = deadline.map(|deadline| deadline.since(self.world.now()));
            let history = self.history.retry_in().filter(|_| !self.world.unwritten.is_empty());
            tokio::select! {
                biased;
                // Otherwise only what changes nothing is served.
                ready = self.wake.readable(), if idle => {
                    ready?.clear_ready();
                    self.hearing = true;
                }
                Some(delivered) = births.recv() => self.deliver(delivered),
                Some(said) = heard.recv(), if idle => {
                    if let Some(event) = self.understand(&said) {
                        self.handle(event)?;
                    }
                    drop(said.handled);
                }
                Some(call) = requests.recv() => {
                    self.request(call)?;
                    // The others wait no longer: another slice may follow.
                    while let Ok(call) = requests.try_recv() {
                        self.request(call)?;
                    }
                }
                Some(read) = files.recv(), if idle => self.file_read(read)?,
                () = alarm.notified() => {}
                () = upkeep.due() => self.restore(upkeep)?,
                Some(approved) = programs.recv(), if idle => {
                    let _ = approved.reply.send(Ok(Response::Done));
                    self.link.send(&ToKeeper::Program(approved.program.as_fd()))?;
                    return Ok(());
                }
                Some(table) = tables.recv() => self.reporter.console.up(&table),
                // Behind everybody who asks: each of them is followed by another slice of this.
                () = std::future::ready(()), if !self.queue.is_empty() || unsettled => {
                    tokio::task::yield_now().await;
                }
                () = alarm_after(left), if idle => {
                    let now = self.tell_time()?;
                    if deadline.is_some_and(|deadline| deadline <= now) {
                        self.handle(Event::Tick)?;
                    }
                }
                () = alarm_after(history) => {}
            }
        }
    }

    /// Performs what is ordered, then handles what is queued, a slice of it.
    fn settle(&mut self) -> Result<(), RuntimeError> {
        let slice = Slice::begin();
        self.perform_orders(Some(&slice))?;
        while self.is_idle()
            && !slice.is_over()
            && let Some(event) = self.queue.pop_front()
        {
            self.handle(event)?;
        }
        while self.is_idle()
            && let Some(call) = self.postponed.pop_front()
        {
            self.answer(call)?;
        }
        if self.is_idle() { self.go_on_with_series() } else { Ok(()) }
    }

    /// Answers what changes nothing at once, and everything else in its turn.
    fn request(&mut self, call: Call) -> Result<(), RuntimeError> {
        if self.is_idle() || call.request.only_reads() {
            return self.answer(call);
        }
        self.postponed.push_back(call);
        Ok(())
    }

    /// Whether the next change may be made: a record is performed before the next one, and exits that are known come before
    /// what is learnt later.
    fn is_idle(&self) -> bool {
        self.orders.is_empty() && !self.hearing
    }

    /// Performs orders, until the slice is over if there is one.
    fn perform_orders(&mut self, slice: Option<&Slice>) -> Result<(), RuntimeError> {
        while let Some(order) = self.orders.pop_front() {
            self.forgets |= matches!(order, Action::Forget(_));
            self.perform(order)?;
            if slice.is_some_and(Slice::is_over) {
                break;
            }
        }
        // The other orders may still be about what is gone.
        if self.orders.is_empty() && std::mem::take(&mut self.forgets) { self.forget() } else { Ok(()) }
    }

    /// One event.
    pub(super) fn handle(&mut self, event: Event) -> Result<(), RuntimeError> {
        let now = self.tell_time()?;
        self.take(Record::Step(now, event))
    }

    /// The time at which something is handled. A pause that is noticed is remembered first: the next supervisor process must
    /// count as this one does.
    pub(super) fn tell_time(&mut self) -> Result<Moment, RuntimeError> {
        let pause = self.clock.read();
        if !pause.is_zero() {
            tracing::warn!(?pause, "nothing of this project ran for some time; no deadline counts it");
            self.take(Record::Paused(pause))?;
        }
        Ok(self.world.now())
    }

    /// One change: remembered first, then performed, behind what is ordered already. What takes longer than a slice is left
    /// to the loop.
    pub(super) fn take(&mut self, record: Record) -> Result<(), RuntimeError> {
        self.perform_orders(None)?;
        self.remember(&record)?;
        let actions = self.world.learn(record);
        self.reporter.requested(&actions);
        self.orders = actions.into();
        self.perform_orders(Some(&Slice::begin()))?;
        if self.journal.wants_snapshot() {
            self.journal.snapshot(&self.world)?;
        }
        Ok(())
    }

    /// Where the journal finds no room, because of a limit on file size or for lack of memory, it is made smaller first.
    fn remember(&mut self, record: &Record) -> Result<(), JournalError> {
        match self.journal.append(record) {
            Err(error) if error.is_full() => {
                self.journal.snapshot(&self.world)?;
                self.journal.append(record)
            }
            other => other,
        }
    }

    /// Hears what the keeper has to say right now, a slice of it. All exits known at this instant go to the rules as one
    /// event; they are acknowledged when all of it is safe (`departures.rs`).
    fn hear_keeper(&mut self) -> Result<(), RuntimeError> {
        let slice = Slice::begin();
        let mut owes_word = false;
        while self.hearing && !slice.is_over() {
            let Some(packet) = self.link.recv()? else {
                self.hearing = false;
                break;
            };
            owes_word = true;
            match packet {
                FromKeeper::Exited(record) => {
                    self.hear_last_words(NodeId(record.key.node), Run(record.key.run))?;
                    match self.exited(&record) {
                        Some(Ended::Run(exit)) => self.exits.push(exit),
                        Some(Ended::Birth(failure)) => self.handle(failure)?,
                        None => {}
                    }
                }
                FromKeeper::Stop => self.queue.push_back(Event::Stop),
                FromKeeper::StopNow => self.queue.push_back(Event::StopNow),
                FromKeeper::Ping => {}
                FromKeeper::Gone => return Err(RuntimeError::KeeperGone),
                FromKeeper::Child { .. } | FromKeeper::Stored { .. } | FromKeeper::SnapshotEnd { .. } => {}
            }
        }
        if !self.hearing && !self.exits.is_empty() {
            let exits = std::mem::take(&mut self.exits);
            for exit in &exits {
                self.before_exit(exit.node, exit.run)?;
            }
            self.handle(Event::Exited(exits))?;
        }
        if owes_word {
            self.link.send(&ToKeeper::Alive)?;
        }
        Ok(())
    }

    /// Facts about a run that are still queued come first: a run that is told to have ended must have begun.
    pub(super) fn before_exit(&mut self, node: NodeId, run: Run) -> Result<(), RuntimeError> {
        let concerns =
            |event: &Event| matches!(event, Event::Spawned(of, begun) if (*of, *begun) == (node, run));
        while let Some(at) = self.queue.iter().position(concerns) {
            if let Some(event) = self.queue.remove(at) {
                self.handle(event)?;
            }
        }
        Ok(())
    }

    /// Whether the tree has ended; then everything is tidied up and the keeper told.
    fn finish(&mut self) -> Result<bool, RuntimeError> {
        let Some(class) = self.world.finished else { return Ok(false) };
        self.reporter.finished(&self.world.tree, class);
        self.save_output();
        self.history.retry_now();
        self.write_waiting()?;
        if !self.world.unwritten.is_empty() {
            tracing::warn!(
                exits = self.world.unwritten.len(),
                "the last exits are in no history: it cannot be written"
            );
        }
        self.remove_sockets();
        self.link.send(&ToKeeper::Finish(super::exit_code(class)))?;
        Ok(true)
    }

    fn tell_stalls(&mut self) {
        for news in self.outputs.news() {
            self.reporter.output(&self.world.tree, news.node, news.stalled);
        }
    }

    /// Reads the process table for the console if it is owed one, beside the loop: a thousand processes take their time.
    fn read_table(&mut self, show: &mpsc::Sender<PsJson>) {
        if std::mem::take(&mut self.table_due) {
            let table = control::ps(self.world.project.name.clone(), self.members());
            let show = show.clone();
            tokio::task::spawn_local(async move { show.send(table.await).await });
        }
    }
}

/// A part of long work, between two looks at who wants something.
pub(super) struct Slice(Instant);

impl Slice {
    fn begin() -> Slice {
        Slice(Instant::now() + SLICE)
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.0
    }
}

/// Until a deadline is due that is so far away, or the clock must be read in between.
async fn alarm_after(left: Option<Duration>) {
    match left {
        None => std::future::pending().await,
        // A millisecond more: a deadline inside the current millisecond must have passed when the rules look.
        Some(left) => {
            tokio::time::sleep_until(Instant::now() + left.min(READ_EVERY) + Duration::from_millis(1)).await;
        }
    }
}

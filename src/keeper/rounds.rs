//! The keeper's rounds: wait on one poll, then take signals, packets and deaths, and start what is missing.
//!
//! The order matters in one place: a child's packets are read before its death is buried, so a registration is never
//! later than its exit.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid, getsid, write};

use super::children::Children;
use super::door::Door;
use super::ending::Ending;
use super::incarnation::{Incarnation, Inheritance, Next, REFUSED, Stop};
use super::programs::{NOT_STARTED, Programs};
use super::protocol::{Beginning, Reach};
use super::remains::Remains;
use super::revival::Revival;
use super::store::Store;
use super::wire::{self, Heard};
use super::{CONTROL, Ended, FORCED, Key, Plan, Survivor, UNKILLABLE, notice};
use crate::os::descendants::Inherited;
use crate::os::signals::{self, Inbox};
use crate::os::socket::{Fds, Packet, Peer};
use crate::os::{clock, descendants, limits, pidfd, process, wait};

const MILLISECOND: u64 = 1_000_000;

/// How long leftovers are hunted at the end. Only a process stuck in the kernel outlives this.
const SWEEP: u64 = 4_000 * MILLISECOND;

/// As often in a row only inherited children are found: a list read while others end may miss somebody.
const CLEAN_LOOKS: u32 = 2;
/// Pause between two looks at leftovers that were killed but have not died yet; a death ends it.
const SWEEP_PAUSE: u64 = 20 * MILLISECOND;

/// How much less likely than everything else the keeper is to be killed for memory: all depends on it.
const OOM_SHELTER: i32 = 900;

pub(super) struct Keeper {
    plan: Plan,
    programs: Programs,
    inheritance: Inheritance,
    oom_scores: Option<OomScores>,
    inbox: Inbox,
    children: Children,
    remains: Remains,
    store: Store,
    supervisor: Option<Incarnation>,
    revival: Revival,
    door: Door,
    /// How many supervisor processes have been started.
    incarnations: u32,
    /// Reaped without ever having been registered.
    orphans: u64,
    /// Children from before this process became the launcher: neither counted nor signalled.
    inherited: Inherited,
    /// A death may be waiting to be buried.
    deaths: bool,
    stop: Stop,
    ending: Ending,
    /// Why no supervisor process can be started, as it was said last.
    refusal: Option<i32>,
    /// The tree has ended with this exit code.
    finish: Option<u8>,
}

/// Before and after.
#[derive(Clone, Copy)]
struct OomScores {
    everyone: i32,
    keeper: i32,
}

impl Keeper {
    /// Sets everything up and starts the first supervisor process.
    pub(super) fn begin(mut plan: Plan) -> io::Result<Keeper> {
        let inherited = Inherited::find();
        process::adopt_orphans()?;
        let inheritance =
            Inheritance { umask: process::file_mode_mask(), open_files: limits::raise_open_files()? };
        let room = inheritance.open_files.hard;
        let longest = plan.longest_stop.map(|it| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX));
        let remains = Remains::new(std::mem::take(&mut plan.cgroups));
        let mut keeper = Keeper {
            plan,
            programs: Programs::default(),
            inheritance,
            oom_scores: take_shelter(),
            inbox: open_inbox()?,
            children: Children::with_room(room),
            remains,
            store: Store::with_room(room),
            supervisor: None,
            revival: Revival::default(),
            door: Door::default(),
            incarnations: 0,
            orphans: 0,
            inherited,
            deaths: true,
            stop: Stop::No,
            ending: Ending::new(longest),
            refusal: None,
            finish: None,
        };
        keeper.start()?;
        Ok(keeper)
    }

    /// The whole life of the keeper.
    pub(super) fn keep(mut self) -> Ended {
        loop {
            self.revive();
            self.tell();
            self.wait();
            self.obey();
            self.hear();
            self.bury();
            self.settle();
            if let Some(code) = self.verdict() {
                self.sweep();
                let left = survivors(&self.inherited);
                return Ended { code: if left.is_empty() { code } else { UNKILLABLE }, left };
            }
        }
    }

    fn verdict(&self) -> Option<u8> {
        if self.stop == Stop::Forced {
            Some(FORCED)
        } else {
            self.finish.filter(|_| self.supervisor.is_none())
        }
    }

    fn revive(&mut self) {
        let now = clock::monotonic_ns();
        if self.supervisor.is_some() || now < self.revival.not_before() {
            return;
        }
        match self.start() {
            Ok(()) => self.refusal = None,
            Err(error) => {
                self.revival.refused(now);
                self.tell_refusal(&error);
            }
        }
    }

    /// Says why nothing is supervised, once for each reason.
    fn tell_refusal(&mut self, error: &io::Error) {
        let errno = error.raw_os_error().unwrap_or(0);
        if self.refusal.replace(errno) != Some(errno) {
            let errno = Errno::from_raw(errno);
            notice::say(format_args!(
                "cannot start the supervisor process: {} ({errno:?}); the children run on, it is tried again and again",
                errno.desc()
            ));
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let number = self.incarnations + 1;
        let Plan { program, journal, .. } = &mut self.plan;
        let beginning = match (self.programs.begin(program, journal), self.revival.safe()) {
            (Beginning::Usual, Some(status)) => Beginning::Safe { status },
            (beginning, _) => beginning,
        };
        // A new program deserves a new try.
        let careful = self.revival.safe().is_some() && beginning != Beginning::Upgraded;
        self.with_everyones_oom_score(|keeper| {
            let Keeper { plan, inheritance, .. } = &*keeper;
            let extra = careful.then_some(&plan.safe);
            let started = Incarnation::start(number, plan, extra, beginning, inheritance);
            let is_short = |error: &io::Error| {
                error.raw_os_error().is_some_and(|errno| limits::is_shortage(Errno::from_raw(errno)))
            };
            // A shortage says nothing about the program.
            if started.as_ref().is_err_and(|error| !is_short(error)) {
                let Plan { program, journal, .. } = &mut keeper.plan;
                keeper.programs.ended(program, journal, NOT_STARTED);
            }
            keeper.supervisor = Some(started?);
            keeper.ending.supervisor_started(clock::monotonic_ns());
            keeper.incarnations = number;
            keeper.children.forget_told();
            keeper.store.forget_told();
            Ok(())
        })
    }

    /// A process inherits the score of the one that makes it.
    fn with_everyones_oom_score<T>(&mut self, act: impl FnOnce(&mut Keeper) -> T) -> T {
        let Some(scores) = self.oom_scores else { return act(self) };
        let _ = process::set_oom_score(scores.everyone);
        let done = act(self);
        let _ = process::set_oom_score(scores.keeper);
        done
    }

    fn tell(&mut self) {
        let supervisor = self.supervisor.as_ref().map(Incarnation::pid);
        self.remains.look(&mut self.children, supervisor, clock::monotonic_ns());
        if let Some(supervisor) = &mut self.supervisor {
            let now = clock::monotonic_ns();
            supervisor.tell(now, &mut self.children, &mut self.store, self.stop, self.orphans);
        }
    }

    fn wait(&mut self) {
        let deadline = match &self.supervisor {
            None => Some(self.revival.not_before()),
            Some(supervisor) => supervisor.deadline().into_iter().chain(self.door.due()).min(),
        };
        let now = clock::monotonic_ns();
        // Deaths that are still to be dealt with could not be, for lack of something that comes back.
        let deaths = self.deaths.then_some(now + REFUSED);
        let others = self.children.look_again(now).into_iter().chain(deaths).chain(self.ending.deadline());
        let deadline = deadline.into_iter().chain(others).min();
        let inbox = || PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN);
        let listening = self.supervisor.as_ref().and_then(Incarnation::listening);
        let socket = listening.map_or_else(inbox, |(socket, full)| {
            let room = if full { PollFlags::POLLOUT } else { PollFlags::empty() };
            PollFd::new(socket, PollFlags::POLLIN | room)
        });
        let watched = self.store.get(CONTROL).filter(|_| self.door == Door::Watched && listening.is_some());
        let door = watched.map_or_else(inbox, |door| PollFd::new(door, PollFlags::POLLIN));
        let mut polled = [inbox(), socket, door];
        if poll(&mut polled, timeout(deadline)).is_err_and(|errno| errno != Errno::EINTR) {
            // Nothing is known: everything is looked at, but not without pause.
            clock::pause(REFUSED);
        }
        let found =
            |at: usize, flag| polled.get(at).and_then(PollFd::revents).is_some_and(|it| it.contains(flag));
        let room = found(1, PollFlags::POLLOUT);
        let knock = watched.is_some() && found(2, PollFlags::POLLIN);
        if knock {
            self.door.knocked(clock::monotonic_ns());
        }
        if let Some(supervisor) = self.supervisor.as_mut().filter(|_| room) {
            supervisor.writable();
        }
    }

    /// Signals. Each further request to stop is a stronger one; QUIT leaves out the ordered one.
    fn obey(&mut self) {
        while let Ok(Some(signal)) = self.inbox.next() {
            self.stop = match (signal, self.stop) {
                (Signal::SIGCHLD, stop) => {
                    self.deaths = true;
                    stop
                }
                (Signal::SIGQUIT, Stop::No) | (_, Stop::Ordered) => Stop::AtOnce,
                (_, Stop::No) => Stop::Ordered,
                (_, Stop::AtOnce | Stop::Forced) => Stop::Forced,
            };
            let now = clock::monotonic_ns();
            match (signal, self.stop) {
                (Signal::SIGCHLD, _) | (_, Stop::No | Stop::Forced) => {}
                (_, Stop::Ordered) => self.ending.asked(now),
                (_, Stop::AtOnce) => {
                    self.ending.killed(now);
                    let _ = self.kill_all();
                }
            }
        }
    }

    /// Everything that was sent so far. `false`: some of it has to wait, since the machine is short of something.
    fn hear(&mut self) -> bool {
        let mut buffer = [0; wire::PACKET_MAX];
        let now = clock::monotonic_ns();
        while let Some(supervisor) = &mut self.supervisor {
            match supervisor.next(now, &mut buffer) {
                Next::Packet(packet) => {
                    let heeded = self.heed(packet, &buffer);
                    let Some(supervisor) = &mut self.supervisor else { break };
                    match heeded {
                        Ok(()) => drop(supervisor.took()),
                        Err(Short) => drop(supervisor.postpone(now)),
                    }
                }
                Next::Nothing => break,
                Next::Later => return false,
            }
        }
        true
    }

    /// Only the supervisor process gives orders; anyone else who holds the socket should be a child on its way to exec, and
    /// is believed only what such a child can say. A child that has run its program and still holds the socket is not.
    fn heed(&mut self, packet: Packet, buffer: &[u8]) -> Result<(), Short> {
        let (Some(sender), Some(supervisor)) = (packet.sender, &mut self.supervisor) else { return Ok(()) };
        // A dead one has nothing more to say, and its number may be another's.
        let by_supervisor = supervisor.is_alive(sender.pid);
        if by_supervisor {
            supervisor.heard(clock::monotonic_ns());
        }
        let heard = buffer.get(..packet.len).and_then(wire::heard);
        match heard {
            Some(Heard::Register(key, reach, born_ns)) if !by_supervisor => {
                if !may_register(&self.children, sender)? {
                    return Ok(());
                }
                let pidfd = unless_short(pidfd::open(sender.pid))?.filter(|_| !packet.truncated);
                let born_ns = born_ns.unwrap_or_else(clock::monotonic_ns);
                self.admit(key, reach, sender.pid, born_ns, pidfd, packet.fds);
            }
            Some(Heard::Failed(key, step, errno)) => {
                let unborn = self.children.is(sender.pid, key)
                    && unless_short(descendants::never_executed(sender.pid))? == Some(true);
                if unborn {
                    self.children.birth_failed(key, sender.pid, step, errno);
                }
            }
            Some(Heard::Ack(key)) if by_supervisor => self.children.acknowledge(key),
            Some(Heard::Store(name)) if by_supervisor => {
                if let Some(fd) = packet.fds.into_iter().next() {
                    self.store.put(name, fd);
                }
            }
            Some(Heard::Unstore(name)) if by_supervisor => self.store.remove(name),
            Some(Heard::Up) if by_supervisor => {
                if let Some(ready) = self.plan.ready.take() {
                    let _ = write(ready, b"\n");
                }
            }
            Some(Heard::Stopping(longest)) if by_supervisor => {
                self.ending.begun(clock::monotonic_ns(), longest);
            }
            Some(Heard::Finish(code)) if by_supervisor => {
                supervisor.farewell(clock::monotonic_ns());
                self.finish = Some(code);
            }
            Some(Heard::Alive) if by_supervisor && self.programs.took_over() => self.revival.forget(),
            Some(Heard::Program) if by_supervisor => {
                if let Some(program) = packet.fds.into_iter().next() {
                    supervisor.farewell(clock::monotonic_ns());
                    self.programs.propose(&mut self.plan.program, program);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A child that cannot be held is killed before its exec; if it has an entry, its exit is told like any other.
    fn admit(
        &mut self,
        key: Key,
        reach: Reach,
        pid: Pid,
        born_ns: u64,
        pidfd: Option<OwnedFd>,
        outputs: Fds,
    ) {
        let held = pidfd.is_some();
        let registered = self.children.register(key, reach, pid, born_ns, pidfd, outputs);
        if registered.is_err() || !held {
            // Our own child and not reaped: the number is its.
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
    }

    /// Reaps everything that has ended.
    fn bury(&mut self) {
        while self.deaths {
            let pid = match wait::ended() {
                Ok(Some(pid)) => pid,
                Ok(None) | Err(Errno::ECHILD) => {
                    self.deaths = false;
                    return;
                }
                Err(_) => return,
            };
            // Its registration may be among what cannot be read now.
            if !self.hear() {
                return;
            }
            let registered = self.children.is_alive(pid);
            let unborn = registered && descendants::never_executed(pid) == Ok(true);
            // It leads a session and its number still is its own, so this reaches no stranger.
            let (rest, left) = self.remains.end(&self.children, pid);
            let is_inherited = self.inherited.contain_family_of(pid);
            let Ok(Some(end)) = wait::reap(pid) else { return };
            match &mut self.supervisor {
                _ if registered => {
                    if unborn {
                        self.children.ended_unborn(pid, end.status);
                    }
                    self.children.ended(pid, end, rest, left);
                    self.ending.progressed(clock::monotonic_ns());
                }
                Some(supervisor) if supervisor.is_alive(pid) => {
                    let now = clock::monotonic_ns();
                    supervisor.process_ended(now);
                    self.ending.supervisor_ended(now);
                    let Plan { program, journal, .. } = &mut self.plan;
                    if !self.programs.ended(program, journal, end.status) {
                        self.revival.ended(now, end.status);
                    }
                }
                _ if is_inherited => {}
                _ => self.orphans += 1,
            }
        }
    }

    /// Ends what should have ended by itself, and lets go of a supervisor process that is wholly gone.
    fn settle(&mut self) {
        let now = clock::monotonic_ns();
        if self.ending.is_due(now) {
            self.stop = Stop::Forced;
        }
        if self.supervisor.as_ref().is_some_and(|supervisor| supervisor.is_due(now)) {
            // Whoever has registered by now is not stuck.
            self.hear();
        }
        let Some(supervisor) = &mut self.supervisor else { return };
        if supervisor.is_due(now) {
            supervisor.settle(now, &self.children);
        }
        if supervisor.hangs(now) {
            supervisor.kill();
            if !self.programs.on_trial() {
                self.revival.crashed(now, Signal::SIGKILL as i32);
            }
        }
        if supervisor.is_over() {
            self.supervisor = None;
        }
        self.look_at_door(now);
    }

    fn look_at_door(&mut self, now: u64) {
        if self.door.due().is_none_or(|at| now < at) {
            return;
        }
        self.door = Door::Watched;
        let (Some(door), Some(supervisor)) = (self.store.get(CONTROL), &mut self.supervisor) else { return };
        let waits = poll(&mut [PollFd::new(door, PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1);
        if waits {
            supervisor.ask(now);
            self.door.knocked(now);
        }
    }

    /// Kills every descendant but the supervisor process and who was inherited. `true`: there are only inherited ones.
    fn kill_all(&self) -> bool {
        self.remains.end_all();
        for child in self.children.living() {
            let _ = pidfd::signal(child, Signal::SIGKILL as i32);
        }
        let supervisor = self.supervisor.as_ref().map(Incarnation::pid);
        let mut only_inherited = !self.inherited.is_empty();
        let listed = descendants::each_child(|pid| {
            if self.inherited.contain_family_of(pid) {
                return;
            }
            only_inherited = false;
            if Some(pid) != supervisor {
                // Not reaped meanwhile: the number is its own.
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
            }
        });
        only_inherited && listed.is_ok()
    }

    /// Kills and reaps every descendant. As a subreaper this process is the parent of every one whose own parent is dead, so
    /// having no child means that no descendant exists; where children were inherited, that only they are found again and again.
    fn sweep(&mut self) {
        let end = clock::monotonic_ns() + SWEEP;
        let mut clean = 0;
        while clock::monotonic_ns() < end {
            loop {
                match wait::ended() {
                    Ok(Some(pid)) => drop(wait::reap(pid)),
                    Ok(None) => break,
                    Err(_) => return self.remains.tidy(),
                }
            }
            if let Some(supervisor) = &self.supervisor {
                supervisor.kill();
            }
            let only_inherited = self.kill_all();
            clean = if only_inherited { clean + 1 } else { 0 };
            if clean == CLEAN_LOOKS {
                return self.remains.tidy();
            }
            let inbox = PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN);
            let _ = poll(&mut [inbox], timeout(Some(clock::monotonic_ns() + SWEEP_PAUSE)));
            while let Ok(Some(_)) = self.inbox.next() {}
        }
    }
}

/// Who is left of this process' children after everything was killed. The end: it may allocate.
fn survivors(inherited: &Inherited) -> Vec<Survivor> {
    let mut left = Vec::new();
    let _ = descendants::each_child(|pid| {
        let glance = descendants::glance(pid).filter(|glance| !glance.is_zombie);
        if let Some(glance) = glance.filter(|_| !inherited.contain_family_of(pid)) {
            let name = glance.name.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            left.push(Survivor { pid, name, state: glance.state });
        }
    });
    left
}

/// Whether the sender can have been born just now: a child of this process that is registered under no key, has the
/// keeper's own user (it takes another one later) and leads a session.
fn may_register(children: &Children, sender: Peer) -> Result<bool, Short> {
    let is_child = wait::is_child(sender.pid).map_err(|_| Short)?;
    Ok(is_child
        && sender.uid == geteuid()
        && !children.is_alive(sender.pid)
        && getsid(Some(sender.pid)) == Ok(sender.pid))
}

/// The machine is short of something that is needed for this.
struct Short;

/// What there is, `None` if it cannot be had.
fn unless_short<T>(answer: nix::Result<T>) -> Result<Option<T>, Short> {
    match answer {
        Err(errno) if limits::is_shortage(errno) => Err(Short),
        answer => Ok(answer.ok()),
    }
}

/// Time until a deadline, rounded up so that it has come when the time is over.
fn timeout(deadline: Option<u64>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_sub(clock::monotonic_ns()).div_ceil(MILLISECOND);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

/// CHLD and requests to stop; a stray signal of another kind must not end the tree. What whoever started us had ignored
/// (`nohup`, `&` in a script) stays ignored; TERM never is.
fn open_inbox() -> io::Result<Inbox> {
    for harmless in [Signal::SIGPIPE, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGALRM] {
        signals::ignore(harmless);
    }
    signals::reset(Signal::SIGCHLD);
    let mut wanted = vec![Signal::SIGCHLD, Signal::SIGTERM];
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        if !signals::is_ignored(signal) {
            wanted.push(signal);
        }
    }
    Ok(Inbox::open(&wanted)?)
}

/// Best effort: lowering the score needs a privilege that is often missing.
fn take_shelter() -> Option<OomScores> {
    let everyone = process::oom_score().ok()?;
    let keeper = (everyone - OOM_SHELTER).max(-1000);
    process::set_oom_score(keeper).ok()?;
    Some(OomScores { everyone, keeper })
}

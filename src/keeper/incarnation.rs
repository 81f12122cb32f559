//! One supervisor process: its birth, what it has been told, and its end.
//!
//! It has two halves that end separately: the process, and the socket, of which children on their way to exec hold copies.
//! Only when both are gone can no unknown child register any more, and only then may the next one start.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::stat::FileStat;
use nix::unistd::Pid;

use super::children::{Children, Told};
use super::protocol::Beginning;
use super::store::Store;
use super::watch::{Look, Watch};
use super::{PROGRAM_FD, Plan, wire};
use crate::os::limits::OpenFiles;
use crate::os::socket::{self, MAX_FDS, Received};
use crate::os::spawn::{self, Birth, Born, Parent, Step, Terms};
use crate::os::{clock, descendants, pidfd};

const MILLISECOND: u64 = 1_000_000;

/// How long one half may outlive the other.
const HALF_GONE: u64 = 1_000 * MILLISECOND;
/// How long those who still hold the socket may take to die when they were killed for it.
const STRUCK: u64 = 200 * MILLISECOND;
/// How long the process may take to end after it said that the tree has ended.
const FAREWELL: u64 = 5_000 * MILLISECOND;
/// Pause after a refusal to send or to receive that no event ends (too many descriptors in flight, no room for more).
pub(super) const REFUSED: u64 = 10 * MILLISECOND;

/// What a supervisor process is born with, the same for each.
pub(super) struct Inheritance {
    pub(super) umask: u32,
    pub(super) open_files: OpenFiles,
}

/// How much of a wish to stop there is. The later includes the earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    #[default]
    No,
    Ordered,
    AtOnce,
    /// The keeper ends the tree itself.
    Forced,
}

/// Which halves are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Whole,
    /// The socket is at its end, the process is not reaped.
    Mute,
    /// The process is reaped, somebody still holds the socket.
    Dead,
    /// The same, after those who are not registered were killed.
    Struck,
    Over,
}

/// Whether the next packet can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Free,
    Full,
    RefusedUntil(u64),
}

#[derive(Debug)]
pub(super) struct Incarnation {
    number: u32,
    born: Born,
    socket: OwnedFd,
    /// Device and inode of its end of the socket, by which those who hold it are found.
    theirs: FileStat,
    phase: Phase,
    /// When the other half is ended by force.
    deadline: Option<u64>,
    beginning: Beginning,
    snapshot_told: bool,
    stop_told: Stop,
    queue: Queue,
    inbound: Inbound,
    watch: Watch,
}

/// Whether the next packet can be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inbound {
    Free,
    /// The packet at the front was handled and could not be removed.
    Handled,
    /// The packet at the front could not be taken; it stays there, and all others behind it.
    RefusedUntil(u64),
}

/// The next packet of a supervisor process.
pub(super) enum Next {
    Packet(socket::Packet),
    /// All that was sent has been read.
    Nothing,
    /// The machine is short of something: there may be packets, to be read later.
    Later,
}

impl Incarnation {
    /// Starts a supervisor process, perhaps with one argument more, in a session of its own so that Ctrl-C reaches only the keeper. The keeper's death does
    /// not kill it: it reads the end of its socket, ends what is left, and exits.
    pub(super) fn start(
        number: u32,
        plan: &Plan,
        extra: Option<&CString>,
        beginning: Beginning,
        inheritance: &Inheritance,
    ) -> io::Result<Incarnation> {
        let (ours, theirs) = socket::pair()?;
        socket::pass_credentials(ours.as_fd())?;
        let identity = descendants::identity(&theirs)?;
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let mut birth = Birth {
            program: CString::new(format!("/proc/self/fd/{PROGRAM_FD}"))?,
            argv: plan.argv.iter().chain(extra).cloned().collect(),
            env: plan.env.clone(),
            cwd: plan.cwd.clone(),
            umask: inheritance.umask,
            stdio: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
            pass: vec![theirs.as_fd(), plan.journal.as_fd(), plan.program.as_fd()],
            listen_pid: false,
            nofile: Some((inheritance.open_files.soft, inheritance.open_files.hard)),
            terms: Terms::default(),
            parent: Parent::Caller,
        };
        let mut born = spawn::spawn(&birth);
        if born.as_ref().is_err_and(|error| error.step == Step::Chdir && !error.is_shortage()) {
            // The folder is gone or closed to us: no reason to be without a supervisor process.
            birth.cwd = c"/".into();
            born = spawn::spawn(&birth);
        }
        let born = born.map_err(|error| io::Error::from(error.errno))?;
        Ok(Incarnation {
            number,
            born,
            socket: ours,
            theirs: identity,
            phase: Phase::Whole,
            deadline: None,
            beginning,
            snapshot_told: false,
            stop_told: Stop::No,
            queue: Queue::Free,
            inbound: Inbound::Free,
            watch: Watch::new(clock::monotonic_ns()),
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.born.pid
    }

    /// Whether it is a living process of this number.
    pub(super) fn is_alive(&self, pid: Pid) -> bool {
        self.born.pid == pid && matches!(self.phase, Phase::Whole | Phase::Mute)
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub(super) fn kill(&self) {
        // Fails only if it is dead already.
        let _ = pidfd::signal(self.born.pidfd.as_fd(), Signal::SIGKILL as i32);
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Whole | Phase::Dead | Phase::Struck)
    }

    /// The socket to listen on, unless it is at its end or not to be read now, and whether room in its queue is waited for.
    pub(super) fn listening(&self) -> Option<(BorrowedFd<'_>, bool)> {
        let reads = !matches!(self.inbound, Inbound::RefusedUntil(_));
        (self.is_open() && reads).then(|| (self.socket.as_fd(), self.queue == Queue::Full))
    }

    /// Looks at the next packet, with duplicates of its descriptors. It stays in the queue until [`Incarnation::took`]: what
    /// cannot be handled for lack of resources is not lost.
    pub(super) fn next(&mut self, now: u64, buffer: &mut [u8]) -> Next {
        if !self.is_open() {
            return Next::Nothing;
        }
        match self.inbound {
            Inbound::RefusedUntil(at) if now < at => return Next::Later,
            Inbound::RefusedUntil(_) => self.inbound = Inbound::Free,
            Inbound::Handled | Inbound::Free => {}
        }
        if self.inbound == Inbound::Handled && !self.took() {
            return self.postpone(now);
        }
        match socket::peek(self.socket.as_fd(), buffer) {
            Ok(Received::Packet(packet)) if packet.short => self.postpone(now),
            Ok(Received::Packet(packet)) => Next::Packet(packet),
            Ok(Received::Nothing) => Next::Nothing,
            Ok(Received::Closed) => {
                self.socket_ended(now);
                Next::Nothing
            }
            // The end of a socket is no error, so this passes.
            Err(_) => self.postpone(now),
        }
    }

    /// The packet that was looked at is handled: removes it. `false`: this is to be tried again.
    pub(super) fn took(&mut self) -> bool {
        let removed = socket::discard(self.socket.as_fd()).is_ok();
        self.inbound = if removed { Inbound::Free } else { Inbound::Handled };
        removed
    }

    /// Leaves the packet that was looked at for later. A supervisor process that cannot be heard is not taken for hung.
    pub(super) fn postpone(&mut self, now: u64) -> Next {
        if self.inbound != Inbound::Handled {
            self.inbound = Inbound::RefusedUntil(now + REFUSED);
        }
        self.watch.heard(now);
        Next::Later
    }

    /// Whether packets may wait that could not be read.
    fn is_postponed(&self) -> bool {
        self.is_open() && self.inbound != Inbound::Free
    }

    fn socket_ended(&mut self, now: u64) {
        match self.phase {
            Phase::Whole => {
                self.phase = Phase::Mute;
                self.deadline.get_or_insert(now + HALF_GONE);
            }
            Phase::Mute => {}
            Phase::Dead | Phase::Struck | Phase::Over => self.phase = Phase::Over,
        }
    }

    /// It was reaped.
    pub(super) fn process_ended(&mut self, now: u64) {
        match self.phase {
            Phase::Whole => {
                self.phase = Phase::Dead;
                self.deadline = Some(now + HALF_GONE);
            }
            Phase::Mute | Phase::Dead | Phase::Struck | Phase::Over => self.phase = Phase::Over,
        }
    }

    /// It said something.
    pub(super) fn heard(&mut self, now: u64) {
        self.watch.heard(now);
    }

    /// Asks whether it is alive. A full queue is as good as the question: it is not read.
    pub(super) fn ask(&mut self, now: u64) {
        let _ = socket::try_send(self.socket.as_fd(), wire::ping().as_slice(), &[]);
        self.watch.told(now);
    }

    /// Whether it hangs, as far as that can be told now. One that is on its way out has other deadlines.
    pub(super) fn hangs(&mut self, now: u64) -> bool {
        if self.phase != Phase::Whole || self.deadline.is_some() {
            return false;
        }
        match self.watch.look(now) {
            Look::Fine => false,
            Look::Ask => {
                self.ask(now);
                false
            }
            Look::Hung => {
                self.deadline = Some(now + HALF_GONE);
                true
            }
        }
    }

    /// It said that it is done, and now exits.
    pub(super) fn farewell(&mut self, now: u64) {
        if self.phase == Phase::Whole {
            self.deadline = Some(now + FAREWELL);
        }
    }

    /// When something is to be done even if nothing happens.
    pub(super) fn deadline(&self) -> Option<u64> {
        let retry = match self.queue {
            Queue::RefusedUntil(at) => Some(at),
            Queue::Free | Queue::Full => None,
        };
        let receive = match self.inbound {
            Inbound::RefusedUntil(at) => Some(at),
            Inbound::Free | Inbound::Handled => None,
        };
        let look = (self.phase == Phase::Whole && self.deadline.is_none()).then(|| self.watch.due());
        self.deadline.into_iter().chain(retry).chain(receive).chain(look).min()
    }

    /// Whether one half has outlived the other for too long.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Ends the half that did.
    pub(super) fn settle(&mut self, now: u64, children: &Children) {
        self.deadline = None;
        match self.phase {
            Phase::Whole | Phase::Mute => self.kill(),
            // What they sent is still to be read, or a living child would be forgotten.
            Phase::Dead | Phase::Struck if self.is_postponed() => self.deadline = Some(now + STRUCK),
            Phase::Dead => {
                // A child stuck between clone and registration. Registered ones have said all they had to say.
                let _ = descendants::each_child(|pid| {
                    if !children.is_alive(pid) && descendants::has_open(pid, &self.theirs) {
                        let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
                    }
                });
                self.phase = Phase::Struck;
                self.deadline = Some(now + STRUCK);
            }
            Phase::Struck | Phase::Over => self.phase = Phase::Over,
        }
    }

    /// The queue may have room again.
    pub(super) fn writable(&mut self) {
        self.queue = Queue::Free;
    }

    /// Tells whatever is not told yet, as far as the queue has room: the table, the store, the end of the snapshot; then,
    /// as they come, requests to stop and exits. What did not fit is still marked untold and follows later.
    pub(super) fn tell(
        &mut self,
        now: u64,
        children: &mut Children,
        store: &mut Store,
        stop: Stop,
        orphans: u64,
    ) {
        match self.queue {
            Queue::Full => return,
            Queue::RefusedUntil(at) if now < at => return,
            Queue::Free | Queue::RefusedUntil(_) => self.queue = Queue::Free,
        }
        if !matches!(self.phase, Phase::Whole) {
            return;
        }
        match self.tell_rest(now, children, store, stop, orphans) {
            Ok(()) => children.all_told(),
            Err(Errno::EAGAIN) => self.queue = Queue::Full,
            // It is dying; reading will find the end.
            Err(Errno::EPIPE | Errno::ECONNRESET) => {}
            Err(_) => self.queue = Queue::RefusedUntil(now + REFUSED),
        }
    }

    fn tell_rest(
        &mut self,
        now: u64,
        children: &mut Children,
        store: &mut Store,
        stop: Stop,
        orphans: u64,
    ) -> nix::Result<()> {
        let socket = self.socket.as_fd();
        let say = |bytes: wire::Bytes, fds: &[BorrowedFd]| socket::try_send(socket, bytes.as_slice(), fds);
        if !self.snapshot_told {
            for child in children.with_news().iter_mut().filter(|child| child.told == Told::Nothing) {
                if let Some(descriptors) = child.descriptors() {
                    let mut fds = [socket; MAX_FDS];
                    let mut count = 0;
                    for (place, fd) in fds.iter_mut().zip(descriptors) {
                        *place = fd;
                        count += 1;
                    }
                    say(
                        wire::child(child.key, child.pid, child.born_ns),
                        fds.get(..count).unwrap_or_default(),
                    )?;
                }
                child.told = Told::Birth;
            }
            for stored in store.iter_mut().filter(|stored| !stored.told) {
                say(wire::stored(stored.name()), &[stored.fd.as_fd()])?;
                stored.told = true;
            }
            say(wire::snapshot_end(self.number, orphans, self.beginning), &[])?;
            self.snapshot_told = true;
            self.watch.told(now);
        }
        if stop > self.stop_told {
            say(if stop == Stop::Ordered { wire::stop() } else { wire::stop_now() }, &[])?;
            self.stop_told = stop;
            self.watch.told(now);
        }
        for child in children.with_news().iter_mut().filter(|child| child.told == Told::Birth) {
            if let Some(exit) = child.complete_exit() {
                say(wire::exited(exit), &[])?;
                child.told = Told::Exit;
                self.watch.told(now);
            }
        }
        Ok(())
    }
}

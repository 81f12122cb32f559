//! `sd_notify(3)`: what children say on their notification sockets.
//!
//! One socket a child, emptied before each of its runs, so the socket says which run is meant. A sender that is alive must
//! belong to that run: by its control group, its session or its key, so that what an earlier run or another child has
//! left cannot speak for it. A sender that has ended is believed: helpers that say one word and end are common
//! (`systemd-notify(1)` run without waiting), and nothing is left to look at.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::{Pid, getsid};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::supervisor::{RuntimeError, Supervisor};
use crate::keeper::KEY_VARIABLE;
use crate::os;
use crate::os::socket::{Packet, Received};
use crate::rules::{Event, NodeId, Run};

/// Longest message understood; more is cut off by the kernel and ignored.
const LONGEST: usize = 4096;

/// A message that came in on a child's socket, before it is known to be from its present run.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) node: NodeId,
    /// The run whose socket it was sent to.
    run: Run,
    sender: Option<Sender>,
    /// What; `None`: it was too long or had descriptors that were not asked for.
    pub(super) text: Option<String>,
    /// Dropped when the message is understood and remembered; only then it is taken from the socket. A supervisor process
    /// killed in between leaves it for the next one.
    pub(super) handled: oneshot::Sender<()>,
}

impl Said {
    /// A packet as a message, and what tells that it has been handled.
    fn new(node: NodeId, run: Run, packet: Packet, buffer: &[u8]) -> (Said, oneshot::Receiver<()>) {
        let Packet { len, sender, process, truncated, .. } = packet;
        let text = (!truncated).then(|| String::from_utf8_lossy(&buffer[..len]).into_owned());
        let sender = sender.map(|sender| Sender { pid: sender.pid, process });
        let (handled, done) = oneshot::channel();
        (Said { node, run, sender, text, handled }, done)
    }
}

/// Who sent a message, by the kernel's word.
#[derive(Debug)]
struct Sender {
    pid: Pid,
    /// `None` before Linux 6.5: then the number may have been used again.
    process: Option<OwnedFd>,
}

impl Sender {
    /// Also while nobody has reaped it.
    fn has_ended(&self) -> bool {
        match &self.process {
            Some(process) => os::pidfd::wait(process.as_fd(), Duration::ZERO) == Ok(true),
            None => os::descendants::glance(self.pid).is_none_or(|glance| glance.is_zombie),
        }
    }
}

/// Removes what was sent to a notification socket before a run begins. Bounded: a sender that goes on for ever is one that
/// is alive, and is told by that.
pub(super) fn empty(socket: BorrowedFd) {
    const MOST: usize = 1024;
    let _ = (0..MOST).try_for_each(|_| os::socket::discard(socket));
}

impl Supervisor {
    /// Listens on a child's notification socket from now on, until told to stop, for this run.
    pub(super) fn hear_notifications(
        &mut self,
        node: NodeId,
        run: Run,
        socket: Rc<OwnedFd>,
    ) -> io::Result<AbortHandle> {
        // An older kernel: see `Sender`.
        let _ = os::socket::pass_process(socket.as_fd());
        let socket = os::watch::readable(socket.try_clone()?)?;
        let said = self.said.clone();
        let ear = tokio::task::spawn_local(async move {
            // An error means that nothing more can be heard; the child's timeout tells the rest.
            let _ = listen(node, run, socket, said).await;
        });
        Ok(ear.abort_handle())
    }

    /// Turns a message into a fact, if it has a meaning. What does not come from the present run, or is no message, is
    /// counted.
    pub(super) fn understand(&mut self, said: &Said) -> Option<Event> {
        let run = self.run_of(said);
        self.ignored_notifications += u64::from(run.is_none());
        let ready = said.text.iter().flat_map(|text| text.lines()).any(|line| line == "READY=1");
        run.filter(|_| ready).map(|run| Event::Ready(said.node, run))
    }

    /// The run that a node's notification socket is heard for at present. Without a process nothing is believed until the
    /// next run begins.
    pub(super) fn run_heard(&self, node: NodeId) -> Run {
        self.processes.get(&node).map_or(Run(0), |process| process.run)
    }

    /// What a run that has ended had said and nobody has read yet: it was said before the end.
    pub(super) fn hear_last_words(&mut self, node: NodeId, run: Run) -> Result<(), RuntimeError> {
        const MOST: usize = 64;
        let Some(socket) = self.held.heard(node).and_then(|stored| self.store.get(stored)).map(Rc::clone)
        else {
            return Ok(());
        };
        let mut buffer = [0; LONGEST];
        for _ in 0..MOST {
            let Ok(Received::Packet(packet)) = os::socket::receive(socket.as_fd(), &mut buffer) else {
                break;
            };
            let (said, _) = Said::new(node, run, packet, &buffer);
            if let Some(event) = self.understand(&said) {
                self.before_exit(node, run)?;
                self.handle(event)?;
            }
        }
        Ok(())
    }

    fn run_of(&self, said: &Said) -> Option<Run> {
        let process = self.processes.get(&said.node).filter(|process| process.run == said.run)?;
        let (sender, _) = said.sender.as_ref().zip(said.text.as_ref())?;
        let belongs = sender.pid == process.pid
            || getsid(Some(sender.pid)) == Ok(process.pid)
            || self.carries_marks(sender.pid, said.node, said.run)
            // Asked last: it may have ended while it was looked at.
            || sender.has_ended();
        belongs.then_some(process.run)
    }

    /// Whether a process is in the control group of a run, or was started with its key.
    fn carries_marks(&self, pid: Pid, node: NodeId, run: Run) -> bool {
        let mut found = false;
        self.context.cgroups.each_member((node.0, run.0), |member| found |= member == pid.as_raw());
        let key = format!("{KEY_VARIABLE}={}.{}.{}", self.link.keeper(), node.0, run.0);
        found || os::descendants::started_with(pid, key.as_bytes())
    }
}

async fn listen(
    node: NodeId,
    run: Run,
    socket: AsyncFd<OwnedFd>,
    said: mpsc::Sender<Said>,
) -> io::Result<()> {
    let mut buffer = [0; LONGEST];
    loop {
        let mut ready = socket.readable().await?;
        match os::socket::peek(socket.get_ref().as_fd(), &mut buffer) {
            Ok(Received::Nothing) => {
                ready.clear_ready();
                continue;
            }
            Ok(Received::Packet(packet)) => {
                let (message, done) = Said::new(node, run, packet, &buffer);
                if said.send(message).await.is_err() {
                    return Ok(());
                }
                // An error is the same news: the other end was dropped.
                let _ = done.await;
            }
            Ok(Received::Closed) | Err(_) => {}
        }
        // Taken from the socket whatever it was, with its descriptors, so that a bad one cannot block the next.
        let _ = os::socket::receive(socket.get_ref().as_fd(), &mut buffer);
        tokio::task::yield_now().await;
    }
}

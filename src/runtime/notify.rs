//! `sd_notify(3)`: what children say on their notification sockets.
//!
//! One socket a child, so the path says who is meant. The sender must be the child's main process or belong to its session:
//! a leftover of an earlier run cannot speak for the present one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::unistd::{Pid, getsid};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::supervisor::Supervisor;
use crate::os;
use crate::os::socket::{Packet, Received};
use crate::rules::{Event, NodeId, Run};

/// Longest message understood; more is cut off by the kernel and ignored.
const LONGEST: usize = 4096;

/// A message that came in on a child's socket, before it is known to be from its present run.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) node: NodeId,
    /// Who said it, by the kernel's word.
    pub(super) sender: Option<Pid>,
    /// What; `None`: it was too long or had descriptors that were not asked for.
    pub(super) text: Option<String>,
    /// Dropped when the message is understood and remembered; only then it is taken from the socket. A supervisor process
    /// killed in between leaves it for the next one.
    pub(super) handled: oneshot::Sender<()>,
}

impl Supervisor {
    /// Listens on a child's notification socket from now on, until told to stop: as long as its child may live.
    pub(super) fn hear_notifications(
        &mut self,
        node: NodeId,
        socket: Rc<OwnedFd>,
    ) -> io::Result<AbortHandle> {
        let socket = os::watch::readable(socket.try_clone()?)?;
        let said = self.said.clone();
        let ear = tokio::task::spawn_local(async move {
            // An error means that nothing more can be heard; the child's timeout tells the rest.
            let _ = listen(node, socket, said).await;
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

    fn run_of(&self, said: &Said) -> Option<Run> {
        let process = self.processes.get(&said.node)?;
        let (sender, _) = said.sender.zip(said.text.as_ref())?;
        let ours = sender == process.pid || getsid(Some(sender)) == Ok(process.pid);
        ours.then_some(process.run)
    }
}

async fn listen(node: NodeId, socket: AsyncFd<OwnedFd>, said: mpsc::Sender<Said>) -> io::Result<()> {
    let mut buffer = [0; LONGEST];
    loop {
        let mut ready = socket.readable().await?;
        match os::socket::peek(socket.get_ref().as_fd(), &mut buffer) {
            Ok(Received::Nothing) => {
                ready.clear_ready();
                continue;
            }
            Ok(Received::Packet(Packet { len, sender, truncated, .. })) => {
                let text = (!truncated).then(|| String::from_utf8_lossy(&buffer[..len]).into_owned());
                let sender = sender.map(|sender| sender.pid);
                let (handled, done) = oneshot::channel();
                if said.send(Said { node, sender, text, handled }).await.is_err() {
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

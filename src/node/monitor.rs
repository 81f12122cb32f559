//! Waiting for the end of somebody else.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::Lost;
use crate::os::{pidfd, watch};

/// A process that has closed its sockets by dying is a zombie well within this.
const LAST_STEPS: Duration = Duration::from_millis(100);

/// Somebody who was watched is gone (a `'DOWN'` message).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// The node that was watched, or whose mailbox was.
    pub node: String,
    /// How it went.
    pub reason: Reason,
}

/// How somebody went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It ended: its mailbox was dropped, its node said good-bye, or its process is gone.
    Exited,
    /// The connection ended; whether its process did is unknown. Over TCP this is also how a killed process looks.
    ConnectionLost,
    /// No connection could be made, or the network gave it up.
    Unreachable,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Exited => "exited",
            Reason::ConnectionLost => "connection lost",
            Reason::Unreachable => "unreachable",
        })
    }
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is down: {}", self.node, self.reason)
    }
}

/// Is ready once, when the one who is watched is gone: exactly one [`Down`], also if it was gone before.
///
/// `erlang:monitor/2`; dropping it is `erlang:demonitor/2`. In a `select!`, wait for `&mut monitor`.
#[derive(Debug)]
pub struct Monitor(oneshot::Receiver<Down>);

impl Future for Monitor {
    type Output = Down;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Down> {
        // The other half is given up only together with this node, and then nobody polls.
        match Pin::new(&mut self.0).poll(context) {
            Poll::Ready(Ok(down)) => Poll::Ready(down),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Who waits at one link.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    waiting: Vec<Watcher>,
    /// Set when the node behind the link is down.
    over: Option<Reason>,
}

#[derive(Debug)]
struct Watcher {
    /// `None`: for the whole node.
    mailbox: Option<u32>,
    tell: oneshot::Sender<Down>,
}

impl Watchers {
    pub(super) fn add(&mut self, node: &str, mailbox: Option<u32>) -> Monitor {
        if let Some(reason) = self.over {
            return already(node, reason);
        }
        let (tell, hear) = oneshot::channel();
        // Monitors that were dropped must not pile up.
        self.waiting.retain(|watcher| !watcher.tell.is_closed());
        self.waiting.push(Watcher { mailbox, tell });
        Monitor(hear)
    }

    /// One mailbox is gone.
    pub(super) fn gone(&mut self, node: &str, mailbox: u32) {
        for watcher in self.waiting.extract_if(.., |watcher| watcher.mailbox == Some(mailbox)) {
            watcher.tell(node, Reason::Exited);
        }
    }

    /// The node is down.
    pub(super) fn down(&mut self, node: &str, reason: Reason) {
        self.over = Some(reason);
        for watcher in self.waiting.drain(..) {
            watcher.tell(node, reason);
        }
    }
}

impl Watcher {
    fn tell(self, node: &str, reason: Reason) {
        // A monitor that was dropped wants to hear nothing.
        let _ = self.tell.send(Down { node: node.to_owned(), reason });
    }
}

/// A monitor of somebody who is gone already.
pub(super) fn already(node: &str, reason: Reason) -> Monitor {
    let (tell, hear) = oneshot::channel();
    let _ = tell.send(Down { node: node.to_owned(), reason });
    Monitor(hear)
}

/// What the end of a link to process `pid` of this machine (`None`: of another one) means.
pub(super) async fn reason(lost: Lost, pid: Option<u32>) -> Reason {
    match lost {
        Lost::Ended => return Reason::Exited,
        Lost::Io(
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable,
        ) => return Reason::Unreachable,
        // The process is there, or it would not have said that; or this node is what went.
        Lost::Protocol(_)
        | Lost::UnaskedReply
        | Lost::Flooded
        | Lost::Replaced
        | Lost::Certificate
        | Lost::NameTwice
        | Lost::NotReading
        | Lost::Stopped => return Reason::ConnectionLost,
        Lost::Closed | Lost::Io(_) => {}
    }
    match pid {
        Some(pid) if has_ended(pid).await => Reason::Exited,
        Some(_) | None => Reason::ConnectionLost,
    }
}

/// Whether a process that has just closed its sockets did so by ending.
async fn has_ended(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    let held = match pidfd::open(nix::unistd::Pid::from_raw(pid)) {
        Ok(held) => held,
        Err(errno) => return errno == nix::errno::Errno::ESRCH,
    };
    // A descriptor of a process is readable once the process is a zombie.
    let Ok(held) = watch::readable(held) else { return false };
    tokio::time::timeout(LAST_STEPS, held.readable()).await.is_ok_and(|ready| ready.is_ok())
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    use super::*;

    #[tokio::test]
    async fn each_monitor_hears_one_down_of_what_it_watches() {
        let mut watchers = Watchers::default();
        let mut node = watchers.add("engine", None);
        let first = watchers.add("engine", Some(1));
        let mut second = watchers.add("engine", Some(2));
        watchers.gone("engine", 1);
        assert_eq!(first.await, Down { node: "engine".to_owned(), reason: Reason::Exited });
        assert!(futures_pending(&mut node) && futures_pending(&mut second));
        watchers.down("engine", Reason::ConnectionLost);
        assert_eq!(node.await.reason, Reason::ConnectionLost);
        assert_eq!(second.await.reason, Reason::ConnectionLost);
        assert_eq!(watchers.add("engine", Some(3)).await.reason, Reason::ConnectionLost);
    }

    fn futures_pending(monitor: &mut Monitor) -> bool {
        Pin::new(monitor).poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
    }

    #[test]
    fn dropped_monitors_do_not_pile_up() {
        let mut watchers = Watchers::default();
        for _ in 0..100 {
            drop(watchers.add("engine", None));
        }
        assert_eq!(watchers.waiting.len(), 1);
    }

    #[tokio::test]
    async fn a_process_that_lives_has_not_ended_and_one_that_died_has() {
        assert_eq!(reason(Lost::Closed, Some(std::process::id())).await, Reason::ConnectionLost);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        let id = Id::Pid(nix::unistd::Pid::from_raw(pid.cast_signed()));
        waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        assert_eq!(reason(Lost::Closed, Some(pid)).await, Reason::Exited, "a zombie");
        child.wait().unwrap();
        assert_eq!(reason(Lost::Closed, Some(pid)).await, Reason::Exited, "reaped");
        assert_eq!(reason(Lost::Closed, None).await, Reason::ConnectionLost);
    }
}

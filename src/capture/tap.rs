//! One run's output pipe, and the task that empties it.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::log::{Log, Moved};
use crate::os::watch;

/// After a small batch the next one is left to gather this long: many small writes cost one wake-up instead of one each.
const GATHER: Duration = Duration::from_millis(2);
/// A batch at least this large is followed up at once.
const BATCH: usize = 4096;
/// How long a full disk is given before the next try.
const STALL: Duration = Duration::from_millis(250);
/// How long a pipe is read after its child has ended, for those who inherited it.
const LINGER: Duration = Duration::from_secs(5);

/// A pipe being emptied into a log.
#[derive(Debug)]
pub struct Tap {
    pipe: AsyncFd<OwnedFd>,
    log: Rc<Log>,
    ended: Notify,
    stalled: Cell<bool>,
}

impl Tap {
    /// Empties `pipe` (non-blocking) into `log` from now on, until its end. Must be called inside a `LocalSet`.
    ///
    /// # Errors
    /// The event loop cannot watch one more descriptor.
    pub fn open(pipe: OwnedFd, log: Rc<Log>) -> io::Result<Rc<Tap>> {
        let tap = Rc::new(Tap {
            pipe: watch::readable(pipe)?,
            log,
            ended: Notify::new(),
            stalled: Cell::new(false),
        });
        tokio::task::spawn_local(Rc::clone(&tap).run());
        Ok(tap)
    }

    /// The read end.
    pub fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The child has ended: saves what it wrote, and gives those who inherited the pipe a little time more.
    pub fn finish(&self) {
        // A failure here is the task's to deal with.
        let _ = self.empty();
        self.ended.notify_one();
    }

    /// Whether the log cannot take the output at the moment (disk full); the child waits in its `write(2)` then.
    #[must_use]
    pub fn stalled(&self) -> bool {
        self.stalled.get()
    }

    fn empty(&self) -> io::Result<Moved> {
        loop {
            match self.log.take(self.pipe.as_fd())? {
                Moved::More => {}
                moved => return Ok(moved),
            }
        }
    }

    async fn run(self: Rc<Tap>) {
        tokio::select! {
            () = self.follow() => {}
            () = self.linger() => {}
        }
    }

    async fn linger(&self) {
        self.ended.notified().await;
        tokio::time::sleep(LINGER).await;
    }

    async fn follow(&self) {
        loop {
            let Ok(mut ready) = self.pipe.readable().await else { return };
            match self.log.take(self.pipe.as_fd()) {
                Ok(Moved::End) => return,
                Ok(Moved::More) => tokio::task::yield_now().await,
                Ok(Moved::Empty(moved)) => {
                    ready.clear_ready();
                    self.stalled.set(false);
                    if moved < BATCH {
                        tokio::time::sleep(GATHER).await;
                    }
                }
                Err(error) => {
                    if !self.stalled.replace(true) {
                        tracing::warn!(%error, "output of a child waits: its log cannot be written");
                    }
                    tokio::time::sleep(STALL).await;
                }
            }
        }
    }
}

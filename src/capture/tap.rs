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
/// How long a log that cannot be written is given before the next try.
const STALL: Duration = Duration::from_millis(250);
/// How long a pipe is read after its child has ended, for those who inherited it.
const LINGER: Duration = Duration::from_secs(5);

/// A pipe being emptied into a log.
#[derive(Debug)]
pub struct Tap {
    pipe: AsyncFd<OwnedFd>,
    log: Rc<Log>,
    ended: Notify,
    over: Cell<bool>,
}

impl Tap {
    /// Empties `pipe` (non-blocking) into `log` from now on, until its end. Must be called where local
    /// tasks can be spawned.
    ///
    /// # Errors
    /// The event loop cannot watch one more descriptor.
    pub fn open(pipe: OwnedFd, log: Rc<Log>) -> io::Result<Rc<Tap>> {
        log.begin_run();
        let tap =
            Rc::new(Tap { pipe: watch::readable(pipe)?, log, ended: Notify::new(), over: Cell::new(false) });
        tokio::task::spawn_local(Rc::clone(&tap).run());
        Ok(tap)
    }

    /// The read end.
    pub fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Saves what is in the pipe now.
    pub fn save(&self) {
        // One turn is more than a pipe holds. A failure here is the task's to deal with.
        if !self.over.get() && matches!(self.log.take(self.pipe()), Ok(Moved::End)) {
            self.over.set(true);
        }
    }

    /// The child has ended: saves what it wrote, and gives those who inherited the pipe a little time more. A log that
    /// cannot be written is waited for.
    pub fn finish(&self) {
        self.save();
        self.ended.notify_one();
    }

    /// What is still in the pipe is given up.
    pub fn abandon(&self) {
        self.over.set(true);
        self.ended.notify_one();
    }

    /// Nothing more comes of this pipe: it is at its end, or nobody waits for those who still hold it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.get()
    }

    async fn run(self: Rc<Tap>) {
        tokio::select! {
            () = self.follow() => {}
            () = self.linger() => {}
        }
        self.save();
        self.over.set(true);
        self.log.ring();
    }

    async fn linger(&self) {
        self.ended.notified().await;
        if !self.over.get() {
            tokio::time::sleep(LINGER).await;
        }
        while !self.over.get() && self.log.stalled().is_some() {
            tokio::time::sleep(STALL).await;
        }
    }

    async fn follow(&self) {
        loop {
            let Ok(mut ready) = self.pipe.readable().await else { return };
            match self.log.take(self.pipe.as_fd()) {
                Ok(Moved::End) => return,
                Ok(Moved::More) => tokio::task::yield_now().await,
                Ok(Moved::Empty(moved)) => {
                    ready.clear_ready();
                    if moved < BATCH {
                        tokio::time::sleep(GATHER).await;
                    }
                }
                Err(_) => tokio::time::sleep(STALL).await,
            }
        }
    }
}

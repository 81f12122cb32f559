//! Names for writes, so that one whose answer is lost can be asked for again and happens once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use tokio::sync::Notify;

use crate::reddit::model::WINDOW;
use crate::reddit::protocol::{Asked, OpId};

/// From the oldest open operation to the newest at most this many: the engine remembers more than that.
const SPAN: u32 = WINDOW as u32 - 1;

/// The stream of operations of one client process.
#[derive(Debug)]
pub(super) struct Names {
    stream: Cell<u64>,
    /// Operations that the engine had carried out when the stream was begun; `None`: it was not asked yet.
    since: Cell<Option<u64>>,
    next: Cell<u32>,
    open: RefCell<BTreeSet<u32>>,
    closed: Notify,
}

impl Names {
    pub(super) fn new(stream: u64) -> Names {
        Names {
            stream: Cell::new(stream),
            since: Cell::new(None),
            next: Cell::new(1),
            open: RefCell::default(),
            closed: Notify::new(),
        }
    }

    /// The engine has carried out so many operations. One that lost some may count fewer than at the last time.
    pub(super) fn meet(&self, operations: u64) {
        self.since.set(Some(self.since.get().map_or(operations, |since| since.min(operations))));
    }

    /// The engine has forgotten the stream of `op`: operations to come belong to another one. What is open stays what it is.
    pub(super) fn begin(&self, op: OpId, stream: u64, operations: u64) {
        // Of many answers the first one does it.
        if op.stream == self.stream.get() {
            self.stream.set(stream);
            self.since.set(Some(operations));
        }
    }

    /// The name of the next operation. Waits while the oldest open one is too far behind.
    pub(super) async fn open(&self) -> Asked {
        loop {
            let number = self.next.get();
            let oldest = self.open.borrow().first().copied().unwrap_or(number);
            if number - oldest < SPAN {
                self.next.set(number + 1);
                self.open.borrow_mut().insert(number);
                let op = OpId { stream: self.stream.get(), number };
                return Asked { op, since: self.since.get().unwrap_or(0) };
            }
            self.closed.notified().await;
        }
    }

    /// The operation was answered, or nobody will ask for it again.
    pub(super) fn close(&self, op: OpId) {
        self.open.borrow_mut().remove(&op.number);
        self.closed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_name_waits_for_the_oldest_open_one() {
        let names = Names::new(1);
        let first = names.open().await;
        for _ in 1..SPAN {
            let asked = names.open().await;
            names.close(asked.op);
        }
        let waiting = names.open();
        tokio::pin!(waiting);
        assert!(poll_once(waiting.as_mut()).is_none());
        names.close(first.op);
        assert_eq!(waiting.await.op.number, SPAN + 1);
    }

    #[tokio::test]
    async fn a_forgotten_stream_is_followed_by_another_and_what_is_open_keeps_its_name() {
        let names = Names::new(1);
        names.meet(10);
        let old = names.open().await;
        names.meet(20);
        assert_eq!(names.open().await.since, 10, "when it was begun");
        names.begin(old.op, 2, 30);
        names.begin(old.op, 3, 40);
        let new = names.open().await;
        assert_eq!((old.op.stream, new.op.stream, new.since), (1, 2, 30));
        names.meet(5);
        assert_eq!(names.open().await.since, 5, "an engine that lost what it had carried out counts again");
    }

    fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}

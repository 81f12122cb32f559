//! Names for writes, so that one whose answer is lost can be asked for again and happens once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use tokio::sync::Notify;

use crate::reddit::model::WINDOW;
use crate::reddit::protocol::OpId;

/// From the oldest open operation to the newest at most this many: the engine remembers more than that.
const SPAN: u32 = WINDOW as u32 - 1;

/// The stream of operations of one client process.
#[derive(Debug)]
pub(super) struct Names {
    stream: u64,
    next: Cell<u32>,
    open: RefCell<BTreeSet<u32>>,
    closed: Notify,
}

impl Names {
    pub(super) fn new(stream: u64) -> Names {
        Names { stream, next: Cell::new(1), open: RefCell::default(), closed: Notify::new() }
    }

    /// The name of the next operation. Waits while the oldest open one is too far behind.
    pub(super) async fn open(&self) -> OpId {
        loop {
            let number = self.next.get();
            let oldest = self.open.borrow().first().copied().unwrap_or(number);
            if number - oldest < SPAN {
                self.next.set(number + 1);
                self.open.borrow_mut().insert(number);
                return OpId { stream: self.stream, number };
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
            let op = names.open().await;
            names.close(op);
        }
        let waiting = names.open();
        tokio::pin!(waiting);
        assert!(poll_once(waiting.as_mut()).is_none());
        names.close(first);
        assert_eq!(waiting.await.number, SPAN + 1);
    }

    fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }
}

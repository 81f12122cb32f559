//! Users think between their actions.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Crowd;

/// Who thinks, and until when.
#[derive(Debug)]
pub(super) struct Thoughts {
    mean: Duration,
    until: RefCell<BinaryHeap<Reverse<(Instant, usize)>>>,
    /// Somebody began to.
    begun: Notify,
}

impl Thoughts {
    /// Times with this mean.
    pub(super) fn new(mean: Duration) -> Thoughts {
        Thoughts { mean, until: RefCell::default(), begun: Notify::new() }
    }

    /// Nobody thinks any more.
    pub(super) fn clear(&self) {
        self.until.borrow_mut().clear();
    }

    /// Takes the next one who has thought long enough.
    fn take(&self, now: Instant) -> Option<usize> {
        let mut until = self.until.borrow_mut();
        match until.peek() {
            Some(Reverse((at, _))) if *at <= now => until.pop().map(|Reverse((_, user))| user),
            Some(_) | None => None,
        }
    }
}

impl Crowd {
    /// Who has acted thinks before the next action. Who is owed an answer does not: asking again is no action of its own.
    pub(super) fn think(&self, index: usize) {
        let Some(thoughts) = &self.thoughts else { return };
        let user = &mut self.users.borrow_mut()[index];
        if user.open.is_some() || user.thinking {
            return;
        }
        user.thinking = true;
        let means = self.plan.thought(index as u32, user.actions.wrapping_sub(1));
        let until = Instant::now() + thoughts.mean.mul_f64(means);
        thoughts.until.borrow_mut().push(Reverse((until, index)));
        thoughts.begun.notify_one();
    }

    /// Lets those act who have thought long enough, until it is dropped.
    pub(super) async fn end_thoughts(&self) {
        let Some(thoughts) = &self.thoughts else { return };
        loop {
            while let Some(index) = thoughts.take(Instant::now()) {
                let user = &mut self.users.borrow_mut()[index];
                user.thinking = false;
                if user.is_free() {
                    self.freed.notify_one();
                }
            }
            let next = thoughts.until.borrow().peek().map(|Reverse((at, _))| *at);
            match next {
                Some(next) => tokio::select! {
                    () = tokio::time::sleep_until(next) => {}
                    () = thoughts.begun.notified() => {}
                },
                None => thoughts.begun.notified().await,
            }
        }
    }
}

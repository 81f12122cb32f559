//! The calls of one connection that wait for their reply: pure bookkeeping, no I/O.
//!
//! A slot's index is the request id on the wire. A call that was given up (timed out, or its future dropped) keeps its
//! slot until the late reply has come and been dropped: the peer still has it in flight, and the id must not be given
//! to another call before. So a reply can never reach the wrong caller, and a peer that answers nothing runs out of
//! slots instead of out of memory.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::sync::Notify;

use super::error::{Fault, Lost};

#[derive(Debug)]
enum Slot<R> {
    Free,
    Waiting {
        deadline: Instant,
        waker: Option<Waker>,
    },
    /// Over, and its caller has not looked yet. `late` says that the peer still owes the reply.
    Over {
        result: Result<R, Unanswered>,
        late: Late,
    },
    /// Nobody waits any more; the reply is still to come.
    Abandoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    ReplyOwed,
    NothingOwed,
}

/// Why a call is over without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    TimedOut,
    Lost(Lost),
    Refused(Fault),
}

#[derive(Debug)]
pub(super) struct Calls<R> {
    slots: Vec<Slot<R>>,
    free: Vec<u32>,
    limit: usize,
    room: Rc<Notify>,
}

/// A reply that no call can have asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unasked;

impl<R> Calls<R> {
    /// At most `limit` in flight.
    pub(super) fn new(limit: u16) -> Calls<R> {
        Calls { slots: Vec::new(), free: Vec::new(), limit: usize::from(limit), room: Rc::default() }
    }

    /// Notified whenever a slot becomes free, or none ever will.
    pub(super) fn room(&self) -> Rc<Notify> {
        Rc::clone(&self.room)
    }

    /// Takes a slot, or `None` when as many as allowed are in flight.
    pub(super) fn begin(&mut self, deadline: Instant) -> Option<u32> {
        let waiting = Slot::Waiting { deadline, waker: None };
        if let Some(id) = self.free.pop() {
            self.slots[id as usize] = waiting;
            return Some(id);
        }
        if self.slots.len() == self.limit {
            return None;
        }
        self.slots.push(waiting);
        Some(self.slots.len() as u32 - 1)
    }

    /// Whether the peer owes a reply.
    pub(super) fn any(&self) -> bool {
        self.free.len() < self.slots.len()
    }

    /// The reply to `id` came, or the word that none will.
    pub(super) fn answer(&mut self, id: u32, reply: Result<R, Fault>) -> Result<(), Unasked> {
        let slot = self.slots.get_mut(id as usize).ok_or(Unasked)?;
        match std::mem::replace(slot, Slot::Free) {
            Slot::Waiting { waker, .. } => {
                *slot = Slot::Over { result: reply.map_err(Unanswered::Refused), late: Late::NothingOwed };
                wake(waker);
            }
            Slot::Over { result, late: Late::ReplyOwed } => {
                *slot = Slot::Over { result, late: Late::NothingOwed };
            }
            Slot::Abandoned => self.release(id),
            Slot::Free => return Err(Unasked),
            over @ Slot::Over { late: Late::NothingOwed, .. } => {
                *slot = over;
                return Err(Unasked);
            }
        }
        Ok(())
    }

    /// What became of call `id`; once it is `Ready` the call is over and must not be asked for again.
    pub(super) fn poll(&mut self, id: u32, context: &Context<'_>) -> Poll<Result<R, Unanswered>> {
        let slot = &mut self.slots[id as usize];
        match std::mem::replace(slot, Slot::Abandoned) {
            Slot::Waiting { deadline, .. } => {
                *slot = Slot::Waiting { deadline, waker: Some(context.waker().clone()) };
                Poll::Pending
            }
            Slot::Over { result, late } => {
                if late == Late::NothingOwed {
                    self.release(id);
                }
                Poll::Ready(result)
            }
            Slot::Free | Slot::Abandoned => unreachable!("a call is polled only until it is over"),
        }
    }

    /// The caller went away before the call was over.
    pub(super) fn abandon(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        match slot {
            Slot::Waiting { .. } | Slot::Over { late: Late::ReplyOwed, .. } => *slot = Slot::Abandoned,
            Slot::Over { late: Late::NothingOwed, .. } => self.release(id),
            Slot::Free | Slot::Abandoned => {}
        }
    }

    /// Ends the calls whose deadline has come and says when the next one comes.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        for slot in &mut self.slots {
            let Slot::Waiting { deadline, waker } = slot else { continue };
            if *deadline <= now {
                wake(waker.take());
                *slot = Slot::Over { result: Err(Unanswered::TimedOut), late: Late::ReplyOwed };
            } else {
                next = Some(next.map_or(*deadline, |earliest: Instant| earliest.min(*deadline)));
            }
        }
        next
    }

    /// Ends every call: no reply will come any more.
    pub(super) fn fail_all(&mut self, lost: Lost) {
        for slot in &mut self.slots {
            if let Slot::Waiting { waker, .. } = slot {
                wake(waker.take());
                *slot = Slot::Over { result: Err(Unanswered::Lost(lost)), late: Late::NothingOwed };
            }
        }
        self.room.notify_waiters();
    }

    /// Gives a slot back: its call is over, or was never sent.
    pub(super) fn release(&mut self, id: u32) {
        self.slots[id as usize] = Slot::Free;
        self.free.push(id);
        self.room.notify_one();
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn look(calls: &mut Calls<u8>, id: u32) -> Poll<Result<u8, Unanswered>> {
        calls.poll(id, &Context::from_waker(Waker::noop()))
    }

    #[test]
    fn replies_reach_their_callers_in_any_order() {
        let later = Instant::now() + Duration::from_secs(1);
        let mut calls = Calls::new(8);
        let (a, b) = (calls.begin(later).unwrap(), calls.begin(later).unwrap());
        assert!(look(&mut calls, a).is_pending());
        calls.answer(b, Ok(2)).unwrap();
        calls.answer(a, Ok(1)).unwrap();
        assert_eq!(look(&mut calls, a), Poll::Ready(Ok(1)));
        assert_eq!(look(&mut calls, b), Poll::Ready(Ok(2)));
    }

    #[test]
    fn a_timed_out_call_keeps_its_id_until_the_late_reply_is_dropped() {
        let now = Instant::now();
        let mut calls = Calls::new(1);
        let id = calls.begin(now).unwrap();
        assert_eq!(calls.expire(now), None);
        assert_eq!(look(&mut calls, id), Poll::Ready(Err(Unanswered::TimedOut)));
        assert_eq!(calls.begin(now), None, "the peer still has it in flight");
        calls.answer(id, Ok(9)).unwrap();
        let next = calls.begin(now + Duration::from_secs(1)).unwrap();
        assert!(look(&mut calls, next).is_pending(), "the late reply must not answer the next call");
    }

    #[test]
    fn a_late_reply_before_the_caller_looked_changes_nothing_and_frees_the_id() {
        let now = Instant::now();
        let mut calls = Calls::new(1);
        let id = calls.begin(now).unwrap();
        calls.expire(now);
        calls.answer(id, Ok(9)).unwrap();
        assert_eq!(look(&mut calls, id), Poll::Ready(Err(Unanswered::TimedOut)));
        assert_eq!(calls.begin(now), Some(id));
    }

    #[test]
    fn a_dropped_call_gives_its_id_back_only_after_the_reply() {
        let now = Instant::now();
        let mut calls = Calls::new(1);
        let id = calls.begin(now).unwrap();
        calls.abandon(id);
        assert_eq!(calls.begin(now), None);
        calls.answer(id, Ok(1)).unwrap();
        assert_eq!(calls.begin(now), Some(id));
    }

    #[test]
    fn replies_nobody_asked_for_are_told() {
        let mut calls = Calls::new(4);
        assert_eq!(calls.answer(3, Ok(1)), Err(Unasked));
        let id = calls.begin(Instant::now()).unwrap();
        calls.answer(id, Ok(1)).unwrap();
        assert_eq!(calls.answer(id, Ok(1)), Err(Unasked));
        assert_eq!(look(&mut calls, id), Poll::Ready(Ok(1)));
        assert_eq!(calls.answer(id, Ok(1)), Err(Unasked));
    }

    #[test]
    fn the_nearest_deadline_is_found() {
        let now = Instant::now();
        let mut calls: Calls<u8> = Calls::new(4);
        for seconds in [3, 1, 2] {
            calls.begin(now + Duration::from_secs(seconds)).unwrap();
        }
        assert_eq!(calls.expire(now), Some(now + Duration::from_secs(1)));
        assert_eq!(calls.expire(now + Duration::from_secs(1)), Some(now + Duration::from_secs(2)));
    }
}

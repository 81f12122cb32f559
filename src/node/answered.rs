//! Requests that may arrive more than once: each is carried out once and answered every time. Pure bookkeeping, no I/O.
//!
//! An origin (one life of one node) numbers its idempotent requests. What was answered is kept for a while, so that the
//! same request over a new connection gets the same reply. What is kept is bounded in number and in bytes; an origin that
//! asks again for what was dropped long ago has it carried out again, as after the receiver's own restart.

use std::collections::{BTreeMap, VecDeque};

use super::hello::Identity;

/// Replies kept of one origin.
const KEPT: usize = 1024;

/// Bytes of replies kept of one origin. The newest is kept whatever its size.
const KEPT_BYTES: usize = 1 << 20;

/// Origins that are remembered.
const ORIGINS: usize = 2048;

/// One request of one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) origin: u32,
    pub(super) number: u64,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun<'a> {
    /// Carry it out.
    New,
    /// It is being carried out; whoever asked again gets the reply too.
    UnderWay,
    /// It was carried out, and this was the reply.
    Done(&'a [u8]),
}

/// `W`: who waits for a reply.
#[derive(Debug)]
pub(super) struct Answered<W> {
    /// The least recently met first.
    origins: Vec<Origin>,
    under_way: BTreeMap<Key, Vec<W>>,
    done: BTreeMap<Key, Vec<u8>>,
    next: u32,
}

#[derive(Debug)]
struct Origin {
    id: u32,
    node: String,
    incarnation: u64,
    /// Numbers of its kept replies, the oldest first.
    order: VecDeque<u64>,
    bytes: usize,
}

impl<W> Default for Answered<W> {
    fn default() -> Answered<W> {
        Answered { origins: Vec::new(), under_way: BTreeMap::new(), done: BTreeMap::new(), next: 0 }
    }
}

impl<W> Answered<W> {
    /// The short name of an origin. An earlier life of the same node asks no more and is forgotten.
    pub(super) fn origin(&mut self, peer: &Identity) -> u32 {
        if let Some(at) = self.origins.iter().position(|origin| origin.node == peer.node) {
            let known = self.origins.remove(at);
            if known.incarnation == peer.incarnation {
                let id = known.id;
                self.origins.push(known);
                return id;
            }
            self.forget(&known);
        }
        if self.origins.len() == ORIGINS {
            let oldest = self.origins.remove(0);
            self.forget(&oldest);
        }
        self.next += 1;
        self.origins.push(Origin {
            id: self.next,
            node: peer.node.clone(),
            incarnation: peer.incarnation,
            order: VecDeque::new(),
            bytes: 0,
        });
        self.next
    }

    fn forget(&mut self, origin: &Origin) {
        for &number in &origin.order {
            self.done.remove(&Key { origin: origin.id, number });
        }
    }

    /// A request came from `waiter`.
    pub(super) fn begin(&mut self, key: Key, waiter: W) -> Begun<'_> {
        if let Some(waiting) = self.under_way.get_mut(&key) {
            waiting.push(waiter);
            return Begun::UnderWay;
        }
        if let Some(reply) = self.done.get(&key) {
            return Begun::Done(reply);
        }
        self.under_way.insert(key, vec![waiter]);
        Begun::New
    }

    /// A request was carried out. Tells who waits for `reply`.
    pub(super) fn finish(&mut self, key: Key, reply: &[u8]) -> Vec<W> {
        let waiting = self.under_way.remove(&key).unwrap_or_default();
        let Some(origin) = self.origins.iter_mut().rev().find(|origin| origin.id == key.origin) else {
            return waiting;
        };
        origin.order.push_back(key.number);
        origin.bytes += reply.len();
        self.done.insert(key, reply.to_vec());
        while origin.order.len() > KEPT || (origin.bytes > KEPT_BYTES && origin.order.len() > 1) {
            let Some(number) = origin.order.pop_front() else { break };
            let dropped = self.done.remove(&Key { origin: key.origin, number });
            origin.bytes -= dropped.map_or(0, |reply| reply.len());
        }
        waiting
    }

    /// A request was given up; the next one of its number is carried out. Tells who waits.
    pub(super) fn give_up(&mut self, key: Key) -> Vec<W> {
        self.under_way.remove(&key).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, incarnation: u64) -> Identity {
        Identity { node: name.to_owned(), pid: 1, incarnation }
    }

    #[test]
    fn a_request_is_carried_out_once_and_answered_every_time() {
        let mut answered = Answered::default();
        let key = Key { origin: answered.origin(&node("client", 1)), number: 9 };
        assert_eq!(answered.begin(key, 'a'), Begun::New);
        assert_eq!(answered.begin(key, 'b'), Begun::UnderWay);
        assert_eq!(answered.finish(key, b"reply"), ['a', 'b']);
        assert_eq!(answered.begin(key, 'c'), Begun::Done(b"reply"));
        assert_eq!(answered.origin(&node("client", 1)), key.origin, "the same life over a new connection");
    }

    #[test]
    fn what_was_given_up_is_carried_out_by_the_next_one() {
        let mut answered = Answered::default();
        let key = Key { origin: answered.origin(&node("client", 1)), number: 1 };
        answered.begin(key, 'a');
        assert_eq!(answered.give_up(key), ['a']);
        assert_eq!(answered.begin(key, 'b'), Begun::New);
    }

    #[test]
    fn another_life_is_another_origin_and_ends_the_memory_of_the_last() {
        let mut answered = Answered::default();
        let first = Key { origin: answered.origin(&node("client", 1)), number: 1 };
        answered.begin(first, ());
        answered.finish(first, b"x");
        let second = Key { origin: answered.origin(&node("client", 2)), number: 1 };
        assert_eq!(answered.begin(second, ()), Begun::New);
        assert!(answered.done.is_empty());
    }

    #[test]
    fn memory_is_bounded_in_replies_bytes_and_origins() {
        let mut answered = Answered::default();
        let origin = answered.origin(&node("client", 1));
        for number in 0..3 * KEPT as u64 {
            answered.begin(Key { origin, number }, ());
            answered.finish(Key { origin, number }, b"small");
        }
        assert_eq!(answered.done.len(), KEPT);
        for number in 10_000..10_020 {
            answered.begin(Key { origin, number }, ());
            answered.finish(Key { origin, number }, &vec![0; KEPT_BYTES / 4]);
        }
        assert_eq!(answered.done.len(), 4);
        for number in 0..2 * ORIGINS {
            answered.origin(&node(&format!("n{number}"), 1));
        }
        assert_eq!((answered.origins.len(), answered.done.len()), (ORIGINS, 0));
    }
}

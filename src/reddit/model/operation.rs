//! Operations that are asked for again: each is carried out once, and answered alike every time.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::error::{Error, Field, Flaw};
use super::id::UserId;
use super::record::Effect;

/// Results that are remembered of one stream of operations. A client that never has more operations open than this
/// (from the oldest unanswered to the newest) can always ask again.
pub const WINDOW: usize = 1024;

/// Streams that are remembered; beyond it the one that was silent longest is forgotten, and who asks for an operation of it
/// again is told that it is too old.
const STREAMS: usize = 4096;

/// The name of one operation: chosen by whoever asks, the same when asked again, whatever connection or engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId {
    /// A stream of operations, drawn at random by its client.
    pub stream: u64,
    /// Its place in the stream.
    pub number: u32,
}

/// An operation as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its name.
    pub op: OpId,
    /// Operations that had been carried out when its stream was begun, or fewer: what tells a new stream from a forgotten one.
    /// With 0 it is a new one as long as none was forgotten.
    pub since: u64,
}

/// What was done under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Done {
    by: Option<UserId>,
    effect: Effect,
}

/// The last results of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    /// By number, ascending. A client counts, so a new one nearly always belongs at the end.
    done: VecDeque<(u32, Done)>,
    /// Up to this number results may have been forgotten.
    forgotten: Option<u32>,
    last_use: u64,
}

impl Window {
    /// Where the number stands, or would.
    fn find(&self, number: u32) -> Result<usize, usize> {
        match self.done.back() {
            Some(&(last, _)) if last >= number => {
                self.done.binary_search_by_key(&number, |&(number, _)| number)
            }
            Some(_) | None => Err(self.done.len()),
        }
    }
}

/// What was done lately, by name. Part of the model, so that replaying the log rebuilds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    streams: BTreeMap<u64, Window>,
    uses: u64,
    /// Of all forgotten streams the last use.
    forgotten: u64,
}

impl Operations {
    /// The effect of an operation that was carried out before.
    ///
    /// # Errors
    /// When it is older than what is remembered, or another user's.
    pub fn done(&self, asked: Asked, by: Option<UserId>) -> Result<Option<Effect>, Error> {
        let Asked { op, since } = asked;
        let wrong = |flaw| Err(Error::BadRequest { field: Field::Operation, flaw });
        let Some(window) = self.streams.get(&op.stream) else {
            // A stream that was begun after the last use of every forgotten one is none of them.
            return if since < self.forgotten { wrong(Flaw::TooOld) } else { Ok(None) };
        };
        match window.find(op.number).ok().map(|place| window.done[place].1) {
            Some(done) if done.by == by => Ok(Some(done.effect)),
            Some(_) => wrong(Flaw::Reused),
            None if window.forgotten.is_some_and(|last| op.number <= last) => wrong(Flaw::TooOld),
            None => Ok(None),
        }
    }

    /// Operations that were carried out so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.uses
    }

    /// Everything that is remembered: who did it, and what it did.
    pub(super) fn all(&self) -> impl Iterator<Item = (OpId, Option<UserId>, Effect)> + '_ {
        self.streams.iter().flat_map(|(&stream, window)| {
            window.done.iter().map(move |&(number, done)| (OpId { stream, number }, done.by, done.effect))
        })
    }

    /// Whether a new stream takes the place of an old one.
    pub(super) fn is_full(&self) -> bool {
        self.streams.len() == STREAMS
    }

    pub(super) fn remember(&mut self, op: OpId, by: Option<UserId>, effect: Effect) {
        self.uses += 1;
        if !self.streams.contains_key(&op.stream) && self.is_full() {
            let silent =
                self.streams.iter().min_by_key(|(_, window)| window.last_use).map(|(&stream, _)| stream);
            if let Some(window) = silent.and_then(|stream| self.streams.remove(&stream)) {
                self.forgotten = self.forgotten.max(window.last_use);
            }
        }
        let window = self.streams.entry(op.stream).or_default();
        window.last_use = self.uses;
        match window.find(op.number) {
            Ok(place) => window.done[place].1 = Done { by, effect },
            Err(place) => window.done.insert(place, (op.number, Done { by, effect })),
        }
        if window.done.len() > WINDOW
            && let Some((number, _)) = window.done.pop_front()
        {
            window.forgotten = Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFECT: Effect = Effect::PostDeleted;

    fn op(number: u32) -> OpId {
        OpId { stream: 7, number }
    }

    fn asked(op: OpId) -> Asked {
        Asked { op, since: 0 }
    }

    #[test]
    fn results_are_found_again_until_the_window_has_moved_past_them() {
        let mut operations = Operations::default();
        let ada = Some(UserId(1));
        for number in 0..WINDOW as u32 {
            operations.remember(op(number), ada, EFFECT);
        }
        assert_eq!(operations.done(asked(op(0)), ada), Ok(Some(EFFECT)));
        assert_eq!(operations.done(asked(op(5000)), ada), Ok(None), "new");
        operations.remember(op(5000), ada, EFFECT);
        assert!(operations.done(asked(op(0)), ada).is_err(), "forgotten: must not happen again");
        assert_eq!(operations.done(asked(op(1)), ada), Ok(Some(EFFECT)));
        assert_eq!(operations.done(asked(op(1024)), ada), Ok(None), "a straggler that was never done");
        assert!(operations.done(asked(op(1)), Some(UserId(2))).is_err(), "somebody else's");
    }

    #[test]
    fn an_operation_of_a_forgotten_stream_is_too_old_and_one_of_a_new_stream_is_new() {
        let mut operations = Operations::default();
        let first = |stream| OpId { stream, number: 1 };
        for stream in 0..STREAMS as u64 {
            assert_eq!(operations.done(asked(first(stream)), None), Ok(None));
            operations.remember(first(stream), None, EFFECT);
        }
        operations.remember(OpId { stream: 0, number: 2 }, None, EFFECT);
        assert_eq!(operations.done(asked(first(u64::MAX)), None), Ok(None), "nothing is forgotten yet");
        let begun = operations.count();
        operations.remember(first(u64::MAX), None, EFFECT);
        assert_eq!(operations.done(asked(first(0)), None), Ok(Some(EFFECT)));
        let too_old = Err(Error::BadRequest { field: Field::Operation, flaw: Flaw::TooOld });
        for since in 0..=1 {
            assert_eq!(
                operations.done(Asked { op: first(1), since }, None),
                too_old,
                "begun before its first use"
            );
        }
        let new = Asked { op: first(u64::MAX - 1), since: begun };
        assert_eq!(operations.done(new, None), Ok(None));
        assert_eq!(operations.streams.len(), STREAMS);
        // However many come, whatever was done is never new again.
        for stream in 1..=3 * STREAMS as u64 {
            let op = first(1 << 32 | stream);
            let since = operations.count();
            assert_eq!(operations.done(Asked { op, since }, None), Ok(None));
            operations.remember(op, None, EFFECT);
            let earlier = Asked { op: first(1 << 32 | stream.div_ceil(2)), since: begun };
            assert_ne!(operations.done(earlier, None), Ok(None));
        }
        assert_eq!(operations.streams.len(), STREAMS);
    }
}

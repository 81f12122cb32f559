//! Whether the supervisor process still does its work.
//!
//! Nobody who has nothing to do is woken for it: a supervisor process that is idle and hung harms nobody until something
//! happens. So it is watched when something does. After the keeper told it a fact (a snapshot, an exit, a request to stop)
//! it must be heard from within five seconds: acknowledgements serve, else it says that it is alive. `door.rs` adds the
//! facts that do not pass through the keeper: somebody who knocks at the control socket and is not let in. What neither
//! sees (output that nobody reads, a timer that does not run) is left to a question once a minute, asked only after a
//! minute of silence.
//!
//! Patience is counted in seconds in which the keeper itself ran: if the whole tree was stopped or starved, the keeper
//! finds itself late, and that second does not count.

const SECOND: u64 = 1_000_000_000;

/// One unit of patience.
const SLICE: u64 = SECOND;
/// This many without a word, and it hangs.
const SLICES: u8 = 5;
/// A keeper that comes later than this was itself not running.
const LATE: u64 = SLICE / 2;
/// Silence after which it is asked without any cause.
const ROUND: u64 = 60 * SECOND;

/// Times are `CLOCK_MONOTONIC` nanoseconds.
#[derive(Debug)]
pub(super) struct Watch {
    state: State,
    due: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is expected.
    Quiet,
    /// A word is expected; slices without one so far.
    Expecting(u8),
}

/// What a look says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing is to be done.
    Fine,
    /// It should be asked whether it is alive.
    Ask,
    /// It hangs.
    Hung,
}

impl Watch {
    pub(super) fn new(now: u64) -> Watch {
        Watch { state: State::Quiet, due: now + ROUND }
    }

    /// It was told something that calls for a word.
    pub(super) fn told(&mut self, now: u64) {
        if self.state == State::Quiet {
            *self = Watch { state: State::Expecting(0), due: now + SLICE };
        }
    }

    /// It said something.
    pub(super) fn heard(&mut self, now: u64) {
        *self = Watch::new(now);
    }

    /// When to look.
    pub(super) fn due(&self) -> u64 {
        self.due
    }

    pub(super) fn look(&mut self, now: u64) -> Look {
        if now < self.due {
            return Look::Fine;
        }
        let late = now - self.due > LATE;
        self.due = now + SLICE;
        match &mut self.state {
            State::Quiet => {
                self.state = State::Expecting(0);
                return Look::Ask;
            }
            State::Expecting(slices) if !late => *slices += 1,
            State::Expecting(_) => {}
        }
        if self.state == State::Expecting(SLICES) { Look::Hung } else { Look::Fine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks whenever it is due, `delay` too late, until something is to be done; returns what, and when.
    fn follow(watch: &mut Watch, delay: u64) -> (Look, u64) {
        for _ in 0..1000 {
            let now = watch.due() + delay;
            let look = watch.look(now);
            if look != Look::Fine {
                return (look, now);
            }
        }
        (Look::Fine, watch.due())
    }

    #[test]
    fn who_does_not_answer_for_five_seconds_hangs() {
        let mut watch = Watch::new(0);
        watch.told(10 * SECOND);
        watch.told(13 * SECOND);
        assert_eq!(follow(&mut watch, 0), (Look::Hung, 15 * SECOND));
    }

    #[test]
    fn an_answer_ends_the_waiting_and_silence_is_asked_about_once_a_minute() {
        let mut watch = Watch::new(0);
        watch.told(10 * SECOND);
        watch.heard(14 * SECOND);
        assert_eq!(follow(&mut watch, 0), (Look::Ask, 74 * SECOND));
        assert_eq!(follow(&mut watch, 0), (Look::Hung, 79 * SECOND));
    }

    #[test]
    fn seconds_in_which_the_keeper_itself_did_not_run_do_not_count() {
        let mut watch = Watch::new(0);
        watch.told(0);
        assert_eq!(follow(&mut watch, SECOND).0, Look::Fine);
        // Thawed after an hour, it gives as much time as ever.
        assert_eq!(watch.look(3600 * SECOND), Look::Fine);
        let (look, at) = follow(&mut watch, 0);
        assert_eq!((look, at >= 3605 * SECOND), (Look::Hung, true));
    }
}

//! When the keeper ends the tree itself: a stop that was asked for must come to its end, whatever the supervisor process and
//! the children do.
//!
//! All times are `CLOCK_MONOTONIC` nanoseconds.

const SECOND: u64 = 1_000_000_000;

/// How much longer than the longest stop of a child nothing may happen in an ordered stop: the supervisor process gives up
/// waiting for a child 10 s after KILL, and goes on.
const BEYOND: u64 = 12 * SECOND;
/// How long a supervisor process may take to end the tree after every child was killed.
const AFTER_KILL: u64 = 2 * SECOND;
/// A supervisor process that has lived this long can do its work.
const LIVED: u64 = 5 * SECOND;
/// An ordered stop is given up when for this long there was none that has.
const NONE_LIVED: u64 = LIVED + SECOND;

/// What is known about the end of the tree.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ending {
    /// The longest stop of a child; `None`: one may take for ever.
    longest: Option<u64>,
    /// A stop was asked for or begun.
    asked: Option<u64>,
    /// The last time it got further.
    progress: u64,
    /// All children were killed.
    killed: Option<u64>,
    /// The birth of the present supervisor process.
    born: Option<u64>,
    /// Since then no supervisor process has lived for long.
    none_lived: Option<u64>,
}

impl Ending {
    pub(super) fn new(longest: Option<u64>) -> Ending {
        Ending { longest, ..Ending::default() }
    }

    /// An ordered stop is wanted.
    pub(super) fn asked(&mut self, now: u64) {
        if self.asked.is_none() {
            (self.asked, self.progress) = (Some(now), now);
        }
    }

    /// The supervisor process stops the tree, of which this is the longest stop now.
    pub(super) fn begun(&mut self, now: u64, longest: Option<u64>) {
        self.longest = longest;
        self.asked(now);
    }

    /// A child has ended.
    pub(super) fn progressed(&mut self, now: u64) {
        self.progress = now;
    }

    /// All children were killed.
    pub(super) fn killed(&mut self, now: u64) {
        self.asked(now);
        self.killed.get_or_insert(now);
    }

    pub(super) fn supervisor_started(&mut self, now: u64) {
        self.born = Some(now);
        self.none_lived.get_or_insert(now);
    }

    pub(super) fn supervisor_ended(&mut self, now: u64) {
        if self.born.take().is_some_and(|born| now.saturating_sub(born) >= LIVED) {
            self.none_lived = Some(now);
        }
    }

    /// When the keeper ends the tree itself, as far as is known now.
    pub(super) fn deadline(&self) -> Option<u64> {
        let asked = self.asked?;
        let slow = self.longest.map(|longest| self.progress.saturating_add(longest).saturating_add(BEYOND));
        let none_lived = asked.max(self.none_lived.unwrap_or(asked)) + NONE_LIVED;
        let lives = self.born.is_some_and(|born| born + LIVED <= none_lived);
        let none_lived = (!lives).then_some(none_lived);
        slow.into_iter().chain(none_lived).chain(self.killed.map(|killed| killed + AFTER_KILL)).min()
    }

    pub(super) fn is_due(&self, now: u64) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stable() -> Ending {
        let mut ending = Ending::new(Some(3 * SECOND));
        ending.supervisor_started(0);
        ending
    }

    #[test]
    fn nothing_ends_unasked() {
        let mut ending = stable();
        (1..100).for_each(|at| {
            ending.supervisor_ended(at * SECOND);
            ending.supervisor_started(at * SECOND);
        });
        assert_eq!(ending.deadline(), None);
    }

    #[test]
    fn an_ordered_stop_has_its_longest_stop_and_a_margin_from_one_end_to_the_next() {
        let mut ending = stable();
        ending.asked(100 * SECOND);
        ending.asked(105 * SECOND);
        assert_eq!(ending.deadline(), Some(115 * SECOND));
        ending.progressed(104 * SECOND);
        assert_eq!(ending.deadline(), Some(119 * SECOND));
        ending.begun(105 * SECOND, Some(20 * SECOND));
        assert_eq!(ending.deadline(), Some(136 * SECOND));
        ending.begun(105 * SECOND, None);
        assert_eq!(ending.deadline(), None, "a child may take for ever");
        ending.killed(106 * SECOND);
        assert_eq!(ending.deadline(), Some(108 * SECOND));
        assert!(!ending.is_due(107 * SECOND) && ending.is_due(108 * SECOND));
    }

    #[test]
    fn supervisor_processes_that_die_young_do_not_hold_up_a_stop() {
        let mut ending = Ending::new(None);
        ending.supervisor_started(0);
        ending.supervisor_ended(50 * SECOND);
        for at in 50..60 {
            ending.supervisor_started(at * SECOND);
            if at == 53 {
                ending.asked(at * SECOND);
            }
            ending.supervisor_ended(at * SECOND + 1);
        }
        assert_eq!(ending.deadline(), Some(59 * SECOND));
    }

    #[test]
    fn one_that_replaces_a_killed_one_has_time_to_stop_the_tree() {
        let mut ending = Ending::new(None);
        ending.supervisor_started(0);
        ending.asked(50 * SECOND);
        ending.supervisor_ended(51 * SECOND);
        ending.supervisor_started(51 * SECOND + SECOND / 2);
        assert_eq!(ending.deadline(), None);
    }
}

//! What outlives an engine: the results of operations, and the tables in a snapshot.

use std::collections::HashMap;

use super::super::operation::{Operations, WINDOW};
use super::super::{Effect, Model, OpId, UserId};
use super::{Violation, must};

/// What each named line of a log did, and for whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Results {
    /// Remembered before the first line.
    before: HashMap<OpId, Done>,
    carried_out: HashMap<OpId, Done>,
}

type Done = (Option<UserId>, Effect);

impl Results {
    /// The log begins where `operations` stand.
    pub(super) fn new(operations: &Operations) -> Results {
        let before = operations.all().map(|(op, by, effect)| (op, (by, effect))).collect();
        Results { before, carried_out: HashMap::new() }
    }

    /// I14: before a line is applied.
    pub(super) fn is_new(&self, op: OpId, line: u64) -> Result<(), Violation> {
        must!(
            !self.before.contains_key(&op) && !self.carried_out.contains_key(&op),
            "I14",
            "line {line}: operation {:x}/{} was carried out before",
            op.stream,
            op.number
        );
        Ok(())
    }

    /// After a line was applied.
    pub(super) fn add(&mut self, op: OpId, by: Option<UserId>, effect: Effect) {
        self.carried_out.insert(op, (by, effect));
    }

    /// I15: whoever asks again is answered with the first result. `operations` are those after the last line.
    pub(super) fn check(&self, operations: &Operations) -> Result<(), Violation> {
        let mut remembered: HashMap<u64, usize> = HashMap::new();
        for (op, by, effect) in operations.all() {
            *remembered.entry(op.stream).or_default() += 1;
            let first = self.carried_out.get(&op).or_else(|| self.before.get(&op));
            must!(
                first == Some(&(by, effect)),
                "I15",
                "operation {:x}/{} would be answered with {effect:?} of {by:?}, and was {first:?}",
                op.stream,
                op.number
            );
        }
        let mut carried_out: HashMap<u64, usize> = HashMap::new();
        for op in self.carried_out.keys() {
            *carried_out.entry(op.stream).or_default() += 1;
        }
        for (stream, count) in carried_out {
            let known = remembered.get(&stream).copied().unwrap_or(0);
            // The one that was silent longest makes room for a new one.
            let forgotten = known == 0 && operations.is_full();
            must!(
                forgotten || known >= count.min(WINDOW),
                "I15",
                "of stream {stream:x} {count} operations were carried out, and {known} would be answered again"
            );
        }
        Ok(())
    }
}

/// I16: a snapshot of the tables is the tables, with every index that follows from them.
pub(super) fn through_a_snapshot(model: &Model) -> Result<(), Violation> {
    let written = postcard::to_stdvec(model).expect("tables can always be encoded into memory");
    let read: Result<Model, _> = postcard::from_bytes(&written);
    let Ok(mut read) = read else {
        return Err(Violation::new("I16", "a snapshot of the tables cannot be read".to_owned()));
    };
    // Who never joined, and what has no post or comment, may have an empty place or none.
    let places = |model: &Model| {
        (model.subreddits.of_user.len(), model.posts.orders.len(), model.comments.first.len())
    };
    let (users, subreddits, posts) = places(model);
    let padded = |read: &mut Model| {
        read.subreddits.of_user.resize(users.max(read.subreddits.of_user.len()), Default::default());
        read.posts.orders.resize_with(subreddits.max(read.posts.orders.len()), Default::default);
        read.comments.first.resize(posts.max(read.comments.first.len()), Default::default());
    };
    padded(&mut read);
    let table = [
        ("users", read.users == model.users),
        ("subreddits", read.subreddits == model.subreddits),
        ("posts", read.posts == model.posts),
        ("comments", read.comments == model.comments),
        ("messages", read.messages == model.messages),
        ("operations", read.operations == model.operations && read.last_ms == model.last_ms),
    ];
    let changed = table.iter().find(|(_, same)| !same).map(|(name, _)| name);
    must!(changed.is_none(), "I16", "read from a snapshot, the {} are others", changed.unwrap_or(&""));
    Ok(())
}

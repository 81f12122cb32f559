//! Whether the tables are what they must be: every invariant worked out again from what is stored, by brute force.
//!
//! A [`Checker`] reads a log line by line, says whether each line was possible when it was written, applies it with
//! the very function that live traffic uses, and in the end looks at the tables. It trusts nothing that the model
//! derives: counts are counted again, orders sorted again, feeds merged again from all posts.
//!
//! The names are those of the project's list of invariants, and I19: every post of a user with a key has that user's
//! signature. All but two can be seen in a store, with the ledgers of its
//! clients ([`Ledgers`]) from their side too; what an engine that runs must say of itself (I17, I18), and whether it is what
//! its store says (I16), is judged by its [`Examination`].

pub use deed::{Acknowledged, Deed, Sum};
pub use ledger::{Account, Ledgers};
pub use live::{Counted, Examination};

use super::{Entry, Model, Record};
use kept::Results;

mod deed;
mod kept;
mod ledger;
mod live;
mod orders;
mod signatures;
mod tables;

#[cfg(test)]
mod tests;

/// The first thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant} does not hold: {example}")]
pub struct Violation {
    /// `I1` and so on.
    pub invariant: &'static str,
    /// The counter-example.
    pub example: String,
}

impl Violation {
    pub(super) fn new(invariant: &'static str, example: String) -> Violation {
        Violation { invariant, example }
    }
}

/// Fails with the counter-example unless the condition holds.
macro_rules! must {
    ($holds:expr, $invariant:literal, $($example:tt)+) => {
        if !$holds {
            return Err($crate::reddit::model::check::Violation::new($invariant, format!($($example)+)));
        }
    };
}
use must;

/// Reads a log from where `model` stands.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    model: Model,
    results: Results,
    lines: u64,
    ledgers: Option<Ledgers>,
}

impl Checker {
    /// Begins with tables that were made by everything before the first line.
    #[must_use]
    pub fn new(model: Model) -> Checker {
        let results = Results::new(model.operations());
        Checker { model, results, lines: 0, ledgers: None }
    }

    /// The same, with what clients were told.
    #[must_use]
    pub fn with_ledgers(model: Model, mut ledgers: Ledgers) -> Checker {
        ledgers.begin(&model);
        Checker { ledgers: Some(ledgers), ..Checker::new(model) }
    }

    /// Judges the next line and applies it.
    ///
    /// # Errors
    /// The line could not have been written at this place.
    pub fn step(&mut self, entry: Entry) -> Result<(), Violation> {
        self.lines += 1;
        let line = self.lines;
        entry.op.map_or(Ok(()), |op| self.results.is_new(op, line))?;
        if let Some(at_ms) = entry.record.at_ms() {
            let last_ms = self.model.last_ms;
            must!(at_ms >= last_ms, "I13", "line {line} is of {at_ms} ms, the one before of {last_ms} ms");
        }
        self.possible(&entry.record)?;
        if let Some(ledgers) = &mut self.ledgers {
            ledgers.before(&self.model, &entry)?;
        }
        let (op, by) = (entry.op, entry.record.actor());
        let deed = self.ledgers.is_some().then(|| Deed::of(&entry.record));
        let effect = self.model.apply_entry(entry);
        if let Some(op) = op {
            self.results.add(op, by, effect);
        }
        match (&mut self.ledgers, deed) {
            (Some(ledgers), Some(deed)) => ledgers.after(op, by, &deed, effect),
            _ => Ok(()),
        }
    }

    /// Whether what a record names exists, and its author might write it.
    fn possible(&self, record: &Record) -> Result<(), Violation> {
        let (model, line) = (&self.model, self.lines);
        if let Some(actor) = record.actor() {
            must!(model.users.get(actor).is_ok(), "I5", "line {line}: {actor} does not exist");
        }
        match *record {
            Record::UserRegistered { ref name, ref key, .. } => {
                must!(model.users.by_name(name).is_none(), "I6", "line {line}: user {name:?} exists");
                let sound = key.as_ref().is_none_or(|key| key.check().is_ok());
                must!(sound, "I19", "line {line}: the public key of {name:?} is none");
            }
            Record::SubredditCreated { ref name, .. } => {
                must!(
                    model.subreddits.by_name(name).is_none(),
                    "I6",
                    "line {line}: subreddit {name:?} exists"
                );
            }
            Record::SubredditJoined { user, subreddit } => {
                let joined = model.subreddits.get(subreddit);
                must!(
                    joined.is_ok_and(|joined| !joined.has(user)),
                    "I4",
                    "line {line}: {user} joins {subreddit}"
                );
            }
            Record::SubredditLeft { user, subreddit } => {
                let left = model.subreddits.get(subreddit);
                must!(left.is_ok_and(|left| left.has(user)), "I4", "line {line}: {user} leaves {subreddit}");
            }
            Record::PostCreated { author, subreddit, .. }
            | Record::PostReposted { author, subreddit, .. } => {
                let member = model.subreddits.get(subreddit).is_ok_and(|place| place.has(author));
                must!(member, "I5", "line {line}: {author} posts in {subreddit} and is no member");
                if let Record::PostCreated { ref signature, .. } = *record {
                    let signs = model.signs(author, signature.as_deref());
                    must!(signs.is_ok(), "I19", "line {line}: {author} posts, and {signs:?}");
                }
                if let Record::PostReposted { original, .. } = *record {
                    must!(
                        model.posts.present(original).is_ok(),
                        "I10",
                        "line {line}: {original} is reposted"
                    );
                }
            }
            Record::PostVoted { voter, post, direction } => {
                let changed = model.posts.present(post).is_ok_and(|post| post.vote_of(voter) != direction);
                must!(changed, "I3", "line {line}: {voter} votes {direction:?} on {post}");
            }
            Record::PostDeleted { author, post } => {
                let own = model.posts.present(post).is_ok_and(|post| post.author == author);
                must!(own, "I15", "line {line}: {author} deletes {post}");
            }
            Record::CommentCreated { post, parent, .. } => {
                let possible = model.answerable(post, parent);
                must!(
                    possible.is_ok(),
                    "I7",
                    "line {line}: a comment on {post} below {parent:?}: {possible:?}"
                );
            }
            Record::CommentVoted { voter, comment, direction } => {
                let on = model.comments.present(comment);
                let changed = on.is_ok_and(|comment| comment.vote_of(voter) != direction);
                must!(changed, "I3", "line {line}: {voter} votes {direction:?} on {comment}");
            }
            Record::CommentDeleted { author, comment } => {
                let own = model.comments.present(comment).is_ok_and(|comment| comment.author == author);
                must!(own, "I15", "line {line}: {author} deletes {comment}");
            }
            Record::MessageSent { from, to, reply_to, .. } => {
                let possible = model.users.get(to).is_ok()
                    && reply_to.is_none_or(|id| {
                        model.messages.get(id).is_ok_and(|answered| answered.other(from) == Ok(to))
                    });
                must!(possible, "I11", "line {line}: {from} writes to {to} in answer to {reply_to:?}");
            }
            Record::MessageRead { reader, message } => {
                let own = model.messages.get(message).is_ok_and(|message| message.to == reader);
                must!(own, "I11", "line {line}: {reader} marks {message}");
            }
        }
        Ok(())
    }

    /// Looks at the tables after the last line and hands them over.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn finish(self) -> Result<Model, Violation> {
        self.finish_with_account().map(|(model, _)| model)
    }

    /// The same, with what the ledgers came to, if there are any.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn finish_with_account(self) -> Result<(Model, Option<Account>), Violation> {
        tables::check(&self.model)?;
        signatures::check(&self.model)?;
        orders::check(&self.model)?;
        self.results.check(self.model.operations())?;
        kept::through_a_snapshot(&self.model)?;
        let account = self.ledgers.map(|ledgers| ledgers.finish(&self.model)).transpose()?;
        Ok((self.model, account))
    }

    /// The tables after the lines so far.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Lines read so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }
}

//! I14 from the other side: what clients were told has happened must have happened, once, and as they were told.
//!
//! A client writes down every answer it read before it counts it ([`Acknowledged`]). Each line is looked for in the
//! log by the name of its operation, and must say the same there. Two kinds of lines have no line in the log: a vote
//! that changed nothing, for which the tables must have said so already when it was cast; and what a snapshot covers,
//! for which the tables must show what came of it. A user does one thing at a time, so the lines of a user stand in a
//! ledger in the order in which they happened.
//!
//! What is in the log and in no ledger was carried out while its client, or the way to it, died: it may be there, or
//! not, but whole (I15). The account tells how many there are (I17).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::super::{
    CommentId, Direction, Effect, Entry, MessageId, Model, OpId, PostId, Record, SubredditId, UserId,
};
use super::{Violation, must};

/// One acknowledgement as a client wrote it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The name of the operation.
    pub op: OpId,
    /// Who asked; `None` for a registration.
    pub by: Option<UserId>,
    /// What was asked.
    pub deed: Deed,
    /// What the engine said that it did.
    pub effect: Effect,
}

/// What somebody did, with sums in the place of texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the fields are those of the records")]
pub enum Deed {
    /// Became a user.
    Register { name: Sum },
    /// Opened a subreddit.
    CreateSubreddit { text: Sum },
    /// Became a member.
    Join { subreddit: SubredditId },
    /// Left.
    Leave { subreddit: SubredditId },
    /// Posted.
    Post { subreddit: SubredditId, text: Sum },
    /// Showed a post in another place.
    Repost { subreddit: SubredditId, original: PostId, text: Sum },
    /// Voted on a post.
    VotePost { post: PostId, direction: Direction },
    /// Said something.
    Comment { post: PostId, parent: Option<CommentId>, text: Sum },
    /// Voted on a comment.
    VoteComment { comment: CommentId, direction: Direction },
    /// Wrote to somebody.
    Send { to: UserId, text: Sum },
    /// Answered a message; its subject and receiver follow from that.
    Answer { message: MessageId, text: Sum },
    /// Took a post back.
    DeletePost { post: PostId },
    /// Took a comment back.
    DeleteComment { comment: CommentId },
    /// Marked a message.
    MarkRead { message: MessageId },
}

/// A sum over texts, told from their order and borders too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum(u64);

impl Sum {
    /// Of these texts.
    #[must_use]
    pub fn of(texts: &[&str]) -> Sum {
        let mut sum = Xxh3::new();
        for text in texts {
            sum.update(&(text.len() as u64).to_le_bytes());
            sum.update(text.as_bytes());
        }
        Sum(sum.digest())
    }
}

impl Deed {
    /// What a line of the log says.
    #[must_use]
    pub fn of(record: &Record) -> Deed {
        match record {
            Record::UserRegistered { name, .. } => Deed::Register { name: Sum::of(&[name]) },
            Record::SubredditCreated { name, description, .. } => {
                Deed::CreateSubreddit { text: Sum::of(&[name, description]) }
            }
            &Record::SubredditJoined { subreddit, .. } => Deed::Join { subreddit },
            &Record::SubredditLeft { subreddit, .. } => Deed::Leave { subreddit },
            Record::PostCreated { subreddit, title, body, .. } => {
                Deed::Post { subreddit: *subreddit, text: Sum::of(&[title, body]) }
            }
            Record::PostReposted { subreddit, original, title, .. } => {
                Deed::Repost { subreddit: *subreddit, original: *original, text: Sum::of(&[title]) }
            }
            &Record::PostVoted { post, direction, .. } => Deed::VotePost { post, direction },
            &Record::PostDeleted { post, .. } => Deed::DeletePost { post },
            Record::CommentCreated { post, parent, body, .. } => {
                Deed::Comment { post: *post, parent: *parent, text: Sum::of(&[body]) }
            }
            &Record::CommentVoted { comment, direction, .. } => Deed::VoteComment { comment, direction },
            &Record::CommentDeleted { comment, .. } => Deed::DeleteComment { comment },
            Record::MessageSent { reply_to: Some(message), body, .. } => {
                Deed::Answer { message: *message, text: Sum::of(&[body]) }
            }
            Record::MessageSent { to, subject, body, .. } => {
                Deed::Send { to: *to, text: Sum::of(&[subject, body]) }
            }
            &Record::MessageRead { message, .. } => Deed::MarkRead { message },
        }
    }

    /// What stands until the same user says otherwise.
    fn standing(&self) -> Option<Standing> {
        match *self {
            Deed::VotePost { post, .. } => Some(Standing::Post(post)),
            Deed::VoteComment { comment, .. } => Some(Standing::Comment(comment)),
            Deed::Join { subreddit } | Deed::Leave { subreddit } => Some(Standing::Member(subreddit)),
            _ => None,
        }
    }

    fn is_vote(&self) -> bool {
        matches!(self, Deed::VotePost { .. } | Deed::VoteComment { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Post(PostId),
    Comment(CommentId),
    Member(SubredditId),
}

impl Acknowledged {
    /// Whether the tables show what came of it.
    fn is_shown(&self, model: &Model) -> bool {
        let Some(by) = self.by else {
            return match (&self.deed, self.effect) {
                (Deed::Register { name }, Effect::UserRegistered(id)) => {
                    model.users.get(id).is_ok_and(|user| Sum::of(&[&user.name]) == *name)
                }
                _ => false,
            };
        };
        match (&self.deed, self.effect) {
            (Deed::CreateSubreddit { text }, Effect::SubredditCreated(id)) => {
                model.subreddits.get(id).is_ok_and(|made| Sum::of(&[&made.name, &made.description]) == *text)
            }
            (Deed::Join { subreddit }, _) => model.subreddits.get(*subreddit).is_ok_and(|one| one.has(by)),
            (Deed::Leave { subreddit }, _) => model.subreddits.get(*subreddit).is_ok_and(|one| !one.has(by)),
            (Deed::Post { subreddit, text }, Effect::PostCreated(id)) => {
                model.posts.get(id).is_ok_and(|post| {
                    (post.author, post.subreddit) == (by, *subreddit)
                        && (post.deleted || Sum::of(&[&post.title, &post.body]) == *text)
                })
            }
            (Deed::Repost { subreddit, original, text }, Effect::PostCreated(id)) => {
                model.posts.get(id).is_ok_and(|post| {
                    (post.author, post.subreddit) == (by, *subreddit)
                        && post.origin.is_some_and(|origin| origin.of == *original)
                        && (post.deleted || Sum::of(&[&post.title]) == *text)
                })
            }
            (Deed::VotePost { post, direction }, _) => {
                model.posts.get(*post).is_ok_and(|post| post.vote_of(by) == *direction)
            }
            (Deed::VoteComment { comment, direction }, _) => {
                model.comments.get(*comment).is_ok_and(|comment| comment.vote_of(by) == *direction)
            }
            (Deed::Comment { post, parent, text }, Effect::CommentCreated { id, .. }) => {
                model.comments.get(id).is_ok_and(|comment| {
                    (comment.author, comment.post, comment.parent) == (by, *post, *parent)
                        && (comment.deleted || Sum::of(&[&comment.body]) == *text)
                })
            }
            (Deed::Send { to, text }, Effect::MessageSent { id, .. }) => {
                model.messages.get(id).is_ok_and(|message| {
                    (message.from, message.to) == (by, *to)
                        && Sum::of(&[&message.subject, &message.body]) == *text
                })
            }
            (Deed::Answer { message, text }, Effect::MessageSent { id, .. }) => {
                model.messages.get(id).is_ok_and(|answer| {
                    (answer.from, answer.reply_to) == (by, Some(*message))
                        && Sum::of(&[&answer.body]) == *text
                })
            }
            (Deed::DeletePost { post }, Effect::PostDeleted) => {
                model.posts.get(*post).is_ok_and(|post| post.deleted)
            }
            (Deed::DeleteComment { comment }, Effect::CommentDeleted) => {
                model.comments.get(*comment).is_ok_and(|comment| comment.deleted)
            }
            (Deed::MarkRead { message }, Effect::MessageRead) => {
                model.messages.get(*message).is_ok_and(|message| message.read)
            }
            _ => false,
        }
    }
}

/// What ledgers came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Lines of all ledgers.
    pub acknowledged: u64,
    /// Of these, lines of the log that say the same.
    pub in_log: u64,
    /// Of these, votes that changed nothing.
    pub unchanged: u64,
    /// Of these, shown by the tables because a snapshot stands for the log of their time.
    pub in_snapshot: u64,
    /// Operations of the same clients that were carried out, and whose answers nobody read.
    pub unread: u64,
}

/// All ledgers, while a log is read.
#[derive(Clone, Debug, Default)]
pub struct Ledgers {
    lines: Vec<Acknowledged>,
    by_op: HashMap<OpId, usize>,
    /// The first line of each stream.
    streams: HashMap<u64, usize>,
    found: Vec<bool>,
    /// What stands of each user and was not found in the log so far.
    pending: BTreeMap<UserId, VecDeque<usize>>,
    /// The log does not begin at the beginning.
    snapshot: bool,
    /// Who did something in the log that was read.
    seen: HashSet<UserId>,
    /// Who did something that a snapshot covers and whose answer was not read.
    unread_before: HashSet<UserId>,
    account: Account,
}

impl Ledgers {
    /// Adds the next line. The lines of one user must come in their order.
    ///
    /// # Errors
    /// The operation was acknowledged before.
    pub fn add(&mut self, line: Acknowledged) -> Result<(), Violation> {
        let number = self.lines.len();
        let op = line.op;
        must!(
            self.by_op.insert(op, number).is_none(),
            "I17",
            "operation {:x}/{} was acknowledged twice",
            op.stream,
            op.number
        );
        self.streams.entry(op.stream).or_insert(number);
        if let (Some(by), Some(_)) = (line.by, line.deed.standing()) {
            self.pending.entry(by).or_default().push_back(number);
        }
        self.lines.push(line);
        self.found.push(false);
        self.account.acknowledged += 1;
        Ok(())
    }

    /// The log begins where these tables stand.
    pub(super) fn begin(&mut self, model: &Model) {
        self.snapshot = *model != Model::default();
        let unread = model.operations.all().filter(|(op, _)| !self.by_op.contains_key(op));
        self.unread_before = unread.filter_map(|(_, by)| by).collect();
    }

    /// Before a line of the log is applied.
    pub(super) fn before(&mut self, model: &Model, entry: &Entry) -> Result<(), Violation> {
        let (Some(op), Some(by)) = (entry.op, entry.record.actor()) else { return Ok(()) };
        let line = self.by_op.get(&op).copied();
        if let Some(pending) = self.pending.get(&by) {
            let earlier = |&&number: &&usize| match line {
                Some(line) => number < line,
                None => self.is_earlier(number, op),
            };
            let count = pending.iter().rposition(|number| earlier(&number)).map_or(0, |last| last + 1);
            self.judge(model, by, count)?;
            if let (Some(line), Some(pending)) = (line, self.pending.get_mut(&by))
                && pending.front() == Some(&line)
            {
                pending.pop_front();
            }
        }
        self.seen.insert(by);
        Ok(())
    }

    /// Whether a line was written before an operation of the same user that stands in no ledger.
    fn is_earlier(&self, number: usize, op: OpId) -> bool {
        let known = self.lines[number].op;
        match known.stream == op.stream {
            true => known.number < op.number,
            false => self.streams.get(&op.stream).is_some_and(|&first| number < first),
        }
    }

    /// After a line of the log was applied.
    pub(super) fn after(
        &mut self,
        op: Option<OpId>,
        by: Option<UserId>,
        deed: &Deed,
        effect: Effect,
    ) -> Result<(), Violation> {
        let Some(op) = op else { return Ok(()) };
        let Some(&number) = self.by_op.get(&op) else {
            self.account.unread += u64::from(self.streams.contains_key(&op.stream));
            return Ok(());
        };
        let line = &self.lines[number];
        must!(
            (line.by, &line.deed, line.effect) == (by, deed, effect),
            "I14",
            "operation {:x}/{} was acknowledged as {:?} of {:?} with {:?}, and the log has {deed:?} of {by:?} with {effect:?}",
            op.stream,
            op.number,
            line.deed,
            line.by,
            line.effect
        );
        self.found[number] = true;
        self.account.in_log += 1;
        Ok(())
    }

    /// The first `count` lines that are pending for a user have no line in the log. The tables are as they were when
    /// the last of them was acknowledged.
    fn judge(&mut self, model: &Model, by: UserId, count: usize) -> Result<(), Violation> {
        let covered = self.snapshot && !self.seen.contains(&by);
        let Some(pending) = self.pending.get_mut(&by) else { return Ok(()) };
        let lines: Vec<usize> = pending.drain(..count).filter(|&number| !self.found[number]).collect();
        let mut last = BTreeMap::new();
        for &number in &lines {
            last.insert(self.lines[number].deed.standing(), number);
        }
        for number in lines {
            let line = &self.lines[number];
            let is_last = last.get(&line.deed.standing()) == Some(&number);
            let sure = if covered { is_last && !self.unread_before.contains(&by) } else { true };
            let possible = covered || line.deed.is_vote();
            must!(possible && (!sure || line.is_shown(model)), "I14", "{}", missing(line));
            self.found[number] = true;
            let kind = if covered { &mut self.account.in_snapshot } else { &mut self.account.unchanged };
            *kind += 1;
        }
        Ok(())
    }

    /// After the last line of the log.
    pub(super) fn finish(mut self, model: &Model) -> Result<Account, Violation> {
        let users: Vec<(UserId, usize)> = self.pending.iter().map(|(by, all)| (*by, all.len())).collect();
        for (by, count) in users {
            self.judge(model, by, count)?;
        }
        for (line, _) in self.lines.iter().zip(&self.found).filter(|(_, found)| !**found) {
            // Asked again by somebody who is known already, a registration is a login.
            let possible = self.snapshot || matches!(line.deed, Deed::Register { .. });
            must!(possible && line.is_shown(model), "I14", "{}", missing(line));
            let kind =
                if self.snapshot { &mut self.account.in_snapshot } else { &mut self.account.unchanged };
            *kind += 1;
        }
        Ok(self.account)
    }
}

fn missing(line: &Acknowledged) -> String {
    let OpId { stream, number } = line.op;
    let (deed, effect) = (&line.deed, line.effect);
    let by = line.by.map_or_else(|| "somebody new".to_owned(), |by| by.to_string());
    format!("acknowledged and not there: operation {stream:x}/{number}, {deed:?} of {by} with {effect:?}")
}

#[cfg(test)]
mod tests {
    use super::super::Checker;
    use super::*;
    use crate::reddit::model::{Command, Decision, Secret};

    const ADA: UserId = UserId(1);
    const HOME: SubredditId = SubredditId(1);

    /// An engine without anything around it, and what its client wrote down.
    #[derive(Clone, Default)]
    struct World {
        model: Model,
        log: Vec<Entry>,
        ledger: Vec<Acknowledged>,
        number: u32,
    }

    impl World {
        /// Ada in her subreddit, with two posts and a vote that changes nothing.
        fn new() -> World {
            let mut world = World::default();
            world.does(Command::Register { name: "ada".into(), secret: Secret([0; 16]) });
            let create =
                Command::CreateSubreddit { creator: ADA, name: "home".into(), description: "".into() };
            world.does(create);
            for title in ["one", "two"] {
                let post = |title: &str| Command::Post {
                    author: ADA,
                    subreddit: HOME,
                    title: title.into(),
                    body: "".into(),
                };
                world.does(post(title));
                world.votes(Direction::Up);
            }
            world
        }

        fn votes(&mut self, direction: Direction) {
            self.does(Command::VotePost { voter: ADA, post: PostId(1), direction });
        }

        fn does(&mut self, command: Command) {
            let by = command.actor();
            self.number += 1;
            let op = OpId { stream: 7, number: self.number };
            let vote = match command {
                Command::VotePost { post, direction, .. } => Some(Deed::VotePost { post, direction }),
                _ => None,
            };
            let (deed, effect) = match self.model.decide(command, 1).unwrap() {
                Decision::Unchanged(effect) => (vote.unwrap(), effect),
                Decision::Apply(record) => {
                    let entry = Entry { op: Some(op), record };
                    self.log.push(entry.clone());
                    (Deed::of(&entry.record), self.model.apply_entry(entry))
                }
            };
            self.ledger.push(Acknowledged { op, by, deed, effect });
        }

        fn check_from(&self, start: usize) -> Result<Account, Violation> {
            let mut model = Model::default();
            self.log[..start].iter().for_each(|entry| {
                model.apply_entry(entry.clone());
            });
            let mut ledgers = Ledgers::default();
            self.ledger.iter().try_for_each(|line| ledgers.add(line.clone()))?;
            let mut checker = Checker::with_ledgers(model, ledgers);
            self.log[start..].iter().try_for_each(|entry| checker.step(entry.clone()))?;
            checker.finish_with_account().map(|(_, account)| account.unwrap())
        }

        fn found(&self) -> &'static str {
            self.check_from(0).expect_err("nothing is found").invariant
        }
    }

    #[test]
    fn a_ledger_that_is_right_is_accounted_for_line_by_line() {
        let account = World::new().check_from(0).unwrap();
        let expected = Account { acknowledged: 6, in_log: 4, unchanged: 2, ..Account::default() };
        assert_eq!(account, expected);
    }

    #[test]
    fn what_a_snapshot_covers_is_looked_for_in_the_tables() {
        let mut world = World::new();
        world.votes(Direction::Down);
        world.votes(Direction::Up);
        for start in 1..=world.log.len() {
            let account = world.check_from(start).unwrap();
            assert_eq!(account.in_log, (world.log.len() - start) as u64);
            assert_eq!(account.in_log + account.in_snapshot + account.unchanged, 8);
        }
    }

    #[test]
    fn a_lost_operation_is_found() {
        let mut world = World::new();
        world.log.pop();
        assert_eq!(world.found(), "I14");
    }

    #[test]
    fn a_lost_vote_is_found() {
        let mut world = World::new();
        world.votes(Direction::Down);
        world.log.pop();
        assert_eq!(world.found(), "I14");
        world.votes(Direction::None);
        assert_eq!(world.found(), "I14", "whatever came after it");
    }

    #[test]
    fn an_operation_that_was_done_otherwise_is_found() {
        let mut world = World::new();
        world.ledger[2].effect = Effect::PostCreated(PostId(2));
        assert_eq!(world.found(), "I14");
        let mut world = World::new();
        world.ledger[2].deed = Deed::Post { subreddit: HOME, text: Sum::of(&["one", "more"]) };
        assert_eq!(world.found(), "I14");
    }

    #[test]
    fn an_operation_that_was_acknowledged_or_done_twice_is_found() {
        let mut world = World::new();
        world.ledger.push(world.ledger[0].clone());
        assert_eq!(world.found(), "I17");
        let mut world = World::new();
        world.log.push(world.log[2].clone());
        assert_eq!(world.found(), "I14");
    }

    #[test]
    fn what_was_done_without_its_answer_being_read_is_counted_and_in_nobodys_way() {
        let mut world = World::new();
        // An unchanged vote is acknowledged, then a vote is cast whose answer is lost.
        world.votes(Direction::Up);
        world.votes(Direction::Down);
        world.ledger.pop();
        world.votes(Direction::Down);
        let account = world.check_from(0).unwrap();
        assert_eq!((account.unread, account.unchanged), (1, 4));
        for start in 1..=world.log.len() {
            world.check_from(start).unwrap();
        }
    }
}

//! Ledgers that are right are accounted for; whatever is lost, doubled or changed is found.

use super::super::{Checker, Sum};
use super::*;
use crate::reddit::model::{Command, Decision, Direction, PostId, Secret, SubredditId};

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
        world.does(Command::Register { name: "ada".into(), secret: Secret([0; 16]), key: None });
        let create = Command::CreateSubreddit { creator: ADA, name: "home".into(), description: "".into() };
        world.does(create);
        for title in ["one", "two"] {
            let post = |title: &str| Command::Post {
                author: ADA,
                subreddit: HOME,
                title: title.into(),
                body: "".into(),
                signature: None,
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

//! Each invariant, broken on purpose, is found.

use super::super::{
    Asked, CommentId, Direction, Effect, Entry, MessageId, Model, OpId, Operations, Origin, PostId,
    PublicKey, Rank, Record, Secret, Signed, Sort, SubredditId, UserId, WINDOW,
};
use super::{Checker, Counted, Examination, Violation, kept, orders};
use crate::reddit::Signer;

const ADA: UserId = UserId(1);
const BOB: UserId = UserId(2);
const RUST: SubredditId = SubredditId(1);
const POST: PostId = PostId(1);

/// Something of everything: two users, a subreddit, a post and its repost, two comments, two messages, votes.
fn log() -> Vec<Entry> {
    let text = || "text".into();
    let registered = |name: &str| Record::UserRegistered {
        name: name.into(),
        secret: Secret([0; 16]),
        key: None,
        at_ms: 1,
    };
    let comment =
        |author, parent| Record::CommentCreated { author, post: POST, parent, body: text(), at_ms: 4 };
    let message = |from, to, reply_to| Record::MessageSent {
        from,
        to,
        subject: text(),
        body: text(),
        reply_to,
        at_ms: 5,
    };
    let records = vec![
        registered("ada"),
        registered("bob"),
        Record::SubredditCreated { creator: ADA, name: "rust".into(), description: text(), at_ms: 2 },
        Record::SubredditJoined { user: BOB, subreddit: RUST },
        Record::PostCreated {
            author: ADA,
            subreddit: RUST,
            title: text(),
            body: text(),
            signature: None,
            at_ms: 3,
        },
        Record::PostReposted { author: BOB, subreddit: RUST, original: POST, title: text(), at_ms: 3 },
        Record::PostVoted { voter: BOB, post: POST, direction: Direction::Up },
        comment(BOB, None),
        comment(ADA, Some(CommentId(1))),
        Record::CommentVoted { voter: ADA, comment: CommentId(1), direction: Direction::Down },
        message(ADA, BOB, None),
        message(BOB, ADA, Some(MessageId(1))),
        Record::MessageRead { reader: ADA, message: MessageId(2) },
    ];
    let entry = |(number, record)| Entry { op: Some(OpId { stream: 1, number }), record };
    (1..).zip(records).map(entry).collect()
}

fn read(log: Vec<Entry>) -> Result<Model, Violation> {
    let mut checker = Checker::default();
    log.into_iter().try_for_each(|entry| checker.step(entry))?;
    checker.finish()
}

/// The invariant that is found broken after `change` was made to tables that are right.
fn broken(change: impl FnOnce(&mut Model)) -> &'static str {
    let mut model = read(log()).unwrap();
    change(&mut model);
    let violation = Checker::new(model).finish().expect_err("nothing is found");
    assert!(!violation.example.is_empty());
    violation.invariant
}

/// The invariant that a log breaks with these lines after those that are right.
fn wrong(records: impl IntoIterator<Item = Record>) -> &'static str {
    let more = records.into_iter().map(|record| Entry { op: None, record });
    read(log().into_iter().chain(more).collect()).expect_err("nothing is found").invariant
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert_eq!(read(log()).unwrap().messages.count(), 2);
}

#[test]
fn i01_karma_is_the_sum_of_others_votes() {
    assert_eq!(broken(|model| model.users.list[0].post_karma += 1), "I1");
    assert_eq!(broken(|model| model.users.list[1].comment_karma = 0), "I1");
}

#[test]
fn i02_scores_count_the_votes() {
    assert_eq!(broken(|model| model.posts.list[0].votes.tally.ups += 1), "I2");
    assert_eq!(broken(|model| model.comments.list[0].votes.tally.downs = 0), "I2");
    assert_eq!(broken(|model| model.posts.votes += 1), "I2");
}

#[test]
fn i03_each_user_votes_once() {
    let none = |model: &mut Model| model.posts.list[0].votes.by.insert(BOB, Direction::None);
    assert_eq!(broken(|model| none(model).map_or((), |_| ())), "I3");
    assert_eq!(wrong([Record::PostVoted { voter: BOB, post: POST, direction: Direction::Up }]), "I3");
    assert_eq!(wrong([Record::PostVoted { voter: BOB, post: PostId(9), direction: Direction::Up }]), "I3");
}

#[test]
fn i04_membership_agrees_in_both_directions() {
    assert_eq!(broken(|model| model.subreddits.of_user[1].clear()), "I4");
    assert_eq!(broken(|model| model.subreddits.list[0].members.retain(|&user| user == ADA)), "I4");
    assert_eq!(broken(|model| model.subreddits.by_size.clear()), "I4");
    assert_eq!(wrong([Record::SubredditJoined { user: BOB, subreddit: RUST }]), "I4");
}

#[test]
fn i05_only_members_post() {
    let left = Record::SubredditLeft { user: BOB, subreddit: RUST };
    let text = || "text".into();
    let posts = Record::PostCreated {
        author: BOB,
        subreddit: RUST,
        title: text(),
        body: text(),
        signature: None,
        at_ms: 9,
    };
    assert_eq!(wrong([left, posts]), "I5");
}

#[test]
fn i06_names_are_unique_whatever_their_case() {
    assert_eq!(broken(|model| model.users.list[1].name = "ADA".into()), "I6");
    assert_eq!(broken(|model| model.subreddits.by_name.clear()), "I6");
    let again = Record::UserRegistered { name: "Ada".into(), secret: Secret([0; 16]), key: None, at_ms: 9 };
    assert_eq!(wrong([again]), "I6");
}

#[test]
fn i07_comments_are_trees() {
    assert_eq!(broken(|model| model.comments.list[0].parent = Some(CommentId(2))), "I7");
    assert_eq!(broken(|model| model.comments.list[0].below = 0), "I7");
    assert_eq!(broken(|model| model.comments.list[1].depth = 1), "I7");
    assert_eq!(broken(|model| model.comments.list[1].post = PostId(2)), "I7");
    let parent = Some(CommentId(9));
    assert_eq!(
        wrong([Record::CommentCreated { author: ADA, post: POST, parent, body: "x".into(), at_ms: 9 }]),
        "I7"
    );
}

#[test]
fn i08_posts_count_their_comments() {
    assert_eq!(broken(|model| model.posts.list[0].comments += 1), "I8");
}

#[test]
fn i09_a_feed_is_what_all_posts_make() {
    let mut model = read(log()).unwrap();
    let listings = orders::listings(&model).unwrap();
    // Found by I12 too; here the feed alone is looked at.
    let places = &mut model.posts.orders[0][Sort::Top as usize];
    let (rank, post) = places.pop_last().unwrap();
    places.insert((Rank(rank.0 - 2), post));
    assert_eq!(orders::feeds(&model, &listings).unwrap_err().invariant, "I9");
    let deleted = read(log()).map(|mut model| {
        model.posts.orders[0][Sort::New as usize].clear();
        model
    });
    assert_eq!(orders::feeds(&deleted.unwrap(), &listings).unwrap_err().invariant, "I9");
}

#[test]
fn i10_reposts_lead_to_an_original() {
    let origin = |of, root| Some(Origin { of: PostId(of), root: PostId(root) });
    assert_eq!(broken(|model| model.posts.list[1].origin = origin(9, 9)), "I10");
    assert_eq!(broken(|model| model.posts.list[1].origin = origin(2, 1)), "I10");
    assert_eq!(broken(|model| model.posts.list[0].origin = origin(2, 2)), "I10");
    let original = PostId(9);
    let repost = Record::PostReposted { author: ADA, subreddit: RUST, original, title: "x".into(), at_ms: 9 };
    assert_eq!(wrong([repost]), "I10");
}

#[test]
fn i11_messages_are_seen_by_their_two_and_replies_stay_between_them() {
    assert_eq!(broken(|model| drop(model.messages.boxes.remove(&BOB))), "I11");
    assert_eq!(broken(|model| model.messages.list[1].thread = MessageId(2)), "I11");
    assert_eq!(broken(|model| model.messages.list[0].to = ADA), "I11");
    assert_eq!(broken(|model| model.messages.between.clear()), "I11");
    assert_eq!(wrong([Record::MessageRead { reader: ADA, message: MessageId(1) }]), "I11");
}

#[test]
fn i12_listings_are_what_the_ranks_make() {
    assert_eq!(broken(|model| model.posts.orders[0][Sort::Hot as usize].clear()), "I12");
    let moved = |model: &mut Model| model.posts.orders[0][Sort::Top as usize].insert((Rank(7), PostId(9)));
    assert_eq!(broken(|model| assert!(moved(model))), "I12");
    assert_eq!(broken(|model| model.comments.replies[0].clear()), "I12");
    assert_eq!(broken(|model| model.comments.first.clear()), "I12");
}

#[test]
fn i13_time_does_not_run_backwards() {
    assert_eq!(broken(|model| model.posts.list[0].created_ms = 4), "I13");
    assert_eq!(broken(|model| model.last_ms = 4), "I13");
    let past = Record::UserRegistered { name: "eve".into(), secret: Secret([0; 16]), key: None, at_ms: 4 };
    assert_eq!(wrong([past]), "I13");
}

#[test]
fn i14_no_operation_is_carried_out_twice() {
    let mut log = log();
    let op = log[0].op;
    let record = Record::UserRegistered { name: "eve".into(), secret: Secret([0; 16]), key: None, at_ms: 9 };
    log.push(Entry { op, record });
    assert_eq!(read(log).unwrap_err().invariant, "I14");
}

#[test]
fn i15_an_operation_that_is_asked_for_again_is_answered_with_its_first_result() {
    let mut checker = Checker::default();
    log().into_iter().for_each(|entry| checker.step(entry).unwrap());
    let found = |change: &dyn Fn(&mut Operations)| {
        let mut checker = checker.clone();
        change(&mut checker.model.operations);
        checker.finish().expect_err("nothing is found").invariant
    };
    let op = |number| OpId { stream: 1, number };
    let effect = Effect::PostCreated(PostId(7));
    assert_eq!(found(&|operations| operations.remember(op(5), Some(ADA), effect)), "I15", "another result");
    let done = checker.model.operations.done(Asked { op: op(5), since: 0 }, Some(ADA)).unwrap().unwrap();
    assert_eq!(found(&|operations| operations.remember(op(5), Some(BOB), done)), "I15", "another's");
    assert_eq!(found(&|operations| operations.remember(op(99), Some(ADA), done)), "I15", "never carried out");
    assert_eq!(found(&|operations| *operations = Operations::default()), "I15", "forgotten");
}

#[test]
fn i15_what_is_there_is_there_whole() {
    // Half of a deletion: somebody's, and of something that is not there.
    assert_eq!(wrong([Record::PostDeleted { author: BOB, post: POST }]), "I15");
    assert_eq!(wrong([Record::CommentDeleted { author: ADA, comment: CommentId(9) }]), "I15");
}

#[test]
fn i15_a_window_that_moved_on_is_no_loss() {
    let mut checker = Checker::default();
    log().into_iter().for_each(|entry| checker.step(entry).unwrap());
    for number in 100..2 * WINDOW as u32 {
        let direction = if number % 2 == 0 { Direction::Up } else { Direction::None };
        let record = Record::CommentVoted { voter: BOB, comment: CommentId(2), direction };
        checker.step(Entry { op: Some(OpId { stream: 1, number }), record }).unwrap();
    }
    // Read on from there, as after a snapshot.
    let middle = checker.model.clone();
    checker.finish().unwrap();
    let mut later = Checker::new(middle);
    let again = Record::CommentVoted { voter: BOB, comment: CommentId(2), direction: Direction::Up };
    let op = Some(OpId { stream: 1, number: 2 * WINDOW as u32 });
    later.step(Entry { op, record: again.clone() }).unwrap();
    assert_eq!(later.clone().step(Entry { op, record: again }).unwrap_err().invariant, "I14");
    later.finish().unwrap();
}

#[test]
fn i16_a_snapshot_of_the_tables_is_the_tables() {
    let mut model = read(log()).unwrap();
    // What is not written down must follow from what is.
    model.posts.orders[0][Sort::New as usize].clear();
    assert_eq!(kept::through_a_snapshot(&model).unwrap_err().invariant, "I16");
    let mut model = read(log()).unwrap();
    model.messages.boxes.clear();
    assert_eq!(kept::through_a_snapshot(&model).unwrap_err().invariant, "I16");
}

/// An engine that served 10 requests beside this one, with two users online.
fn examined() -> Examination {
    let (position, fingerprint, requests) = (7, 42, 11);
    Examination {
        position,
        fingerprint,
        requests,
        done: 8,
        refused: 2,
        opened: 3,
        closed: 1,
        sessions: 2,
        online: 2,
    }
}

#[test]
fn i16_an_engine_is_what_its_store_makes() {
    assert_eq!(examined().stored(42), Ok(()));
    assert_eq!(examined().stored(43).unwrap_err().invariant, "I16");
}

#[test]
fn i17_what_an_engine_served_is_what_clients_were_answered_and_lost() {
    assert_eq!(examined().check(), Ok(()));
    for wrong in [Examination { done: 9, ..examined() }, Examination { refused: 1, ..examined() }] {
        assert_eq!(wrong.check().unwrap_err().invariant, "I17");
    }
    let served = |answered, lost| {
        let clients = [Counted { answered, lost: 0 }, Counted { answered: 2, lost }];
        examined().served(clients).map_err(|violation| violation.invariant)
    };
    assert_eq!([served(8, 0), served(7, 1), served(6, 5)], [Ok(()); 3]);
    assert_eq!(served(7, 0), Err("I17"), "served, and nobody was answered");
    assert_eq!(served(9, 0), Err("I17"), "answered, and nobody served it");
}

#[test]
fn i18_who_is_online_has_a_session() {
    let wrong = [
        Examination { online: 3, ..examined() },
        Examination { sessions: 1, ..examined() },
        Examination { closed: 4, ..examined() },
    ];
    for examined in wrong {
        assert_eq!(examined.check().unwrap_err().invariant, "I18");
    }
}

/// After the log: eve, who has a key, and her post with the signature of what she signed.
fn eves(title: &str, signed: &str) -> Vec<Record> {
    let signer = Signer::from_number([7; 32]).unwrap();
    let name = "eve";
    let text = Signed { author: name, subreddit: "rust", title: signed, body: "text", signed_at_ms: 8 };
    let signature = Some(Box::new(signer.sign(&text).unwrap()));
    let key = Some(Box::new(signer.public_key()));
    let (eve, title, body) = (UserId(3), title.into(), "text".into());
    vec![
        Record::UserRegistered { name: name.into(), secret: Secret([0; 16]), key, at_ms: 9 },
        Record::SubredditJoined { user: eve, subreddit: RUST },
        Record::PostCreated { author: eve, subreddit: RUST, title, body, signature, at_ms: 9 },
    ]
}

#[test]
fn i19_posts_of_users_with_keys_have_their_signatures() {
    let more = |records: Vec<Record>| {
        read(log().into_iter().chain(records.into_iter().map(|record| Entry { op: None, record })).collect())
    };
    let eve = PostId(3);
    let model = more(eves("title", "title")).unwrap();
    assert!(model.posts.get(eve).unwrap().signature.is_some());
    assert_eq!(wrong(eves("another", "title")), "I19", "not what was signed");
    let broken = |change: fn(&mut Model)| {
        let mut model = model.clone();
        change(&mut model);
        Checker::new(model).finish().expect_err("nothing is found").invariant
    };
    assert_eq!(broken(|model| model.posts.list[2].body = "another".into()), "I19");
    let copied = |model: &mut Model| model.posts.list[0].signature = model.posts.list[2].signature.clone();
    assert_eq!(broken(copied), "I19", "of one who has no key");
    assert_eq!(broken(|model| model.posts.list[2].signature = None), "I19", "unsigned");
    assert_eq!(broken(|model| model.users.list[2].key = model.users.list[0].key.clone()), "I19");
    let another = || Some(Box::new(Signer::from_number([8; 32]).unwrap().public_key()));
    let mut other = model.clone();
    other.users.list[2].key = another();
    assert_eq!(Checker::new(other).finish().unwrap_err().invariant, "I19", "of another key");
    let moved = |model: &mut Model| {
        let signature = model.posts.list[2].signature.take();
        model.posts.list[1].signature = signature;
    };
    assert_eq!(broken(moved), "I19", "at a repost");
    let mut records = eves("title", "title");
    records.push(Record::PostDeleted { author: UserId(3), post: eve });
    assert!(more(records).unwrap().posts.get(eve).unwrap().signature.is_none(), "gone with the text");
    let key = |name: &str, key| Record::UserRegistered {
        name: name.into(),
        secret: Secret([0; 16]),
        key,
        at_ms: 9,
    };
    assert_eq!(wrong([key("bad", Some(Box::new(PublicKey::from_point(&[4; 65]))))]), "I19", "no point");
    let unsigned = Record::PostCreated {
        author: UserId(3),
        subreddit: RUST,
        title: "x".into(),
        body: "x".into(),
        signature: None,
        at_ms: 9,
    };
    let mut records = eves("title", "title");
    records.push(unsigned);
    assert_eq!(wrong(records), "I19");
}

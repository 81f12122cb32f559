//! The domain's rules, with values worked out by hand.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// 12 December 2023, some evening.
const NOW: u64 = 1_702_400_000_000;

/// When everybody registers; posts come later.
const START: u64 = NOW - 30 * 24 * 60 * 60 * 1000;

/// Decides and applies; panics when refused.
fn must(model: &mut Model, command: Command) -> Effect {
    must_at(model, command, START)
}

fn must_at(model: &mut Model, command: Command, now_ms: u64) -> Effect {
    match model.decide(command, now_ms) {
        Ok(Decision::Apply(record)) => model.apply(record),
        other => panic!("nothing to apply: {other:?}"),
    }
}

fn user(model: &mut Model, name: &str) -> UserId {
    match must(model, Command::Register { name: name.into(), secret: Secret([7; 16]) }) {
        Effect::UserRegistered(id) => id,
        other => panic!("{other:?}"),
    }
}

fn subreddit(model: &mut Model, creator: UserId, name: &str) -> SubredditId {
    let description = "".into();
    match must(model, Command::CreateSubreddit { creator, name: name.into(), description }) {
        Effect::SubredditCreated(id) => id,
        other => panic!("{other:?}"),
    }
}

fn post_at(model: &mut Model, author: UserId, subreddit: SubredditId, now_ms: u64) -> PostId {
    let command = Command::Post { author, subreddit, title: "title".into(), body: "".into() };
    match must_at(model, command, now_ms) {
        Effect::PostCreated(id) => id,
        other => panic!("{other:?}"),
    }
}

fn post(model: &mut Model, author: UserId, subreddit: SubredditId) -> PostId {
    post_at(model, author, subreddit, NOW)
}

fn vote(model: &mut Model, voter: UserId, post: PostId, direction: Direction) -> Tally {
    match must(model, Command::Vote { voter, post, direction }) {
        Effect::Voted(tally) => tally,
        other => panic!("{other:?}"),
    }
}

fn karma(model: &Model, user: UserId) -> i64 {
    model.users().get(user).unwrap().post_karma
}

#[test]
fn names_are_unique_whatever_their_case() {
    let mut model = Model::default();
    let ada = user(&mut model, "Ada");
    let again = Command::Register { name: "aDA".into(), secret: Secret([7; 16]) };
    assert_eq!(model.decide(again, NOW), Err(Error::NameTaken));
    subreddit(&mut model, ada, "Rust");
    let again = Command::CreateSubreddit { creator: ada, name: "rUST".into(), description: "".into() };
    assert_eq!(model.decide(again, NOW), Err(Error::NameTaken));
    assert_eq!(model.users().by_name("ADA"), Some(ada));
}

#[test]
fn the_creator_is_the_first_member_and_both_directions_agree() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let rust = subreddit(&mut model, ada, "rust");
    assert_eq!(
        must(&mut model, Command::Join { user: bob, subreddit: rust }),
        Effect::Membership { members: 2 }
    );
    assert_eq!(
        must(&mut model, Command::Leave { user: ada, subreddit: rust }),
        Effect::Membership { members: 1 }
    );
    assert_eq!(model.subreddits().of(ada).count(), 0);
    assert_eq!(model.subreddits().of(bob).collect::<Vec<_>>(), [rust]);
    assert!(!model.subreddits().get(rust).unwrap().has(ada));
}

#[test]
fn joining_twice_and_leaving_a_stranger_are_refused() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let rust = subreddit(&mut model, ada, "rust");
    let join = Command::Join { user: ada, subreddit: rust };
    let leave = Command::Leave { user: bob, subreddit: rust };
    assert_eq!(model.decide(join, NOW), Err(Error::AlreadyMember));
    assert_eq!(model.decide(leave, NOW), Err(Error::NotMember));
}

#[test]
fn only_members_post() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let rust = subreddit(&mut model, ada, "rust");
    let command =
        |author, subreddit| Command::Post { author, subreddit, title: "hello".into(), body: "".into() };
    assert_eq!(model.decide(command(bob, rust), NOW), Err(Error::NotMember));
    assert_eq!(model.decide(command(ada, SubredditId(99)), NOW), Err(Error::NotFound(Thing::Subreddit)));
    assert_eq!(model.decide(command(UserId(0), rust), NOW), Err(Error::NotFound(Thing::User)));
}

#[test]
fn a_new_post_has_one_point_and_gives_no_karma() {
    let mut model = Model::default();
    let ada = user(&mut model, "ada");
    let rust = subreddit(&mut model, ada, "rust");
    let post = post(&mut model, ada, rust);
    let written = model.posts().get(post).unwrap();
    assert_eq!((written.tally.score(), written.vote_of(ada)), (1, Direction::Up));
    assert_eq!(karma(&model, ada), 0);
}

#[test]
fn a_vote_replaces_the_last_one_and_karma_follows() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let rust = subreddit(&mut model, ada, "rust");
    let post = post(&mut model, ada, rust);
    assert_eq!(vote(&mut model, bob, post, Direction::Up), Tally { ups: 2, downs: 0 });
    assert_eq!(karma(&model, ada), 1);
    assert_eq!(vote(&mut model, bob, post, Direction::Down), Tally { ups: 1, downs: 1 });
    assert_eq!(karma(&model, ada), -1);
    assert_eq!(vote(&mut model, bob, post, Direction::None), Tally { ups: 1, downs: 0 });
    assert_eq!(karma(&model, ada), 0);
    assert_eq!(model.posts().votes(), 1);
}

#[test]
fn an_identical_vote_is_nothing_to_do() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let rust = subreddit(&mut model, ada, "rust");
    let post = post(&mut model, ada, rust);
    vote(&mut model, bob, post, Direction::Up);
    let again = Command::Vote { voter: bob, post, direction: Direction::Up };
    let same = Effect::Voted(Tally { ups: 2, downs: 0 });
    assert_eq!(model.decide(again, NOW), Ok(Decision::Unchanged(same)));
    let never = Command::Vote { voter: user(&mut model, "eve"), post, direction: Direction::None };
    assert_eq!(model.decide(never, NOW), Ok(Decision::Unchanged(same)));
}

#[test]
fn a_vote_of_ones_own_never_gives_karma() {
    let mut model = Model::default();
    let ada = user(&mut model, "ada");
    let rust = subreddit(&mut model, ada, "rust");
    let post = post(&mut model, ada, rust);
    assert_eq!(vote(&mut model, ada, post, Direction::Down), Tally { ups: 0, downs: 1 });
    assert_eq!(karma(&model, ada), 0);
}

#[test]
fn listings_follow_their_order_and_continue_behind_a_place() {
    let mut model = Model::default();
    let (ada, bob, eve) = (user(&mut model, "ada"), user(&mut model, "bob"), user(&mut model, "eve"));
    let rust = subreddit(&mut model, ada, "rust");
    let [old, split, young] = [0, 1000, 2000].map(|ms| post_at(&mut model, ada, rust, NOW + ms));
    // Ten points would be 12.5 hours; two more points are enough for two seconds.
    vote(&mut model, bob, old, Direction::Up);
    vote(&mut model, eve, old, Direction::Up);
    vote(&mut model, bob, split, Direction::Down);
    let listed = |sort| model.posts().ranked(rust, sort, None).map(|(_, post)| post).collect::<Vec<_>>();
    assert_eq!(listed(Sort::New), [young, split, old]);
    assert_eq!(listed(Sort::Top), [old, young, split]);
    assert_eq!(listed(Sort::Hot), [old, young, split]);
    assert_eq!(listed(Sort::Controversial), [split, young, old]);
    let place = (model.posts().get(old).unwrap().rank(Sort::Hot), old);
    let rest: Vec<_> = model.posts().ranked(rust, Sort::Hot, Some(place)).map(|(_, post)| post).collect();
    assert_eq!(rest, [young, split]);
}

#[test]
fn a_large_subreddit_does_not_drown_a_small_one_in_the_feed() {
    let mut model = Model::default();
    let ada = user(&mut model, "ada");
    let (large, small) = (subreddit(&mut model, ada, "large"), subreddit(&mut model, ada, "small"));
    let day = 24 * 60 * 60 * 1000;
    let quiet = post_at(&mut model, ada, small, NOW - 3 * day);
    let busy: Vec<_> = (0..5).map(|age| post_at(&mut model, ada, large, NOW + age * 1000)).collect();
    let feed = feed(&model, ada, Sort::Hot, None, 3, NOW).unwrap();
    // Each subreddit's hottest is worth exactly 1; between those two the hotter goes first.
    assert_eq!(feed, [busy[4], quiet, busy[3]]);
}

#[test]
fn a_feed_shows_joined_subreddits_only_and_its_pages_do_not_overlap() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let (rust, other) = (subreddit(&mut model, ada, "rust"), subreddit(&mut model, ada, "other"));
    must(&mut model, Command::Join { user: bob, subreddit: rust });
    for round in 0..10 {
        post_at(&mut model, ada, rust, NOW + round * 1000);
        post_at(&mut model, ada, other, NOW + round * 1000);
    }
    for sort in Sort::ALL {
        let first = feed(&model, bob, sort, None, 6, NOW).unwrap();
        let second = feed(&model, bob, sort, first.last().copied(), 6, NOW).unwrap();
        assert_eq!((first.len(), second.len()), (6, 4), "{sort:?}");
        let mut all: Vec<_> = first.into_iter().chain(second).collect();
        assert!(all.iter().all(|&post| model.posts().get(post).unwrap().subreddit == rust));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 10, "{sort:?}");
    }
    must(&mut model, Command::Leave { user: bob, subreddit: rust });
    assert_eq!(feed(&model, bob, Sort::New, None, 6, NOW), Ok(Vec::new()));
}

#[test]
fn hot_forgets_after_a_thousand_days() {
    let mut model = Model::default();
    let ada = user(&mut model, "ada");
    let rust = subreddit(&mut model, ada, "rust");
    let post = post(&mut model, ada, rust);
    let later = NOW + 1001 * 24 * 60 * 60 * 1000;
    assert_eq!(feed(&model, ada, Sort::Hot, None, 5, later), Ok(Vec::new()));
    assert_eq!(feed(&model, ada, Sort::Top, None, 5, later), Ok(vec![post]));
}

#[test]
fn times_never_go_back_when_the_clock_does() {
    let mut model = Model::default();
    let ada = user(&mut model, "ada");
    let rust = subreddit(&mut model, ada, "rust");
    post_at(&mut model, ada, rust, NOW);
    let second = post_at(&mut model, ada, rust, NOW - 5000);
    assert_eq!(model.posts().get(second).unwrap().created_ms, NOW);
}

/// A command about few users, subreddits and posts, so that they meet often; some name what does not exist.
fn command() -> impl Strategy<Value = Command> {
    let user = || (0..6u32).prop_map(UserId);
    let subreddit = || (0..5u32).prop_map(SubredditId);
    let direction = prop_oneof![Just(Direction::Up), Just(Direction::None), Just(Direction::Down)];
    prop_oneof![
        "[a-cA-C]{2,4}".prop_map(|name| Command::Register { name: name.into(), secret: Secret([1; 16]) }),
        (user(), "[a-bA-B]{2,4}").prop_map(|(creator, name)| Command::CreateSubreddit {
            creator,
            name: name.into(),
            description: "".into()
        }),
        (user(), subreddit()).prop_map(|(user, subreddit)| Command::Join { user, subreddit }),
        (user(), subreddit()).prop_map(|(user, subreddit)| Command::Leave { user, subreddit }),
        (user(), subreddit()).prop_map(|(author, subreddit)| Command::Post {
            author,
            subreddit,
            title: "t".into(),
            body: "".into()
        }),
        (user(), (0..20u32).prop_map(PostId), direction).prop_map(|(voter, post, direction)| Command::Vote {
            voter,
            post,
            direction
        }),
    ]
}

proptest! {
    // Each history is checked against brute force, so fewer of them and longer ones.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_history_keeps_the_invariants_and_replays_to_the_same_model(
        commands in prop::collection::vec((command(), 0..100_000u64), 1..200),
    ) {
        let mut model = Model::default();
        let mut log = Vec::new();
        for (command, later) in commands {
            if let Ok(Decision::Apply(record)) = model.decide(command, NOW + later) {
                log.push(record.clone());
                model.apply(record);
            }
        }
        check(&model, &log);
        let mut replayed = Model::default();
        for record in log {
            replayed.apply(record);
        }
        prop_assert_eq!(model, replayed);
    }
}

/// Counts everything again from the log alone.
fn check(model: &Model, log: &[Record]) {
    let mut votes = BTreeMap::new();
    let mut posts = 0;
    for record in log {
        match record {
            Record::PostCreated { author, .. } => {
                posts += 1;
                votes.insert((PostId(posts), *author), Direction::Up);
            }
            Record::PostVoted { voter, post, direction } => {
                votes.insert((*post, *voter), *direction);
            }
            _ => {}
        }
    }
    let mut karma_by_votes = BTreeMap::new();
    for id in (1..=posts).map(PostId) {
        let post = model.posts().get(id).unwrap();
        let cast = |wanted| votes.iter().filter(|((of, _), cast)| *of == id && **cast == wanted).count();
        assert_eq!(post.tally.ups as usize, cast(Direction::Up));
        assert_eq!(post.tally.downs as usize, cast(Direction::Down));
        for ((_, voter), cast) in votes.range((id, UserId(0))..(PostId(id.0 + 1), UserId(0))) {
            if *voter != post.author {
                *karma_by_votes.entry(post.author).or_insert(0) += cast.value();
            }
        }
        for sort in Sort::ALL {
            let place = (post.rank(sort), id);
            assert!(model.posts().ranked(post.subreddit, sort, None).any(|found| found == place));
        }
    }
    for id in (1..=model.users().count() as u32).map(UserId) {
        assert_eq!(karma(model, id), karma_by_votes.get(&id).copied().unwrap_or(0));
        for subreddit in model.subreddits().of(id) {
            assert!(model.subreddits().get(subreddit).unwrap().has(id));
        }
        for sort in Sort::ALL {
            let merged = feed(model, id, sort, None, 1000, model.last_ms()).unwrap();
            assert_eq!(merged, feed_by_brute_force(model, id, sort, posts), "{id} {sort:?}");
        }
    }
    let both_ways: usize =
        (1..=model.users().count() as u32).map(|id| model.subreddits().of(UserId(id)).len()).sum();
    let members: u32 =
        model.subreddits().after(None).map(|id| model.subreddits().get(id).unwrap().members()).sum();
    assert_eq!(both_ways, members as usize);
    let listed: u32 = model.subreddits().after(None).map(|id| model.posts().count_in(id)).sum();
    assert_eq!(listed, posts);
}

/// The feed's definition, word for word: all posts of joined subreddits, sorted.
fn feed_by_brute_force(model: &Model, user: UserId, sort: Sort, posts: u32) -> Vec<PostId> {
    let all = (1..=posts).map(PostId).map(|id| (id, model.posts().get(id).unwrap()));
    let mut places: Vec<_> = all
        .clone()
        .filter(|(_, post)| model.subreddits().get(post.subreddit).unwrap().has(user))
        .map(|(id, post)| {
            let rank = post.rank(sort);
            let mates = all.clone().filter(|(_, mate)| mate.subreddit == post.subreddit);
            let hottest = mates.map(|(_, mate)| mate.rank(Sort::Hot)).max().unwrap();
            (if sort == Sort::Hot { rank.normalized(hottest) } else { rank }, rank, id)
        })
        .collect();
    places.sort();
    places.into_iter().rev().map(|(_, _, id)| id).collect()
}

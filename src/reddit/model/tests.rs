//! The domain's rules, with values worked out by hand.

use proptest::prelude::*;

use super::check::Checker;
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
    match must(model, Command::Register { name: name.into(), secret: Secret([7; 16]), key: None }) {
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
    let command =
        Command::Post { author, subreddit, title: "title".into(), body: "".into(), signature: None };
    match must_at(model, command, now_ms) {
        Effect::PostCreated(id) => id,
        other => panic!("{other:?}"),
    }
}

fn post(model: &mut Model, author: UserId, subreddit: SubredditId) -> PostId {
    post_at(model, author, subreddit, NOW)
}

fn vote(model: &mut Model, voter: UserId, post: PostId, direction: Direction) -> Tally {
    match must(model, Command::VotePost { voter, post, direction }) {
        Effect::PostVoted(tally) => tally,
        other => panic!("{other:?}"),
    }
}

fn page(sort: Sort, after: Option<PostId>, limit: usize, now_ms: u64) -> Listing {
    Listing { sort, window: Window::All, after, limit, now_ms }
}

fn karma(model: &Model, user: UserId) -> i64 {
    model.users().get(user).unwrap().post_karma
}

#[test]
fn names_are_unique_whatever_their_case() {
    let mut model = Model::default();
    let ada = user(&mut model, "Ada");
    let again = Command::Register { name: "aDA".into(), secret: Secret([7; 16]), key: None };
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
    let command = |author, subreddit| Command::Post {
        author,
        subreddit,
        title: "hello".into(),
        body: "".into(),
        signature: None,
    };
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
    assert_eq!((written.tally().score(), written.vote_of(ada)), (1, Direction::Up));
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
    let again = Command::VotePost { voter: bob, post, direction: Direction::Up };
    let same = Effect::PostVoted(Tally { ups: 2, downs: 0 });
    assert_eq!(model.decide(again, NOW), Ok(Decision::Unchanged(same)));
    let never = Command::VotePost { voter: user(&mut model, "eve"), post, direction: Direction::None };
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
    let feed = feed(&model, ada, page(Sort::Hot, None, 3, NOW)).unwrap();
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
        let first = feed(&model, bob, page(sort, None, 6, NOW)).unwrap();
        let second = feed(&model, bob, page(sort, first.last().copied(), 6, NOW)).unwrap();
        assert_eq!((first.len(), second.len()), (6, 4), "{sort:?}");
        let mut all: Vec<_> = first.into_iter().chain(second).collect();
        assert!(all.iter().all(|&post| model.posts().get(post).unwrap().subreddit == rust));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 10, "{sort:?}");
    }
    must(&mut model, Command::Leave { user: bob, subreddit: rust });
    assert_eq!(feed(&model, bob, page(Sort::New, None, 6, NOW)), Ok(Vec::new()));
}

#[test]
fn hot_forgets_after_a_thousand_days() {
    let mut model = Model::default();
    let ada = user(&mut model, "ada");
    let rust = subreddit(&mut model, ada, "rust");
    let post = post(&mut model, ada, rust);
    let later = NOW + 1001 * 24 * 60 * 60 * 1000;
    assert_eq!(feed(&model, ada, page(Sort::Hot, None, 5, later)), Ok(Vec::new()));
    assert_eq!(feed(&model, ada, page(Sort::Top, None, 5, later)), Ok(vec![post]));
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

#[test]
fn comments_form_a_tree_and_every_ancestor_counts_what_is_below() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let rust = subreddit(&mut model, ada, "rust");
    let (post, other) = (post(&mut model, ada, rust), post(&mut model, ada, rust));
    let first = comment(&mut model, bob, post, None);
    let second = comment(&mut model, ada, post, Some(first));
    let third = comment(&mut model, bob, post, Some(second));
    let read = |model: &Model, id| {
        let comment = model.comments().get(id).unwrap();
        (comment.depth, comment.below)
    };
    assert_eq!([first, second, third].map(|id| read(&model, id)), [(1, 2), (2, 1), (3, 0)]);
    assert_eq!(model.posts().get(post).unwrap().comments, 3);
    let answer = |post, parent| Command::Comment { author: ada, post, parent, body: "x".into() };
    assert_eq!(model.decide(answer(other, Some(first)), NOW), Err(Error::ParentMismatch));
    let nobody = CommentId(99);
    assert_eq!(model.decide(answer(post, Some(nobody)), NOW), Err(Error::NotFound(Thing::Comment)));
    let mut deep = third;
    for _ in 3..50 {
        deep = comment(&mut model, ada, post, Some(deep));
    }
    assert_eq!(model.decide(answer(post, Some(deep)), NOW), Err(Error::TooDeep { max: 50 }));
}

#[test]
fn votes_on_comments_give_karma_of_their_own() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let rust = subreddit(&mut model, ada, "rust");
    let post = post(&mut model, ada, rust);
    let comment = comment(&mut model, ada, post, None);
    must(&mut model, Command::VoteComment { voter: bob, comment, direction: Direction::Down });
    let ada = model.users().get(ada).unwrap();
    assert_eq!((ada.post_karma, ada.comment_karma), (0, -1));
}

#[test]
fn a_tree_shows_the_highest_ranked_whose_parent_is_shown_parents_first() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let rust = subreddit(&mut model, ada, "rust");
    let post = post(&mut model, ada, rust);
    let [good, poor] = [0, 1].map(|_| comment(&mut model, ada, post, None));
    let below = comment(&mut model, ada, post, Some(good));
    for voted in [good, below] {
        must(&mut model, Command::VoteComment { voter: bob, comment: voted, direction: Direction::Up });
    }
    must(&mut model, Command::VoteComment { voter: bob, comment: poor, direction: Direction::Down });
    let show = |sort, limit, levels, root| thread(&model, post, Part { root, sort, limit, levels }).unwrap();
    assert_eq!(show(CommentSort::Best, 9, 9, None), [good, below, poor]);
    assert_eq!(show(CommentSort::Best, 2, 9, None), [good, below]);
    assert_eq!(show(CommentSort::Top, 9, 1, None), [good, poor]);
    assert_eq!(show(CommentSort::New, 9, 9, None), [poor, good, below]);
    assert_eq!(show(CommentSort::Old, 9, 9, None), [good, below, poor]);
    assert_eq!(show(CommentSort::Controversial, 9, 9, None), [poor, good, below]);
    assert_eq!(show(CommentSort::Best, 9, 9, Some(good)), [good, below]);
}

#[test]
fn a_message_is_between_two_and_replies_go_to_the_other() {
    let mut model = Model::default();
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| user(&mut model, name));
    let send = Command::Send { from: ada, to: bob, subject: "hi".into(), body: "text".into() };
    let first = MessageId(1);
    assert_eq!(must(&mut model, send), Effect::MessageSent { id: first, thread: first });
    let reply = |from| Command::Reply { from, message: first, body: "text".into() };
    assert_eq!(model.decide(reply(eve), NOW), Err(Error::NotParticipant));
    let second = MessageId(2);
    assert_eq!(must(&mut model, reply(bob)), Effect::MessageSent { id: second, thread: first });
    assert_eq!(must(&mut model, reply(ada)), Effect::MessageSent { id: MessageId(3), thread: first });
    assert_eq!(model.messages().get(second).unwrap().to, ada);
    assert_eq!(&*model.messages().get(second).unwrap().subject, "hi");
    let list = |model: &Model, user, folder| model.messages().of(user, folder, None).collect::<Vec<_>>();
    assert_eq!(list(&model, ada, Folder::Inbox), [second]);
    assert_eq!(list(&model, ada, Folder::Sent), [MessageId(3), first]);
    assert_eq!(list(&model, eve, Folder::Inbox), []);
    let mark = |reader| Command::MarkRead { reader, message: second };
    assert_eq!(model.decide(mark(bob), NOW), Err(Error::NotParticipant));
    must(&mut model, mark(ada));
    assert_eq!(list(&model, ada, Folder::Unread), []);
    assert_eq!(model.decide(mark(ada), NOW), Ok(Decision::Unchanged(Effect::MessageRead)));
    assert_eq!(model.messages().between(bob, ada, Some(second)).collect::<Vec<_>>(), [first]);
    let oneself = Command::Send { from: ada, to: ada, subject: "".into(), body: "text".into() };
    assert!(model.decide(oneself, NOW).is_err());
}

#[test]
fn a_repost_of_a_repost_points_at_the_beginning() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let (rust, other) = (subreddit(&mut model, ada, "rust"), subreddit(&mut model, bob, "other"));
    let original = post(&mut model, ada, rust);
    let again = |author, subreddit, original| Command::Repost { author, subreddit, original, title: None };
    assert_eq!(model.decide(again(bob, rust, original), NOW), Err(Error::NotMember));
    assert_eq!(must(&mut model, again(bob, other, original)), Effect::PostCreated(PostId(2)));
    assert_eq!(must(&mut model, again(ada, rust, PostId(2))), Effect::PostCreated(PostId(3)));
    let third = model.posts().get(PostId(3)).unwrap();
    assert_eq!(third.origin, Some(Origin { of: PostId(2), root: original }));
    assert_eq!(&*third.title, "title");
}

#[test]
fn what_its_author_deletes_is_listed_no_more_and_what_was_said_below_stays() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let rust = subreddit(&mut model, ada, "rust");
    let post = post(&mut model, ada, rust);
    let first = comment(&mut model, bob, post, None);
    let answer = comment(&mut model, ada, post, Some(first));
    assert_eq!(model.decide(Command::DeletePost { author: bob, post }, NOW), Err(Error::NotAuthor));
    let deletion = Command::DeleteComment { author: bob, comment: first };
    must(&mut model, deletion.clone());
    assert_eq!(model.decide(deletion, NOW), Err(Error::NotFound(Thing::Comment)));
    must(&mut model, Command::DeletePost { author: ada, post });
    assert_eq!(model.posts().ranked(rust, Sort::New, None).count(), 0);
    assert_eq!(model.posts().count_in(rust), 0);
    let whole = Part { root: None, sort: CommentSort::Best, limit: 9, levels: 9 };
    assert_eq!(thread(&model, post, whole), Ok(vec![first, answer]));
    assert_eq!(&*model.comments().get(first).unwrap().body, "");
    let vote = Command::VotePost { voter: bob, post, direction: Direction::Up };
    assert_eq!(model.decide(vote, NOW), Err(Error::NotFound(Thing::Post)));
}

#[test]
fn a_window_holds_the_young_posts_only() {
    let mut model = Model::default();
    let (ada, bob) = (user(&mut model, "ada"), user(&mut model, "bob"));
    let rust = subreddit(&mut model, ada, "rust");
    let hour = 60 * 60 * 1000;
    let old = post_at(&mut model, ada, rust, NOW - 2 * hour);
    let [young, liked] = [0, 1].map(|_| post_at(&mut model, ada, rust, NOW));
    vote(&mut model, bob, old, Direction::Up);
    vote(&mut model, bob, liked, Direction::Up);
    let top = |window: Window, after| {
        let ranked = model.posts().ranked_since(rust, Sort::Top, window.since_ms(NOW + 1), after);
        ranked.map(|(_, post)| post).collect::<Vec<_>>()
    };
    assert_eq!(top(Window::All, None), [liked, old, young]);
    assert_eq!(top(Window::Hour, None), [liked, young]);
    assert_eq!(top(Window::Hour, Some((Rank(2), liked))), [young]);
    let listing = Listing { window: Window::Hour, ..page(Sort::Top, None, 5, NOW + 1) };
    assert_eq!(feed(&model, ada, listing), Ok(vec![liked, young]));
    assert_eq!(feed(&model, ada, Listing { sort: Sort::Hot, ..listing }).unwrap().len(), 2);
}

fn comment(model: &mut Model, author: UserId, post: PostId, parent: Option<CommentId>) -> CommentId {
    match must_at(model, Command::Comment { author, post, parent, body: "text".into() }, NOW) {
        Effect::CommentCreated { id, .. } => id,
        other => panic!("{other:?}"),
    }
}

/// A command about few users, subreddits and posts, so that they meet often; some name what does not exist.
pub(super) fn command() -> impl Strategy<Value = Command> {
    let user = || (0..6u32).prop_map(UserId);
    let subreddit = || (0..5u32).prop_map(SubredditId);
    let post = || (0..20u32).prop_map(PostId);
    let comment = || (0..30u32).prop_map(CommentId);
    let message = || (0..12u32).prop_map(MessageId);
    let direction = || prop_oneof![Just(Direction::Up), Just(Direction::None), Just(Direction::Down)];
    let text = || "[a-z ]{0,3}".prop_map(Text::from);
    prop_oneof![
        "[a-cA-C]{2,4}".prop_map(|name| Command::Register {
            name: name.into(),
            secret: Secret([1; 16]),
            key: None
        }),
        (user(), "[a-bA-B]{2,4}").prop_map(|(creator, name)| Command::CreateSubreddit {
            creator,
            name: name.into(),
            description: "".into()
        }),
        (user(), subreddit()).prop_map(|(user, subreddit)| Command::Join { user, subreddit }),
        (user(), subreddit()).prop_map(|(user, subreddit)| Command::Leave { user, subreddit }),
        (user(), subreddit(), text()).prop_map(|(author, subreddit, title)| Command::Post {
            author,
            subreddit,
            title,
            body: "".into(),
            signature: None
        }),
        (user(), post(), direction()).prop_map(|(voter, post, direction)| Command::VotePost {
            voter,
            post,
            direction
        }),
        (user(), subreddit(), post()).prop_map(|(author, subreddit, original)| Command::Repost {
            author,
            subreddit,
            original,
            title: None
        }),
        (user(), post()).prop_map(|(author, post)| Command::DeletePost { author, post }),
        (user(), post(), prop::option::of(comment()), text())
            .prop_map(|(author, post, parent, body)| Command::Comment { author, post, parent, body }),
        (user(), comment(), direction()).prop_map(|(voter, comment, direction)| Command::VoteComment {
            voter,
            comment,
            direction
        }),
        (user(), comment()).prop_map(|(author, comment)| Command::DeleteComment { author, comment }),
        (user(), user(), text()).prop_map(|(from, to, body)| Command::Send {
            from,
            to,
            subject: "".into(),
            body
        }),
        (user(), message(), text()).prop_map(|(from, message, body)| Command::Reply { from, message, body }),
        (user(), message()).prop_map(|(reader, message)| Command::MarkRead { reader, message }),
    ]
}

/// A model with something in every table, and the log that made it.
pub(super) fn history(commands: impl IntoIterator<Item = (Command, u64)>) -> (Model, Vec<Entry>) {
    let mut model = Model::default();
    let mut log = Vec::new();
    for (number, (command, later)) in (1..).zip(commands) {
        if let Ok(Decision::Apply(record)) = model.decide(command, NOW + later) {
            let entry = Entry { op: Some(OpId { stream: 1, number }), record };
            log.push(entry.clone());
            model.apply_entry(entry);
        }
    }
    (model, log)
}

proptest! {
    // Each history is checked against brute force, so fewer of them and longer ones.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_history_keeps_the_invariants_and_replays_to_the_same_model(
        commands in prop::collection::vec((command(), 0..100_000u64), 1..400),
    ) {
        let (model, log) = history(commands);
        let mut checker = Checker::default();
        for entry in log {
            checker.step(entry).unwrap();
        }
        prop_assert_eq!(&checker.finish().unwrap(), &model);
    }

    #[test]
    fn what_is_written_down_is_read_back_with_every_index(
        commands in prop::collection::vec((command(), 0..100_000u64), 1..200),
    ) {
        let (model, _) = history(commands);
        let bytes = postcard::to_stdvec(&model).unwrap();
        let mut read: Model = postcard::from_bytes(&bytes).unwrap();
        // Who never joined and never posted may have an empty place or none.
        read.subreddits.of_user.resize(model.subreddits.of_user.len(), Default::default());
        read.posts.orders.resize_with(model.posts.orders.len(), Default::default);
        read.comments.first.resize_with(model.comments.first.len(), Default::default);
        prop_assert_eq!(read, model);
    }

    #[test]
    fn pages_of_every_order_join_without_gap_or_overlap(
        commands in prop::collection::vec((command(), 0..100_000u64), 1..300),
        size in 1..4usize,
    ) {
        let (model, _) = history(commands);
        for user in (1..=model.users().count() as u32).map(UserId) {
            for sort in Sort::ALL {
                let whole = feed(&model, user, page(sort, None, 1000, model.last_ms())).unwrap();
                let mut joined: Vec<PostId> = Vec::new();
                loop {
                    let next = page(sort, joined.last().copied(), size, model.last_ms());
                    let part = feed(&model, user, next).unwrap();
                    if part.is_empty() {
                        break;
                    }
                    joined.extend(part);
                }
                prop_assert_eq!(joined, whole);
            }
        }
    }
}

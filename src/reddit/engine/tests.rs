//! The actors answering, without sockets.

use std::time::Duration;

use super::*;
use crate::reddit::Signer;
use crate::reddit::model::{self, Field, Flaw, Listing, Signed};
use crate::reddit::protocol::{
    CommentId, CommentSort, Direction, Error, Folder, OpId, Page, PostId, PostView, Secret, Session,
    Signature, Sort, SubredditId, Tally, Token, UserId, Window, comment_manager, dm_manager, feed_generator,
    post_manager, subreddit_manager, user_registry,
};

pub(super) const NOW: u64 = 1_702_400_000_000;

/// One turn with these requests; the answers in the order of the requests.
pub(super) fn turn(engine: &mut Engine<usize>, requests: Vec<Request>) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = vec![None; requests.len()];
    engine.turn(requests.into_iter().map(Envelope::from).enumerate(), NOW, |from, answer| {
        assert!(answers[from].replace(answer.clone()).is_none(), "one answer each");
    });
    answers.into_iter().map(|answer| answer.expect("every request is answered")).collect()
}

pub(super) fn ask(engine: &mut Engine<usize>, request: Request) -> Answer {
    turn(engine, vec![request]).remove(0)
}

fn registration(name: &str, secret: u8) -> Request {
    let secret = Secret([secret; 16]);
    Request::UserRegistry(user_registry::Request::Register { name: name.into(), secret, key: None })
}

fn logged_in(answer: Answer) -> Session {
    match answer {
        Ok(Reply::UserRegistry(user_registry::Reply::LoggedIn(session))) => session,
        other => panic!("{other:?}"),
    }
}

pub(super) fn register(engine: &mut Engine<usize>, name: &str) -> Session {
    logged_in(ask(engine, registration(name, 1)))
}

pub(super) fn create(session: Session, name: &str) -> Request {
    let (name, description) = (name.into(), "".into());
    Request::SubredditManager(subreddit_manager::Request::Create { session, name, description })
}

pub(super) fn post(session: Session, subreddit: SubredditId, body: &str) -> Request {
    let (title, body) = ("title".into(), body.into());
    Request::PostManager(post_manager::Request::Create { session, subreddit, title, body, signature: None })
}

fn feed(session: Session, page: Page<PostId>) -> Request {
    let window = Window::All;
    Request::FeedGenerator(feed_generator::Request::Get { session, sort: Sort::New, window, page })
}

fn posts(answer: Answer) -> Vec<PostView> {
    match answer {
        Ok(Reply::FeedGenerator(feed_generator::Reply::Posts(posts))) => posts.unpack(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn registering_again_with_the_same_secret_is_logging_in() {
    let mut engine = Engine::new();
    let first = register(&mut engine, "ada");
    assert_eq!(logged_in(ask(&mut engine, registration("ADA", 1))), first);
    assert_eq!(ask(&mut engine, registration("ada", 2)), Err(Error::NameTaken));
    assert_eq!(engine.stats().users, 1);
    assert_eq!(engine.stats().records, 1);
}

#[test]
fn logging_in_needs_the_secret_and_logging_out_ends_the_session() {
    let mut engine = Engine::new();
    let session = register(&mut engine, "ada");
    let login = |secret: u8| {
        let secret = Secret([secret; 16]);
        Request::UserRegistry(user_registry::Request::Login { name: "ada".into(), secret })
    };
    assert_eq!(ask(&mut engine, login(2)), Err(Error::WrongSecret));
    let logout = Request::UserRegistry(user_registry::Request::Logout { session });
    assert!(ask(&mut engine, logout).is_ok());
    assert_eq!(ask(&mut engine, create(session, "rust")), Err(Error::BadSession));
    let again = logged_in(ask(&mut engine, login(1)));
    assert_ne!(again.token, session.token);
    assert!(ask(&mut engine, create(again, "rust")).is_ok());
}

#[test]
fn nobody_acts_for_another() {
    let mut engine = Engine::new();
    let ada = register(&mut engine, "ada");
    let bob = register(&mut engine, "bob");
    let forged = Session { user: ada.user, token: bob.token };
    let unknown = Session { user: UserId(99), token: Token(0) };
    for session in [forged, unknown] {
        let vote = post_manager::Request::Vote { session, post: PostId(1), direction: Direction::Up };
        let join = subreddit_manager::Request::Join { session, subreddit: SubredditId(1) };
        let requests = vec![
            create(session, "rust"),
            Request::SubredditManager(join),
            post(session, SubredditId(1), ""),
            Request::PostManager(vote),
            feed(session, Page::FIRST),
        ];
        let count = requests.len();
        assert_eq!(turn(&mut engine, requests), vec![Err(Error::BadSession); count]);
    }
}

#[test]
fn one_command_changes_every_table_it_concerns() {
    let mut engine = Engine::new();
    let (ada, bob) = (register(&mut engine, "ada"), register(&mut engine, "bob"));
    ask(&mut engine, create(ada, "rust")).unwrap();
    ask(&mut engine, post(ada, SubredditId(1), "text")).unwrap();
    let vote = post_manager::Request::Vote { session: bob, post: PostId(1), direction: Direction::Up };
    let voted = ask(&mut engine, Request::PostManager(vote.clone()));
    let tally = Tally { ups: 2, downs: 0 };
    assert_eq!(voted, Ok(Reply::PostManager(post_manager::Reply::Voted(tally))));
    let records = engine.stats().records;
    assert_eq!(ask(&mut engine, Request::PostManager(vote)), voted, "the same again");
    assert_eq!(engine.stats().records, records, "is nothing to record");
    match ask(&mut engine, Request::UserRegistry(user_registry::Request::Get { user: ada.user })) {
        Ok(Reply::UserRegistry(user_registry::Reply::User(view))) => {
            assert_eq!((view.post_karma, view.subreddits), (1, 1));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn within_a_turn_actors_work_in_the_order_in_which_requests_build_on_each_other() {
    let mut engine = Engine::new();
    let ada = register(&mut engine, "ada");
    let answers = turn(
        &mut engine,
        vec![feed(ada, Page::FIRST), post(ada, SubredditId(1), "text"), create(ada, "rust")],
    );
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(posts(answers[0].clone()).len(), 1);
}

#[test]
fn a_list_shows_the_beginnings_of_texts_and_a_page_of_long_posts_fits_into_a_frame() {
    let mut engine = Engine::new();
    let ada = register(&mut engine, "ada");
    ask(&mut engine, create(ada, "rust")).unwrap();
    // The 100th byte is in the middle of a letter.
    let long = format!("{}{}", "x".repeat(99), "ä".repeat(19_000));
    for _ in 0..120 {
        ask(&mut engine, post(ada, SubredditId(1), &long)).unwrap();
    }
    let answer = ask(&mut engine, feed(ada, Page { after: None, limit: Some(100) }));
    let mut frame = Vec::new();
    crate::node::frame::append(&mut frame, crate::node::Kind::Reply, 1, &answer).unwrap();
    let shown = posts(answer);
    assert_eq!(shown.len(), 100);
    assert!(shown.iter().all(|post| *post.body == long[..99] && post.cut));
    let get = post_manager::Request::Get { post: shown[0].id };
    match ask(&mut engine, Request::PostManager(get)) {
        Ok(Reply::PostManager(post_manager::Reply::Post(post))) => {
            assert_eq!((&*post.body, post.cut), (&*long, false))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_post_in_a_list_is_the_post_however_often_it_is_listed_and_whatever_became_of_it() {
    let mut engine = Engine::new();
    let (ada, bob) = (register(&mut engine, "ada"), register(&mut engine, "bob"));
    ask(&mut engine, create(ada, "rust")).unwrap();
    ask(&mut engine, post(ada, SubredditId(1), "the text")).unwrap();
    let (subreddit, original) = (SubredditId(1), PostId(1));
    let repost = post_manager::Request::Repost { session: ada, subreddit, original, title: None };
    ask(&mut engine, Request::PostManager(repost)).unwrap();
    let vote = |direction| {
        Request::PostManager(post_manager::Request::Vote { session: bob, post: original, direction })
    };
    let changes = [
        vote(Direction::Up),
        vote(Direction::Down),
        comment(bob, None),
        Request::PostManager(post_manager::Request::Delete { session: ada, post: original }),
    ];
    for change in changes {
        ask(&mut engine, change).unwrap();
        for _ in 0..2 {
            for listed in posts(ask(&mut engine, feed(ada, Page::FIRST))) {
                let get = Request::PostManager(post_manager::Request::Get { post: listed.id });
                let got = Ok(Reply::PostManager(post_manager::Reply::Post(listed)));
                assert_eq!(ask(&mut engine, get), got);
            }
        }
    }
    let left = posts(ask(&mut engine, feed(ada, Page::FIRST)));
    assert_eq!(left.iter().map(|post| (post.id, &*post.body)).collect::<Vec<_>>(), [(PostId(2), "")]);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % u64::from(end)) as u32
    }
}

/// The beginning of a user's hot feed, which is what the model says.
fn front_page(engine: &mut Engine<usize>, session: Session, limit: u16, now_ms: u64) -> Vec<PostView> {
    let (sort, window, page) = (Sort::Hot, Window::All, Page { after: None, limit: Some(limit) });
    let get = Request::FeedGenerator(feed_generator::Request::Get { session, sort, window, page });
    let mut shown = Vec::new();
    engine.turn([(0, get.into())], now_ms, |_, answer| shown = posts(answer.clone()));
    let listing = Listing { sort, window, after: None, limit: limit.into(), now_ms };
    let expected = model::feed(engine.commit.model(), session.user, listing).unwrap();
    assert_eq!(shown.iter().map(|post| post.id).collect::<Vec<_>>(), expected);
    shown
}

#[test]
fn a_front_page_goes_on_where_it_was_cut_when_it_loses_its_first_posts() {
    let mut engine = Engine::new();
    let users: Vec<Session> = (0..4).map(|number| register(&mut engine, &format!("user_{number}"))).collect();
    ask(&mut engine, create(users[0], "topic")).unwrap();
    let write = |engine: &mut Engine<usize>, count| {
        for _ in 0..count {
            ask(engine, post(users[0], SubredditId(1), "")).unwrap();
        }
    };
    write(&mut engine, 140);
    front_page(&mut engine, users[0], 100, NOW);
    // The last of those that were read deep make room for newer ones.
    write(&mut engine, 60);
    front_page(&mut engine, users[0], 100, NOW);
    for lost in (101..=200).map(PostId) {
        for &session in &users[1..] {
            let (post, direction) = (lost, Direction::Down);
            let vote = post_manager::Request::Vote { session, post, direction };
            ask(&mut engine, Request::PostManager(vote)).unwrap();
        }
    }
    assert_eq!(front_page(&mut engine, users[0], 100, NOW)[0].id, PostId(100));
}

#[test]
fn front_pages_are_what_the_model_says_whatever_happens_between_them() {
    let mut engine = Engine::new();
    let mut random = Random(1);
    let users: Vec<Session> = (0..5).map(|number| register(&mut engine, &format!("user_{number}"))).collect();
    for (number, &founder) in users.iter().take(4).enumerate() {
        ask(&mut engine, create(founder, &format!("topic_{number}"))).unwrap();
    }
    let year = 365 * 24 * 60 * 60 * 1000;
    for step in 0..2500 {
        let session = users[random.below(5) as usize];
        let subreddit = SubredditId(1 + random.below(4));
        let some_post = PostId(1 + random.below(1 + engine.stats().posts as u32));
        let direction = [Direction::Up, Direction::Down, Direction::None][random.below(3) as usize];
        let request = match random.below(96) {
            0..=47 => post(session, subreddit, &"words ".repeat(random.below(40) as usize)),
            48..=68 => {
                Request::PostManager(post_manager::Request::Vote { session, post: some_post, direction })
            }
            69..=76 => {
                let (post, body) = (some_post, "a comment".into());
                let parent = None;
                Request::CommentManager(comment_manager::Request::Create { session, post, parent, body })
            }
            77..=86 => Request::SubredditManager(subreddit_manager::Request::Join { session, subreddit }),
            87..=90 => Request::SubredditManager(subreddit_manager::Request::Leave { session, subreddit }),
            91..=94 => {
                let (original, title) = (some_post, None);
                Request::PostManager(post_manager::Request::Repost { session, subreddit, original, title })
            }
            _ => Request::PostManager(post_manager::Request::Delete { session, post: some_post }),
        };
        // In the end the first ones are too old to be hot.
        let now_ms = NOW + if step < 2400 { step } else { 3 * year };
        engine.turn([(0, request.into())], now_ms, |_, _| ());
        let shown =
            front_page(&mut engine, users[random.below(5) as usize], 1 + random.below(100) as u16, now_ms);
        let model = engine.commit.model();
        for post in shown {
            let whole = view::post(model, post.id).unwrap();
            let same = PostView { body: post.body.clone(), cut: post.cut, ..whole.clone() };
            assert!(post == same && whole.body.starts_with(&*post.body), "step {step}: {post:?}");
            assert_eq!(post.cut, post.body != whole.body, "step {step}");
        }
    }
    assert!(engine.stats().posts > 800, "more than are looked at");
}

#[test]
fn a_page_has_1_to_100_entries() {
    let mut engine = Engine::new();
    let ada = register(&mut engine, "ada");
    for limit in [0, 101, u16::MAX] {
        let page = Page { after: None, limit: Some(limit) };
        assert!(ask(&mut engine, feed(ada, page)).is_err(), "{limit}");
    }
}

#[test]
fn subreddits_are_listed_in_parts() {
    let mut engine = Engine::new();
    let (ada, bob) = (register(&mut engine, "ada"), register(&mut engine, "bob"));
    for name in ["one", "two", "three"] {
        ask(&mut engine, create(ada, name)).unwrap();
    }
    ask(&mut engine, create(bob, "four")).unwrap();
    let mut names = |request| match ask(&mut engine, Request::SubredditManager(request)) {
        Ok(Reply::SubredditManager(subreddit_manager::Reply::Subreddits(views))) => {
            views.iter().map(|view| view.name.to_string()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let page = |after| Page { after, limit: Some(2) };
    assert_eq!(
        names(subreddit_manager::Request::List {
            order: subreddit_manager::Order::Creation,
            page: page(None)
        }),
        ["one", "two"]
    );
    assert_eq!(
        names(subreddit_manager::Request::List {
            order: subreddit_manager::Order::Creation,
            page: page(Some(SubredditId(2)))
        }),
        ["three", "four"]
    );
    let mine = |after| subreddit_manager::Request::ListMine { session: ada, page: page(after) };
    assert_eq!(names(mine(Some(SubredditId(1)))), ["two", "three"]);
}

fn comment(session: Session, parent: Option<CommentId>) -> Request {
    let body = "a comment".into();
    Request::CommentManager(comment_manager::Request::Create { session, post: PostId(1), parent, body })
}

fn commented(answer: &Answer) -> (CommentId, u8) {
    match answer {
        Ok(Reply::CommentManager(comment_manager::Reply::Created { id, depth })) => (*id, *depth),
        other => panic!("{other:?}"),
    }
}

#[test]
fn comments_are_made_voted_on_deleted_and_shown_as_a_tree() {
    let mut engine = Engine::new();
    let (ada, bob) = (register(&mut engine, "ada"), register(&mut engine, "bob"));
    ask(&mut engine, create(ada, "rust")).unwrap();
    ask(&mut engine, post(ada, SubredditId(1), "")).unwrap();
    let (first, depth) = commented(&ask(&mut engine, comment(bob, None)));
    assert_eq!((first, depth), (CommentId(1), 1));
    assert_eq!(commented(&ask(&mut engine, comment(ada, Some(first)))), (CommentId(2), 2));
    let asked = |engine: &mut Engine<usize>, request| ask(engine, Request::CommentManager(request));
    let direction = Direction::Up;
    let vote = comment_manager::Request::Vote { session: ada, comment: first, direction };
    let two = Tally { ups: 2, downs: 0 };
    let voted = Ok(Reply::CommentManager(comment_manager::Reply::Voted(two)));
    assert_eq!(asked(&mut engine, vote), voted);
    let delete = |session| comment_manager::Request::Delete { session, comment: first };
    assert_eq!(asked(&mut engine, delete(ada)), Err(Error::NotAuthor));
    assert!(asked(&mut engine, delete(bob)).is_ok());
    let (sort, root) = (CommentSort::Best, None);
    let thread =
        |limit, levels| comment_manager::Request::Thread { post: PostId(1), root, sort, limit, levels };
    let Ok(Reply::CommentManager(comment_manager::Reply::Thread(tree))) =
        asked(&mut engine, thread(None, None))
    else {
        panic!("no tree");
    };
    let tree = tree.unpack();
    let shown: Vec<_> = tree.iter().map(|view| (view.id.0, view.parent, view.deleted, view.below)).collect();
    assert_eq!(shown, [(1, None, true, 1), (2, Some(first), false, 0)]);
    assert_eq!((&*tree[0].body, &*tree[1].author_name), ("", "ada"));
    assert!(asked(&mut engine, thread(Some(501), None)).is_err());
    assert!(asked(&mut engine, thread(None, Some(0))).is_err());
}

#[test]
fn messages_reach_their_receiver_and_are_answered() {
    let mut engine = Engine::new();
    let (ada, bob) = (register(&mut engine, "ada"), register(&mut engine, "bob"));
    let asked = |engine: &mut Engine<usize>, request| ask(engine, Request::DmManager(request));
    let send =
        dm_manager::Request::Send { session: ada, to: bob.user, subject: "hi".into(), body: "text".into() };
    asked(&mut engine, send).unwrap();
    let list = |engine: &mut Engine<usize>, session, folder| {
        let list = dm_manager::Request::List { session, folder, page: Page::FIRST };
        match asked(engine, list) {
            Ok(Reply::DmManager(dm_manager::Reply::Messages(messages))) => messages.unpack(),
            other => panic!("{other:?}"),
        }
    };
    let message = list(&mut engine, bob, Folder::Unread).remove(0);
    assert_eq!((&*message.from_name, &*message.to_name, &*message.subject), ("ada", "bob", "hi"));
    let reply = dm_manager::Request::Reply { session: bob, message: message.id, body: "yes".into() };
    asked(&mut engine, reply).unwrap();
    assert_eq!(list(&mut engine, ada, Folder::Inbox)[0].reply_to, Some(message.id));
    asked(&mut engine, dm_manager::Request::MarkRead { session: bob, message: message.id }).unwrap();
    assert_eq!(list(&mut engine, bob, Folder::Unread), []);
    let talk = dm_manager::Request::Conversation { session: ada, with: bob.user, page: Page::FIRST };
    let Ok(Reply::DmManager(dm_manager::Reply::Messages(talk))) = asked(&mut engine, talk) else {
        panic!("no conversation");
    };
    assert_eq!(talk.iter().map(|view| view.id.0).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn an_operation_asked_for_again_is_done_once_and_answered_alike() {
    let mut engine: Engine<usize> = Engine::new();
    let (ada, bob) = (register(&mut engine, "ada"), register(&mut engine, "bob"));
    ask(&mut engine, create(ada, "rust")).unwrap();
    ask(&mut engine, post(ada, SubredditId(1), "")).unwrap();
    let op = OpId { stream: 9, number: 1 };
    let mut once = |request: Request, op| {
        let mut answers = Vec::new();
        engine.turn([(0, request.once(op))], NOW, |_, answer| answers.push(answer.clone()));
        answers.remove(0)
    };
    let first = once(comment(bob, None), op);
    assert_eq!(commented(&first).0, CommentId(1));
    assert_eq!(once(comment(bob, None), op), first);
    assert_eq!(commented(&once(comment(bob, None), OpId { number: 2, ..op })).0, CommentId(2));
    let other = once(comment(ada, None), op);
    assert_eq!(other, Err(Error::BadRequest { field: Field::Operation, flaw: Flaw::Reused }));
    assert_eq!((engine.stats().comments, engine.stats().repeated), (2, 1));
}

#[test]
fn a_repost_shows_the_text_of_its_root_and_online_is_who_is_logged_in() {
    let mut engine = Engine::new();
    let ada = register(&mut engine, "ada");
    ask(&mut engine, create(ada, "rust")).unwrap();
    ask(&mut engine, post(ada, SubredditId(1), "the text")).unwrap();
    let (subreddit, original) = (SubredditId(1), PostId(1));
    let repost =
        post_manager::Request::Repost { session: ada, subreddit, original, title: Some("look".into()) };
    ask(&mut engine, Request::PostManager(repost)).unwrap();
    let get = post_manager::Request::Get { post: PostId(2) };
    let Ok(Reply::PostManager(post_manager::Reply::Post(view))) = ask(&mut engine, Request::PostManager(get))
    else {
        panic!("no post");
    };
    assert_eq!((&*view.title, &*view.body), ("look", "the text"));
    let mut online = |request| {
        let get = user_registry::Request::Get { user: ada.user };
        request_ok(&mut engine, request);
        match ask(&mut engine, Request::UserRegistry(get)) {
            Ok(Reply::UserRegistry(user_registry::Reply::User(view))) => view.online,
            other => panic!("{other:?}"),
        }
    };
    assert!(online(registration("ada", 1)));
    assert!(!online(Request::UserRegistry(user_registry::Request::Logout { session: ada })));
}

fn request_ok(engine: &mut Engine<usize>, request: Request) {
    ask(engine, request).unwrap();
}

#[test]
fn nothing_that_is_signed_comes_to_a_turn_without_a_claim() {
    let mut engine = Engine::new();
    let signer = Signer::from_number([7; 32]).unwrap();
    let key = Some(Box::new(signer.public_key()));
    let (name, secret) = ("ada".into(), Secret([1; 16]));
    let registration = Request::UserRegistry(user_registry::Request::Register { name, secret, key });
    let ada = logged_in(ask(&mut engine, registration));
    let bob = register(&mut engine, "bob");
    let signed = Signed { author: "ada", subreddit: "rust", title: "title", body: "", signed_at_ms: 1 };
    let signature = signer.sign(&signed).unwrap();
    let post = |session, title: &str, signature: Option<&Signature>| {
        let (title, body, signature) = (title.into(), "".into(), signature.cloned().map(Box::new));
        let subreddit = SubredditId(1);
        Request::PostManager(post_manager::Request::Create { session, subreddit, title, body, signature })
    };
    let good = post(ada, "title", Some(&signature));
    let claimed = |engine: &Engine<usize>, request: &Request| {
        engine.claim(request).map(|claim| claim.map(|claim| claim.holds()))
    };
    // It may be made in the same turn; what is signed for it waits until it is there.
    assert!(matches!(claimed(&engine, &good), Some(Err(Error::NotFound(_)))));
    ask(&mut engine, create(ada, "rust")).unwrap();
    assert_eq!(claimed(&engine, &good), Some(Ok(true)));
    assert_eq!(claimed(&engine, &post(ada, "another", Some(&signature))), Some(Ok(false)));
    let forged = Session { user: ada.user, token: bob.token };
    assert_eq!(claimed(&engine, &post(forged, "title", Some(&signature))), Some(Err(Error::BadSession)));
    assert_eq!(claimed(&engine, &post(bob, "title", Some(&signature))), Some(Err(Error::KeyMissing)));
    assert_eq!(claimed(&engine, &post(ada, "title", None)), None);
    assert_eq!(ask(&mut engine, post(ada, "title", None)), Err(Error::Unsigned));
    ask(&mut engine, good).unwrap();
    let list = feed(ada, Page::FIRST);
    assert_eq!(posts(ask(&mut engine, list))[0].signature.as_deref(), Some(&signature));
    let before = engine.stats().requests;
    engine.refuse(7, Error::Overloaded, |from, answer| {
        assert_eq!((from, answer), (7, &Err(Error::Overloaded)));
    });
    assert_eq!(engine.stats().requests, before + 1, "it is counted");
}

#[test]
fn a_hundred_who_want_a_look_at_the_engine_share_one() {
    let mut engine = Engine::new();
    let look = || Envelope::from(Request::Engine(EngineRequest::Examine));
    let mut found = Vec::new();
    engine.turn((0..100).map(|from| (from, look())), NOW, |_, answer| found.push(answer.clone()));
    assert_eq!((found.len(), engine.looks), (100, 1));
    for answer in &found {
        let Ok(Reply::Examined(examination)) = answer else { panic!("{answer:?}") };
        examination.check().unwrap();
    }
    // The next one waits for its time, and nobody else does.
    engine.next_look = Some(Instant::now() + Duration::from_secs(3600));
    let stats = || Envelope::from(Request::Engine(EngineRequest::Stats));
    let mut answered = Vec::new();
    engine.turn([(1, look()), (2, stats())], NOW, |from, _| answered.push(from));
    assert_eq!((answered, engine.looks), (vec![2], 1));
    assert!(engine.next_look().is_some(), "somebody waits");
    engine.next_look = Some(Instant::now());
    let mut answered = Vec::new();
    engine.turn([], NOW, |from, answer| {
        let Ok(Reply::Examined(examination)) = answer else { panic!("{answer:?}") };
        examination.check().unwrap();
        answered.push(from);
    });
    assert_eq!((answered, engine.looks, engine.next_look()), (vec![1], 2, None));
}

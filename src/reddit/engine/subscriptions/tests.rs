//! Who is told what, without sockets.

use super::*;
use crate::reddit::engine::tests::{NOW, ask, create, post, register, turn};
use crate::reddit::protocol::{
    CommentId, OpId, Request as AnyRequest, comment_manager, dm_manager, subreddit_manager, user_registry,
};

/// An engine, those who subscribed there, and what they were told: where, whom, and what.
#[derive(Default)]
struct Site {
    engine: Engine<usize>,
    subscriptions: Subscriptions<u32>,
    /// Where nobody takes anything.
    full: Vec<u32>,
}

impl Site {
    fn asks(&mut self, request: AnyRequest) -> Answer {
        ask(&mut self.engine, request)
    }

    /// Subscribes at a place, whose number is also the name of its mailbox.
    fn subscribes(&mut self, session: Session, place: u32, wants: Wants) -> Answer {
        let mailbox = place.to_string().into();
        self.requests(Request::Subscribe { session, mailbox, wants })
    }

    fn requests(&mut self, request: Request) -> Answer {
        let request = AnyRequest::SubscriptionManager(request).into();
        self.engine.turn([(1, request)], NOW, |_, answer| panic!("{answer:?} before it is known where"));
        let mut answers = Vec::new();
        self.engine.subscribe(
            &mut self.subscriptions,
            |_, mailbox| mailbox.parse().ok(),
            |_, answer| answers.push(answer.clone()),
        );
        answers.remove(0)
    }

    /// What is told of everything since the last time.
    fn told(&mut self) -> Vec<(u32, UserId, String)> {
        self.engine.settle().unwrap();
        let mut told = Vec::new();
        self.engine.push(&mut self.subscriptions, |&place, news| {
            if self.full.contains(&place) {
                return Err(Unreachable);
            }
            let what = match &news.what {
                Happened::MessageArrived { id, from, .. } => format!("{from} {id}"),
                Happened::Replied { id, from, .. } => format!("{from} {id}"),
                Happened::NewPost { id, subreddit_name, from, .. } => format!("{from} {id} {subreddit_name}"),
            };
            told.push((place, news.to, what));
            Ok(())
        });
        told
    }
}

const ANEW: Answer = Ok(AnyReply::SubscriptionManager(Reply::Subscribed { anew: true }));
const STILL: Answer = Ok(AnyReply::SubscriptionManager(Reply::Subscribed { anew: false }));

fn letter(session: Session, to: UserId) -> AnyRequest {
    let (subject, body) = ("s".into(), "b".into());
    AnyRequest::DmManager(dm_manager::Request::Send { session, to, subject, body })
}

fn comment(session: Session, post: PostId, parent: Option<CommentId>) -> AnyRequest {
    let body = "c".into();
    AnyRequest::CommentManager(comment_manager::Request::Create { session, post, parent, body })
}

fn join(session: Session, subreddit: SubredditId) -> AnyRequest {
    AnyRequest::SubredditManager(subreddit_manager::Request::Join { session, subreddit })
}

fn leave(session: Session, subreddit: SubredditId) -> AnyRequest {
    AnyRequest::SubredditManager(subreddit_manager::Request::Leave { session, subreddit })
}

fn logout(session: Session) -> AnyRequest {
    AnyRequest::UserRegistry(user_registry::Request::Logout { session })
}

/// Ada has opened `rust`, in which bob is too.
fn two() -> (Site, Session, Session) {
    let mut site = Site::default();
    let [ada, bob] = ["ada", "bob"].map(|name| register(&mut site.engine, name));
    site.asks(create(ada, "rust")).unwrap();
    site.asks(join(bob, SubredditId(1))).unwrap();
    (site, ada, bob)
}

fn told(place: u32, to: Session, what: &str) -> (u32, UserId, String) {
    (place, to.user, what.to_owned())
}

#[test]
fn who_subscribed_is_told_of_what_others_do_and_nobody_else_is() {
    let (mut site, ada, bob) = two();
    let eve = register(&mut site.engine, "eve");
    site.asks(letter(bob, ada.user)).unwrap();
    assert_eq!(site.subscribes(ada, 1, Wants::ALL), ANEW);
    for request in [
        letter(bob, ada.user),
        letter(ada, bob.user),
        post(bob, SubredditId(1), ""),
        post(ada, SubredditId(1), ""),
        comment(bob, PostId(2), None),
        comment(ada, PostId(2), None),
        comment(ada, PostId(1), None),
        comment(bob, PostId(1), Some(CommentId(3))),
        comment(eve, PostId(1), Some(CommentId(4))),
    ] {
        site.asks(request).unwrap();
    }
    let expected = ["bob t4_2", "bob t3_1 rust", "bob t1_1", "bob t1_4"];
    assert_eq!(site.told(), expected.map(|what| told(1, ada, what)));
    assert_eq!(site.told(), []);
}

#[test]
fn only_what_is_wanted_is_told() {
    let (mut site, ada, bob) = two();
    let messages = Wants { messages: true, replies: false, feed: false };
    assert_eq!(site.subscribes(ada, 1, messages), ANEW);
    assert_eq!(site.subscribes(ada, 2, Wants { feed: true, ..messages }), ANEW);
    site.asks(post(ada, SubredditId(1), "")).unwrap();
    for request in [post(bob, SubredditId(1), ""), comment(bob, PostId(1), None), letter(bob, ada.user)] {
        site.asks(request).unwrap();
    }
    let expected = [told(2, ada, "bob t3_2 rust"), told(1, ada, "bob t4_1"), told(2, ada, "bob t4_1")];
    assert_eq!(site.told(), expected);
}

#[test]
fn nothing_is_told_before_it_is_settled_and_nothing_twice() {
    let (mut site, ada, bob) = two();
    site.subscribes(ada, 1, Wants::ALL).unwrap();
    let op = OpId { stream: 1, number: 1 };
    let send = |site: &mut Site| {
        let envelope = letter(bob, ada.user).once(op);
        site.engine.turn([(1, envelope)], NOW, |_, answer| assert!(answer.is_ok()));
    };
    send(&mut site);
    site.engine.push(&mut site.subscriptions, |_, news| panic!("{news:?} is not durable"));
    assert_eq!(site.told(), [told(1, ada, "bob t4_1")]);
    send(&mut site);
    assert_eq!(site.told(), [], "asked again, it is not done again");
}

#[test]
fn posts_are_told_to_members_of_that_moment() {
    let (mut site, ada, bob) = two();
    site.subscribes(bob, 2, Wants::ALL).unwrap();
    site.asks(create(ada, "cats")).unwrap();
    let cats = SubredditId(2);
    for request in [post(ada, cats, ""), join(bob, cats), post(ada, cats, ""), leave(bob, cats)] {
        site.asks(request).unwrap();
        // Settled at once or later, it is the same.
    }
    site.asks(post(ada, cats, "")).unwrap();
    assert_eq!(site.told(), [told(2, bob, "ada t3_2 cats")]);
    site.asks(create(bob, "dogs")).unwrap();
    site.asks(join(ada, SubredditId(3))).unwrap();
    site.asks(post(ada, SubredditId(3), "")).unwrap();
    assert_eq!(site.told(), [told(2, bob, "ada t3_4 dogs")], "who opens one belongs to it");
}

#[test]
fn a_subscription_ends_with_the_session_and_when_it_is_given_up() {
    let (mut site, ada, bob) = two();
    site.subscribes(ada, 1, Wants::ALL).unwrap();
    site.asks(logout(ada)).unwrap();
    let login = user_registry::Request::Login {
        name: "ada".into(),
        secret: crate::reddit::protocol::Secret([1; 16]),
    };
    let Ok(AnyReply::UserRegistry(user_registry::Reply::LoggedIn(again))) =
        site.asks(AnyRequest::UserRegistry(login))
    else {
        panic!("no session")
    };
    site.asks(letter(bob, ada.user)).unwrap();
    assert_eq!(site.told(), []);
    assert_eq!(site.subscriptions.count(), 0);
    assert_eq!(site.subscribes(ada, 1, Wants::ALL), Err(Error::BadSession));
    assert_eq!(site.subscribes(again, 1, Wants::ALL), ANEW);
    site.requests(Request::Unsubscribe { session: again, mailbox: "1".into() }).unwrap();
    site.asks(letter(bob, ada.user)).unwrap();
    site.asks(post(bob, SubredditId(1), "")).unwrap();
    assert_eq!(site.told(), []);
}

#[test]
fn who_cannot_be_told_is_subscribed_no_longer_and_learns_that() {
    let (mut site, ada, bob) = two();
    for place in [1, 2] {
        assert_eq!(site.subscribes(ada, place, Wants::ALL), ANEW);
        assert_eq!(site.subscribes(ada, place, Wants::ALL), STILL);
    }
    site.full.push(1);
    site.asks(post(bob, SubredditId(1), "")).unwrap();
    assert_eq!(site.told(), [told(2, ada, "bob t3_1 rust")]);
    site.full.clear();
    site.asks(post(bob, SubredditId(1), "")).unwrap();
    assert_eq!(site.told(), [told(2, ada, "bob t3_2 rust")]);
    assert_eq!(site.subscribes(ada, 1, Wants::ALL), ANEW);
    let lost = Request::Subscribe { session: ada, mailbox: "nowhere".into(), wants: Wants::ALL };
    assert_eq!(site.requests(lost), Err(Error::NotFound(Thing::Mailbox)));
}

#[test]
fn a_user_has_eight_subscriptions_and_the_ninth_ends_the_oldest() {
    let (mut site, ada, bob) = two();
    (1..=9).for_each(|place| assert_eq!(site.subscribes(ada, place, Wants::ALL), ANEW));
    site.asks(letter(bob, ada.user)).unwrap();
    let places: Vec<u32> = site.told().into_iter().map(|(place, ..)| place).collect();
    assert_eq!(places, [2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn what_is_over_is_swept_out_though_nothing_happens() {
    let (mut site, ada, bob) = two();
    site.subscribes(ada, 1, Wants::ALL).unwrap();
    site.subscribes(bob, 2, Wants::ALL).unwrap();
    site.subscribes(bob, 3, Wants::ALL).unwrap();
    site.asks(logout(ada)).unwrap();
    (0..SWEEP).for_each(|_| site.engine.sweep(&mut site.subscriptions, |&place| place != 2));
    assert_eq!(site.subscriptions.count(), 1);
    assert_eq!(site.subscriptions.feeds.len(), 1);
}

#[test]
fn the_last_one_leaves_nothing_behind() {
    let (mut site, ada, bob) = two();
    site.subscribes(bob, 2, Wants::ALL).unwrap();
    // In one turn: bob leaves the subreddit, and wants to be told nothing more.
    let mailbox: Text = "2".into();
    let end = AnyRequest::SubscriptionManager(Request::Unsubscribe { session: bob, mailbox });
    let requests = [leave(bob, SubredditId(1)), end];
    site.engine.turn(requests.into_iter().map(|request| (0, request.into())), NOW, |_, _| {});
    site.engine.subscribe(&mut site.subscriptions, |_, _| None, |_, _| {});
    assert_eq!(site.told(), []);
    assert!(site.subscriptions.feeds.is_empty());
    site.subscribes(bob, 2, Wants::ALL).unwrap();
    let answers = turn(&mut site.engine, vec![post(ada, SubredditId(1), "")]);
    assert!(answers[0].is_ok());
    assert_eq!(site.told(), []);
}

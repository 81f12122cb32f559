//! Being told what happens: at two terminals, by `reddit-client watch`, and by a process of its own; over the death of the
//! engine, and beside somebody who does not read.

mod payload;

use std::fs;
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use payload::person::Person;
use payload::{BOUND, CLIENT, Place, Process, local, place};
use provost::node::{Mailbox, Node};
use provost::reddit::Remote;
use provost::reddit::protocol::subscription_manager::{self, Happened, News, Wants};
use provost::reddit::protocol::{
    Answer, Error, Reply, Request, Secret, Session, SubredditId, UserId, dm_manager, post_manager,
    user_registry,
};
use serde_json::Value;

impl Place {
    /// Somebody who watches, once that stands.
    fn watcher(&self, name: &str, words: &[&str]) -> Process {
        let mut watcher = Process::start(self.command(CLIENT).args(["watch", "--as", name]).args(words));
        watcher.wait_for(&format!("watching for {name} at engine (pid "));
        watcher
    }

    fn says(&self, name: &str, words: &[&str]) -> String {
        self.said(&[words, &["--as", name]].concat())
    }

    /// Ada has opened `rust`, and bob is in it too.
    fn two(&self) {
        self.said(&["register", "ada"]);
        self.said(&["register", "bob"]);
        self.says("ada", &["create", "rust"]);
        self.says("bob", &["join", "rust"]);
    }

    fn keeping(&self) -> [String; 2] {
        ["--store".to_owned(), self.dir.path().join("store").to_str().unwrap().to_owned()]
    }

    fn keeper(&self) -> Process {
        self.named_engine(&self.keeping().each_ref().map(String::as_str))
    }
}

#[test]
fn who_sits_at_a_terminal_sees_what_others_do_without_asking() {
    let place = place();
    let mut engine = place.keeper();
    let mut ada = Person::sits_down(&place, &[]);
    ada.sees("nobody@engine> ");
    ada.types("register ada");
    ada.sees("ada@engine> ");
    ada.types("create rust");
    ada.sees("ada@engine> ");
    let mut bob = Person::sits_down(&place, &[]);
    bob.types("register bob");
    bob.sees("bob@engine> ");
    bob.types("join rust");
    bob.sees("bob@engine> ");
    // From here on ada only looks.
    bob.types("post rust 'Seen at once'");
    ada.sees("\nnew in rust: Seen at once, by bob (t3_1)");
    ada.sees("ada@engine> ");
    bob.types("dm send ada hello 'Only for you'");
    ada.sees("bob wrote to you: hello: Only for you (t4_1)");
    ada.sees("ada@engine> ");
    ada.types("comment t3_1 'And answered'");
    ada.sees("said t1_1");
    bob.sees("ada answered you: And answered (t1_1 on t3_1)");
    bob.types("comment t1_1 'Again'");
    ada.sees("bob answered you: Again (t1_2 on t3_1)");
    engine.child.kill().unwrap();
    engine.wait();
    ada.sees("lost the engine: ");
    let _engine = place.keeper();
    ada.sees("engine available: engine (pid ");
    bob.types("post rust 'At the next engine'");
    ada.sees("new in rust: At the next engine, by bob (t3_2)");
    // What is half typed is still typed.
    ada.begins("dm send bob re ");
    bob.types("dm send ada again 'In between'");
    ada.sees("bob wrote to you: again: In between (t4_2)");
    ada.types("'Typed to the end'");
    ada.sees("sent t4_3");
    bob.sees("ada wrote to you: re: Typed to the end (t4_3)");
    // Somebody else speaks at ada's terminal now, and is told what concerns nobody else.
    ada.types("register eve");
    ada.sees("eve@engine> ");
    bob.types("dm send ada late 'Not here'");
    bob.sees("sent t4_4");
    bob.types("dm send eve hi 'Here'");
    let before = ada.sees("bob wrote to you: hi: Here (t4_5)");
    assert!(!before.contains("wrote to you"), "{before}");
    ada.leaves();
    bob.leaves();
}

#[test]
fn a_watcher_prints_what_happens_over_the_death_of_the_engine() {
    let place = place();
    let mut engine = place.keeper();
    place.two();
    let mut all = place.watcher("ada", &["--json"]);
    let mut letters = place.watcher("ada", &["messages"]);
    place.says("bob", &["post", "rust", "First"]);
    let post: Value = serde_json::from_str(&all.wait_for("\"news\"")).unwrap();
    assert_eq!(
        (&post["news"], &post["id"], &post["title"]),
        (&"post".into(), &"t3_1".into(), &"First".into())
    );
    place.says("ada", &["post", "rust", "Mine"]);
    place.says("bob", &["comment", "t3_2", "Good"]);
    let reply: Value = serde_json::from_str(&all.wait_for("\"news\"")).unwrap();
    assert_eq!(
        (&reply["news"], &reply["post"], &reply["from"]),
        (&"reply".into(), &"t3_2".into(), &"bob".into())
    );
    engine.child.kill().unwrap();
    engine.wait();
    all.wait_for("lost the engine: ");
    letters.wait_for("lost the engine: ");
    let _engine = place.keeper();
    all.wait_for("engine available: ");
    letters.wait_for("engine available: ");
    place.says("bob", &["dm", "send", "ada", "hi", "How are you"]);
    let letter: Value = serde_json::from_str(&all.wait_for("\"news\"")).unwrap();
    assert_eq!((&letter["news"], &letter["subject"]), (&"message".into(), &"hi".into()));
    letters.wait_for("bob wrote to you: hi: How are you (t4_1)");
    assert_eq!(letters.count("rust") + letters.count("answered"), 0, "{:?}", letters.seen);
    // As Ctrl-C, which whoever runs tests in the background has switched off for them.
    all.signal(Signal::SIGTERM);
    all.wait();
    assert!(all.seen.iter().all(|line| line.starts_with('{') || line.contains("engine")), "{:?}", all.seen);
}

/// What is told is kept: at the very moment it is read the engine may die.
#[test]
fn what_was_told_survives_the_engine_that_told_it() {
    let place = place();
    let mut engine = place.keeper();
    place.two();
    let mut watcher = place.watcher("ada", &[]);
    for round in 1..=4 {
        let title = format!("Number {round}");
        let mut bob = place.command(CLIENT);
        let mut bob = bob
            .args(["post", "rust", &title, "--as", "bob", "--wait-engine", "20s"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let told = watcher.wait_for(&title);
        engine.child.kill().unwrap();
        engine.wait();
        engine = place.keeper();
        watcher.wait_for("engine available: ");
        assert!(bob.wait().unwrap().success());
        let id = told.split_once('(').unwrap().1.trim_end_matches(')').to_owned();
        assert!(place.said(&["thread", &id]).contains(&title), "{told}");
        let posts: Value = serde_json::from_str(&place.said(&["posts", "rust", "--json"])).unwrap();
        assert_eq!(posts["posts"].as_array().unwrap().len(), round, "each once");
    }
}

#[test]
fn a_watcher_that_does_not_read_makes_nobody_wait_and_learns_that_it_missed_something() {
    let place = place();
    let _engine = place.named_engine(&[]);
    place.two();
    let mut watcher = place.watcher("ada", &[]);
    let mut other = place.watcher("ada", &[]);
    watcher.signal(Signal::SIGSTOP);
    waitpid(watcher.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
    local(async {
        let node = place.node("poster");
        let engine = Remote::find(&node, "engine", BOUND).await.unwrap();
        let bob = log_in(&engine, &place, "bob").await;
        for number in 0..1500 {
            // Each has its answer, though the watcher takes nothing.
            post(&engine, bob, &format!("Number {number}")).await;
            // Who reads, however slowly on a busy machine, misses nothing.
            if number % 500 == 499 {
                other.wait_for(&format!("Number {number}, by bob"));
            }
        }
    });
    watcher.signal(Signal::SIGCONT);
    watcher.wait_for("some news was not told");
    place.says("bob", &["post", "rust", "Afterwards"]);
    watcher.wait_for("new in rust: Afterwards, by bob");
    assert_eq!(watcher.count("Number 1499,"), 0, "it was told more than may be under way");
    assert_eq!(other.count("not told"), 0);
}

#[test]
fn a_subscription_ends_when_it_is_given_up_with_the_session_and_is_nobody_else_s() {
    let place = place();
    let _engine = place.named_engine(&[]);
    place.two();
    let mut watcher = place.watcher("ada", &[]);
    local(async {
        let node = place.node("reader");
        let news: Mailbox<News, ()> = node.mailbox();
        node.register("news-of-ada", &news).await.unwrap();
        let engine = Remote::find(&node, "engine", BOUND).await.unwrap();
        let (ada, bob) = (log_in(&engine, &place, "ada").await, log_in(&engine, &place, "bob").await);
        let wants = Wants { messages: true, replies: false, feed: false };
        let subscribe = |session, mailbox: &str| subscription_manager::Request::Subscribe {
            session,
            mailbox: mailbox.into(),
            wants,
        };
        let foreign = ask(&engine, subscribe(ada, "news-of-nobody")).await;
        assert!(matches!(foreign, Err(Error::NotFound(_))), "{foreign:?}");
        // A mailbox of another node is not to be had either.
        let stranger: Node = place.node("stranger");
        let far = Remote::find(&stranger, "engine", BOUND).await.unwrap();
        let foreign = ask(&far, subscribe(ada, "news-of-ada")).await;
        assert!(matches!(foreign, Err(Error::NotFound(_))), "{foreign:?}");

        let subscribed =
            |anew| Ok(Reply::SubscriptionManager(subscription_manager::Reply::Subscribed { anew }));
        assert_eq!(ask(&engine, subscribe(ada, "news-of-ada")).await, subscribed(true));
        assert_eq!(ask(&engine, subscribe(ada, "news-of-ada")).await, subscribed(false));
        // A post is not wanted; the message behind it is, so that nothing else can have come.
        post(&engine, bob, "Not wanted").await;
        write(&engine, bob, ada.user, "wanted").await;
        assert_eq!(next(&news).await, "wanted");

        let mailbox = "news-of-ada".into();
        let end = subscription_manager::Request::Unsubscribe { session: ada, mailbox };
        ask(&engine, end).await.unwrap();
        write(&engine, bob, ada.user, "given up").await;
        assert_eq!(ask(&engine, subscribe(ada, "news-of-ada")).await, subscribed(true));
        write(&engine, bob, ada.user, "taken up").await;
        assert_eq!(next(&news).await, "taken up");

        let logout = user_registry::Request::Logout { session: ada };
        engine.call(&Request::UserRegistry(logout).into(), BOUND).await.unwrap().unwrap();
        write(&engine, bob, ada.user, "logged out").await;
        assert_eq!(ask(&engine, subscribe(ada, "news-of-ada")).await, Err(Error::BadSession));
        let again = log_in(&engine, &place, "ada").await;
        assert_eq!(ask(&engine, subscribe(again, "news-of-ada")).await, subscribed(true));
        write(&engine, bob, ada.user, "back").await;
        assert_eq!(next(&news).await, "back");
    });
    // Who was logged out elsewhere watches no longer.
    assert_eq!(watcher.wait().code(), Some(1), "{:?}", watcher.seen);
    assert_eq!(watcher.count("the session is not valid"), 1, "{:?}", watcher.seen);
    assert_eq!(watcher.count("logged out:"), 0, "{:?}", watcher.seen);
}

#[test]
fn who_watches_needs_a_name_and_an_engine() {
    let place = place();
    let (code, told) = place.refused(&["watch"]);
    assert_eq!((code, told.contains("register NAME")), (Some(2), true), "{told}");
    let engine = place.named_engine(&[]);
    place.said(&["register", "ada"]);
    drop(engine);
    let (code, told) = place.refused(&["watch"]);
    assert_eq!((code, told.contains("engine not available")), (Some(69), true), "{told}");
    let mut watcher = Process::start(place.command(CLIENT).args(["watch", "--wait-engine", "60s"]));
    watcher.wait_for("trying again for");
    let _engine = place.named_engine(&[]);
    // It has forgotten everybody.
    assert_eq!(watcher.wait().code(), Some(2), "{:?}", watcher.seen);
    assert_eq!(watcher.count("this engine knows no ada"), 1, "{:?}", watcher.seen);
}

async fn ask(engine: &Remote, request: subscription_manager::Request) -> Answer {
    engine.call(&Request::SubscriptionManager(request).into(), BOUND).await.unwrap()
}

/// Logs in with the secret that the command line keeps.
async fn log_in(engine: &Remote, place: &Place, name: &str) -> Session {
    let file = place.dir.path().join(format!("state/reddit-client/{name}.secret"));
    let digits = fs::read_to_string(file).unwrap();
    let secret = Secret(u128::from_str_radix(digits.trim_end(), 16).unwrap().to_be_bytes());
    let login = user_registry::Request::Login { name: name.into(), secret };
    match engine.call(&Request::UserRegistry(login).into(), BOUND).await.unwrap() {
        Ok(Reply::UserRegistry(user_registry::Reply::LoggedIn(session))) => session,
        other => panic!("{other:?}"),
    }
}

/// Posts in the only subreddit.
async fn post(engine: &Remote, session: Session, title: &str) {
    let (subreddit, title, body) = (SubredditId(1), title.into(), "".into());
    let create = post_manager::Request::Create { session, subreddit, title, body, signature: None };
    engine.call(&Request::PostManager(create).into(), BOUND).await.unwrap().unwrap();
}

async fn write(engine: &Remote, session: Session, to: UserId, subject: &str) {
    let (subject, body) = (subject.into(), "text".into());
    let send = dm_manager::Request::Send { session, to, subject, body };
    engine.call(&Request::DmManager(send).into(), BOUND).await.unwrap().unwrap();
}

/// The subject of the next message that is told.
async fn next(news: &Mailbox<News, ()>) -> String {
    let mut told = Vec::new();
    tokio::time::timeout(BOUND, news.turn(&mut told)).await.expect("nothing is told");
    let [one] = &told[..] else { panic!("{told:?}") };
    match &one.body.what {
        Happened::MessageArrived { subject, .. } => subject.to_string(),
        other => panic!("{other:?}"),
    }
}

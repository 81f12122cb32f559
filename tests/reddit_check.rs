//! `reddit-engine check` on stores and running engines: what it looked at, and that it finds what is wrong.

mod payload;

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::rc::Rc;

use nix::sys::signal::Signal;
use payload::{BOUND, ENGINE, Place, Process, ask, local, place};
use provost::reddit::Remote;
use provost::reddit::model::check::{Counted, Examination};
use provost::reddit::protocol::{
    EngineRequest, Error, OpId, PostId, Reply, Request, Secret, Session, SubredditId, comment_manager,
    post_manager, subreddit_manager, user_registry,
};
use tokio::task::JoinSet;

fn check(place: &Place, store: &Path, options: &[&str]) -> Output {
    let mut command = place.command(ENGINE);
    command.arg("check").arg("--store").arg(store).args(options).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn keeper(place: &Place, store: &Path) -> Process {
    place.named_engine(&["--store", &store.display().to_string()])
}

async fn log_in(engine: &Remote, name: &str) -> Session {
    let register = user_registry::Request::Register { name: name.into(), secret: Secret([9; 16]), key: None };
    match engine.call(&Request::UserRegistry(register).into(), BOUND).await.unwrap() {
        Ok(Reply::UserRegistry(user_registry::Reply::LoggedIn(session))) => session,
        other => panic!("{other:?}"),
    }
}

async fn log_out(engine: &Remote, session: Session) {
    let logout = user_registry::Request::Logout { session };
    engine.call(&Request::UserRegistry(logout).into(), BOUND).await.unwrap().unwrap();
}

async fn examine(engine: &Remote) -> Examination {
    match engine.call(&Request::Engine(EngineRequest::Examine).into(), BOUND).await.unwrap() {
        Ok(Reply::Examined(examined)) => examined,
        other => panic!("{other:?}"),
    }
}

#[test]
fn i16_i17_i18_hold_for_an_engine_while_it_serves_a_crowd() {
    let place = place();
    let store = place.dir.path().join("store");
    let _engine = keeper(&place, &store);
    let mut client = Process::start(place.command(payload::CLIENT).args([
        "--name",
        "client@1",
        "--users",
        "50",
        "--rate",
        "0",
        "--time-scale",
        "0.05",
    ]));
    client.wait_for("ops/s");
    for _ in 0..3 {
        let checked = check(&place, &store, &["--engine", "engine", "--json"]);
        assert!(checked.status.success(), "{}", text(&checked));
        let told: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!(told["checked"].as_array().unwrap().len(), 19, "{told}");
        let position = |at: &serde_json::Value| at["position"].as_u64().unwrap();
        assert!(position(&told) >= position(&told["engine"]), "{told}");
        assert_eq!(told["engine"]["sessions"], told["engine"]["online"], "{told}");
    }
}

#[test]
fn a_check_says_at_which_invariants_it_looked() {
    let place = place();
    let store = place.dir.path().join("store");
    let mut engine = keeper(&place, &store);
    let said = text(&check(&place, &store, &[]));
    assert!(said.contains("checked I1 I2 I3") && said.contains("I15 I16 I19\n"), "{said}");
    assert!(said.ends_with("not checked I17 I18: ask a running engine with --engine\n"), "{said}");
    let said = text(&check(&place, &store, &["--engine", "engine"]));
    assert!(said.ends_with("I16 I17 I18 I19\n") && !said.contains("not checked"), "{said}");
    engine.signal(Signal::SIGTERM);
    engine.wait();
    let asked = check(&place, &store, &["--engine", "engine"]);
    assert_eq!(asked.status.code(), Some(69), "{}", text(&asked));
}

#[test]
fn i16_an_engine_that_is_not_what_the_store_makes_is_found() {
    let place = place();
    let (store, other) = (place.dir.path().join("store"), place.dir.path().join("other"));
    let mut engine = keeper(&place, &store);
    let register = |name: &'static str| {
        local(async {
            let node = place.node(name);
            log_in(&Remote::find(&node, "engine", BOUND).await.unwrap(), name).await;
        });
    };
    register("ada");
    engine.signal(Signal::SIGTERM);
    engine.wait();
    // As many records, and one of them is another.
    let _engine = keeper(&place, &other);
    register("bob");
    let found = check(&place, &store, &["--engine", "engine"]);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found));
    assert!(text(&found).starts_with("I16 does not hold: after 1 records"), "{}", text(&found));
    // And a store that lacks what its engine has written.
    for entry in fs::read_dir(&store).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let found = check(&place, &store, &["--engine", "engine"]);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found));
    assert!(text(&found).contains("I16 does not hold: the engine keeps 1 records"), "{}", text(&found));
}

/// Comments on the first post, many at once, as one client counts them; `cut` ends its connection after so many answers.
async fn comments(place: &Place, name: &'static str, many: u32, cut: Option<u32>) -> Counted {
    let node = place.node(name);
    let engine = Rc::new(Remote::find(&node, "engine", BOUND).await.unwrap());
    let session = log_in(&engine, name).await;
    let (mut open, answered) = (JoinSet::new(), Rc::new(Cell::new(1)));
    for number in 0..many {
        let (engine, node, answered) = (Rc::clone(&engine), node.clone(), Rc::clone(&answered));
        open.spawn_local(async move {
            let body = format!("comment {number}").into();
            let create = comment_manager::Request::Create { session, post: PostId(1), parent: None, body };
            let op = OpId { stream: name.len() as u64, number };
            if engine.call(&Request::CommentManager(create).once(op), BOUND).await.is_ok() {
                answered.set(answered.get() + 1);
                if cut == Some(answered.get()) {
                    node.disconnect("engine");
                }
            }
        });
    }
    while open.join_next().await.is_some() {}
    let answered = u64::from(answered.get());
    Counted { answered, lost: u64::from(many) + 1 - answered }
}

#[test]
fn i17_what_clients_were_answered_and_lost_is_what_the_engine_served() {
    let place = place();
    let _engine = place.named_engine(&[]);
    local(async {
        let node = place.node("founder");
        let engine = Remote::find(&node, "engine", BOUND).await.unwrap();
        let session = log_in(&engine, "founder").await;
        let (name, subreddit) = ("rust".into(), SubredditId(1));
        let create = subreddit_manager::Request::Create { session, name, description: "".into() };
        engine.call(&Request::SubredditManager(create.clone()).into(), BOUND).await.unwrap().unwrap();
        let again = engine.call(&Request::SubredditManager(create).into(), BOUND).await.unwrap();
        assert_eq!(again, Err(Error::NameTaken), "a refusal is an answer");
        let post = post_manager::Request::Create {
            session,
            subreddit,
            title: "t".into(),
            body: "".into(),
            signature: None,
        };
        engine.call(&Request::PostManager(post).into(), BOUND).await.unwrap().unwrap();
        let founder = Counted { answered: 4, lost: 0 };

        let whole = comments(&place, "whole", 300, None).await;
        assert_eq!(whole, Counted { answered: 301, lost: 0 });
        let examined = examine(&engine).await;
        examined.check().unwrap();
        examined.served([founder, whole]).unwrap();
        let one_less = Counted { answered: 300, lost: 0 };
        assert_eq!(examined.served([founder, one_less]).unwrap_err().invariant, "I17");

        // The look was the founder's fifth.
        let founder = Counted { answered: 5, lost: 0 };
        // More than can be under way at once, so that not all of them are answered when the connection ends.
        let interrupted = comments(&place, "interrupted", 2000, Some(50)).await;
        assert!(interrupted.lost > 0, "{interrupted:?}");
        examine(&engine).await.served([founder, whole, interrupted]).unwrap();
    });
}

#[test]
fn i18_online_is_who_has_a_session() {
    let place = place();
    let _engine = Process::engine(&place.socket);
    ask(&place.socket, async |engine| {
        let ada = log_in(&engine, "ada").await;
        assert_eq!(log_in(&engine, "ada").await, ada, "the same session");
        log_in(&engine, "bob").await;
        log_out(&engine, ada).await;
        log_out(&engine, log_in(&engine, "ada").await).await;
        let examined = examine(&engine).await;
        examined.check().unwrap();
        assert_eq!((examined.opened, examined.closed, examined.online), (3, 2, 1));
    });
}

//! Public keys and signatures of posts (B1, B2, B3 of the assignment): real engines, real clients, and somebody who cheats.

mod payload;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;
use payload::{BOUND, CLIENT, ENGINE, Place, Process, ask, place};
use provost::reddit::model::{Entry, Field, Flaw, PublicKey, Record, Signature, Signed};
use provost::reddit::protocol::{
    Answer, Envelope, Error, OpId, Reply, Request, Secret, Session, SubredditId, UserId, post_manager,
    subreddit_manager, user_registry,
};
use provost::reddit::store::{Durability, Store};
use provost::reddit::{Remote, Signer};
use serde_json::Value;
use tokio::task::JoinSet;

const RSA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/payload/rsa-for-tests-only.pem");

const RUST: SubredditId = SubredditId(1);
const CATS: SubredditId = SubredditId(2);

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn keeping(place: &Place) -> (PathBuf, String) {
    let store = place.dir.path().join("store");
    let named = store.display().to_string();
    (store, named)
}

fn check(place: &Place, store: &Path) -> (Option<i32>, String) {
    let checked = place.command(ENGINE).arg("check").arg("--store").arg(store).output().unwrap();
    let text = [checked.stdout, checked.stderr].concat();
    (checked.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn b1_b3_keys_and_signatures_outlive_the_engine_and_long_posts_are_verified_in_lists() {
    let place = place();
    let (store, named) = keeping(&place);
    let mut engine = place.named_engine(&["--store", &named]);
    place.said(&["register", "Ada", "--key"]);
    place.said(&["create", "Rust"]);
    let long = "a long text ".repeat(50);
    place.said(&["post", "rust", "Signed", &long, "--as", "ADA"]);
    engine.signal(Signal::SIGKILL);
    engine.wait();
    let _engine = place.named_engine(&["--store", &named]);
    place.said(&["post", "r/RUST", "Signed later"]);
    for verb in [&["posts", "rust", "--sort", "new", "--json"][..], &["feed", "--sort", "new", "--json"]] {
        let posts = json(&place.said(verb))["posts"].clone();
        let verified = |at: usize| posts[at]["signature"]["verified"].clone();
        assert_eq!((verified(0), verified(1), &posts[1]["cut"]), (true.into(), true.into(), &true.into()));
    }
    let thread = json(&place.said(&["thread", "t3_1", "--json"]));
    assert_eq!(
        (&thread["post"]["signature"]["verified"], &thread["post"]["body"]),
        (&true.into(), &long.into())
    );
    let (code, told) = check(&place, &store);
    assert!(code == Some(0) && told.contains("I19"), "{told}");
    let key = place.dir.path().join("state/reddit-client/ada.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let signer = Signer::from_pkcs8(pem::parse(fs::read(&key).unwrap()).unwrap().contents()).unwrap();
    let shown = pem::parse(place.said(&["key", "show", "u/ada"])).unwrap();
    assert_eq!((shown.tag(), shown.contents()), ("PUBLIC KEY", signer.public_key().spki()));
    // Where the key is not, nothing can be posted; nor with another one.
    fs::rename(&key, key.with_extension("away")).unwrap();
    let (code, told) = place.refused(&["post", "rust", "Unsigned"]);
    assert!(
        code == Some(2) && told.contains("ada signs posts, and the key is not here: key import"),
        "{told}"
    );
    place.said(&["key", "import", "ada", RSA]);
    let (code, told) = place.refused(&["post", "rust", "Signed by another"]);
    assert!(code == Some(2) && told.contains("is not the key that ada registered"), "{told}");
}

#[test]
fn b1_a_key_that_openssl_made_is_imported_and_signs() {
    let place = place();
    let _engine = place.named_engine(&[]);
    assert!(place.said(&["key", "import", "ada", RSA]).starts_with("a key of ada is kept (RSA-2048)"));
    place.said(&["register", "ada"]);
    place.said(&["create", "rust"]);
    place.said(&["post", "rust", "Signed"]);
    assert_eq!(json(&place.said(&["posts", "rust", "--json"]))["posts"][0]["signature"]["verified"], true);
    let shown = json(&place.said(&["key", "show", "ada", "--json"]));
    assert_eq!(shown["algorithm"], "RSA-2048");
    assert!(shown["spki_pem"].as_str().unwrap().starts_with("-----BEGIN PUBLIC KEY-----\n"), "{shown}");

    let (code, told) = place.refused(&["key", "import", "ada", RSA]);
    assert!(code == Some(71) && told.contains("File exists"), "one key a name: {told}");
    let (code, told) = place.refused(&["key", "import", "bob", "/etc/hostname"]);
    assert!(code == Some(71) && told.contains("cannot import /etc/hostname"), "{told}");
    place.said(&["register", "bob"]);
    let (code, told) = place.refused(&["key", "show", "bob"]);
    assert!(code == Some(1) && told.contains("has no public key"), "{told}");
    // Too late for a key: it would not be the one of the registration.
    let (code, told) = place.refused(&["register", "bob", "--key"]);
    assert_eq!(
        (code, &*told),
        (Some(1), "reddit-client: the public key is not the one of the registration\n")
    );
    let left = place.dir.path().join("state/reddit-client/bob.key");
    assert!(!left.exists(), "a key that came to nothing is not kept");
    place.said(&["register", "bob"]);
}

/// Somebody with a session, and a key or none.
struct User {
    name: &'static str,
    session: Session,
    signer: Option<Signer>,
}

async fn call(engine: &Remote, request: impl Into<Envelope>) -> Answer {
    engine.call(&request.into(), BOUND).await.unwrap()
}

async fn register(engine: &Remote, name: &'static str, key: Option<PublicKey>) -> Answer {
    let (name, secret, key) = (name.into(), Secret([9; 16]), key.map(Box::new));
    call(engine, Request::UserRegistry(user_registry::Request::Register { name, secret, key })).await
}

/// A new user, with the key of this number.
async fn user(engine: &Remote, name: &'static str, key: Option<u8>) -> User {
    let signer = key.map(|number| Signer::from_number([number; 32]).unwrap());
    match register(engine, name, signer.as_ref().map(Signer::public_key)).await {
        Ok(Reply::UserRegistry(user_registry::Reply::LoggedIn(session))) => User { name, session, signer },
        other => panic!("{other:?}"),
    }
}

async fn create(engine: &Remote, user: &User, name: &str) {
    let (session, name, description) = (user.session, name.into(), "".into());
    let create = subreddit_manager::Request::Create { session, name, description };
    call(engine, Request::SubredditManager(create)).await.unwrap();
}

async fn join(engine: &Remote, user: &User, subreddit: SubredditId) {
    let join = subreddit_manager::Request::Join { session: user.session, subreddit };
    call(engine, Request::SubredditManager(join)).await.unwrap();
}

/// The signature of a post in `rust` that says "body".
fn signature(user: &User, title: &str) -> Option<Box<Signature>> {
    let (author, subreddit, body, signed_at_ms) = (user.name, "rust", "body", 7);
    let signed = Signed { author, subreddit, title, body, signed_at_ms };
    user.signer.as_ref().map(|signer| Box::new(signer.sign(&signed).unwrap()))
}

fn post(user: &User, subreddit: SubredditId, title: &str, signature: Option<&Signature>) -> Request {
    let (session, title, body) = (user.session, title.into(), "body".into());
    let signature = signature.cloned().map(Box::new);
    Request::PostManager(post_manager::Request::Create { session, subreddit, title, body, signature })
}

fn posted(answer: &Answer) -> bool {
    matches!(answer, Ok(Reply::PostManager(post_manager::Reply::Created(_))))
}

#[test]
fn b3_a_signature_is_good_for_one_author_and_one_text_in_one_place() {
    let place = place();
    let _engine = Process::engine(&place.socket);
    ask(&place.socket, async |engine| {
        let ada = user(&engine, "ada", Some(7)).await;
        let bob = user(&engine, "bob", Some(8)).await;
        let eve = user(&engine, "eve", None).await;
        for name in ["rust", "cats"] {
            create(&engine, &ada, name).await;
        }
        join(&engine, &bob, RUST).await;
        join(&engine, &eve, RUST).await;
        let good = signature(&ada, "title").unwrap();
        let mut tampered = (*good).clone();
        tampered.bytes[10] ^= 1;
        let later = Signature { signed_at_ms: 8, ..(*good).clone() };
        let short = Signature { bytes: vec![1; 8], ..(*good).clone() };
        let refused = [
            (post(&ada, RUST, "title", Some(&tampered)), Error::BadSignature),
            (post(&ada, RUST, "title", Some(&later)), Error::BadSignature),
            (post(&ada, RUST, "title", Some(&short)), Error::BadSignature),
            (post(&ada, RUST, "another title", Some(&good)), Error::BadSignature),
            (post(&ada, CATS, "title", Some(&good)), Error::BadSignature),
            (post(&bob, RUST, "title", Some(&good)), Error::BadSignature),
            (post(&eve, RUST, "title", Some(&good)), Error::KeyMissing),
            (post(&ada, RUST, "title", None), Error::Unsigned),
        ];
        for (request, error) in refused {
            assert_eq!(call(&engine, request.clone()).await, Err(error), "{request:?}");
        }
        assert_eq!(payload::stats(&engine).await.posts, 0);
        assert!(posted(&call(&engine, post(&ada, RUST, "title", Some(&good))).await));
        assert!(posted(&call(&engine, post(&eve, RUST, "title", None)).await));
        // Asked again under the same name it happened once.
        let bobs = signature(&bob, "title");
        let once = post(&bob, RUST, "title", bobs.as_deref()).once(OpId { stream: 1, number: 1 });
        let first = call(&engine, once.clone()).await;
        assert!(posted(&first));
        assert_eq!(call(&engine, once).await, first);
        assert_eq!(payload::stats(&engine).await.posts, 3);
    });
}

#[test]
fn b1_b2_a_key_is_given_once_and_anybody_may_ask_for_it() {
    let place = place();
    let _engine = Process::engine(&place.socket);
    ask(&place.socket, async |engine| {
        let ada = user(&engine, "ada", Some(7)).await;
        let bob = user(&engine, "bob", None).await;
        let key = async |user| match call(
            &engine,
            Request::UserRegistry(user_registry::Request::GetPublicKey { user }),
        )
        .await
        {
            Ok(Reply::UserRegistry(user_registry::Reply::PublicKey(key))) => key.map(|key| *key),
            Err(Error::NotFound(_)) => None,
            other => panic!("{other:?}"),
        };
        let adas = ada.signer.as_ref().map(Signer::public_key);
        assert_eq!(key(ada.session.user).await, adas);
        assert_eq!((key(bob.session.user).await, key(UserId(99)).await), (None, None));
        let wrong = |flaw| Err(Error::BadRequest { field: Field::PublicKey, flaw });
        let other = Signer::from_number([8; 32]).unwrap().public_key();
        assert_eq!(register(&engine, "ada", Some(other.clone())).await, wrong(Flaw::Another));
        assert_eq!(register(&engine, "bob", Some(other)).await, wrong(Flaw::Another));
        assert!(register(&engine, "ada", adas).await.is_ok() && register(&engine, "ada", None).await.is_ok());
        let bad = PublicKey::from_spki(b"no key");
        assert_eq!(register(&engine, "eve", Some(bad)).await, wrong(Flaw::NoKey));
        assert_eq!(payload::stats(&engine).await.users, 2);
    });
}

#[test]
fn b3_each_of_many_signed_posts_at_once_gets_its_own_answer() {
    let place = place();
    let _engine = Process::engine(&place.socket);
    ask(&place.socket, async |engine| {
        let ada = user(&engine, "ada", Some(7)).await;
        create(&engine, &ada, "rust").await;
        let engine = std::rc::Rc::new(engine);
        let mut asked = JoinSet::new();
        for number in 0..300 {
            let (title, bad) = (format!("title {number}"), number % 3 == 0);
            let signature = signature(&ada, if bad { "what I never signed" } else { &title });
            let (engine, request) = (engine.clone(), post(&ada, RUST, &title, signature.as_deref()));
            asked.spawn_local(async move { (bad, title, call(&engine, request).await) });
        }
        let mut good = 0;
        while let Some(answered) = asked.join_next().await {
            let (bad, title, answer) = answered.unwrap();
            let Ok(Reply::PostManager(post_manager::Reply::Created(post))) = answer else {
                assert_eq!((bad, answer), (true, Err(Error::BadSignature)));
                continue;
            };
            assert!(!bad);
            good += 1;
            let get = Request::PostManager(post_manager::Request::Get { post });
            let Ok(Reply::PostManager(post_manager::Reply::Post(view))) = call(&engine, get).await else {
                panic!("no {post}")
            };
            assert_eq!(*view.title, *title);
        }
        assert_eq!(good, 200);
    });
}

/// A store in which somebody has put words into ada's mouth: the signature of "title" below another title.
fn forge(store: &Path) {
    let signer = Signer::from_number([7; 32]).unwrap();
    let (author, subreddit, title, body, signed_at_ms) = ("ada", "rust", "title", "body", 7);
    let signed = Signed { author, subreddit, title, body, signed_at_ms };
    let signature = || Some(Box::new(signer.sign(&signed).unwrap()));
    let post = |title: &str| Record::PostCreated {
        author: UserId(1),
        subreddit: RUST,
        title: title.into(),
        body: body.into(),
        signature: signature(),
        at_ms: 3,
    };
    let key = Some(Box::new(signer.public_key()));
    let (mut kept, _, _) = Store::open(store, Durability::Process).unwrap();
    let creator = UserId(1);
    for record in [
        Record::UserRegistered { name: author.into(), secret: Secret([0; 16]), key, at_ms: 1 },
        Record::SubredditCreated { creator, name: subreddit.into(), description: "".into(), at_ms: 2 },
        post(title),
        post("what she never said"),
    ] {
        kept.append(&Entry { op: None, record }).unwrap();
    }
    kept.commit().unwrap();
}

#[test]
fn b3_words_put_into_somebody_s_mouth_are_found_by_every_client_and_by_the_check() {
    let place = place();
    let (store, named) = keeping(&place);
    forge(&store);
    let (code, told) = check(&place, &store);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("I19 does not hold: the signature of t3_2 is not that of t2_1 over its text"),
        "{told}"
    );
    // An engine believes its store; who reads there need not believe the engine.
    let _engine = place.named_engine(&["--store", &named]);
    let shown = place.hand(&["posts", "rust", "--sort", "new"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.contains(
            "NOT VERIFIED: the signature is not the author's over this text\n    what she never said"
        ),
        "{text}"
    );
    assert!(text.contains("Z  verified\n    title"), "{text}");
    let told = String::from_utf8(shown.stderr).unwrap();
    assert_eq!(
        (shown.status.code(), &*told),
        (Some(1), "reddit-client: 1 post is not certainly what its author signed\n")
    );
    let thread = place.hand(&["thread", "t3_2", "--json"]);
    let post = json(&String::from_utf8(thread.stdout).unwrap())["post"].clone();
    assert_eq!((thread.status.code(), &post["signature"]["verified"]), (Some(1), &false.into()));
    assert!(place.said(&["thread", "t3_1"]).contains("  verified\n"));
}

#[test]
fn an_author_with_another_key_than_before_is_told() {
    let place = place();
    let post = |state: &str| {
        for words in [&["register", "ada", "--key"][..], &["create", "rust"], &["post", "rust", "Signed"]] {
            let mut command = place.command(CLIENT);
            command.env("XDG_STATE_HOME", place.dir.path().join(state)).args(words).stdin(Stdio::null());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    };
    let engine = place.named_engine(&[]);
    post("first");
    assert!(place.said(&["posts", "rust"]).contains("  verified\n"));
    drop(engine);
    // An engine without a store has forgotten her, and somebody else takes her name.
    let _engine = place.named_engine(&[]);
    post("second");
    let shown = place.hand(&["posts", "rust"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.status.code(), Some(1), "{text}");
    assert!(text.contains("NOT VERIFIED: the author's key is another one than was first seen"), "{text}");
    // Whoever knows better forgets what was seen.
    fs::remove_file(place.dir.path().join("state/reddit-client/known-keys")).unwrap();
    assert!(place.said(&["posts", "rust"]).contains("  verified\n"));
}

//! The system in a person's hands: every verb, two terminals, an engine that is killed in between.

mod payload;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use payload::person::Person;
use payload::{CLIENT, place};
use serde_json::Value;

#[test]
fn two_people_at_two_terminals_see_each_other_s_posts_and_messages() {
    let place = place();
    let _engine = place.named_engine(&[]);
    let mut ada = Person::sits_down(&place, &[]);
    ada.sees("nobody@engine> ");
    ada.types("register ada");
    ada.sees("you are ada");
    ada.sees("ada@engine> ");
    ada.types("create rust 'The language'");
    ada.sees("r/rust is open (t5_1)");

    let mut bob = Person::sits_down(&place, &[]);
    // The only one there is a secret of; registering makes it somebody else.
    bob.sees("ada@engine> ");
    bob.types("register bob");
    bob.sees("you are bob");
    bob.types("join rust");
    bob.sees("joined r/rust, which has 2 members now");

    ada.types("post rust \"Written at the first terminal\" body");
    ada.sees("posted t3_1");
    bob.types("feed");
    bob.sees("t3_1  r/rust  u/ada");
    bob.sees("Written at the first terminal");
    bob.types("comment t3_1 'Answered at the second'");
    bob.sees("said t1_1");
    ada.types("thread t3_1");
    ada.sees("t1_1  u/bob");
    ada.sees("Answered at the second");
    bob.types("dm send ada hello 'Only for you'");
    bob.sees("sent t4_1");
    ada.types("dm list");
    ada.sees("t4_1  bob to ada");
    ada.sees("Only for you");
    ada.types("join rust");
    ada.sees("already a member of the subreddit");
    ada.types("nonsense");
    ada.sees("help lists the verbs");
    ada.types("help");
    ada.sees("Take a post or a comment of your own back");
    ada.leaves();
    bob.leaves();
}

#[test]
fn b1_b2_b3_what_one_signs_at_one_terminal_is_verified_at_another() {
    let place = place();
    let _engine = place.named_engine(&[]);
    let mut ada = Person::sits_down(&place, &[]);
    ada.sees("nobody@engine> ");
    ada.types("register ada --key");
    ada.sees("you are ada");
    ada.types("create rust");
    ada.sees("r/rust is open");
    ada.types("post rust \"Signed at the first terminal\" body");
    ada.sees("posted t3_1");

    let mut bob = Person::sits_down(&place, &["--as", "bob"]);
    bob.sees("nobody@engine> ");
    bob.types("register bob");
    bob.sees("you are bob");
    bob.types("join rust");
    bob.sees("joined r/rust");
    bob.types("feed");
    bob.sees("t3_1  r/rust  u/ada");
    bob.sees("Z  verified\r\n    Signed at the first terminal");
    bob.types("post rust 'Not signed'");
    bob.sees("posted t3_2");
    bob.types("key show ada");
    bob.sees("-----BEGIN PUBLIC KEY-----");
    bob.types("repost t3_1 rust --title Again");
    bob.sees("posted t3_3");
    ada.types("feed --sort new");
    ada.sees("repost of t3_1  original verified");
    ada.sees("t3_2  r/rust  u/bob");
    ada.sees("Z\r\n    Not signed");
    ada.leaves();
    bob.leaves();
}

#[test]
fn a_person_at_the_prompt_goes_on_at_the_next_engine() {
    let place = place();
    let store = place.dir.path().join("store");
    let keeping = ["--store", store.to_str().unwrap()];
    let mut engine = place.named_engine(&keeping);
    let mut ada = Person::sits_down(&place, &[]);
    ada.sees("nobody@engine> ");
    ada.types("register ada");
    ada.sees("you are ada");
    ada.types("create rust");
    ada.sees("r/rust is open");
    engine.child.kill().unwrap();
    engine.wait();
    ada.types("post rust 'To nobody'");
    ada.sees("engine not available: connection refused at ");
    let _engine = place.named_engine(&keeping);
    ada.types("post rust 'To somebody'");
    ada.sees("posted t3_1");
    ada.types("feed");
    ada.sees("To somebody");
    ada.leaves();
}

#[test]
fn what_an_engine_did_not_answer_before_it_died_is_asked_of_the_next_one() {
    let place = place();
    let store = place.dir.path().join("store");
    let keeping = ["--store", store.to_str().unwrap()];
    let mut engine = place.named_engine(&keeping);
    let mut ada = Person::sits_down(&place, &["--wait-engine", "60s"]);
    ada.sees("nobody@engine> ");
    ada.types("register ada");
    ada.sees("you are ada");
    ada.types("create rust");
    ada.sees("r/rust is open");
    engine.signal(Signal::SIGSTOP);
    waitpid(engine.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
    ada.types("post rust 'Into the void?'");
    // The line is on the screen; whether the request is already under way makes no difference.
    ada.sees("void?'");
    engine.child.kill().unwrap();
    engine.wait();
    let _engine = place.named_engine(&keeping);
    ada.sees("posted t3_1");
    ada.types("feed --json");
    ada.sees("Into the void?");
    ada.leaves();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_verb_does_what_it_says() {
    let place = place();
    let _engine = place.named_engine(&[]);
    let say = |words: &[&str]| place.said(words);
    assert_eq!(say(&["register", "ada"]), "you are ada\n");
    assert_eq!(say(&["register", "Ada"]), "you are Ada\n", "again, with the same secret");
    assert_eq!(say(&["create", "rust", "The language"]), "r/rust is open (t5_1)\n");
    assert_eq!(
        say(&["post", "r/rust", "First"]),
        "posted t3_1\n",
        "no name is needed while there is one only"
    );
    assert_eq!(say(&["register", "bob"]), "you are bob\n");
    let (code, told) = place.refused(&["feed"]);
    assert_eq!((code, told.as_str()), (Some(2), "reddit-client: say who you are: --as ada or --as bob\n"));
    let bob = |words: &[&str]| say(&[words, &["--as", "bob"]].concat());
    assert_eq!(bob(&["feed"]), "no posts\n");
    assert_eq!(bob(&["create", "cats"]), "r/cats is open (t5_2)\n");
    assert_eq!(bob(&["join", "rust"]), "joined r/rust, which has 2 members now\n");
    assert_eq!(bob(&["repost", "t3_1", "cats", "--title", "Again"]), "posted t3_2\n");
    assert_eq!(bob(&["vote", "t3_1", "up"]), "score 2 (+2 -0) now\n");
    assert_eq!(bob(&["comment", "t3_1", "Good"]), "said t1_1\n");
    assert_eq!(say(&["comment", "t1_1", "Thanks", "--as", "ada"]), "said t1_2\n");
    assert_eq!(bob(&["vote", "t1_2", "down"]), "score 0 (+1 -1) now\n");
    let thread = json(&say(&["thread", "t3_1", "--json"]));
    assert_eq!(
        (&thread["post"]["votes"]["ups"], &thread["comments"][1]["parent"]),
        (&2.into(), &"t1_1".into())
    );
    let posts = json(&bob(&["feed", "--sort", "new", "--json"]))["posts"].clone();
    let ids: Vec<_> = posts.as_array().unwrap().iter().map(|post| post["id"].clone()).collect();
    assert_eq!(ids, ["t3_2", "t3_1"]);
    assert_eq!(posts[0]["repost_of"], "t3_1");
    assert_eq!(bob(&["delete", "t3_2"]), "taken back\n");
    assert_eq!(say(&["posts", "cats"]), "no posts\n");
    assert_eq!(bob(&["dm", "send", "u/ada", "hi", "How are you"]), "sent t4_1\n");
    assert_eq!(json(&say(&["dm", "list", "unread", "--as", "ada", "--json"]))["messages"][0]["from"], "bob");
    assert_eq!(say(&["dm", "reply", "t4_1", "Fine", "--as", "ada"]), "sent t4_2\n");
    assert_eq!(say(&["dm", "read", "t4_1", "--as", "ada"]), "marked as read\n");
    assert_eq!(say(&["dm", "list", "unread", "--as", "ada"]), "no messages\n");
    assert_eq!(json(&bob(&["dm", "list", "--json"]))["messages"][0]["reply_to"], "t4_1");
    assert!(say(&["whoami", "--as", "ada"]).contains("post karma 1, comment karma -1, in 1 subreddit"));
    assert_eq!(bob(&["leave", "rust"]), "left r/rust, which has 1 member now\n");
    let mine = json(&bob(&["subreddits", "--mine", "--json"]))["subreddits"].clone();
    assert_eq!((mine.as_array().unwrap().len(), &mine[0]["name"]), (1, &"cats".into()));
}

#[test]
fn what_the_engine_refuses_is_code_1_and_the_reason_is_told() {
    let place = place();
    let _engine = place.named_engine(&[]);
    place.said(&["register", "ada"]);
    for (words, reason) in [
        (&["register", "xy"][..], "the username has fewer than 3 characters"),
        (&["join", "rust"], "no such subreddit"),
        (&["vote", "t3_9", "up"], "no such post"),
        (&["dm", "send", "eve", "hi", "text"], "no such user"),
        (&["create", "a b"], "the name of the subreddit has a character that is not allowed"),
    ] {
        let (code, told) = place.refused(words);
        assert_eq!((code, told), (Some(1), format!("reddit-client: {reason}\n")), "{words:?}");
    }
    // Another person of this machine has that name: other secrets, same engine.
    let mut other = place.command(CLIENT);
    other.env("XDG_STATE_HOME", place.dir.path().join("other")).args(["register", "ADA"]);
    let output = other.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "reddit-client: the name is taken\n");
    let left = fs::read_dir(place.dir.path().join("other/reddit-client")).unwrap().count();
    assert_eq!(left, 0, "no secret is kept for a name that is somebody else's");
}

#[test]
fn secrets_are_for_their_owner_only_and_outlive_the_engine() {
    let place = place();
    let engine = place.named_engine(&[]);
    place.said(&["register", "ada"]);
    let folder = place.dir.path().join("state/reddit-client");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("ada.secret"))), (0o700, 0o600));
    drop(engine);
    let _engine = place.named_engine(&[]);
    // An engine without a store has forgotten everybody.
    let (code, told) = place.refused(&["whoami"]);
    assert_eq!((code, told.as_str()), (Some(2), "reddit-client: this engine knows no ada: register ada\n"));
    place.said(&["register", "ada"]);
    assert!(place.said(&["whoami"]).starts_with("ada (t2_1)"));
}

#[test]
fn a_script_ends_at_the_first_line_that_fails() {
    let place = place();
    let _engine = place.named_engine(&[]);
    let mut script = place.command(CLIENT);
    script.arg("interactive").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let lines =
        "# a comment\n\nregister ada\ncreate rust\npost rust 'It''s \"here\"' --json\njoin nowhere\nwhoami\n";
    script.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = script.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "you are ada\nr/rust is open (t5_1)\n{\"id\":\"t3_1\",\"version\":1}\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "reddit-client: no such subreddit\n");
}

//! The rows of the list of seed sentences that speak of engine, clients, names and calls, each by its number: real
//! processes, started by hand.

mod payload;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::geteuid;
use payload::{BOUND, CLIENT, ENGINE, Process, local, place, stats};
use provost::node::{CallError, Fault, Node, Options};
use provost::reddit::Remote;
use provost::reddit::protocol::{Actor, Reply, Request, user_registry};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn s01_entry_each_program_is_started_alone_and_is_a_process_of_its_own() {
    let place = place();
    let mut engine = place.named_engine(&[]);
    let mut client =
        Process::start(place.command(CLIENT).args(["simulate", "--name", "client@1", "--users", "50"]));
    let line = client.wait_for("registered at engine");
    assert!(line.contains(&format!("engine (pid {})", engine.pid())), "it works at that engine: {line}");
    client.wait_for("ops/s");
    assert_ne!(engine.pid(), client.pid());
    for (process, program) in [(&engine, ENGINE), (&client, CLIENT)] {
        let exe = fs::read_link(format!("/proc/{}/exe", process.pid())).unwrap();
        assert_eq!(exe, fs::canonicalize(program).unwrap());
    }
    engine.wait_for(&format!("client@1 (pid {}) connected", client.pid()));
}

#[test]
fn s03_init_twice_is_told_and_connecting_twice_is_once() {
    let place = place();
    let engine = place.named_engine(&[]);
    local(async {
        let node = place.node("client@1");
        let again = Node::start_with(
            "client@1",
            Options { folder: place.dir.path().join("nodes"), ..Options::default() },
        );
        let told = again.unwrap_err().to_string();
        assert!(told.contains(&format!("this process (pid {})", std::process::id())), "{told}");
        let first = node.connect("engine").await.unwrap();
        assert_eq!((first.pid, &node.connect("engine").await.unwrap()), (engine.child.id(), &first));
        assert_eq!(node.nodes(), [first]);
    });
}

#[test]
fn s04_ping_is_pong_with_the_pid_and_pang_when_nobody_answers() {
    let place = place();
    let pang = |why: &str| {
        let (code, told) = place.refused(&["ping"]);
        assert_eq!(code, Some(69), "{told}");
        assert!(told.starts_with(&format!("reddit-client: engine not available: {why}")), "{told}");
    };
    pang("no socket at ");
    let engine = place.named_engine(&[]);
    assert_eq!(place.said(&["ping"]), format!("pong: engine (pid {})\n", engine.pid()));
    assert_eq!(json(&place.said(&["ping", "--json"]))["engine"]["pid"], engine.child.id());
    engine.signal(Signal::SIGSTOP);
    waitpid(engine.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
    pang("timed out: no answer at ");
    engine.signal(Signal::SIGCONT);
    drop(engine);
    // It was killed, so its socket is there and nobody listens.
    pang("connection refused at ");
}

#[test]
fn s05_noengine_is_code_69_in_words_and_an_engine_that_comes_later_is_waited_for() {
    let place = place();
    place.said(&["--version"]);
    let state = place.dir.path().join("state/reddit-client");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("ada.secret"), format!("{:032x}\n", 7)).unwrap();
    fs::set_permissions(state.join("ada.secret"), fs::Permissions::from_mode(0o600)).unwrap();
    for words in [
        &["ping"][..],
        &["register", "bob"],
        &["feed"],
        &["thread", "t3_1"],
        &["interactive"],
        &["simulate", "--once", "--name", "client@1"],
    ] {
        let output = place.command(CLIENT).args(words).stdin(script("feed\n")).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{words:?}: {told}");
        assert!(told.contains("engine not available: no socket at "), "{words:?}: {told}");
    }
    let mut early = Process::start(place.command(CLIENT).args(["register", "ada", "--wait-engine", "60s"]));
    early.wait_for("engine not available: no socket at ");
    let _engine = place.named_engine(&[]);
    assert_eq!(early.wait().code(), Some(0), "{:?}", early.seen);
    assert_eq!(early.seen.last().unwrap(), "you are ada");
}

/// Lines to be read from standard input.
fn script(lines: &str) -> fs::File {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn s06_registry_names_of_the_engine_come_and_go_with_it() {
    let place = place();
    let mut engine = place.named_engine(&[]);
    local(async {
        let node = place.node("looker");
        let _keeper = node.keep_connected("engine");
        let mut first = Vec::new();
        for actor in Actor::ALL {
            let found = node.find(actor.name(), BOUND).await.unwrap();
            assert_eq!((found.node().node.as_str(), found.node().pid), ("engine", engine.child.id()));
            assert_ne!(found.node().pid, std::process::id());
            assert!(found.location().ends_with("/nodes/engine.sock"), "{}", found.location());
            first.push(found);
        }
        assert_eq!(node.registered().len(), Actor::ALL.len());
        assert!(node.whereis("karma_calculator").is_none());

        let down = node.monitor(&first[0]);
        engine.child.kill().unwrap();
        engine.child.wait().unwrap();
        down.await;
        for actor in Actor::ALL {
            assert!(node.whereis(actor.name()).is_none(), "{} outlives its engine", actor.name());
        }

        // Looked up before there is anybody who has it: the answer is the next engine.
        let lookup = {
            let node = node.clone();
            tokio::task::spawn_local(async move { node.find("user_registry", BOUND).await })
        };
        tokio::task::yield_now().await;
        let second = place.named_engine(&[]);
        let found = lookup.await.unwrap().unwrap();
        assert_eq!(found.node().pid, second.child.id());
        assert_ne!(found.node(), first[0].node());
        for actor in Actor::ALL {
            assert_eq!(node.find(actor.name(), BOUND).await.unwrap().node(), found.node());
        }
    });
}

#[test]
fn s07_remote_call_is_served_and_has_its_effect_and_what_is_no_request_is_told_and_counted() {
    let place = place();
    let engine = place.named_engine(&[]);
    place.said(&["register", "ada"]);
    local(async {
        let node = place.node("other");
        let remote = Remote::find(&node, "engine", BOUND).await.unwrap();
        assert_eq!(remote.identity().pid, engine.child.id());
        let get = user_registry::Request::GetByName { name: "ada".into() };
        let answer = remote.call(&Request::UserRegistry(get).into(), BOUND).await.unwrap();
        let Ok(Reply::UserRegistry(user_registry::Reply::User(ada))) = answer else { panic!("{answer:?}") };
        assert_eq!(&*ada.name, "ada", "registered by another process");

        let before = stats(&remote).await;
        assert!(before.requests >= 2 && before.misunderstood == 0, "{before:?}");
        let unknown_tag = [0u8, 200, 1, 2, 3];
        let refused = node.call::<_, ()>("user_registry", &unknown_tag, BOUND).await.unwrap_err();
        assert_eq!(refused, CallError::Refused(Fault::BadRequest));
        assert_eq!(stats(&remote).await.misunderstood, 1, "told, and counted, and the connection goes on");
    });
}

#[test]
fn s19_shared_the_feed_of_one_process_shows_what_a_user_of_another_posted() {
    let place = place();
    let _engine = place.named_engine(&[]);
    for words in [
        &["register", "ada"][..],
        &["create", "rust"],
        &["register", "bob"],
        &["join", "rust", "--as", "bob"],
    ] {
        place.said(words);
    }
    let id =
        json(&place.said(&["post", "rust", "from the other side", "--as", "ada", "--json"]))["id"].clone();
    let feed = json(&place.said(&["feed", "--as", "bob", "--json"]));
    let post = &feed["posts"][0];
    assert_eq!(
        (&post["id"], &post["author"], &post["title"]),
        (&id, &"ada".into(), &"from the other side".into())
    );
}

#[test]
fn s23_perm_another_user_is_refused() {
    if !geteuid().is_root() {
        println!("skipped: only root can become another user");
        return;
    }
    let place = place();
    let _engine = place.named_engine(&[]);
    let stranger = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", CLIENT, "ping"]);
        let output =
            command.env("PROVOST_RUN_DIR", place.dir.path()).env("HOME", "/nonexistent").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = stranger();
    assert_eq!(code, Some(69), "{told}");
    assert!(told.contains("Permission denied"), "the folder is closed: {told}");
    // Somebody opened every door. The engine still asks the kernel who that is.
    let nodes = place.dir.path().join("nodes");
    for (path, mode) in [(place.dir.path(), 0o755), (&nodes, 0o755), (&nodes.join("engine.sock"), 0o777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let (code, told) = stranger();
    assert_eq!(code, Some(76), "{told}");
    assert!(told.contains("it serves only its own user and root, not uid 65534"), "{told}");
    place.said(&["ping"]);
}

#[test]
fn s23_perm_a_socket_that_is_no_engine_s_is_told() {
    let place = place();
    fs::create_dir(place.dir.path().join("nodes")).unwrap();
    let other = UnixListener::bind(place.dir.path().join("nodes/engine.sock")).unwrap();
    let client = Process::start(place.command(CLIENT).args(["thread", "t3_1"]));
    let (mut stream, _) = other.accept().unwrap();
    std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    let mut client = client;
    assert_eq!(client.wait().code(), Some(76), "{:?}", client.seen);
    assert_eq!(client.count("the engine cannot be used: "), 1, "{:?}", client.seen);
}

#[test]
fn s02_name_an_engine_s_name_is_had_once_and_a_client_without_one_gets_the_next_free_number() {
    let place = place();
    let engine = place.named_engine(&[]);
    let mut second = Process::start(&mut place.command(ENGINE));
    assert_eq!(second.wait().code(), Some(75));
    assert_eq!(second.count(&format!("(pid {})", engine.pid())), 1, "{:?}", second.seen);

    let client = |name: &str| {
        let mut client = Process::start(place.command(CLIENT).args(["simulate", "--users", "5"]));
        let line = client.wait_for("registered at");
        assert!(line.starts_with(&format!("{name} ")), "not {name}: {line}");
        client
    };
    let mut first = client("client@1");
    let _second = client("client@2");
    let _third = client("client@3");
    first.child.kill().unwrap();
    first.wait();
    let _first = client("client@1");
    let mut taken = Process::start(place.command(CLIENT).args(["simulate", "--name", "client@2"]));
    assert_eq!(taken.wait().code(), Some(75), "{:?}", taken.seen);
}

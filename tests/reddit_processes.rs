//! Engine and clients as real processes: two terminals by hand, crashes, restarts, wrong use.

mod payload;

use std::io::Write;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use payload::{BOUND, CLIENT, ENGINE, Process, ask, place, stats};
use provost::node::{Kind, Refusal, frame};
use provost::reddit::protocol::{self, Page, Reply, Request, Sort, SubredditId, Window, post_manager};

#[test]
fn engine_and_client_run_by_hand_and_end_when_asked() {
    let place = place();
    let mut engine = Process::engine(&place.socket);
    let mut client = Process::client(&place.socket, "client@1", &["--rate", "0"]);
    client.wait_for("50 users, 200 subreddits");
    let line = client.wait_for("ops/s");
    assert!(line.starts_with("client@1 ") && line.contains("p50") && line.contains("feed"), "{line}");
    assert!(line.ends_with("errors 0 reconnects 0"), "{line}");
    client.signal(Signal::SIGTERM);
    assert_eq!(client.wait().code(), Some(0));
    let totals = client.seen.last().unwrap();
    assert!(totals.contains("actions in") && totals.contains("lost in flight 0"), "{totals}");
    engine.wait_for("client@1");
    engine.signal(Signal::SIGINT);
    assert_eq!(engine.wait().code(), Some(0));
    assert_eq!(engine.count("stopping on SIGINT"), 1);
    assert!(!place.socket.exists(), "the engine removes its own socket");
}

#[test]
fn a_client_stops_after_its_duration() {
    let place = place();
    let _engine = Process::engine(&place.socket);
    let mut client = Process::client(&place.socket, "client@1", &["--duration", "300ms", "--rate", "0"]);
    assert_eq!(client.wait().code(), Some(0));
    let totals = client.seen.last().unwrap();
    let seconds: f64 = totals.split(' ').nth(4).unwrap().parse().unwrap();
    assert!(totals.contains(" actions in ") && seconds >= 0.3, "{totals}");
}

#[test]
fn a_paced_client_does_not_exceed_its_rate() {
    let place = place();
    let _engine = Process::engine(&place.socket);
    let mut client = Process::client(&place.socket, "client@1", &["--duration", "1s", "--rate", "100"]);
    assert_eq!(client.wait().code(), Some(0));
    let totals = client.seen.last().unwrap();
    let actions: u32 = totals.split(' ').nth(1).unwrap().parse().unwrap();
    // Coming and going is not paced.
    assert!((1..=150).contains(&actions), "{totals}");
}

#[test]
fn a_client_that_must_not_wait_fails_at_once_and_says_why() {
    let place = place();
    let fails = |reason: &str| {
        let mut client = Process::client(&place.socket, "client@1", &["--once"]);
        assert_eq!(client.wait().code(), Some(69));
        let text = format!("engine not available: {reason}");
        assert_eq!(client.count(&text), 1, "{text}: {:?}", client.seen);
    };
    fails("no socket at ");
    drop(UnixListener::bind(&place.socket).unwrap());
    fails("connection refused at ");
    std::fs::remove_file(&place.socket).unwrap();
    let _silent = UnixListener::bind(&place.socket).unwrap();
    fails("timed out: no answer at ");
}

#[test]
fn engine_and_client_find_each_other_by_name_where_nodes_of_one_user_are() {
    let place = place();
    let mut engine = Process::start(Command::new(ENGINE).env("PROVOST_RUN_DIR", place.dir.path()));
    engine.wait_for("listening on unix:");
    let mut command = Command::new(CLIENT);
    command.env("PROVOST_RUN_DIR", place.dir.path()).args(["--once", "--users", "5", "--duration", "100ms"]);
    assert_eq!(Process::start(&mut command).wait().code(), Some(0));
}

#[test]
fn a_client_that_must_not_wait_fails_when_the_engine_is_lost() {
    let place = place();
    let mut engine = Process::engine(&place.socket);
    let mut client = Process::client(&place.socket, "client@1", &["--once"]);
    client.wait_for("users");
    engine.child.kill().unwrap();
    assert_eq!(client.wait().code(), Some(69));
    let text = format!("engine not available: engine (pid {}): exited", engine.pid());
    assert_eq!(client.count(&text), 1, "{:?}", client.seen);
}

#[test]
fn a_client_waits_for_its_engine_and_says_so_once() {
    let place = place();
    let mut client = Process::client(&place.socket, "client@1", &["--rate", "0"]);
    client.wait_for("engine not available: no socket at ");
    // A stale socket is another state, so the next attempt tells it: at least two attempts have been made by then.
    drop(UnixListener::bind(&place.socket).unwrap());
    client.wait_for("engine not available: connection refused at ");
    let _engine = Process::engine(&place.socket);
    client.wait_for("engine available: engine (pid ");
    client.wait_for("ops/s");
    assert_eq!(client.count("engine not available"), 2, "{:?}", client.seen);
}

#[test]
fn a_waiting_client_ends_when_asked() {
    let place = place();
    let mut client = Process::client(&place.socket, "client@1", &[]);
    client.wait_for("engine not available");
    client.signal(Signal::SIGTERM);
    assert_eq!(client.wait().code(), Some(0));
}

#[test]
fn two_clients_see_each_others_posts() {
    let place = place();
    let _engine = Process::engine(&place.socket);
    let _clients =
        ["client@1", "client@2"].map(|name| Process::client(&place.socket, name, &["--rate", "0"]));
    ask(&place.socket, async |engine| {
        let list = post_manager::Request::List {
            // The most popular one, which users of both clients join and post in.
            subreddit: SubredditId(1),
            sort: Sort::New,
            window: Window::All,
            page: Page { after: None, limit: Some(100) },
        };
        let deadline = Instant::now() + BOUND;
        loop {
            assert!(Instant::now() < deadline, "{:?}", stats(&engine).await);
            let answer = engine.call(&Request::PostManager(list.clone()).into(), BOUND).await.unwrap();
            let Ok(Reply::PostManager(post_manager::Reply::Posts(posts))) = answer else { continue };
            let by = |client: &str| posts.iter().any(|post| post.author_name.starts_with(client));
            if by("client-1_") && by("client-2_") {
                return;
            }
        }
    });
}

#[test]
fn no_connection_is_refused_while_a_killed_engine_is_replaced_on_a_held_socket() {
    let place = place();
    let socket = UnixListener::bind(&place.socket).unwrap();
    let mut engine = Process::engine_on(&socket, place.dir.path());
    let mut client = Process::client(&place.socket, "client@1", &["--rate", "0"]);
    client.wait_for("ops/s");
    engine.child.kill().unwrap();
    engine.child.wait().unwrap();
    client.wait_for(&format!("lost the engine: engine (pid {}): exited", engine.pid()));
    let mut second = Process::engine_on(&socket, place.dir.path());
    second.wait_for("client@1");
    client.wait_for("50 users, 200 subreddits");
    let line = client.wait_for("reconnects 1");
    assert!(line.contains("errors 0"), "{line}");
    client.signal(Signal::SIGTERM);
    assert_eq!(client.wait().code(), Some(0));
    assert_eq!(client.count("not available"), 0, "{:?}", client.seen);
    // The socket is the supervisor's: the engine must not remove it.
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait().code(), Some(0));
    assert!(place.socket.exists());
}

#[test]
fn a_killed_engines_own_socket_is_replaced_and_its_clients_come_back() {
    let place = place();
    let mut engine = Process::engine(&place.socket);
    let mut client = Process::client(&place.socket, "client@1", &["--rate", "0"]);
    client.wait_for("ops/s");
    engine.child.kill().unwrap();
    client.wait_for("engine not available: connection refused at ");
    let _second = Process::engine(&place.socket);
    client.wait_for("engine available: ");
    let line = client.wait_for("reconnects 1");
    assert!(line.contains("errors 0"), "{line}");
}

#[test]
fn a_restarted_client_finds_its_users_again() {
    let place = place();
    let _engine = Process::engine(&place.socket);
    let mut client = Process::client(&place.socket, "client@1", &["--duration", "200ms"]);
    assert_eq!(client.wait().code(), Some(0));
    let users = ask(&place.socket, async |engine| stats(&engine).await.users);
    assert_eq!(users, 50);
    let mut again = Process::client(&place.socket, "client@1", &["--duration", "200ms"]);
    assert_eq!(again.wait().code(), Some(0));
    assert!(again.seen.last().unwrap().contains("errors 0"), "{:?}", again.seen);
    assert_eq!(ask(&place.socket, async |engine| stats(&engine).await.users), users);
}

#[test]
fn a_second_engine_on_a_living_socket_refuses_and_names_the_first() {
    let place = place();
    let first = Process::engine(&place.socket);
    let mut second = Process::start(Command::new(ENGINE).arg("--listen").arg(&place.socket));
    assert_eq!(second.wait().code(), Some(75));
    let told = second.seen.join("\n");
    assert!(told.contains(&format!("pid {}", first.pid())), "{told}");
    assert!(told.contains(place.socket.to_str().unwrap()), "{told}");
    assert_eq!(ask(&place.socket, async |engine| stats(&engine).await.users), 0);
}

#[test]
fn an_engine_that_cannot_listen_says_where() {
    let place = place();
    let nowhere = place.socket.join("below/a/file");
    let mut engine = Process::start(Command::new(ENGINE).arg("--listen").arg(&nowhere));
    assert_eq!(engine.wait().code(), Some(73));
    assert_eq!(engine.count("cannot listen on"), 1, "{:?}", engine.seen);
}

#[test]
fn the_engine_tells_its_supervisor_when_it_is_ready_and_when_it_stops() {
    let place = place();
    let path = place.socket.with_file_name("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(BOUND)).unwrap();
    let heard = || {
        let mut buffer = [0; 500];
        let length = supervisor.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut command = Command::new(ENGINE);
    let mut engine = Process::start(command.arg("--listen").arg(&place.socket).env("NOTIFY_SOCKET", &path));
    assert!(heard().starts_with("READY=1\n"));
    // Ready means that requests are served.
    assert_eq!(ask(&place.socket, async |engine| stats(&engine).await.users), 0);
    engine.signal(Signal::SIGTERM);
    assert_eq!(heard(), "STOPPING=1");
    assert_eq!(engine.wait().code(), Some(0));
}

#[test]
fn a_client_of_another_build_is_told_and_does_not_try_again() {
    let place = place();
    let other = UnixListener::bind(&place.socket).unwrap();
    let mut client = Process::client(&place.socket, "client@1", &[]);
    let (mut stream, _) = other.accept().unwrap();
    let mut refusal = Vec::new();
    frame::append(
        &mut refusal,
        Kind::Refusal,
        0,
        &Refusal::Messages {
            ours: (protocol::VERSION + 1, protocol::VERSION + 1),
            theirs: (protocol::VERSION, protocol::VERSION),
        },
    )
    .unwrap();
    stream.write_all(&refusal).unwrap();
    assert_eq!(client.wait().code(), Some(76));
    let text = format!(
        "speaks versions {} of the messages and this side {}",
        protocol::VERSION + 1,
        protocol::VERSION
    );
    assert_eq!(client.count(&text), 1, "{:?}", client.seen);
}

#[test]
fn wrong_usage_is_code_2() {
    let code = |command: &mut Command| Process::start(command).wait().code();
    assert_eq!(code(Command::new(ENGINE).arg("--bogus")), Some(2));
    assert_eq!(code(Command::new(CLIENT).arg("--bogus")), Some(2));
    assert_eq!(code(Command::new(CLIENT).args(["--engine", "a b"])), Some(2));
    assert_eq!(code(Command::new(CLIENT).args(["--engine", "x", "--users", "0"])), Some(2));
    assert_eq!(code(Command::new(CLIENT).args(["--engine", "x", "--name", "a b"])), Some(2));
}

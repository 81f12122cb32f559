//! Nodes in processes of their own: what is seen of one that is killed, stopped, replaced or left alone.

mod node_support;

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use node_support::{Hood, PATIENCE, local};
use provost::node::{
    CallError, ConnectError, Fault, Listen, Location, Mailbox, Node, Options, Ping, Reason, Request, blocking,
};

const ROLE: &str = "NODE_TEST_ROLE";
const FOLDER: &str = "NODE_TEST_FOLDER";

/// Another node's process. Dropped, it is killed.
struct Peer {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Peer {
    /// Runs this program again in a role, and waits until it says that it is ready.
    fn start(hood: &Hood, role: &str) -> Peer {
        Peer::of(Peer::command(hood, role))
    }

    fn command(hood: &Hood, role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "plays_a_role", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, role).env(FOLDER, hood.folder()).stdout(Stdio::piped()).stdin(Stdio::null());
        command
    }

    fn of(mut command: Command) -> Peer {
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut peer = Peer { process, output };
        peer.hear("ready");
        peer
    }

    /// Waits for a line that contains this.
    fn hear(&mut self, what: &str) {
        let mut line = String::new();
        while !line.contains(what) {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it ended before it said {what}");
        }
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// Stops it. The signal alone lets it run on for a moment, long enough to answer.
    fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        waitpid(Pid::from_raw(self.pid() as i32), Some(WaitPidFlag::WUNTRACED)).unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Not a test of its own: what the other processes do.
#[test]
fn plays_a_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let folder = PathBuf::from(std::env::var(FOLDER).unwrap());
    if role == "crowd" {
        let connect = |_| UnixStream::connect(folder.join("engine.sock")).unwrap();
        let crowd: Vec<UnixStream> = (0..40).map(connect).collect();
        println!("ready");
        let mut told = Vec::new();
        for mut stream in crowd {
            let _ = stream.read_to_end(&mut told);
        }
        return println!("over");
    }
    let options = Options { folder, ..Options::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let node = Node::start_with("engine", options).unwrap();
        match role.as_str() {
            "engine" => {
                let _pid = node.serve("pid", |_: u32| std::process::id()).await.unwrap();
                println!("ready");
                std::future::pending::<()>().await;
            }
            // Counts each request, and ends on the third without a reply.
            "fickle" => {
                let mut mailbox: Mailbox<u32, u32> = node.mailbox();
                node.register("count", &mailbox).await.unwrap();
                println!("ready");
                let mut requests = Vec::new();
                let mut count = 0;
                loop {
                    mailbox.turn(&mut requests).await;
                    for Request { from, .. } in requests.drain(..) {
                        count += 1;
                        if count == 3 {
                            std::process::abort();
                        }
                        mailbox.reply(from, &count);
                    }
                    mailbox.flush();
                }
            }
            // Says good-bye when it is asked to.
            "polite" => {
                let mailbox: Mailbox<u32, u32> = node.mailbox();
                node.register("end", &mailbox).await.unwrap();
                println!("ready");
                mailbox.turn(&mut Vec::new()).await;
            }
            other => panic!("no role {other}"),
        }
    });
}

/// T_remote_call, T_registry, T_ping.
#[test]
fn a_name_resolves_to_another_process_and_vanishes_when_it_is_killed() {
    local(async {
        let hood = Hood::new();
        let client = hood.start("client@1");
        let _keeper = client.keep_connected("engine");
        let mut last = 0;
        for _ in 0..3 {
            let mut engine = Peer::start(&hood, "engine");
            let found = client.find("pid", PATIENCE).await.unwrap();
            assert_eq!(found.node().pid, engine.pid());
            assert_ne!(found.node().pid, last, "the same name, another process");
            last = engine.pid();
            assert!(found.location().ends_with("engine.sock"), "{}", found.location());
            let pid: u32 = client.call("pid", &0u32, PATIENCE).await.unwrap();
            assert_eq!(pid, engine.pid());
            assert!(matches!(client.ping("engine").await, Ping::Pong(peer) if peer.pid == engine.pid()));

            let (of_node, of_name) = (client.monitor_node("engine").await, client.monitor(&found));
            engine.process.kill().unwrap();
            assert_eq!((of_node.await.reason, of_name.await.reason), (Reason::Exited, Reason::Exited));
            assert!(client.whereis("pid").is_none());
            let begun = Instant::now();
            let error = client.call::<_, u32>(&found, &0u32, 10 * PATIENCE).await.unwrap_err();
            assert!(matches!(error, CallError::Lost(_)), "{error}");
            assert!(begun.elapsed() < PATIENCE, "a call to a dead peer fails at once");
            engine.process.wait().unwrap();
        }
    });
}

#[test]
fn a_call_under_way_fails_when_its_peer_dies() {
    local(async {
        let hood = Hood::new();
        let client = hood.start("client@1");
        let _fickle = Peer::start(&hood, "fickle");
        client.connect("engine").await.unwrap();
        for expected in [1, 2] {
            assert_eq!(client.call::<_, u32>("count", &0u32, PATIENCE).await, Ok(expected));
        }
        let error = client.call::<_, u32>("count", &0u32, 10 * PATIENCE).await.unwrap_err();
        assert!(matches!(error, CallError::Lost(_)), "{error}");
    });
}

#[test]
fn a_peer_that_says_good_bye_has_exited() {
    local(async {
        let hood = Hood::new();
        let client = hood.start("client@1");
        let mut polite = Peer::start(&hood, "polite");
        let monitor = client.monitor_node("engine").await;
        client.cast("end", &0u32).await.unwrap();
        assert_eq!(monitor.await.reason, Reason::Exited);
        assert!(polite.process.wait().unwrap().success());
        assert!(!hood.socket("engine").exists(), "it took its socket away");
    });
}

#[test]
fn a_stopped_process_is_a_pang_and_still_there_when_it_goes_on() {
    local(async {
        let hood = Hood::new();
        let client = hood.start("client@1");
        let engine = Peer::start(&hood, "engine");
        client.connect("engine").await.unwrap();
        engine.stop();
        assert!(matches!(client.ping("engine").await, Ping::Pang(_)));
        let stranger = hood.hidden("client@2");
        assert!(matches!(stranger.ping("engine").await, Ping::Pang(_)), "one that was not connected");
        engine.signal(Signal::SIGCONT);
        loop {
            if let Ping::Pong(peer) = client.ping("engine").await {
                assert_eq!(peer.pid, engine.pid());
                break;
            }
        }
    });
}

#[test]
fn a_second_process_of_a_name_is_told_who_has_it() {
    let hood = Hood::new();
    let engine = Peer::start(&hood, "engine");
    let error = local(async { Node::start_with("engine", hood.options()).unwrap_err() });
    let pid = format!("another process (pid {})", engine.pid());
    assert!(error.to_string().contains(&pid), "{error}");
}

#[test]
fn a_killed_node_s_socket_is_taken_over() {
    let hood = Hood::new();
    let mut first = Peer::start(&hood, "engine");
    first.process.kill().unwrap();
    first.process.wait().unwrap();
    assert!(hood.socket("engine").exists());
    let second = Peer::start(&hood, "engine");
    local(async {
        let client = hood.hidden("client@1");
        assert!(matches!(client.ping("engine").await, Ping::Pong(peer) if peer.pid == second.pid()));
    });
}

#[test]
fn an_idempotent_request_is_sent_again_to_the_successor() {
    local(async {
        let hood = Hood::new();
        let client = hood.start("client@1");
        let first = Peer::start(&hood, "fickle");
        client.connect("engine").await.unwrap();
        for expected in [1, 2] {
            assert_eq!(client.call_idempotent::<_, u32>("count", &0u32, PATIENCE).await, Ok(expected));
        }
        let asked = {
            let client = client.clone();
            tokio::task::spawn_local(async move {
                client.call_idempotent::<_, u32>("count", &0u32, 3 * PATIENCE).await
            })
        };
        client.monitor_node("engine").await.await;
        drop(first);
        let _second = Peer::start(&hood, "fickle");
        assert_eq!(asked.await.unwrap(), Ok(1));
        let error = client.call_idempotent::<_, u32>("nobody", &0u32, PATIENCE).await.unwrap_err();
        assert_eq!(error, CallError::NoName("nobody".to_owned()));
    });
}

#[test]
fn a_socket_that_is_handed_down_is_used_and_found_under_the_node_s_name() {
    local(async {
        let hood = Hood::new();
        let held = tempfile::tempdir().unwrap();
        let path = held.path().join("held.sock");
        let socket = UnixListener::bind(&path).unwrap();
        let client = hood.start("client@1");
        for _ in 0..2 {
            let mut command = Peer::command(&hood, "engine");
            let handed = socket.try_clone().unwrap().into();
            hand_down(&mut command, &handed);
            let engine = Peer::of(command);
            let met = client.connect("engine").await.unwrap();
            assert_eq!(met.pid, engine.pid());
            assert!(client.whereis("pid").unwrap().location().ends_with("held.sock"));
            let monitor = client.monitor_node("engine").await;
            drop(engine);
            assert_eq!(monitor.await.reason, Reason::Exited);
            assert!(path.exists(), "what was handed down is not taken away");
        }
    });
}

/// Starts the program with the socket as descriptor 3 and its own number as LISTEN_PID, which only a shell knows.
fn hand_down(command: &mut Command, socket: &OwnedFd) {
    let program = command.get_program().to_owned();
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let env: Vec<_> =
        command.get_envs().map(|(key, value)| (key.to_owned(), value.unwrap().to_owned())).collect();
    let script = format!("exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", socket.as_raw_fd());
    nix::fcntl::fcntl(socket, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let mut shell = Command::new("/bin/bash");
    shell.arg("-c").arg(script).arg("bash").arg(program).args(args).envs(env);
    shell.stdout(Stdio::piped()).stdin(Stdio::null());
    *command = shell;
}

#[test]
fn a_plain_program_does_without_an_event_loop() {
    let hood = Hood::new();
    let mut engine = Peer::start(&hood, "engine");
    let node = blocking::Node::start_with("client@1", hood.options()).unwrap();
    assert_eq!(node.connect("engine").unwrap().pid, engine.pid());
    assert!(matches!(node.ping("engine"), Ping::Pong(peer) if peer.pid == engine.pid()));
    assert_eq!(node.find("pid", PATIENCE).map(|peer| peer.pid), Some(engine.pid()));
    assert_eq!(node.call::<_, u32>("pid", 0u32, PATIENCE), Ok(engine.pid()));
    assert_eq!(
        node.call::<_, u32>("pid", "not a number", PATIENCE),
        Err(CallError::Refused(Fault::BadRequest))
    );
    node.serve("double", |number: u32| 2 * number).unwrap();
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8u32)
            .map(|number| (number, &node))
            .map(|(number, node)| scope.spawn(move || node.call::<_, u32>("double", number, PATIENCE)))
            .collect();
        for (number, call) in (0..).zip(calls) {
            assert_eq!(call.join().unwrap(), Ok(2 * number));
        }
    });
    let monitor = node.monitor_node("engine");
    assert_eq!(monitor.wait(Duration::ZERO), None);
    engine.process.kill().unwrap();
    assert_eq!(monitor.wait(PATIENCE).map(|down| down.reason), Some(Reason::Exited));
    assert_eq!(monitor.wait(Duration::ZERO), None, "one Down and no more");
    assert!(blocking::Node::start_with("client@1", hood.options()).is_err());
    drop(node);
    let again = loop {
        // The thread of the one that was dropped takes its socket away on its own time.
        match blocking::Node::start_with("client@1", hood.options()) {
            Ok(node) => break node,
            Err(_) => std::thread::yield_now(),
        }
    };
    assert_eq!(again.whereis("double"), None);
}

/// A user who is neither this one nor root; `None`, with the reason printed, where there can be none.
fn stranger() -> Option<u32> {
    if nix::unistd::geteuid().is_root() {
        return Some(65_534);
    }
    println!("skipped: only root can start a process of another user");
    None
}

/// An engine of that user in the neighbourhood's folder, which is that user's own.
fn engine_of(user: u32, hood: &Hood) -> Peer {
    let above = hood.folder().parent().unwrap().to_owned();
    std::fs::set_permissions(&above, Permissions::from_mode(0o711)).unwrap();
    std::fs::create_dir(hood.folder()).unwrap();
    std::fs::set_permissions(hood.folder(), Permissions::from_mode(0o700)).unwrap();
    chown(hood.folder(), Some(user), Some(user)).unwrap();
    let mut command = Peer::command(hood, "engine");
    command.uid(user).gid(user).current_dir("/");
    Peer::of(command)
}

#[test]
fn a_node_of_another_user_is_not_connected_to_unless_it_is_trusted() {
    let Some(user) = stranger() else { return };
    local(async {
        let hood = Hood::new();
        let _engine = engine_of(user, &hood);
        let client = hood.hidden("client@1");
        let error = client.connect("engine").await.unwrap_err();
        assert!(matches!(error, ConnectError::Untrusted { .. }) && !error.is_temporary(), "{error}");
        let told = format!("{} belongs to user {user}, not to user 0 or root", hood.folder().display());
        assert!(error.to_string().contains(&told), "{error}");

        // Where the path says nothing against it, the kernel still tells whose process it is.
        let moved = hood.folder().with_file_name("moved.sock");
        std::fs::rename(hood.socket("engine"), &moved).unwrap();
        chown(&moved, Some(0), Some(0)).unwrap();
        let elsewhere = [("engine".to_owned(), Location::Unix(moved.clone()))];
        let hidden = |uids: Vec<u32>| {
            hood.start_with("client@2", |options| {
                options.listen = Listen::Nowhere;
                options.elsewhere = elsewhere.clone().into();
                options.uids = uids;
            })
        };
        let error = hidden(Vec::new()).connect("engine").await.unwrap_err();
        assert_eq!(error, ConnectError::Stranger { path: moved, uid: user });
        assert!(!error.is_temporary());
        hidden(vec![user]).connect("engine").await.unwrap();
    });
}

#[test]
fn a_client_tells_nothing_to_an_engine_of_another_user() {
    let Some(user) = stranger() else { return };
    let hood = Hood::new();
    let _engine = engine_of(user, &hood);
    let run_dir = hood.folder().parent().unwrap().to_owned();
    let state = tempfile::tempdir().unwrap();
    let socket = hood.socket("engine");
    for engine in [&[][..], &["--engine", socket.to_str().unwrap()]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reddit-client"));
        command.args(["register", "ada"]).args(engine);
        command.env("PROVOST_RUN_DIR", &run_dir).env("XDG_STATE_HOME", state.path());
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(&format!("belongs to user {user}")), "{told}");
        assert_eq!(output.status.code(), Some(76), "{told}");
    }
}

#[test]
fn certificates_are_not_made_in_the_folder_of_another_user() {
    let Some(user) = stranger() else { return };
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("certs");
    let certs = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_provost"));
        command.arg("certs").args(args).arg("--dir").arg(&folder).output().unwrap()
    };
    assert!(certs(&["init"]).status.success());
    chown(&folder, Some(user), Some(user)).unwrap();
    for args in [&["init"][..], &["issue", "engine"]] {
        let output = certs(args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(&format!("certs belongs to user {user}, not to user 0 or root")), "{told}");
        assert_eq!(output.status.code(), Some(1));
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "the authority's two files");
}

#[test]
fn a_user_who_is_not_let_in_takes_no_place_from_others() {
    let Some(user) = stranger() else { return };
    local(async {
        let hood = Hood::new();
        let engine = hood.start_with("engine", |options| options.limits.connections = 4);
        let above = hood.folder().parent().unwrap().to_owned();
        for (path, mode) in [(above, 0o711), (hood.folder(), 0o711), (hood.socket("engine"), 0o666)] {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        let mut command = Peer::command(&hood, "crowd");
        command.uid(user).gid(user).current_dir("/");
        let crowd = tokio::task::spawn_blocking(move || Peer::of(command));
        let mut crowd = crowd.await.unwrap();
        let clients = ["client@1", "client@2", "client@3", "client@4"].map(|name| hood.hidden(name));
        for client in &clients {
            client.connect("engine").await.unwrap();
        }
        assert_eq!(engine.nodes().len(), 4);
        tokio::task::spawn_blocking(move || crowd.hear("over")).await.unwrap();
    });
}

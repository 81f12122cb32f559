//! Nodes in processes of their own: what is seen of one that is killed, stopped, replaced or left alone.

mod node_support;

use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use node_support::{Hood, PATIENCE, local};
use provost::node::{CallError, Fault, Mailbox, Node, Options, Ping, Reason, Request, blocking};

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
    let options = Options { folder: std::env::var(FOLDER).unwrap().into(), ..Options::default() };
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

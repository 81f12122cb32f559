//! `provost names` against real nodes in processes of their own.

mod node_support;

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use node_support::{Hood, Raw, local};
use provost::node::{Identity, Kind, Mailbox, Node, Options};
use serde_json::Value;

const ROLE: &str = "NODE_TEST_ROLE";

/// A node's process. Dropped, it is killed.
struct Peer {
    process: Child,
    _output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts the node, with names that are given with commas between, and waits until it has them.
    fn start(hood: &Hood, node: &str, names: &str) -> Peer {
        Peer::of(Peer::command(hood, node, names))
    }

    fn command(hood: &Hood, node: &str, names: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "plays_a_role", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, format!("{node} {names}")).env("PROVOST_RUN_DIR", run_dir(hood));
        command.stdout(Stdio::piped()).stdin(Stdio::null());
        command
    }

    fn of(mut command: Command) -> Peer {
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready") {
            line.clear();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "it ended before it was ready");
        }
        Peer { process, _output: output }
    }

    fn pid(&self) -> u32 {
        self.process.id()
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
    let (node, names) = role.split_once(' ').unwrap();
    local(async {
        let node = Node::start_with(node, Options { messages: 7..=9, ..Options::default() }).unwrap();
        let mailbox: Mailbox<u32, u32> = node.mailbox();
        for name in names.split(',').filter(|name| !name.is_empty()) {
            node.register(name, &mailbox).await.unwrap();
        }
        println!("ready");
        std::future::pending::<()>().await;
    });
}

/// Stops a child of this process, and waits until it has stopped.
fn stop(child: Pid) {
    kill(child, Signal::SIGSTOP).unwrap();
    waitpid(child, Some(WaitPidFlag::WUNTRACED)).unwrap();
}

fn run_dir(hood: &Hood) -> PathBuf {
    hood.folder().parent().unwrap().to_owned()
}

/// `provost names` in a folder without a project, of a user whose nodes are those of the hood.
fn by_hand(hood: &Hood, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_provost"));
    command.arg("names").args(args).current_dir(run_dir(hood));
    command.env_remove("PROVOST_CONFIG").env("PROVOST_RUN_DIR", run_dir(hood));
    command.output().unwrap()
}

/// The same as data, with patience.
fn json(hood: &Hood) -> Value {
    let output = by_hand(hood, &["--json", "--timeout", "20s"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// REDDIT.md section 6, row S24.
#[test]
fn s24_provost_names_lists_node_pid_and_address() {
    let hood = Hood::new();
    let engine = Peer::start(&hood, "engine", "user_registry,post_manager");
    let client = Peer::start(&hood, "client@1", "");
    let listed = json(&hood);
    let address = |node: &str| format!("unix:{}", hood.socket(node).display());
    let name = |name: &str| serde_json::json!({ "name": name, "node": "engine", "pid": engine.pid(), "address": address("engine") });
    let node = |node: &str, peer: &Peer| serde_json::json!({ "node": node, "pid": peer.pid(), "address": address(node), "error": null });
    let expected = serde_json::json!({
        "version": 1,
        "names": [name("post_manager"), name("user_registry")],
        "nodes": [node("client@1", &client), node("engine", &engine)],
    });
    assert_eq!(listed, expected);

    let output = by_hand(&hood, &["--timeout", "20s"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let (of_engine, of_client) = (engine.pid().to_string(), client.pid().to_string());
    let (at_engine, at_client) = (address("engine"), address("client@1"));
    assert_eq!(
        words,
        [
            vec!["NAME", "NODE", "PID", "ADDRESS"],
            vec!["-", "client@1", &of_client, &at_client],
            vec!["post_manager", "engine", &of_engine, &at_engine],
            vec!["user_registry", "engine", &of_engine, &at_engine],
        ]
    );
}

#[test]
fn a_project_s_names_are_those_of_its_run_dir() {
    let hood = Hood::new();
    let _engine = Peer::start(&hood, "engine", "user_registry");
    let elsewhere = Hood::new();
    let file = run_dir(&elsewhere).join("supervisor.toml");
    let project = format!("run_dir = {:?}\n[[child]]\nname = \"a\"\ncommand = [\"true\"]\n", run_dir(&hood));
    std::fs::write(&file, project).unwrap();
    let named = by_hand(&elsewhere, &["--json", "--timeout", "20s", "-f", file.to_str().unwrap()]);
    // And the other way: what was started by hand is shown beside the project of the folder.
    let _by_hand = Peer::start(&elsewhere, "client@1", "");
    let found = by_hand(&elsewhere, &["--json", "--timeout", "20s"]);
    let nodes = |output: Output| -> Vec<String> {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let nodes = listed["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(nodes(named), ["engine"]);
    let mut found = nodes(found);
    found.sort();
    assert_eq!(found, ["client@1", "engine"]);
    let missing = by_hand(&elsewhere, &["-f", "/nowhere/supervisor.toml"]);
    assert_eq!(missing.status.code(), Some(78), "{}", String::from_utf8_lossy(&missing.stderr));
}

#[test]
fn the_pid_is_that_of_the_process_and_not_what_a_peer_says_of_itself() {
    local(async {
        let hood = Hood::new();
        let listener = Raw::listen(&hood, "liar");
        let (tell, hear) = tokio::sync::oneshot::channel();
        let folder = run_dir(&hood);
        std::thread::spawn(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_provost"));
            command.args(["names", "--json", "--timeout", "20s"]).current_dir(&folder);
            command.env_remove("PROVOST_CONFIG").env("PROVOST_RUN_DIR", &folder);
            tell.send(command.output().unwrap()).unwrap();
        });
        let mut liar = listener.accept().await;
        liar.read_some().await;
        let identity = Identity { pid: 1, ..Identity::of_this_process("liar") };
        let introduction = (identity, (1u16, 1u16), 64u16, 1u32 << 20, "unix:/elsewhere");
        liar.send(Kind::Welcome, 0, &(1u16, 1u16, introduction)).await;
        liar.send(Kind::Notice, 0, &(0u32, vec![("lie", 3u32)])).await;
        liar.send(Kind::Notice, 0, &1u32).await;
        let output = hear.await.unwrap();
        let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let name = &listed["names"][0];
        assert_eq!((&name["name"], &name["pid"]), (&"lie".into(), &std::process::id().into()));
        assert_eq!(name["address"], format!("unix:{}", hood.socket("liar").display()));
    });
}

#[test]
fn a_socket_that_was_handed_down_is_its_user_s_and_not_its_maker_s() {
    let hood = Hood::new();
    let held = tempfile::tempdir().unwrap();
    let socket = UnixListener::bind(held.path().join("held.sock")).unwrap();
    nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let plain = Peer::command(&hood, "engine", "user_registry");
    let mut command = Command::new("/bin/bash");
    let script = format!("exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", socket.as_raw_fd());
    command.arg("-c").arg(script).arg("bash").arg(plain.get_program()).args(plain.get_args());
    command.envs(plain.get_envs().map(|(name, value)| (name, value.unwrap())));
    command.stdout(Stdio::piped()).stdin(Stdio::null());
    let engine = Peer::of(command);
    assert_eq!(json(&hood)["names"][0]["pid"], engine.pid());
}

#[test]
fn a_node_that_cannot_be_asked_is_told_and_hides_nobody() {
    let hood = Hood::new();
    let engine = Peer::start(&hood, "engine", "user_registry");
    let mut dead = Peer::start(&hood, "dead", "lost");
    dead.process.kill().unwrap();
    dead.process.wait().unwrap();
    let output = by_hand(&hood, &["--timeout", "20s"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let told = format!("dead not available: connection refused at {}", hood.socket("dead").display());
    assert!(text.contains(&told) && text.contains(&engine.pid().to_string()), "{text}");
    assert_eq!(output.status.code(), Some(0), "a dead node has no names");

    let stopped = Peer::start(&hood, "stopped", "asleep");
    stop(Pid::from_raw(stopped.pid().cast_signed()));
    let output = by_hand(&hood, &["--timeout", "1s"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("stopped not available: timed out: no answer at "), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn without_nodes_it_says_where_it_looked() {
    let hood = Hood::new();
    let output = by_hand(&hood, &[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, format!("no node has a socket in {}\n", hood.folder().display()));
    assert_eq!(json(&hood)["nodes"], serde_json::json!([]));
}

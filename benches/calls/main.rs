//! Calls between operating-system processes over a Unix socket: nodes, beside a bare blocking socket
//! that carries frames of the same size and, where `erl` is installed, distributed Erlang.
//!
//! The bare side is measured twice: parked in read(2) as such programs are, and reading again and again without ever
//! sleeping, which is the floor of what a socket can do. All sides run in this one run, each server in a process of its own.
//! With `busy` as argument both cores have other work meanwhile.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

mod bare;
mod erlang;
mod named;
#[path = "../support/mod.rs"]
mod support;

use support::quantile;

const CALLS: usize = 50_000;
const SECONDS: f64 = 3.0;
const DEPTH: usize = 100;
const CLIENTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of a request and of a reply of the bare socket: those of the nodes, frames and all.
const REQUEST: usize = 4 + 6 + 1 + 5;
const REPLY: usize = 4 + 6 + 5 + 21 + 1;

/// An id, and the small record it stands for.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Record {
    id: u64,
    name: String,
    score: i64,
}

impl Record {
    fn of(id: u64) -> Record {
        Record { id, name: "somebody-with-a-name".to_owned(), score: -7 }
    }
}

/// Postcard writes a number in as many bytes as it needs: these all need as many.
fn id(number: usize) -> u64 {
    (1 << 28) + number as u64
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["bare", path] => bare::echo(Path::new(path), bare::Wait::Parked),
        ["bare-spinning", path] => bare::echo(Path::new(path), bare::Wait::Spinning),
        ["node", folder] => named::serve(Path::new(folder)),
        ["node-load", folder] => named::load(Path::new(folder)),
        ["burn"] => burn(),
        _ if words.contains(&"busy") => {
            let cores = std::thread::available_parallelism().map_or(2, usize::from);
            let _others: Vec<Peer> = (0..cores).map(|_| Peer::start(&["burn"])).collect();
            println!("with other work on all {cores} cores\n");
            measure();
        }
        _ => measure(),
    }
}

fn measure() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = |name: &str| folder.path().join(name);
    let arg = |name: &str| path(name).display().to_string();
    let erlang = erlang::Erlang::find(&path("erlang"));

    println!("one call in flight, {CALLS} calls\n");
    println!("{:<32}{:>12}{:>12}", "", "p50", "p99");
    let row = |name: &str, times: &[u64]| {
        let [half, most] = [0.5, 0.99].map(|q| quantile(times, q) as f64 / 1e3);
        println!("{name:<32}{half:>9.1} us{most:>9.1} us");
        half
    };
    let server = Peer::start(&["bare", &arg("bare")]);
    let parked = row("bare socket, parked", &bare::ping_pong(&path("bare"), bare::Wait::Parked));
    drop(server);
    let server = Peer::start(&["bare-spinning", &arg("spinning")]);
    let spinning = row("bare socket, spinning", &bare::ping_pong(&path("spinning"), bare::Wait::Spinning));
    drop(server);
    let nodes = Peer::start(&["node", &arg("nodes")]);
    let node = row("provost::node::Node, by name", &named::one_by_one(&path("nodes")));
    let other = erlang.as_ref().map(|erlang| {
        let [half, most] = erlang.one_by_one();
        println!("{:<32}{half:>9.1} us{most:>9.1} us", "distributed Erlang, by name");
        half
    });
    println!("{:<32}{:>11.2}x", "Node / bare, parked", node / parked);
    println!("{:<32}{:>11.2}x", "Node / bare, spinning", node / spinning);
    if let Some(other) = other {
        println!("{:<32}{:>11.2}x", "distributed Erlang / Node", other / node);
    }

    println!("\n{DEPTH} calls in flight for each client, {SECONDS} s, calls a second\n");
    println!("{:<32}{:>12}{:>14}", "client processes", 1, CLIENTS);
    let rates = |name: &str, load: &dyn Fn() -> Child| {
        let sums = [1, CLIENTS].map(|clients| {
            let all: Vec<Child> = (0..clients).map(|_| load()).collect();
            all.into_iter().map(rate).sum::<f64>()
        });
        println!("{name:<32}{:>12.0}{:>14.0}", sums[0], sums[1]);
        sums
    };
    let ours = rates("provost::node::Node, by name", &|| spawn(&["node-load", &arg("nodes")]));
    drop(nodes);
    match &erlang {
        Some(erlang) => {
            let theirs = rates("distributed Erlang, by name", &|| erlang.load());
            let [one, many] = [ours[0] / theirs[0], ours[1] / theirs[1]];
            println!("{:<32}{one:>11.1}x{many:>13.1}x", "Node / distributed Erlang");
        }
        None => println!("\ndistributed Erlang is left out: no erl and erlc on PATH"),
    }

    println!("\nnames\n");
    println!("{:<32}{:>12}{:>12}", "", "p50", "p99");
    named::names_and_ends(&path("more nodes"), &|name, times| {
        row(name, times);
    });

    println!("\na server with a connected client, idle\n");
    named::idle(&path("idle nodes"));
}

/// Runs this program in another role.
fn spawn(words: &[&str]) -> Child {
    let own = std::env::current_exe().expect("own program");
    Command::new(own).args(words).stdout(Stdio::piped()).spawn().expect("spawn")
}

fn rate(client: Child) -> f64 {
    let output = client.wait_with_output().expect("wait");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// A server in a process of its own, which says a line when it is ready. Dropped, it is killed.
struct Peer {
    process: Child,
    _output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(words: &[&str]) -> Peer {
        Peer::of(spawn(words))
    }

    fn of(mut process: Child) -> Peer {
        let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
        let read = output.read_line(&mut String::new()).expect("a line");
        assert_ne!(read, 0, "a server ended before it was ready");
        Peer { process, _output: output }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Other work: never ends, never sleeps.
fn burn() {
    println!("ready");
    loop {
        std::hint::spin_loop();
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

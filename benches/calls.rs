//! Calls between two operating-system processes over a Unix socket: the message layer, beside a bare blocking socket that
//! carries frames of the same size.
//!
//! The bare side is measured twice: parked in read(2) as such programs are, and reading again and again without ever
//! sleeping, which is the floor of what a socket can do. All sides run in this one run, each server in a process of its own.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use provost::node::{Call, Connection, Identity, Limits, Listener, Server};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

mod support;
use support::quantile;

const CALLS: usize = 50_000;
const SECONDS: f64 = 3.0;
const DEPTH: usize = 100;
const CLIENTS: usize = 4;
const PROTOCOL: u16 = 1;
const PATIENCE: Duration = Duration::from_secs(10);

/// An id, and the small record it stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// Bytes of a request and of a reply, frames and all.
const REQUEST: usize = 4 + 6 + 5;
const REPLY: usize = 4 + 6 + 5 + 21 + 1;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let role = args.get(1).map(String::as_str);
    let path = || Path::new(args.get(2).expect("a path"));
    match role {
        Some("serve") => serve(path()),
        Some("echo") => echo(path(), Wait::Parked),
        Some("echo-spinning") => echo(path(), Wait::Spinning),
        Some("load") => println!("{}", load(path())),
        _ => measure(),
    }
}

fn measure() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = |name: &str| folder.path().join(name);
    println!("one call in flight, {CALLS} calls\n");
    println!("{:<36}{:>12}{:>12}", "", "p50", "p99");
    let mut p50 = Vec::new();
    for (name, role, times) in [
        ("bare socket, parked", "echo", ping_pong as fn(&Path) -> Vec<u64>),
        ("bare socket, spinning", "echo-spinning", ping_pong_spinning),
        ("provost::node", "serve", one_by_one),
    ] {
        let server = Peer::start(role, &path(role));
        let times = times(&path(role));
        drop(server);
        let [half, most] = [0.5, 0.99].map(|q| quantile(&times, q) as f64 / 1e3);
        println!("{name:<36}{half:>9.1} us{most:>9.1} us");
        p50.push(half);
    }
    println!("{:<36}{:>11.2}x", "node / bare parked", p50[2] / p50[0]);
    println!("{:<36}{:>11.2}x\n", "node / bare spinning", p50[2] / p50[1]);

    let server = Peer::start("serve", &path("loaded"));
    println!("{DEPTH} calls in flight, {SECONDS} s\n");
    for clients in [1, CLIENTS] {
        let peers: Vec<Child> = (0..clients).map(|_| spawn("load", &path("loaded"))).collect();
        let sum: f64 = peers.into_iter().map(rate).sum();
        println!("{:<36}{sum:>10.0} calls/s", format!("{clients} client process(es)"));
    }
    drop(server);
}

fn spawn(role: &str, path: &Path) -> Child {
    let own = std::env::current_exe().expect("own program");
    Command::new(own).arg(role).arg(path).stdout(Stdio::piped()).spawn().expect("spawn")
}

fn rate(client: Child) -> f64 {
    let output = client.wait_with_output().expect("wait");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// A server in a process of its own. Dropped, it is killed.
struct Peer(Child);

impl Peer {
    fn start(role: &str, path: &Path) -> Peer {
        let peer = Peer(spawn(role, path));
        let until = Instant::now() + PATIENCE;
        while UnixStream::connect(path).is_err() {
            assert!(Instant::now() < until, "{role} does not listen");
            std::thread::sleep(Duration::from_millis(1));
        }
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    LocalSet::new().block_on(&runtime, work)
}

fn serve(path: &Path) {
    run(async {
        let listener = Listener::bind(path).expect("bind");
        let identity = Identity::of_this_process("server");
        let mut server = Server::<u64>::start(listener, identity, PROTOCOL, Limits::default());
        let mut calls = Vec::new();
        loop {
            server.turn(&mut calls).await;
            for Call { from, request } in calls.drain(..) {
                server.reply(from, &Record::of(request));
            }
            server.flush();
        }
    });
}

async fn connect(path: &Path) -> Connection<u64, Record> {
    let me = Identity::of_this_process("client");
    Connection::open(path, &me, PROTOCOL, PATIENCE).await.expect("a connection")
}

/// Postcard writes a number in as many bytes as it needs: these all need as many.
fn id(number: usize) -> u64 {
    (1 << 28) + number as u64
}

fn one_by_one(path: &Path) -> Vec<u64> {
    run(async {
        let server = connect(path).await;
        let mut times = Vec::with_capacity(CALLS);
        for number in 0..CALLS {
            let begun = Instant::now();
            let record = server.call(&id(number), PATIENCE).await.expect("a reply");
            times.push(begun.elapsed().as_nanos() as u64);
            assert_eq!(record.id, id(number));
        }
        times
    })
}

/// Calls a second with so many in flight.
fn load(path: &Path) -> f64 {
    run(async {
        let server = Rc::new(connect(path).await);
        let until = Instant::now() + Duration::from_secs_f64(SECONDS);
        let callers: Vec<_> = (0..DEPTH)
            .map(|caller| {
                let server = Rc::clone(&server);
                tokio::task::spawn_local(async move {
                    let mut done = 0_u64;
                    while Instant::now() < until {
                        server.call(&id(caller), PATIENCE).await.expect("a reply");
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut sum = 0;
        for caller in callers {
            sum += caller.await.expect("a caller");
        }
        sum as f64 / SECONDS
    })
}

#[derive(Clone, Copy)]
enum Wait {
    Parked,
    Spinning,
}

/// Reads until the buffer is full; `false`: the peer left.
fn fill(stream: &mut UnixStream, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return false,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(_) => return false,
        }
    }
    true
}

fn echo(path: &Path, wait: Wait) {
    let listener = UnixListener::bind(path).expect("bind");
    for stream in listener.incoming() {
        let mut stream = stream.expect("accept");
        stream.set_nonblocking(matches!(wait, Wait::Spinning)).expect("mode");
        let mut request = [0; REQUEST];
        while fill(&mut stream, &mut request) {
            stream.write_all(&[1; REPLY]).expect("write");
        }
    }
}

fn bare(path: &Path, wait: Wait) -> Vec<u64> {
    let mut stream = UnixStream::connect(path).expect("connect");
    stream.set_nonblocking(matches!(wait, Wait::Spinning)).expect("mode");
    let one = || {
        let begun = Instant::now();
        stream.write_all(&[1; REQUEST]).expect("write");
        assert!(fill(&mut stream, &mut [0; REPLY]), "an answer");
        begun.elapsed().as_nanos() as u64
    };
    std::iter::repeat_with(one).take(CALLS).collect()
}

fn ping_pong(path: &Path) -> Vec<u64> {
    bare(path, Wait::Parked)
}

fn ping_pong_spinning(path: &Path) -> Vec<u64> {
    bare(path, Wait::Spinning)
}

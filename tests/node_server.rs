//! A server and connections to it, over real sockets in one process.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use provost::node::frame;
use provost::node::{
    Call, CallError, ConnectError, Connection, Identity, Kind, Limits, Listener, Lost, Refusal, Server,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

const PROTOCOL: u16 = 7;
const PATIENCE: Duration = Duration::from_secs(10);

type Numbers = Connection<u32, u32>;

/// Runs a test on the runtime the node layer is made for, with a bound on all its waits.
fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { timeout(Duration::from_secs(30), test).await.expect("the test did not end") };
    LocalSet::new().block_on(&runtime, bounded)
}

struct Place {
    _dir: TempDir,
    socket: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("node.sock");
    Place { _dir: dir, socket }
}

fn me() -> Identity {
    Identity::of_this_process("client@1")
}

fn serve(place: &Place, limits: Limits) -> Server<u32> {
    let listener = Listener::bind(&place.socket).unwrap();
    Server::start(listener, Identity::of_this_process("engine"), PROTOCOL, limits)
}

async fn connect(place: &Place) -> Numbers {
    Connection::open(&place.socket, &me(), PROTOCOL, PATIENCE).await.unwrap()
}

/// Answers every request with its double, the last of each turn first.
async fn double_backwards(mut server: Server<u32>) {
    let mut calls = Vec::new();
    loop {
        server.turn(&mut calls).await;
        for Call { from, request } in calls.drain(..).rev() {
            server.reply(from, &(request * 2));
        }
        server.flush();
    }
}

/// Takes turns until `count` requests have come.
async fn gather(server: &Server<u32>, count: usize) -> Vec<Call<u32>> {
    let mut all = Vec::new();
    let mut calls = Vec::new();
    while all.len() < count {
        server.turn(&mut calls).await;
        all.append(&mut calls);
    }
    all
}

#[test]
fn many_calls_in_flight_each_get_their_own_reply_in_any_order() {
    local(async {
        let place = place();
        tokio::task::spawn_local(double_backwards(serve(&place, Limits::default())));
        let connection = std::rc::Rc::new(connect(&place).await);
        let calls: Vec<_> = (0..2000)
            .map(|number| {
                let connection = std::rc::Rc::clone(&connection);
                tokio::task::spawn_local(async move { connection.call(&number, PATIENCE).await })
            })
            .collect();
        for (number, call) in (0..).zip(calls) {
            assert_eq!(call.await.unwrap(), Ok(number * 2));
        }
    });
}

#[test]
fn the_welcome_names_the_server() {
    local(async {
        let place = place();
        let _server = serve(&place, Limits::default());
        let connection = connect(&place).await;
        assert_eq!(
            (connection.server().node.as_str(), connection.server().pid),
            ("engine", std::process::id())
        );
    });
}

#[test]
fn a_closed_connection_fails_all_waiting_calls_at_once() {
    local(async {
        let place = place();
        let listener = tokio::net::UnixListener::bind(&place.socket).unwrap();
        let peer = tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut welcome = Vec::new();
            let identity = Identity::of_this_process("engine");
            frame::append(&mut welcome, Kind::Welcome, 0, &(identity, 64u16)).unwrap();
            stream.write_all(&welcome).await.unwrap();
            // Leaves only once both calls have arrived, unanswered.
            let mut seen = Vec::new();
            while seen.windows(5).filter(|bytes| bytes[..2] == [frame::VERSION, 4]).count() < 2 {
                assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
            }
        });
        let connection = connect(&place).await;
        let (a, b) = tokio::join!(connection.call(&1, PATIENCE), connection.call(&2, PATIENCE));
        assert_eq!((a, b), (Err(CallError::Lost(Lost::Closed)), Err(CallError::Lost(Lost::Closed))));
        assert_eq!(connection.call(&3, PATIENCE).await, Err(CallError::Lost(Lost::Closed)));
        peer.await.unwrap();
    });
}

#[test]
fn a_late_reply_is_dropped_and_the_connection_goes_on() {
    local(async {
        let place = place();
        let mut server = serve(&place, Limits::default());
        let connection = connect(&place).await;
        let late = connection.call(&1, Duration::from_millis(20)).await;
        assert!(matches!(late, Err(CallError::TimedOut { .. })), "{late:?}");
        let first = gather(&server, 1).await.remove(0);
        server.reply(first.from, &100u32);
        server.flush();
        let (second, ()) = tokio::join!(connection.call(&2, PATIENCE), async {
            let call = gather(&server, 1).await.remove(0);
            server.reply(call.from, &200u32);
            server.flush();
        });
        assert_eq!(second, Ok(200));
    });
}

#[test]
fn a_connection_at_its_limit_is_read_no_further_until_a_reply() {
    local(async {
        let place = place();
        let mut server = serve(&place, Limits { connections: 4, in_flight: 8 });
        let mut stream = greeted(&place).await;
        stream.write_all(&calls(0..20)).await.unwrap();
        let taken = gather(&server, 8).await;
        let more = timeout(Duration::from_millis(50), gather(&server, 1)).await;
        assert!(more.is_err(), "a ninth request was read");
        for call in &taken[..3] {
            server.reply(call.from, &0u32);
        }
        server.flush();
        let next: Vec<_> = gather(&server, 3).await.into_iter().map(|call| call.request).collect();
        assert_eq!(next, [8, 9, 10]);
    });
}

#[test]
fn a_client_waits_for_a_place_instead_of_overrunning_the_server() {
    local(async {
        let place = place();
        tokio::task::spawn_local(double_backwards(serve(&place, Limits { connections: 4, in_flight: 2 })));
        let connection = connect(&place).await;
        let (a, b, c, d) = tokio::join!(
            connection.call(&1, PATIENCE),
            connection.call(&2, PATIENCE),
            connection.call(&3, PATIENCE),
            connection.call(&4, PATIENCE)
        );
        assert_eq!([a, b, c, d], [Ok(2), Ok(4), Ok(6), Ok(8)]);
    });
}

#[test]
fn a_reader_that_never_reads_holds_only_itself_up() {
    local(async {
        let place = place();
        let listener = Listener::bind(&place.socket).unwrap();
        let mut server: Server<u32> = Server::start(listener, me(), PROTOCOL, Limits::default());
        // Each reply is 100 kB, so that kernel and server buffers are full long before 60 of them.
        tokio::task::spawn_local(async move {
            let mut calls = Vec::new();
            loop {
                server.turn(&mut calls).await;
                for call in calls.drain(..) {
                    server.reply(call.from, &vec![0u8; 100_000]);
                }
                server.flush();
            }
        });
        let mut deaf = greeted(&place).await;
        deaf.write_all(&calls(0..60)).await.unwrap();
        let polite: Connection<u32, Vec<u8>> =
            Connection::open(&place.socket, &me(), PROTOCOL, PATIENCE).await.unwrap();
        for _ in 0..20 {
            assert_eq!(polite.call(&1, PATIENCE).await.unwrap().len(), 100_000);
        }
        // And it is served as soon as it does read.
        let mut heard = 0;
        let mut buffer = vec![0; 1 << 20];
        while heard < 60 * 100_000 {
            heard += deaf.read(&mut buffer).await.unwrap();
        }
    });
}

#[test]
fn another_protocol_is_refused_with_both_versions() {
    local(async {
        let place = place();
        let _server = serve(&place, Limits::default());
        let refused = Numbers::open(&place.socket, &me(), PROTOCOL + 1, PATIENCE).await.unwrap_err();
        assert_eq!(
            refused,
            ConnectError::TurnedAway(Refusal::Protocol { ours: PROTOCOL, theirs: PROTOCOL + 1 })
        );
        assert!(!refused.is_temporary());
    });
}

#[test]
fn a_hello_with_another_pid_is_refused() {
    local(async {
        let place = place();
        let _server = serve(&place, Limits::default());
        let liar = Identity { pid: 1, ..me() };
        let refused = Numbers::open(&place.socket, &liar, PROTOCOL, PATIENCE).await.unwrap_err();
        let real = std::process::id();
        assert_eq!(refused, ConnectError::TurnedAway(Refusal::Pid { claimed: 1, real }));
    });
}

#[test]
fn one_connection_too_many_is_told_so_and_a_place_left_is_given_away() {
    local(async {
        let place = place();
        let server = serve(&place, Limits { connections: 1, in_flight: 8 });
        let first = connect(&place).await;
        let refused = Numbers::open(&place.socket, &me(), PROTOCOL, PATIENCE).await.unwrap_err();
        assert_eq!(refused, ConnectError::TurnedAway(Refusal::Full { limit: 1 }));
        assert_eq!(server.connections(), 1);
        drop(first);
        while Numbers::open(&place.socket, &me(), PROTOCOL, PATIENCE).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn garbage_ends_one_connection_and_nothing_else() {
    local(async {
        let place = place();
        tokio::task::spawn_local(double_backwards(serve(&place, Limits::default())));
        let polite = connect(&place).await;
        let hostile: [&[u8]; 4] = [&[0; 64], &[0xff; 64], b"GET / HTTP/1.1\r\n\r\n", &[10, 0, 0, 0, 1, 4]];
        for (round, bytes) in hostile.into_iter().enumerate() {
            let mut stream = if round % 2 == 0 {
                greeted(&place).await
            } else {
                UnixStream::connect(&place.socket).await.unwrap()
            };
            let _ = stream.write_all(bytes).await;
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert_eq!(polite.call(&21, PATIENCE).await, Ok(42));
        }
    });
}

#[test]
fn nobody_there_is_told_by_its_reason() {
    local(async {
        let place = place();
        let missing = Numbers::open(&place.socket, &me(), PROTOCOL, PATIENCE).await.unwrap_err();
        assert_eq!(missing, ConnectError::NoSocket(place.socket.clone()));

        drop(std::os::unix::net::UnixListener::bind(&place.socket).unwrap());
        let stale = Numbers::open(&place.socket, &me(), PROTOCOL, PATIENCE).await.unwrap_err();
        assert_eq!(stale, ConnectError::Refused(place.socket.clone()));

        std::fs::remove_file(&place.socket).unwrap();
        let _silent = std::os::unix::net::UnixListener::bind(&place.socket).unwrap();
        let patience = Duration::from_millis(30);
        let silent = Numbers::open(&place.socket, &me(), PROTOCOL, patience).await.unwrap_err();
        assert_eq!(silent, ConnectError::NoAnswer { path: place.socket.clone(), patience });
    });
}

/// A raw stream that was let in.
async fn greeted(place: &Place) -> UnixStream {
    let mut stream = UnixStream::connect(&place.socket).await.unwrap();
    let mut hello = Vec::new();
    frame::append(&mut hello, Kind::Hello, 0, &(*b"PRVN", PROTOCOL, me())).unwrap();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "not welcome");
        if let Some(frame) = frame::parse(&answer).unwrap() {
            assert_eq!(frame.kind, Kind::Welcome);
            return stream;
        }
    }
}

fn calls(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        frame::append(&mut bytes, Kind::Call, number, &number).unwrap();
    }
    bytes
}

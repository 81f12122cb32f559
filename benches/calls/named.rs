//! Nodes: requests to a registered name.

use std::path::Path;
use std::time::{Duration, Instant};

use provost::node::{Listen, Node, Options, Reason};

use crate::{CALLS, DEPTH, PATIENCE, Peer, Record, SECONDS, id, run};

/// Names that are resolved, and peers that are killed.
const NAMES: usize = 200;
const KILLS: usize = 50;

/// How long nobody says anything.
const IDLE: Duration = Duration::from_secs(10);

fn start(folder: &Path, name: &str, listen: Listen) -> Node {
    let options = Options { folder: folder.to_owned(), listen, ..Options::default() };
    Node::start_with(name, options).expect("a node")
}

pub(crate) fn serve(folder: &Path) {
    run(async {
        let node = start(folder, "server", Listen::Socket);
        let _records = node.serve("records", Record::of).await.expect("the name");
        println!("ready");
        std::future::pending::<()>().await;
    });
}

async fn connect(folder: &Path) -> Node {
    let client = start(folder, &format!("client-{}", std::process::id()), Listen::Nowhere);
    client.connect("server").await.expect("a connection");
    client
}

pub(crate) fn one_by_one(folder: &Path) -> Vec<u64> {
    run(async {
        let client = connect(folder).await;
        let mut times = Vec::with_capacity(CALLS);
        for number in 0..CALLS {
            let begun = Instant::now();
            let record: Record = client.call("records", &id(number), PATIENCE).await.expect("a reply");
            times.push(begun.elapsed().as_nanos() as u64);
            assert_eq!(record.id, id(number));
        }
        times
    })
}

/// Prints calls a second with so many in flight.
pub(crate) fn load(folder: &Path) {
    run(async {
        let client = connect(folder).await;
        let until = Instant::now() + Duration::from_secs_f64(SECONDS);
        let callers: Vec<_> = (0..DEPTH)
            .map(|caller| {
                let client = client.clone();
                tokio::task::spawn_local(async move {
                    let mut done = 0_u64;
                    while Instant::now() < until {
                        let _: Record = client.call("records", &id(caller), PATIENCE).await.expect("a reply");
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
        println!("{}", sum as f64 / SECONDS);
    });
}

/// Prints what a connected pair of nodes costs while nobody says anything.
pub(crate) fn idle(folder: &Path) {
    let server = Peer::start(&["node", &folder.display().to_string()]);
    let switches = || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).expect("status");
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        let number = |line: &str| line.split_whitespace().last()?.parse::<u64>().ok();
        lines.filter_map(number).sum::<u64>()
    };
    run(async {
        let client = connect(folder).await;
        let _: Record = client.call("records", &id(1), PATIENCE).await.expect("a reply");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = switches();
        tokio::time::sleep(IDLE).await;
        println!("{:<32}{:>12}", format!("context switches in {IDLE:?}"), switches() - before);
    });
}

/// A name found with and without a connection, and the end of a peer.
pub(crate) fn names_and_ends(folder: &Path, row: &dyn Fn(&str, &[u64])) {
    let arg = folder.display().to_string();
    run(async {
        let server = Peer::start(&["node", &arg]);
        let mut cold = Vec::new();
        for number in 0..NAMES {
            let client = start(folder, &format!("cold-{number}"), Listen::Nowhere);
            let begun = Instant::now();
            client.connect("server").await.expect("a connection");
            client.whereis("records").expect("the name");
            cold.push(begun.elapsed().as_nanos() as u64);
        }
        row("connect and find a name", &cold);
        let client = connect(folder).await;
        let mut cached = Vec::new();
        for _ in 0..NAMES {
            let begun = Instant::now();
            client.whereis("records").expect("the name");
            cached.push(begun.elapsed().as_nanos() as u64);
        }
        row("find a name, connected", &cached);
        drop(server);
        let mut downs = Vec::new();
        for _ in 0..KILLS {
            let mut server = Peer::start(&["node", &arg]);
            let monitor = client.monitor_node("server").await;
            let begun = Instant::now();
            server.process.kill().expect("kill");
            let down = monitor.await;
            downs.push(begun.elapsed().as_nanos() as u64);
            assert_eq!(down.reason, Reason::Exited);
        }
        row("kill -9 of a peer to its Down", &downs);
    });
}

//! The third claim: engine and clients are connected by sockets, each end in another process.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Check;
use super::look::{Part, commas};
use super::subject::Named;
use crate::os::proc::{Owner, Process, UnixSocket, socket_owners, unix_sockets};
use crate::os::traffic::{self, Carried};

/// How long everybody is watched at a time, and how often until something went over every connection.
const WATCH: Duration = Duration::from_millis(500);
const WATCHES: usize = 20;

/// Who is connected with whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    /// The engine's process.
    pub engine: Option<i32>,
    /// Clients and their processes.
    pub clients: Vec<(String, i32)>,
    /// Sockets of the engine that wait for connections.
    pub listening: Vec<Listening>,
    /// Connections of clients to other processes.
    pub links: Vec<Link>,
    /// How many connections begin and end in one and the same process, by client.
    pub inside: BTreeMap<String, usize>,
    /// How long the traffic was counted, in milliseconds.
    pub watched_ms: u64,
    /// Why the traffic could not be counted.
    pub uncounted: Option<String>,
}

/// A socket that waits for connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Its path.
    pub path: Option<String>,
    /// Its inode.
    pub inode: u64,
    /// Who holds it.
    pub holders: Vec<Holder>,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Whose.
    pub client: String,
    /// The end at the client.
    pub near: End,
    /// The other end.
    pub far: End,
    /// What went over it while it was watched.
    pub bytes: Bytes,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Its inode.
    pub inode: u64,
    /// The path it came by, at the side that accepted.
    pub path: Option<String>,
    /// Who holds it.
    pub holders: Vec<Holder>,
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: i32,
    /// Its descriptor.
    pub fd: i32,
    /// Its name in the project, else its program's.
    pub name: String,
}

/// Bytes as each side's system calls returned them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// The client wrote.
    pub client_sent: u64,
    /// The client read.
    pub client_received: u64,
    /// The engine wrote.
    pub engine_sent: u64,
    /// The engine read.
    pub engine_received: u64,
}

impl Bytes {
    fn flowed(self) -> bool {
        [self.client_sent, self.client_received, self.engine_sent, self.engine_received]
            .iter()
            .all(|&n| n > 0)
    }
}

pub(super) fn gather(members: &[Named]) -> io::Result<Sockets> {
    let mut seen = connections(members)?;
    if let Some(engine) = seen.engine {
        count(&mut seen, engine);
    }
    Ok(seen)
}

/// Who is connected, without counting.
pub(super) fn connections(members: &[Named]) -> io::Result<Sockets> {
    // Holders first: a connection made in between is seen without a holder, and not as nobody's.
    let (owners, sockets) = (socket_owners()?, unix_sockets()?);
    let pid_of = |part| members.iter().filter(move |member| member.part == part);
    let engine = pid_of(Part::Engine).find_map(|member| member.pid);
    let mut clients: Vec<_> =
        pid_of(Part::Client).filter_map(|one| Some((one.name.clone(), one.pid?))).collect();
    clients.sort();
    Ok(join(engine, clients, &sockets, &owners, |pid| name_of(members, pid)))
}

fn name_of(members: &[Named], pid: i32) -> String {
    let member = members.iter().find(|member| member.pid == Some(pid)).map(|member| member.name.clone());
    member.or_else(|| Process::read(pid).map(|row| row.comm)).unwrap_or_else(|| "?".into())
}

/// Puts the kernel's two lists together.
fn join(
    engine: Option<i32>,
    clients: Vec<(String, i32)>,
    sockets: &BTreeMap<u64, UnixSocket>,
    owners: &BTreeMap<u64, Vec<Owner>>,
    name: impl Fn(i32) -> String,
) -> Sockets {
    let holders = |inode: u64| -> Vec<Holder> {
        let owners = owners.get(&inode).into_iter().flatten();
        owners.map(|&Owner { pid, fd }| Holder { pid, fd, name: name(pid) }).collect()
    };
    let held_by =
        |inode: u64, pid: i32| owners.get(&inode).is_some_and(|all| all.iter().any(|one| one.pid == pid));
    let end = |socket: &UnixSocket| End {
        inode: socket.inode,
        path: socket.path.clone(),
        holders: holders(socket.inode),
    };
    let listening = sockets.values().filter(|socket| socket.listens);
    let listening = listening
        .filter(|socket| engine.is_some_and(|engine| held_by(socket.inode, engine)))
        .map(|socket| Listening {
            path: socket.path.clone(),
            inode: socket.inode,
            holders: holders(socket.inode),
        })
        .collect();
    let mut links = Vec::new();
    let mut inside = BTreeMap::new();
    for (client, pid) in &clients {
        let own = sockets.values().filter(|socket| socket.connected_kind && held_by(socket.inode, *pid));
        let pairs = own.filter_map(|near| Some((near, sockets.get(&near.peer?)?)));
        for (near, far) in pairs {
            if held_by(far.inode, *pid) {
                *inside.entry(client.clone()).or_default() += 1;
            } else {
                links.push(Link {
                    client: client.clone(),
                    near: end(near),
                    far: end(far),
                    bytes: Bytes::default(),
                });
            }
        }
    }
    // Both ends of those were met.
    inside.values_mut().for_each(|ends: &mut usize| *ends = ends.div_ceil(2));
    Sockets { engine, clients, listening, links, inside, watched_ms: 0, uncounted: None }
}

/// Watches engine and clients until something went over every connection, in both directions.
fn count(seen: &mut Sockets, engine: i32) {
    let mut pids: Vec<i32> = seen.clients.iter().map(|(_, pid)| *pid).chain([engine]).collect();
    pids.sort_unstable();
    pids.dedup();
    let begun = Instant::now();
    for _ in 0..WATCHES {
        let watched = pids.clone();
        let counted = std::thread::spawn(move || traffic::watch(&watched, WATCH)).join();
        match counted {
            Ok(Ok(carried)) => seen.links.iter_mut().for_each(|link| add(link, &carried)),
            Ok(Err(errno)) => {
                seen.uncounted = Some(format!("the system calls may not be watched: {}", errno.desc()));
                break;
            }
            Err(_) => {
                seen.uncounted = Some("the watch broke off".into());
                break;
            }
        }
        if seen.links.iter().all(|link| link.bytes.flowed()) {
            break;
        }
    }
    seen.watched_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
}

fn add(link: &mut Link, carried: &BTreeMap<(i32, u64), Carried>) {
    let of = |end: &End| {
        let holders = end.holders.iter().map(|holder| holder.pid).collect::<BTreeSet<i32>>();
        let all = holders.into_iter().filter_map(|pid| carried.get(&(pid, end.inode)));
        all.fold(Carried::default(), |sum, one| Carried {
            sent: sum.sent + one.sent,
            received: sum.received + one.received,
        })
    };
    let (near, far) = (of(&link.near), of(&link.far));
    link.bytes.client_sent += near.sent;
    link.bytes.client_received += near.received;
    link.bytes.engine_sent += far.sent;
    link.bytes.engine_received += far.received;
}

impl Sockets {
    /// Somebody holds the other end of one of its connections, or it has as many inside itself as there are clients.
    pub(super) fn is_connected(&self, client: &str) -> bool {
        let outside = self.links.iter().any(|link| link.client == client && !link.far.holders.is_empty());
        outside || self.inside.get(client).is_some_and(|number| *number >= self.clients.len())
    }
}

impl Link {
    /// Its far end is held by this process and by no other, its near end by one other.
    pub(super) fn joins(&self, client: i32, engine: i32) -> bool {
        let only =
            |end: &End, pid| !end.holders.is_empty() && end.holders.iter().all(|holder| holder.pid == pid);
        client != engine && only(&self.near, client) && only(&self.far, engine)
    }

    fn path(&self) -> String {
        let side = |end: &End| match &end.holders[..] {
            [] => "nobody".to_owned(),
            holders => {
                let names: Vec<String> = holders
                    .iter()
                    .map(|one| format!("{} (PID {}, fd {})", one.name, one.pid, one.fd))
                    .collect();
                names.join(" and ")
            }
        };
        format!(
            "socket {} of {} to socket {} of {}",
            self.near.inode,
            side(&self.near),
            self.far.inode,
            side(&self.far)
        )
    }
}

pub(super) fn judge(seen: &Sockets) -> Vec<Check> {
    let Some(engine) = seen.engine else {
        return vec![Check::that("there is an engine to be connected with", false, "no process")];
    };
    let mut checks = vec![listens(seen, engine)];
    checks.push(Check::that(
        "there are clients",
        !seen.clients.is_empty(),
        format!("{}", seen.clients.len()),
    ));
    for (client, pid) in &seen.clients {
        checks.push(connected(seen, client, *pid, engine));
    }
    checks.push(strangers(seen, engine));
    checks.push(flow(seen));
    checks
}

fn listens(seen: &Sockets, engine: i32) -> Check {
    let places: Vec<String> = seen
        .listening
        .iter()
        .map(|one| format!("socket {} at {}", one.inode, one.path.as_deref().unwrap_or("no path")))
        .collect();
    let found = if places.is_empty() { format!("PID {engine} listens nowhere") } else { places.join(", ") };
    Check::that("the engine listens on a socket", !places.is_empty(), found)
}

fn connected(seen: &Sockets, client: &str, pid: i32, engine: i32) -> Check {
    let what = format!("{client} and the engine hold the two ends of a connection");
    let mut own = seen.links.iter().filter(|link| link.client == *client);
    if let Some(link) = own.clone().find(|link| link.joins(pid, engine)) {
        return Check::that(
            what,
            true,
            format!("PID {pid} {} -- {} PID {engine}", link.near.inode, link.far.inode),
        );
    }
    let found = match (own.next(), seen.inside.get(client)) {
        (Some(link), _) => link.path(),
        (None, Some(number)) => format!("{number} connections, each with both ends inside PID {pid}"),
        (None, None) => format!("PID {pid} has no connection to another process"),
    };
    Check::that(what, false, found)
}

fn strangers(seen: &Sockets, engine: i32) -> Check {
    let pid = |client: &str| seen.clients.iter().find(|(name, _)| name == client).map_or(0, |(_, pid)| *pid);
    let others = seen.links.iter().filter(|link| !link.joins(pid(&link.client), engine));
    let against: Vec<String> = others.map(Link::path).collect();
    let listed = format!("{} connections, all to PID {engine}", seen.links.len());
    Check::unless("no client is connected with anybody else", &against, listed)
}

fn flow(seen: &Sockets) -> Check {
    let what = "bytes went both ways over each, by the system calls of both sides";
    if let Some(why) = &seen.uncounted {
        return Check::that(what, false, why.clone());
    }
    let still = seen.links.iter().filter(|link| !link.bytes.flowed());
    let mut against: Vec<String> =
        still.map(|link| format!("not over that of {}: {:?}", link.client, link.bytes)).collect();
    if seen.links.is_empty() {
        against.push("there is no connection".into());
    }
    let sum = |field: fn(&Bytes) -> u64| seen.links.iter().map(|link| field(&link.bytes)).sum::<u64>();
    let (up, down) = (sum(|bytes| bytes.client_sent), sum(|bytes| bytes.client_received));
    Check::unless(what, &against, format!("{up} B to and {down} B from the engine in {} ms", seen.watched_ms))
}

pub(super) fn by_hand(seen: &Sockets) -> Vec<String> {
    let Some(engine) = seen.engine else { return Vec::new() };
    let mut commands = vec![format!("ss -xp | grep 'pid={engine},'")];
    if let Some((_, pid)) = seen.clients.first() {
        commands.push(format!("ls -l /proc/{pid}/fd"));
        commands.push(format!("strace -e trace=sendto,recvfrom -p {}", commas([*pid])));
    }
    commands
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const ENGINE: i32 = 10;

    fn socket(inode: u64, peer: u64) -> UnixSocket {
        UnixSocket {
            inode,
            listens: false,
            connected_kind: true,
            peer: Some(peer),
            path: None,
            uid: None,
            file_inode: None,
            waiting: 0,
        }
    }

    /// One engine, two clients, each with a connection; what follows is put on top.
    fn seen(more: &[(u64, u64, i32)], fewer: &[u64]) -> Sockets {
        let pairs = [(1, 2, 11), (2, 1, ENGINE), (3, 4, 12), (4, 3, ENGINE)];
        let kept = pairs.iter().filter(|(inode, ..)| !fewer.contains(inode));
        let mut sockets = BTreeMap::new();
        let mut owners: BTreeMap<u64, Vec<Owner>> = BTreeMap::new();
        for &(inode, peer, pid) in kept.chain(more) {
            sockets.insert(inode, socket(inode, peer));
            owners.entry(inode).or_default().push(Owner { pid, fd: 9 });
        }
        let listening =
            UnixSocket { inode: 99, listens: true, peer: None, path: Some("/e".into()), ..socket(99, 0) };
        sockets.insert(99, listening);
        owners.insert(99, vec![Owner { pid: ENGINE, fd: 3 }]);
        let clients = vec![("client@1".into(), 11), ("client@2".into(), 12)];
        let mut seen = join(Some(ENGINE), clients, &sockets, &owners, |pid| format!("p{pid}"));
        let some = Bytes { client_sent: 5, client_received: 7, engine_sent: 7, engine_received: 5 };
        seen.links.iter_mut().for_each(|link| link.bytes = some);
        seen
    }

    /// What is proven.
    pub(crate) fn proven() -> Sockets {
        seen(&[], &[])
    }

    fn against(seen: &Sockets) -> String {
        let failed = judge(seen).into_iter().filter(|check| !check.holds);
        failed.map(|check| format!("{}: {}\n", check.what, check.found)).collect()
    }

    #[test]
    fn a_connection_between_each_client_and_the_engine_is_proven() {
        assert_eq!(against(&seen(&[], &[])), "");
        // What a process keeps between its own two hands is nobody's business.
        assert_eq!(against(&seen(&[(20, 21, 11), (21, 20, 11)], &[])), "");
    }

    #[test]
    fn a_connection_to_a_stranger_is_not() {
        let found = against(&seen(&[(20, 21, 11), (21, 20, 66)], &[]));
        assert!(found.starts_with("no client is connected with anybody else: socket 20 of p11"), "{found}");
        assert!(found.contains("socket 21 of p66 (PID 66, fd 9)"), "{found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }

    #[test]
    fn a_connection_inside_one_process_is_not() {
        let mut one = seen(&[], &[]);
        one.clients = vec![("client@1".into(), ENGINE)];
        one.links.clear();
        one.inside.insert("client@1".into(), 3);
        let found = against(&one);
        assert!(found.contains("3 connections, each with both ends inside PID 10"), "{found}");
        assert!(found.contains("there is no connection"), "{found}");
    }

    #[test]
    fn a_client_without_a_connection_is_not() {
        let found = against(&seen(&[], &[3, 4]));
        assert!(found.contains("PID 12 has no connection to another process"), "{found}");
    }

    #[test]
    fn an_end_that_two_processes_hold_is_not() {
        let found = against(&seen(&[(2, 1, 12)], &[]));
        assert!(found.contains("client@1 and the engine hold the two ends"), "{found}");
    }

    #[test]
    fn a_connection_over_which_nothing_goes_is_not() {
        let mut silent = seen(&[], &[]);
        silent.links[1].bytes.engine_received = 0;
        assert!(against(&silent).contains("not over that of client@2"));
        let uncounted = Sockets { uncounted: Some("not permitted".into()), ..seen(&[], &[]) };
        assert!(against(&uncounted).contains("not permitted"));
    }

    #[test]
    fn an_engine_that_is_gone_or_does_not_listen_is_not() {
        assert!(against(&Sockets::default()).contains("no process"));
        assert!(against(&Sockets { listening: vec![], ..seen(&[], &[]) }).contains("listens nowhere"));
    }
}

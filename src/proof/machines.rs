//! The seventh claim: they need not be on one machine.
//!
//! Engine and clients are started in network namespaces of their own, which share no interface, no address and no socket,
//! with a cable from each client to the engine; to the network they are different machines. They talk over TCP with
//! certificates on both sides. Two strangers try to get in, and a cable is cut and put back.

mod network;
mod verdict;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use network::{ENGINE, Network, PLUG, Unable};
pub(super) use verdict::judge;

use super::look::{Part, Seen, look};
use super::subject::{Named, wait_for};
use super::{Evidence, Topic};
use crate::os::command::bound_to_us;
use crate::os::netns::{self, Namespace};
use crate::os::proc::{TcpState, carried, socket_owners, tcp_sockets};

/// How long they may take to find each other, a stranger to give up, a cut connection to be noticed.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many clients are started.
const CLIENTS: u8 = 2;

/// So much has to go over each cable in each direction: more than it takes to become acquainted.
const ENOUGH: u64 = 20_000;

/// What strangers call themselves.
const STRANGER: &str = "client@9";

/// Where the engine listens.
const PORT: u16 = 4000;

/// Engine and clients on machines of their own, as far as the network can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machines {
    /// Engine and clients.
    pub machines: Vec<Machine>,
    /// Where the engine waits for connections.
    pub listening: Vec<String>,
    /// Connections of clients, each end read from its own side.
    pub wires: Vec<Wire>,
    /// Those who should not get in.
    pub strangers: Vec<Stranger>,
    /// What happened when a cable was cut.
    pub cut: Option<Cut>,
}

/// A process and its network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The process.
    pub process: Seen,
    /// Its network namespace, as the number that the kernel has for it.
    pub namespace: Option<u64>,
    /// The interfaces and addresses there.
    pub addresses: Vec<String>,
    /// Bytes that came in over its cable since everybody was connected; the engine has several.
    pub received: Option<u64>,
    /// Bytes that went out.
    pub sent: Option<u64>,
    /// The last line it printed.
    pub said: Option<String>,
}

/// A TCP connection of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Whose.
    pub client: String,
    /// The end at the client.
    pub near: Plug,
    /// The end at the engine, if its table has one.
    pub far: Option<Plug>,
}

/// One end of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plug {
    /// Its address and port.
    pub address: String,
    /// Its inode.
    pub inode: u64,
    /// The processes that hold it.
    pub pids: Vec<i32>,
}

/// One who should not get in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranger {
    /// What it has to show.
    pub shows: String,
    /// How it ended: its exit code.
    pub code: Option<i32>,
    /// The last line it printed.
    pub said: Option<String>,
}

/// A cable was cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Whose.
    pub client: String,
    /// Until its connection was given up, in milliseconds.
    pub gone_ms: Option<u64>,
    /// Bytes that came in over the cut cable meanwhile.
    pub received: u64,
    /// Bytes that came in at the others meanwhile.
    pub others_received: u64,
    /// Until it was connected again once the cable was back, in milliseconds.
    pub back_ms: Option<u64>,
    /// Those who are not the processes they were.
    pub changed: Vec<String>,
}

/// Starts them and looks. One process cannot be on several machines; it is looked at as it is.
pub(super) fn gather(programs: &Path, one_process: bool) -> Result<Evidence, String> {
    let seen = if one_process { one(programs).map_err(Unable::from) } else { separate(programs) };
    match seen {
        Ok(seen) => Ok(Evidence::Machines(Box::new(seen))),
        Err(Unable::Skip(why)) => Ok(Evidence::Skipped { of: Topic::Machines, why }),
        Err(error) => Err(format!("cannot start them: {error}")),
    }
}

fn separate(programs: &Path) -> Result<Machines, Unable> {
    let network = Network::lay(CLIENTS)?;
    let dir = tempfile::tempdir()?;
    let papers = Papers::issue(programs, dir.path())?;
    let mut started = Started { dir: dir.path().to_owned(), children: Vec::new(), members: Vec::new() };
    started.start(&network.engine, papers.engine(programs), "engine", Part::Engine)?;
    let names: Vec<String> = (1..=CLIENTS).map(|number| format!("client@{number}")).collect();
    for (name, namespace) in names.iter().zip(&network.clients) {
        started.start(namespace, papers.client(programs, name, Shows::Ours), name, Part::Client)?;
    }
    let clients = started.clients();
    // How it came out is for the verdict.
    wait_for(PATIENCE, || {
        clients.iter().all(|client| joined(client, &started.members).is_some()).then_some(())
    });
    let before: Vec<_> = clients.iter().map(traffic).collect();
    let flowed = |(client, before): (&Named, &(u64, u64))| {
        let now = traffic(client);
        now.0 - before.0 > ENOUGH && now.1 - before.1 > ENOUGH
    };
    wait_for(PATIENCE, || clients.iter().zip(&before).all(flowed).then_some(()));

    let mut seen = Machines { wires: wires(&started.members), ..Machines::default() };
    let engine = started.members.iter().find_map(|member| member.pid).unwrap_or_default();
    let waiting = tcp_sockets(engine).into_iter().filter(|socket| socket.state == TcpState::Listening);
    seen.listening = waiting.map(|socket| socket.local.to_string()).collect();
    for process in look(&started.members).0 {
        let at = names.iter().position(|name| *name == process.name);
        let namespace = at.map_or(&network.engine, |at| &network.clients[at]);
        let own = clients.iter().zip(&before).find(|(client, _)| client.pid == Some(process.pid));
        let moved = own.map(|(client, before)| (traffic(client), before));
        seen.machines.push(Machine {
            namespace: netns::of_process(process.pid),
            addresses: namespace.addresses()?,
            received: moved.map(|(now, before)| now.0 - before.0),
            sent: moved.map(|(now, before)| now.1 - before.1),
            said: last_line(&started.log(&process.name)),
            process,
        });
    }
    for shows in [Shows::Another, Shows::Nothing] {
        let there = &network.clients[0];
        let command = papers.client(programs, STRANGER, shows);
        seen.strangers.push(started.refused(there, command, shows)?);
    }
    seen.cut = Some(cut(&network, &started.members, 1)?);
    Ok(seen)
}

fn one(programs: &Path) -> io::Result<Machines> {
    let dir = tempfile::tempdir()?;
    let mut started = Started { dir: dir.path().to_owned(), children: Vec::new(), members: Vec::new() };
    let mut all = Command::new(programs.join("reddit-one-process"));
    all.args(["--users", "100", "--clients", &CLIENTS.to_string()]).env("TMPDIR", dir.path());
    let here = Namespace::current()?;
    started.start(&here, all, "engine", Part::Engine)?;
    let pid = started.members[0].pid;
    let client = |number| Named { name: format!("client@{number}"), part: Part::Client, pid };
    started.members.extend((1..=CLIENTS).map(client));
    let addresses = here.addresses()?;
    let machine = |process: Seen| Machine {
        namespace: netns::of_process(process.pid),
        addresses: addresses.clone(),
        received: None,
        sent: None,
        said: None,
        process,
    };
    let machines = look(&started.members).0.into_iter().map(machine).collect();
    Ok(Machines { machines, wires: wires(&started.members), ..Machines::default() })
}

/// The certificates of this network, and those of another authority.
struct Papers {
    ours: PathBuf,
    others: PathBuf,
}

impl Papers {
    /// As somebody would make them by hand.
    fn issue(programs: &Path, dir: &Path) -> io::Result<Papers> {
        let papers = Papers { ours: dir.join("certs"), others: dir.join("others") };
        let certs = |folder: &Path, words: &[&str]| {
            let mut command = Command::new(programs.join("provost"));
            command.arg("certs").args(words).arg("--dir").arg(folder).stdin(Stdio::null());
            let output = command.output()?;
            match output.status.success() {
                true => Ok(()),
                false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
            }
        };
        for folder in [&papers.ours, &papers.others] {
            certs(folder, &["init"])?;
        }
        certs(&papers.ours, &["issue", "engine", "client@1", "client@2"])?;
        certs(&papers.others, &["issue", STRANGER])?;
        // The stranger trusts the engine, so that it is the engine who has to refuse.
        let both =
            [&papers.ours, &papers.others].map(|folder| fs::read_to_string(folder.join("authority.pem")));
        let [ours, others] = both;
        let both = papers.others.join("both.pem");
        fs::write(&both, ours? + &others?)?;
        // A node reads nothing that others can write, whatever the umask is here.
        fs::set_permissions(&both, fs::Permissions::from_mode(0o600))?;
        Ok(papers)
    }

    fn engine(&self, programs: &Path) -> Command {
        let mut engine = Command::new(programs.join("reddit-engine"));
        engine.env("PROVOST_NODE_LISTEN", format!("tcp:{ENGINE}:{PORT}"));
        engine.env("PROVOST_NODE_TLS_DIR", &self.ours);
        engine
    }

    fn client(&self, programs: &Path, name: &str, shows: Shows) -> Command {
        let mut client = Command::new(programs.join("reddit-client"));
        client.args(["simulate", "--users", "100", "--name", name]);
        client.env("PROVOST_NODE_PEERS", format!("engine=tcp:{ENGINE}:{PORT}"));
        match shows {
            Shows::Ours => client.env("PROVOST_NODE_TLS_DIR", &self.ours),
            Shows::Another => client
                .arg("--once")
                .env("PROVOST_NODE_TLS_CERTIFICATE", self.others.join(format!("{name}.pem")))
                .env("PROVOST_NODE_TLS_KEY", self.others.join(format!("{name}.key")))
                .env("PROVOST_NODE_TLS_AUTHORITY", self.others.join("both.pem")),
            Shows::Nothing => client.arg("--once"),
        };
        client
    }
}

/// Who shows what.
#[derive(Clone, Copy, Debug)]
enum Shows {
    /// A certificate of the engine's authority.
    Ours,
    /// One of another authority.
    Another,
    /// None at all.
    Nothing,
}

impl Shows {
    fn name(self) -> &'static str {
        match self {
            Shows::Ours => "a certificate of the engine's authority",
            Shows::Another => "a certificate of another authority",
            Shows::Nothing => "no certificate",
        }
    }
}

/// Processes; they end with this.
struct Started {
    dir: PathBuf,
    children: Vec<Child>,
    members: Vec<Named>,
}

impl Started {
    fn start(&mut self, there: &Namespace, command: Command, name: &str, part: Part) -> io::Result<()> {
        let child = self.spawn(there, command, name)?;
        self.members.push(Named { name: name.to_owned(), part, pid: Some(child.id().cast_signed()) });
        self.children.push(child);
        Ok(())
    }

    fn spawn(&self, there: &Namespace, mut command: Command, name: &str) -> io::Result<Child> {
        // Nothing of a supervisor of ours in its environment: it is another machine.
        let of_a_supervisor = |name: &str| name.starts_with("PROVOST_") || name.starts_with("LISTEN_");
        let given: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(of_a_supervisor) && !given.contains(&name) {
                command.env_remove(name);
            }
        }
        let log = File::create(self.log(name))?;
        // Another machine has other folders too.
        let own = self.dir.join(format!("of-{name}"));
        DirBuilder::new().mode(0o700).create(&own)?;
        command.current_dir(&self.dir).env_remove("NOTIFY_SOCKET").env("PROVOST_RUN_DIR", own);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        there.within(|| bound_to_us(&mut command, Signal::SIGKILL))?
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    fn clients(&self) -> Vec<Named> {
        self.members.iter().filter(|member| member.part == Part::Client).cloned().collect()
    }

    /// Starts one who should not get in, and waits for its end.
    fn refused(&self, there: &Namespace, command: Command, shows: Shows) -> io::Result<Stranger> {
        let name = match shows {
            Shows::Ours | Shows::Another => "stranger",
            Shows::Nothing => "beggar",
        };
        let mut child = self.spawn(there, command, name)?;
        let end = wait_for(PATIENCE, || child.try_wait().ok().flatten());
        if end.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        Ok(Stranger {
            shows: shows.name().to_owned(),
            code: end.and_then(|end| end.code()),
            said: last_line(&self.log(name)),
        })
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        for child in &mut self.children {
            // An error means that it is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What came in and went out over a client's cable so far.
fn traffic(client: &Named) -> (u64, u64) {
    let all = client.pid.and_then(|pid| carried(pid, PLUG)).unwrap_or_default();
    (all.received, all.sent)
}

/// The client's connection to the engine, if the tables of both sides have it.
fn joined(client: &Named, members: &[Named]) -> Option<Wire> {
    wires(members).into_iter().find(|wire| wire.client == client.name && wire.far.is_some())
}

/// The connections of all clients: the near ends from each client's own table, the far ends from the engine's.
fn wires(members: &[Named]) -> Vec<Wire> {
    let Ok(owners) = socket_owners() else { return Vec::new() };
    let plug = |address: String, inode: u64| {
        let mut pids: Vec<i32> = owners.get(&inode).into_iter().flatten().map(|owner| owner.pid).collect();
        pids.dedup();
        Plug { address, inode, pids }
    };
    let established = |pid: i32| {
        tcp_sockets(pid)
            .into_iter()
            .filter(|socket| socket.state == TcpState::Established && socket.inode != 0)
    };
    let engine = members.iter().find(|member| member.part == Part::Engine).and_then(|member| member.pid);
    let far: Vec<_> = engine.into_iter().flat_map(established).collect();
    let mut wires = Vec::new();
    for client in members.iter().filter(|member| member.part == Part::Client) {
        let Some(pid) = client.pid else { continue };
        for near in established(pid) {
            let near_plug = plug(near.local.to_string(), near.inode);
            if near_plug.pids != [pid] {
                continue;
            }
            let other = far.iter().find(|far| (far.local, far.remote) == (near.remote, near.local));
            let far = other.map(|far| plug(far.local.to_string(), far.inode));
            wires.push(Wire { client: client.name.clone(), near: near_plug, far });
        }
    }
    wires
}

/// Cuts the cable of a client until its connection is given up, and puts it back.
fn cut(network: &Network, members: &[Named], number: u8) -> Result<Cut, Unable> {
    let clients: Vec<&Named> = members.iter().filter(|member| member.part == Part::Client).collect();
    let client = clients[usize::from(number) - 1];
    let others: Vec<&Named> = clients.iter().copied().filter(|other| other.name != client.name).collect();
    let identities = || -> Vec<(String, i32, u64)> {
        look(members).0.into_iter().map(|row| (row.name, row.pid, row.start_ticks)).collect()
    };
    let (lives, old) = (identities(), joined(client, members).map(|wire| wire.near.inode));
    network.plug(number, "down")?;
    let begun = Instant::now();
    let received = |of: &[&Named]| of.iter().map(|one| traffic(one).0).sum::<u64>();
    let before = (received(&[client]), received(&others));
    let is_gone = || !wires(members).iter().any(|wire| Some(wire.near.inode) == old);
    let gone_ms = wait_for(PATIENCE, || is_gone().then(|| millis(begun)));
    wait_for(PATIENCE, || (received(&others) > before.1).then_some(()));
    let after = (received(&[client]), received(&others));
    network.plug(number, "up")?;
    let begun = Instant::now();
    let is_back = || joined(client, members).is_some_and(|wire| Some(wire.near.inode) != old);
    let back_ms = wait_for(PATIENCE, || is_back().then(|| millis(begun)));
    let now = identities();
    let changed = lives.into_iter().filter(|life| !now.contains(life)).map(|(name, ..)| name).collect();
    Ok(Cut {
        client: client.name.clone(),
        gone_ms,
        received: after.0 - before.0,
        others_received: after.1 - before.1,
        back_ms,
        changed,
    })
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn last_line(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    text.lines().rev().map(super::terminals::plain).find(|line| !line.is_empty())
}

pub(super) fn by_hand() -> Vec<String> {
    vec![
        "provost certs init; provost certs issue engine client@1".into(),
        "export PROVOST_NODE_TLS_DIR=certs    # a copy of that folder on each machine".into(),
        "PROVOST_NODE_LISTEN=tcp:0.0.0.0:4000 reddit-engine    # on one".into(),
        "PROVOST_NODE_PEERS=engine=tcp:HOST:4000 reddit-client simulate --name client@1    # on another"
            .into(),
        "ss -tnp    # on both".into(),
    ]
}

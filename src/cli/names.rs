//! `provost names`: asks the nodes themselves, as one of them, so it works whether or not a launcher is running.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, LocalSet};

use super::args::NamesArgs;
use super::exit::Exit;
use super::screen::Screen;
use super::table::{Align, Cell, Column, Keep, render};
use super::{Failure, print, print_json, tell};
use crate::config::{self, Context, Diagnostic};
use crate::control::VERSION;
use crate::node::{ConnectError, Identity, Listen, Network, Node, Options};
use crate::os::proc::{Owner, UnixSocket, socket_of, socket_owners, unix_sockets};

/// What is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct NamesJson {
    /// [`VERSION`].
    version: u32,
    /// In order of nodes and names.
    names: Vec<NameJson>,
    /// Every node that has a socket.
    nodes: Vec<NodeJson>,
}

/// A registered name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NameJson {
    name: String,
    node: String,
    /// As the kernel tells it.
    pid: Option<i32>,
    address: String,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NodeJson {
    node: String,
    pid: Option<i32>,
    address: String,
    /// Why it could not be asked.
    error: Option<String>,
}

/// A node's socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Socket {
    folder: PathBuf,
    node: String,
}

impl Socket {
    fn address(&self) -> String {
        format!("unix:{}", self.folder.join(format!("{}.sock", self.node)).display())
    }
}

/// What a node said, and the number of the socket to it.
struct Answer {
    socket: Option<u64>,
    names: Vec<String>,
}

pub(super) fn run(file: Option<&Path>, args: NamesArgs) -> Result<Exit, Vec<Diagnostic>> {
    let folders = folders(file)?;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Ok(tell(&format!("cannot start: {error}"), Exit::Failed)),
    };
    let asked = LocalSet::new().block_on(&runtime, ask_all(&folders, args.timeout));
    let (listed, exit) = match asked {
        Ok(asked) => asked,
        Err(error) => return Ok(tell(&format!("cannot look for nodes: {error}"), Exit::Failed)),
    };
    let shown = if args.output.json {
        print_json(&listed)
    } else if listed.nodes.is_empty() {
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        print(&format!("no node has a socket in {}\n", folders.join(" or ")))
    } else {
        print(&text(&listed, &Screen::of_stdout()))
    };
    Ok(match shown {
        Ok(()) => exit,
        Err(error) => super::report(&Failure::Output(error), "", args.output.format()),
    })
}

/// Where nodes have their sockets: in the project that was named; else in that of this folder, if there is one, and where
/// those go that are started by hand.
fn folders(file: Option<&Path>) -> Result<Vec<PathBuf>, Vec<Diagnostic>> {
    let of_project =
        |file: &Path| config::place_of(file, &Context::of_process()).map(|place| place.run_dir.join("nodes"));
    let located = config::locate(file, None);
    if file.is_some() {
        return Ok(vec![of_project(&located.map_err(|diagnostic| vec![diagnostic])?)?]);
    }
    let mut folders = located.ok().map(|file| of_project(&file)).transpose()?.into_iter().collect::<Vec<_>>();
    let by_hand = Options::default().folder;
    if !folders.contains(&by_hand) {
        folders.push(by_hand);
    }
    Ok(folders)
}

/// The sockets in a folder. One that does not exist has none.
fn sockets(folder: &Path) -> io::Result<Vec<Socket>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(node) = name.to_str().and_then(|name| name.strip_suffix(".sock")) else { continue };
        if Identity::check_name(node).is_ok() {
            found.push(Socket { folder: folder.to_owned(), node: node.to_owned() });
        }
    }
    found.sort();
    Ok(found)
}

/// Asks every node, all at once.
async fn ask_all(folders: &[PathBuf], patience: Duration) -> io::Result<(NamesJson, Exit)> {
    let mut asked = JoinSet::new();
    for folder in folders {
        let sockets = sockets(folder)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
        let Some(me) = (!sockets.is_empty()).then(|| visitor(folder, patience)).transpose()? else {
            continue;
        };
        for socket in sockets {
            let me = me.clone();
            asked.spawn_local(async move {
                let answer = ask(&me, &socket).await;
                // As long as somebody has to be found at its other end, the connection stays.
                (socket, answer, me)
            });
        }
    }
    let mut answers = asked.join_all().await;
    answers.sort_by(|one, other| one.0.cmp(&other.0));
    let mut listed = NamesJson { version: VERSION, ..NamesJson::default() };
    let mut exit = Exit::Ok;
    let holders = Holders::look();
    for (socket, answer, _) in answers {
        let address = socket.address();
        let node = socket.node;
        match answer {
            Ok(Answer { socket, names }) => {
                let pid = socket.and_then(|socket| holders.other_end(socket));
                listed.names.extend(names.into_iter().map(|name| NameJson {
                    name,
                    node: node.clone(),
                    pid,
                    address: address.clone(),
                }));
                listed.nodes.push(NodeJson { node, pid, address, error: None });
            }
            Err(error) => {
                // Of a node that died without taking its socket away, nothing is missing here.
                let is_dead = matches!(error, ConnectError::Refused(_) | ConnectError::NoSocket(_));
                exit = exit.worse(if is_dead { Exit::Ok } else { Exit::Failed });
                listed.nodes.push(NodeJson { node, pid: None, address, error: Some(error.to_string()) });
            }
        }
    }
    Ok((listed, exit))
}

/// This process as a node that nobody can connect to and that takes every version of messages, since it sends none.
fn visitor(folder: &Path, patience: Duration) -> io::Result<Node> {
    let options = Options {
        folder: folder.to_owned(),
        listen: Listen::Nowhere,
        messages: 0..=u16::MAX,
        patience,
        network: Some(Network::default()),
        ..Options::default()
    };
    Node::start_with(&format!("names@{}", std::process::id()), options).map_err(io::Error::other)
}

async fn ask(me: &Node, Socket { folder: _, node }: &Socket) -> Result<Answer, ConnectError> {
    me.connect(node).await?;
    let socket =
        me.socket_to(node).and_then(|socket| socket_of(std::process::id().cast_signed(), socket.as_raw_fd()));
    let of_node = me.registered().into_iter().filter(|registered| registered.node.node == *node);
    let names = of_node.map(|registered| registered.name).collect();
    Ok(Answer { socket, names })
}

/// Who holds which socket, as the kernel tells it. What it does not tell is empty.
struct Holders {
    sockets: BTreeMap<u64, UnixSocket>,
    owners: BTreeMap<u64, Vec<Owner>>,
}

impl Holders {
    fn look() -> Holders {
        Holders { sockets: unix_sockets().unwrap_or_default(), owners: socket_owners().unwrap_or_default() }
    }

    /// The process at the other end of one of our sockets. A socket that was handed down is listened on by another one
    /// than made it, so `SO_PEERCRED` would not do.
    fn other_end(&self, socket: u64) -> Option<i32> {
        let far = self.sockets.get(&socket)?.peer?;
        self.owners.get(&far)?.first().map(|owner| owner.pid)
    }
}

const COLUMNS: [Column; 4] = [
    Column { title: "NAME", align: Align::Left, keep: Keep::Always },
    Column { title: "NODE", align: Align::Left, keep: Keep::Always },
    Column { title: "PID", align: Align::Right, keep: Keep::Always },
    Column { title: "ADDRESS", align: Align::Left, keep: Keep::Always },
];

fn text(listed: &NamesJson, screen: &Screen) -> String {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut faults = String::new();
    for node in &listed.nodes {
        let row = |name: Option<&str>| -> Vec<Cell> {
            vec![
                Cell::maybe(name),
                node.node.as_str().into(),
                Cell::maybe(node.pid),
                node.address.as_str().into(),
            ]
        };
        let before = rows.len();
        let names = listed.names.iter().filter(|name| name.node == node.node && name.address == node.address);
        rows.extend(names.map(|name| row(Some(&name.name))));
        match &node.error {
            Some(error) => faults.push_str(&format!("{} not available: {error}\n", node.node)),
            None if rows.len() == before => rows.push(row(None)),
            None => {}
        }
    }
    render(&COLUMNS, &rows, screen).text + &faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_exactly_this() {
        let name = |name: &str| NameJson {
            name: name.into(),
            node: "engine".into(),
            pid: Some(4242),
            address: "unix:/run/x/engine.sock".into(),
        };
        let node = |node: &str, pid, error: Option<&str>| NodeJson {
            node: node.into(),
            pid,
            address: format!("unix:/run/x/{node}.sock"),
            error: error.map(str::to_owned),
        };
        let listed = NamesJson {
            version: VERSION,
            names: vec![name("post_manager"), name("user_registry")],
            nodes: vec![
                node("client@1", None, None),
                node("engine", Some(4242), None),
                node("old", None, Some("connection refused at /run/x/old.sock")),
            ],
        };
        let expected = "\
NAME           NODE       PID  ADDRESS
-              client@1     -  unix:/run/x/client@1.sock
post_manager   engine    4242  unix:/run/x/engine.sock
user_registry  engine    4242  unix:/run/x/engine.sock
old not available: connection refused at /run/x/old.sock
";
        assert_eq!(text(&listed, &Screen::default()), expected);
    }
}

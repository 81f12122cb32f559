//! How a node is set up.

use std::collections::BTreeMap;
use std::env;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::geteuid;

use super::frame::MAX_FRAME;
use super::location::Location;
use super::network::Network;

/// How a node is set up. [`Options::default`] is right for nodes of one machine and one user.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder where nodes have their sockets, `NAME.sock`. Made for this user only if it is missing.
    pub folder: PathBuf,
    /// Where nodes are that have no socket in the folder, by name. Unless [`Options::network`] is set, those that the
    /// environment variable `PROVOST_NODE_PEERS` names are added.
    pub elsewhere: BTreeMap<String, Location>,
    /// Whether others can connect to this node.
    pub listen: Listen,
    /// Versions of the application's messages that this node speaks. Two nodes use the newest that both speak, and do not
    /// connect if there is none.
    pub messages: RangeInclusive<u16>,
    /// What it carries at most, for each peer and in all.
    pub limits: Limits,
    /// Largest frame that it takes, in bytes: 4 KiB to 1 MiB. A peer's call that needs a larger one is an error there.
    pub frame: usize,
    /// Users who are trusted beside the own one and root: their processes are let in, and connected to.
    pub uids: Vec<u32>,
    /// How long connecting may take. A peer that is being restarted under a supervisor that holds its socket answers only
    /// once it is back.
    pub patience: Duration,
    /// How it is reached from other machines and connects to them. `None`: as the environment variables say
    /// ([`Network::from_env`]), which is not at all where none is set.
    pub network: Option<Network>,
}

/// What a node carries at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; one more is refused with the reason.
    pub connections: u32,
    /// Unanswered requests of one peer.
    pub in_flight: u16,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: 1024, in_flight: 512 }
    }
}

/// Whether others can connect to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On the socket that a supervisor hands down (`LISTEN_FDS`), else on its own in [`Options::folder`].
    Socket,
    /// As [`Listen::Socket`], but the own one has this path, which others must be told ([`Options::elsewhere`]). The folder
    /// is not used.
    At(PathBuf),
    /// Not at all, unless on a port of [`Options::network`]: it only connects to others, which then can call it (a hidden
    /// node).
    Nowhere,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            folder: folder_from_env(),
            elsewhere: BTreeMap::new(),
            listen: Listen::Socket,
            messages: 1..=1,
            limits: Limits::default(),
            frame: MAX_FRAME,
            uids: Vec::new(),
            patience: Duration::from_secs(5),
            network: None,
        }
    }
}

/// `PROVOST_RUN_DIR/nodes`; without a supervisor `XDG_RUNTIME_DIR/provost/nodes`, else `/tmp/provost-UID/nodes`. So nodes
/// that one user starts by hand in several terminals meet.
fn folder_from_env() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("PROVOST_RUN_DIR")
        .or_else(|| Some(variable("XDG_RUNTIME_DIR")?.join("provost")))
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/provost-{}", geteuid())));
    base.join("nodes")
}

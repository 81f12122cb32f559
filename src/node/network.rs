//! How a node is reached from other machines, and how it connects to them.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::PathBuf;

use super::location::Location;

/// Where to listen for other machines: `tcp:HOST:PORT`.
const LISTEN: &str = "PROVOST_NODE_LISTEN";
/// Where other nodes are: `NAME=tcp:HOST:PORT`, several with commas between.
const PEERS: &str = "PROVOST_NODE_PEERS";
/// The folder of certificates that `provost certs` made.
pub(crate) const TLS_DIR: &str = "PROVOST_NODE_TLS_DIR";
/// The node's certificate, where it does not lie in that folder under the node's name.
const TLS_CERTIFICATE: &str = "PROVOST_NODE_TLS_CERTIFICATE";
/// The key of that certificate.
const TLS_KEY: &str = "PROVOST_NODE_TLS_KEY";
/// The authority's certificate.
const TLS_AUTHORITY: &str = "PROVOST_NODE_TLS_AUTHORITY";
/// `1`: TCP without certificates, on loopback addresses only.
const PLAIN_LOOPBACK: &str = "PROVOST_NODE_PLAIN_LOOPBACK";

/// How a node is reached from other machines, and how it connects to them. [`Network::default`]: not at all.
///
/// Everything that goes over TCP is TLS 1.3, and both sides show a certificate. What counts in a certificate is the name of
/// the node (a URI, `provost:engine`), not that of its machine, so a node may move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// `HOST:PORT` on which it also listens; port 0 lets the kernel choose. Its Unix socket stays.
    pub listen: Option<String>,
    /// Its certificate.
    pub tls: Option<Tls>,
    /// Without certificates, use TCP all the same, but only on loopback addresses. Nobody is identified then: every user of
    /// this machine can call himself any node.
    pub plain_loopback: bool,
}

/// The files of a node's certificate, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// As `provost certs` lays them out: `NAME.pem`, `NAME.key` and `authority.pem`.
    Folder(PathBuf),
    /// One by one.
    Files {
        /// The node's certificate.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
        /// The certificate of the authority that issued it and those of all peers.
        authority: PathBuf,
    },
}

/// Why a node cannot use the network as it was told to.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// An environment variable makes no sense.
    #[error("{name}={value}: {why}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with that.
        why: String,
    },
    /// The port cannot be had.
    #[error("cannot listen on tcp:{place}: {error}")]
    Listen {
        /// Host and port.
        place: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// There are no certificates.
    #[error("tcp:{0} {NEEDS_CERTIFICATES}")]
    Insecure(String),
    /// A file of the certificate cannot be used.
    #[error("{file} cannot be used: {why}")]
    File {
        /// Which.
        file: PathBuf,
        /// Why not, and what to do.
        why: String,
    },
}

/// Said of an address.
pub(super) const NEEDS_CERTIFICATES: &str = "needs certificates: make them with `provost certs` and set \
     PROVOST_NODE_TLS_DIR (without them TCP is only for loopback addresses, and only with PROVOST_NODE_PLAIN_LOOPBACK=1)";

impl Network {
    /// What the environment variables say, so that a program under a supervisor can be told without code.
    ///
    /// | variable | example | is |
    /// |---|---|---|
    /// | `PROVOST_NODE_LISTEN` | `tcp:0.0.0.0:4000` | [`listen`](Network::listen) |
    /// | `PROVOST_NODE_PEERS` | `engine=tcp:10.0.0.1:4000,other=tcp:host:4000` | [`Options::elsewhere`](super::Options::elsewhere) |
    /// | `PROVOST_NODE_TLS_DIR` | `certs` | [`Tls::Folder`] |
    /// | `PROVOST_NODE_TLS_CERTIFICATE`, `_KEY`, `_AUTHORITY` | `/etc/x/tls.crt` | [`Tls::Files`], all three |
    /// | `PROVOST_NODE_PLAIN_LOOPBACK` | `1` | [`plain_loopback`](Network::plain_loopback) |
    ///
    /// # Errors
    /// [`NetworkError::Variable`].
    pub fn from_env() -> Result<Network, NetworkError> {
        Network::from_variables(|name| env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Network, NetworkError> {
        let given = |name: &'static str| variable(name).filter(|value| !value.is_empty());
        let listen = match given(LISTEN) {
            None => None,
            Some(value) => match value.parse() {
                Ok(Location::Tcp(place)) => Some(place),
                Ok(Location::Unix(_)) | Err(_) => return Err(wrong(LISTEN, &value, "write tcp:HOST:PORT")),
            },
        };
        let plain_loopback = match given(PLAIN_LOOPBACK).as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(value) => return Err(wrong(PLAIN_LOOPBACK, value, "write 1 or 0")),
        };
        let path = |name| given(name).map(PathBuf::from);
        let tls = match (path(TLS_CERTIFICATE), path(TLS_KEY), path(TLS_AUTHORITY)) {
            (Some(certificate), Some(key), Some(authority)) => {
                Some(Tls::Files { certificate, key, authority })
            }
            (None, None, None) => path(TLS_DIR).map(Tls::Folder),
            (certificate, key, _) => {
                let missing = match (certificate, key) {
                    (None, _) => TLS_CERTIFICATE,
                    (_, None) => TLS_KEY,
                    (Some(_), Some(_)) => TLS_AUTHORITY,
                };
                return Err(wrong(missing, "", &format!("give all three files, or only {TLS_DIR}")));
            }
        };
        Ok(Network { listen, tls, plain_loopback })
    }
}

/// Where other nodes are, as the environment variable says.
pub(super) fn peers_from_env() -> Result<BTreeMap<String, Location>, NetworkError> {
    read_peers(&env::var(PEERS).unwrap_or_default())
}

fn read_peers(value: &str) -> Result<BTreeMap<String, Location>, NetworkError> {
    let mut peers = BTreeMap::new();
    for peer in value.split(',').map(str::trim).filter(|peer| !peer.is_empty()) {
        let read = peer.split_once('=').and_then(|(name, place)| Some((name, place.parse().ok()?)));
        let Some((name, location)) = read else {
            return Err(wrong(PEERS, value, &format!("{peer} is not NAME=tcp:HOST:PORT")));
        };
        peers.insert(name.to_owned(), location);
    }
    Ok(peers)
}

fn wrong(name: &'static str, value: &str, why: &str) -> NetworkError {
    NetworkError::Variable { name, value: value.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Network, String> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Network::from_variables(|name| find(name).map(|(_, value)| (*value).to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_set_means_no_network() {
        assert_eq!(read(&[]).unwrap(), Network::default());
        assert_eq!(read(&[(LISTEN, ""), (PLAIN_LOOPBACK, "0")]).unwrap(), Network::default());
        assert!(read_peers(" , ").unwrap().is_empty());
    }

    #[test]
    fn variables_say_all_that_options_can() {
        let network =
            read(&[(LISTEN, "tcp:0.0.0.0:4000"), (TLS_DIR, "certs"), (PLAIN_LOOPBACK, "1")]).unwrap();
        assert_eq!(network.listen.as_deref(), Some("0.0.0.0:4000"));
        assert_eq!(network.tls, Some(Tls::Folder("certs".into())));
        assert!(network.plain_loopback);
        let peers = read_peers("engine=tcp:10.0.0.1:4000, other=unix:/x.sock").unwrap();
        let shown: Vec<_> = peers.iter().map(|(name, location)| format!("{name} {location}")).collect();
        assert_eq!(shown, ["engine tcp:10.0.0.1:4000", "other unix:/x.sock"]);
        let files = [(TLS_CERTIFICATE, "c"), (TLS_KEY, "k"), (TLS_AUTHORITY, "a")];
        assert!(matches!(read(&files).unwrap().tls, Some(Tls::Files { .. })));
    }

    #[test]
    fn what_makes_no_sense_is_told_with_the_variable() {
        for (variables, told) in [
            (&[(LISTEN, "4000")][..], "PROVOST_NODE_LISTEN=4000: write tcp:HOST:PORT"),
            (&[(PLAIN_LOOPBACK, "yes")], "PROVOST_NODE_PLAIN_LOOPBACK=yes: write 1 or 0"),
            (
                &[(TLS_KEY, "k")],
                "PROVOST_NODE_TLS_CERTIFICATE=: give all three files, or only PROVOST_NODE_TLS_DIR",
            ),
        ] {
            assert_eq!(read(variables).unwrap_err(), told);
        }
        let told = read_peers("engine").unwrap_err().to_string();
        assert_eq!(told, "PROVOST_NODE_PEERS=engine: engine is not NAME=tcp:HOST:PORT");
    }
}

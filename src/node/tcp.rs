//! Connections over TCP: with certificates, or plain and only within this machine.
//!
//! A peer whose machine or cable is gone says nothing any more. The kernel asks it whether it is still there whenever it was
//! silent for a moment, and ends the connection when it hears nothing for [`SILENCE`]; so that is noticed also where
//! nothing is under way, and an idle node need not wake up for it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};

use super::error::ConnectError;
use super::link::Side;
use super::network::{Network, NetworkError};
use super::tls::{Badge, Shown, TlsStream};
use super::transport::Transport;

/// How long a peer may leave unanswered what the kernel sent it before the connection is given up.
const SILENCE: Duration = Duration::from_secs(6);

/// After so much silence the kernel asks, and then again each second, in seconds.
const ASK_AFTER: u32 = 3;
const ASK_EVERY: u32 = 1;

/// What a record of a TLS handshake begins with (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// How this node speaks over TCP.
#[derive(Debug)]
pub(super) enum Manner {
    /// With certificates.
    Certified(Box<Badge>),
    /// Without, on loopback addresses.
    PlainLoopback,
    /// Not at all.
    Silent,
}

/// A port on which others connect.
#[derive(Debug)]
pub(super) struct Port {
    socket: TcpListener,
    address: SocketAddr,
}

impl Manner {
    /// As the node `name` was told.
    pub(super) fn new(network: &Network, name: &str) -> Result<Manner, NetworkError> {
        match &network.tls {
            Some(tls) => Ok(Manner::Certified(Box::new(Badge::load(tls, name)?))),
            None if network.plain_loopback => Ok(Manner::PlainLoopback),
            None => Ok(Manner::Silent),
        }
    }

    /// Whether this manner is good enough for an address.
    fn allows(&self, address: SocketAddr) -> bool {
        match self {
            Manner::Certified(_) => true,
            Manner::PlainLoopback => address.ip().is_loopback(),
            Manner::Silent => false,
        }
    }

    /// Whether the certificate that the peer showed on a connection made by `dialed_by` is still accepted.
    pub(super) fn still_accepts(&self, stream: &TlsStream, dialed_by: Side) -> bool {
        let shown = match dialed_by {
            Side::Us => Shown::ByServer,
            Side::Them => Shown::ByClient,
        };
        match self {
            Manner::Certified(badge) => badge.still_accepts(stream, shown),
            Manner::PlainLoopback | Manner::Silent => false,
        }
    }

    /// Whether what a node sends can begin with this byte.
    pub(super) fn begins_with(&self, byte: u8) -> bool {
        match self {
            Manner::Certified(_) => byte == TLS_HANDSHAKE,
            Manner::PlainLoopback | Manner::Silent => true,
        }
    }

    /// Listens on `place`, a host and a port.
    pub(super) fn listen(&self, place: &str) -> Result<Port, NetworkError> {
        let failed = |error| NetworkError::Listen { place: place.to_owned(), error };
        let addresses: Vec<SocketAddr> = place.to_socket_addrs().map_err(failed)?.collect();
        if !addresses.iter().all(|address| self.allows(*address)) {
            return Err(NetworkError::Insecure(place.to_owned()));
        }
        let socket = std::net::TcpListener::bind(&addresses[..]).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Port { socket: TcpListener::from_std(socket).map_err(failed)?, address })
    }

    /// Connects to the node `node` at `place`, a host and a port. Also returns the own address of the connection.
    pub(super) async fn connect(
        &self,
        place: &str,
        node: &str,
    ) -> Result<(Rc<dyn Transport>, SocketAddr), ConnectError> {
        let path = || PathBuf::from(format!("tcp:{place}"));
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::Refused(path()),
            _ => ConnectError::Failed { path: path(), why: error.to_string() },
        };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(place).await.map_err(failed)?.collect();
        if !addresses.iter().all(|address| self.allows(*address)) {
            return Err(ConnectError::Insecure(path()));
        }
        let stream = TcpStream::connect(&addresses[..]).await.map_err(failed)?;
        let own = stream.local_addr().map_err(failed)?;
        prepare(&stream).map_err(failed)?;
        let wire: Rc<dyn Transport> = match self {
            Manner::Certified(badge) => badge.greet(stream, place, node).await?,
            Manner::PlainLoopback => Rc::new(stream),
            Manner::Silent => return Err(ConnectError::Insecure(path())),
        };
        Ok((wire, own))
    }

    /// Why a connection to `place` ended before anybody was welcome.
    pub(super) fn explain(&self, place: &str, error: &io::Error) -> ConnectError {
        match self {
            Manner::Certified(badge) => badge.explain(place, error),
            Manner::PlainLoopback | Manner::Silent => {
                ConnectError::Failed { path: format!("tcp:{place}").into(), why: error.to_string() }
            }
        }
    }

    /// Lets a connection in as far as its hello. With certificates, also tells the nodes that the peer may be.
    pub(super) async fn admit(
        &self,
        stream: TcpStream,
    ) -> Result<(Rc<dyn Transport>, Option<Vec<String>>), String> {
        prepare(&stream).map_err(|error| error.to_string())?;
        match self {
            Manner::Certified(badge) => {
                let (wire, names) = badge.admit(stream).await.map_err(|error| badge.told(&error))?;
                Ok((wire, Some(names)))
            }
            Manner::PlainLoopback => Ok((Rc::new(stream), None)),
            Manner::Silent => Err("this node does not speak over TCP".to_owned()),
        }
    }
}

impl Port {
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.socket.accept().await
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a peer finds this port that is connected to `own`, an address of this machine.
    pub(super) fn seen_from(&self, own: SocketAddr) -> SocketAddr {
        let ip = if self.address.ip().is_unspecified() { own.ip() } else { self.address.ip() };
        SocketAddr::new(ip, self.address.port())
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // A turn's frames are one write already; waiting for more would only delay them.
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &ASK_AFTER)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &ASK_EVERY)?;
    // Bounds both: what was sent and is not acknowledged, and questions without an answer.
    setsockopt(stream, sockopt::TcpUserTimeout, &(SILENCE.as_millis() as u32))?;
    Ok(())
}

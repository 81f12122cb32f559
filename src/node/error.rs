//! Why there is no connection, or no reply.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calls::Unanswered;
use super::frame::FrameError;
use super::hello::{Identity, Refusal};
use super::network::NEEDS_CERTIFICATES;

/// Why there is no connection. Where it says where, that is the path of a socket, or tcp:HOST:PORT. Each reads well after "engine not available: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The path does not exist: the peer never ran, or took its socket away.
    #[error("no socket at {0}")]
    NoSocket(PathBuf),
    /// There is a socket file and nobody listens on it.
    #[error("connection refused at {0}: nobody listens there any more")]
    Refused(PathBuf),
    /// The peer is alive and its queue of waiting connections is full.
    #[error("too many connections wait at {0}")]
    QueueFull(PathBuf),
    /// Another user could have put the socket there.
    #[error("the socket {path} is not trusted: {why}")]
    Untrusted {
        /// Where.
        path: PathBuf,
        /// Whose it is, and what to do.
        why: String,
    },
    /// The process that listens there is another user's.
    #[error("the process behind {path} belongs to user {uid}, whom this process does not trust")]
    Stranger {
        /// Where.
        path: PathBuf,
        /// As the kernel says.
        uid: u32,
    },
    /// It took the connection and said nothing.
    #[error("timed out: no answer at {path} within {patience:?}")]
    NoAnswer {
        /// Where.
        path: PathBuf,
        /// How long was waited.
        patience: Duration,
    },
    /// It answered that it does not want this peer.
    #[error("the peer refuses this process: {0}")]
    TurnedAway(Refusal),
    /// It answered something that is not our protocol.
    #[error("the peer at {path} speaks another protocol: {error}")]
    Protocol {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        error: FrameError,
    },
    /// It closed the connection, or the kernel failed.
    #[error("the connection to {path} failed: {why}")]
    Failed {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        why: String,
    },
    /// Over TCP: the other side's certificate is not good, or not that of the node that was meant.
    #[error("the certificate shown at {path} is not accepted: {why}")]
    Certificate {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Over TCP: the other side does not accept the certificate of this node.
    #[error("the node at {path} does not accept the certificate {certificate}: {why}")]
    CertificateRefused {
        /// Where.
        path: PathBuf,
        /// The file of this node's certificate.
        certificate: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There are no certificates, and the address is not one where that is allowed.
    #[error("{path} {NEEDS_CERTIFICATES}", path = .0.display())]
    Insecure(PathBuf),
    /// Both sides hold a name that can have only one holder.
    #[error("the name {name} is held on both sides, there by {holder}")]
    NameTwice {
        /// The name.
        name: String,
        /// Who holds it on the other side.
        holder: Identity,
    },
}

impl ConnectError {
    /// Whether trying again can help. Two different builds do not come together by waiting.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            ConnectError::TurnedAway(refusal) => refusal.is_temporary(),
            ConnectError::Protocol { .. }
            | ConnectError::Certificate { .. }
            | ConnectError::CertificateRefused { .. }
            | ConnectError::Untrusted { .. }
            | ConnectError::Stranger { .. }
            | ConnectError::Insecure(_) => false,
            ConnectError::NoSocket(_)
            | ConnectError::Refused(_)
            | ConnectError::QueueFull(_)
            | ConnectError::NoAnswer { .. }
            | ConnectError::NameTwice { .. }
            | ConnectError::Failed { .. } => true,
        }
    }
}

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Not within its time. Whether the request was carried out is unknown.
    #[error("no reply within {waited:?}")]
    TimedOut {
        /// How long was waited.
        waited: Duration,
    },
    /// The connection ended. Whether the request was carried out is unknown.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The request does not fit into a frame; it was not sent.
    #[error("the request is larger than a message may be ({limit} bytes)")]
    TooLarge {
        /// The most that the receiver takes.
        limit: usize,
    },
    /// No connected node holds that name; nothing was sent.
    #[error("no connected node holds the name {0}")]
    NoName(String),
    /// The node of an idempotent request could not be reached within its time.
    #[error("{node} cannot be reached: {why}")]
    Unreachable {
        /// Its name.
        node: String,
        /// The last attempt.
        why: ConnectError,
    },
    /// The receiver says that there will be no reply.
    #[error("{0}")]
    Refused(Fault),
    /// The reply is not what the caller takes for one.
    #[error("the reply cannot be decoded: the two sides mean different messages")]
    BadReply,
}

/// Why a cast that was not to wait was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    /// The mailbox is gone, or its node, or the connection to it.
    #[error("the receiver is gone")]
    Gone,
    /// The receiver has not taken as many as may be under way to it.
    #[error("the receiver has not taken what was sent before")]
    Full,
    /// It does not fit into a frame.
    #[error("the message is larger than a message may be ({limit} bytes)")]
    TooLarge {
        /// The most that the receiver takes.
        limit: usize,
    },
}

impl CallError {
    pub(super) fn after(unanswered: Unanswered, waited: Duration) -> CallError {
        match unanswered {
            Unanswered::TimedOut => CallError::TimedOut { waited },
            Unanswered::Lost(lost) => CallError::Lost(lost),
            Unanswered::Refused(fault) => CallError::Refused(fault),
        }
    }
}

/// Why the receiver of a call sends no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// The mailbox is gone (`noproc`).
    #[error("nobody is there any more to take the request")]
    NoMailbox,
    /// The request is not what the receiver takes for one.
    #[error("the receiver cannot decode the request: the two sides mean different messages")]
    BadRequest,
    /// Whoever took the request gave it up.
    #[error("the receiver gave the request up without a reply")]
    GivenUp,
    /// The reply does not fit into a frame.
    #[error("the reply is larger than a message may be ({limit} bytes)")]
    ReplyTooLarge {
        /// The most that the caller takes.
        limit: u32,
    },
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The peer ended or closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The kernel failed.
    #[error("the connection failed: {0}")]
    Io(io::ErrorKind),
    /// The peer sent something that no peer of this protocol sends.
    #[error("the peer broke the protocol: {0}")]
    Protocol(FrameError),
    /// The peer answered a call that was never made.
    #[error("the peer answered a call that was never made")]
    UnaskedReply,
    /// The peer said good-bye.
    #[error("the peer ended")]
    Ended,
    /// This node ended.
    #[error("this node ended")]
    Stopped,
    /// The peer sent more than it was allowed to have under way.
    #[error("the peer sent more requests than it may have under way")]
    Flooded,
    /// The peer asks and does not read what it is answered.
    #[error("the peer does not read what it asked for")]
    NotReading,
    /// The peer connected anew, so this connection was dead.
    #[error("the peer connected again")]
    Replaced,
    /// The peer's certificate was revoked, or its authority is another one now.
    #[error("the peer's certificate is not accepted any more")]
    Certificate,
    /// A name is held on both sides.
    #[error("a name is registered on both sides")]
    NameTwice,
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Lost {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Lost::Closed,
            kind => Lost::Io(kind),
        }
    }
}

impl From<FrameError> for Lost {
    fn from(error: FrameError) -> Lost {
        Lost::Protocol(error)
    }
}

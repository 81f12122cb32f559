//! Why there is no connection, or no reply.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::frame::FrameError;
use super::hello::Refusal;

/// Why there is no connection. Each reads well after "engine not available: ".
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
}

impl ConnectError {
    /// Whether trying again can help. Two different builds do not come together by waiting.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            ConnectError::TurnedAway(refusal) => refusal.is_temporary(),
            ConnectError::Protocol { .. } => false,
            ConnectError::NoSocket(_)
            | ConnectError::Refused(_)
            | ConnectError::QueueFull(_)
            | ConnectError::NoAnswer { .. }
            | ConnectError::Failed { .. } => true,
        }
    }
}

/// Why a call has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Not within its time. Whether the request was carried out is unknown.
    #[error("no reply in time")]
    TimedOut,
    /// The connection ended. Whether the request was carried out is unknown.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The request does not fit into a frame; it was not sent.
    #[error("the request is larger than a message may be")]
    TooLarge,
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

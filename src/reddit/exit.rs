//! How the two programs end: numbers of sysexits(3) where one fits.

use std::io::ErrorKind;
use std::process::ExitCode;

use super::store::OpenError;
use crate::node::{ListenError, NetworkError, StartError};

/// Why a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Finished, or stopped as asked.
    Done = 0,
    /// What was looked for was found wanting: a check that fails; or the engine refused what was asked.
    Failed = 1,
    /// What was typed makes no sense, as clap has it.
    Usage = 2,
    /// Something in the store is not as it must be (`EX_DATAERR`).
    Damaged = 65,
    /// The client was not to wait, and there is no engine (`EX_UNAVAILABLE`).
    EngineUnavailable = 69,
    /// The kernel refused something without which nothing goes (`EX_OSERR`).
    System = 71,
    /// It cannot listen where it was told to (`EX_CANTCREAT`).
    CannotListen = 73,
    /// The store could not be written (`EX_IOERR`). What was acknowledged is in it.
    Storage = 74,
    /// Another process listens there, or uses the store, already (`EX_TEMPFAIL`).
    InUse = 75,
    /// Engine and client do not fit together (`EX_PROTOCOL`).
    Incompatible = 76,
    /// The network is not set up as it was told to be: a certificate is missing, say (`EX_CONFIG`).
    Misconfigured = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// How a program ends that cannot become a node.
    #[must_use]
    pub fn of_start(error: &StartError) -> Exit {
        match error {
            StartError::Listen(ListenError::InUse { .. }) => Exit::InUse,
            StartError::Network(NetworkError::Listen { error, .. }) => match error.kind() {
                ErrorKind::AddrInUse => Exit::InUse,
                _ => Exit::CannotListen,
            },
            StartError::Network(_) => Exit::Misconfigured,
            StartError::Name(_) | StartError::Listen(_) | StartError::Folder(_) => Exit::CannotListen,
            StartError::Frame(_) | StartError::Thread(_) => Exit::System,
        }
    }

    /// How a program ends whose store cannot be opened.
    #[must_use]
    pub fn of(error: &OpenError) -> Exit {
        match error {
            OpenError::InUse { .. } => Exit::InUse,
            OpenError::Damaged { .. } | OpenError::Older { .. } => Exit::Damaged,
            OpenError::Io { .. } => Exit::Storage,
        }
    }
}

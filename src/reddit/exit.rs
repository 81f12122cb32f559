//! How the two programs end: numbers of sysexits(3) where one fits.

use std::process::ExitCode;

/// Why a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Finished, or stopped as asked.
    Done = 0,
    /// The client was not to wait, and there is no engine (`EX_UNAVAILABLE`).
    EngineUnavailable = 69,
    /// The kernel refused something without which nothing goes (`EX_OSERR`).
    System = 71,
    /// The engine cannot listen where it was told to (`EX_CANTCREAT`).
    CannotListen = 73,
    /// Another process listens there already (`EX_TEMPFAIL`).
    InUse = 75,
    /// Engine and client do not fit together (`EX_PROTOCOL`).
    Incompatible = 76,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

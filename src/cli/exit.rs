//! Exit codes, all of them.

use std::process::{ExitCode, Termination};

use crate::control::ErrorCode;

/// How `provost` ends. Verbs that take several names end with the highest of their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// Failed, the sentence on stderr says why.
    Failed,
    /// The command line makes no sense. Clap uses the same code.
    Usage,
    /// The child has no process (the code that `systemctl status` uses).
    NotRunning,
    /// No child has this name.
    NoSuchChild,
    /// No launcher is running.
    NoLauncher,
    /// `up`: the tree could not be started (`EX_UNAVAILABLE` of `sysexits.h`); `check`: nor could it be now.
    BootFailed,
    /// `up`: too many restarts (`EX_SOFTWARE`).
    GaveUp,
    /// `up`: something could not be killed (`EX_OSERR`).
    Unkillable,
    /// `up`: another launcher runs this project (`EX_TEMPFAIL`).
    AnotherLauncher,
    /// The config file is not acceptable (`EX_CONFIG`).
    BadConfig,
    /// It took too long (the code of `timeout(1)`).
    TimedOut,
    /// `up`: the code of the child whose end ended the tree.
    Of(u8),
}

/// Every fixed code with its meaning, for help and manual.
const MEANINGS: [(Exit, &str); 12] = [
    (Exit::Ok, "done; of up: stopped as asked, or by auto_shutdown"),
    (Exit::Failed, "failed"),
    (Exit::Usage, "wrong usage"),
    (Exit::NotRunning, "the child is not running"),
    (Exit::NoSuchChild, "no such child"),
    (Exit::NoLauncher, "no launcher is running"),
    (Exit::BootFailed, "up: the tree could not be started; check: it cannot be"),
    (Exit::GaveUp, "up: gave up, too many restarts"),
    (Exit::Unkillable, "up, down: something could not be killed; it is named with PID and state"),
    (Exit::AnotherLauncher, "up: another launcher runs this project"),
    (Exit::BadConfig, "bad config file"),
    (Exit::TimedOut, "timed out"),
];

impl Exit {
    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotRunning => 3,
            Exit::NoSuchChild => 4,
            Exit::NoLauncher => 7,
            Exit::BootFailed => 69,
            Exit::GaveUp => 70,
            Exit::Unkillable => 71,
            Exit::AnotherLauncher => 75,
            Exit::BadConfig => 78,
            Exit::TimedOut => 124,
            Exit::Of(code) => code,
        }
    }

    /// The one with the higher number: what several attempts together end with.
    #[must_use]
    pub fn worse(self, other: Exit) -> Exit {
        if other.code() > self.code() { other } else { self }
    }
}

impl From<ErrorCode> for Exit {
    fn from(code: ErrorCode) -> Exit {
        match code {
            ErrorCode::NotFound => Exit::NoSuchChild,
            ErrorCode::NotRunning => Exit::NotRunning,
            ErrorCode::BadConfig => Exit::BadConfig,
            ErrorCode::Timeout => Exit::TimedOut,
            ErrorCode::AlreadyStarted
            | ErrorCode::AlreadyPresent
            | ErrorCode::Running
            | ErrorCode::Restarting
            | ErrorCode::StartFailed
            | ErrorCode::BadRequest
            | ErrorCode::NotPermitted
            | ErrorCode::Internal => Exit::Failed,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// The list as it stands in the help.
pub(super) fn help() -> String {
    let lines = MEANINGS.iter().map(|(exit, meaning)| format!("  {:>3}  {meaning}\n", exit.code()));
    format!("Exit codes:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_listed_in_order() {
        assert!(MEANINGS.windows(2).all(|two| two[0].0.code() < two[1].0.code()));
        assert!(help().starts_with("Exit codes:\n    0  done"), "{}", help());
        assert!(help().ends_with("  124  timed out\n"));
    }

    #[test]
    fn the_worse_of_two_wins() {
        assert_eq!(Exit::Ok.worse(Exit::Failed), Exit::Failed);
        assert_eq!(Exit::NoSuchChild.worse(Exit::Failed), Exit::NoSuchChild);
        assert_eq!(Exit::Ok.worse(Exit::Ok), Exit::Ok);
    }
}

//! The event stream: what happened, as data. One value feeds the terminal, the JSON stream and the tests.

use serde::{Deserialize, Serialize};

use super::api::{ExitJson, LeftJson};

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventJson {
    /// Counts up by one an event within one supervisor process.
    pub seq: u64,
    /// Wall clock, RFC 3339.
    pub at: String,
    /// `CLOCK_MONOTONIC` in milliseconds.
    pub mono_ms: u64,
    /// What happened.
    pub event: EventKind,
    /// How much it matters.
    pub level: Level,
    /// To whom.
    pub name: String,
    /// Which run of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
    /// Its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// How it ended (`exited`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitJson>,
    /// Whether its supervisor had begun to stop it (`exited`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<bool>,
    /// Whether its supervisor had to kill it (`exited`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<bool>,
    /// What follows from it (`exited`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<crate::rules::Decision>,
    /// Milliseconds: how long it ran (`exited`), from its predecessor's end to its own start (`started`), how long it waits
    /// (`backoff`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// The run it replaces (`started`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaced>,
    /// Whom it concerns (`restarting`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// Restarts left in the window (`restarting`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts_left: Option<u32>,
    /// What it left running and was killed for that (`exited`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<LeftJson>,
    /// How a supervisor node or the whole project came to its end (`stopped`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Ending>,
    /// One sentence more (`start_failed`, `gave_up`, ...).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a supervisor node or the whole project came to its end. To OTP the first three are one reason, `shutdown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// As asked.
    Stopped,
    /// Too many restarts.
    GaveUp,
    /// Its significant children ended.
    AutoShutdown,
    /// A child could not be started.
    BootFailed,
    /// Killed with all below it.
    Killed,
}

/// The run that ended before this one started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Its process.
    pub pid: i32,
    /// How it ended.
    pub exit: ExitJson,
    /// Whether it ended by itself or was killed from outside, that is: not stopped by its supervisor.
    pub by_itself: bool,
}

/// How much an event matters: to be looked at, to be known, of no account by itself.
///
/// As OTP's supervisor and progress reports: the end of a permanent child and every abnormal end is an error, a start at
/// boot or by itself is information, a start that somebody asked for is not even that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Steps on the way, and what was asked for.
    Debug,
    /// What happened by itself, as it should.
    Info,
    /// What should not have been necessary.
    Warning,
    /// What went wrong.
    Error,
}

/// The closed list of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A start attempt begins.
    Starting,
    /// The process exists; without readiness the start is complete.
    Started,
    /// The child reported ready; of the project: the whole tree is up.
    Ready,
    /// The start condition said no.
    Ignored,
    /// The attempt came to nothing.
    StartFailed,
    /// A run ended.
    Exited,
    /// A stop begins.
    Stopping,
    /// The polite time ran out.
    Killed,
    /// A supervisor node, or the whole project, has stopped.
    Stopped,
    /// A round of restarts begins.
    Restarting,
    /// A restart waits.
    Backoff,
    /// A health check failed for good.
    Unhealthy,
    /// Too many restarts.
    GaveUp,
    /// A significant child ended its supervisor.
    AutoShutdown,
    /// Output waits for its log, which cannot be written; the reason says why.
    OutputStalled,
    /// ... and flows again.
    OutputResumed,
    /// A specification is gone.
    Removed,
    /// A specification is new.
    Added,
    /// A new configuration is in force.
    Reloaded,
    /// A new supervisor process took over.
    Takeover,
    /// A new version of the supervisor process took over.
    Upgraded,
}

impl std::fmt::Display for ExitJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExitJson::Code { code } => write!(f, "exit code {code}"),
            ExitJson::Signal { name, core: false, .. } => write!(f, "killed by {name}"),
            ExitJson::Signal { name, core: true, .. } => write!(f, "killed by {name}, core dumped"),
            ExitJson::Unknown { .. } => f.write_str("exit status unknown"),
        }
    }
}

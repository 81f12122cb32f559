//! Shapes of administration: adding, scaling, counting, reloading, and why a child is where it is.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::{ApiError, ExitJson};
use crate::rules::Phase;

/// What is to be added: `POST /v1/children`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Add {
    /// A child of its own (OTP `start_child` with a specification).
    Child {
        /// The supervisor; `None`: the one the text names, else the root.
        parent: Option<String>,
        /// What complaints call the text.
        file: String,
        /// A `[[child]]` as in `supervisor.toml`.
        text: String,
    },
    /// An instance of a template (OTP `start_child` with arguments).
    Instance {
        /// The template supervisor; `None`: the root.
        parent: Option<String>,
        /// `None`: the next number, `TEMPLATE@K`.
        name: Option<String>,
        /// Appended to the template's command.
        args: Vec<String>,
    },
}

/// How far a reload goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Apply {
    /// OTP's `code_change`: settings are replaced, nothing is started or stopped.
    #[default]
    Settings,
    /// Then children that are new are started, and those that are missing in the file stopped and removed.
    Children,
    /// Then also running children are restarted whose changed settings take effect at their next start.
    Restart,
}

/// `GET /v1/counts`, `GET /v1/counts/NAME`: OTP `count_children`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsJson {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// Specifications; of a template supervisor always 1.
    pub specs: usize,
    /// Children with a process.
    pub active: usize,
    /// Supervisor children.
    pub supervisors: usize,
    /// Worker children.
    pub workers: usize,
}

/// A complaint about a file, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosticJson {
    /// The file.
    pub file: String,
    /// Line, from 1; null where it is about the whole file.
    pub line: Option<usize>,
    /// Column in characters, from 1; null like `line`.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub hint: String,
}

impl fmt::Display for DiagnosticJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "; {}", self.hint) }
    }
}

/// What a reload does or would do: `GET /v1/plan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanJson {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// Project name.
    pub project: String,
    /// The file that was read.
    pub file: String,
    /// Nodes that differ, in the tree's order. The root is called as the project.
    pub changes: Vec<ChangeJson>,
    /// How many nodes do not differ.
    pub unchanged: usize,
    /// What is legal in the file and still hardly meant.
    pub warnings: Vec<DiagnosticJson>,
}

/// One node that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeJson {
    /// Its name.
    pub name: String,
    /// How it differs.
    pub change: ChangeKind,
    /// The supervisor it is under; null of the root.
    pub parent: Option<String>,
    /// Of a changed one: which settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyJson>,
}

/// How a node differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is in the file only. It is added without a process.
    New,
    /// It is not in the file (any more). It is kept with its settings.
    Missing,
    /// It is not in the file any more and its supervisor is down: nothing of it is kept.
    Removed,
    /// Some settings differ.
    Changed,
    /// An earlier reload added it, and it has not been started since.
    Unstarted,
    /// An earlier reload changed settings that count from its next start, and it has run since before.
    Outdated,
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyJson {
    /// The key, as in the file; `env.NAME` for a variable, `children` for the order.
    pub key: String,
    /// Before. Of variables only `"(set)"`.
    pub old: Value,
    /// After.
    pub new: Value,
    /// `now`, `next_exit`, `next_stop` or `next_start`.
    pub when: String,
}

/// `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadJson {
    /// What was changed.
    #[serde(flatten)]
    pub plan: PlanJson,
    /// What was then done to children.
    pub done: Vec<OutcomeJson>,
}

/// `POST /v1/scale`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleJson {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// Name without instance.
    pub name: String,
    /// What was done, in this order.
    pub done: Vec<OutcomeJson>,
}

/// One thing done to one child on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeJson {
    /// The child.
    pub name: String,
    /// What was to be done.
    pub deed: Deed,
    /// Its process afterwards.
    pub pid: Option<i32>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// What is done to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// Added and started.
    Added,
    /// Started.
    Started,
    /// Stopped and started.
    Restarted,
    /// Stopped.
    Stopped,
    /// Stopped, and its specification removed.
    Removed,
}

/// `GET /v1/children/NAME/why`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyJson {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// The child.
    pub name: String,
    /// Where it is.
    pub phase: Phase,
    /// Why it is there.
    pub reason: Reason,
    /// Newest run, 0 before the first.
    pub run: u32,
    /// Its process.
    pub pid: Option<i32>,
    /// How long that process has existed.
    pub uptime_ms: Option<u64>,
    /// The sibling whose start or stop it waits for, or a request about it does.
    pub waits_for: Option<String>,
    /// In how many milliseconds what it waits for is over at the latest (a backoff, a timeout).
    pub until_ms: Option<u64>,
    /// Which process of it, or below it, KILL has not ended, with its PID and the kernel's state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unkillable: Option<String>,
    /// How its newest ended run ended.
    pub last_exit: Option<ExitJson>,
    /// Why its newest start attempt failed, if it did.
    pub last_failure: Option<String>,
    /// Its supervisor; null of the root.
    pub supervisor: Option<String>,
    /// Restarts that its supervisor still grants now ...
    pub restarts_left: u32,
    /// ... of so many ...
    pub intensity: u32,
    /// ... in any window of this length, for all its children together.
    pub period_ms: u64,
    /// In how many milliseconds the oldest counted restart leaves the window; null when none is counted.
    pub window_moves_ms: Option<u64>,
}

/// Why a child is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It was started and has not ended.
    Runs,
    /// A start attempt is under way.
    Starts,
    /// Its turn in the start order has not come.
    WaitsForTurn,
    /// It ended, and its restart waits for its time.
    Backoff,
    /// It ended, or the round of a sibling takes it along: it is restarted.
    Restarts,
    /// A health check failed.
    Unhealthy,
    /// It is being stopped.
    Stops,
    /// Somebody asked for it.
    StoppedByRequest,
    /// Its supervisor stopped it: in a round that did not come to its start again, or because it ended itself.
    StoppedBySupervisor,
    /// It had no process when the supervisor process lost its journal, and is not started by itself.
    StateLost,
    /// Its start condition said no.
    Ignored,
    /// Its start failed and was not to be retried.
    StartFailed,
    /// Added by a reload and never started.
    Added,
    /// It ended by itself and is not to be restarted.
    Ended,
    /// It needed more restarts than its supervisor grants.
    GivenUp,
}

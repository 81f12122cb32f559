//! Every request the supervisor process answers and every shape it answers with. A closed set.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, oneshot};

use super::admin::{Add, Apply, CountsJson, DiagnosticJson, PlanJson, ReloadJson, ScaleJson, WhyJson};
use super::history::PastExitJson;
use super::logs::LogLineJson;
use crate::capture::Source;
use crate::rules::Phase;
use crate::text;

/// Version of every JSON shape. Fields may be added, never renamed.
pub const VERSION: u32 = 1;

/// One request with the way back. The server hands these to the supervisor's loop over a bounded channel.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes; a caller that has gone away is no error.
    pub reply: oneshot::Sender<Result<Response, ApiError>>,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `GET /v1/tree`.
    Tree,
    /// Everything the process table needs to know beside the kernel's tables (for `GET /v1/ps`).
    Members,
    /// `GET /v1/children/NAME`.
    Child(String),
    /// `POST /v1/children/NAME/start`: OTP `restart_child`.
    Start(String),
    /// `POST /v1/children/NAME/stop`: OTP `terminate_child`.
    Stop(String),
    /// `POST /v1/children/NAME/restart`.
    Restart(String),
    /// `POST /v1/children/NAME/signal` with `{"signal": 15}` or `{"signal": "TERM"}`: to the main process.
    Signal(String, i32),
    /// `GET /v1/children/NAME/why`.
    Why(String),
    /// `GET /v1/counts`, `GET /v1/counts/NAME`: OTP `count_children` of this supervisor, or of the root.
    Counts(Option<String>),
    /// `POST /v1/children`: OTP `start_child`.
    Add(Add),
    /// `DELETE /v1/children/NAME`: OTP `delete_child`.
    Remove(String),
    /// `POST /v1/scale`: so many instances of this child there shall be.
    Scale(String, u32),
    /// `GET /v1/plan`: what a reload would do.
    Plan,
    /// `POST /v1/reload`: read the config file again.
    Reload(Apply),
    /// `POST /v1/down`: stop everything; answered when the stop has begun.
    Down,
    /// `GET /v1/events`: the event stream from now on, or `?since=SEQ`: after this event, as far as it is remembered (0:
    /// all that is).
    Events {
        /// The last event the caller knows.
        since: Option<u64>,
    },
    /// Where this child's output is (for `GET /v1/logs/NAME`).
    Logs(String),
    /// Where the history is (for `GET /v1/history`).
    History,
    /// `GET /healthz`.
    Health,
    /// `GET /v1/about`: the supervisor process itself.
    About,
    /// `POST /v1/upgrade` with `{"binary": "/path"}`: this program for the supervisor process; answered when it has passed
    /// the examination. What became of it stands in `About` then.
    Upgrade(PathBuf),
}

/// What is answered.
#[derive(Debug)]
pub enum Response {
    /// To `Tree`.
    Tree(TreeJson),
    /// To `Members`: project name and rows.
    Members(String, Vec<Member>),
    /// To the mutating verbs: the child as it is now.
    Child(ChildJson),
    /// To `Why`.
    Why(Box<WhyJson>),
    /// To `Counts`.
    Counts(CountsJson),
    /// To `Scale`.
    Scale(ScaleJson),
    /// To `Plan`.
    Plan(PlanJson),
    /// To `Reload`.
    Reload(ReloadJson),
    /// To `Child`: the same, and what is needed to tell more of it.
    Status(ChildJson, OutputState),
    /// To `Down`, `Health` and `Upgrade`.
    Done,
    /// To `About`.
    About(AboutJson),
    /// To `Events`: JSON objects, one a message, without a newline.
    Events {
        /// What has happened.
        past: Vec<String>,
        /// What happens, without a gap between.
        coming: broadcast::Receiver<String>,
    },
    /// To `Logs`: its files; none if its output is not captured.
    Logs(Vec<Source>),
    /// To `History`: the log directory.
    History(PathBuf),
}

/// Where a child's output is, and how it flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputState {
    /// The log directory, where the history is.
    pub log_dir: PathBuf,
    /// Its files; none if its output is not captured.
    pub sources: Vec<Source>,
    /// Why it waits, while it does.
    pub stalled: Option<String>,
    /// How often it had to wait.
    pub stalls: u64,
}

/// Who stands in the process table, by our own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `keeper`, `supervisor` or the child's name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Phase of a child.
    pub phase: Option<Phase>,
    /// Its process; `None` for a child without one.
    pub pid: Option<i32>,
    /// Run number (of the supervisor process: how many there have been).
    pub run: u32,
    /// Automatic restarts.
    pub restarts: u32,
    /// By what its descendants are known that have lost their parents.
    pub marks: Option<Marks>,
}

/// What the descendants of a child have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Part of the path of their control group.
    pub group: String,
    /// How an entry in their environment begins.
    pub entry: String,
}

/// `role` in the process table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The launcher's own process.
    Keeper,
    /// The supervisor process.
    Supervisor,
    /// A child.
    #[default]
    Child,
    /// Forked by a child.
    Descendant,
}

/// `GET /v1/ps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PsJson {
    /// [`VERSION`].
    pub version: u32,
    /// Project name.
    pub project: String,
    /// One row a process, a child's descendants right after it.
    pub processes: Vec<ProcessJson>,
}

/// One row of the process table, read from the kernel. Without a process all kernel fields are null
/// (`start_ticks` among them; `pid` is then what our own account says).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessJson {
    /// Child name, `keeper`, `supervisor`; a descendant has the name of its child.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Phase of a child.
    pub phase: Option<Phase>,
    /// Process id.
    pub pid: Option<i32>,
    /// Parent.
    pub ppid: Option<i32>,
    /// Process group.
    pub pgid: Option<i32>,
    /// Session.
    pub sid: Option<i32>,
    /// Controlling terminal (`pts/3`), null without one.
    pub tty: Option<String>,
    /// State letter as in `ps(1)`.
    pub state: Option<String>,
    /// Start time, RFC 3339.
    pub start_time: Option<String>,
    /// Start time in clock ticks since boot: with the pid, the identity of a process.
    pub start_ticks: Option<u64>,
    /// Milliseconds since its start.
    pub uptime_ms: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Resident set size.
    pub rss_bytes: Option<u64>,
    /// Proportional set size; null where the kernel does not let us read it.
    pub pss_bytes: Option<u64>,
    /// Resident memory that no other process maps; null like `pss_bytes`.
    pub private_bytes: Option<u64>,
    /// CPU time over life time, as `ps(1)`.
    pub cpu_percent: Option<f64>,
    /// Open descriptors; null where not readable.
    pub fds: Option<u64>,
    /// Executable file.
    pub exe: Option<String>,
    /// Command line.
    pub cmdline: Option<String>,
    /// Run number.
    pub run: Option<u32>,
    /// Automatic restarts.
    pub restarts: Option<u32>,
}

/// `GET /v1/tree`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeJson {
    /// [`VERSION`].
    pub version: u32,
    /// Project name.
    pub project: String,
    /// The root.
    pub root: ChildJson,
}

/// `GET /v1/children/NAME`, and the answer to every verb that changes a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusJson {
    /// [`VERSION`].
    pub version: u32,
    /// The child as it is now.
    pub child: ChildJson,
    /// The last exit of a child of this name, under this launcher or an earlier one. Only of `GET /v1/children/NAME`, like
    /// what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<PastExitJson>,
    /// Its last lines of output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<LogLineJson>,
    /// Why its output waits, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_stalled: Option<String>,
    /// How often its output had to wait since the supervisor process began.
    #[serde(default)]
    pub log_stalls: u64,
}

impl StatusJson {
    /// The child alone.
    #[must_use]
    pub fn new(child: ChildJson) -> StatusJson {
        StatusJson {
            version: VERSION,
            child,
            last_exit: None,
            log_tail: Vec::new(),
            log_stalled: None,
            log_stalls: 0,
        }
    }
}

/// `GET /v1/about`: the supervisor process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AboutJson {
    /// [`VERSION`].
    pub version: u32,
    /// Project name.
    pub project: String,
    /// Version of the program it runs.
    pub program_version: String,
    /// Its process.
    pub pid: i32,
    /// How many supervisor processes this launcher has had, this one included.
    pub incarnation: u32,
    /// Why it starts nothing; absent in ordinary operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe_mode: Option<String>,
    /// What became of the newest change of program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeJson>,
    /// `sd_notify` messages that this supervisor process ignored: not from the child that they were about, or no messages.
    pub ignored_notifications: u64,
}

/// What became of a change of program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeJson {
    /// The first supervisor process after it.
    pub incarnation: u32,
    /// Why the program before is back; absent if the new one took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl UpgradeJson {
    /// The new program ended with this wait status before it had taken over.
    #[must_use]
    pub fn failed(incarnation: u32, status: i32) -> UpgradeJson {
        let how = crate::os::wait::describe(status);
        let failure = format!("the new program ended with {how} before it had taken over");
        UpgradeJson { incarnation, failure: Some(failure) }
    }
}

/// The answer to requests that answer nothing else: `POST /v1/down`, `POST /v1/upgrade`, `GET /healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneJson {
    /// [`VERSION`].
    pub version: u32,
}

/// A child as in `tree`; a supervisor has the `supervisor` part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildJson {
    /// Name; the root's is the project's.
    pub name: String,
    /// `worker` or `supervisor`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Restart type.
    pub restart: crate::rules::Restart,
    /// Whether significant.
    pub significant: bool,
    /// Phase.
    pub phase: Phase,
    /// Process id, null without a process.
    pub pid: Option<i32>,
    /// Newest run, 0 before the first.
    pub run: u32,
    /// Automatic restarts.
    pub restarts: u32,
    /// How the newest ended run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<ExitJson>,
    /// What that run left running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<LeftJson>,
    /// What it runs and how it is stopped; only in the answer to `GET /v1/children/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Box<SpecJson>>,
    /// Only of supervisors.
    #[serde(flatten)]
    pub supervisor: Option<SupervisorJson>,
}

/// What a run left running when its process ended, and was killed for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftJson {
    /// The first of them.
    pub processes: Vec<LeftProcessJson>,
    /// How many more.
    pub more: u32,
}

/// A process that was left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftProcessJson {
    /// Process id.
    pub pid: i32,
    /// Its name in the process table.
    pub name: String,
}

impl std::fmt::Display for LeftJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = self
            .processes
            .iter()
            .map(|left| format!("{} (PID {})", text::escaped(left.name.as_bytes()), left.pid));
        let named: Vec<String> = named.collect();
        f.write_str(&named.join(", "))?;
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

/// The part of a child's specification that [`ChildJson`] does not have. (OTP `get_childspec`.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecJson {
    /// Program and arguments; null for a supervisor.
    pub command: Option<Vec<String>>,
    /// How it is stopped.
    pub shutdown: ShutdownJson,
}

/// `"brutal_kill"`, or the polite steps before KILL: `[{"signal":"TERM","wait_ms":5000}]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ShutdownJson {
    /// Killed at once.
    Word(BrutalKill),
    /// Asked step by step.
    Steps(Vec<StepJson>),
}

/// The word `brutal_kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrutalKill {
    /// The word.
    BrutalKill,
}

/// One polite step of a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepJson {
    /// The signal's name.
    pub signal: String,
    /// How long it has; null: for ever (OTP `infinity`).
    pub wait_ms: Option<u64>,
}

/// The part of [`ChildJson`] that only supervisors have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupervisorJson {
    /// Strategy.
    pub strategy: crate::rules::Strategy,
    /// Intensity.
    pub intensity: u32,
    /// Period in milliseconds.
    pub period_ms: u64,
    /// Restarts left in the window that ends now.
    pub restarts_left: u32,
    /// Children in start order.
    pub children: Vec<ChildJson>,
}

/// How a process ended: `{"code":1}`, `{"signal":9,"name":"SIGKILL","core":false}` or `{"unknown":true}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ExitJson {
    /// `exit(code)`.
    Code {
        /// The code.
        code: u8,
    },
    /// Killed.
    Signal {
        /// Number.
        signal: i32,
        /// Name, as `SIGKILL`.
        name: String,
        /// Core dumped.
        core: bool,
    },
    /// The status could not be had.
    Unknown {
        /// Always true.
        unknown: bool,
    },
}

/// A refused or failed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Which kind.
    pub code: ErrorCode,
    /// One sentence: what is wrong and what to do.
    pub message: String,
    /// The name it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is wrong with a file, complaint by complaint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<DiagnosticJson>,
}

impl ApiError {
    /// An error about no child in particular.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into(), name: None, diagnostics: Vec::new() }
    }
}

/// The body of a refused request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorJson {
    /// [`VERSION`].
    pub version: u32,
    /// The error.
    pub error: ApiError,
}

/// OTP's error words and ours. Each maps to one HTTP status and one exit code of the verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No such child.
    NotFound,
    /// The name is taken by a running child.
    AlreadyStarted,
    /// The name is kept without a process.
    AlreadyPresent,
    /// Is running.
    Running,
    /// Is restarting.
    Restarting,
    /// The start came to nothing.
    StartFailed,
    /// Has no process.
    NotRunning,
    /// The request makes no sense.
    BadRequest,
    /// The config file is not acceptable.
    BadConfig,
    /// Took too long.
    Timeout,
    /// Not allowed.
    NotPermitted,
    /// Our fault.
    Internal,
}

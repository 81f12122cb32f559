//! The control API: HTTP/1.1 with JSON over `RUN_DIR/control.sock`, its server and its client.
//!
//! `api.rs` is the one list of requests and shapes (those of administration are in `admin.rs`, request bodies in
//! `body.rs`), `event.rs` that of events. `server.rs` lets connections in,
//! `route.rs` and `answer.rs` turn HTTP into [`Request`]s for the supervisor's loop and back, `ps.rs` joins the loop's account with the kernel's tables,
//! `logs.rs` and `history.rs` read what is kept in files, `client.rs` is what the verbs use. Nothing here decides what happens to a child, and a slow or hostile client costs
//! nobody else anything: every buffer, wait and number of connections is bounded.

mod access;
mod admin;
mod answer;
mod api;
mod body;
mod client;
mod deadline;
mod event;
mod history;
mod logs;
mod places;
mod ps;
mod route;
mod server;
mod signal;
mod stream;

pub use access::{Access, GroupAccess};
pub use admin::{
    Add, Apply, ChangeJson, ChangeKind, CountsJson, Deed, DiagnosticJson, KeyJson, OutcomeJson, PlanJson,
    Reason, ReloadJson, ScaleJson, WhyJson,
};
pub use api::{
    AboutJson, ApiError, BrutalKill, Call, ChildJson, DoneJson, ErrorCode, ErrorJson, ExitJson, LeftJson,
    LeftProcessJson, Marks, Member, OutputState, ProcessJson, PsJson, Request, Response, Role, ShutdownJson,
    SpecJson, StatusJson, StepJson, SupervisorJson, TreeJson, UpgradeJson, VERSION,
};
pub use client::{Client, ClientError, EventReader, Heard, NoLauncher};
pub use event::{Ending, EventJson, EventKind, Level, Replaced};
pub use history::{DEFAULT_EXITS, HISTORY, HistoryJson, PastExitJson, UsageJson, read_history};
pub use logs::{DEFAULT_LINES, LogLineJson, parse_since};
pub use ps::{Totals, ps};
pub use server::{descriptors, serve};
pub use signal::{UnknownSignal, parse_signal};

/// The control socket's name in the run directory.
pub const SOCKET: &str = "control.sock";

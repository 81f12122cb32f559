//! The control API: HTTP/1.1 with JSON over `RUN_DIR/control.sock`, its server and its client.
//!
//! `api.rs` is the one list of requests and shapes; `server.rs` turns HTTP into [`Request`]s for the supervisor's loop,
//! `client.rs` is what the verbs use. A slow or hostile client costs nobody else anything.

mod api;
mod event;

pub use event::{EventJson, EventKind, Replaced};
pub use api::{
    ApiError, Call, ChildJson, ErrorCode, ErrorJson, ExitJson, Member, ProcessJson, PsJson, Request,
    Response, Role, SupervisorJson, TreeJson, VERSION,
};

//! The first process: parent of everything, holder of everything that must outlive the supervisor process.
//!
//! Single-threaded, no tokio, fixed tables, nothing allocated after start. It knows no config and takes no decision beyond:
//! reap, keep exit facts until acknowledged, hold descriptors, and start the supervisor process again when it is gone.
//!
//! `protocol.rs` is the one list of packets; `link.rs` is the supervisor's end of the socket.

mod protocol;

pub use protocol::{ExitRecord, FromKeeper, Key, ToKeeper};

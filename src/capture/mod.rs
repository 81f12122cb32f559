//! Output of children: from their pipes to files, without loss, with constant memory.
//!
//! The keeper holds the read end of every pipe, so output waits there while no supervisor process lives. Bytes move by
//! `splice(2)`: they are either still in the pipe or in the file, never in a process that can be killed.
//!
//! `log.rs` is a file with its rotation, `tap.rs` one run's pipe into it.

mod log;
mod tap;

pub use log::{Log, Moved};
pub use tap::Tap;

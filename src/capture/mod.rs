//! Output of children: from their pipes to files, without loss and with constant memory, and from the files to readers.
//!
//! The keeper holds the read end of every pipe, so output waits there while no supervisor process lives. Bytes move by
//! `splice(2)`: they are either still in the pipe or in the file, never in a process that can be killed. What a child
//! writes is nobody's business here: bytes go to the file as they are, and only readers know of lines.
//!
//! Writing: `tap.rs` is one run's pipe, `log.rs` the file it goes into, `index.rs` the times beside the file, `file.rs` how
//! files are opened and what they are called when they are rotated. Reading: `cursor.rs` is a place in one log, over its
//! rotations, `reader.rs` several logs as one stream of lines. Readers need no supervisor process.

mod cursor;
mod file;
mod index;
mod log;
mod reader;
mod tap;
#[cfg(test)]
mod tests;

pub use file::{LOG_DIR_MODE, numbered, open_for_reading, open_own, open_own_for_appending, shift};
pub use log::{Limits, Log, Moved};
pub use reader::{Line, Reader, Source, Start};
pub use tap::Tap;

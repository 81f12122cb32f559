//! Where the engine keeps what happened: a log of everything, and now and then a snapshot of what it came to.
//!
//! ```text
//! DIR/lock                  held by the engine that writes here; says who that is
//! DIR/log-SEQUENCE          groups of entries, the first with that sequence number
//! DIR/snapshot-SEQUENCE     the tables as they are before that entry
//! ```
//!
//! **What is promised.** [`Store::append`] collects the entries of one turn of the engine, [`Store::commit`] writes them
//! as one group, and only then the replies of that turn leave. With [`Durability::Process`] an acknowledged entry is in
//! the kernel by then and survives the end of any process; with [`Durability::Power`] it is on the disk.
//!
//! **Opening** reads the newest snapshot and the entries after it. What was written after the last sync may end anywhere:
//! the log is cut there, and that is told. Groups say how far the log was synced when they were begun; what cannot be read
//! before that is damage. Then nothing is opened and the place is named: going on without what was acknowledged is not an
//! engine's decision. A person may take it: [`Repair`] says what would be lost, and does it. What is kept is synced before
//! anything of it is acknowledged again. With [`Durability::Process`] a power failure can take what was acknowledged since
//! the last segment was synced, from its end, and never from the middle.
//!
//! **A full disk.** Room is reserved before an entry is accepted, so that a group that was begun can be written. Without
//! room the entry is refused and nothing has changed; when there is room again it goes on. After any other error nobody
//! knows what the disk holds: the engine must end, and reading the log again tells.
//!
//! Why files of our own and not an embedded database: fjall 3.1 was tried first, and after one flipped bit in the middle
//! of its journal it opened without an error and without the 6,000 of 10,000 records behind it. A log must rather refuse.

use std::path::PathBuf;

mod aside;
mod disk;
mod files;
mod group;
mod lock;
mod log;
mod recovery;
mod repair;
mod snapshot;

#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod tests;

pub use aside::Dropped;
pub use log::Store;
pub use recovery::{Contents, Reading, read};
pub use repair::Repair;
pub use snapshot::fingerprint;

/// What an acknowledged entry survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of any process: written before the reply.
    Process,
    /// The end of the power supply: on the disk before the reply.
    Power,
}

/// There is no room for another entry, which therefore has not happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another engine writes there.
    #[error("another engine (pid {pid}) uses the store {}; stop it first, or give this one a store of its own", .dir.display())]
    InUse {
        /// The store.
        dir: PathBuf,
        /// Who, as far as it has said so.
        pid: String,
    },
    /// Something in the middle cannot be read.
    #[error("{} is damaged at byte {offset}: {what}; nothing was changed. Restore the store from a copy, or see what `reddit-engine repair` can save of it", .file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// How.
        what: String,
    },
    /// It was kept by an engine of another version, and is whole as far as that goes.
    #[error("{} is of an older version of reddit-engine (its form is {found}, this one reads {}); nothing was changed. Use that version, or give this one a store of its own", .file.display(), files::FORM)]
    Older {
        /// Which file.
        file: PathBuf,
        /// Its form.
        found: u8,
    },
    /// The operating system refused something.
    #[error("cannot {what} {}: {error}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
}

impl OpenError {
    fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> OpenError {
        let path = path.into();
        move |error| OpenError::Io { what, path, error }
    }
}

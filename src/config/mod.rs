//! `supervisor.toml` to a checked [`Project`]: the rules' specification of the tree, and for each worker what to run.
//!
//! Starts nothing and changes nothing. Every complaint is a [`Diagnostic`] with file, line, column, the offending text
//! and what to write instead; all complaints of a file are reported, in the order of its lines. What a config file may
//! say stands in one place, `keys.rs`; a key that is not read there is refused, never ignored.
//!
//! The way of a file: `locate` finds it, `read` and `safety` open it, `document` parses it, `table` hands out its values
//! with their places, `root` and `child` turn them into specifications, `tree` puts these together and checks what only
//! the whole can tell, `lint` warns. `addition`
//! reads a child that comes later, `difference` compares two readings. Read on in `keys.rs`, then `root.rs`.

mod account;
mod addition;
mod backoff;
mod child;
mod claims;
mod command;
mod context;
mod diagnostic;
mod difference;
mod document;
mod duration;
mod expand;
mod explain;
mod flags;
mod keys;
mod limits;
mod lint;
mod listen;
mod load;
mod locate;
mod name;
mod output;
mod process;
mod project;
mod read;
mod ready;
mod report;
mod root;
mod safety;
mod signal;
mod size;
mod stop;
mod table;
mod tree;
mod value;

pub use addition::{Addition, parse_addition, read_addition};
pub use context::Context;
pub use diagnostic::Diagnostic;
pub use difference::{Difference, Settings, When, differences};
pub use explain::explain;
pub use load::{Loaded, load, parse, scaled};
pub use locate::{CONFIG_VARIABLE, DEFAULT_FILE, locate};
pub use name::is_child_name;
pub use process::MOST_INSTANCES;
pub use project::{
    Account, ControlGroup, GroupMay, Inherit, KeeperLoss, KillMode, Limits, Listen, LogFile, Login, Output,
    ProcessSpec, Project, Ready, ReadyKind, StderrMode,
};
pub use root::{Place, place_of};
pub use safety::why_not_obeyed;

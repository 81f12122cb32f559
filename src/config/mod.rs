//! `supervisor.toml` to a checked [`Project`]: the rules' specification of the tree, and for each worker what to run.
//!
//! Starts nothing and changes nothing. Every complaint is a [`Diagnostic`] with file, line, column, the offending text
//! and what to write instead.

mod diagnostic;
mod project;

pub use diagnostic::Diagnostic;
pub use project::{
    Inherit, KeeperLoss, Listen, LogFile, Output, ProcessSpec, Project, Ready, ReadyKind, StderrMode,
};

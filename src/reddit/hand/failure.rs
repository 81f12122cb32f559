//! What can go wrong for a person, in words, and the exit code of each.

use std::io;

use crate::node::{CallError, ConnectError, StartError};
use crate::reddit::Exit;
use crate::reddit::model::Error;

/// Why a verb was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no engine. Nothing was asked.
    #[error("engine not available: {0}")]
    NoEngine(String),
    /// There was one when it was asked, and its answer did not come. Whether it did what it was asked is unknown.
    #[error("engine not available: no answer, and it may have been done: {0}")]
    NoAnswer(String),
    /// The engine is there and does not talk with this program.
    #[error("the engine cannot be used: {0}")]
    Incompatible(String),
    /// The engine answered that it may not be.
    #[error("{0}")]
    Refused(#[from] Error),
    /// Posts that were shown are not what their authors signed.
    #[error("{}", doubts(*.0))]
    Doubtful(usize),
    /// The request cannot be made at all.
    #[error("{0}")]
    Impossible(CallError),
    /// What was typed makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file of the person's cannot be used.
    #[error("{what}: {error}")]
    File {
        /// What was tried.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is no node.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Failure::NoEngine(_) | Failure::NoAnswer(_) => Exit::EngineUnavailable,
            Failure::Incompatible(_) => Exit::Incompatible,
            Failure::Refused(_) | Failure::Doubtful(_) | Failure::Impossible(_) => Exit::Failed,
            Failure::Usage(_) => Exit::Usage,
            Failure::File { .. } => Exit::System,
            Failure::Start(error) => Exit::of_start(error),
        }
    }
}

fn doubts(posts: usize) -> String {
    match posts {
        1 => "1 post is not certainly what its author signed".to_owned(),
        posts => format!("{posts} posts are not certainly what their authors signed"),
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Failure {
        if error.is_temporary() {
            Failure::NoEngine(error.to_string())
        } else {
            Failure::Incompatible(error.to_string())
        }
    }
}

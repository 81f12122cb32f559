//! An engine that runs, asked what it is.

use std::fmt;
use std::time::Duration;

use super::CheckError;
use crate::node::{Identity, Listen, Options, blocking};
use crate::reddit::Whereabouts;
use crate::reddit::model::check::{Examination, Violation};
use crate::reddit::protocol::{Actor, Answer, EngineRequest, Envelope, Reply, Request, Stats};
use crate::reddit::store::Contents;

/// How long a large engine may take to look at itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a running engine counts.
#[derive(Debug, serde::Serialize)]
pub struct Counters {
    /// Its process.
    pub pid: u32,
    /// What it said.
    #[serde(flatten)]
    pub stats: Stats,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { users, subreddits, posts, comments, votes, messages, sessions, .. } = self.stats;
        let Stats { requests, misunderstood, turns, records, groups, syncs, repeated, position, .. } =
            self.stats;
        writeln!(
            f,
            "users {users}, {sessions} of them online, subreddits {subreddits}, posts {posts}, comments {comments}, votes \
             {votes}, messages {messages}"
        )?;
        write!(
            f,
            "since it started, pid {} answered {requests} requests in {turns} turns, {repeated} of them not for the first \
             time and {misunderstood} not understood; {records} records",
            self.pid
        )?;
        if groups > 0 {
            let mean = records as f64 / groups as f64;
            write!(
                f,
                " in {groups} groups of {mean:.1} on average, {syncs} syncs; {position} records in its store"
            )?;
        }
        Ok(())
    }
}

/// Asks a running engine for its counters.
///
/// # Errors
/// It cannot be asked.
pub fn counters(engine: &Whereabouts) -> Result<Counters, CheckError> {
    match ask(engine, "stats", EngineRequest::Stats)? {
        (engine, Reply::Engine(stats)) => Ok(Counters { pid: engine.pid, stats }),
        _ => Err(other_answer()),
    }
}

pub(super) fn examine(engine: &Whereabouts) -> Result<Examination, CheckError> {
    match ask(engine, "check", EngineRequest::Examine)? {
        (_, Reply::Examined(examined)) => Ok(examined),
        _ => Err(other_answer()),
    }
}

fn ask(engine: &Whereabouts, role: &str, request: EngineRequest) -> Result<(Identity, Reply), CheckError> {
    let failed = |error: &dyn std::error::Error| CheckError::Engine(error.to_string());
    let options = Options { listen: Listen::Nowhere, ..engine.options() };
    let name = format!("{role}-{}", std::process::id());
    let node = blocking::Node::start_with(&name, options).map_err(|error| failed(&error))?;
    let identity = node.connect(engine.node()).map_err(|error| failed(&error))?;
    let request: Envelope = Request::Engine(request).into();
    let answer: Answer =
        node.call(Actor::Engine.name(), request, PATIENCE).map_err(|error| failed(&error))?;
    answer.map(|reply| (identity, reply)).map_err(|error| failed(&error))
}

fn other_answer() -> CheckError {
    CheckError::Engine("it gave another answer".to_owned())
}

/// The moment at which the engine looked must be one that its store has.
pub(super) fn must_be_of(
    engine: &Examination,
    contents: &Contents,
    compared: bool,
) -> Result<(), CheckError> {
    let (position, next) = (engine.position, contents.next);
    match compared {
        true => Ok(()),
        false if position > next => {
            let example = format!("the engine keeps {position} records, its store holds {next}");
            Err(Violation { invariant: "I16", example }.into())
        }
        // A snapshot was made between the two looks.
        false => Err(CheckError::Engine(format!(
            "since it looked at itself after {position} records, a snapshot of its store took their place; try again"
        ))),
    }
}

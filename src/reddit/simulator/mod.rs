//! Simulated users: one process is a crowd of people who register, join, post, vote and read.
//!
//! What each of them wants to do next is a function of the seed, the client's name, the user and the number of the
//! action (`plan`), so the same crowd does the same things again. What comes of it depends on what the engine
//! answers: people vote on what their feed showed them.
//!
//! A crowd outlives its engine. When the connection is lost it comes back as soon as an engine answers, registers and
//! joins again if that engine does not know it (asking twice does no harm), and goes on.
//!
//! Read `plan` (what is wanted), then `crowd` (what is done), then `client` (the process).

mod client;
mod crowd;
mod name;
mod pace;
mod plan;
mod population;
mod report;
mod stop;
mod text;
mod user;

use std::time::Duration;

use super::Whereabouts;

pub use client::run;

/// What one client process is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The engine.
    pub engine: Whereabouts,
    /// The node name, `client@1`. Users are named after it, so several clients do not collide and a restarted one finds
    /// its users again.
    pub name: String,
    /// How many users.
    pub users: u32,
    /// Chooses everything they do, together with the name.
    pub seed: u64,
    /// Actions in flight at once; never more than users.
    pub depth: u16,
    /// Actions a second at most; `None`: each user acts again as soon as the last action is answered.
    pub rate: Option<u32>,
    /// How long to act, not counting what comes before the first action; `None`: until asked to stop.
    pub duration: Option<Duration>,
    /// What to do without an engine.
    pub patience: Patience,
}

/// What to do without an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Try again until there is one.
    Endless,
    /// Fail.
    Once,
}

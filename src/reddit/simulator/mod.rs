//! Simulated users: one process is a crowd of people who register, join, post, vote, write to each other and read.
//!
//! What each of them wants to do next is a function of the seed, the client's name, the user and the number of the
//! action (`plan`), so the same crowd wants the same things again. What comes of it depends on what the engine
//! answers: people vote on what their feed showed them. In lockstep nothing depends on how fast anything is, and two
//! runs at two new engines do the same to the last byte.
//!
//! Users come and go (`presence`): who is away is logged out, and nothing is asked for them.
//!
//! A crowd outlives its engine. When the connection is lost it comes back as soon as an engine answers, asks again, under
//! their old names (`names`), for the writes whose answers were lost, and goes on; at an engine that has forgotten
//! everything it registers and joins anew. What was acknowledged can be kept in a ledger, which
//! [`check`](super::model::check) holds against the engine's store.
//!
//! Read `plan` (what is wanted), then `user` (what of that can be done), `crowd` (what is done), `client` (the process)
//! and `report` (what is told).

mod arguments;
mod client;
mod crowd;
mod kind;
mod ledger;
mod name;
mod names;
mod pace;
mod plan;
mod population;
mod presence;
mod progress;
pub mod report;
mod stop;
mod text;
mod trace;
mod usage;
mod user;

use std::path::PathBuf;
use std::time::Duration;

use super::Whereabouts;

pub use arguments::Arguments;
pub use client::{run, start};
pub use kind::Mix;
pub use population::Shape;

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
    /// How many subreddits, and how members are spread over them.
    pub shape: Shape,
    /// What the users wish for.
    pub mix: Mix,
    /// Chooses everything they do, together with the name.
    pub seed: u64,
    /// Actions in flight at once; never more than users.
    pub depth: u16,
    /// Actions begin at given moments, so many a second; `None`: each as soon as one before it is answered.
    pub rate: Option<u32>,
    /// How long a user thinks after an action before the next, on average; `None`: not at all.
    pub think: Option<Duration>,
    /// How many times as long texts are.
    pub text_scale: f64,
    /// How many of all users sign their posts, 0 to 1.
    pub signed: f64,
    /// How many times as long users stay and are away.
    pub time_scale: f64,
    /// How long to act before anything is measured.
    pub warm_up: Duration,
    /// How long to measure, not counting what comes before; `None`: until asked to stop.
    pub duration: Option<Duration>,
    /// How many actions to do; `None`: no limit.
    pub actions: Option<u64>,
    /// One action after the other, and nothing depends on time.
    pub lockstep: bool,
    /// Close the connection about that often, and open another.
    pub drop_every: Option<Duration>,
    /// Write every acknowledged operation into this file before it counts.
    pub ledger: Option<PathBuf>,
    /// Write every request into this file.
    pub trace: Option<PathBuf>,
    /// Write the report into this file.
    pub report_json: Option<PathBuf>,
    /// What to do without an engine.
    pub patience: Patience,
}

impl Options {
    /// A thousand users of `engine`, at a pace that leaves the machine to others, until asked to stop.
    #[must_use]
    pub fn new(engine: Whereabouts, name: String) -> Options {
        Options {
            engine,
            name,
            users: 1000,
            shape: Shape::default(),
            mix: Mix::default(),
            seed: 1,
            depth: 16,
            rate: Some(arguments::RATE),
            think: None,
            text_scale: 1.0,
            signed: 0.0,
            time_scale: 1.0,
            warm_up: Duration::ZERO,
            duration: None,
            actions: None,
            lockstep: false,
            drop_every: None,
            ledger: None,
            trace: None,
            report_json: None,
            patience: Patience::Endless,
        }
    }
}

/// What to do without an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Try again until there is one.
    Endless,
    /// Fail.
    Once,
}

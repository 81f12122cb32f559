//! The command line of `reddit-client simulate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};

use super::{Mix, Options, Patience, Shape};
use crate::node::Identity;
use crate::reddit::Whereabouts;

/// Actions a second where nothing is said.
pub(super) const RATE: u32 = 500;

/// How a crowd is to be.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The engine: the name of its node, or the path of its socket.
    #[arg(long, value_name = "ENGINE", default_value_t)]
    pub engine: Whereabouts,

    /// How many users to simulate.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub users: u32,

    /// How many subreddits there are, shared with all clients.
    #[arg(long, value_name = "K", default_value_t = 200, value_parser = value_parser!(u16).range(1..=10_000))]
    pub subreddits: u16,

    /// Exponent of Zipf's law of their sizes: the one of rank r has r to the power of minus S times the members of the
    /// first.
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = exponent)]
    pub zipf: f64,

    /// How many subreddits a user joins on average.
    #[arg(long, value_name = "J", default_value_t = 5.0, value_parser = positive)]
    pub joins: f64,

    /// What the users do.
    #[arg(long, value_name = "MIX", default_value_t)]
    pub mix: Mix,

    /// Chooses what the users do; the same seed and name want the same.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// Name of this client: its users are named after it [default: the first of client@1, client@2, ... that no other
    /// process has]
    #[arg(long, value_name = "NAME", value_parser = Identity::check_name)]
    pub name: Option<String>,

    /// Actions in flight at once.
    #[arg(long, value_name = "D", default_value_t = 16, value_parser = value_parser!(u16).range(1..=512))]
    pub depth: u16,

    /// Begin so many actions a second, at moments of their own, and count the latency from that moment, so that an
    /// action that begins late is late; 0 for as many as the engine answers [default: 500, which leaves the machine to
    /// others; with --think 0]
    #[arg(long, value_name = "R")]
    pub rate: Option<u32>,

    /// Users think between their actions, for times that are exponential with this mean and follow from the seed ("2s").
    /// Not together with a rate; in lockstep, where no time passes, nobody thinks.
    #[arg(long, value_name = "MEAN", value_parser = humantime::parse_duration)]
    pub think: Option<Duration>,

    /// Posts have about 160 bytes, comments and messages 70; make them so many times as long.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = length)]
    pub text_scale: f64,

    /// This part of all users, 0 to 1, registers with a P-256 key that is drawn from the seed, and signs every post. What is
    /// signed is verified by every client that reads it in a feed, with or without this. Signatures are never twice the
    /// same, so there is no lockstep with it.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.0, value_parser = fraction, conflicts_with = "lockstep")]
    pub signed: f64,

    /// Users stay a minute and are away half a minute, on average; make both so many times as long.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    pub time_scale: f64,

    /// Act so long before anything is measured ("2s").
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub warm_up: Duration,

    /// Stop after measuring for so long ("30s", "5min"); registering, waiting for an engine and warming up before it do
    /// not count.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,

    /// Stop after so many actions.
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub actions: Option<u64>,

    /// One action after the other, independent of time: one client at a new engine that runs in lockstep too makes the
    /// same tables every time, and tells their fingerprint. --rate says how many actions there are in a second of its
    /// clock.
    #[arg(long, requires = "actions", conflicts_with = "drop_every")]
    pub lockstep: bool,

    /// Close the connection about that often, and open another ("20s").
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub drop_every: Option<Duration>,

    /// Write down in this file, before it counts, what the engine says has happened. An earlier life's lines are kept.
    /// 'reddit-engine check --ledger' finds them again in the store.
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,

    /// Write every request into this file, and tell its hash.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Write the report into this file at the end, for 'reddit-client report'.
    #[arg(long, value_name = "FILE")]
    pub report_json: Option<PathBuf>,

    /// Do not wait for an engine: fail with code 69 when there is none, or when it is lost.
    #[arg(long)]
    pub once: bool,
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "this is not a number".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("it must be above 0".to_owned()),
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("it must be from 0 to 1".to_owned()),
    }
}

/// With the longest words the longest comment is still within its limit.
fn length(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number > 0.0 && number <= 45.0 => Ok(number),
        _ => Err("it must be above 0 and at most 45".to_owned()),
    }
}

fn exponent(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if (0.0..=5.0).contains(&number) => Ok(number),
        _ => Err("it must be from 0 to 5".to_owned()),
    }
}

impl Arguments {
    /// What does not go together and clap cannot see.
    ///
    /// # Errors
    /// A sentence about it.
    pub fn check(&self) -> Result<(), &'static str> {
        match (self.think, self.rate) {
            (Some(_), Some(1..)) if !self.lockstep => Err(
                "--think is for users who begin when they like: it does not go together with --rate above 0",
            ),
            _ => Ok(()),
        }
    }

    /// Actions a second.
    fn pace(&self) -> Option<u32> {
        let usual = if self.think.is_some() && !self.lockstep { 0 } else { RATE };
        Some(self.rate.unwrap_or(usual)).filter(|&rate| rate > 0)
    }

    /// What to do without an engine.
    #[must_use]
    pub fn patience(&self) -> Patience {
        if self.once { Patience::Once } else { Patience::Endless }
    }

    /// The options of a client that has this name.
    #[must_use]
    pub fn called(self, name: String) -> Options {
        let (patience, rate, typed) = (self.patience(), self.pace(), self);
        Options {
            engine: typed.engine,
            name,
            users: typed.users,
            shape: Shape { subreddits: typed.subreddits, exponent: typed.zipf, joins: typed.joins },
            mix: typed.mix,
            seed: typed.seed,
            depth: typed.depth,
            rate,
            think: typed.think.filter(|mean| !mean.is_zero() && !typed.lockstep),
            text_scale: typed.text_scale,
            signed: typed.signed,
            time_scale: typed.time_scale,
            warm_up: typed.warm_up,
            duration: typed.duration,
            actions: typed.actions,
            lockstep: typed.lockstep,
            drop_every: typed.drop_every,
            ledger: typed.ledger,
            trace: typed.trace,
            report_json: typed.report_json,
            patience,
        }
    }
}

//! What OTP's own supervisor did, case by case, and whether real processes under a real launcher do the same.
//!
//! `tests/otp/cases.jsonl` was measured on Erlang/OTP. `case.rs` reads it, `toml.rs` writes it as a config file, `world.rs`
//! runs it: each step's trace, replies, listing and counts are taken from three sources that must agree, provost's event
//! stream, the children's own log and `/proc`. The children are this very program (`probe.rs`).

mod case;
mod compare;
mod control;
mod events;
mod given;
mod log;
mod probe;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod trace;
mod world;

use std::path::Path;

use libtest_mimic::{Arguments, Trial};

/// Cases that run at the same time: they wait more than they work.
const THREADS: usize = 8;

/// Every case whose result is not the measured one, and why. Nothing else may differ.
const DIFFERENT: &[(&str, &str)] = &[
    ("A02", "a supervisor is no program of its own, so there is no init/1 that could say ignore"),
    (
        "E03",
        "exits that are pending together are handled in start order, as the kernel does not tell another",
    ),
];

fn main() {
    if let Some(dir) = std::env::var_os(probe::DIR) {
        probe::run(Path::new(&dir));
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let cases = case::all(DIFFERENT);
    let trials = cases.into_iter().map(|case| {
        let name = format!("{} {}", case.id, case.title);
        Trial::test(name, move || run::run(&case).map_err(Into::into))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

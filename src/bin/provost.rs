//! The launcher command: parses, dispatches, ends with an exit code.

use clap::Parser;
use provost::cli::{self, Args, Exit, Launch};

fn main() -> Exit {
    cli::run(Args::parse(), |file, launch| match launch {
        Launch::Up(args) => cli::up::run(file, args),
        Launch::Supervise(args) => cli::supervise::run(args),
    })
}

//! `reddit-client`: a process full of simulated users.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use provost::node::{Identity, Termination};
use provost::reddit::{Exit, Whereabouts, simulator};
use tokio::task::LocalSet;
use tracing_subscriber::EnvFilter;

/// Simulated users of a Reddit: they register, join subreddits, post, vote and read their feeds, and every second
/// one line tells how many actions the engine answered and how fast.
///
/// Without an engine it says so and tries again until there is one; when the engine is restarted it goes on.
#[derive(Debug, Parser)]
#[command(name = "reddit-client", version, after_help = AFTER_HELP)]
struct Options {
    /// The engine: the name of its node, or the path of its socket.
    #[arg(long, value_name = "ENGINE", default_value_t)]
    engine: Whereabouts,

    /// How many users to simulate.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,

    /// Chooses what the users do; the same seed and name do the same.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Name of this client: its users are named after it. Without a supervisor it is 'client@' and the process id.
    #[arg(long, value_name = "NAME", default_value_t = default_name(), value_parser = Identity::check_name)]
    name: String,

    /// Actions in flight at once.
    #[arg(long, value_name = "D", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    depth: u16,

    /// Actions a second at most; 0 for as many as the engine answers. The default leaves the machine to others.
    #[arg(long, value_name = "R", default_value_t = 500)]
    rate: u32,

    /// Stop after this much activity ("30s", "5min"); registering and waiting for an engine before it do not count.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,

    /// Do not wait for an engine: fail with code 69 when there is none, or when it is lost.
    #[arg(long)]
    once: bool,
}

const AFTER_HELP: &str = "\
Environment:
  PROVOST_NAME, PROVOST_INSTANCE   default of --name (client@1)
  PROVOST_RUN_DIR                  nodes of this user have their sockets in PROVOST_RUN_DIR/nodes; without it in
                                   XDG_RUNTIME_DIR/provost/nodes, else in /tmp/provost-UID/nodes
  RUST_LOG                         what is logged to standard error (default: info)

Exit codes:
  0   the time was over, or stopped as asked by SIGTERM or SIGINT
  2   wrong usage
  69  with --once: the engine is not available
  71  the system refused something essential
  73  cannot listen
  75  another process has this client's name
  76  the engine refuses this client: another build, another user";

fn default_name() -> String {
    Identity::name_from_env().unwrap_or_else(|| format!("client@{}", std::process::id()))
}

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return Exit::System.into();
        }
    };
    LocalSet::new().block_on(&runtime, run(options)).into()
}

async fn run(options: Options) -> Exit {
    let termination = match Termination::listen() {
        Ok(termination) => termination,
        Err(error) => {
            tracing::error!("cannot take over SIGTERM: {error}");
            return Exit::System;
        }
    };
    let options = simulator::Options {
        engine: options.engine,
        name: options.name,
        users: options.users,
        seed: options.seed,
        depth: options.depth,
        rate: (options.rate > 0).then_some(options.rate),
        duration: options.duration,
        patience: if options.once { simulator::Patience::Once } else { simulator::Patience::Endless },
    };
    simulator::run(options, termination).await
}

//! `reddit-engine`: the process that keeps the users, subreddits and posts.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use provost::node::{Identity, ListenError, Listener, Termination};
use provost::reddit::{Exit, engine};
use tokio::task::LocalSet;
use tracing_subscriber::EnvFilter;

/// The engine of a simulated Reddit: users, subreddits, posts, votes and feeds, served over a Unix socket.
///
/// It stays in the foreground until SIGTERM or SIGINT, then finishes what it is doing and ends.
#[derive(Debug, Parser)]
#[command(name = "reddit-engine", version, after_help = AFTER_HELP)]
struct Options {
    /// Listen on this Unix socket, made for this user only. Not needed when a supervisor hands a socket down
    /// (LISTEN_FDS), which then is used instead.
    #[arg(long, value_name = "PATH")]
    listen: Option<PathBuf>,

    /// Name shown in logs and to clients.
    #[arg(long, value_name = "NAME", default_value_t = default_name(), value_parser = Identity::check_name)]
    name: String,
}

const AFTER_HELP: &str = "\
Environment:
  LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES   a listening socket from a supervisor; the one called 'engine', or the only one
  NOTIFY_SOCKET                            is told READY=1 once requests are served, and STOPPING=1
  PROVOST_NAME                             default of --name
  RUST_LOG                                 what is logged to standard error (default: info)

Exit codes:
  0   stopped as asked
  2   wrong usage
  71  the system refused something essential
  73  cannot listen at PATH
  75  another process listens at PATH already";

/// What the engine's socket is called in `LISTEN_FDNAMES`.
const SOCKET_NAME: &str = "engine";

fn default_name() -> String {
    Identity::name_from_env().unwrap_or_else(|| "engine".to_owned())
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
    let listener = match listener(options.listen) {
        Ok(listener) => listener,
        Err(error @ ListenError::InUse { .. }) => {
            tracing::error!("{error}");
            return Exit::InUse;
        }
        Err(error) => {
            tracing::error!("{error}");
            return Exit::CannotListen;
        }
    };
    engine::serve(listener, Identity::of_this_process(&options.name), termination).await;
    Exit::Done
}

fn listener(path: Option<PathBuf>) -> Result<Listener, ListenError> {
    if let Some(inherited) = Listener::inherited(SOCKET_NAME)? {
        return Ok(inherited);
    }
    match path {
        Some(path) => Listener::bind(&path),
        None => Options::command()
            .error(ErrorKind::MissingRequiredArgument, "say where to listen: --listen PATH")
            .exit(),
    }
}

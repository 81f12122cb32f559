//! `reddit-one-process`: the contrast to separate processes.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use provost::node::Node;
use provost::reddit::simulator::Options as Client;
use provost::reddit::{Exit, Whereabouts, one_process};
use tokio::task::LocalSet;

/// An engine and its clients as tasks of one process: the same programs without the borders between them.
///
/// For comparison only (provost prove). Stays in the foreground until SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(name = "reddit-one-process", version)]
struct Options {
    /// How many clients.
    #[arg(long, value_name = "N", default_value_t = 3)]
    clients: u32,

    /// How many users each simulates.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,

    /// Instead, measure this many calls of an engine that is a task of this process, and print JSON.
    #[arg(long, value_name = "N")]
    calls: Option<u64>,

    /// With --calls: of this engine, by its name or the path of its socket.
    #[arg(long, value_name = "ENGINE", requires = "calls")]
    engine: Option<Whereabouts>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let done = match options.calls {
        Some(calls) => LocalSet::new().block_on(&runtime, measure(calls, options.engine)),
        None => LocalSet::new().block_on(&runtime, run(&options)),
    };
    done.map_or_else(|error| failed(&error), |()| Exit::Done.into())
}

fn failed(error: &io::Error) -> ExitCode {
    eprintln!("reddit-one-process: {error}");
    Exit::System.into()
}

async fn measure(calls: u64, engine: Option<Whereabouts>) -> io::Result<()> {
    let calls = one_process::calls(calls, engine.as_ref()).await?;
    println!("{}", serde_json::to_string(&calls)?);
    Ok(())
}

async fn run(options: &Options) -> io::Result<()> {
    let dir = tempfile::Builder::new().prefix("reddit-one-process-").tempdir()?;
    let place = Whereabouts::from(&*dir.path().join("engine.sock"));
    let engine = Node::start_with(place.node(), place.engine_options()).map_err(io::Error::other)?;
    let client =
        |number| Client { users: options.users, ..Client::new(place.clone(), format!("client@{number}")) };
    one_process::run(engine, (1..=options.clients).map(client).collect()).await
}

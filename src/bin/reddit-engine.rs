//! `reddit-engine`: the process that keeps the users, subreddits and posts.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use provost::node::{Identity, Node, Termination};
use provost::reddit::engine::{self, Clock, Keeping};
use provost::reddit::inspect::{self, CheckError, ExportError};
use provost::reddit::store::{self, Durability, OpenError};
use provost::reddit::{Exit, Whereabouts};
use provost::text;
use serde::Serialize;
use tokio::task::LocalSet;
use tracing_subscriber::EnvFilter;

/// The engine of a simulated Reddit: users, subreddits, posts, comments, votes, messages and feeds, served over a Unix
/// socket.
///
/// Without a verb it serves. It stays in the foreground until SIGTERM or SIGINT, then finishes what it is doing and ends.
/// The tables are millions of small things, all made and looked at by one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "reddit-engine", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve (the same as no verb)
    Serve(Serve),
    /// Check that a store holds what it must: votes and karma, trees, listings and feeds, memberships, times, sums
    Check(Check),
    /// Count what is in a store, or tell the counters of an engine that runs
    Stats(Count),
    /// Write the tables of a store into a new SQLite database
    Export(Export),
    /// Say what can be saved of a damaged store, and with --drop do it
    Repair(Repair),
}

#[derive(Debug, Args)]
struct Serve {
    /// Listen on this Unix socket, made for this user only, instead of the one where this user's nodes have theirs. When
    /// a supervisor hands a socket down (LISTEN_FDS), that is used.
    #[arg(long, value_name = "PATH")]
    listen: Option<PathBuf>,

    /// Name of its node, under which clients find it [default: engine]
    #[arg(long, value_name = "NAME", value_parser = Identity::check_name)]
    name: Option<String>,

    /// Keep everything in this folder, made if it is missing. Without it everything is forgotten at the end.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    /// What an acknowledged write survives: the end of any process, or of the power supply too.
    #[arg(long, value_name = "WHAT", default_value = "process", requires = "store")]
    durability: Survives,

    /// Let time pass with requests only, a millisecond each: a client that runs in lockstep (reddit-client --lockstep)
    /// makes the same tables every time.
    #[arg(long)]
    lockstep: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Survives {
    /// Written to the kernel before the reply
    Process,
    /// Synced to the disk before the reply
    Power,
}

#[derive(Debug, Args)]
struct Look {
    /// The folder of the store. Its engine may be running.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(id = "counted", required = true)]
struct Counted {
    /// The folder of the store. Its engine may be running.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    /// An engine that runs: the name of its node, or the path of its socket. It tells what it has done since it started:
    /// requests, turns, records, and the groups in which they were written.
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Whereabouts>,
}

#[derive(Debug, Args)]
struct Count {
    #[command(flatten)]
    of: Counted,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    look: Look,

    /// Check also that everything is there that clients were told, from what they wrote down (reddit-client --ledger);
    /// those of one client in the order of its lives.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    ledger: Vec<PathBuf>,

    /// Check also that the engine that runs on this store is what the store says, and its counts of requests and
    /// sessions: the name of its node, or the path of its socket.
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Whereabouts>,
}

#[derive(Debug, Args)]
struct Export {
    /// The folder of the store. Its engine may be running.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// The database to make.
    #[arg(long, value_name = "FILE")]
    sqlite: PathBuf,
}

#[derive(Debug, Args)]
struct Repair {
    /// The folder of the store. No engine may be using it.
    #[arg(long, value_name = "DIR")]
    store: PathBuf,

    /// Go on without everything behind the damage. It is moved into a folder dropped-N of the store, not destroyed.
    #[arg(long)]
    drop: bool,
}

const AFTER_HELP: &str = "\
Environment:
  LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES   a listening socket from a supervisor; the one called as the node, or the only one
  NOTIFY_SOCKET                            is told READY=1 once requests are served, and STOPPING=1
  PROVOST_NAME                             default of --name
  PROVOST_RUN_DIR                          nodes of this user have their sockets in PROVOST_RUN_DIR/nodes; without it in
                                           XDG_RUNTIME_DIR/provost/nodes, else in /tmp/provost-UID/nodes
  RUST_LOG                                 what is logged to standard error (default: info)

Exit codes:
  0   stopped as asked; the check found nothing
  1   the check found something, or the database cannot be written
  2   wrong usage
  65  the store is damaged, or of an older version: it says where, and nothing is changed
  69  the engine that is to be checked cannot be asked
  71  the system refused something essential
  73  cannot listen
  74  the store, or a ledger, cannot be read or written; what was acknowledged is in the store
  75  another process listens there or uses the store already";

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .init();
    match options.verb {
        None => serve(options.serve),
        Some(Verb::Serve(options)) => serve(options),
        Some(Verb::Check(options)) => check(&options),
        Some(Verb::Stats(options)) => stats(&options),
        Some(Verb::Export(options)) => export(&options),
        Some(Verb::Repair(options)) => {
            repair(&options).unwrap_or_else(|error| fail(&error, Exit::of(&error)))
        }
    }
}

fn stats(options: &Count) -> ExitCode {
    match (&options.of.store, &options.of.engine) {
        (_, Some(engine)) => match inspect::counters(engine) {
            Ok(counters) => print(&counters, options.json),
            Err(error) => fail(&error, Exit::EngineUnavailable),
        },
        (Some(store), None) => match inspect::count(store) {
            Ok(summary) => print(&summary, options.json),
            Err(error) => fail(&error, Exit::of(&error)),
        },
        (None, None) => unreachable!("clap demands one of them"),
    }
}

fn check(options: &Check) -> ExitCode {
    match inspect::check(&options.look.store, &options.ledger, options.engine.as_ref()) {
        Ok(summary) => print(&summary, options.look.json),
        Err(CheckError::Open(error)) => fail(&error, Exit::of(&error)),
        Err(error @ CheckError::Ledger { .. }) => fail(&error, Exit::Storage),
        Err(error @ CheckError::Engine(_)) => fail(&error, Exit::EngineUnavailable),
        Err(CheckError::Violation(violation)) => {
            println!("{violation}");
            Exit::Failed.into()
        }
    }
}

fn export(options: &Export) -> ExitCode {
    match inspect::export(&options.store, &options.sqlite) {
        Ok(rows) => {
            println!("{rows} rows in {}", options.sqlite.display());
            Exit::Done.into()
        }
        Err(ExportError::Open(error)) => fail(&error, Exit::of(&error)),
        Err(error) => fail(&error, Exit::Failed),
    }
}

fn repair(options: &Repair) -> Result<ExitCode, OpenError> {
    let repair = store::Repair::plan(&options.store)?;
    println!("{repair}");
    if repair.damage().is_none() {
        return Ok(Exit::Done.into());
    }
    if !options.drop {
        println!("nothing was changed; with --drop the store goes on with what is kept");
        return Ok(Exit::Damaged.into());
    }
    let aside = repair.carry_out()?;
    println!("what was dropped is in {}", aside.display());
    Ok(Exit::Done.into())
}

fn print(summary: &(impl Serialize + Display), json: bool) -> ExitCode {
    if json {
        println!("{}", serde_json::to_string(summary).expect("numbers and one text are always JSON"));
    } else {
        println!("{summary}");
    }
    Exit::Done.into()
}

fn fail(error: &dyn std::error::Error, exit: Exit) -> ExitCode {
    eprintln!("reddit-engine: {}", text::printable(&error.to_string()));
    exit.into()
}

fn serve(options: Serve) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return Exit::System.into();
        }
    };
    LocalSet::new().block_on(&runtime, run(options)).into()
}

async fn run(options: Serve) -> Exit {
    let termination = match Termination::listen() {
        Ok(termination) => termination,
        Err(error) => {
            tracing::error!("cannot take over SIGTERM: {error}");
            return Exit::System;
        }
    };
    let place = whereabouts(&options);
    let node = match Node::start_with(place.node(), place.engine_options()) {
        Ok(node) => node,
        Err(error) => {
            tracing::error!("{error}");
            return Exit::of_start(&error);
        }
    };
    let durability = match options.durability {
        Survives::Process => Durability::Process,
        Survives::Power => Durability::Power,
    };
    let keeping = options.store.map(|dir| Keeping { dir, durability });
    let clock = if options.lockstep { Clock::Lockstep { requests: 0 } } else { Clock::Wall };
    engine::serve(node, keeping, clock, termination).await
}

fn whereabouts(options: &Serve) -> Whereabouts {
    let place = options.listen.as_deref().map(Whereabouts::from).unwrap_or_default();
    match options.name.clone().or_else(Identity::name_from_env) {
        Some(name) => place.called(name),
        None => place,
    }
}

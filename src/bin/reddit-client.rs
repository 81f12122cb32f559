//! `reddit-client`: a process full of simulated users, the reports of such processes, and one person's hand.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use provost::node::Termination;
use provost::reddit::Exit;
use provost::reddit::hand::{self, ByHand};
use provost::reddit::inspect::{self, CheckError, Summary};
use provost::reddit::simulator::report::Verdict;
use provost::reddit::simulator::{self, Arguments, report};
use provost::text;
use tokio::task::LocalSet;
use tracing_subscriber::EnvFilter;

/// Users of a Reddit: many simulated ones, or you.
///
/// Without a verb it simulates: the users register, join subreddits, post, vote, comment, write to each other and read, and
/// every second one line tells how many actions the engine answered and how fast; on a terminal, a bar. Without an engine
/// it says so and tries again until there is one; when the engine is restarted it goes on, and asks again for what was not
/// answered.
///
/// With a verb it does that one thing, for a user whose secret it keeps for you: register ada, create rust, post rust Hello.
#[derive(Debug, Parser)]
#[command(name = "reddit-client", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    simulate: Arguments,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Simulate users (the same as no verb)
    ///
    /// They register, join subreddits, post, vote, comment, write to each other and read, come and go, and every second
    /// one line tells how many actions the engine answered and how fast; on a terminal, a bar.
    ///
    /// Without an engine it says so and tries again until there is one; when the engine is restarted it goes on, and asks
    /// again for what was not answered.
    Simulate(Box<Arguments>),
    /// Tell the reports of one client or several together, from what they wrote with --report-json
    Report(Tell),
    #[command(flatten)]
    ByHand(ByHand),
}

#[derive(Debug, Args)]
struct Tell {
    /// The reports; nothing is lost in adding them up.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Write a page with plots into this file too; it needs no other file and no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Print JSON, in the form of the files.
    #[arg(long)]
    json: bool,

    /// Check this store too ('reddit-engine check'), and tell what it said.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    /// Check also that the store holds what clients wrote down (--ledger); those of one client in the order of its lives.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "store")]
    ledger: Vec<PathBuf>,
}

const AFTER_HELP: &str = "\
Environment:
  PROVOST_NAME, PROVOST_INSTANCE   default of --name (client@1)
  PROVOST_RUN_DIR                  nodes of this user have their sockets in PROVOST_RUN_DIR/nodes; without it in
                                   XDG_RUNTIME_DIR/provost/nodes, else in /tmp/provost-UID/nodes
  REDDIT_USER                      default of --as
  XDG_STATE_HOME                   the secrets and private keys of registered users are in XDG_STATE_HOME/reddit-client,
                                   without it in ~/.local/state/reddit-client: NAME.secret and NAME.key, for their owner
                                   only; known-keys there has the public keys of authors as they were first seen
  RUST_LOG                         what is logged to standard error (default: info; off for verbs)

Exit codes:
  0   done; of a simulation: the time was over, or stopped as asked by SIGTERM or SIGINT
  1   the engine refused it, and the reason is told; a post that was shown is not verified; the reports cannot be told
      together; the check found something
  2   wrong usage
  69  the engine is not available (of a simulation only with --once)
  71  the system refused something essential
  73  cannot listen
  74  the ledger, the trace or the report cannot be written; the store cannot be read
  75  another process has this client's name
  76  the engine and this client do not fit together: another build, another user";

fn main() -> ExitCode {
    let options = Options::parse();
    match options.verb {
        None => simulate(options.simulate),
        Some(Verb::Simulate(arguments)) => simulate(*arguments),
        Some(Verb::Report(told)) => tell(&told),
        Some(Verb::ByHand(by_hand)) => {
            // What goes wrong is told by the verb itself.
            log("off");
            hand::run(by_hand).into()
        }
    }
}

/// Logs to standard error what `RUST_LOG` says, or `level`.
fn log(level: &str) {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level)))
        .init();
}

fn simulate(arguments: Arguments) -> ExitCode {
    if let Err(why) = arguments.check() {
        Options::command().error(ErrorKind::ArgumentConflict, why).exit();
    }
    log("info");
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return Exit::System.into();
        }
    };
    LocalSet::new().block_on(&runtime, run(arguments)).into()
}

async fn run(arguments: Arguments) -> Exit {
    let node = match simulator::start(&arguments.engine, arguments.name.as_deref(), arguments.patience()) {
        Ok(node) => node,
        Err(error) => {
            tracing::error!("{error}");
            return Exit::of_start(&error);
        }
    };
    match Termination::listen() {
        Ok(termination) => {
            let options = arguments.called(node.identity().node.clone());
            simulator::run(node, options, termination).await
        }
        Err(error) => {
            tracing::error!("cannot take over SIGTERM: {error}");
            Exit::System
        }
    }
}

fn tell(told: &Tell) -> ExitCode {
    let mut all = match report::Report::read(&told.files) {
        Ok(all) => all,
        Err(error) => {
            eprintln!("reddit-client: {}", text::printable(&error.to_string()));
            return Exit::Failed.into();
        }
    };
    match told.store.as_ref().map(|store| inspect::check(store, &told.ledger, None)) {
        None => {}
        Some(Ok(summary)) => all.check = Some(holds(&summary)),
        Some(Err(CheckError::Violation(violation))) => all.check = Some(Verdict::against(&violation)),
        Some(Err(error)) => {
            eprintln!("reddit-client: {}", text::printable(&error.to_string()));
            return Exit::Storage.into();
        }
    }
    if told.json {
        println!("{}", serde_json::to_string(&all).expect("numbers and texts are always JSON"));
    } else {
        print!("{}", report::text(&all));
    }
    match told.html.as_ref().map(|path| (path, fs::write(path, report::page(&all)))) {
        Some((path, Err(error))) => {
            eprintln!("reddit-client: cannot write {}: {error}", path.display());
            Exit::Storage.into()
        }
        Some((_, Ok(()))) | None if all.is_violated() => Exit::Failed.into(),
        Some((_, Ok(()))) | None => Exit::Done.into(),
    }
}

/// What a check that found nothing came to.
fn holds(summary: &Summary) -> Verdict {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    Verdict {
        violation: None,
        hold: words(&summary.checked),
        not_checked: words(&summary.not_checked),
        records: summary.position,
        acknowledged: summary.ledgers.map(|account| account.acknowledged),
    }
}

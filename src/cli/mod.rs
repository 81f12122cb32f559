//! The verbs: what is typed, asked of the running launcher, and shown.
//!
//! Holds no state and decides nothing: everything but `up`, `supervise` and `check` goes through the control API, or reads
//! files that outlive the launcher (`logs`, `history`), or asks the nodes themselves (`names`). What
//! a person sees is made by pure functions (`table.rs`, `human.rs`, and `text` of each reading verb), so that it can be
//! tested by its exact letters.
//!
//! `args.rs` is the one definition of the command line, `exit.rs` the one list of exit codes; each verb has a file.

mod add;
mod args;
mod certs;
mod change;
mod check;
pub mod console;
mod counts;
mod down;
mod enforcement;
mod events;
mod exit;
mod history;
mod human;
mod kill;
mod leftovers;
mod logs;
mod names;
mod plan;
mod prove;
pub mod ps;
mod remote_logs;
mod run_command;
mod scale;
mod screen;
mod status;
pub mod supervise;
mod table;
mod tree;
pub mod up;
mod upgrade;
mod wait;
mod warnings;
mod why;

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

pub use args::{Args, SuperviseArgs, UpArgs};
pub use exit::Exit;
pub use screen::{Colour, Screen};

use crate::config::{self, Context, Diagnostic, Place};
use crate::control::{ApiError, Client, ClientError, ErrorJson, VERSION};
use crate::text;
use args::{Format, Verb};

/// What starts processes instead of asking for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// `provost up`.
    Up(UpArgs),
    /// `provost supervise`: the entry of the supervisor process.
    Supervise(SuperviseArgs),
}

/// Does what was asked. `launch` is called for what starts processes, with the config file that was named, if one was.
pub fn run(args: Args, launch: impl FnOnce(Option<&Path>, Launch) -> Exit) -> Exit {
    let variable = std::env::var_os(config::CONFIG_VARIABLE).filter(|value| !value.is_empty());
    let file = args.file.or(variable.map(PathBuf::from));
    let verb = match args.verb.unwrap_or(Verb::Up(UpArgs::default())) {
        Verb::Up(up) => return launch(file.as_deref(), Launch::Up(up)),
        Verb::Run(args) => return run_command::run(&args),
        Verb::Certs(verb) => return certs::run(&verb),
        Verb::Supervise(args) => return launch(None, Launch::Supervise(args)),
        verb => verb,
    };
    if let Verb::Prove(args) = &verb {
        return prove::run(file.as_deref(), args).unwrap_or_else(|diagnostics| complain(&diagnostics));
    }
    if let Verb::Names(args) = &verb {
        return names::run(file.as_deref(), *args).unwrap_or_else(|diagnostics| complain(&diagnostics));
    }
    let located = config::locate(file.as_deref(), None).map_err(|diagnostic| vec![diagnostic]);
    let asked = located.and_then(|file| match verb {
        Verb::Check => check::run(&file),
        Verb::Logs(args) => logs::run(&file, &args),
        Verb::History(args) => history::run(&file, &args),
        verb => config::place_of(&file, &Context::of_process()).map(|place| ask(&place, verb)),
    });
    asked.unwrap_or_else(|diagnostics| complain(&diagnostics))
}

/// Why a verb did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The launcher could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer could not be printed.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// It took longer than the user allows.
    #[error("{0}")]
    TimedOut(String),
    /// A file that was named is not acceptable.
    #[error("the file is not acceptable")]
    BadFile(Vec<Diagnostic>),
}

/// Runs what a verb asks of a launcher; what goes wrong is told.
fn block_on(place: &Place, format: Format, asked: impl Future<Output = Result<Exit, Failure>>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format_args!("cannot start: {error}"));
            return Exit::Failed;
        }
    };
    runtime.block_on(asked).unwrap_or_else(|failure| report(&failure, &place.name, format))
}

/// Asks the launcher of this project.
fn ask(place: &Place, verb: Verb) -> Exit {
    let format = verb.output();
    block_on(place, format, async {
        let client = Client::connect_to(&place.run_dir, place.owner).await?;
        if matches!(verb, Verb::Ps(_) | Verb::Tree(_) | Verb::Status(_)) {
            upgrade::warn_of_safe_mode(&client).await;
        }
        match verb {
            Verb::Ps(args) => ps::run(&client, args).await,
            Verb::Tree(args) => tree::run(&client, args).await,
            Verb::Status(args) => status::run(&client, &args).await,
            Verb::Start(args) => change::run(&client, change::Change::Start, &args).await,
            Verb::Stop(args) => change::run(&client, change::Change::Stop, &args).await,
            Verb::Restart(args) => change::run(&client, change::Change::Restart, &args).await,
            Verb::Remove(args) => change::run(&client, change::Change::Remove, &args).await,
            Verb::Why(args) => why::run(&client, &args).await,
            Verb::Counts(args) => counts::run(&client, &args).await,
            Verb::Add(args) => add::run(&client, args).await,
            Verb::Scale(args) => scale::run(&client, &args).await,
            Verb::Plan(args) => plan::run(&client, args).await,
            Verb::Reload(args) => plan::reload(&client, args).await,
            Verb::Wait(args) => wait::run(&client, &args).await,
            Verb::Kill(args) => kill::run(&client, &args).await,
            Verb::Down(args) => down::run(&client, &place.name, args).await,
            Verb::Upgrade(args) => upgrade::run(&client, &place.name, args).await,
            Verb::Events(args) => events::run(&client, &args).await,
            Verb::Up(_)
            | Verb::Run(_)
            | Verb::Certs(_)
            | Verb::Names(_)
            | Verb::Supervise(_)
            | Verb::Check
            | Verb::Prove(_)
            | Verb::Logs(_)
            | Verb::History(_) => {
                unreachable!("handled before anybody is asked")
            }
        }
    })
}

/// Says why in one sentence, and gives the exit code that tells the same.
fn report(failure: &Failure, project: &str, format: Format) -> Exit {
    match failure {
        // The reader of a pipe has seen enough.
        Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Ok,
        Failure::Output(_) => tell(failure, Exit::Failed),
        Failure::TimedOut(_) => tell(failure, Exit::TimedOut),
        Failure::Client(ClientError::NoLauncher(reason)) => tell(
            &format!("no launcher is running for project {project} ({reason}); start it with: provost up"),
            Exit::NoLauncher,
        ),
        Failure::BadFile(diagnostics) => complain(diagnostics),
        Failure::Client(ClientError::Refused(error)) => refused(error, format),
        Failure::Client(ClientError::Timeout) => tell(failure, Exit::TimedOut),
        Failure::Client(
            ClientError::NotPermitted(_)
            | ClientError::Stranger { .. }
            | ClientError::Broken(_)
            | ClientError::Nonsense(_),
        ) => tell(failure, Exit::Failed),
    }
}

/// Tells a refusal: for people on stderr, for programs in the API's shape on stdout.
fn refused(error: &ApiError, format: Format) -> Exit {
    match format {
        Format::Json => {
            // Whoever closed the pipe does not want to know.
            let _ = print_json(&ErrorJson { version: VERSION, error: error.clone() });
        }
        Format::Text if error.diagnostics.is_empty() => say(error),
        Format::Text => error.diagnostics.iter().for_each(say),
    }
    error.code.into()
}

fn tell(sentence: &dyn std::fmt::Display, exit: Exit) -> Exit {
    say(sentence);
    exit
}

/// Complaints about a config file.
fn complain(diagnostics: &[Diagnostic]) -> Exit {
    for diagnostic in diagnostics {
        say(diagnostic);
    }
    Exit::BadConfig
}

/// Says one thing on stderr. Whether it is read changes nothing.
fn say(sentence: impl std::fmt::Display) {
    let said = format!("provost: {sentence}\n");
    let _ = io::stderr().lock().write_all(text::printable(&said).as_bytes());
}

/// Prints. Nothing in it acts on the terminal, whoever wrote it.
fn print(text: &str) -> io::Result<()> {
    print_styled(&text::printable(text))
}

/// Prints a text with styles of our own, in which every value was made fit for a terminal by itself. Unlike `print!`, a closed pipe is an error and no panic.
fn print_styled(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints JSON, one line.
fn print_json(value: &impl serde::Serialize) -> io::Result<()> {
    print_json_text(&serde_json::to_string(value)?)
}

/// Prints JSON that is text already.
fn print_json_text(json: &str) -> io::Result<()> {
    print_styled(&format!("{}\n", text::printable_json(json)))
}

//! One verb after the other: a prompt for whoever sits at a terminal, a script for whoever sends lines.
//!
//! At a terminal a [`Watch`] in a thread of its own shows what happens meanwhile. As a shell's job in the background does, it
//! writes where the cursor stands: what was typed stays above, and is still typed.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;

use super::act::Desk;
use super::failure::Failure;
use super::verb::Verb;
use super::watch::{self, Heard, Watch};
use super::{news, print, show};
use crate::reddit::Whereabouts;
use crate::reddit::protocol::subscription_manager::Wants;
use crate::text;

/// One line, as on the command line but for the program's name.
#[derive(Debug, Parser)]
#[command(
    name = "",
    no_binary_name = true,
    disable_version_flag = true,
    help_template = "{subcommands}{after-help}"
)]
#[command(
    after_help = "  quit         end (so does Ctrl-D)\n\nHELP with a verb shows what it takes: help post"
)]
struct Line {
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    verb: Verb,
}

/// Takes lines until there are no more. At a terminal a line that fails is told and the next one is asked for; of a script
/// nothing is done after a line that failed.
pub(super) fn run(desk: &mut Desk, engine: Whereabouts, json: bool) -> Result<(), Failure> {
    let at_terminal = io::stdin().is_terminal();
    let terminal = Terminal::default();
    let watch = if at_terminal { Some(terminal.watch(engine, json)?) } else { None };
    // Somebody who is not registered yet can do that here; everything else is told when it is needed.
    let _ = desk.sit_down();
    let mut lines = io::stdin().lock().lines();
    loop {
        if let Some(watch) = &watch {
            speaks(watch, desk);
            terminal.prompt(desk)?;
        }
        let next = lines.next();
        terminal.typed();
        let line = match next {
            Some(Ok(line)) => line,
            Some(Err(error)) => {
                return Err(Failure::File { what: "cannot read the next line".to_owned(), error });
            }
            None => return if at_terminal { print("\n") } else { Ok(()) },
        };
        let done = match line.trim() {
            "" => continue,
            comment if comment.starts_with('#') => continue,
            "quit" | "exit" => return Ok(()),
            line => carry_out(desk, line, json),
        };
        match done {
            Ok(()) => {}
            Err(failure) if at_terminal => {
                // The next prompt comes whether this is read or not.
                let _ = writeln!(io::stderr(), "{}", text::printable(&failure.to_string()));
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// What stands on the screen.
#[derive(Clone, Debug, Default)]
struct Terminal {
    /// The prompt, while it waits for a line.
    waiting: Arc<Mutex<Option<String>>>,
}

impl Terminal {
    fn prompt(&self, desk: &Desk) -> Result<(), Failure> {
        let (speaker, engine) = desk.who();
        let prompt = format!("{}@{engine}> ", speaker.unwrap_or("nobody"));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        print(&prompt)?;
        *waiting = Some(prompt);
        Ok(())
    }

    fn typed(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Shows what happens, from now on.
    fn watch(&self, engine: Whereabouts, json: bool) -> Result<SyncSender<Heard>, Failure> {
        let terminal = self.clone();
        let screen = move |line: watch::Line<'_>| {
            terminal.interrupt(&match line {
                watch::Line::News(told) => news::line(told, json),
                watch::Line::About(text) => format!("{text}\n"),
            })
        };
        let mut watch = Watch::new(engine, Duration::ZERO, Wants::ALL, Box::new(screen))?;
        let teller = watch.teller();
        let shows = move || loop {
            // What keeps it from watching is told by the verbs too; it goes on when the next one has been carried out.
            let _ = watch.step();
        };
        let started = std::thread::Builder::new().name("watch".to_owned()).spawn(shows);
        started.map_err(|error| Failure::File { what: "cannot start a thread".to_owned(), error })?;
        Ok(teller)
    }

    /// Shows a line in between.
    fn interrupt(&self, line: &str) -> io::Result<()> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (line, mut out) = (text::printable(line), io::stdout().lock());
        match &*waiting {
            Some(prompt) => write!(out, "\n{line}{prompt}"),
            None => write!(out, "{line}"),
        }?;
        out.flush()
    }
}

/// Has the watch watch for the one who speaks, and waits until it does, so that whatever happens from the next prompt on is
/// shown.
fn speaks(watch: &SyncSender<Heard>, desk: &Desk) {
    let Some(person) = desk.speaker() else { return };
    let (done, is_done) = sync_channel(1);
    if watch.try_send(Heard::Speaks(person.clone(), done)).is_ok() {
        // The other end is dropped when it is done.
        let _ = is_done.recv();
    }
}

fn carry_out(desk: &mut Desk, line: &str, json: bool) -> Result<(), Failure> {
    let unclosed = || Failure::Usage("a quote is opened and not closed".to_owned());
    let words = shlex::split(line).ok_or_else(unclosed)?;
    match Line::try_parse_from(words) {
        Ok(Line { json: here, verb }) => {
            let told = desk.carry_out(verb)?;
            print(&show::show(&told, json || here))?;
            told.doubts()
        }
        // Help was asked for.
        Err(error) if !error.use_stderr() => print(&error.to_string()),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(Failure::Usage(format!("{first} (help lists the verbs, help VERB what one takes)")))
        }
    }
}

//! One verb after the other: a prompt for whoever sits at a terminal, a script for whoever sends lines.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Parser;

use super::act::Desk;
use super::failure::Failure;
use super::verb::Verb;
use super::{print, show};

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
pub(super) fn run(desk: &mut Desk, json: bool) -> Result<(), Failure> {
    let at_terminal = io::stdin().is_terminal();
    // Somebody who is not registered yet can do that here; everything else is told when it is needed.
    let _ = desk.sit_down();
    let mut lines = io::stdin().lock().lines();
    loop {
        if at_terminal {
            prompt(desk)?;
        }
        let line = match lines.next() {
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
                let _ = writeln!(io::stderr(), "{failure}");
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn prompt(desk: &Desk) -> Result<(), Failure> {
    let (speaker, engine) = desk.who();
    print(&format!("{}@{engine}> ", speaker.unwrap_or("nobody")))
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

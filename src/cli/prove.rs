//! `provost prove`.

mod page;
mod plots;
mod private;
mod tables;
mod text;
mod workshop;

use std::io;
use std::path::{Path, PathBuf};

use private::Private;

use super::args::ProveArgs;
use super::exit::Exit;
use super::screen::Screen;
use super::{print, print_json, tell};
use crate::config::{self, Context, Diagnostic};
use crate::control::ClientError;
use crate::proof::{Options, Proof, Subject, Topic, examine};

/// Examines, tells and judges. `file` is the config file that was named.
pub(super) fn run(file: Option<&Path>, args: &ProveArgs) -> Result<Exit, Vec<Diagnostic>> {
    let _workshop = match workshop::open() {
        Ok(workshop) => workshop,
        Err(error) => return Ok(tell(&format!("cannot make a temporary folder: {error}"), Exit::Failed)),
    };
    if args.attach {
        let file = config::locate(file, None).map_err(|diagnostic| vec![diagnostic])?;
        let place = config::place_of(&file, &Context::of_process())?;
        return Ok(match Subject::launcher(&place.run_dir) {
            Ok(subject) => examined(&subject, args, format!("project {}, which runs already", place.name)),
            Err(ClientError::NoLauncher(reason)) => tell(
                &format!(
                    "no launcher is running for project {} ({reason}); start it with: provost up",
                    place.name
                ),
                Exit::NoLauncher,
            ),
            Err(error) => tell(&error, Exit::Failed),
        });
    }
    let (started, what) = match args.one_process {
        true => (Private::one_process(), "engine and clients as tasks of one process"),
        false => (Private::start(), "the shipped project"),
    };
    Ok(match started {
        Ok((launcher, subject)) => {
            let words = format!("{what}, started for this (PID {})", launcher.pid());
            let exit = examined(&subject, args, words);
            launcher.stop();
            exit
        }
        Err(sentence) => tell(&sentence, Exit::Failed),
    })
}

fn examined(subject: &Subject, args: &ProveArgs, words: String) -> Exit {
    let topics = if args.only.is_empty() { Topic::ALL.to_vec() } else { args.only.clone() };
    let programs = match std::env::current_exe() {
        Ok(program) => program.parent().unwrap_or(Path::new("/")).to_owned(),
        Err(error) => return tell(&format!("cannot find this program's own file: {error}"), Exit::Failed),
    };
    let options = Options { topics, signal: args.signal, settle: args.settle, subject: words, programs };
    let width = Screen::of_stdout().width.unwrap_or(text::WIDTH).min(text::WIDTH);
    let mut printed = if args.output.json { Ok(()) } else { print(&text::heading(&options.subject, width)) };
    let proof = examine(subject, &options, |claim| {
        if !args.output.json && printed.is_ok() {
            printed = print(&text::claim(claim, width));
        }
    });
    let told = match args.output.json {
        true => print_json(&proof),
        false => printed.and_then(|()| print(&text::verdict(&proof, width))),
    };
    if let Err(error) = told.and_then(|()| report(&proof, args.report.as_ref())) {
        return tell(&format!("cannot write the output: {error}"), Exit::Failed);
    }
    if proof.proven { Exit::Ok } else { Exit::Failed }
}

fn report(proof: &Proof, file: Option<&PathBuf>) -> io::Result<()> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, page::page(proof))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

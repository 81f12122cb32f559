//! The system in a person's hands: one verb a command, or a prompt that takes one after the other.
//!
//! A plain program: it asks, waits and prints, through the blocking face of [`node`](crate::node). `verb` is what can be
//! typed, `act` turns a verb into requests, `contact` gets them answered over restarts of the engine, `people` keeps who one is
//! from one command to the next, `keys` what one signs with, `proof` verifies what others signed, `show` is how answers look,
//! for people and as JSON. `watch` is told what happens without asking, and `news` is how that looks.

mod act;
mod contact;
mod failure;
mod fullname;
mod keys;
mod known;
mod news;
mod people;
mod prompt;
mod proof;
mod show;
mod told;
mod verb;
mod watch;

use std::io::{self, Write};

pub use failure::Failure;
pub use verb::ByHand;

use self::contact::Contact;
use self::people::People;
use self::verb::{Common, Errand};
use super::Exit;
use crate::text;

/// Does what was typed on the command line and says how it ended.
#[must_use]
pub fn run(by_hand: ByHand) -> Exit {
    match attempt(by_hand) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            // Nobody may be there to read it; the exit code says it too.
            let _ = writeln!(io::stderr(), "reddit-client: {}", text::printable(&failure.to_string()));
            failure.exit()
        }
    }
}

fn attempt(ByHand { common, errand }: ByHand) -> Result<(), Failure> {
    let desk = |Common { engine, user, wait_engine, .. }: Common| {
        let people = People::at_home()?;
        let contact = Contact::new("hand", engine, wait_engine)?;
        Ok::<_, Failure>(act::Desk::new(contact, people, user))
    };
    let (engine, json) = (common.engine.clone(), common.json);
    match errand {
        Errand::Verb(verb) => {
            let told = desk(common)?.carry_out(verb)?;
            print(&show::show(&told, json))?;
            told.doubts()
        }
        Errand::Interactive => prompt::run(&mut desk(common)?, engine, json),
        Errand::Watch { topics } => watch::run(common, &topics),
    }
}

/// Prints an answer. Whoever stopped reading wants no more of it.
fn print(answer: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text::printable(answer).as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::File { what: "cannot print".to_owned(), error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

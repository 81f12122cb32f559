//! `provost supervise` (hidden): the supervisor process, started by the keeper.

use super::console::Console;
use super::{Exit, SuperviseArgs, print, say, warnings};
use crate::keeper::{self, Link};
use nix::sys::signal::Signal;

use crate::os::{self, process};
use crate::runtime::{self, Journal};

/// The name in the process table beside the keeper's `provost`.
const NAME: &str = "provost-super";

/// Runs the supervisor process with the descriptors that the keeper gave it.
pub fn run(args: SuperviseArgs) -> Exit {
    // Its number was for the interpreter of a script.
    drop(process::inherited(keeper::PROGRAM_FD));
    if args.check {
        return check();
    }
    let inherited = Link::inherited().and_then(|link| Ok((link, process::inherited(keeper::JOURNAL_FD)?)));
    let (link, journal) = match inherited {
        Ok(inherited) => inherited,
        Err(error) => {
            say(format_args!("this verb is for the keeper's use ({error}); use: provost up"));
            return Exit::Usage;
        }
    };
    warnings::show();
    // A file size limit is a reason to wait with output, not to die.
    os::signals::ignore(Signal::SIGXFSZ);
    // Only a name: without it the process is still found by its command line.
    let _ = process::set_name(NAME);
    if let Err(error) = std::env::current_dir() {
        tracing::warn!(%error, "the folder in which provost was started is gone; what is relative to it is not found");
    }
    let console = Box::new(Console::default());
    let end = match args.safe {
        true => runtime::run_safe(link, journal, console),
        false => runtime::run(link, journal, console),
    };
    match end {
        Ok(()) => Exit::Ok,
        Err(error) => {
            tracing::error!(%error, "the supervisor process ends");
            if error.is_shortage() { Exit::Of(keeper::SHORTAGE) } else { Exit::Failed }
        }
    }
}

/// Says whether this program could take over: it must be able to read the journal.
fn check() -> Exit {
    let journal = process::inherited(keeper::JOURNAL_FD).map_err(|errno| errno.to_string());
    match journal.and_then(|journal| Journal::open(journal).map_err(|error| error.to_string())) {
        Ok(_) => {
            let told = print(&format!("{}\n", runtime::greeting()));
            if told.is_ok() { Exit::Ok } else { Exit::Failed }
        }
        Err(error) => {
            say(error);
            Exit::Failed
        }
    }
}

//! `provost supervise` (hidden): the supervisor process, started by the keeper.

use super::Exit;
use super::console::Console;
use crate::keeper::{self, Link};
use nix::sys::signal::Signal;

use crate::os::{self, process};
use crate::runtime;

/// The name in the process table beside the keeper's `provost`.
const NAME: &str = "provost-super";

/// Runs the supervisor process with the descriptors that the keeper gave it.
pub fn run() -> Exit {
    let inherited = Link::inherited().and_then(|link| Ok((link, process::inherited(keeper::JOURNAL_FD)?)));
    let (link, journal) = match inherited {
        Ok(inherited) => inherited,
        Err(error) => {
            eprintln!("provost: this verb is for the keeper's use ({error}); use: provost up");
            return Exit::Usage;
        }
    };
    // A file size limit is a reason to wait with output, not to die.
    os::signals::ignore(Signal::SIGXFSZ);
    // Only a name: without it the process is still found by its command line.
    let _ = process::set_name(NAME);
    match runtime::run(link, journal, Box::new(Console::default())) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            tracing::error!(%error, "the supervisor process ends");
            Exit::Failed
        }
    }
}

//! `provost supervise` (hidden): the supervisor process, started by the keeper.

use super::console::Console;
use super::exit::Exit;
use crate::{keeper, os, runtime};

/// Runs the supervisor process with the descriptors that the keeper gave it.
pub fn run() -> Exit {
    os::process::set_name(c"provost-super");
    let (keeper, state) = match keeper::inherited() {
        Ok(inherited) => inherited,
        Err(error) => {
            eprintln!("provost: this verb is for provost's own use: {error}; use provost up");
            return Exit::Usage;
        }
    };
    match runtime::run(keeper, state, Box::new(Console::default())) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            tracing::error!(%error, "the supervisor process ends");
            Exit::Failed
        }
    }
}

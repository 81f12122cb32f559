//! The supervisor process: one loop in which a fact becomes an event and an action becomes a call. No policy.
//!
//! It is disposable. Everything it must remember is in a [`World`], saved step by step in the journal that the keeper holds;
//! everything it must hold on to (children, output pipes, sockets) the keeper holds too. So there is only one way to begin:
//! load the world, ask the keeper what exists, make the two agree (`takeover.rs`), go on. The first supervisor process of a
//! launcher does just the same with a world that has not been booted.
//!
//! Read on in `world.rs` (what is remembered), `supervisor.rs` (the loop), `perform.rs` (orders), `births.rs` (what a child
//! is made of), `departures.rs` (what is kept of ended runs), `answer.rs` and `requests.rs` (the control API's requests),
//! `admin.rs` and `reload.rs` (adding, scaling, reloading; `extras.rs` and `series.rs` are what of it must be remembered),
//! `report.rs` (what is told), `room.rs` (whether the descriptors suffice). `rebuild.rs` makes a world again when the journal is lost, `upgrade.rs` examines a new program, `safe.rs` is what runs instead when all this keeps
//! crashing.

mod admin;
mod answer;
mod births;
mod clock;
mod departures;
mod extras;
mod history;
mod holdings;
mod journal;
mod level;
mod notify;
mod outputs;
mod perform;
mod rebuild;
mod reload;
mod report;
mod requests;
mod restore;
mod room;
mod safe;
mod series;
mod sockets;
mod supervisor;
mod takeover;
mod unborn;
mod upgrade;
mod why;
mod world;

pub use journal::{Journal, JournalError};
pub use report::Console;
pub use room::lack;
pub use safe::run as run_safe;
pub use supervisor::{RuntimeError, run};
pub use upgrade::greeting;
pub use world::World;

use notify::Said;

use crate::rules::{EndClass, Exit, Signal};

/// Exit code of `provost up` for the end of a tree: 0 as asked or auto-shutdown (a temporary significant child's own code if
/// it failed, 128 + n for signal n as shells do), 69 boot failed (`EX_UNAVAILABLE`), 70 gave up (`EX_SOFTWARE`).
#[must_use]
pub fn exit_code(class: EndClass) -> u8 {
    match class {
        EndClass::Stopped
        | EndClass::AutoShutdown { clean: true, .. }
        | EndClass::AutoShutdown { exit: None, .. } => 0,
        EndClass::AutoShutdown { exit: Some(Exit::Code(code)), .. } => code,
        EndClass::AutoShutdown { exit: Some(Exit::Signal { signal, .. }), .. } => {
            u8::try_from(128 + signal.0).unwrap_or(u8::MAX)
        }
        EndClass::AutoShutdown { exit: Some(Exit::Unknown), .. } | EndClass::Killed => 1,
        EndClass::BootFailed(_) => 69,
        EndClass::GaveUp => 70,
    }
}

/// `wait(2)` status to exit.
fn exit_of(status: i32) -> Exit {
    if libc::WIFEXITED(status) {
        Exit::Code(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    } else if libc::WIFSIGNALED(status) {
        Exit::Signal { signal: Signal(libc::WTERMSIG(status)), core: libc::WCOREDUMP(status) }
    } else {
        Exit::Unknown
    }
}

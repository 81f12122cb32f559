//! What should happen: OTP's supervisor as a pure state machine.
//!
//! A [`Tree`] takes facts and requests ([`Event`]) together with the time they are handled at, and answers with orders
//! ([`Action`]). It never performs anything itself: no I/O, no clock, no process id, no hash map, no log.
//! The rules it follows are OTP's supervisor behaviour; where they come from and where we differ stands at each type.
//!
//! Read on in `spec.rs` (what a person configures), `event.rs` and `action.rs` (the two alphabets), `node.rs` (a child's
//! life), `supervisor.rs` (a supervisor's queue and operation), `turn.rs` (one step). Then by subject: `facts.rs` moves
//! lives, `exits.rs` decides, and `attempt.rs`, `round.rs`, `stop.rs`, `end.rs`, `calls.rs`, `reload.rs` carry out.
//! `look.rs` answers questions, `invariants.rs` says what must always hold.

#![forbid(unsafe_code)]

mod action;
mod attempt;
mod backoff;
mod calls;
mod check;
mod end;
mod event;
mod exits;
mod facts;
#[cfg(debug_assertions)]
mod invariants;
mod layout;
mod look;
mod names;
mod node;
mod rebuild;
mod reload;
mod round;
mod spec;
mod stop;
mod supervisor;
mod time;
mod tree;
mod turn;
mod view;

pub use action::{Action, Decision, EndClass, Failure, KillCause, Note, Refusal, Reply};
pub use event::{Call, Event, Exit, ExitFact, StartError, Ticket};
pub use spec::{
    AutoShutdown, Backoff, ChildSpec, Flags, GiveUp, Kind, Restart, Shutdown, Signal, SpecError, Start,
    StopStep, Strategy, SupervisorSpec, WorkerSpec,
};
pub use time::Moment;
pub use tree::{NodeId, Run, Tree};
pub use view::{Counts, Phase, SupervisorView, View, Why};

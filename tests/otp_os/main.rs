//! What OTP's rules mean for processes of an operating system: the cases that have no Erlang counterpart to measure.
//! Each test is named after its case.

mod birth;
#[path = "../otp_real/control.rs"]
mod control;
mod ends;
mod exits;
mod hygiene;
#[path = "../support/mod.rs"]
mod support;
mod templates;
mod watched;

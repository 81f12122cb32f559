//! The rules in a simulated world: every case that was measured on OTP's own supervisor, the cases that only operating-system
//! processes have, and what each combination of settings comes to.

#[path = "otp/backoff.rs"]
mod backoff;
#[path = "otp/build.rs"]
mod build;
#[path = "otp/calls.rs"]
mod calls;
#[path = "otp/extensions.rs"]
mod extensions;
#[path = "otp/found.rs"]
mod found;
#[path = "otp/given.rs"]
mod given;
#[path = "otp/measured.rs"]
mod measured;
#[path = "otp/specs.rs"]
mod specs;
#[path = "otp/stops.rs"]
mod stops;
#[path = "otp/table.rs"]
mod table;
#[path = "otp/world.rs"]
mod world;

//! provost: OTP supervision for operating-system processes.
//!
//! Three questions, three places: what should happen is decided in [`rules`] (pure), how it happens is in [`os`]
//! (the only place that talks to the kernel), and when it is asked is in [`runtime`]. The reader's walk through
//! the rest is in the README.

pub mod capture;
pub mod cli;
pub mod config;
pub mod control;
pub mod keeper;
pub mod node;
pub mod os;
pub mod proof;
pub mod reddit;
pub mod rules;
pub mod runtime;
pub mod suggest;
pub mod text;

//! How it happens: everything that touches the kernel, and every `unsafe`, each behind a safe signature.
//!
//! Knows no strategy, no specification and no text for people beyond the name of a failed step. Read `spawn.rs` first:
//! the birth of a process is why this layer exists. `wait.rs` and `pidfd.rs` are its life and end, `socket.rs` how two
//! processes hand each other descriptors.

pub mod cgroup;
pub mod clock;
pub mod command;
pub mod descendants;
pub mod digest;
mod fallback;
pub mod folder;
pub mod leftovers;
pub mod limits;
mod listing;
pub mod lock;
pub mod memfd;
pub mod netns;
pub mod pidfd;
pub mod pipe;
pub mod proc;
pub mod process;
pub mod rundir;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod splice;
pub mod terminal;
pub mod traffic;
pub mod trust;
pub mod wait;
pub mod watch;

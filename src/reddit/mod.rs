//! The payload that shows what supervision is worth: a Reddit, its engine and its simulated users, each an operating
//! system process of its own.
//!
//! [`model`] is the domain and nothing else: pure tables, one function that changes them. [`store`] keeps what happened on a
//! disk, [`inspect`] looks at that. [`protocol`] is what can be asked. [`engine`] answers it; [`simulator`] asks it for
//! thousands of users, and [`hand`] for a person. They meet only through [`node`](crate::node): the engine registers its
//! actors there, and whoever asks has it as a [`Remote`]. Who signs what is posted does so with a [`Signer`].
//!
//! It must not know who supervises it: both programs run under any supervisor, or by hand in two terminals.

pub mod engine;
pub mod hand;
pub mod inspect;
pub mod model;
pub mod one_process;
pub mod protocol;
pub mod simulator;
pub mod store;

mod exit;
mod remote;
mod signer;
mod whereabouts;

pub use exit::Exit;
pub use remote::Remote;
pub use signer::{BadKey, Signer};
pub use whereabouts::Whereabouts;

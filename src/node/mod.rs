//! The message layer: what a process links to have a name and to talk to other named processes.
//!
//! The manners are those of distributed Erlang, over Unix sockets, between machines over TCP, and without a daemon:
//!
//! | here | there |
//! |---|---|
//! | [`Node::start`]; its socket file | `net_kernel:start/2`; epmd |
//! | [`Identity`]: name, pid, incarnation | node name and creation |
//! | [`Hello`](Kind::Hello), [`Refusal`] | the distribution handshake |
//! | same user only, told by the kernel (`SO_PEERCRED`) | the cookie |
//! | over TCP, certificates on both sides ([`Network`]) | `-proto_dist inet_tls` |
//! | [`Mailbox`], [`Node::register`], [`Node::whereis`] | a process, `global:register_name/2`, `global:whereis_name/1` |
//! | [`Node::call`] with a timeout, [`Node::cast`] | `gen_server:call/3`, `gen_server:cast/2` |
//! | [`Node::try_cast`] | `erlang:send/3` with `nosuspend` |
//! | a late reply is dropped | process aliases (OTP 24) |
//! | a closed connection fails all waiting calls | `{nodedown, Node}` in the exit reason |
//! | [`Node::monitor`] | `erlang:monitor/2` |
//!
//! Everything runs on one thread: batches of frames on a current-thread runtime beat several threads in every
//! measurement made here. A [`Node`] starts tasks, so it lives inside a [`LocalSet`](tokio::task::LocalSet).
//!
//! It must not know that a supervisor exists beyond its environment variables (`PROVOST_NAME`, `PROVOST_NODE_*`, and systemd's
//! `LISTEN_FDS` and `NOTIFY_SOCKET`): a node started by hand in a terminal is a whole node.
//!
//! Read [`frame`] first (the bytes), then [`Node`], then [`Mailbox`].

pub mod blocking;
pub mod frame;

mod answered;
mod backoff;
mod calls;
mod decoders;
mod error;
mod hello;
mod inbox;
mod introduction;
mod linger;
mod link;
mod listen;
mod local;
mod location;
mod mailbox;
mod monitor;
mod names;
mod network;
mod notify;
mod options;
mod outbox;
mod tcp;
mod termination;
mod tls;
mod traffic;
mod transport;

pub use backoff::Backoff;
#[doc(hidden)]
pub use decoders::decode_anything;
pub use error::{CallError, CastError, ConnectError, Fault, Lost};
pub use frame::{FrameError, Kind, MAX_FRAME};
pub use hello::{Identity, NameError, Refusal};
pub use listen::ListenError;
pub use local::{Address, Keeper, Node, Ping, RegisterError, Registered, Service, StartError, To};
pub use location::{Location, LocationError};
pub use mailbox::{Caller, Mailbox, Request};
pub use monitor::{Down, Monitor, Reason};
pub use network::{Network, NetworkError, Tls};
pub use notify::Notifier;
pub use options::{Limits, Listen, Options};
pub use termination::Termination;
pub use traffic::Traffic;

/// What `provost certs` has to know.
pub(crate) use network::TLS_DIR;
pub(crate) use tls::SCHEME as CERTIFICATE_SCHEME;

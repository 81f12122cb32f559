//! The first frame each way: who is there, and whether the two can talk.

use std::env;
use std::fmt;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::frame::{self, Frame, FrameError, Kind};

/// Begins every Hello, so that a stray client of some other protocol is told apart from an old one of ours.
const MAGIC: [u8; 4] = *b"PRVN";

const LONGEST_NAME: usize = 64;

/// Who a node is. The name stays over restarts; pid and incarnation tell one life from the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `engine`, `client@1`.
    pub node: String,
    /// The process.
    pub pid: u32,
    /// Nanoseconds since boot when this life began: never the same twice for one name (Erlang's creation).
    pub incarnation: u64,
}

impl Identity {
    /// The identity of this process under `name`, beginning now.
    #[must_use]
    pub fn of_this_process(name: &str) -> Identity {
        // The clock exists since Linux 2.6.39; were it missing, the pid alone would tell the lives apart.
        let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |at| {
            u64::try_from(at.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(at.tv_nsec()).unwrap_or(0)
        });
        Identity { node: name.to_owned(), pid: std::process::id(), incarnation: since_boot }
    }

    /// The name a supervisor gave this process: `PROVOST_NAME`, with `@` and `PROVOST_INSTANCE` behind it where there
    /// are several and the name does not say which. `None` when it was started by hand.
    #[must_use]
    pub fn name_from_env() -> Option<String> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Some(full_name(variable("PROVOST_NAME")?, variable("PROVOST_INSTANCE")))
    }

    /// The name, if a node may have it. Names stand in logs and on terminals, so they hold nothing that could harm
    /// there.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn check_name(name: &str) -> Result<String, NameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(name.to_owned())
        } else {
            Err(NameError)
        }
    }
}

/// A name that no node may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node's name has 1 to {LONGEST_NAME} letters, digits, '.', '_', '@' or '-'")]
pub struct NameError;

fn full_name(name: String, instance: Option<String>) -> String {
    match instance {
        Some(instance) if !name.contains('@') => format!("{name}@{instance}"),
        Some(_) | None => name,
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.node, self.pid)
    }
}

/// The part of a Hello that no version may change.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Greeting {
    magic: [u8; 4],
    protocol: u16,
}

/// The answer to an accepted Hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Who answers.
    pub server: Identity,
    /// Calls it serves at once on this connection; it reads no further while so many are unanswered.
    pub max_in_flight: u16,
}

/// Why a peer was not let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The two were built from different sources.
    #[error("it speaks protocol {ours} and this side {theirs}; run both from the same build")]
    Protocol {
        /// Of the side that refuses.
        ours: u16,
        /// Of the side that is refused.
        theirs: u16,
    },
    /// Another frame layout.
    #[error("it reads frame version {ours} and was sent version {theirs}; run both from the same build")]
    FrameVersion {
        /// Of the side that refuses.
        ours: u8,
        /// Of the side that is refused.
        theirs: u8,
    },
    /// The kernel says that the peer belongs to another user.
    #[error("it serves only its own user and root, not uid {uid}")]
    Uid {
        /// Of the side that is refused.
        uid: u32,
    },
    /// The Hello names another process than the one the kernel saw connect.
    #[error("the hello came from pid {real} and claims to be pid {claimed}")]
    Pid {
        /// What the hello says.
        claimed: u32,
        /// What the kernel says.
        real: u32,
    },
    /// The first frame is no Hello.
    #[error("the first message was not a hello")]
    NotHello,
    /// Too many connections.
    #[error("it already serves {limit} connections, its limit")]
    Full {
        /// The limit.
        limit: u32,
    },
    /// No common version of the wire.
    #[error("it speaks versions {} of the wire and this side {}; run both from like builds", range(*.ours), range(*.theirs))]
    Wire {
        /// Of the side that refuses, lowest and highest.
        ours: (u16, u16),
        /// Of the side that is refused.
        theirs: (u16, u16),
    },
    /// No common version of the application's messages.
    #[error("it speaks versions {} of the messages and this side {}; run both from like builds", range(*.ours), range(*.theirs))]
    Messages {
        /// Of the side that refuses, lowest and highest.
        ours: (u16, u16),
        /// Of the side that is refused.
        theirs: (u16, u16),
    },
    /// Another node of that name is connected.
    #[error("a node of that name is connected to it already (pid {pid})")]
    NodeTwice {
        /// The other one's process.
        pid: u32,
    },
    /// The two connected to each other at the same time, and the other connection stays.
    #[error("it is connected already")]
    Connected,
    /// The certificate is for another node than the hello names.
    #[error("the certificate of this node is for {of}, and its hello says {claimed}")]
    Certificate {
        /// What the certificate says.
        of: String,
        /// What the hello says.
        claimed: String,
    },
}

fn range((lowest, highest): (u16, u16)) -> String {
    if lowest == highest { lowest.to_string() } else { format!("{lowest} to {highest}") }
}

impl Refusal {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Refusal::Full { .. } | Refusal::NodeTwice { .. } | Refusal::Connected => true,
            Refusal::Protocol { .. }
            | Refusal::FrameVersion { .. }
            | Refusal::Uid { .. }
            | Refusal::Pid { .. }
            | Refusal::Wire { .. }
            | Refusal::Messages { .. }
            | Refusal::Certificate { .. }
            | Refusal::NotHello => false,
        }
    }
}

/// What the kernel knows about the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) uid: u32,
    /// Absent when the peer lives in a pid namespace that is not visible from here.
    pub(super) pid: Option<u32>,
}

/// Appends the Hello frame of `me`.
pub(super) fn append_hello(out: &mut Vec<u8>, protocol: u16, me: &Identity) -> Result<(), FrameError> {
    frame::append(out, Kind::Hello, 0, &(Greeting { magic: MAGIC, protocol }, me))
}

/// Decides whether the sender of a first frame is let in, for a server of user `own_uid`.
///
/// The protocol is judged before the rest of the Hello is decoded, so that a peer of any other version is told what
/// is wrong.
pub(super) fn judge(
    first: Result<Frame<'_>, FrameError>,
    credentials: Credentials,
    own_uid: u32,
    protocol: u16,
) -> Result<Identity, Refusal> {
    if credentials.uid != own_uid && credentials.uid != 0 {
        return Err(Refusal::Uid { uid: credentials.uid });
    }
    let frame = match first {
        Ok(frame) if frame.kind == Kind::Hello => frame,
        Err(FrameError::Version(theirs)) => {
            return Err(Refusal::FrameVersion { ours: frame::VERSION, theirs });
        }
        Ok(_) | Err(_) => return Err(Refusal::NotHello),
    };
    let (greeting, rest): (Greeting, _) =
        postcard::take_from_bytes(frame.body).map_err(|_| Refusal::NotHello)?;
    if greeting.magic != MAGIC {
        return Err(Refusal::NotHello);
    }
    if greeting.protocol != protocol {
        return Err(Refusal::Protocol { ours: protocol, theirs: greeting.protocol });
    }
    let peer: Identity = postcard::from_bytes(rest).map_err(|_| Refusal::NotHello)?;
    match credentials.pid {
        Some(real) if real != peer.pid => Err(Refusal::Pid { claimed: peer.pid, real }),
        Some(_) | None if Identity::check_name(&peer.node).is_ok() => Ok(peer),
        Some(_) | None => Err(Refusal::NotHello),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u32 = 1000;
    const PROTOCOL: u16 = 3;

    fn hello(protocol: u16, identity: &Identity) -> Vec<u8> {
        let mut bytes = Vec::new();
        append_hello(&mut bytes, protocol, identity).unwrap();
        bytes
    }

    fn judged(bytes: &[u8], credentials: Credentials) -> Result<Identity, Refusal> {
        judge(frame::parse(bytes).map(Option::unwrap), credentials, ME, PROTOCOL)
    }

    fn client() -> Identity {
        Identity { node: "client@1".to_owned(), pid: 42, incarnation: 7 }
    }

    #[test]
    fn several_instances_are_told_apart_by_name() {
        let named =
            |name: &str, instance: Option<&str>| full_name(name.to_owned(), instance.map(str::to_owned));
        assert_eq!(named("client", Some("2")), "client@2");
        assert_eq!(named("client@2", Some("2")), "client@2");
        assert_eq!(named("engine", None), "engine");
    }

    #[test]
    fn own_user_and_root_are_let_in() {
        for uid in [ME, 0] {
            assert_eq!(judged(&hello(PROTOCOL, &client()), Credentials { uid, pid: Some(42) }), Ok(client()));
        }
    }

    #[test]
    fn another_user_is_refused_whatever_it_sends() {
        let stranger = Credentials { uid: 1001, pid: Some(42) };
        assert_eq!(judged(&hello(PROTOCOL, &client()), stranger), Err(Refusal::Uid { uid: 1001 }));
    }

    #[test]
    fn a_hello_that_lies_about_its_pid_is_refused() {
        let credentials = Credentials { uid: ME, pid: Some(41) };
        assert_eq!(
            judged(&hello(PROTOCOL, &client()), credentials),
            Err(Refusal::Pid { claimed: 42, real: 41 })
        );
    }

    #[test]
    fn another_protocol_is_told_even_when_the_rest_of_its_hello_is_unknown() {
        let mut bytes = Vec::new();
        let body = (Greeting { magic: MAGIC, protocol: 9 }, "a field of the future", [1u8; 30]);
        frame::append(&mut bytes, Kind::Hello, 0, &body).unwrap();
        let refusal = judged(&bytes, Credentials { uid: ME, pid: None }).unwrap_err();
        assert_eq!(refusal, Refusal::Protocol { ours: PROTOCOL, theirs: 9 });
    }

    #[test]
    fn names_with_terminal_escapes_or_without_end_are_refused() {
        for name in ["", "client \u{1b}[2J", &"x".repeat(65)] {
            let identity = Identity { node: name.to_owned(), ..client() };
            let bytes = hello(PROTOCOL, &identity);
            assert_eq!(judged(&bytes, Credentials { uid: ME, pid: None }), Err(Refusal::NotHello));
        }
    }

    #[test]
    fn a_first_frame_that_is_no_hello_is_refused() {
        let mut call = Vec::new();
        frame::append(&mut call, Kind::Call, 1, &7u8).unwrap();
        let credentials = Credentials { uid: ME, pid: None };
        assert_eq!(judged(&call, credentials), Err(Refusal::NotHello));
        let version = judge(Err(FrameError::Version(8)), credentials, ME, PROTOCOL);
        assert_eq!(version, Err(Refusal::FrameVersion { ours: frame::VERSION, theirs: 8 }));
    }
}

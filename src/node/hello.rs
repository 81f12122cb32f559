//! Who is there, and why somebody is not let in.

use std::env;
use std::fmt;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

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

/// Why a peer was not let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
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
            Refusal::FrameVersion { .. }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_instances_are_told_apart_by_name() {
        let named =
            |name: &str, instance: Option<&str>| full_name(name.to_owned(), instance.map(str::to_owned));
        assert_eq!(named("client", Some("2")), "client@2");
        assert_eq!(named("client@2", Some("2")), "client@2");
        assert_eq!(named("engine", None), "engine");
    }
}

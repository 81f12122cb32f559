//! The kernel's own evidence that engine and clients are separate operating-system processes.
//!
//! A claim is evidence, then a verdict. Evidence is data: read from the kernel's tables by `look` and the `gather` of
//! each claim, never taken from what a program says about itself (the launcher only tells which name is which PID, and
//! that is what is examined). The verdict is a pure function of the evidence, so that each claim can be seen to fail.
//! A claim that cannot be examined here is skipped and says why; it counts neither way.
//! Text, JSON and the page are made of the same values, elsewhere.
//!
//! [`Subject`] is who is examined: the children of a running launcher, or, for the contrast, one process in which engine
//! and clients are tasks. [`examine`] takes the claims one after the other. A claim has a file: `identity`, `deaths`,
//! `sockets`, `memory`, `terminals`, `machines`,
//! `contrast` (with `measure`).
//!
//! It kills processes of its subject, because that is what has to be shown; it changes nothing else.

mod contrast;
mod deaths;
mod examine;
mod identity;
mod look;
mod machines;
mod measure;
mod memory;
mod sockets;
mod subject;
mod terminals;

pub use contrast::{Contrast, Side};
pub use deaths::{Deaths, Life, Round};
pub use examine::{Options, examine};
pub use identity::{Identity, Threads};
pub use look::{Part, Program, Seen};
pub use machines::{Cut, Machine, Machines, Plug, Stranger, Wire};
pub use measure::{Calls, Costs};
pub use memory::{Canary, Memory, Pair, SharedMapping, Space, Step, Use};
pub use sockets::{Bytes, End, Holder, Link, Listening, Sockets};
pub use subject::{Named, Subject};
pub use terminals::{HangUp, Seat, Terminals};

use serde::{Deserialize, Serialize};

/// Version of the shape of [`Proof`]. Fields may be added, never renamed.
pub const VERSION: u32 = 1;

/// Everything that was examined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// [`VERSION`].
    pub version: u32,
    /// Who was examined, in words.
    pub subject: String,
    /// When it began, RFC 3339.
    pub at: String,
    /// The kernel's name and version.
    pub kernel: String,
    /// Every claim held that could be examined.
    pub proven: bool,
    /// The claims, in order.
    pub claims: Vec<Claim>,
}

/// One claim: what was seen, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// What it says.
    pub title: String,
    /// Every check held.
    pub proven: bool,
    /// Why it could not be examined here; it is neither proven nor refuted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// What was checked.
    pub checks: Vec<Check>,
    /// Commands that show the same from outside.
    pub by_hand: Vec<String>,
    /// What was seen.
    pub evidence: Evidence,
}

/// One thing that has to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What has to hold.
    pub what: String,
    /// It does.
    pub holds: bool,
    /// What was found.
    pub found: String,
}

/// What was seen, by claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "claim", rename_all = "snake_case")]
pub enum Evidence {
    /// Who exists.
    Identity(Identity),
    /// What a death changes.
    Deaths(Deaths),
    /// Who is connected with whom.
    Sockets(Sockets),
    /// Whose memory is whose.
    Memory(Box<Memory>),
    /// Who sits at which terminal.
    Terminals(Box<Terminals>),
    /// How separate processes differ from one that is all of them.
    Contrast(Box<Contrast>),
    /// Who is on which machine, as far as the network can tell.
    Machines(Box<Machines>),
    /// It cannot be examined here.
    Skipped {
        /// Which claim it is.
        of: Topic,
        /// Why.
        why: String,
    },
    /// Nothing could be seen.
    Nothing {
        /// Which claim it was.
        of: Topic,
        /// Why.
        why: String,
    },
}

/// The claims by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// PIDs, start times, sessions, programs
    Identity,
    /// what `kill -9` of a client, the engine, the supervisor process changes
    Deaths,
    /// who holds the two ends of each connection, and what goes over it
    Sockets,
    /// whose memory is whose
    Memory,
    /// each started by hand on a terminal of its own
    Terminals,
    /// in network namespaces of their own, over TCP with certificates (root only)
    Machines,
    /// the same as tasks of one process, side by side and measured
    Contrast,
}

impl Topic {
    /// All of them, in the order in which they are examined.
    pub const ALL: [Topic; 7] = [
        Topic::Identity,
        Topic::Sockets,
        Topic::Memory,
        Topic::Deaths,
        Topic::Terminals,
        Topic::Machines,
        Topic::Contrast,
    ];

    /// What the claim says.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Topic::Identity => "each is a process of its own",
            Topic::Deaths => "each dies alone and comes back",
            Topic::Sockets => "they are connected by sockets that the kernel carries",
            Topic::Memory => "each has memory of its own",
            Topic::Terminals => "each can be started by hand, on a terminal of its own",
            Topic::Machines => "they need not be on one machine",
            Topic::Contrast => "tasks of one process have none of this",
        }
    }
}

impl Claim {
    /// The verdict on this evidence.
    #[must_use]
    pub fn on(evidence: Evidence) -> Claim {
        let (topic, checks, by_hand) = match &evidence {
            Evidence::Identity(seen) => (Topic::Identity, identity::judge(seen), identity::by_hand(seen)),
            Evidence::Deaths(seen) => (Topic::Deaths, deaths::judge(seen), deaths::by_hand(seen)),
            Evidence::Sockets(seen) => (Topic::Sockets, sockets::judge(seen), sockets::by_hand(seen)),
            Evidence::Memory(seen) => (Topic::Memory, memory::judge(seen), memory::by_hand(seen)),
            Evidence::Terminals(seen) => (Topic::Terminals, terminals::judge(seen), terminals::by_hand()),
            Evidence::Machines(seen) => (Topic::Machines, machines::judge(seen), machines::by_hand()),
            Evidence::Contrast(seen) => (Topic::Contrast, contrast::judge(seen), contrast::by_hand()),
            Evidence::Skipped { of, .. } => (*of, Vec::new(), Vec::new()),
            Evidence::Nothing { of, why } => {
                (*of, vec![Check::that("there is something to see", false, why.clone())], Vec::new())
            }
        };
        let proven = !checks.is_empty() && checks.iter().all(|check| check.holds);
        let skipped = match &evidence {
            Evidence::Skipped { why, .. } => Some(why.clone()),
            _ => None,
        };
        Claim { skipped, title: topic.title().to_owned(), proven, checks, by_hand, evidence }
    }

    /// Which claim it is.
    #[must_use]
    pub fn topic(&self) -> Topic {
        match &self.evidence {
            Evidence::Identity(_) => Topic::Identity,
            Evidence::Deaths(_) => Topic::Deaths,
            Evidence::Sockets(_) => Topic::Sockets,
            Evidence::Memory(_) => Topic::Memory,
            Evidence::Terminals(_) => Topic::Terminals,
            Evidence::Machines(_) => Topic::Machines,
            Evidence::Contrast(_) => Topic::Contrast,
            Evidence::Skipped { of, .. } | Evidence::Nothing { of, .. } => *of,
        }
    }
}

impl Check {
    fn that(what: impl Into<String>, holds: bool, found: impl Into<String>) -> Check {
        Check { what: what.into(), holds, found: found.into() }
    }

    /// Holds if nothing speaks against it.
    fn unless(what: impl Into<String>, against: &[String], otherwise: impl Into<String>) -> Check {
        let found = if against.is_empty() { otherwise.into() } else { against.join("; ") };
        Check::that(what, against.is_empty(), found)
    }
}

//! What a person configures, as far as the rules care: OTP's supervisor flags and child specifications.
//!
//! Commands, environments and sockets are not here: the rules never see them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which siblings a death concerns (OTP `strategy()`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the child that died.
    #[default]
    OneForOne,
    /// Every child.
    OneForAll,
    /// The child that died and those after it in start order.
    RestForOne,
    /// One template, instances added at run time, each on its own (OTP `simple_one_for_one`).
    SimpleOneForOne,
}

/// When a child that ended is started again (OTP `restart()`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only after an abnormal exit.
    Transient,
    /// Never; the specification goes with the process.
    Temporary,
}

/// Whether the exit of a significant child ends its supervisor (OTP `auto_shutdown()`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// Significant children are not allowed.
    #[default]
    Never,
    /// The first significant child that ends by itself ends the supervisor.
    AnySignificant,
    /// The last one does.
    AllSignificant,
}

/// What happens when the restart intensity is exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GiveUp {
    /// The supervisor stops all children and ends; its parent decides (OTP).
    #[default]
    Escalate,
    /// Only the offending child is marked failed; its siblings live on (systemd's manner, an explicit choice).
    Child,
}

/// OTP `sup_flags()`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flags {
    /// Which siblings a death concerns.
    pub strategy: Strategy,
    /// At most this many restarts ...
    pub intensity: u32,
    /// ... within any window of this length.
    pub period: Duration,
    /// Whether significant children end the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// What exceeding the intensity means.
    pub give_up: GiveUp,
}

impl Default for Flags {
    /// OTP's defaults: `one_for_one`, 1 restart in 5 s, `never`.
    fn default() -> Self {
        Flags {
            strategy: Strategy::default(),
            intensity: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::default(),
            give_up: GiveUp::default(),
        }
    }
}

/// A supervisor node: flags and children in start order. A template supervisor has exactly one child: the template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SupervisorSpec {
    /// Strategy, intensity and the rest.
    pub flags: Flags,
    /// Children in start order.
    pub children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// Whether the one child is a template.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.flags.strategy == Strategy::SimpleOneForOne
    }
}

impl SupervisorSpec {
    /// The longest time that the stop of one worker may take, `None`: for ever.
    #[must_use]
    pub fn longest_stop(&self) -> Option<Duration> {
        self.children.iter().try_fold(Duration::ZERO, |longest, child| {
            let stop = match (&child.kind, &child.shutdown) {
                (Kind::Supervisor(inner), _) => inner.longest_stop()?,
                (Kind::Worker(_), Shutdown::BrutalKill) => Duration::ZERO,
                (Kind::Worker(_), Shutdown::Polite(steps)) => {
                    steps.iter().try_fold(Duration::ZERO, |sum, step| Some(sum.saturating_add(step.wait?)))?
                }
            };
            Some(longest.max(stop))
        })
    }
}

/// OTP `child_spec()`, without the part that says what to run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChildSpec {
    /// Unique in the whole tree (OTP asks for unique in its supervisor; a person names a child without its path).
    pub name: String,
    /// When to start it again.
    pub restart: Restart,
    /// Whether its own exit can end the supervisor.
    pub significant: bool,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// Pause between restarts; `None` as in OTP.
    pub backoff: Option<Backoff>,
    /// Worker or supervisor.
    pub kind: Kind,
}

/// OTP's `type`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An operating-system process.
    Worker(WorkerSpec),
    /// An inner node.
    Supervisor(SupervisorSpec),
}

/// What the rules need to know of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkerSpec {
    /// When a start counts as done.
    pub start: Start,
    /// Exit codes that count as success beside 0.
    pub success_codes: BTreeSet<u8>,
    /// Deaths by these signals count as success.
    pub success_signals: BTreeSet<Signal>,
}

/// When a start attempt is over, and well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// As soon as exec succeeded.
    #[default]
    Exec,
    /// When the child is reported ready; `timeout` ends the attempt in failure (`None`: wait for ever).
    Ready {
        /// The longest wait for readiness.
        timeout: Option<Duration>,
    },
    /// When the process has ended with success: it runs to completion before the next sibling starts.
    Oneshot {
        /// The longest run.
        timeout: Option<Duration>,
    },
}

/// A signal number as in `signal(7)`. The rules only compare it and hand it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signal(pub i32);

/// How a child is stopped (OTP `shutdown()`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// Killed at once.
    BrutalKill,
    /// Asked step by step, killed after the last step's wait. A supervisor's is one step without a limit.
    Polite(Vec<StopStep>),
}

/// One polite step of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StopStep {
    /// Sent at the beginning of the step, followed by CONT.
    pub signal: Signal,
    /// How long to wait before the next step; `None` waits for ever (OTP `infinity`).
    pub wait: Option<Duration>,
}

/// Pause before a restart: `min(max, initial * factor^n)`, n = consecutive restarts of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Backoff {
    /// First pause.
    pub initial: Duration,
    /// Growth per restart, in thousandths (2000 = doubling): an integer, so that a state can be hashed.
    pub factor_milli: u32,
    /// Longest pause.
    pub max: Duration,
    /// Each pause is lengthened by a random part of itself up to this many thousandths (0 = none).
    pub jitter_milli: u32,
    /// Running this long sets n back to 0; `None`: the supervisor's period.
    pub reset_after: Option<Duration>,
}

/// Why a specification is refused (OTP `check_childspecs`, `start_error`). Text for people is made elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SpecError {
    /// Two children of this name.
    DuplicateName(String),
    /// `period` is zero.
    InvalidPeriod,
    /// Significant, but its supervisor never shuts down by itself.
    SignificantNever(String),
    /// Significant and permanent.
    SignificantPermanent(String),
    /// A template supervisor needs exactly one child.
    TemplateCount(usize),
    /// `auto_shutdown` on a template supervisor.
    TemplateAutoShutdown,
    /// A reload may not turn an ordinary supervisor into a template or back.
    TemplateSwitch(String),
    /// A reload may not turn a worker into a supervisor or back.
    KindSwitch(String),
}

//! How much an event matters.

use crate::control::{EventKind, Level};
use crate::rules::{ChildSpec, EndClass, Exit, Kind, Restart, Shutdown, Signal};

/// What the end of a run matters: if nobody had asked for it, and if its supervisor had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) by_itself: Level,
    pub(super) asked: Level,
}

/// OTP reports the end of a permanent child and every abnormal end as an error. A child that was asked may end with
/// success, by the signal that asked, or by KILL.
pub(super) fn weight(child: &ChildSpec, exit: Exit) -> Weight {
    let success = match (&child.kind, exit) {
        (_, Exit::Code(0)) => true,
        (Kind::Worker(worker), Exit::Code(code)) => worker.success_codes.contains(&code),
        (Kind::Worker(worker), Exit::Signal { signal, .. }) => worker.success_signals.contains(&signal),
        (Kind::Worker(_), Exit::Unknown) | (Kind::Supervisor(_), _) => false,
    };
    let serious = child.restart == Restart::Permanent || !success;
    Weight {
        by_itself: if serious { Level::Error } else { Level::Info },
        asked: if success || is_answer(&child.shutdown, exit) { Level::Info } else { Level::Warning },
    }
}

fn is_answer(shutdown: &Shutdown, exit: Exit) -> bool {
    let Exit::Signal { signal, .. } = exit else { return false };
    let asked = match shutdown {
        Shutdown::BrutalKill => false,
        Shutdown::Polite(steps) => steps.iter().any(|step| step.signal == signal),
    };
    asked || signal == Signal(libc::SIGKILL)
}

/// The level of an event about which nothing more is known.
pub(super) fn level(event: EventKind) -> Level {
    match event {
        EventKind::Starting | EventKind::Stopping => Level::Debug,
        EventKind::Started
        | EventKind::Ready
        | EventKind::Ignored
        | EventKind::Exited
        | EventKind::Stopped
        | EventKind::Restarting
        | EventKind::Backoff
        | EventKind::AutoShutdown
        | EventKind::Removed
        | EventKind::Added
        | EventKind::Reloaded
        | EventKind::OutputResumed
        | EventKind::Upgraded => Level::Info,
        EventKind::Killed | EventKind::Takeover | EventKind::OutputStalled => Level::Warning,
        EventKind::StartFailed | EventKind::Unhealthy | EventKind::GaveUp => Level::Error,
    }
}

/// The end of a supervisor.
pub(super) fn level_of_end(class: EndClass) -> Level {
    match class {
        EndClass::Stopped | EndClass::AutoShutdown { .. } => Level::Info,
        EndClass::GaveUp | EndClass::BootFailed(_) | EndClass::Killed => Level::Error,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rules::{StopStep, WorkerSpec};

    fn child(restart: Restart) -> ChildSpec {
        let success_codes = BTreeSet::from([77]);
        let success_signals = BTreeSet::from([Signal(libc::SIGHUP)]);
        let step = StopStep { signal: Signal(libc::SIGTERM), wait: None };
        ChildSpec {
            name: "a".into(),
            restart,
            significant: false,
            shutdown: Shutdown::Polite(vec![step]),
            backoff: None,
            kind: Kind::Worker(WorkerSpec { success_codes, success_signals, ..WorkerSpec::default() }),
        }
    }

    fn signal(number: i32) -> Exit {
        Exit::Signal { signal: Signal(number), core: false }
    }

    #[test]
    fn a_permanent_childs_end_and_every_abnormal_one_is_an_error() {
        let of = |restart, exit| weight(&child(restart), exit).by_itself;
        for exit in [Exit::Code(0), Exit::Code(77), signal(libc::SIGHUP)] {
            assert_eq!(of(Restart::Permanent, exit), Level::Error);
            assert_eq!(of(Restart::Transient, exit), Level::Info);
            assert_eq!(of(Restart::Temporary, exit), Level::Info);
        }
        for exit in [Exit::Code(1), signal(libc::SIGTERM), signal(libc::SIGKILL), Exit::Unknown] {
            assert_eq!(of(Restart::Transient, exit), Level::Error);
            assert_eq!(of(Restart::Temporary, exit), Level::Error);
        }
    }

    #[test]
    fn an_odd_answer_to_a_stop_is_a_warning() {
        let of = |exit| weight(&child(Restart::Permanent), exit).asked;
        for exit in [Exit::Code(0), Exit::Code(77), signal(libc::SIGTERM), signal(libc::SIGKILL)] {
            assert_eq!(of(exit), Level::Info);
        }
        for exit in [Exit::Code(1), signal(libc::SIGSEGV), Exit::Unknown] {
            assert_eq!(of(exit), Level::Warning);
        }
    }
}

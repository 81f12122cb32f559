//! Specifications for tests.

use std::time::Duration;

use provost::rules::{
    ChildSpec, Flags, Kind, Restart, Shutdown, Start, StopStep, Strategy, SupervisorSpec, WorkerSpec,
};

use crate::world::TERM;

/// TERM, then so many milliseconds.
pub(crate) fn polite(millis: Option<u64>) -> Shutdown {
    Shutdown::Polite(vec![StopStep { signal: TERM, wait: millis.map(Duration::from_millis) }])
}

/// A permanent worker that reports when it is ready, and has a second to end.
pub(crate) fn worker(name: &str) -> ChildSpec {
    let start = Start::Ready { timeout: Some(Duration::from_secs(30)) };
    ChildSpec {
        name: name.to_owned(),
        restart: Restart::Permanent,
        significant: false,
        shutdown: polite(Some(1000)),
        backoff: None,
        kind: Kind::Worker(WorkerSpec { start, ..WorkerSpec::default() }),
    }
}

/// A permanent inner node.
pub(crate) fn inner(name: &str, spec: SupervisorSpec) -> ChildSpec {
    ChildSpec { shutdown: polite(None), kind: Kind::Supervisor(spec), ..worker(name) }
}

pub(crate) fn supervisor(
    strategy: Strategy,
    intensity: u32,
    seconds: u64,
    children: &[ChildSpec],
) -> SupervisorSpec {
    let flags = Flags { strategy, intensity, period: Duration::from_secs(seconds), ..Flags::default() };
    SupervisorSpec { flags, children: children.to_vec() }
}

//! The outcome of a death, stated a second time and plainly: restart type against exit class against strategy.
//!
//! Three children a, b, c; b dies. The expected texts are written from OTP's documentation, not from the rules' code.

use std::collections::BTreeSet;

use provost::rules::{ChildSpec, Exit, Kind, Restart, Signal, Strategy, WorkerSpec};

use crate::build::{supervisor, worker};
use crate::world::{TERM, World, killed};

/// b with every way to die.
fn trio(strategy: Strategy, restart: Restart) -> World {
    let mut b = ChildSpec { restart, ..worker("b") };
    let Kind::Worker(it) = &mut b.kind else { unreachable!() };
    *it = WorkerSpec {
        success_codes: BTreeSet::from([77]),
        success_signals: BTreeSet::from([Signal(10)]),
        ..it.clone()
    };
    let mut world = World::booted(supervisor(strategy, 1, 3600, &[worker("a"), b, worker("c")]));
    world.take_trace();
    world
}

fn after(strategy: Strategy, restart: Restart, exit: Exit) -> (String, String) {
    let mut world = trio(strategy, restart);
    world.dies("b", exit);
    world.settle();
    assert_eq!(world.finished, None);
    let trace = world.take_trace()[1..].join(" ");
    let root = world.tree.view(provost::rules::Moment(world.now)).supervisor.expect("the root");
    let listing: Vec<_> = root.children.iter().map(|c| format!("{}={:?}", c.name, c.phase)).collect();
    (trace, listing.join(" "))
}

const SUCCESSES: [Exit; 3] =
    [Exit::Code(0), Exit::Code(77), Exit::Signal { signal: Signal(10), core: false }];

fn failures() -> [Exit; 6] {
    [
        Exit::Code(1),
        Exit::Code(143),
        killed(),
        Exit::Signal { signal: TERM, core: false },
        Exit::Signal { signal: Signal(11), core: true },
        Exit::Unknown,
    ]
}

const ALL_READY: &str = "a=Ready b=Ready c=Ready";

#[test]
fn a_permanent_child_is_restarted_after_any_exit() {
    for exit in SUCCESSES.into_iter().chain(failures()) {
        for (strategy, round) in [
            (Strategy::OneForOne, "+b.2"),
            (Strategy::OneForAll, "-c.1 -a.1 +a.2 +b.2 +c.2"),
            (Strategy::RestForOne, "-c.1 +b.2 +c.2"),
        ] {
            assert_eq!(
                after(strategy, Restart::Permanent, exit),
                (round.into(), ALL_READY.into()),
                "{exit:?}"
            );
        }
    }
}

#[test]
fn a_transient_child_is_restarted_after_an_abnormal_exit() {
    for exit in failures() {
        for (strategy, round) in [
            (Strategy::OneForOne, "+b.2"),
            (Strategy::OneForAll, "-c.1 -a.1 +a.2 +b.2 +c.2"),
            (Strategy::RestForOne, "-c.1 +b.2 +c.2"),
        ] {
            assert_eq!(
                after(strategy, Restart::Transient, exit),
                (round.into(), ALL_READY.into()),
                "{exit:?}"
            );
        }
    }
}

#[test]
fn a_transient_child_that_succeeds_is_kept_without_a_process() {
    for exit in SUCCESSES {
        for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
            let outcome = after(strategy, Restart::Transient, exit);
            assert_eq!(outcome, (String::new(), "a=Ready b=Exited c=Ready".into()), "{exit:?}");
        }
    }
}

#[test]
fn a_temporary_child_goes_with_its_process() {
    for exit in SUCCESSES.into_iter().chain(failures()) {
        for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
            let outcome = after(strategy, Restart::Temporary, exit);
            assert_eq!(outcome, (String::new(), "a=Ready c=Ready".into()), "{exit:?}");
        }
    }
}

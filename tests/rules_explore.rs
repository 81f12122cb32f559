//! Every reachable state of small trees: whatever the world does, in whatever order, the promises hold.
//!
//! From a booting tree, each thing that can happen next is tried: starts that succeed, fail or are ignored, deaths alone and
//! in pairs, health checks, calls, deadlines, and in every single state a stop, a stale fact and a double one. A few faults
//! are allowed in each history; `PROVOST_EXPLORE_FAULTS` allows more (the number of states grows quickly).

#[path = "otp/random.rs"]
mod random;
#[path = "otp/state.rs"]
mod state;

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use provost::rules::{
    AutoShutdown, Backoff, ChildSpec, Kind, Restart, Start, Strategy, SupervisorSpec, WorkerSpec,
};
use state::{History, State, inner, permanent, polite, temporary, transient, tree};

/// What one kind of tree may meet.
struct Scene {
    spec: SupervisorSpec,
    faults: u32,
    calls: u32,
}

#[test]
fn one_for_one() {
    explore(Scene { spec: tree(Strategy::OneForOne, 2, &["a", "b"].map(permanent)), faults: 3, calls: 0 });
}

#[test]
fn one_for_one_with_calls() {
    explore(Scene {
        spec: tree(Strategy::OneForOne, 1, &[permanent("a"), temporary("b")]),
        faults: 2,
        calls: 1,
    });
}

#[test]
fn one_for_all() {
    let children = [permanent("a"), transient("b"), temporary("c")];
    explore(Scene { spec: tree(Strategy::OneForAll, 2, &children), faults: 3, calls: 0 });
}

#[test]
fn one_for_all_with_calls() {
    explore(Scene { spec: tree(Strategy::OneForAll, 1, &["a", "b"].map(permanent)), faults: 2, calls: 1 });
}

#[test]
fn rest_for_one() {
    let children = [permanent("a"), transient("b"), permanent("c")];
    explore(Scene { spec: tree(Strategy::RestForOne, 2, &children), faults: 2, calls: 0 });
}

#[test]
fn rest_for_one_with_a_backoff() {
    let backoff = Backoff {
        initial: Duration::from_millis(500),
        factor_milli: 2000,
        max: Duration::from_secs(2),
        jitter_milli: 0,
        reset_after: None,
    };
    let children = ["a", "b"].map(|name| ChildSpec { backoff: Some(backoff), ..permanent(name) });
    explore(Scene { spec: tree(Strategy::RestForOne, 2, &children), faults: 2, calls: 1 });
}

#[test]
fn nested() {
    let below = tree(Strategy::OneForAll, 1, &["b", "c"].map(permanent));
    let children = [permanent("a"), inner("s", below)];
    explore(Scene { spec: tree(Strategy::RestForOne, 1, &children), faults: 2, calls: 0 });
}

#[test]
fn nested_with_a_limit_on_its_stop() {
    let below = tree(Strategy::OneForOne, 1, &["b", "c"].map(permanent));
    let s = ChildSpec { shutdown: polite(Some(500)), ..inner("s", below) };
    explore(Scene { spec: tree(Strategy::OneForOne, 1, &[s]), faults: 1, calls: 1 });
}

#[test]
fn significant() {
    for auto_shutdown in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        let children = [transient("a"), temporary("b")].map(|c| ChildSpec { significant: true, ..c });
        let mut spec = tree(Strategy::OneForAll, 1, &children);
        spec.children.push(permanent("c"));
        spec.flags.auto_shutdown = auto_shutdown;
        explore(Scene { spec, faults: 2, calls: 0 });
    }
}

#[test]
fn instances_of_a_template() {
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        let spec = tree(Strategy::SimpleOneForOne, 1, &[ChildSpec { restart, ..permanent("t") }]);
        explore(Scene { spec, faults: 2, calls: 2 });
    }
}

#[test]
fn a_oneshot_before_a_service() {
    let mut setup = permanent("a");
    setup.kind = Kind::Worker(WorkerSpec {
        start: Start::Oneshot { timeout: Some(Duration::from_secs(5)) },
        ..WorkerSpec::default()
    });
    explore(Scene { spec: tree(Strategy::OneForAll, 1, &[setup, permanent("b")]), faults: 4, calls: 0 });
}

fn explore(scene: Scene) {
    let more: u32 = std::env::var("PROVOST_EXPLORE_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let first = State::new(scene.spec, scene.faults + more, scene.calls);
    let mut seen = HashSet::from([fingerprint(&first)]);
    let mut open = VecDeque::from([(Vec::new(), first)]);
    while let Some((events, state)) = open.pop_front() {
        let mut history = History(events);
        state.check();
        state.check_noise();
        state.check_stops();
        for choice in state.choices() {
            history.0.push(choice.event.clone());
            let (next, _) = state.after(choice);
            if seen.insert(fingerprint(&next)) {
                open.push_back((history.0.clone(), next));
            }
            history.0.pop();
        }
    }
    assert!(seen.len() > 50, "there is something to explore, not only {} states", seen.len());
    println!("{} states", seen.len());
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

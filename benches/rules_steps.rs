//! What one death costs the rules: steps a second from the exit of one child to its restart, beside ever more siblings.
//!
//! `cargo bench --bench rules_steps`. The number of siblings must hardly matter.

use std::time::{Duration, Instant};

use provost::rules::{
    Action, ChildSpec, Event, Exit, ExitFact, Flags, Kind, Moment, NodeId, Restart, Run, Shutdown,
    SupervisorSpec, Tree, WorkerSpec,
};

const RESTARTS: u32 = 200_000;

fn main() {
    println!("{:>9}  {:>12}  {:>11}  {:>12}", "children", "boot", "a restart", "steps a s");
    for children in [10, 1_000, 10_000] {
        let start = Instant::now();
        let mut tree = booted(children);
        let boot = start.elapsed();
        let start = Instant::now();
        let steps = restart_in_turn(&mut tree, children);
        let took = start.elapsed();
        println!(
            "{children:>9}  {:>9.2} ms  {:>8.0} ns  {:>12.0}",
            boot.as_secs_f64() * 1e3,
            took.as_secs_f64() * 1e9 / f64::from(RESTARTS),
            f64::from(steps) / took.as_secs_f64(),
        );
    }
}

/// A one_for_one tree of so many children, all up.
fn booted(children: u32) -> Tree {
    let child = |i| ChildSpec {
        name: format!("child-{i}"),
        restart: Restart::Permanent,
        significant: false,
        shutdown: Shutdown::BrutalKill,
        backoff: None,
        kind: Kind::Worker(WorkerSpec::default()),
    };
    let flags = Flags { period: Duration::from_millis(1), ..Flags::default() };
    let spec = SupervisorSpec { flags, children: (0..children).map(child).collect() };
    let mut tree = Tree::new(spec).expect("the specification is good");
    let mut actions = Vec::new();
    tree.step(Moment(0), Event::Boot, &mut actions);
    while let Some((node, run)) = started(&actions) {
        actions.clear();
        tree.step(Moment(0), Event::Spawned(node, run), &mut actions);
    }
    tree
}

/// Kills one child after the other and starts it again; returns the number of steps.
fn restart_in_turn(tree: &mut Tree, children: u32) -> u32 {
    let mut actions = Vec::new();
    for i in 0..RESTARTS {
        let now = Moment(u64::from(i) * 10);
        let (node, run) = (NodeId(1 + i % children), Run(1 + i / children));
        actions.clear();
        tree.step(now, Event::Exited(vec![ExitFact { node, run, exit: Exit::Code(1) }]), &mut actions);
        let (node, run) = started(&actions).expect("it is restarted");
        actions.clear();
        tree.step(now, Event::Spawned(node, run), &mut actions);
    }
    2 * RESTARTS
}

fn started(actions: &[Action]) -> Option<(NodeId, Run)> {
    actions.iter().find_map(|action| match action {
        Action::Start(node, run) => Some((*node, *run)),
        _ => None,
    })
}

//! Random trees through random histories: late, hostile and double facts, calls, reloads and deadlines in any order.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::{BoxedStrategy, Strategy as Generate};
use proptest::test_runner::TestCaseError;
use provost::rules::{
    Action, AutoShutdown, Backoff, Call, ChildSpec, Event, Flags, GiveUp, Kind, Moment, NodeId, Note, Phase,
    Restart, Run, Shutdown, Start, Strategy, SupervisorSpec, Ticket, Tree, View, WorkerSpec,
};

use crate::state::{Choice, State, facts, inner, nodes, permanent, polite};

fn any_restart() -> impl Generate<Value = Restart> {
    prop_oneof![
        3 => Just(Restart::Permanent),
        1 => Just(Restart::Transient),
        1 => Just(Restart::Temporary),
    ]
}

fn any_shutdown() -> impl Generate<Value = Shutdown> {
    prop_oneof![
        4 => Just(polite(Some(1000))),
        1 => Just(polite(None)),
        1 => Just(polite(Some(0))),
        1 => Just(Shutdown::BrutalKill),
    ]
}

fn any_worker() -> impl Generate<Value = ChildSpec> {
    let start = prop_oneof![
        Just(Start::Exec),
        Just(Start::Ready { timeout: Some(Duration::from_secs(3)) }),
        Just(Start::Oneshot { timeout: None }),
    ];
    let backoff = proptest::option::of(Just(Backoff {
        initial: Duration::from_millis(700),
        factor_milli: 1500,
        max: Duration::from_secs(3),
        jitter_milli: 200,
        reset_after: Some(Duration::from_secs(10)),
    }));
    (any_restart(), any_shutdown(), start, backoff, any::<bool>()).prop_map(
        |(restart, shutdown, start, backoff, significant)| ChildSpec {
            restart,
            shutdown,
            backoff,
            significant,
            kind: Kind::Worker(WorkerSpec { start, ..WorkerSpec::default() }),
            ..permanent("")
        },
    )
}

fn any_flags() -> impl Generate<Value = Flags> {
    let strategy =
        prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)];
    let auto = prop_oneof![
        2 => Just(AutoShutdown::Never),
        1 => Just(AutoShutdown::AnySignificant),
        1 => Just(AutoShutdown::AllSignificant),
    ];
    let give_up = prop_oneof![4 => Just(GiveUp::Escalate), 1 => Just(GiveUp::Child)];
    (strategy, 0..4u32, 1..20u64, auto, give_up).prop_map(
        |(strategy, intensity, secs, auto_shutdown, give_up)| Flags {
            strategy,
            intensity,
            period: Duration::from_secs(secs),
            auto_shutdown,
            give_up,
        },
    )
}

fn any_supervisor(levels: u32) -> BoxedStrategy<SupervisorSpec> {
    let child = if levels == 0 {
        any_worker().boxed()
    } else {
        let below = (any_restart(), any_shutdown(), any_supervisor(levels - 1))
            .prop_map(|(restart, shutdown, spec)| ChildSpec { restart, shutdown, ..inner("", spec) });
        prop_oneof![3 => any_worker(), 1 => below].boxed()
    };
    (any_flags(), vec(child, 0..4), 0..6u8)
        .prop_map(|(mut flags, mut children, kind)| {
            if kind == 0 && !children.is_empty() {
                children.truncate(1);
                flags.strategy = Strategy::SimpleOneForOne;
                flags.auto_shutdown = AutoShutdown::Never;
            }
            SupervisorSpec { flags, children }
        })
        .boxed()
}

/// A tree in which everything has its name and no setting contradicts another.
fn any_tree() -> impl Generate<Value = SupervisorSpec> {
    any_supervisor(2).prop_map(|mut spec| {
        make_good(&mut spec, &mut 0);
        spec
    })
}

fn make_good(spec: &mut SupervisorSpec, count: &mut u32) {
    for child in &mut spec.children {
        *count += 1;
        child.name = format!("n{count}");
        child.significant &=
            child.restart != Restart::Permanent && spec.flags.auto_shutdown != AutoShutdown::Never;
        if let Kind::Supervisor(below) = &mut child.kind {
            make_good(below, count);
        }
    }
}

/// What happens next, as numbers to choose by.
fn any_history() -> impl Generate<Value = Vec<(u8, u32)>> {
    vec((any::<u8>(), any::<u32>()), 0..80)
}

/// Chooses among what can happen: mostly what is due, sometimes a call, a reload or noise.
fn choose(state: &State, kind: u8, number: u32, other: &SupervisorSpec) -> Option<Choice> {
    let free = |event| Some(Choice { event, faults: 0, calls: 0, millis: 0 });
    let root = state.tree.view(Moment(state.now));
    let all = nodes(&root);
    let node = all[number as usize % all.len()];
    let ticket = Ticket(u64::from(number));
    let call = |call| free(Event::Request(ticket, call));
    match kind {
        0..=180 => {
            let mut choices = state.choices();
            let due = choices.iter().filter(|choice| choice.faults == 0).count();
            if kind < 120 && due > 0 {
                choices.retain(|choice| choice.faults == 0);
            }
            let index = number as usize % choices.len().max(1);
            choices.into_iter().nth(index)
        }
        181..=200 => {
            let run = Run(number >> 16 & 3);
            let hostile = facts(node.id, run).into_iter().nth(number as usize >> 8 & 7)?;
            let known = state.processes.get(&node.id).is_some_and(|process| process.run == run);
            if known { None } else { free(hostile) }
        }
        201..=208 => call(Call::TerminateChild(node.id)),
        209..=216 => call(Call::RestartChild(node.id)),
        217..=222 => call(Call::DeleteChild(node.id)),
        223..=228 => call(Call::CycleChild(node.id)),
        229..=234 => {
            call(Call::StartChild(node.id, ChildSpec { name: format!("n{}", number % 9), ..permanent("") }))
        }
        235..=242 => call(Call::StartInstance(node.id, format!("i{number}"))),
        243..=246 => call(Call::Reload(other.clone())),
        247..=252 => {
            Some(Choice { event: Event::Tick, faults: 0, calls: 0, millis: u64::from(number % 3000) })
        }
        253 => free(Event::Stop),
        254 => free(Event::StopNow),
        255 => free(Event::Boot),
    }
}

/// Never more restarts in a period than allowed.
fn check_intensity(notes: &[(u64, Note)], root: &View) -> Result<(), TestCaseError> {
    let mut restarts: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
    for (at, note) in notes {
        match note {
            Note::Restarting { supervisor, .. } => restarts.entry(*supervisor).or_default().push(*at),
            // A new incarnation starts with an empty list, and a reload may change the limits.
            Note::Starting(node, _) => {
                restarts.remove(node);
            }
            Note::Reloaded => restarts.clear(),
            _ => {}
        }
    }
    for view in nodes(root) {
        let (Some(it), Some(times)) = (&view.supervisor, restarts.get(&view.id)) else { continue };
        let period = it.flags.period.as_millis() as u64;
        for last in times {
            let within = times.iter().filter(|at| **at <= *last && last - **at <= period).count();
            prop_assert!(within <= it.flags.intensity as usize, "{within} restarts of {}", view.name);
        }
    }
    Ok(())
}

fn check_counts(state: &State, root: &View) -> Result<(), TestCaseError> {
    for view in nodes(root) {
        let Some(it) = &view.supervisor else { continue };
        let counts = state.tree.counts(view.id).expect("a supervisor");
        let phases =
            |wanted: fn(Phase) -> bool| it.children.iter().filter(|child| wanted(child.phase)).count();
        let restarting = phases(|phase| matches!(phase, Phase::Restarting | Phase::Backoff));
        let stopped =
            phases(|phase| !phase.is_active() && !matches!(phase, Phase::Restarting | Phase::Backoff));
        let listed = counts.active + restarting + stopped;
        prop_assert_eq!(listed, it.children.len());
        prop_assert_eq!(counts.supervisors + counts.workers, listed);
        let template = it.flags.strategy == Strategy::SimpleOneForOne;
        prop_assert_eq!(counts.specs, if template { 1 } else { listed });
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_in_every_history(spec in any_tree(), other in any_tree(), history in any_history()) {
        let mut state = State::new(spec.clone(), 1000, 0);
        state.calls_made = true;
        let mut events = Vec::new();
        let mut notes = Vec::new();
        state.happen(Event::Boot);
        events.push((state.now, Event::Boot));
        for (kind, number) in history {
            if state.finished.is_some() {
                break;
            }
            let Some(choice) = choose(&state, kind, number, &other) else { continue };
            events.push((state.now + choice.millis, choice.event.clone()));
            let (next, told) = state.after(choice);
            state = next;
            notes.extend(told.into_iter().map(|note| (state.now, note)));
            let root = state.tree.view(Moment(state.now));
            state.check();
            state.check_noise();
            check_counts(&state, &root)?;
            check_intensity(&notes, &root)?;
        }
        state.check_stops();
        replay(spec, &events, &state)?;
    }

    /// Whoever sends facts about others' processes moves nothing.
    #[test]
    fn hostile_facts_change_nothing(spec in any_tree(), nodes in vec((0..40u32, 0..4u32), 1..40)) {
        let mut tree = Tree::new(spec).expect("it is good");
        let mut actions = Vec::new();
        tree.step(Moment(0), Event::Boot, &mut actions);
        let ordered = |node, run| actions.contains(&Action::Start(node, run));
        let before = tree.clone();
        let mut answers = Vec::new();
        for (node, run) in nodes {
            let (node, run) = (NodeId(node), Run(run));
            if !ordered(node, run) && tree.spec(node).is_none_or(|spec| matches!(spec.kind, Kind::Worker(_))) {
                for fact in facts(node, run) {
                    tree.step(Moment(0), fact, &mut answers);
                }
            }
        }
        prop_assert_eq!(answers, []);
        prop_assert_eq!(tree, before);
    }
}

/// The same history gives the same orders and the same state, also if the state is written and read in between.
fn replay(spec: SupervisorSpec, events: &[(u64, Event)], state: &State) -> Result<(), TestCaseError> {
    let mut straight = Tree::new(spec.clone()).expect("it is good");
    let mut revived = Tree::new(spec).expect("it is good");
    for (now, event) in events {
        let mut orders = [Vec::new(), Vec::new()];
        straight.step(Moment(*now), event.clone(), &mut orders[0]);
        revived.step(Moment(*now), event.clone(), &mut orders[1]);
        prop_assert_eq!(&orders[0], &orders[1]);
        let json = serde_json::to_string(&revived).expect("a state can be written");
        revived = serde_json::from_str(&json).expect("a state can be read");
    }
    prop_assert_eq!(&straight, &state.tree);
    prop_assert_eq!(&revived, &state.tree);
    Ok(())
}

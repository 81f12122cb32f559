//! What OTP does not have: readiness, oneshots, health, waits for resources, `give_up = "child"`. And the cases
//! of section O of cases.md that are about exits.

use std::collections::BTreeSet;
use std::time::Duration;

use provost::rules::{
    Call, ChildSpec, EndClass, Event, Exit, ExitFact, Failure, GiveUp, Kind, Moment, NodeId, Note, Phase,
    Reply, Restart, Run, Signal, Start, Strategy, WorkerSpec,
};

use crate::build::{polite, supervisor, worker};
use crate::world::{Plan, TERM, World, killed};

fn world_of(strategy: Strategy, intensity: u32, children: &[ChildSpec]) -> World {
    let mut world = World::booted(supervisor(strategy, intensity, 3600, children));
    world.take_trace();
    world
}

fn transient(name: &str) -> ChildSpec {
    ChildSpec { restart: Restart::Transient, ..worker(name) }
}

fn with_worker(mut spec: ChildSpec, worker: WorkerSpec) -> ChildSpec {
    spec.kind = Kind::Worker(worker);
    spec
}

fn starting(spec: ChildSpec, start: Start) -> ChildSpec {
    with_worker(spec, WorkerSpec { start, ..WorkerSpec::default() })
}

fn restarts_left(world: &World) -> u32 {
    world.tree.view(Moment(world.now)).supervisor.expect("the root").restarts_left
}

fn failures_of(world: &World, name: &str) -> Vec<Failure> {
    let node = world.node(name);
    let failure = |(_, note): &(u64, Note)| match note {
        Note::StartFailed(of, _, failure) if *of == node => Some(*failure),
        _ => None,
    };
    world.notes.iter().filter_map(failure).collect()
}

mod exits {
    use super::*;

    #[test]
    fn o01_exit_codes_of_a_transient_child() {
        let mut world = world_of(Strategy::OneForOne, 9, &[transient("a")]);
        for code in [1, 2, 77, 126, 127, 255] {
            world.dies("a", Exit::Code(code));
            world.settle();
        }
        assert_eq!(world.view_of("a").run, Run(7));
        assert_eq!(restarts_left(&world), 3);
    }

    #[test]
    fn o02_success_codes() {
        let codes = WorkerSpec { success_codes: BTreeSet::from([77]), ..WorkerSpec::default() };
        let mut world = world_of(Strategy::OneForOne, 9, &[with_worker(transient("a"), codes)]);
        world.dies("a", Exit::Code(77));
        assert_eq!(world.view_of("a").phase, Phase::Exited);
        assert_eq!(restarts_left(&world), 9);
        let a = world.node("a");
        assert_eq!(world.call(Call::RestartChild(a)), Ok(Reply::Started(a, Run(2))));
        world.dies("a", Exit::Code(78));
        world.settle();
        assert_eq!((world.view_of("a").run, restarts_left(&world)), (Run(3), 8));
    }

    #[test]
    fn o05_success_signals() {
        let signals = WorkerSpec { success_signals: BTreeSet::from([TERM]), ..WorkerSpec::default() };
        let mut world = world_of(Strategy::OneForOne, 9, &[with_worker(transient("a"), signals)]);
        world.dies("a", Exit::Signal { signal: TERM, core: false });
        assert_eq!(world.view_of("a").phase, Phase::Exited);
        let a = world.node("a");
        assert!(world.call(Call::RestartChild(a)).is_ok());
        world.dies("a", killed());
        world.settle();
        assert_eq!((world.view_of("a").phase, world.view_of("a").run), (Phase::Running, Run(3)));
    }

    #[test]
    fn o08_exec_errors_are_failed_attempts() {
        let mut world = world_of(Strategy::OneForOne, 3, &["a", "b"].map(worker));
        world.plan("a", &[Plan::NoExec; 9]);
        world.dies("a", killed());
        world.finish();
        assert_eq!(world.take_trace(), ["xa.1(KILL)", "!a.2", "!a.3", "!a.4", "-b.1"]);
        assert_eq!(world.finished, Some(EndClass::GaveUp));
    }

    #[test]
    fn an_exit_before_the_start_is_reported_is_a_failed_attempt() {
        let mut world = world_of(Strategy::OneForOne, 3, &[transient("a")]);
        world.plan("a", &[Plan::FailAfter(5000)]);
        world.dies("a", Exit::Code(1));
        let (node, run) = world.running("a").expect("it was ordered to start");
        // Its exit is told first, and a success is no excuse.
        world.vanish(node, run);
        world.step(Event::Exited(vec![ExitFact { node, run, exit: Exit::Code(0) }]));
        world.step(Event::Spawned(node, run));
        world.settle();
        assert_eq!(world.take_trace(), ["xa.1(1)", "!a.2", "+a.3"]);
    }

    #[test]
    fn the_same_death_told_twice_is_one() {
        let mut world = world_of(Strategy::OneForOne, 1, &["a"].map(worker));
        let (node, run) = world.running("a").expect("a runs");
        world.dies("a", Exit::Code(1));
        let again = ExitFact { node, run, exit: Exit::Code(1) };
        world.step(Event::Exited(vec![again, again]));
        world.settle();
        assert_eq!(world.take_trace(), ["xa.1(1)", "+a.2"]);
    }
}

mod readiness {
    use super::*;

    #[test]
    fn siblings_wait_and_why_says_for_whom() {
        let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &["a", "b"].map(worker)));
        world.plan("a", &[Plan::SlowStart(3000)]);
        world.step(Event::Boot);
        world.sleep(1000);
        let (a, b) = (world.node("a"), world.node("b"));
        let why = world.tree.why(Moment(world.now), b).expect("b exists");
        assert_eq!((why.phase, why.waits_for), (Phase::Waiting, Some(a)));
        let why = world.tree.why(Moment(world.now), a).expect("a exists");
        assert_eq!((why.phase, why.until), (Phase::Starting, Some(Moment(1000 + 30_000))));
        world.sleep(3000);
        assert_eq!(world.take_trace(), ["+a.1", "+b.1"]);
    }

    #[test]
    fn a_timeout_is_a_failed_attempt_after_a_kill() {
        let slow = Start::Ready { timeout: Some(Duration::from_secs(1)) };
        let mut world = world_of(Strategy::OneForOne, 2, &[starting(worker("a"), slow)]);
        world.plan("a", &[Plan::SlowStart(9000), Plan::SlowStart(900)]);
        world.dies("a", Exit::Code(1));
        world.sleep(3000);
        assert_eq!(world.take_trace(), ["xa.1(1)", "!a.2", "+a.3"]);
        assert_eq!(failures_of(&world, "a"), [Failure::Timeout]);
        assert_eq!(restarts_left(&world), 0);
    }

    #[test]
    fn without_a_timeout_it_may_take_for_ever() {
        let patient = starting(worker("a"), Start::Ready { timeout: None });
        let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &[patient]));
        world.plan("a", &[Plan::SlowStart(1_000_000)]);
        world.step(Event::Boot);
        world.sleep(2_000_000);
        assert_eq!(world.take_trace(), ["+a.1"]);
    }

    #[test]
    fn readiness_reported_before_the_start_is_taken_for_both() {
        let mut world = world_of(Strategy::OneForOne, 2, &[]);
        let ticket = world.send(Call::StartChild(NodeId(0), worker("a")));
        let (node, run) = world.running("a").expect("it was ordered to start");
        world.step(Event::Ready(node, run));
        assert_eq!(world.replies[&ticket], Ok(Reply::Started(node, run)));
        assert_eq!(world.view_of("a").phase, Phase::Ready);
        let before = world.tree.clone();
        world.step(Event::Spawned(node, run));
        assert_eq!(world.tree, before);
    }

    #[test]
    fn without_readiness_a_start_is_done_with_exec() {
        let mut world =
            World::new(supervisor(Strategy::OneForOne, 1, 5, &[starting(worker("a"), Start::Exec)]));
        world.plan("a", &[Plan::SlowStart(50_000)]);
        world.step(Event::Boot);
        world.sleep(1);
        assert_eq!(world.view_of("a").phase, Phase::Running);
    }
}

mod oneshot {
    use super::*;

    fn oneshot(name: &str) -> ChildSpec {
        starting(worker(name), Start::Oneshot { timeout: Some(Duration::from_secs(60)) })
    }

    #[test]
    fn it_runs_to_completion_before_the_next_sibling() {
        let mut world = World::new(supervisor(Strategy::RestForOne, 1, 5, &[oneshot("a"), worker("b")]));
        world.plan("a", &[Plan::Oneshot(5000, 0)]);
        world.step(Event::Boot);
        world.sleep(4000);
        assert_eq!(world.view_of("b").phase, Phase::Waiting);
        world.sleep(2000);
        assert_eq!((world.view_of("a").phase, world.view_of("b").phase), (Phase::Exited, Phase::Ready));
        assert_eq!(restarts_left(&world), 1);
    }

    #[test]
    fn its_failure_is_a_failed_start() {
        let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &[worker("z"), oneshot("a")]));
        world.plan("a", &[Plan::Oneshot(10, 3)]);
        world.boot();
        assert_eq!(world.take_trace(), ["+z.1", "!a.1", "-z.1"]);
        assert!(matches!(world.finished, Some(EndClass::BootFailed(_))));
        assert_eq!(failures_of(&world, "a"), [Failure::Exited(Exit::Code(3))]);
    }

    #[test]
    fn every_round_runs_it_again() {
        let mut world = World::new(supervisor(Strategy::OneForAll, 2, 5, &[oneshot("a"), worker("b")]));
        world.plan("a", &[Plan::Oneshot(10, 0), Plan::Oneshot(10, 0)]);
        world.boot();
        world.dies("b", Exit::Code(1));
        world.settle();
        assert_eq!(world.view_of("a").run, Run(2));
        assert_eq!(world.take_trace(), ["+b.1", "xb.1(1)", "+b.2"]);
    }

    #[test]
    fn one_that_takes_too_long_is_killed() {
        let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &[oneshot("a")]));
        world.plan("a", &[Plan::Oneshot(100_000, 0)]);
        world.step(Event::Boot);
        world.sleep(61_000);
        assert!(matches!(world.finished, Some(EndClass::BootFailed(_))));
        assert_eq!(failures_of(&world, "a"), [Failure::Timeout]);
    }
}

mod health {
    use super::*;

    fn unhealthy(world: &mut World, name: &str) {
        let (node, run) = world.running(name).expect("it runs");
        world.step(Event::Unhealthy(node, run));
    }

    #[test]
    fn a_failed_check_is_an_abnormal_exit_whatever_the_status() {
        let mut world = world_of(Strategy::OneForOne, 2, &[transient("a")]);
        unhealthy(&mut world, "a");
        assert_eq!(world.view_of("a").phase, Phase::Unhealthy);
        world.settle();
        // It answered the TERM with 0.
        assert_eq!(world.take_trace(), ["-a.1", "+a.2"]);
        assert_eq!(restarts_left(&world), 1);
    }

    #[test]
    fn a_temporary_child_is_removed() {
        let a = ChildSpec { restart: Restart::Temporary, ..worker("a") };
        let mut world = world_of(Strategy::OneForOne, 2, &[a]);
        unhealthy(&mut world, "a");
        world.settle();
        assert_eq!(world.tree.find("a"), None);
    }

    #[test]
    fn the_escalation_is_the_normal_one_and_does_not_block_siblings() {
        let mut world = World::new(supervisor(Strategy::OneForOne, 3, 3600, &["a", "b"].map(worker)));
        world.plan("a", &[Plan::Hang]);
        world.boot();
        world.take_trace();
        unhealthy(&mut world, "a");
        world.sleep(100);
        world.dies("b", Exit::Code(1));
        world.sleep(800);
        assert_eq!(world.take_trace(), ["xb.1(1)", "+b.2"]);
        world.sleep(200);
        assert_eq!(world.take_trace(), ["Ka.1", "+a.2"]);
    }

    #[test]
    fn terminate_takes_the_escalation_over() {
        let mut world = World::new(supervisor(Strategy::OneForOne, 3, 3600, &[worker("a")]));
        world.plan("a", &[Plan::Hang]);
        world.boot();
        let start = world.now;
        unhealthy(&mut world, "a");
        world.sleep(600);
        let a = world.node("a");
        assert_eq!(world.call(Call::TerminateChild(a)), Ok(Reply::Done));
        assert_eq!(world.now - start, 1000);
        assert_eq!((world.view_of("a").phase, restarts_left(&world)), (Phase::Stopped, 3));
    }

    #[test]
    fn a_check_of_an_old_run_or_of_a_starting_child_means_nothing() {
        let mut world = world_of(Strategy::OneForOne, 2, &[worker("a")]);
        let before = world.tree.clone();
        let a = world.node("a");
        world.step(Event::Unhealthy(a, Run(0)));
        world.step(Event::Unhealthy(NodeId(77), Run(1)));
        assert_eq!(world.tree, before);
    }
}

mod resources {
    use super::*;

    #[test]
    fn a_wait_for_resources_doubles_counts_nothing_and_is_never_given_up() {
        let mut world = world_of(Strategy::OneForOne, 1, &[worker("a")]);
        world.plan("a", &[Plan::NoResources; 10]);
        world.dies("a", Exit::Code(1));
        world.sleep(60_000);
        let waits: Vec<_> = world
            .notes
            .iter()
            .filter_map(|(at, note)| match note {
                Note::ResourceWait(_, until) => Some(until.0 - at),
                _ => None,
            })
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000]);
        assert_eq!(world.take_trace(), ["xa.1(1)", "+a.12"]);
        assert_eq!(restarts_left(&world), 0);
        assert_eq!(world.finished, None);
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let mut world = world_of(Strategy::OneForOne, 1, &["a", "b"].map(worker));
        world.plan("a", &[Plan::NoResources; 100]);
        world.dies("a", Exit::Code(1));
        world.sleep(7000);
        let start = world.now;
        world.step(Event::Stop);
        world.finish();
        assert!(world.now - start < 100);
    }

    #[test]
    fn terminating_the_child_ends_the_wait() {
        let mut world = world_of(Strategy::OneForOne, 1, &["a", "b"].map(worker));
        world.plan("a", &[Plan::NoResources; 100]);
        world.dies("a", Exit::Code(1));
        world.sleep(7000);
        let (a, start) = (world.node("a"), world.now);
        assert_eq!(world.call(Call::TerminateChild(a)), Ok(Reply::Done));
        assert!(world.now - start < 100);
        assert_eq!(world.view_of("a").phase, Phase::Stopped);
    }
}

mod giving_up_on_a_child {
    use super::*;

    #[test]
    fn only_the_child_fails_and_its_siblings_live() {
        let mut spec = supervisor(Strategy::OneForOne, 1, 3600, &["a", "b"].map(worker));
        spec.flags.give_up = GiveUp::Child;
        let mut world = World::booted(spec);
        world.take_trace();
        world.dies("a", Exit::Code(1));
        world.settle();
        world.dies("a", Exit::Code(1));
        world.settle();
        assert_eq!(world.take_trace(), ["xa.1(1)", "+a.2", "xa.2(1)"]);
        assert_eq!((world.view_of("a").phase, world.view_of("b").phase), (Phase::Failed, Phase::Ready));
        let (a, root) = (world.node("a"), NodeId(0));
        assert!(world.notes.iter().any(|(_, n)| *n == Note::GaveUp { supervisor: root, child: a }));
        assert_eq!(world.call(Call::RestartChild(a)), Ok(Reply::Started(a, Run(3))));
    }
}

#[test]
fn the_window_slides_and_its_end_is_inside() {
    let mut spec =
        supervisor(Strategy::OneForOne, 1, 2, &[ChildSpec { shutdown: polite(None), ..worker("a") }]);
    spec.children[0].restart = Restart::Transient;
    for (gap, finished) in [(2000, Some(EndClass::GaveUp)), (2001, None)] {
        let mut world = World::booted(spec.clone());
        let first = world.now;
        world.dies("a", Exit::Code(1));
        world.sleep(gap);
        assert_eq!(world.now - first, gap);
        world.dies("a", Exit::Signal { signal: Signal(6), core: true });
        assert_eq!(world.finished, finished, "{gap}");
    }
}

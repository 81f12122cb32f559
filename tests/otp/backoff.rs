//! The pause before a restart (extensions section 1).

use std::time::Duration;

use provost::rules::{
    Backoff, Call, ChildSpec, EndClass, Event, Exit, Moment, NodeId, Note, Phase, Refusal, Reply, Run,
    Strategy,
};

use crate::build::{inner, supervisor, worker};
use crate::world::{Plan, World};

fn world_of(strategy: Strategy, intensity: u32, children: &[ChildSpec]) -> World {
    let mut world = World::booted(supervisor(strategy, intensity, 3600, children));
    world.take_trace();
    world
}

fn restarts_left(world: &World) -> u32 {
    world.tree.view(Moment(world.now)).supervisor.expect("the root").restarts_left
}

fn pausing(name: &str) -> ChildSpec {
    let backoff = Backoff {
        initial: Duration::from_secs(2),
        factor_milli: 2000,
        max: Duration::from_secs(10),
        jitter_milli: 0,
        reset_after: Some(Duration::from_secs(60)),
    };
    ChildSpec { backoff: Some(backoff), ..worker(name) }
}

fn delays(world: &World) -> Vec<u64> {
    let delay = |(_, note): &(u64, Note)| match note {
        Note::Backoff { delay, .. } => Some(delay.as_millis() as u64),
        _ => None,
    };
    world.notes.iter().filter_map(delay).collect()
}

#[test]
fn o27_a_delayed_child_is_restarting() {
    let mut world = world_of(Strategy::OneForOne, 9, &[pausing("a"), worker("b")]);
    world.dies("a", Exit::Code(1));
    world.settle();
    let (root, a) = (NodeId(0), world.node("a"));
    assert_eq!(world.view_of("a").phase, Phase::Backoff);
    assert_eq!(world.call(Call::StartChild(root, worker("a"))), Err(Refusal::AlreadyPresent(a)));
    assert_eq!(world.call(Call::RestartChild(a)), Err(Refusal::Restarting));
    assert_eq!(world.call(Call::DeleteChild(a)), Err(Refusal::Restarting));
    let counts = world.tree.counts(root).expect("the root");
    assert_eq!((counts.specs, counts.active), (2, 1));
    let start = world.now;
    world.step(Event::Stop);
    world.finish();
    assert!(world.now - start < 100);
    assert_eq!(world.take_trace(), ["xa.1(1)", "-b.1"]);
}

#[test]
fn the_pause_grows_and_is_forgotten_after_a_long_life() {
    let mut world = world_of(Strategy::OneForOne, 99, &[pausing("a")]);
    for _ in 0..4 {
        world.dies("a", Exit::Code(1));
        world.sleep(15_000);
    }
    world.sleep(60_000);
    world.dies("a", Exit::Code(1));
    world.sleep(15_000);
    assert_eq!(delays(&world), [2000, 4000, 8000, 10_000, 2000]);
    assert_eq!(world.view_of("a").phase, Phase::Ready);
}

#[test]
fn failed_attempts_lengthen_the_pause_too() {
    let mut world = world_of(Strategy::OneForOne, 99, &[pausing("a")]);
    world.plan("a", &[Plan::Fail, Plan::Fail]);
    world.dies("a", Exit::Code(1));
    world.sleep(60_000);
    assert_eq!(delays(&world), [2000, 4000, 8000]);
    assert_eq!(world.take_trace(), ["xa.1(1)", "!a.2", "!a.3", "+a.4"]);
}

#[test]
fn it_is_counted_before_the_pause_and_giving_up_does_not_wait() {
    let mut world = world_of(Strategy::OneForOne, 1, &[pausing("a"), worker("b")]);
    world.dies("a", Exit::Code(1));
    assert_eq!(restarts_left(&world), 0);
    world.dies("b", Exit::Code(1));
    world.settle();
    assert_eq!(world.finished, Some(EndClass::GaveUp));
}

#[test]
fn a_group_is_stopped_at_once_and_started_after_the_pause() {
    let mut world = world_of(Strategy::OneForAll, 9, &[pausing("a"), worker("b")]);
    world.dies("a", Exit::Code(1));
    world.settle();
    assert_eq!(world.take_trace(), ["xa.1(1)", "-b.1"]);
    assert_eq!((world.view_of("a").phase, world.view_of("b").phase), (Phase::Backoff, Phase::Stopped));
    world.sleep(2000);
    assert_eq!(world.take_trace(), ["+a.2", "+b.2"]);
    assert_eq!(restarts_left(&world), 8);
}

#[test]
fn the_queue_is_open_during_a_pause() {
    let mut world = world_of(Strategy::OneForOne, 9, &[pausing("a"), worker("b")]);
    world.dies("a", Exit::Code(1));
    world.dies("b", Exit::Code(1));
    world.settle();
    assert_eq!(world.take_trace(), ["xa.1(1)", "xb.1(1)", "+b.2"]);
}

#[test]
fn terminate_cancels_the_pause_and_restart_child_does_not_wait() {
    let mut world = world_of(Strategy::OneForOne, 9, &[pausing("a")]);
    world.dies("a", Exit::Code(1));
    let a = world.node("a");
    assert_eq!(world.call(Call::TerminateChild(a)), Ok(Reply::Done));
    assert_eq!(world.view_of("a").phase, Phase::Stopped);
    let start = world.now;
    assert_eq!(world.call(Call::RestartChild(a)), Ok(Reply::Started(a, Run(2))));
    assert!(world.now - start < 100);
    world.sleep(60_000);
    assert_eq!(world.take_trace(), ["xa.1(1)", "+a.2"]);
}

#[test]
fn an_earlier_round_takes_a_delayed_member_over_with_the_longer_pause() {
    let mut world = world_of(Strategy::RestForOne, 9, &[worker("a"), pausing("b"), worker("c")]);
    world.dies("b", Exit::Code(1));
    world.sleep(500);
    assert_eq!(world.take_trace(), ["xb.1(1)", "-c.1"]);
    world.dies("a", Exit::Code(1));
    world.sleep(1000);
    assert_eq!(world.take_trace(), ["xa.1(1)"]);
    world.sleep(1000);
    assert_eq!(world.take_trace(), ["+a.2", "+b.2", "+c.2"]);
}

#[test]
fn delays_of_independent_children_are_independent() {
    let mut world = world_of(Strategy::OneForOne, 9, &["a", "b"].map(pausing));
    world.dies("a", Exit::Code(1));
    world.sleep(1000);
    world.dies("b", Exit::Code(1));
    world.sleep(1100);
    assert_eq!(world.take_trace(), ["xa.1(1)", "xb.1(1)", "+a.2"]);
    world.sleep(1000);
    assert_eq!(world.take_trace(), ["+b.2"]);
}

#[test]
fn why_tells_until_when() {
    let mut world = world_of(Strategy::OneForOne, 9, &[pausing("a")]);
    let died = world.now;
    world.dies("a", Exit::Code(1));
    let why = world.tree.why(Moment(world.now), world.node("a")).expect("a exists");
    assert_eq!((why.phase, why.until), (Phase::Backoff, Some(Moment(died + 2000))));
    assert_eq!(why.restarts_left, 8);
    assert_eq!(why.window_moves_at, Some(Moment(died + 3_600_000)));
}

#[test]
fn a_long_life_that_a_health_check_ends_counts_as_one() {
    let mut world = world_of(Strategy::OneForOne, 99, &[pausing("a")]);
    world.dies("a", Exit::Code(1));
    world.sleep(70_000);
    let (node, run) = world.running("a").expect("it runs");
    world.step(Event::Unhealthy(node, run));
    world.sleep(15_000);
    assert_eq!(delays(&world), [2000, 2000]);
}

#[test]
fn a_new_supervisor_begins_with_the_first_pause() {
    let below = supervisor(Strategy::OneForOne, 9, 3600, &[pausing("a")]);
    let mut world = world_of(Strategy::OneForOne, 9, &[inner("s", below)]);
    world.dies("a", Exit::Code(1));
    world.sleep(5000);
    let s = world.node("s");
    world.call(Call::CycleChild(s)).expect("s is cycled");
    world.dies("a", Exit::Code(1));
    world.sleep(5000);
    assert_eq!(delays(&world), [2000, 2000]);
}

//! Stopping: escalation, stop requests in the middle of things, processes that cannot be killed. With the cases of
//! section O of cases.md that the rules decide.

use std::time::Duration;

use provost::rules::{
    Call, ChildSpec, Decision, EndClass, Event, Exit, Failure, KillCause, Moment, Note, Phase, Refusal,
    Reply, Run, Shutdown, Signal, StopStep, Strategy,
};

use crate::build::{inner, polite, supervisor, worker};
use crate::world::{Plan, TERM, World, killed};

fn one_for_one(children: &[ChildSpec]) -> World {
    let mut world = World::booted(supervisor(Strategy::OneForOne, 3, 3600, children));
    world.take_trace();
    world
}

#[test]
fn o07_the_term_that_we_sent_is_a_clean_stop() {
    let mut world = World::new(supervisor(Strategy::OneForAll, 0, 3600, &[worker("a"), worker("b")]));
    world.plan("a", &[Plan::DieOfIt]);
    world.plan("b", &[Plan::DieOfIt]);
    world.boot();
    let a = world.node("a");
    assert_eq!(world.call(Call::TerminateChild(a)), Ok(Reply::Done));
    let exit = world.notes.iter().find_map(|(_, note)| match note {
        Note::Exited { exit, requested, killed, decision, .. } => {
            Some((*exit, *requested, *killed, *decision))
        }
        _ => None,
    });
    let by_term = Exit::Signal { signal: TERM, core: false };
    assert_eq!(exit, Some((by_term, true, false, Decision::Absorbed)));
    world.step(Event::Stop);
    world.finish();
    assert_eq!(world.take_trace()[2..], ["-a.1", "-b.1"]);
    assert_eq!(world.finished, Some(EndClass::Stopped));
}

#[test]
fn o25_a_stop_during_boot_breaks_the_attempt_off() {
    let children = ["a", "b", "c", "d"].map(worker);
    let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &children));
    world.plan("c", &[Plan::SlowStart(29_000)]);
    world.step(Event::Boot);
    world.sleep(1000);
    let asked = world.now;
    world.step(Event::Stop);
    world.finish();
    assert_eq!(world.take_trace(), ["+a.1", "+b.1", "!c.1", "-b.1", "-a.1"]);
    assert_eq!(world.finished, Some(EndClass::Stopped));
    assert!(world.now - asked < 100, "it took {} ms", world.now - asked);
}

#[test]
fn a_stop_reaches_into_the_boot_of_a_subtree() {
    let nested = inner("s", supervisor(Strategy::OneForOne, 1, 5, &["b", "c"].map(worker)));
    let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &[worker("a"), nested]));
    world.plan("c", &[Plan::SlowStart(29_000)]);
    world.step(Event::Boot);
    world.sleep(1000);
    world.step(Event::Stop);
    world.finish();
    assert_eq!(world.take_trace(), ["+a.1", "+b.1", "!c.1", "-b.1", "!s.1", "-a.1"]);
}

#[test]
fn once_a_stop_is_asked_nothing_starts_in_any_subtree() {
    let first = inner("s", supervisor(Strategy::OneForOne, 3, 5, &[worker("a")]));
    let second = inner("t", supervisor(Strategy::OneForOne, 3, 5, &[worker("b")]));
    let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &[first, second]));
    world.plan("b", &[Plan::Slow(500)]);
    world.boot();
    world.take_trace();
    world.step(Event::Stop);
    world.sleep(100);
    // s is not reached yet, and in OTP it would restart a.
    world.dies("a", Exit::Code(1));
    let a = world.node("a");
    assert_eq!(world.call(Call::RestartChild(a)), Err(Refusal::SupervisorStopped));
    world.finish();
    assert_eq!(world.take_trace(), ["xa.1(1)", "-b.1", "^t.1(shutdown)", "^s.1(shutdown)"]);
}

#[test]
fn a_stop_in_the_middle_of_a_round_takes_over() {
    let children = ["a", "b", "c"].map(worker);
    let mut world = World::new(supervisor(Strategy::OneForAll, 3, 3600, &children));
    world.plan("c", &[Plan::Slow(500)]);
    world.boot();
    world.take_trace();
    world.dies("a", Exit::Code(1));
    world.sleep(100);
    world.step(Event::Stop);
    world.finish();
    assert_eq!(world.take_trace(), ["xa.1(1)", "-c.1", "-b.1"]);
}

#[test]
fn steps_share_the_polite_time() {
    let step =
        |signal, millis| StopStep { signal: Signal(signal), wait: Some(Duration::from_millis(millis)) };
    let steps = Shutdown::Polite(vec![step(2, 300), step(15, 700)]);
    let mut world =
        World::new(supervisor(Strategy::OneForOne, 1, 5, &[ChildSpec { shutdown: steps, ..worker("a") }]));
    world.plan("a", &[Plan::Hang]);
    world.boot();
    let start = world.now;
    world.step(Event::Stop);
    assert_eq!(world.tree.next_deadline().map(|at| at.0 - start), Some(300));
    world.sleep(300);
    assert_eq!(world.tree.next_deadline().map(|at| at.0 - start), Some(1000));
    world.finish();
    assert_eq!(world.now - start, 1000);
    assert_eq!(world.take_trace(), ["+a.1", "Ka.1"]);
}

#[test]
fn a_finite_shutdown_of_a_supervisor_kills_the_whole_subtree() {
    let nested = supervisor(
        Strategy::OneForOne,
        1,
        5,
        &[
            ChildSpec { shutdown: polite(None), ..worker("b") },
            ChildSpec { shutdown: polite(None), ..worker("c") },
        ],
    );
    let s = ChildSpec { shutdown: polite(Some(400)), ..inner("s", nested) };
    let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &[worker("a"), s]));
    world.plan("b", &[Plan::Hang]);
    world.plan("c", &[Plan::Hang]);
    world.boot();
    world.take_trace();
    let start = world.now;
    world.step(Event::Stop);
    world.finish();
    assert_eq!(world.take_trace(), ["Kc.1", "Kb.1", "^s.1(shutdown)", "-a.1"]);
    assert!(world.now - start < 500, "it took {} ms", world.now - start);
}

#[test]
fn deaf_children_each_take_their_own_time() {
    let children = ["a", "b", "c"].map(|name| ChildSpec { shutdown: polite(Some(400)), ..worker(name) });
    let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &children));
    for name in ["a", "b", "c"] {
        world.plan(name, &[Plan::Hang]);
    }
    world.boot();
    let start = world.now;
    world.step(Event::Stop);
    world.finish();
    assert_eq!(world.now - start, 1200);
}

#[test]
fn stop_now_turns_a_polite_stop_under_way_into_a_kill() {
    let nested = inner("s", supervisor(Strategy::OneForOne, 1, 5, &["b", "c"].map(worker)));
    let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &[worker("a"), nested]));
    world.plan("c", &[Plan::Hang]);
    world.boot();
    world.take_trace();
    world.step(Event::Stop);
    world.sleep(200);
    let start = world.now;
    world.step(Event::StopNow);
    world.finish();
    assert_eq!(world.now, start);
    let mut trace = world.take_trace();
    trace.sort();
    assert_eq!(trace, ["Ka.1", "Kb.1", "Kc.1", "^s.1(shutdown)"]);
    assert_eq!(world.finished, Some(EndClass::Stopped));
}

#[test]
fn a_stop_before_boot_is_the_end() {
    let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &[worker("a")]));
    world.step(Event::Stop);
    assert_eq!(world.finished, Some(EndClass::Stopped));
    world.step(Event::Boot);
    assert_eq!(world.take_trace(), [""; 0]);
}

#[test]
fn a_member_that_cannot_be_killed_makes_the_round_a_failed_attempt() {
    let mut world = World::new(supervisor(Strategy::OneForAll, 3, 3600, &["a", "b", "c"].map(worker)));
    world.plan("b", &[Plan::Frozen]);
    world.boot();
    world.take_trace();
    world.dies("a", Exit::Code(1));
    world.sleep(1000 + 10_000 + 100);
    // c is down, b is stuck; the retry has been counted and is at b again.
    assert_eq!(world.take_trace(), ["xa.1(1)", "-c.1"]);
    let root = world.tree.view(Moment(world.now)).supervisor.expect("the root");
    assert_eq!(root.restarts_left, 1);
    assert!(world.notes.iter().any(|(_, note)| matches!(note, Note::Stuck(..))));
    world.thaw();
    world.settle();
    assert_eq!(world.take_trace(), ["Kb.1", "+a.2", "+b.2", "+c.2"]);
}

#[test]
fn a_round_gives_up_over_a_stuck_member_and_the_end_waits_for_it() {
    let mut world = World::new(supervisor(Strategy::RestForOne, 1, 3600, &["a", "b", "c"].map(worker)));
    world.plan("c", &[Plan::Frozen]);
    world.boot();
    world.take_trace();
    world.dies("b", Exit::Code(1));
    world.sleep(60_000);
    assert_eq!(world.take_trace(), ["xb.1(1)", "-a.1"]);
    assert_eq!(world.finished, None);
    world.thaw();
    assert_eq!(world.take_trace(), ["Kc.1"]);
    assert_eq!(world.finished, Some(EndClass::GaveUp));
}

#[test]
fn terminating_a_stuck_child_says_so_and_does_not_block_its_siblings() {
    let mut world = one_for_one(&[]);
    world.plan("a", &[Plan::Frozen]);
    let root = provost::rules::NodeId(0);
    assert!(world.call(Call::StartChild(root, worker("a"))).is_ok());
    assert!(world.call(Call::StartChild(root, worker("b"))).is_ok());
    let a = world.node("a");
    assert_eq!(world.call(Call::TerminateChild(a)), Err(Refusal::Stuck));
    assert_eq!(world.call(Call::RestartChild(a)), Err(Refusal::Running));
    world.dies("b", Exit::Code(1));
    world.settle();
    assert_eq!(world.view_of("b").phase, Phase::Ready);
    world.thaw();
    assert_eq!(world.view_of("a").phase, Phase::Stopped);
    assert!(matches!(world.call(Call::RestartChild(a)), Ok(Reply::Started(..))));
}

#[test]
fn a_start_that_is_too_slow_and_cannot_be_killed_comes_again_only_when_it_is_gone() {
    let mut world = one_for_one(&[worker("a")]);
    world.plan("a", &[Plan::FrozenStart]);
    world.dies("a", Exit::Code(1));
    world.sleep(30_000 + 1000 + 10_000 + 100);
    assert_eq!((world.view_of("a").phase, world.view_of("a").run.0), (Phase::Stopping, 2));
    world.thaw();
    assert_eq!(world.take_trace(), ["xa.1(1)", "!a.2", "+a.3"]);
    let root = world.tree.view(Moment(world.now)).supervisor.expect("the root");
    assert_eq!(root.restarts_left, 1);
}

#[test]
fn a_supervisor_is_stuck_when_a_child_of_it_is() {
    let nested = inner("s", supervisor(Strategy::OneForOne, 1, 5, &["b", "c"].map(worker)));
    let mut world = World::new(supervisor(Strategy::OneForOne, 1, 5, &[worker("a"), nested]));
    world.plan("c", &[Plan::Frozen]);
    world.boot();
    world.take_trace();
    let s = world.node("s");
    assert_eq!(world.call(Call::TerminateChild(s)), Err(Refusal::Stuck));
    assert_eq!(world.take_trace(), ["-b.1"]);
    world.dies("a", killed());
    world.settle();
    assert_eq!(world.take_trace(), ["xa.1(KILL)", "+a.2"]);
    world.thaw();
    assert_eq!(world.take_trace(), ["Kc.1", "^s.1(shutdown)"]);
    assert!(matches!(world.call(Call::RestartChild(s)), Ok(Reply::Started(..))));
}

mod broken_off {
    use super::*;

    fn starting(strategy: Strategy, slow: Plan) -> World {
        let mut world = World::new(supervisor(strategy, 3, 3600, &["a", "b", "c"].map(worker)));
        world.plan("b", &[slow]);
        world.step(Event::Boot);
        world.sleep(100);
        world
    }

    #[test]
    fn a_stop_during_boot_asks_before_it_kills() {
        let mut world = starting(Strategy::OneForOne, Plan::HangsStarting);
        let asked = world.now;
        world.step(Event::Stop);
        world.sleep(999);
        assert_eq!(
            (world.view_of("b").phase, world.tree.next_deadline()),
            (Phase::Stopping, Some(Moment(asked + 1000)))
        );
        world.finish();
        assert_eq!(world.take_trace(), ["+a.1", "!b.1", "-a.1"]);
        assert_eq!(world.killings("b"), [KillCause::TimeOut]);
    }

    #[test]
    fn a_hurried_stop_kills_at_once() {
        let mut world = starting(Strategy::OneForOne, Plan::HangsStarting);
        world.step(Event::StopNow);
        world.finish();
        assert_eq!(world.killings("b"), [KillCause::AtOnce]);
    }

    #[test]
    fn a_timeout_asks_before_it_kills() {
        let mut world = starting(Strategy::OneForOne, Plan::NeverReady(500));
        world.sleep(30_000 + 400);
        assert_eq!(world.finished, None);
        world.finish();
        assert_eq!(world.killings("b"), []);
        assert_eq!(world.take_trace(), ["+a.1", "!b.1", "-a.1"]);
    }

    #[test]
    fn a_stop_of_the_child_lets_the_boot_go_on() {
        let mut world = starting(Strategy::OneForOne, Plan::NeverReady(500));
        let b = world.node("b");
        let asked = world.now;
        assert_eq!(world.call(Call::TerminateChild(b)), Ok(Reply::Done));
        assert_eq!(world.now - asked, 500);
        world.settle();
        assert_eq!(world.take_trace(), ["+a.1", "!b.1", "+c.1"]);
        assert_eq!((world.view_of("b").phase, world.finished), (Phase::Stopped, None));
    }

    #[test]
    fn a_restart_of_the_child_begins_its_start_again_in_its_place() {
        let mut world = starting(Strategy::OneForOne, Plan::NeverReady(500));
        let b = world.node("b");
        assert_eq!(world.call(Call::CycleChild(b)), Ok(Reply::Started(b, Run(2))));
        world.settle();
        assert_eq!(world.take_trace(), ["+a.1", "!b.1", "+b.2", "+c.1"]);
    }

    #[test]
    fn the_newest_of_several_calls_decides() {
        let mut world = starting(Strategy::OneForOne, Plan::NeverReady(500));
        let b = world.node("b");
        let restart = world.send(Call::CycleChild(b));
        let stop = world.send(Call::TerminateChild(b));
        world.settle();
        world.sleep(1000);
        assert_eq!(world.take_trace(), ["+a.1", "!b.1", "+c.1"]);
        assert_eq!(world.replies[&stop], Ok(Reply::Done));
        assert_eq!(world.replies[&restart], Err(Refusal::StartFailed(Failure::Stopped)));
    }

    #[test]
    fn a_round_goes_on_behind_it() {
        for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
            let mut world = World::booted(supervisor(strategy, 3, 3600, &["a", "b", "c"].map(worker)));
            world.take_trace();
            world.plan("b", &[Plan::NeverReady(500)]);
            world.dies("a", Exit::Code(1));
            world.sleep(100);
            let b = world.node("b");
            assert_eq!(world.call(Call::TerminateChild(b)), Ok(Reply::Done));
            world.settle();
            assert_eq!(world.take_trace(), ["xa.1(1)", "-c.1", "-b.1", "+a.2", "!b.2", "+c.2"]);
            assert_eq!(world.view_of("b").phase, Phase::Stopped);
            let root = world.tree.view(Moment(world.now)).supervisor.expect("the root");
            assert_eq!(root.restarts_left, 2, "a start that was broken off counts nowhere");
        }
    }

    #[test]
    fn a_start_by_another_call_is_refused_to_its_caller() {
        let mut world = one_for_one(&["a", "b"].map(worker));
        let a = world.node("a");
        assert!(world.call(Call::TerminateChild(a)).is_ok());
        world.plan("a", &[Plan::NeverReady(500)]);
        let start = world.send(Call::RestartChild(a));
        world.sleep(100);
        assert_eq!(world.call(Call::TerminateChild(a)), Ok(Reply::Done));
        assert_eq!(world.replies[&start], Err(Refusal::StartFailed(Failure::Stopped)));
    }

    #[test]
    fn a_whole_subtree_is_broken_off_as_its_children_say() {
        let below = supervisor(Strategy::OneForOne, 1, 5, &["b", "c"].map(worker));
        let mut world =
            World::new(supervisor(Strategy::OneForOne, 1, 5, &[worker("a"), inner("s", below), worker("d")]));
        world.plan("c", &[Plan::NeverReady(500)]);
        world.step(Event::Boot);
        world.sleep(100);
        let s = world.node("s");
        assert_eq!(world.call(Call::TerminateChild(s)), Ok(Reply::Done));
        world.settle();
        assert_eq!(world.take_trace(), ["+a.1", "+b.1", "!c.1", "-b.1", "!s.1", "+d.1"]);
        assert_eq!(world.killings("c"), []);
    }

    #[test]
    fn what_cannot_be_killed_is_said_and_the_boot_goes_on() {
        let mut world = starting(Strategy::OneForOne, Plan::FrozenStart);
        let b = world.node("b");
        assert_eq!(world.call(Call::TerminateChild(b)), Err(Refusal::Stuck));
        world.settle();
        assert_eq!(world.take_trace(), ["+a.1", "!b.1", "+c.1"]);
        world.thaw();
        assert!(matches!(world.call(Call::RestartChild(b)), Ok(Reply::Started(..))));
    }
}

/// A call's child that cannot be killed costs its siblings the child's own time and two seconds, also below a supervisor.
#[test]
fn a_call_about_a_child_that_cannot_be_killed_is_answered_soon() {
    let below = supervisor(Strategy::OneForOne, 1, 5, &[worker("b")]);
    let mut world =
        World::new(supervisor(Strategy::OneForOne, 3, 3600, &[worker("a"), inner("s", below), worker("c")]));
    world.plan("a", &[Plan::Frozen]);
    world.plan("b", &[Plan::Frozen]);
    world.boot();
    world.take_trace();
    for name in ["a", "s"] {
        let (asked, node) = (world.now, world.node(name));
        let ticket = world.send(Call::TerminateChild(node));
        world.sleep(100);
        world.dies("c", Exit::Code(1));
        world.settle();
        while !world.replies.contains_key(&ticket) {
            world.next();
        }
        assert_eq!(world.replies[&ticket], Err(Refusal::Stuck));
        assert_eq!(world.now - asked, 1000 + 2000);
        world.settle();
        assert_eq!(world.view_of("c").phase, Phase::Ready);
        let why = world.tree.why(Moment(world.now), node).expect("it exists");
        assert!(why.stuck && why.phase == Phase::Stopping, "{why:?}");
    }
    world.thaw();
    for name in ["a", "s"] {
        let node = world.node(name);
        assert!(matches!(world.call(Call::RestartChild(node)), Ok(Reply::Started(..))));
    }
}

//! What exploration has found, as the history that showed it.

use provost::rules::{
    Action, Call, EndClass, Event, Exit, ExitFact, Moment, Phase, Refusal, Reply, Run, StartError, Strategy,
    Tree,
};

use crate::build::{supervisor, worker};
use crate::world::{Plan, TERM, World};

fn booted(strategy: Strategy, intensity: u32, names: &[&str]) -> World {
    let children: Vec<_> = names.iter().map(|name| worker(name)).collect();
    let mut world = World::booted(supervisor(strategy, intensity, 3600, &children));
    world.take_trace();
    world
}

/// b's death begins a round in which a is too slow; a's retry is cancelled by hand while a is being stopped. b must not look
/// as if a round were still coming for it.
#[test]
fn a_trigger_behind_the_failed_start_is_stopped() {
    let mut world = booted(Strategy::OneForAll, 5, &["a", "b"]);
    world.plan("a", &[Plan::NeverReady(500)]);
    world.dies("b", Exit::Code(1));
    world.sleep(30_000 + 100);
    assert_eq!((world.view_of("a").phase, world.view_of("b").phase), (Phase::Restarting, Phase::Restarting));
    let a = world.node("a");
    assert_eq!(world.call(Call::TerminateChild(a)), Ok(Reply::Done));
    assert_eq!((world.view_of("a").phase, world.view_of("b").phase), (Phase::Stopped, Phase::Stopped));
    let b = world.node("b");
    assert_eq!(world.call(Call::RestartChild(b)), Ok(Reply::Started(b, Run(2))));
}

/// A start that cannot be killed leaves a retry in the queue. Terminating the child cancels it; it must not come back
/// with the next death.
#[test]
fn terminating_a_stuck_child_cancels_its_retry() {
    let mut world = booted(Strategy::OneForOne, 9, &["a", "b"]);
    world.plan("a", &[Plan::FrozenStart]);
    world.dies("a", Exit::Code(1));
    world.sleep(100);
    let a = world.node("a");
    assert_eq!(world.call(Call::TerminateChild(a)), Err(Refusal::Stuck));
    world.thaw();
    assert_eq!(world.view_of("a").phase, Phase::Stopped);
    world.dies("b", Exit::Code(1));
    world.settle();
    assert_eq!(world.take_trace(), ["xa.1(1)", "!a.2", "xb.1(1)", "+b.2"]);
    assert_eq!(world.call(Call::RestartChild(a)), Ok(Reply::Started(a, Run(3))));
}

/// The supervisor ends while a stuck child's retry is in its queue.
#[test]
fn a_stop_forgets_the_retry_of_a_stuck_child() {
    let mut world = booted(Strategy::OneForOne, 1, &["a", "b", "c"]);
    world.plan("b", &[Plan::FrozenStart]);
    world.dies("b", Exit::Code(1));
    world.sleep(30_000 + 1000 + 10_000 + 100);
    // The retry was one restart too many.
    world.sleep(20_000);
    assert_eq!(world.finished, None);
    world.thaw();
    assert_eq!(world.finished, Some(EndClass::GaveUp));
    assert_eq!(world.take_trace(), ["xb.1(1)", "!b.2", "-c.1", "-a.1"]);
}

/// A hurried stop takes an order to start back; the child reports itself ready before its start is told. The first KILL may
/// have found nothing to kill.
#[test]
fn readiness_of_a_start_that_was_taken_back_brings_the_kill_again() {
    let mut tree = Tree::new(supervisor(Strategy::OneForOne, 5, 5, &[worker("a")])).expect("it is good");
    let (a, run) = (tree.find("a").expect("a"), Run(1));
    let mut actions = Vec::new();
    for event in [Event::Boot, Event::StopNow] {
        tree.step(Moment(0), event, &mut actions);
    }
    assert!(actions.contains(&Action::Kill(a, run)));
    actions.clear();
    tree.step(Moment(0), Event::Ready(a, run), &mut actions);
    assert_eq!(actions, [Action::Kill(a, run)]);
    let exit = Exit::Code(0);
    tree.step(Moment(0), Event::Exited(vec![ExitFact { node: a, run, exit }]), &mut actions);
    assert_eq!(actions.last(), Some(&Action::Finished(EndClass::Stopped)));
}

/// The same, and the failure to start is told only after the child counted as stuck and was killed a second time.
#[test]
fn a_start_that_was_taken_back_may_fail_very_late() {
    let mut tree = Tree::new(supervisor(Strategy::OneForOne, 5, 5, &[worker("a")])).expect("it is good");
    let (a, run) = (tree.find("a").expect("a"), Run(1));
    let mut actions = Vec::new();
    tree.step(Moment(0), Event::Boot, &mut actions);
    tree.step(Moment(0), Event::StopNow, &mut actions);
    tree.step(Moment(10_000), Event::Tick, &mut actions);
    tree.step(Moment(10_000), Event::StopNow, &mut actions);
    tree.step(Moment(10_000), Event::SpawnFailed(a, run, StartError::Failed), &mut actions);
    assert_eq!(actions.last(), Some(&Action::Finished(EndClass::Stopped)));
}

/// A polite stop takes an order to start back: nothing is sent before the process is told to exist, and then its own signal.
#[test]
fn a_start_that_was_taken_back_is_asked_once_it_is_there() {
    for told in [Event::Spawned, Event::Ready] {
        let mut tree = Tree::new(supervisor(Strategy::OneForOne, 5, 5, &[worker("a")])).expect("it is good");
        let (a, run) = (tree.find("a").expect("a"), Run(1));
        let mut actions = Vec::new();
        for event in [Event::Boot, Event::Stop] {
            tree.step(Moment(0), event, &mut actions);
        }
        let sent = |actions: &[Action]| {
            actions.iter().any(|action| matches!(action, Action::Signal(..) | Action::Kill(..)))
        };
        assert!(!sent(&actions), "{actions:?}");
        actions.clear();
        tree.step(Moment(0), told(a, run), &mut actions);
        assert_eq!(actions, [Action::Signal(a, run, TERM)]);
        let exit = Exit::Code(0);
        tree.step(Moment(0), Event::Exited(vec![ExitFact { node: a, run, exit }]), &mut actions);
        assert_eq!(actions.last(), Some(&Action::Finished(EndClass::Stopped)));
    }
}

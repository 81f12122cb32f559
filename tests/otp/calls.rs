//! Administration beyond what the measured cases cover: identity, names, templates, reloads.

use provost::rules::{
    Action, Call, ChildSpec, Event, Exit, Moment, NodeId, Note, Phase, Refusal, Reply, Restart, Run,
    Shutdown, SpecError, Strategy, SupervisorSpec, Ticket,
};

use crate::build::{inner, supervisor, worker};
use crate::world::{Plan, World};

const ROOT: NodeId = NodeId(0);

fn one_for_one(children: &[ChildSpec]) -> SupervisorSpec {
    supervisor(Strategy::OneForOne, 5, 3600, children)
}

fn template(child: ChildSpec) -> SupervisorSpec {
    supervisor(Strategy::SimpleOneForOne, 5, 3600, &[child])
}

fn temporary(name: &str) -> ChildSpec {
    ChildSpec { restart: Restart::Temporary, ..worker(name) }
}

fn listing(world: &World) -> Vec<String> {
    let root = world.tree.view(Moment(world.now)).supervisor.expect("the root");
    root.children.iter().map(|child| format!("{}={:?}", child.name, child.phase)).collect()
}

mod identity {
    use super::*;

    #[test]
    fn runs_go_on_counting_over_removal_and_new_supervisors() {
        let nested = inner("s", one_for_one(&[worker("a")]));
        let mut world = World::booted(one_for_one(&[nested]));
        let (s, a) = (world.node("s"), world.node("a"));
        assert_eq!(world.call(Call::TerminateChild(s)), Ok(Reply::Done));
        assert_eq!(world.call(Call::RestartChild(s)), Ok(Reply::Started(s, Run(2))));
        assert_eq!((world.node("a"), world.view_of("a").run), (a, Run(2)));
        assert_eq!(world.call(Call::TerminateChild(a)), Ok(Reply::Done));
        assert_eq!(world.call(Call::DeleteChild(a)), Ok(Reply::Done));
        assert_eq!(world.tree.find("a"), None);
        let Ok(Reply::Started(again, run)) = world.call(Call::StartChild(s, worker("a"))) else {
            panic!("it is free")
        };
        assert_eq!(run, Run(3));
        assert_ne!(again, a);
    }

    #[test]
    fn a_removed_configured_child_is_back_when_its_supervisor_starts_anew() {
        let nested = inner("s", one_for_one(&["a", "b", "c"].map(worker)));
        let mut world = World::booted(one_for_one(&[nested, worker("z")]));
        let (s, b) = (world.node("s"), world.node("b"));
        world.call(Call::TerminateChild(b)).expect("b is stopped");
        world.call(Call::DeleteChild(b)).expect("b is removed");
        // Nobody else may take its name meanwhile.
        let refused = world.call(Call::StartChild(ROOT, worker("b")));
        assert_eq!(refused, Err(Refusal::BadSpec(SpecError::DuplicateName("b".into()))));
        world.take_trace();
        world.call(Call::CycleChild(s)).expect("s is cycled");
        assert_eq!(world.take_trace(), ["-c.1", "-a.1", "^s.1(shutdown)", "+a.2", "+b.2", "+c.2", "+s.2"]);
        assert_ne!(world.node("b"), b);
    }

    #[test]
    fn a_removed_configured_child_may_be_added_again_where_it_was() {
        let nested = inner("s", one_for_one(&["a", "b"].map(worker)));
        let mut world = World::booted(one_for_one(&[nested]));
        let (s, a) = (world.node("s"), world.node("a"));
        world.call(Call::TerminateChild(a)).expect("a is stopped");
        world.call(Call::DeleteChild(a)).expect("a is removed");
        world.call(Call::StartChild(s, temporary("a"))).expect("a is added");
        world.take_trace();
        world.call(Call::CycleChild(s)).expect("s is cycled");
        assert_eq!(world.take_trace(), ["-a.2", "-b.1", "^s.1(shutdown)", "+a.3", "+b.2", "+s.2"]);
        assert_eq!(world.view_of("a").restart, Restart::Permanent);
    }

    /// The name of a child below a removed supervisor, given to another child, and free again.
    #[test]
    fn a_reserved_name_stays_reserved_when_its_holder_is_gone() {
        let below = inner("t", one_for_one(&[worker("w")]));
        let mut world = World::booted(one_for_one(&[inner("s", one_for_one(&[below]))]));
        let (s, t) = (world.node("s"), world.node("t"));
        world.call(Call::TerminateChild(t)).expect("t is stopped");
        world.call(Call::DeleteChild(t)).expect("t is removed");
        world.call(Call::StartChild(s, temporary("w"))).expect("w is free under s");
        let w = world.node("w");
        world.call(Call::TerminateChild(w)).expect("w is gone");
        let refused = world.call(Call::StartChild(ROOT, worker("w")));
        assert_eq!(refused, Err(Refusal::BadSpec(SpecError::DuplicateName("w".into()))));
        world.call(Call::CycleChild(s)).expect("s is cycled");
        assert_eq!(world.view_of("w").phase, Phase::Ready);
    }

    #[test]
    fn children_added_at_run_time_are_lost_with_their_supervisor() {
        let mut world = World::booted(one_for_one(&[inner("s", one_for_one(&[]))]));
        let s = world.node("s");
        world.call(Call::StartChild(s, worker("d"))).expect("d is added");
        world.call(Call::TerminateChild(s)).expect("s is stopped");
        assert_eq!(world.tree.find("d"), None);
        world.call(Call::RestartChild(s)).expect("s is started");
        assert_eq!(world.tree.find("d"), None);
    }

    #[test]
    fn a_name_is_unique_in_the_whole_tree() {
        let nested = inner("s", one_for_one(&[worker("a")]));
        let mut world = World::booted(one_for_one(&[nested]));
        let duplicate = Err(Refusal::BadSpec(SpecError::DuplicateName("a".into())));
        assert_eq!(world.call(Call::StartChild(ROOT, worker("a"))), duplicate);
        let below = inner("t", one_for_one(&[worker("a")]));
        assert_eq!(world.call(Call::StartChild(ROOT, below)), duplicate);
    }
}

mod requests {
    use super::*;

    #[test]
    fn cycle_stops_and_starts_as_one_operation_and_counts_nothing() {
        let mut world = World::booted(supervisor(Strategy::OneForAll, 0, 5, &["a", "b"].map(worker)));
        world.take_trace();
        let a = world.node("a");
        assert_eq!(world.call(Call::CycleChild(a)), Ok(Reply::Started(a, Run(2))));
        assert_eq!(world.take_trace(), ["-a.1", "+a.2"]);
        world.call(Call::TerminateChild(a)).expect("a is stopped");
        assert_eq!(world.call(Call::CycleChild(a)), Ok(Reply::Started(a, Run(3))));
    }

    #[test]
    fn cycle_of_a_temporary_child_keeps_its_place() {
        let mut world = World::booted(one_for_one(&[temporary("a"), worker("b")]));
        let a = world.node("a");
        assert_eq!(world.call(Call::CycleChild(a)), Ok(Reply::Started(a, Run(2))));
        assert_eq!(listing(&world), ["a=Ready", "b=Ready"]);
        world.plan("a", &[Plan::Fail]);
        assert!(matches!(world.call(Call::CycleChild(a)), Err(Refusal::StartFailed(_))));
        assert_eq!(listing(&world), ["b=Ready"]);
    }

    #[test]
    fn a_call_to_a_supervisor_that_is_down_is_refused() {
        let mut world = World::booted(one_for_one(&[inner("s", one_for_one(&[worker("a")]))]));
        let (s, a) = (world.node("s"), world.node("a"));
        world.call(Call::TerminateChild(s)).expect("s is stopped");
        for call in [Call::RestartChild(a), Call::TerminateChild(a), Call::StartChild(s, worker("b"))] {
            assert_eq!(world.call(call), Err(Refusal::SupervisorStopped));
        }
    }

    #[test]
    fn callers_are_told_when_the_supervisor_ends_first() {
        let mut world = World::booted(one_for_one(&["a", "b"].map(worker)));
        world.plan("a", &[Plan::SlowStart(5000)]);
        world.dies("a", Exit::Code(1));
        let (a, b) = (world.node("a"), world.node("b"));
        let waiting = [world.send(Call::TerminateChild(b)), world.send(Call::DeleteChild(a))];
        world.step(Event::Stop);
        for ticket in waiting {
            assert_eq!(world.replies[&ticket], Err(Refusal::SupervisorStopped));
        }
    }

    #[test]
    fn calls_about_nobody() {
        let mut world = World::booted(one_for_one(&[worker("a")]));
        let nobody = NodeId(99);
        for call in [
            Call::TerminateChild(nobody),
            Call::RestartChild(nobody),
            Call::DeleteChild(nobody),
            Call::CycleChild(nobody),
            Call::StartChild(nobody, worker("b")),
            Call::StartChild(world.node("a"), worker("b")),
            Call::StartInstance(ROOT, "b".into()),
            Call::TerminateChild(ROOT),
        ] {
            assert_eq!(world.call(call.clone()), Err(Refusal::NotFound), "{call:?}");
        }
    }
}

mod templates {
    use super::*;

    #[test]
    fn o21_temporary_instances_leave_nothing_behind() {
        let size = |world: &World| postcard::to_stdvec(&world.tree).expect("a state can be written").len();
        let mut world = World::booted(template(temporary("job")));
        let before = size(&world);
        for i in 0..2000 {
            world.call(Call::StartInstance(ROOT, format!("job@{i}"))).expect("it starts");
            world.dies(&format!("job@{i}"), Exit::Code(1));
        }
        assert_eq!(listing(&world), [""; 0]);
        let counts = world.tree.counts(ROOT).expect("the root");
        assert_eq!((counts.specs, counts.active, counts.supervisors, counts.workers), (1, 0, 0, 0));
        // Only the next id is a byte longer.
        assert!(size(&world) <= before + 2, "{} against {before} bytes", size(&world));
    }

    #[test]
    fn a_template_has_a_name_but_no_life() {
        let mut world = World::booted(template(worker("job")));
        let job = world.node("job");
        for call in [
            Call::TerminateChild(job),
            Call::RestartChild(job),
            Call::DeleteChild(job),
            Call::CycleChild(job),
            Call::StartInstance(ROOT, "job".into()),
            Call::StartChild(ROOT, worker("x")),
        ] {
            assert_eq!(world.call(call.clone()), Err(Refusal::SimpleOneForOne), "{call:?}");
        }
    }

    #[test]
    fn instances_are_refused_what_otp_refuses_them() {
        let mut world = World::booted(template(worker("job")));
        let Ok(Reply::Started(job, _)) = world.call(Call::StartInstance(ROOT, "job@1".into())) else {
            panic!("it starts")
        };
        assert_eq!(world.call(Call::RestartChild(job)), Err(Refusal::SimpleOneForOne));
        assert_eq!(world.call(Call::DeleteChild(job)), Err(Refusal::SimpleOneForOne));
        let twice = world.call(Call::StartInstance(ROOT, "job@1".into()));
        assert_eq!(twice, Err(Refusal::AlreadyStarted(job)));
        assert_eq!(world.call(Call::CycleChild(job)), Ok(Reply::Started(job, Run(2))));
        assert_eq!(world.call(Call::TerminateChild(job)), Ok(Reply::Done));
        assert_eq!(world.call(Call::TerminateChild(job)), Ok(Reply::Done));
        assert_eq!(world.call(Call::CycleChild(job)), Err(Refusal::NotFound));
    }

    #[test]
    fn a_transient_instance_that_succeeds_is_forgotten() {
        let mut world = World::booted(template(ChildSpec { restart: Restart::Transient, ..worker("job") }));
        world.call(Call::StartInstance(ROOT, "job@1".into())).expect("it starts");
        world.dies("job@1", Exit::Code(0));
        assert_eq!(listing(&world), [""; 0]);
    }

    #[test]
    fn a_template_may_be_a_whole_subtree() {
        let pool = inner("pool", one_for_one(&["lead", "hand"].map(worker)));
        let mut world = World::booted(template(pool));
        let mut actions = Vec::new();
        world.tree.clone().step(
            Moment(world.now),
            Event::Request(Ticket(1), Call::StartInstance(ROOT, "north".into())),
            &mut actions,
        );
        let added: Vec<_> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Added { name, .. } => Some(name.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(added, ["north", "lead@north", "hand@north"]);
        world.call(Call::StartInstance(ROOT, "north".into())).expect("it starts");
        world.call(Call::StartInstance(ROOT, "south".into())).expect("it starts");
        world.take_trace();
        world.dies("hand@south", Exit::Code(1));
        world.settle();
        assert_eq!(world.take_trace(), ["xhand@south.1(1)", "+hand@south.2"]);
        let north = world.node("north");
        world.call(Call::TerminateChild(north)).expect("it is stopped");
        assert_eq!(world.take_trace(), ["-hand@north.1", "-lead@north.1", "^north.1(shutdown)"]);
        assert_eq!((world.tree.find("north"), world.tree.find("lead@north")), (None, None));
        assert_eq!(world.tree.counts(ROOT).expect("the root").supervisors, 1);
    }
}

mod reload {
    use super::*;

    fn refused(world: &mut World, spec: SupervisorSpec) -> SpecError {
        let before = world.tree.clone();
        let Err(Refusal::BadSpec(error)) = world.call(Call::Reload(spec)) else { panic!("it is refused") };
        assert_eq!(world.tree, before, "a refused reload changes nothing");
        error
    }

    #[test]
    fn what_cannot_be_reloaded_is_refused_as_a_whole() {
        let nested = |children: &[ChildSpec]| inner("s", one_for_one(children));
        let mut world = World::booted(one_for_one(&[nested(&[worker("a")]), worker("b")]));
        let moved = one_for_one(&[nested(&[worker("b")])]);
        assert_eq!(refused(&mut world, moved), SpecError::DuplicateName("b".into()));
        let switched = one_for_one(&[worker("s"), worker("b")]);
        assert_eq!(refused(&mut world, switched), SpecError::KindSwitch("s".into()));
        let templated = one_for_one(&[inner("s", template(worker("a"))), worker("b")]);
        assert_eq!(refused(&mut world, templated), SpecError::TemplateSwitch("s".into()));
        let twice = one_for_one(&[worker("b"), worker("b")]);
        assert_eq!(refused(&mut world, twice), SpecError::DuplicateName("b".into()));
    }

    #[test]
    fn a_name_that_an_added_supervisor_will_want_back_is_taken() {
        let mut world = World::booted(one_for_one(&[]));
        let added = inner("s", one_for_one(&["a", "b"].map(worker)));
        world.call(Call::StartChild(ROOT, added)).expect("s is added");
        let b = world.node("b");
        world.call(Call::TerminateChild(b)).expect("b is stopped");
        world.call(Call::DeleteChild(b)).expect("b is removed");
        let wanted = one_for_one(&[worker("b")]);
        assert_eq!(refused(&mut world, wanted), SpecError::DuplicateName("b".into()));
    }

    #[test]
    fn it_reaches_every_level_and_starts_nothing() {
        let before = one_for_one(&[inner("s", one_for_one(&["a", "b"].map(worker))), worker("x")]);
        let after = one_for_one(&[
            worker("x"),
            inner("t", one_for_one(&[worker("c")])),
            inner("s", one_for_one(&["n", "a"].map(worker))),
        ]);
        let mut world = World::booted(before);
        world.take_trace();
        assert_eq!(world.call(Call::Reload(after)), Ok(Reply::Done));
        assert_eq!(world.take_trace(), [""; 0]);
        assert_eq!(listing(&world), ["x=Ready", "t=Stopped", "s=Running"]);
        let s = world.view_of("s").supervisor.expect("a supervisor");
        let names: Vec<_> = s.children.iter().map(|c| (c.name.as_str(), c.phase)).collect();
        assert_eq!(names, [("n", Phase::Stopped), ("a", Phase::Ready), ("b", Phase::Ready)]);
        let (t, s) = (world.node("t"), world.node("s"));
        world.call(Call::RestartChild(t)).expect("t starts");
        assert_eq!(world.take_trace(), ["+c.1", "+t.1"]);
        // The kept one is not in the configuration any more, so a new start of its supervisor is without it.
        world.call(Call::CycleChild(s)).expect("s is cycled");
        assert_eq!(world.tree.find("b"), None);
        assert_eq!(world.take_trace()[3..], ["+n.1", "+a.2", "+s.2"]);
    }

    #[test]
    fn a_child_that_was_kept_can_be_configured_again() {
        let mut world = World::booted(one_for_one(&["a", "b"].map(worker)));
        let a = world.node("a");
        world.call(Call::Reload(one_for_one(&[worker("b")]))).expect("it is good");
        let brutal = ChildSpec { shutdown: Shutdown::BrutalKill, ..worker("a") };
        world.call(Call::Reload(one_for_one(&[worker("b"), brutal]))).expect("it is good");
        assert_eq!(world.node("a"), a);
        world.step(Event::Stop);
        world.finish();
        assert_eq!(world.take_trace()[2..], ["Ka.1", "-b.1"]);
    }

    #[test]
    fn it_does_not_disturb_a_round_that_is_under_way() {
        let mut world = World::booted(supervisor(Strategy::OneForAll, 5, 3600, &["a", "b"].map(worker)));
        world.plan("a", &[Plan::SlowStart(1000)]);
        world.take_trace();
        world.dies("a", Exit::Code(1));
        world.sleep(500);
        world.call(Call::Reload(one_for_one(&["c", "b", "a"].map(worker)))).expect("it is good");
        world.sleep(1000);
        assert_eq!(world.take_trace(), ["xa.1(1)", "-b.1", "+a.2", "+b.2"]);
        assert_eq!(listing(&world), ["c=Stopped", "b=Ready", "a=Ready"]);
    }

    #[test]
    fn a_missing_child_of_a_supervisor_that_is_down_is_gone() {
        let nested = |children: &[ChildSpec]| one_for_one(&[inner("s", one_for_one(children))]);
        let mut world = World::booted(nested(&["a", "b"].map(worker)));
        let s = world.node("s");
        world.call(Call::TerminateChild(s)).expect("s is stopped");
        world.call(Call::Reload(nested(&[worker("b")]))).expect("it is good");
        assert_eq!(world.tree.find("a"), None);
    }

    #[test]
    fn running_instances_follow_a_template_that_is_a_subtree() {
        let pool = |children: &[ChildSpec]| template(inner("pool", one_for_one(children)));
        let mut world = World::booted(pool(&[worker("lead")]));
        world.call(Call::StartInstance(ROOT, "north".into())).expect("it starts");
        world.call(Call::Reload(pool(&["lead", "hand"].map(worker)))).expect("it is good");
        assert_eq!(world.view_of("hand@north").phase, Phase::Stopped);
    }

    #[test]
    fn a_template_may_get_another_name() {
        let mut world = World::booted(template(worker("job")));
        let job = world.node("job");
        world.call(Call::Reload(template(worker("task")))).expect("it is good");
        assert_eq!((world.tree.find("job"), world.tree.find("task")), (None, Some(job)));
    }

    #[test]
    fn reloaded_is_noted() {
        let mut world = World::booted(one_for_one(&[]));
        world.call(Call::Reload(one_for_one(&[]))).expect("it is good");
        assert_eq!(world.notes.last().map(|(_, note)| note), Some(&Note::Reloaded));
    }
}

//! Section V of cases.md: what is refused before anything starts. (What cannot even be written with our types is
//! refused by the configuration.)

use std::time::Duration;

use provost::rules::{
    AutoShutdown, ChildSpec, Flags, Restart, Shutdown, SpecError, Strategy, SupervisorSpec, Tree,
};

use crate::build::{inner, polite, supervisor, worker};

fn refusal(spec: SupervisorSpec) -> Option<SpecError> {
    Tree::new(spec).err()
}

fn with(auto_shutdown: AutoShutdown, child: ChildSpec) -> SupervisorSpec {
    SupervisorSpec { flags: Flags { auto_shutdown, ..Flags::default() }, children: vec![child] }
}

fn significant(restart: Restart) -> ChildSpec {
    ChildSpec { significant: true, restart, ..worker("a") }
}

#[test]
fn v03_intensity_0_is_accepted() {
    assert_eq!(refusal(supervisor(Strategy::OneForOne, 0, 1, &[worker("a")])), None);
}

#[test]
fn v04_period_0_is_refused() {
    assert_eq!(refusal(supervisor(Strategy::OneForOne, 1, 0, &[])), Some(SpecError::InvalidPeriod));
    let nested = inner("s", supervisor(Strategy::OneForOne, 1, 0, &[]));
    assert_eq!(refusal(supervisor(Strategy::OneForOne, 1, 5, &[nested])), Some(SpecError::InvalidPeriod));
}

#[test]
fn v12_every_shutdown_is_accepted_on_workers_and_supervisors() {
    for shutdown in [polite(Some(0)), polite(Some(1000)), polite(None), Shutdown::BrutalKill] {
        for child in [worker("a"), inner("a", SupervisorSpec::default())] {
            let child = ChildSpec { shutdown: shutdown.clone(), ..child };
            assert_eq!(refusal(supervisor(Strategy::OneForOne, 1, 5, &[child])), None);
        }
    }
}

#[test]
fn v16_two_children_of_one_name_are_refused_wherever_they_stand() {
    let twice = Some(SpecError::DuplicateName("a".into()));
    assert_eq!(refusal(supervisor(Strategy::OneForOne, 1, 5, &[worker("a"), worker("a")])), twice);
    let nested = inner("s", supervisor(Strategy::OneForOne, 1, 5, &[worker("a")]));
    assert_eq!(refusal(supervisor(Strategy::OneForOne, 1, 5, &[worker("a"), nested])), twice);
}

#[test]
fn v17_significant_needs_auto_shutdown() {
    for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
        let refused = refusal(with(AutoShutdown::Never, significant(restart)));
        assert_eq!(refused, Some(SpecError::SignificantNever("a".into())));
    }
}

#[test]
fn v19_significant_may_be_transient_or_temporary() {
    for auto_shutdown in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        for restart in [Restart::Transient, Restart::Temporary] {
            assert_eq!(refusal(with(auto_shutdown, significant(restart))), None);
        }
        let refused = refusal(with(auto_shutdown, significant(Restart::Permanent)));
        assert_eq!(refused, Some(SpecError::SignificantPermanent("a".into())));
    }
}

#[test]
fn v20_not_significant_goes_with_anything() {
    for auto_shutdown in [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            assert_eq!(refusal(with(auto_shutdown, ChildSpec { restart, ..worker("a") })), None);
        }
    }
}

#[test]
fn v22_a_template_is_one_child_and_does_not_shut_down_by_itself() {
    let template = |children: &[ChildSpec]| supervisor(Strategy::SimpleOneForOne, 1, 5, children);
    assert_eq!(refusal(template(&[])), Some(SpecError::TemplateCount(0)));
    assert_eq!(refusal(template(&[worker("a"), worker("b")])), Some(SpecError::TemplateCount(2)));
    assert_eq!(refusal(template(&[worker("a")])), None);
    let mut any = template(&[worker("a")]);
    any.flags.auto_shutdown = AutoShutdown::AnySignificant;
    assert_eq!(refusal(any), Some(SpecError::TemplateAutoShutdown));
}

#[test]
fn v23_defaults_are_otps() {
    let flags = Flags::default();
    assert_eq!(flags.strategy, Strategy::OneForOne);
    assert_eq!((flags.intensity, flags.period), (1, Duration::from_secs(5)));
    assert_eq!(flags.auto_shutdown, AutoShutdown::Never);
    assert_eq!(Restart::default(), Restart::Permanent);
}

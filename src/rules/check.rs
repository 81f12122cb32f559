//! What OTP's `init` and `check_childspecs` refuse.

use std::collections::BTreeSet;

use super::spec::{AutoShutdown, ChildSpec, Flags, Kind, Restart, SpecError, SupervisorSpec};

/// A whole tree. The root's name is empty.
pub(super) fn tree(spec: &SupervisorSpec) -> Result<(), SpecError> {
    supervisor(spec, &mut BTreeSet::from([""]))
}

/// One child (and what is below it) under a supervisor with these flags.
pub(super) fn child<'a>(
    flags: &Flags,
    spec: &'a ChildSpec,
    names: &mut BTreeSet<&'a str>,
) -> Result<(), SpecError> {
    if !names.insert(&spec.name) {
        return Err(SpecError::DuplicateName(spec.name.clone()));
    }
    match (spec.significant, flags.auto_shutdown, spec.restart) {
        (false, _, _) => {}
        (true, AutoShutdown::Never, _) => return Err(SpecError::SignificantNever(spec.name.clone())),
        (true, _, Restart::Permanent) => return Err(SpecError::SignificantPermanent(spec.name.clone())),
        (true, _, Restart::Transient | Restart::Temporary) => {}
    }
    match &spec.kind {
        Kind::Worker(_) => Ok(()),
        Kind::Supervisor(below) => supervisor(below, names),
    }
}

fn supervisor<'a>(spec: &'a SupervisorSpec, names: &mut BTreeSet<&'a str>) -> Result<(), SpecError> {
    if spec.flags.period.is_zero() {
        return Err(SpecError::InvalidPeriod);
    }
    if spec.is_template() {
        if spec.children.len() != 1 {
            return Err(SpecError::TemplateCount(spec.children.len()));
        }
        if spec.flags.auto_shutdown != AutoShutdown::Never {
            return Err(SpecError::TemplateAutoShutdown);
        }
    }
    spec.children.iter().try_for_each(|spec_of_child| child(&spec.flags, spec_of_child, names))
}

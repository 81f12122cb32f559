//! What is legal and still hardly meant.

use std::time::Duration;

use humantime::format_duration;

use super::child::{Body, Child};
use super::report::{At, Report};
use super::tree::{Family, Group};
use crate::rules::{Backoff, Flags, Shutdown, Strategy};

/// Warns about the whole family.
pub(crate) fn check(report: &Report, family: &Family) {
    for group in family.groups() {
        check_empty(report, &group);
        for child in &group.children {
            let Body::Process(process) = &child.body else { continue };
            if let Some((backoff, at)) = process.backoff {
                check_backoff(report, child, &backoff, at, &group.flagged.flags);
            }
            check_infinity(report, child);
        }
    }
}

fn check_empty(report: &Report, group: &Group) {
    // A template without a child is an error already.
    if !group.children.is_empty() || group.flagged.flags.strategy == Strategy::SimpleOneForOne {
        return;
    }
    match group.supervisor.and_then(|child| child.name.as_deref().map(|name| (child.at, name))) {
        Some((at, name)) => report.warning(
            at,
            format!("the supervisor \"{name}\" has no children"),
            format!("write parent = \"{name}\" in a [[child]]"),
        ),
        None => {
            report.warning(None, "there is nothing to start", "write a [[child]] with a name and a command")
        }
    }
}

/// The longer the pauses, the fewer restarts fit into the period. Once a pause is at its longest, gap after gap, at most
/// `period / gap + 1` fall into one; if that is within the intensity, the supervisor never gives up.
fn check_backoff(report: &Report, child: &Child, backoff: &Backoff, at: At, flags: &Flags) {
    let steady = backoff.factor_milli == 1_000;
    let gap = if steady { backoff.initial } else { backoff.max };
    let most = flags.period.as_millis() / gap.as_millis().max(1) + 1;
    if most > u128::from(flags.intensity) {
        return;
    }
    let name = child.name.as_deref().unwrap_or_default();
    let longest = Duration::from_millis((flags.period / flags.intensity).as_millis() as u64);
    report.warning(
        at,
        format!(
            "the backoff of \"{name}\" lets a crash loop go on for ever: a restart every {} is at most {most} in {}, \
             and {} are allowed",
            format_duration(gap),
            format_duration(flags.period),
            flags.intensity,
        ),
        format!(
            "write {} of at most {}, the largest gap that still escalates (period / intensity), or a smaller \
             intensity",
            if steady { "an initial" } else { "a max" },
            format_duration(longest)
        ),
    );
}

fn check_infinity(report: &Report, child: &Child) {
    let Shutdown::Polite(steps) = &child.shutdown else { return };
    if steps.iter().any(|step| step.wait.is_none()) {
        let name = child.name.as_deref().unwrap_or_default();
        report.warning(
            child.shutdown_at,
            format!("\"{name}\" is waited for without end when it is stopped, and never killed"),
            "write a time, as in shutdown = \"30s\"",
        );
    }
}

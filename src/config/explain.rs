//! The words for what the rules refuse.

use crate::rules::SpecError;

/// What is wrong with a specification and what to do, as in a [`Diagnostic`](super::Diagnostic).
#[must_use]
pub fn explain(error: &SpecError) -> (String, String) {
    match error {
        SpecError::DuplicateName(name) => (
            format!("the name \"{name}\" is used twice"),
            "give each child its own; for several of one kind write instances = N".into(),
        ),
        SpecError::InvalidPeriod => {
            ("a period of 0 cannot be exceeded".into(), "write a time, as in period = \"5s\"".into())
        }
        SpecError::SignificantNever(name) => (
            format!("\"{name}\" is significant, but its supervisor never shuts down by itself"),
            "give the supervisor auto_shutdown = \"any_significant\" or \"all_significant\", or take significant out"
                .into(),
        ),
        SpecError::SignificantPermanent(name) => (
            format!("\"{name}\" is significant and permanent, also when restart is left out"),
            "write restart = \"transient\" or \"temporary\", or take significant out".into(),
        ),
        SpecError::TemplateCount(count) => (
            format!("a simple_one_for_one supervisor has exactly one child, its template; this one has {count}"),
            "write one [[child]] for it, or another strategy".into(),
        ),
        SpecError::TemplateAutoShutdown => (
            "a simple_one_for_one supervisor cannot shut down by itself".into(),
            "take auto_shutdown out, or write another strategy".into(),
        ),
        SpecError::TemplateSwitch(name) => (
            format!("\"{name}\" cannot change to or from simple_one_for_one while it runs"),
            "keep its strategy, or stop the project first".into(),
        ),
        SpecError::KindSwitch(name) => (
            format!("\"{name}\" cannot change between worker and supervisor while it runs"),
            "keep its type, or give the new one another name".into(),
        ),
    }
}

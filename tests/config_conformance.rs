//! OTP's checks of flags and child specifications, case by case as in the conformance list (V01 to V23, with I05 and
//! I06 in V22; K26; and deviation D7, the newest OTP's check of templates).
//! Refused means refused as a whole: there is no project then.

use std::path::Path;

use provost::config::{Context, Loaded, parse};
use provost::rules::{AutoShutdown, Flags, Kind, Restart, Shutdown, StopStep, Strategy, SupervisorSpec};

fn outcome(text: &str) -> Result<Loaded, String> {
    let parsed = parse(Path::new("/srv/app/supervisor.toml"), text, &Context::default());
    parsed.map_err(|errors| errors.iter().map(|error| format!("{error}\n")).collect())
}

fn accepted(text: &str) -> SupervisorSpec {
    outcome(text).unwrap_or_else(|errors| panic!("{text}\n{errors}")).project.tree
}

/// Refused with exactly one complaint, which begins at this line and says this.
#[track_caller]
fn refused(text: &str, line: usize, saying: &str) {
    let errors = outcome(text).expect_err(text);
    let place = format!("/srv/app/supervisor.toml:{line}:");
    assert!(
        errors.lines().count() == 1 && errors.starts_with(&place) && errors.contains(saying),
        "{text}\n{errors}"
    );
}

fn root(flags: &str) -> String {
    format!("[supervisor]\n{flags}\n")
}

fn worker(keys: &str) -> String {
    format!("[[child]]\nname = 'a'\ncommand = ['/bin/true']\n{keys}\n")
}

fn supervised(auto_shutdown: &str, keys: &str) -> String {
    root(&format!("auto_shutdown = '{auto_shutdown}'")) + &worker(keys)
}

#[test]
fn v01_an_unknown_strategy_is_refused() {
    refused(&root("strategy = 'none_for_one'"), 2, "strategy");
}

#[test]
fn v02_an_intensity_that_is_no_number_of_restarts_is_refused() {
    for intensity in ["-1", "1.5", "'infinity'"] {
        refused(&root(&format!("intensity = {intensity}")), 2, "write a whole number of 0 or more");
    }
}

#[test]
fn v03_intensity_zero_is_accepted() {
    assert_eq!(accepted(&root("intensity = 0")).flags.intensity, 0);
}

#[test]
fn v04_a_period_of_zero_or_without_end_is_refused() {
    refused(&root("period = '0s'"), 2, "a period of 0");
    refused(&root("period = 'infinity'"), 2, "has no end");
}

#[test]
fn v05_an_unknown_auto_shutdown_is_refused() {
    refused(&root("auto_shutdown = 'sometimes'"), 2, "any_significant");
}

#[test]
fn v06_an_unknown_key_of_a_supervisor_is_refused() {
    refused(&root("intensty = 3"), 2, "did you mean \"intensity\"?");
}

#[test]
fn v07_a_child_without_a_name_is_refused() {
    refused("[[child]]\ncommand = ['/bin/true']\n", 1, "no name");
}

#[test]
fn v08_a_child_without_a_command_is_refused() {
    refused("[[child]]\nname = 'a'\n", 1, "\"a\" has no command");
}

#[test]
fn v09_a_command_of_the_wrong_shape_is_refused() {
    for command in ["'sleep 60'", "[]", "[1]", "[['/bin/true']]", "{ run = 'x' }", "true"] {
        refused(&format!("[[child]]\nname = 'a'\ncommand = {command}\n"), 3, "command");
    }
}

#[test]
fn v10_an_unknown_restart_type_is_refused() {
    refused(&worker("restart = 'prmanent'"), 4, "did you mean \"permanent\"?");
}

#[test]
fn v11_a_negative_shutdown_is_refused() {
    refused(&worker("shutdown = -10"), 4, "shutdown = -10");
    refused(&worker("shutdown = '-10ms'"), 4, "is negative");
}

#[test]
fn v12_every_shutdown_is_accepted_for_workers_and_supervisors() {
    for shutdown in ["0s", "1000ms", "infinity", "brutal_kill"] {
        accepted(&worker(&format!("shutdown = '{shutdown}'")));
        accepted(&format!("[[child]]\nname = 'a'\ntype = 'supervisor'\nshutdown = '{shutdown}'\n"));
    }
}

#[test]
fn v13_an_unknown_child_type_is_refused() {
    refused(&worker("type = 'wrker'"), 4, "did you mean \"worker\"?");
}

#[test]
fn v14_significant_is_true_or_false() {
    refused(&worker("significant = 'maybe'"), 4, "write true or false");
}

#[test]
fn v15_an_unknown_key_of_a_child_is_refused() {
    refused(&worker("colour = 'red'"), 4, "unknown key \"colour\"");
}

#[test]
fn v16_one_name_for_two_children_is_refused() {
    refused(&(worker("") + &worker("")), 6, "\"a\" is used twice, first on line 2");
}

#[test]
fn v17_significant_without_auto_shutdown_is_refused_whatever_the_restart_type() {
    for restart in ["", "restart = 'permanent'", "restart = 'transient'", "restart = 'temporary'"] {
        refused(
            &supervised("never", &format!("significant = true\n{restart}")),
            6,
            "never shuts down by itself",
        );
    }
}

#[test]
fn k26_significant_and_permanent_is_refused_also_when_restart_is_left_out() {
    for auto_shutdown in ["any_significant", "all_significant"] {
        for restart in ["", "restart = 'permanent'"] {
            let text = supervised(auto_shutdown, &format!("significant = true\n{restart}"));
            refused(&text, 6, "significant and permanent");
        }
    }
}

#[test]
fn v19_significant_and_not_permanent_is_accepted_with_auto_shutdown() {
    for auto_shutdown in ["any_significant", "all_significant"] {
        for restart in ["transient", "temporary"] {
            let text = supervised(auto_shutdown, &format!("significant = true\nrestart = '{restart}'"));
            assert!(accepted(&text).children[0].significant);
        }
    }
}

#[test]
fn v20_not_significant_is_accepted_with_everything() {
    for auto_shutdown in ["never", "any_significant", "all_significant"] {
        for restart in ["permanent", "transient", "temporary"] {
            let text = supervised(auto_shutdown, &format!("significant = false\nrestart = '{restart}'"));
            assert!(!accepted(&text).children[0].significant);
        }
    }
}

#[test]
fn d7_a_template_supervisor_with_auto_shutdown_is_refused() {
    for auto_shutdown in ["any_significant", "all_significant"] {
        let flags = format!("strategy = 'simple_one_for_one'\nauto_shutdown = '{auto_shutdown}'");
        refused(&(root(&flags) + &worker("")), 3, "cannot shut down by itself");
    }
}

#[test]
fn v22_a_template_supervisor_has_exactly_one_child() {
    let template = root("strategy = 'simple_one_for_one'");
    let second = worker("").replace("'a'", "'b'");
    refused(&template, 2, "this one has 0");
    refused(&(template.clone() + &worker("") + &second), 2, "this one has 2");
    accepted(&(template + &worker("")));
}

#[test]
fn v23_everything_left_out_is_otps_default() {
    let tree = accepted(&(worker("") + "[[child]]\nname = 's'\ntype = 'supervisor'\n"));
    assert_eq!(tree.flags, Flags::default());
    assert_eq!(
        (tree.flags.strategy, tree.flags.intensity, tree.flags.period.as_secs(), tree.flags.auto_shutdown),
        (Strategy::OneForOne, 1, 5, AutoShutdown::Never)
    );
    let wait = |index: usize| match &tree.children[index].shutdown {
        Shutdown::Polite(steps) => {
            steps.iter().map(|StopStep { wait, .. }| wait.map(|w| w.as_millis())).collect()
        }
        Shutdown::BrutalKill => Vec::new(),
    };
    assert_eq!((tree.children[0].restart, tree.children[0].significant), (Restart::Permanent, false));
    assert!(matches!(tree.children[0].kind, Kind::Worker(_)));
    assert_eq!((wait(0), wait(1)), (vec![Some(5_000)], vec![None]));
    assert_eq!(tree.children[1].restart, Restart::Permanent);
}

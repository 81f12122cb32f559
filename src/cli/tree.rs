//! `provost tree`.

use super::args::JsonArgs;
use super::exit::Exit;
use super::human;
use super::screen::Screen;
use super::table::{Align, Cell, Column, Keep, render};
use super::{Failure, print_json, print_styled};
use crate::control::{ChildJson, Client, SupervisorJson, TreeJson};
use crate::rules::{Restart, Strategy};

pub(super) async fn run(client: &Client, args: JsonArgs) -> Result<Exit, Failure> {
    let tree = client.tree().await?;
    if args.json {
        print_json(&tree)?;
    } else {
        print_styled(&text_for(&tree, &Screen::of_stdout()))?;
    }
    Ok(Exit::Ok)
}

const COLUMNS: [Column; 7] = [
    Column { title: "NAME", align: Align::Left, keep: Keep::Always },
    Column { title: "PHASE", align: Align::Left, keep: Keep::Always },
    Column { title: "PID", align: Align::Right, keep: Keep::Always },
    Column { title: "RUN", align: Align::Right, keep: Keep::After(2) },
    Column { title: "RESTARTS", align: Align::Right, keep: Keep::After(3) },
    Column { title: "LAST EXIT", align: Align::Left, keep: Keep::After(1) },
    Column { title: "POLICY", align: Align::Left, keep: Keep::Always },
];

/// The supervision tree as text: one line a node, children below their supervisor in start order.
fn text_for(tree: &TreeJson, screen: &Screen) -> String {
    let mut rows = Vec::new();
    // Nobody restarts the root, so it is shown as if it had no restart type.
    let root = ChildJson { restart: Restart::Permanent, ..tree.root.clone() };
    add(&root, "", "", &mut rows);
    render(&COLUMNS, &rows, screen).text
}

/// Adds a node and what is below it. `branch` is drawn before its name, `trunk` before those of its children.
fn add(child: &ChildJson, branch: &str, trunk: &str, rows: &mut Vec<Vec<Cell>>) {
    rows.push(vec![
        format!("{branch}{}", child.name).into(),
        Cell::phase(child.phase),
        Cell::maybe(child.pid),
        Cell::maybe(Some(child.run)),
        Cell::maybe(Some(child.restarts)),
        Cell::maybe(child.last_exit.as_ref()),
        policy(child).into(),
    ]);
    let children = child.supervisor.iter().flat_map(|supervisor| &supervisor.children);
    let count = children.clone().count();
    for (position, child) in children.enumerate() {
        let (branch, next) = if position + 1 == count { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        add(child, &format!("{trunk}{branch}"), &format!("{trunk}{next}"), rows);
    }
}

/// What the node's specification says, in the config file's words.
pub(super) fn policy(child: &ChildJson) -> String {
    let mut words = Vec::new();
    if let Some(SupervisorJson { strategy, intensity, period_ms, restarts_left, .. }) = &child.supervisor {
        let period = human::exact_length(*period_ms);
        words.push(strategy_name(*strategy).to_owned());
        words.push(format!("{intensity} in {period}"));
        words.push(format!("{restarts_left} left"));
    }
    if child.supervisor.is_none() || child.restart != Restart::Permanent {
        words.push(restart_name(child.restart).to_owned());
    }
    if child.significant {
        words.push("significant".to_owned());
    }
    words.join(", ")
}

fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
        Strategy::SimpleOneForOne => "simple_one_for_one",
    }
}

fn restart_name(restart: Restart) -> &'static str {
    match restart {
        Restart::Permanent => "permanent",
        Restart::Transient => "transient",
        Restart::Temporary => "temporary",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::{ExitJson, VERSION};
    use crate::rules::Phase;

    pub(in crate::cli) fn worker(name: &str, phase: Phase, pid: Option<i32>) -> ChildJson {
        ChildJson {
            name: name.into(),
            kind: "worker".into(),
            restart: Restart::Permanent,
            significant: false,
            phase,
            pid,
            run: 1,
            restarts: 0,
            last_exit: None,
            left_behind: None,
            spec: None,
            supervisor: None,
        }
    }

    fn supervisor(name: &str, strategy: Strategy, children: Vec<ChildJson>) -> ChildJson {
        let supervisor =
            SupervisorJson { strategy, intensity: 10, period_ms: 10_000, restarts_left: 7, children };
        let mut child = worker(name, Phase::Running, None);
        (child.kind, child.supervisor) = ("supervisor".into(), Some(supervisor));
        child
    }

    #[test]
    fn the_tree_is_exactly_this() {
        let mut engine = worker("engine", Phase::Ready, Some(4242));
        (engine.run, engine.restarts) = (3, 2);
        engine.last_exit = Some(ExitJson::Signal { signal: 9, name: "SIGKILL".into(), core: false });
        let mut client = worker("client@1", Phase::Backoff, None);
        (client.restart, client.significant) = (Restart::Transient, true);
        client.last_exit = Some(ExitJson::Code { code: 1 });
        let clients = supervisor(
            "clients",
            Strategy::OneForOne,
            vec![client, worker("client@2", Phase::Running, Some(7))],
        );
        let root = supervisor(
            "demo",
            Strategy::RestForOne,
            vec![engine, clients, worker("web", Phase::Stopped, None)],
        );
        let tree = TreeJson { version: VERSION, project: "demo".into(), root };
        let expected = "\
NAME            PHASE     PID  RUN  RESTARTS  LAST EXIT          POLICY
demo            running     -    1         0  -                  rest_for_one, 10 in 10s, 7 left
├─ engine       ready    4242    3         2  killed by SIGKILL  permanent
├─ clients      running     -    1         0  -                  one_for_one, 10 in 10s, 7 left
│  ├─ client@1  backoff     -    1         0  exit code 1        transient, significant
│  └─ client@2  running     7    1         0  -                  permanent
└─ web          stopped     -    1         0  -                  permanent
";
        assert_eq!(text_for(&tree, &Screen::default()), expected);
    }

    #[test]
    fn names_are_those_of_the_config_file() {
        for strategy in
            [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne, Strategy::SimpleOneForOne]
        {
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy_name(strategy));
        }
        for restart in [Restart::Permanent, Restart::Transient, Restart::Temporary] {
            assert_eq!(serde_json::to_value(restart).unwrap(), restart_name(restart));
        }
    }
}

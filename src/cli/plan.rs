//! `provost plan` and `reload`.

use super::args::{Format, JsonArgs, ReloadArgs};
use super::exit::Exit;
use super::{Failure, print, print_json, say, scale};
use crate::control::{Apply, ChangeJson, ChangeKind, Client, KeyJson, PlanJson};

pub(super) async fn run(client: &Client, args: JsonArgs) -> Result<Exit, Failure> {
    let plan = client.plan().await?;
    match args.format() {
        Format::Json => print_json(&plan)?,
        Format::Text => tell(&plan)?,
    }
    Ok(Exit::Ok)
}

pub(super) async fn reload(client: &Client, args: ReloadArgs) -> Result<Exit, Failure> {
    let apply = match (args.restart, args.apply) {
        (true, _) => Apply::Restart,
        (false, true) => Apply::Children,
        (false, false) => Apply::Settings,
    };
    let reload = client.reload(apply).await?;
    match args.output.format() {
        Format::Json => print_json(&reload)?,
        Format::Text => {
            tell(&reload.plan)?;
            scale::tell(&reload.done)?;
        }
    }
    Ok(scale::exit(&reload.done))
}

fn tell(plan: &PlanJson) -> Result<(), Failure> {
    for warning in &plan.warnings {
        say(format_args!("warning: {warning}"));
    }
    Ok(print(&text(plan))?)
}

fn text(plan: &PlanJson) -> String {
    if plan.changes.is_empty() {
        return format!("{}: nothing differs from {}\n", plan.project, plan.file);
    }
    let changes: String = plan.changes.iter().map(change).collect();
    format!("{changes}{} unchanged\n", plan.unchanged)
}

fn change(change: &ChangeJson) -> String {
    let ChangeJson { name, change, parent, keys } = change;
    let parent = parent.as_deref().unwrap_or_default();
    match change {
        ChangeKind::New => format!("{name}: new under {parent}, added without a process\n"),
        ChangeKind::Missing => format!("{name}: not in the file, kept as it is under {parent}\n"),
        ChangeKind::Removed => format!("{name}: not in the file, removed: {parent} is not running\n"),
        ChangeKind::Unstarted => format!("{name}: added by an earlier reload, not started yet\n"),
        ChangeKind::Outdated => format!("{name}: runs with the settings before an earlier reload\n"),
        ChangeKind::Changed => {
            let keys: String = keys.iter().map(key).collect();
            format!("{name}: changed\n{keys}")
        }
    }
}

fn key(key: &KeyJson) -> String {
    let KeyJson { key, old, new, when } = key;
    let when = match when.as_str() {
        "now" => "at once",
        "next_exit" => "from its next exit",
        "next_stop" => "from its next stop",
        "next_start" => "from its next start",
        other => other,
    };
    format!("  {key}: {old} -> {new} ({when})\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_is_exactly_this() {
        let change = |name: &str, change, keys| ChangeJson {
            name: name.into(),
            change,
            parent: Some("demo".into()),
            keys,
        };
        let key = |key: &str, old, new, when: &str| KeyJson { key: key.into(), old, new, when: when.into() };
        let command = key("command", json!(["sleep", "1"]), json!(["sleep", "2"]), "next_start");
        let plan = PlanJson {
            version: 1,
            project: "demo".into(),
            file: "/srv/supervisor.toml".into(),
            changes: vec![
                change("demo", ChangeKind::Changed, vec![key("intensity", json!(1), json!(5), "now")]),
                change("web", ChangeKind::Changed, vec![command]),
                change("new", ChangeKind::New, vec![]),
                change("old", ChangeKind::Missing, vec![]),
            ],
            unchanged: 3,
            warnings: vec![],
        };
        let expected = "\
demo: changed
  intensity: 1 -> 5 (at once)
web: changed
  command: [\"sleep\",\"1\"] -> [\"sleep\",\"2\"] (from its next start)
new: new under demo, added without a process
old: not in the file, kept as it is under demo
3 unchanged
";
        assert_eq!(text(&plan), expected);
        let nothing = PlanJson { changes: vec![], ..plan };
        assert_eq!(text(&nothing), "demo: nothing differs from /srv/supervisor.toml\n");
    }
}

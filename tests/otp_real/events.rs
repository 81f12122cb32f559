//! provost's event stream, and what each event is in a trace.

use serde_json::Value;

use crate::probe::Plan;
use crate::trace::shown;

/// The project's name in the events; not a child's.
pub(crate) const PROJECT: &str = "test";

/// One event, as far as the cases look at it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The end of the millisecond that it was told in: what it tells came before.
    pub(crate) at_ns: u64,
    pub(crate) class: Option<String>,
    pub(crate) reason: Option<String>,
    requested: bool,
    killed: bool,
    exit: Option<String>,
}

/// Whom an event is about, as a trace writes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt {
    pub(crate) label: String,
    /// Which start attempt of this label.
    pub(crate) number: u32,
    pub(crate) plan: Plan,
    /// Whether it came well.
    pub(crate) started: bool,
}

/// What an event means.
pub(crate) enum Meaning {
    /// Something the supervisor did.
    Deed(String),
    /// A death by itself that it noticed.
    Death(String),
    /// Nothing that a trace shows.
    Nothing,
}

impl Event {
    pub(crate) fn read(json: &Value) -> Event {
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        let exit = &json["exit"];
        let code = exit["code"].as_i64().map(|code| shown(code as i32, false));
        let signal = exit["signal"].as_i64().map(|signal| shown(signal as i32, true));
        Event {
            kind: text("event").expect("a kind"),
            name: text("name").expect("a name"),
            at_ns: (json["mono_ms"].as_u64().expect("a time") + 1) * 1_000_000 - 1,
            class: text("class"),
            reason: text("reason"),
            requested: json["requested"] == true,
            killed: json["killed"] == true,
            exit: code.or(signal),
        }
    }

    /// What it means of this attempt.
    pub(crate) fn meaning(&self, attempt: &Attempt) -> Meaning {
        let Event { kind, .. } = self;
        let Attempt { label: name, number: run, plan, started } = attempt;
        let exit = self.exit.as_deref().unwrap_or("?");
        let of_ours = |sign: char| Meaning::Deed(format!("{sign}{name}.{run}"));
        match kind.as_str() {
            "started" => of_ours('+'),
            "start_failed" => of_ours('!'),
            "ignored" => of_ours('~'),
            // The attempt failed, and that is told by an event of its own.
            "exited" if !*started => Meaning::Nothing,
            "exited" if !self.requested => Meaning::Death(format!("x{name}.{run}({exit})")),
            "exited" if self.killed && exit == "KILL" => of_ours('K'),
            "exited" => match (plan, exit) {
                (Plan::StopAs(_), _) => Meaning::Deed(format!("-{name}.{run}({exit})")),
                (_, "0") if !self.killed => of_ours('-'),
                _ => Meaning::Deed(format!("-{name}.{run}({exit}, killed: {})", self.killed)),
            },
            "stopped" if self.class.as_deref() == Some("killed") => {
                Meaning::Death(format!("x{name}.{run}(KILL)"))
            }
            "stopped" => Meaning::Deed(format!("^{name}.{run}(shutdown)")),
            _ => Meaning::Nothing,
        }
    }
}

//! A case, as `tests/otp/cases.jsonl` has it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::probe::Plan;

#[derive(Clone, Deserialize)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) given: Supervisor,
    #[serde(deserialize_with = "plans")]
    pub(crate) plan: Vec<(String, Vec<Plan>)>,
    pub(crate) steps: Vec<Step>,
    /// What became of the processes that were there at boot, and which are new.
    pub(crate) pids: BTreeMap<String, Vec<String>>,
    #[serde(rename = "final")]
    pub(crate) end: End,
    /// How many attempts fail in a given time depends on the machine; all else is exact.
    #[serde(default)]
    pub(crate) timing_sensitive: bool,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Supervisor {
    pub(crate) flags: Flags,
    pub(crate) children: Vec<Child>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Flags {
    pub(crate) strategy: String,
    pub(crate) intensity: u32,
    /// Seconds.
    pub(crate) period: u64,
    pub(crate) auto_shutdown: String,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Child {
    pub(crate) id: String,
    pub(crate) restart: String,
    /// Milliseconds or a word.
    pub(crate) shutdown: Value,
    pub(crate) significant: bool,
    pub(crate) sub: Option<Supervisor>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Step {
    pub(crate) when: String,
    #[serde(deserialize_with = "op")]
    pub(crate) op: Op,
    pub(crate) wait: bool,
    /// The trace since the last step that has one.
    pub(crate) then: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) unordered: bool,
    /// `up`, `exited` or `none`.
    pub(crate) sup: Option<String>,
    /// What the boot came to if not `up`.
    pub(crate) start: Option<String>,
    pub(crate) children: Option<Vec<(String, String, u32)>>,
    /// Specifications, active, supervisors, workers.
    pub(crate) counts: Option<[u64; 4]>,
    pub(crate) api: Option<Vec<String>>,
    /// Token and milliseconds since the beginning of the step.
    #[serde(default)]
    pub(crate) timing_ms: Vec<(String, u64)>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct End {
    pub(crate) sup: String,
    pub(crate) class: Option<String>,
}

/// What a step does.
#[derive(Clone)]
pub(crate) enum Op {
    Boot,
    Stop,
    Wait(u64),
    Exit(String, u8),
    Kill(String),
    /// All while the supervisor process is stopped.
    Together(Vec<(String, u8)>),
    Plan(String, Vec<Plan>),
    /// Under the root, or under this supervisor.
    Start(Option<String>, Child),
    Terminate(String),
    Restart(String),
    Delete(String),
    Reload(Supervisor),
    Instance(String),
    Instances(String, u32),
    /// An instance by its process, which may be gone.
    TerminateInstance(String),
    TerminateForeign,
    Spec(String),
    Look,
}

/// Every case; of those in `different`, what provost does instead is the expectation. Names are in lower case, as they must
/// be in provost.
pub(crate) fn all(different: &[(&str, &str)]) -> Vec<Case> {
    let text = include_str!("../otp/cases.jsonl").replace('S', "s");
    let lines = text.lines();
    let mut cases: Vec<Case> =
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    assert_eq!(cases.len(), 128);
    cases.iter_mut().for_each(fill_in_template);
    for (id, why) in different {
        let case = cases.iter_mut().find(|case| case.id == *id).expect("a case");
        case.title = format!("{} (differs: {why})", case.title);
        match *id {
            "A02" => no_init(case),
            "E03" => in_start_order(case),
            other => panic!("what does provost do in {other}?"),
        }
    }
    cases
}

/// The instances of one case are supervisors, which it says only by what it calls them.
fn fill_in_template(case: &mut Case) {
    let is_supervisor = |step: &Step| matches!(&step.op, Op::Instance(label) if label.starts_with('s'));
    if case.given.flags.strategy == "simple_one_for_one" && case.steps.iter().any(is_supervisor) {
        let flags =
            Flags { strategy: "one_for_one".into(), intensity: 1, period: 5, auto_shutdown: "never".into() };
        case.given.children[0].sub = Some(Supervisor { flags, children: Vec::new() });
    }
}

/// There is no code that could say ignore: it is up.
fn no_init(case: &mut Case) {
    let step = case.steps.last_mut().expect("a step");
    step.start = None;
    step.sup = Some("up".into());
    case.end = End { sup: "up".into(), class: None };
}

/// One round, begun by the earlier child.
fn in_start_order(case: &mut Case) {
    let step = case.steps.last_mut().expect("a step");
    let then = ["xc.1(1)", "xa.1(1)", "-b.1", "+a.2", "+b.2", "+c.2"];
    step.then = Some(then.map(str::to_owned).to_vec());
    step.sup = Some("up".into());
    step.children = Some(["a", "b", "c"].map(|name| (name.to_owned(), "up".to_owned(), 2)).to_vec());
    step.counts = Some([3, 3, 0, 3]);
    case.end = End { sup: "up".into(), class: None };
    case.pids = BTreeMap::from([("new".into(), ["a", "b", "c"].map(str::to_owned).to_vec())]);
}

fn plans<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<(String, Vec<Plan>)>, D::Error> {
    let plans: Vec<(String, Vec<Value>)> = Deserialize::deserialize(from)?;
    Ok(plans.into_iter().map(|(name, plans)| (name, plans.iter().map(plan).collect())).collect())
}

fn plan(plan: &Value) -> Plan {
    let (word, millis) = match plan {
        Value::String(word) => (word.as_str(), 0),
        plan => (text(&plan[0]), plan[1].as_u64().unwrap_or_default()),
    };
    match word {
        "fail" | "fail_after" => Plan::Fail(millis),
        "ignore" => Plan::Ignore,
        "slow" => Plan::Slow(millis),
        "hang" => Plan::Hang,
        "stop_as" => Plan::StopAs(code(&plan[1])),
        other => panic!("plan {other}"),
    }
}

fn op<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Op, D::Error> {
    let op = Value::deserialize(from)?;
    let name = |at: usize| text(&op[at]).to_owned();
    let deaths = |deaths: &Value| {
        deaths.as_array().expect("deaths").iter().map(|d| (text(&d[0]).to_owned(), code(&d[1]))).collect()
    };
    Ok(match op.as_str().unwrap_or_else(|| text(&op[0])) {
        "ready" => Op::Boot,
        "stop" => Op::Stop,
        "sleep" => Op::Wait(op[1].as_u64().expect("a time")),
        "die" => Op::Exit(name(1), code(&op[2])),
        "kill" => Op::Kill(name(1)),
        "together" => Op::Together(deaths(&op[1])),
        "plan" => Op::Plan(name(1), op[2].as_array().expect("plans").iter().map(plan).collect()),
        "api" => call(None, text(&op[1]), &op[2]),
        "apis" => call(Some(name(1)), text(&op[2]), &op[3]),
        "reload" => Op::Reload(parsed(&op[1])),
        "dynstart" => match op[2].as_u64() {
            None => Op::Instance(name(1)),
            Some(count) => Op::Instances(name(1), u32::try_from(count).expect("a count")),
        },
        "dynterm" => Op::TerminateInstance(name(1)),
        "dynterm_foreign" => Op::TerminateForeign,
        "spec" => Op::Spec(name(1)),
        "which" | "snap" => Op::Look,
        other => panic!("step {other}"),
    })
}

fn call(under: Option<String>, function: &str, argument: &Value) -> Op {
    let name = || text(argument).to_owned();
    match function {
        "start_child" => Op::Start(under, parsed(argument)),
        "terminate_child" => Op::Terminate(name()),
        "restart_child" => Op::Restart(name()),
        "delete_child" => Op::Delete(name()),
        other => panic!("function {other}"),
    }
}

/// OTP's exit reasons as exit codes: `{shutdown, _}` stands for a code in `success_codes`.
fn code(reason: &Value) -> u8 {
    match reason.as_str().unwrap_or_else(|| text(&reason[0])) {
        "normal" => 0,
        "err" => 1,
        "shutdown" => 77,
        other => panic!("exit {other}"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn parsed<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

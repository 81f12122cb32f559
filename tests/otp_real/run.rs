//! Runs one case.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{Case, Child, Op, Step, Supervisor};
use crate::compare;
use crate::control::Answer;
use crate::given;
use crate::probe::now_ns;
use crate::support::{self, Project};
use crate::world::{self, World};

/// What provost says of a specification that OTP refuses with these words. (OTP answers a wrong number of templates with its
/// whole table of children.)
const SPECS: &[(&str, &[&str])] = &[
    ("error bad_combination [{auto_shutdown,never},{significant,true}]", &["significant", "auto_shutdown"]),
    ("error {duplicate_child_name,a}", &["\"a\""]),
    (
        "error {ok,{[template,b],#{b => {child,undefined,b,{orc2,w,[b]},permanent,false,1000,worker,[orc2]},template => {child,undefined,template,{orc2,w,[]},permanent,false,1000,worker,[orc2]}}}}",
        &["exactly one child", "this one has 2"],
    ),
    ("error {ok,{[],#{}}}", &["exactly one child", "this one has 0"]),
    ("error simple_one_for_one", &["simple_one_for_one"]),
];

/// A case under way.
pub(crate) struct Run<'a> {
    pub(crate) case: &'a Case,
    pub(crate) world: World,
    /// Who was up at boot: the identity of each.
    pub(crate) at_boot: Option<BTreeMap<String, String>>,
    /// The launcher's exit code, once it has ended.
    pub(crate) code: Option<i32>,
    /// Restart types of all children there ever were.
    pub(crate) restarts: BTreeMap<String, String>,
    /// Answers that no step has looked at.
    replies: Vec<String>,
}

/// Runs a case; says what is different.
pub(crate) fn run(case: &Case) -> Result<(), String> {
    let project = Project::new("");
    let dir = project.path("probes");
    compare::write_config(case, &project, &dir);
    let log = world::prepare(&dir);
    let is_template = case.given.flags.strategy == "simple_one_for_one";
    let template = case.given.children.first().filter(|_| is_template).map(|child| child.id.clone());
    for child in children(&case.given) {
        world::plan(&dir, &child.id, &child.id, &[]);
    }
    for (label, plans) in &case.plan {
        world::plan(&dir, label, template.as_deref().unwrap_or(label), plans);
    }
    let world = World::start(project, log, template);
    let mut run =
        Run { case, world, at_boot: None, code: None, restarts: BTreeMap::new(), replies: Vec::new() };
    for child in children(&case.given) {
        run.restarts.insert(child.id.clone(), child.restart.clone());
    }
    for step in &case.steps {
        let began = now_ns();
        run.perform(step);
        let verdict = compare::step(&mut run, step, began);
        verdict.map_err(|difference| run.report(&format!("at \"{}\": {difference}", step.when)))?;
    }
    compare::end(&mut run).map_err(|difference| run.report(&difference))
}

impl Run<'_> {
    /// A difference, and what a reader needs to understand it.
    fn report(&mut self, difference: &str) -> String {
        let given = given::config(&self.case.given, Path::new("DIR"));
        let story = self.world.story();
        format!("{difference}\n\n{given}\n{story}")
    }

    /// Whether a label is that of a supervisor, which writes no log.
    pub(crate) fn is_supervisor(&self, label: &str) -> bool {
        let all = children(&self.case.given);
        match all.iter().find(|child| child.id == label) {
            Some(child) => child.sub.is_some(),
            None => self.world.is_instance(label) && all[0].sub.is_some(),
        }
    }

    /// The answers since the last call.
    pub(crate) fn take_replies(&mut self) -> Vec<String> {
        std::mem::take(&mut self.replies)
    }

    fn perform(&mut self, step: &Step) {
        match &step.op {
            Op::Boot | Op::Look => {}
            Op::Stop => support::kill(self.world.launcher.pid(), libc::SIGTERM),
            Op::Wait(millis) => self.world.wait(Duration::from_millis(*millis)),
            Op::Exit(name, code) => drop(self.world.exit(name, *code)),
            Op::Kill(name) => self.world.kill(name),
            Op::Together(deaths) => self.world.exit_together(deaths),
            Op::Plan(name, plans) => self.world.plan(name, plans),
            Op::Start(under, child) => self.start_child(under.as_deref(), child),
            Op::Terminate(name) | Op::TerminateInstance(name) => self.change(name, "stop"),
            Op::TerminateForeign => self.change("nobody@1", "stop"),
            Op::Restart(name) => self.change(name, "start"),
            Op::Delete(name) => {
                let answer = self.world.control.delete(&format!("/v1/children/{name}"));
                self.replies.push(reply("remove", &answer.expect("an answer")));
            }
            Op::Reload(given) => self.reload(given),
            Op::Instance(name) => self.start_instance(name),
            Op::Instances(prefix, count) => {
                for number in 1..=*count {
                    self.start_instance(&format!("{prefix}{number}"));
                }
                self.replies.clear();
            }
            Op::Spec(name) => self.spec(name),
        }
    }

    fn change(&mut self, label: &str, verb: &str) {
        let name = self.world.name(label);
        let answer = self.world.control.post(&format!("/v1/children/{name}/{verb}"), "");
        self.replies.push(reply(verb, &answer.expect("an answer")));
    }

    fn start_child(&mut self, under: Option<&str>, child: &Child) {
        self.restarts.insert(child.id.clone(), child.restart.clone());
        let text = given::child(child, self.world.dir());
        self.add(&child.id, &json!({ "parent": under, "child": text }));
    }

    /// The argument is what the instance is called here. A supervisor takes none, and is known by its number.
    fn start_instance(&mut self, label: &str) {
        self.world.next_instance(label);
        let is_worker = self.case.given.children.iter().all(|child| child.sub.is_none());
        let args = if is_worker { vec![label] } else { Vec::new() };
        self.add(label, &json!({ "args": args }));
    }

    fn add(&mut self, label: &str, body: &Value) {
        self.world.welcome(label);
        let answer = self.world.control.post("/v1/children", &body.to_string());
        self.replies.push(reply("add", &answer.expect("an answer")));
    }

    fn reload(&mut self, given: &Supervisor) {
        for child in children(given) {
            self.world.welcome(&child.id);
            self.restarts.insert(child.id.clone(), child.restart.clone());
        }
        self.world.launcher.project.configure(&given::config(given, self.world.dir()));
        let answer = self.world.control.post("/v1/reload", "");
        self.replies.push(reply("reload", &answer.expect("an answer")));
    }

    /// OTP `get_childspec/2`, as the cases write it.
    fn spec(&mut self, name: &str) {
        let Answer { status, body } =
            self.world.control.get(&format!("/v1/children/{name}")).expect("an answer");
        let child = &body["child"];
        let word = |key: &str| child[key].as_str().unwrap_or_default().to_owned();
        self.replies.push(match status {
            200 => format!(
                "restart={} shutdown={} type={} significant={}",
                word("restart"),
                shutdown(&child["spec"]["shutdown"]),
                word("type"),
                child["significant"]
            ),
            _ => reply("spec", &Answer { status, body }),
        });
    }
}

/// An answer in OTP's words.
fn reply(verb: &str, answer: &Answer) -> String {
    let Answer { status, body } = answer;
    if *status == 200 {
        let child = &body["child"];
        let up = child["pid"].is_i64() || (child["type"] == "supervisor" && is_up(child));
        return match (verb, up) {
            ("start" | "add", true) => "ok(pid)".into(),
            ("start" | "add", false) => "ok(no process)".into(),
            _ => "ok".into(),
        };
    }
    let error = &body["error"];
    let (code, message) =
        (error["code"].as_str().expect("a code"), error["message"].as_str().expect("a message"));
    match code {
        "bad_request" | "bad_config" => SPECS
            .iter()
            .find(|(_, says)| says.iter().all(|word| message.contains(word)))
            .map_or_else(|| format!("error {code}: {message}"), |(error, _)| (*error).to_owned()),
        _ => format!("error {code}"),
    }
}

/// A shutdown setting in OTP's words: milliseconds, unless it is a word.
fn shutdown(setting: &Value) -> String {
    match setting {
        Value::String(word) => word.clone(),
        steps => match &steps[0]["wait_ms"] {
            Value::Null => "infinity".into(),
            millis => millis.to_string(),
        },
    }
}

/// Whether OTP would show a pid.
pub(crate) fn is_up(node: &Value) -> bool {
    ["running", "ready", "unhealthy", "stopping"].iter().any(|phase| node["phase"] == *phase)
}

/// Every child of a tree, with those below it.
pub(crate) fn children(given: &Supervisor) -> Vec<&Child> {
    let with_below = |child| std::iter::once(child).chain(child_below(child));
    given.children.iter().flat_map(with_below).collect()
}

fn child_below(child: &Child) -> Vec<&Child> {
    child.sub.as_ref().map(children).unwrap_or_default()
}

/// The identity of each child that is up: pid and start time of a process, the run of a supervisor.
pub(crate) fn identities(world: &World, tree: &Value) -> BTreeMap<String, String> {
    let up = world::nodes(tree).into_iter().filter(is_up);
    up.map(|node| {
        let label = world.label(node["name"].as_str().expect("a name"));
        let identity = match node["pid"].as_i64() {
            Some(pid) => format!("{pid} {:?}", support::stat(pid as i32).map(|stat| stat.start)),
            None => format!("run {}", node["run"]),
        };
        (label, identity)
    })
    .collect()
}

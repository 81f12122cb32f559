//! One launcher with probes, and all that can be seen of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use serde_json::Value;

use crate::control::Control;
use crate::events::{Attempt, Event, Meaning, PROJECT};
use crate::log::Log;
use crate::probe::{Plan, Plans, now_ns};
use crate::support::{self, BOUND, Launcher, Project, eventually, stat};
use crate::trace::{Token, merge};

/// Nothing more is expected when nothing has happened for so long.
const QUIET: Duration = Duration::from_millis(150);

pub(crate) struct World {
    pub(crate) launcher: Launcher,
    pub(crate) control: Control,
    pub(crate) log: Log,
    /// How the project ended, as its last event tells it.
    pub(crate) end: Option<Event>,
    /// Whether the tree has told that it is up.
    pub(crate) up: bool,
    dir: PathBuf,
    /// The template, if instances of it are what is started.
    template: Option<String>,
    /// What the cases call an instance, by what provost calls it.
    labels: BTreeMap<String, String>,
    /// The newest attempt of each label.
    attempts: BTreeMap<String, Attempt>,
    /// Every event so far.
    heard: Vec<Value>,
    /// `None` when nobody listens, or when the stream has ended.
    events: Option<Receiver<Value>>,
    /// Since the last `take`: what provost did, ...
    deeds: Vec<Token>,
    /// ... which deaths it noticed, ...
    noticed: Vec<String>,
    /// ... which there were, ...
    deaths: Vec<Token>,
    /// ... and what the children themselves wrote, deaths included.
    told: Vec<Token>,
}

/// What happened since the last look.
pub(crate) struct Happened {
    /// provost's deeds, and the deaths that happened.
    pub(crate) trace: Vec<Token>,
    /// The deaths that provost noticed.
    pub(crate) noticed: Vec<String>,
    /// The same story told by the children.
    pub(crate) told: Vec<Token>,
}

/// A directory where probes can live.
pub(crate) fn prepare(dir: &Path) -> Log {
    for folder in ["plan", "order", "here"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    nix::unistd::mkfifo(&dir.join("gate"), Mode::S_IRWXU).unwrap();
    Log::create(&dir.join("log"))
}

/// The next starts of `label`. A start that says ignore is one whose condition does not hold.
pub(crate) fn plan(dir: &Path, label: &str, condition: &str, plans: &[Plan]) {
    assert!(!plans.iter().skip(1).any(|plan| *plan == Plan::Ignore), "only the next start can be ignored");
    Plans::lock(dir, label).write(plans);
    let condition = dir.join("here").join(condition);
    match plans.first() {
        Some(Plan::Ignore) => drop(fs::remove_file(condition)),
        _ => drop(File::create(condition).unwrap()),
    }
}

impl World {
    /// Starts the launcher and listens from its first event on. Of instances of a template, one condition says ignore.
    pub(crate) fn start(project: Project, log: Log, template: Option<String>) -> World {
        let dir = project.path("probes");
        let control = Control::new(project.path("run/control.sock"));
        let mut launcher = project.start();
        let events = eventually("the control socket or the end", || match control.events(0) {
            Some(events) => Some(Some(events)),
            None => launcher.child.try_wait().unwrap().map(|_| None),
        });
        open_gate(&dir.join("gate"));
        World {
            launcher,
            control,
            log,
            end: None,
            up: false,
            dir,
            template,
            labels: BTreeMap::new(),
            attempts: BTreeMap::new(),
            heard: Vec::new(),
            events,
            deeds: Vec::new(),
            noticed: Vec::new(),
            deaths: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Where the probes live.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn plan(&self, label: &str, plans: &[Plan]) {
        plan(&self.dir, label, self.template.as_deref().unwrap_or(label), plans);
    }

    /// What provost will call the next instance of the template.
    pub(crate) fn next_instance(&mut self, label: &str) {
        let template = self.template.as_deref().expect("a template");
        let name = format!("{template}@{}", self.labels.len() + 1);
        self.labels.insert(name, label.to_owned());
    }

    /// What provost calls the newest instance of this label, or a child.
    pub(crate) fn name(&self, label: &str) -> String {
        let number = |name: &str| name.rsplit('@').next().and_then(|number| number.parse::<u32>().ok());
        let names = self.labels.iter().filter(|(_, of)| *of == label).map(|(name, _)| name);
        names.max_by_key(|name| number(name)).cloned().unwrap_or_else(|| label.to_owned())
    }

    pub(crate) fn is_instance(&self, label: &str) -> bool {
        self.labels.values().any(|of| of == label)
    }

    /// What the cases call it.
    pub(crate) fn label(&self, name: &str) -> String {
        self.labels.get(name).map_or(name, String::as_str).to_owned()
    }

    /// The number of the newest start attempt.
    pub(crate) fn number(&self, label: &str) -> u32 {
        self.attempts.get(label).map_or(0, |attempt| attempt.number)
    }

    /// A child may be started that was not there before.
    pub(crate) fn welcome(&self, label: &str) {
        let plans = Plans::lock(&self.dir, label).read();
        self.plan(label, &plans);
    }

    /// Orders a probe to exit, and waits until it has. Returns its pid.
    pub(crate) fn exit(&mut self, name: &str, code: u8) -> i32 {
        let life = self.log.newest(name).unwrap_or_else(|| panic!("{name} never ran"));
        let path = self.dir.join("order").join(name);
        let order = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let mut order = order.unwrap_or_else(|error| panic!("{name} takes no orders: {error}"));
        order.write_all(format!("exit {code}\n").as_bytes()).unwrap();
        support::wait_gone(&[life.pid]);
        life.pid
    }

    /// `kill -9`: of a worker's process, or of a supervisor node, which has none of its own.
    pub(crate) fn kill(&mut self, label: &str) {
        let name = self.name(label);
        let node = self.node(&name).unwrap_or_else(|| panic!("no {name}"));
        self.deaths.push(Token { at_ns: now_ns(), text: format!("x{label}.{}(KILL)", self.number(label)) });
        match node["pid"].as_i64() {
            Some(pid) => support::kill(pid as i32, libc::SIGKILL),
            None => {
                let path = format!("/v1/children/{name}/signal");
                let answer = self.control.post(&path, "{\"signal\":\"KILL\"}").expect("an answer");
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
    }

    /// Several exit, one after the other, while the supervisor process cannot notice.
    pub(crate) fn exit_together(&mut self, deaths: &[(String, u8)]) {
        let supervisor = self.supervisor_process();
        support::kill(supervisor, libc::SIGSTOP);
        eventually("the supervisor process stands still", || (stat(supervisor)?.state == 'T').then_some(()));
        for (name, code) in deaths {
            let pid = self.exit(name, *code);
            eventually("the exit is reaped", || stat(pid).is_none().then_some(()));
        }
        // It sleeps again when it has passed on what it reaped.
        let keeper = self.launcher.pid();
        eventually("the keeper has told", || (stat(keeper)?.state == 'S').then_some(()));
        support::kill(supervisor, libc::SIGCONT);
    }

    /// The process that runs the tree.
    pub(crate) fn supervisor_process(&self) -> i32 {
        let is_it = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "provost-super")
        };
        self.launcher.below().into_iter().find(is_it).expect("a supervisor process")
    }

    /// The root of the tree, with all below it.
    pub(crate) fn tree(&self) -> Value {
        self.control.get("/v1/tree").expect("an answer").body["root"].take()
    }

    /// A child of any depth.
    pub(crate) fn node(&self, name: &str) -> Option<Value> {
        nodes(&self.tree()).into_iter().find(|node| node["name"] == name)
    }

    /// Takes in what happens for so long.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.events.is_none() {
                std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
            }
            self.hear(until.saturating_duration_since(Instant::now()));
        }
    }

    /// Waits until as much has happened as is expected, then until nothing more happens.
    pub(crate) fn settle(&mut self, enough: impl Fn(&[Token], &[String]) -> bool) {
        let until = Instant::now() + BOUND;
        while self.events.is_some() && Instant::now() < until && !enough(&self.deeds, &self.noticed) {
            self.hear(until.saturating_duration_since(Instant::now()));
        }
        while self.hear(QUIET) {}
    }

    /// Waits for the end of the launcher and of its events.
    pub(crate) fn wait_exit(&mut self) -> i32 {
        let code = self.launcher.wait_exit();
        let until = Instant::now() + BOUND;
        while self.events.is_some() {
            assert!(Instant::now() < until, "the event stream does not end");
            self.hear(BOUND);
        }
        code
    }

    /// What happened since the last call.
    pub(crate) fn take(&mut self) -> Happened {
        self.read_log();
        let mut deaths = std::mem::take(&mut self.deaths);
        deaths.sort_by_key(|death| death.at_ns);
        Happened {
            trace: merge(std::mem::take(&mut self.deeds), deaths),
            noticed: std::mem::take(&mut self.noticed),
            told: std::mem::take(&mut self.told),
        }
    }

    /// All that was seen and said, for whoever reads of a failure.
    pub(crate) fn story(&mut self) -> String {
        while self.hear(QUIET) {}
        support::kill(self.launcher.pid(), libc::SIGKILL);
        let events: String = self.heard.iter().map(|event| format!("{event}\n")).collect();
        let log = fs::read_to_string(self.dir.join("log")).unwrap();
        format!("{events}\n{log}\n{}\n", self.launcher.rest_of_output().join("\n"))
    }

    fn read_log(&mut self) {
        let told = self.log.take();
        self.deaths.extend(told.iter().filter(|token| token.text.starts_with('x')).cloned());
        self.told.extend(told);
    }

    /// Takes in the next event; whether there was one.
    fn hear(&mut self, time: Duration) -> bool {
        let Some(events) = &self.events else { return false };
        match events.recv_timeout(time) {
            Ok(json) => {
                self.take_in(Event::read(&json));
                self.heard.push(json);
            }
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => self.events = None,
        }
        true
    }

    fn take_in(&mut self, event: Event) {
        if event.name == PROJECT {
            match event.kind.as_str() {
                "ready" => self.up = true,
                "stopped" => self.end = Some(event),
                _ => {}
            }
            return;
        }
        let label = self.label(&event.name);
        let plan = self.log.newest(&label).map(|life| life.plan).unwrap_or_default();
        let attempt = self.attempts.entry(label.clone()).or_default();
        match event.kind.as_str() {
            "starting" => {
                let number = attempt.number + 1;
                *attempt = Attempt { label: label.clone(), number, plan: Plan::Ok, started: false };
            }
            "started" => attempt.started = true,
            "exited" => attempt.plan = plan,
            "ignored" => {
                assert_eq!(Plans::lock(&self.dir, &label).take(), Plan::Ignore, "{event:?}");
            }
            _ => {}
        }
        match event.meaning(attempt) {
            Meaning::Deed(text) => self.deeds.push(Token { at_ns: event.at_ns, text }),
            Meaning::Death(text) => self.noticed.push(text),
            Meaning::Nothing => {}
        }
        if event.kind == "ignored" {
            self.welcome(&label);
        }
    }
}

/// All nodes below this one, depth first.
pub(crate) fn nodes(root: &Value) -> Vec<Value> {
    let children = root["children"].as_array().into_iter().flatten();
    children.flat_map(|child| std::iter::once(child.clone()).chain(nodes(child))).collect()
}

/// Lets those in who wait, and takes the gate away.
fn open_gate(gate: &Path) {
    // A FIFO opened both ways never waits, and is a writer to those who do.
    let open = OpenOptions::new().read(true).write(true).open(gate).unwrap();
    fs::remove_file(gate).unwrap();
    drop(open);
}

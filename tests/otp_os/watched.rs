//! A launcher with all its events, and children that take orders.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use nix::sys::stat::Mode;
use serde_json::Value;

use crate::control::{Answer, Control};
use crate::support::{BOUND, Launcher, Project, eventually};

pub(crate) struct Watched {
    pub(crate) launcher: Launcher,
    pub(crate) control: Control,
    events: Receiver<Value>,
    /// Events that nobody has waited for.
    pub(crate) seen: Vec<Value>,
}

impl Watched {
    /// Starts a project and waits until its tree is up.
    pub(crate) fn up(project: Project) -> Watched {
        Watched::watch(project.up())
    }

    /// Watches a launcher, from its first event on.
    pub(crate) fn watch(launcher: Launcher) -> Watched {
        let control = Control::new(launcher.project.path("run/control.sock"));
        let events = eventually("the control socket", || control.events(0));
        Watched { launcher, control, events, seen: Vec::new() }
    }

    /// The next event of this kind about this child; what comes before it stays in `seen`.
    pub(crate) fn wait(&mut self, kind: &str, name: &str) -> Value {
        let until = Instant::now() + BOUND;
        let is_it = |event: &Value| event["event"] == kind && event["name"] == name;
        if let Some(at) = self.seen.iter().position(is_it) {
            return self.seen.remove(at);
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) if is_it(&event) => return event,
                Ok(event) => self.seen.push(event),
                Err(error) => panic!("no {kind} of {name} ({error}): {:#?}", self.seen),
            }
        }
    }

    /// Every event that is left, once the launcher has ended.
    pub(crate) fn rest(mut self) -> Vec<Value> {
        self.seen.extend(self.events.iter());
        self.seen
    }

    /// A child as it is now.
    pub(crate) fn child(&self, name: &str) -> Value {
        self.control.get(&format!("/v1/children/{name}")).expect("an answer").body["child"].take()
    }

    /// Its process.
    pub(crate) fn pid(&self, name: &str) -> i32 {
        let child = self.child(name);
        child["pid"].as_i64().unwrap_or_else(|| panic!("no process: {child}")) as i32
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Value {
        self.control.get("/v1/tree").expect("an answer").body["root"].take()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.control.post(path, &body.to_string()).expect("an answer")
    }

    /// `start`, `stop` or `restart`.
    pub(crate) fn ask(&self, name: &str, verb: &str) -> Answer {
        self.post(&format!("/v1/children/{name}/{verb}"), &Value::Null)
    }
}

/// The error word of a refusal.
pub(crate) fn refused(answer: &Answer) -> &str {
    answer.body["error"]["code"].as_str().unwrap_or_else(|| panic!("not refused: {answer:?}"))
}

/// What a child reads from: each line ends one life with this code.
pub(crate) struct Orders(File);

impl Orders {
    /// A new FIFO. It is held open, so that nothing is lost between two lives.
    pub(crate) fn create(path: &Path) -> Orders {
        nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap();
        Orders(OpenOptions::new().read(true).write(true).open(path).unwrap())
    }

    pub(crate) fn exit(&mut self, code: u8) {
        writeln!(self.0, "{code}").unwrap();
    }
}

/// A `[[child]]` that exits as its orders say, with more keys.
pub(crate) fn obedient(name: &str, keys: &str) -> String {
    let script = format!("read code < {name}.order; exit $code");
    format!("[[child]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", {script:?}]\nlog = \"null\"\n{keys}\n")
}

/// A `[[child]]` that does nothing, with more keys.
pub(crate) fn idle(name: &str, keys: &str) -> String {
    format!("[[child]]\nname = \"{name}\"\ncommand = [\"sleep\", \"1000\"]\nlog = \"null\"\n{keys}\n")
}

/// The root's flags.
pub(crate) fn flags(strategy: &str, intensity: u32) -> String {
    format!("[supervisor]\nstrategy = \"{strategy}\"\nintensity = {intensity}\nperiod = \"1h\"\n")
}

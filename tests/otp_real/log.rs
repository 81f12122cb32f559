//! The children's own log, read as it grows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::probe::Plan;
use crate::trace::{Token, shown};

/// One line: what a probe wrote about itself.
#[derive(Clone, Debug)]
struct Line {
    at_ns: u64,
    name: String,
    run: u32,
    pid: i32,
    event: String,
    detail: String,
}

/// A life as its own process told it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) pid: i32,
    pub(crate) plan: Plan,
    pub(crate) ready: bool,
    asked: bool,
    pub(crate) ended: bool,
}

/// The log so far.
pub(crate) struct Log {
    file: File,
    text: String,
    lives: BTreeMap<(String, u32), Life>,
    /// What the lines since the last `take` stand for in a trace.
    tokens: Vec<Token>,
}

impl Log {
    /// An empty log in this file.
    pub(crate) fn create(path: &Path) -> Log {
        File::create(path).unwrap();
        let file = File::open(path).unwrap();
        Log { file, text: String::new(), lives: BTreeMap::new(), tokens: Vec::new() }
    }

    /// The life of this run, if its process came so far as to say so.
    pub(crate) fn life(&mut self, name: &str, run: u32) -> Option<Life> {
        self.read();
        self.lives.get(&(name.to_owned(), run)).copied()
    }

    /// Every life so far.
    pub(crate) fn lives(&mut self) -> Vec<((String, u32), Life)> {
        self.read();
        self.lives.iter().map(|(key, life)| (key.clone(), *life)).collect()
    }

    /// The tokens since the last call.
    pub(crate) fn take(&mut self) -> Vec<Token> {
        self.read();
        std::mem::take(&mut self.tokens)
    }

    fn read(&mut self) {
        self.file.read_to_string(&mut self.text).unwrap();
        // Each line is one write, so there is never a part of one.
        for line in std::mem::take(&mut self.text).lines() {
            let line = parse(line);
            if let Some(text) = self.understand(&line) {
                self.tokens.push(Token { at_ns: line.at_ns, text });
            }
        }
    }

    fn understand(&mut self, line: &Line) -> Option<String> {
        let Line { name, run, pid, event, detail, .. } = line;
        let key = (name.clone(), *run);
        if event == "start" {
            let plan = detail.parse().unwrap();
            let life = Life { pid: *pid, plan, ready: false, asked: false, ended: false };
            assert!(self.lives.insert(key, life).is_none(), "{name} runs a second run {run}");
            return None;
        }
        let life = self.lives.get_mut(&key).unwrap_or_else(|| panic!("{name} never began run {run}"));
        assert_eq!(life.pid, *pid, "run {run} of {name} in two processes");
        match event.as_str() {
            "ready" => {
                life.ready = true;
                Some(format!("+{name}.{run}"))
            }
            "term" => {
                life.asked = true;
                None
            }
            "exit" => {
                life.ended = true;
                let code = shown(i32::from(detail.parse::<u8>().unwrap()), false);
                Some(match (life.ready, life.asked, life.plan) {
                    (false, ..) => format!("!{name}.{run}"),
                    (true, false, _) => format!("x{name}.{run}({code})"),
                    (true, true, Plan::StopAs(_)) => format!("-{name}.{run}({code})"),
                    (true, true, _) => format!("-{name}.{run}"),
                })
            }
            other => panic!("{name} says {other}"),
        }
    }
}

fn parse(line: &str) -> Line {
    let words: Vec<&str> = line.split(' ').collect();
    let [at, name, run, pid, event, detail] = words[..] else { panic!("a line of the log: {line}") };
    Line {
        at_ns: at.parse().unwrap(),
        name: name.to_owned(),
        run: run.parse().unwrap(),
        pid: pid.parse().unwrap(),
        event: event.to_owned(),
        detail: detail.to_owned(),
    }
}

//! The children's own log, read as it grows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::probe::Plan;
use crate::trace::{Token, shown};

/// A life as its own process told it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// Which life of this label, counted by whoever wrote to the log.
    pub(crate) number: u32,
    /// Which run provost called it.
    pub(crate) run: u32,
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
    lives: BTreeMap<String, Vec<Life>>,
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

    /// The newest life of this label.
    pub(crate) fn newest(&mut self, label: &str) -> Option<Life> {
        self.read();
        self.lives.get(label)?.last().copied()
    }

    /// Every life so far.
    pub(crate) fn lives(&mut self) -> Vec<(String, Life)> {
        self.read();
        let lives = self.lives.iter();
        lives.flat_map(|(label, lives)| lives.iter().map(|life| (label.clone(), *life))).collect()
    }

    /// The tokens since the last call.
    pub(crate) fn take(&mut self) -> Vec<Token> {
        self.read();
        std::mem::take(&mut self.tokens)
    }

    fn read(&mut self) {
        // Each line is one write, so there is never a part of one.
        self.file.read_to_string(&mut self.text).unwrap();
        for line in std::mem::take(&mut self.text).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [at_ns, label, run, pid, event, detail] = words[..] else {
                panic!("a line of the log: {line}")
            };
            let (run, pid) = (run.parse().unwrap(), pid.parse().unwrap());
            if let Some(text) = self.understand(label, run, pid, event, detail) {
                self.tokens.push(Token { at_ns: at_ns.parse().unwrap(), text });
            }
        }
    }

    fn understand(&mut self, label: &str, run: u32, pid: i32, event: &str, detail: &str) -> Option<String> {
        let lives = self.lives.entry(label.to_owned()).or_default();
        if event == "start" {
            let (number, plan) = (lives.len() as u32 + 1, detail.parse().unwrap());
            lives.push(Life { number, run, pid, plan, ready: false, asked: false, ended: false });
            return None;
        }
        let life = lives.last_mut().unwrap_or_else(|| panic!("{label} never began"));
        assert_eq!((life.run, life.pid), (run, pid), "{label} lives twice");
        let number = life.number;
        match event {
            "ready" => {
                life.ready = true;
                Some(format!("+{label}.{number}"))
            }
            "term" => {
                life.asked = true;
                None
            }
            "exit" => {
                life.ended = true;
                let code = shown(i32::from(detail.parse::<u8>().unwrap()), false);
                Some(match (life.ready, life.asked, life.plan) {
                    (false, ..) => format!("!{label}.{number}"),
                    (true, false, _) => format!("x{label}.{number}({code})"),
                    (true, true, Plan::StopAs(_)) => format!("-{label}.{number}({code})"),
                    (true, true, _) => format!("-{label}.{number}"),
                })
            }
            other => panic!("{label} says {other}"),
        }
    }
}

//! One process as the kernel tells it, as far as its identity goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::fstat;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::subject::{Named, lives};
use crate::os::pidfd;
use crate::os::proc::{Clock, Process, tty_name};

/// What somebody is in the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The launcher's own process.
    Keeper,
    /// The process that runs the tree.
    Supervisor,
    /// The one that serves.
    Engine,
    /// One that uses it.
    Client,
}

impl Part {
    /// Engine or client: what this is all about.
    #[must_use]
    pub fn is_payload(self) -> bool {
        matches!(self, Part::Engine | Part::Client)
    }
}

/// A name, and the process behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The name.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// Process id.
    pub pid: i32,
    /// Start in clock ticks since boot.
    pub start_ticks: u64,
    /// The same as a time, RFC 3339.
    pub start_time: String,
    /// Inode of its pidfd, which no other process since boot has had (Linux 6.9).
    pub pidfd_inode: Option<u64>,
    /// Parent.
    pub ppid: i32,
    /// Process group.
    pub pgid: i32,
    /// Session.
    pub sid: i32,
    /// Controlling terminal.
    pub tty: Option<String>,
    /// Its threads, by id.
    pub threads: Vec<i32>,
    /// What it runs.
    pub program: Option<Program>,
    /// Its parent, its parent's parent and so on, up to the first process.
    pub parents: Vec<(i32, String)>,
}

/// An executable file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its path.
    pub path: String,
    /// Device of the file.
    pub device: u64,
    /// Inode of the file.
    pub inode: u64,
}

impl Program {
    /// The file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Looks at everybody who has a process; the others are named.
pub(super) fn look(members: &[Named]) -> (Vec<Seen>, Vec<String>) {
    let clock = Clock::now().ok();
    let mut missing = Vec::new();
    let mut seen = Vec::new();
    for member in members {
        match member.pid.and_then(|pid| one(member, pid, clock.as_ref())) {
            Some(row) => seen.push(row),
            None => missing.push(member.name.clone()),
        }
    }
    (seen, missing)
}

fn one(member: &Named, pid: i32, clock: Option<&Clock>) -> Option<Seen> {
    let first = Process::read(pid).filter(lives)?;
    let row = Seen {
        name: member.name.clone(),
        part: member.part,
        pid,
        start_ticks: first.start_ticks,
        start_time: clock.map_or_else(String::new, |clock| {
            humantime::format_rfc3339_millis(clock.start_time(&first)).to_string()
        }),
        pidfd_inode: pidfd_inode(pid),
        ppid: first.ppid,
        pgid: first.pgid,
        sid: first.sid,
        tty: tty_name(first.tty),
        threads: threads(pid),
        program: program(pid),
        parents: parents(first.ppid),
    };
    // Whoever ended meanwhile may have been followed by another of the same number.
    Process::read(pid).filter(|now| now.same_process(&first) && lives(now)).map(|_| row)
}

fn pidfd_inode(pid: i32) -> Option<u64> {
    let pidfd = pidfd::open(Pid::from_raw(pid)).ok()?;
    let inode = fstat(pidfd.as_fd()).ok()?.st_ino;
    // Before pidfs all pidfds had the one inode of anonymous files, as that of our own shows.
    let ours = pidfd::open(Pid::this()).ok()?;
    let distinct = pid == Pid::this().as_raw() || fstat(ours.as_fd()).ok()?.st_ino != inode;
    distinct.then_some(inode)
}

pub(super) fn threads(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let mut threads: Vec<i32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    threads.sort_unstable();
    threads
}

fn program(pid: i32) -> Option<Program> {
    let link = format!("/proc/{pid}/exe");
    let path = fs::read_link(&link).ok()?.to_string_lossy().into_owned();
    let file = fs::metadata(&link).ok()?;
    Some(Program { path, device: file.dev(), inode: file.ino() })
}

fn parents(mut pid: i32) -> Vec<(i32, String)> {
    let mut chain = Vec::new();
    // Parents that end while we climb are replaced by others further up; the bound is for the impossible circle.
    while let Some(row) = Process::read(pid).filter(|_| chain.len() < 64) {
        chain.push((pid, row.comm));
        pid = row.ppid;
    }
    chain
}

/// Names that share something they should not share, in words: `a and b are both PID 7`.
pub(super) fn shared<T: Ord>(
    of: &[Seen],
    field: impl Fn(&Seen) -> Option<T>,
    say: impl Fn(&T) -> String,
) -> Vec<String> {
    let mut holders: BTreeMap<T, Vec<&str>> = BTreeMap::new();
    for row in of {
        if let Some(value) = field(row) {
            holders.entry(value).or_default().push(&row.name);
        }
    }
    let several = holders.into_iter().filter(|(_, names)| names.len() > 1);
    let all = |names: &[&str]| if names.len() == 2 { "both" } else { "all" };
    several.map(|(value, names)| format!("{} are {} {}", list(&names), all(&names), say(&value))).collect()
}

/// `a, b and c`.
pub(super) fn list(names: &[impl AsRef<str>]) -> String {
    match names {
        [] => "nobody".to_owned(),
        [one] => one.as_ref().to_owned(),
        [rest @ .., last] => {
            let rest: Vec<&str> = rest.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", rest.join(", "), last.as_ref())
        }
    }
}

/// Each once, commas between.
pub(super) fn commas(pids: impl IntoIterator<Item = i32>) -> String {
    pids.into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|pid| pid.to_string())
        .collect::<Vec<_>>()
        .join(",")
}

//! Past exits, as data: what `provost history` and `GET /v1/history` show, read from one file of JSON lines.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::LogLineJson;
use super::api::{ExitJson, LeftJson};
use crate::capture::{numbered, open_for_reading};
use crate::rules::Decision;

/// The file's name in the log directory.
pub const HISTORY: &str = "history.jsonl";

/// Exits that are given when nothing else is said.
pub const DEFAULT_EXITS: usize = 20;

/// Bytes of a file that are looked at, from its end on: it has more only if somebody else writes into it.
const MOST_BYTES: u64 = 8 << 20;

/// Rotated files that are looked into.
const ROTATIONS: u32 = 1;

/// `GET /v1/history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryJson {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// Oldest first.
    pub exits: Vec<PastExitJson>,
}

/// How one run ended, and what followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastExitJson {
    /// Which launcher it ran under: unique among all there ever were. With `node` and `run` it names the run.
    pub launch: String,
    /// Its node in the tree of that launcher.
    pub node: u32,
    /// The child's name.
    pub name: String,
    /// Run number.
    pub run: u32,
    /// Process id.
    pub pid: i32,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub ended: String,
    /// Between the two, on the monotonic clock.
    pub uptime_ms: u64,
    /// How it ended.
    pub exit: ExitJson,
    /// Whether its supervisor had begun to stop it.
    pub requested: bool,
    /// Whether its supervisor killed it.
    pub killed: bool,
    /// What followed from it.
    pub decision: Decision,
    /// What it left running and was killed for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<LeftJson>,
    /// Siblings that were restarted because of it.
    pub touched: Vec<String>,
    /// What it used, with the descendants it waited for.
    pub rusage: UsageJson,
    /// Its last lines of output: at most 50, and at most 32 KiB.
    pub log_tail: Vec<LogLineJson>,
}

/// `getrusage(2)` of a process that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageJson {
    /// CPU time in user mode.
    pub user_ms: u64,
    /// CPU time in the kernel.
    pub system_ms: u64,
    /// Largest resident set.
    pub max_rss_bytes: u64,
}

/// The newest `limit` exits, of this child or of all, oldest first. Each run once: a record is written again when the
/// supervisor process is killed right after it.
///
/// # Errors
/// The file exists and cannot be read.
pub fn read_history(log_dir: &Path, name: Option<&str>, limit: usize) -> io::Result<Vec<PastExitJson>> {
    let mut exits: Vec<PastExitJson> = Vec::new();
    let mut seen = BTreeSet::new();
    for rotations in 0..=ROTATIONS {
        let text = match newest_bytes(&numbered(&log_dir.join(HISTORY), rotations)) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in text.rsplit(|byte| *byte == b'\n') {
            if exits.len() == limit {
                break;
            }
            // A line that its writer was killed in the middle of, or that a later version wrote, is no record.
            let Ok(exit) = serde_json::from_slice::<PastExitJson>(line) else { continue };
            let wanted = name.is_none_or(|name| exit.name == name);
            if wanted && seen.insert((exit.launch.clone(), exit.node, exit.run)) {
                exits.push(exit);
            }
        }
    }
    exits.reverse();
    Ok(exits)
}

fn newest_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_for_reading(path)?;
    let size = file.metadata()?.len();
    let from = size.saturating_sub(MOST_BYTES);
    let mut bytes = vec![0; usize::try_from(size - from).unwrap_or_default()];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, from + filled as u64) {
            // It has become shorter meanwhile.
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

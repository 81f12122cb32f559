//! The log files of all children, by path: each is open once, whichever runs write to it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::sync::Notify;

use crate::capture::{Limits, Log, Source};
use crate::config::{LogFile, Output, ProcessSpec};
use crate::os::pipe;
use crate::rules::NodeId;

/// Open logs.
#[derive(Default)]
pub(super) struct Outputs {
    logs: BTreeMap<PathBuf, Held>,
    alarm: Rc<Notify>,
    told_small: bool,
}

struct Held {
    log: Rc<Log>,
    node: NodeId,
    told_stalled: bool,
}

/// A log has stalled (with the reason), or flows again.
pub(super) struct StallNews {
    pub(super) node: NodeId,
    pub(super) stalled: Option<String>,
}

impl Outputs {
    /// Rung whenever a log stalls or flows again, and when a pipe has come to its end.
    pub(super) fn alarm(&self) -> Rc<Notify> {
        Rc::clone(&self.alarm)
    }

    /// The logs that a new run writes to: none, one for both streams, or stdout's and stderr's.
    ///
    /// # Errors
    /// One is no file to write to: which, and why.
    pub(super) fn open(
        &mut self,
        node: NodeId,
        spec: &ProcessSpec,
    ) -> Result<Vec<Rc<Log>>, (PathBuf, io::Error)> {
        let Output::File(file) = &spec.output else { return Ok(Vec::new()) };
        let mut logs = Vec::new();
        for path in file.paths() {
            let alarm = self.alarm();
            let log = self.held(node, file, path.clone(), |path, limits| Log::open(path, limits, alarm));
            logs.push(log.map_err(|error| (path, error))?);
        }
        Ok(logs)
    }

    /// Says so when pipes have become smaller than usual: once.
    pub(super) fn measure(&mut self, name: &str, pipe: BorrowedFd<'_>) {
        let Some(bytes) = pipe::size(pipe).ok().filter(|bytes| *bytes < pipe::USUAL_SIZE) else { return };
        if !std::mem::replace(&mut self.told_small, true) {
            tracing::warn!(
                "the output pipe of {name} holds only {} KiB, as this user has too many pipes \
                 (fs.pipe-user-pages-soft): a child that writes much at once waits more often",
                bytes / 1024
            );
        }
    }

    /// The logs of a run that exists already. What is wrong with a file makes it wait, nothing else.
    pub(super) fn adopt(&mut self, node: NodeId, spec: &ProcessSpec) -> Vec<Rc<Log>> {
        let Output::File(file) = &spec.output else { return Vec::new() };
        let adopted = file.paths().into_iter().map(|path| {
            let alarm = self.alarm();
            self.held(node, file, path, |path, limits| Ok(Log::unopened(path, limits, alarm)))
        });
        adopted.filter_map(Result::ok).collect()
    }

    fn held(
        &mut self,
        node: NodeId,
        file: &LogFile,
        path: PathBuf,
        open: impl FnOnce(&Path, Limits) -> io::Result<Log>,
    ) -> io::Result<Rc<Log>> {
        let limits = Limits { max_size: file.max_size, max_files: file.max_files };
        if let Some(held) = self.logs.get_mut(&path) {
            held.node = node;
            held.log.limit(limits);
            return Ok(Rc::clone(&held.log));
        }
        let log = Rc::new(open(&path, limits)?);
        self.logs.insert(path, Held { log: Rc::clone(&log), node, told_stalled: false });
        Ok(log)
    }

    /// Some nodes exist no longer. Pipes that are still drained keep their logs.
    pub(super) fn forget(&mut self, exists: impl Fn(NodeId) -> bool) {
        self.logs.retain(|_, held| exists(held.node));
    }

    /// What nobody has been told yet.
    pub(super) fn news(&mut self) -> Vec<StallNews> {
        let changed = self.logs.values_mut().filter_map(|held| {
            let stalled = held.log.stalled().map(|reason| reason.to_owned());
            let news = stalled.is_some() != held.told_stalled;
            held.told_stalled = stalled.is_some();
            news.then_some(StallNews { node: held.node, stalled })
        });
        changed.collect()
    }

    /// Why output of this process waits at the moment, and how often it has had to wait since this supervisor process began.
    pub(super) fn stalls(&self, spec: &ProcessSpec) -> (Option<String>, u64) {
        let Output::File(file) = &spec.output else { return (None, 0) };
        let paths = file.paths();
        let logs: Vec<_> = paths.iter().filter_map(|path| Some(&self.logs.get(path)?.log)).collect();
        let reason = logs.iter().find_map(|log| log.stalled().map(|reason| reason.to_owned()));
        (reason, logs.iter().map(|log| log.stalls()).sum())
    }
}

/// The logs of a process for readers: its own name for stdout, `NAME.err` for a stderr of its own.
pub(super) fn sources(output: Option<&Output>, name: &str) -> Vec<Source> {
    let Some(Output::File(file)) = output else { return Vec::new() };
    file.sources(name).into_iter().map(|(label, path)| Source { label, path }).collect()
}

//! Runs that have ended and that the keeper still remembers.
//!
//! The keeper holds on to an exit, and to the pipes of the process, until it is acknowledged. That is done when three
//! things are safe: the rules' decision is in the journal, the exit is in the history (or, while that cannot be written, in
//! the journal too), and what the run wrote is in its log. A supervisor process that is killed in between leaves all of it to the next one.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use super::report::{exit_json, left_json};
use super::supervisor::{RuntimeError, Slice, Supervisor};
use super::world::{Ending, Record, Verdict};
use super::{exit_of, history, outputs};
use crate::capture::{Line, Reader, Source, Start, Tap};
use crate::control::{LogLineJson, PastExitJson, UsageJson};
use crate::keeper::{ExitRecord, Key, ToKeeper};
use crate::os;
use crate::rules::{NodeId, Run};

/// Ended runs of one child whose pipes somebody else holds, or whose log is full, at most: a child that crashes again and
/// again must not use up all descriptors meanwhile.
const MOST_WAITING: usize = 16;
/// Lines of output kept with an exit.
const TAIL_LINES: usize = 50;
/// Bytes of output kept with an exit.
const TAIL_BYTES: usize = 32 * 1024;

/// Ended runs that are not acknowledged.
#[derive(Default)]
pub(super) struct Departures {
    runs: BTreeMap<Key, Departed>,
    /// Taps of runs that were adopted, are not the newest of their node, and whose exits are still to be told.
    orphaned: BTreeMap<Key, Vec<Rc<Tap>>>,
}

struct Departed {
    record: ExitRecord,
    taps: Vec<Rc<Tap>>,
}

impl Departures {
    /// An earlier run than the newest one of its node: it has ended, or it would not be an earlier one.
    pub(super) fn expect(&mut self, key: Key, taps: Vec<Rc<Tap>>) {
        self.orphaned.insert(key, taps);
    }

    /// A run has ended; `taps` if it was the newest of its node.
    pub(super) fn add(&mut self, record: ExitRecord, taps: Option<Vec<Rc<Tap>>>) {
        let taps = taps.or_else(|| self.orphaned.remove(&record.key)).unwrap_or_default();
        taps.iter().for_each(|tap| tap.finish());
        self.runs.insert(record.key, Departed { record, taps });
        let waits = |departed: &&mut Departed| departed.taps.iter().any(|tap| !tap.is_over());
        let of_node = Key { run: 0, ..record.key }..=Key { run: u32::MAX, ..record.key };
        let mut waiting: Vec<_> =
            self.runs.range_mut(of_node).map(|(_, departed)| departed).filter(waits).collect();
        if waiting.len() > MOST_WAITING {
            tracing::warn!(
                pid = record.pid.as_raw(),
                "gave up the output of the oldest of too many ended runs"
            );
            waiting.remove(0).taps.iter().for_each(|tap| tap.abandon());
        }
    }

    fn taps(&self) -> impl Iterator<Item = &Rc<Tap>> {
        self.runs.values().flat_map(|departed| &departed.taps)
    }
}

impl Supervisor {
    /// Writes the history of ended runs whose decision is known, and acknowledges those that are safe. After the decision is
    /// performed: a restart does not wait for the history. Returns whether more could be written than fits into the slice.
    pub(super) fn settle_departures(&mut self, slice: &Slice) -> Result<bool, RuntimeError> {
        self.write_waiting()?;
        if self.departures.runs.is_empty() {
            return Ok(false);
        }
        let mut more = false;
        let mut recorded = Vec::new();
        let mut exits = Vec::new();
        for (key, Departed { record, .. }) in &self.departures.runs {
            let run = (NodeId(key.node), Run(key.run));
            if let Some(Ending { name, output, verdict: Some(verdict) }) = self.world.ended.get(&run) {
                if !recorded.is_empty() && slice.is_over() {
                    more = true;
                    break;
                }
                recorded.push(run);
                let until_ns = self.next_birth(*key);
                exits.push(past_exit(
                    &self.launch,
                    name,
                    record,
                    until_ns,
                    verdict,
                    &outputs::sources(Some(output), name),
                ));
            }
        }
        if !recorded.is_empty() {
            self.record(recorded, &exits)?;
        }
        self.acknowledge()?;
        Ok(more)
    }

    /// Puts exits into the history, behind those that wait; while that is not possible they wait too, in the world, so that
    /// nothing of the keeper's is held for it.
    fn record(&mut self, runs: Vec<(NodeId, Run)>, exits: &[PastExitJson]) -> Result<(), RuntimeError> {
        let lines: Vec<String> = exits.iter().map(history::line).collect();
        let waiting = &self.world.unwritten;
        if self.history.write(&[waiting, &lines]) {
            self.take(Record::Recorded(runs, Vec::new()))?;
            return self.all_written();
        }
        let kept = history::to_keep(waiting, exits);
        self.take(Record::Recorded(runs, kept))
    }

    /// Tries to write what waits.
    pub(super) fn write_waiting(&mut self) -> Result<(), RuntimeError> {
        match self.world.unwritten.is_empty() || !self.history.write(&[&self.world.unwritten]) {
            true => Ok(()),
            false => self.all_written(),
        }
    }

    fn all_written(&mut self) -> Result<(), RuntimeError> {
        if self.world.unwritten.is_empty() { Ok(()) } else { self.take(Record::Written) }
    }

    /// When the run after this one was begun, if it was: from then on the log is that one's.
    fn next_birth(&self, key: Key) -> Option<u64> {
        let later = Key { run: key.run.saturating_add(1), ..key }..=Key { run: u32::MAX, ..key };
        let departed = self.departures.runs.range(later).map(|(_, departed)| departed.record.born_ns).next();
        let alive = self.processes.get(&NodeId(key.node)).filter(|process| process.run > Run(key.run));
        departed.or_else(|| alive?.born_ns)
    }

    fn acknowledge(&mut self) -> Result<(), RuntimeError> {
        let safe = |(key, departed): (&Key, &Departed)| {
            let undecided = self.world.ended.contains_key(&(NodeId(key.node), Run(key.run)));
            (!undecided && departed.taps.iter().all(|tap| tap.is_over())).then_some(*key)
        };
        let safe: Vec<Key> = self.departures.runs.iter().filter_map(safe).collect();
        for key in safe {
            self.link.send(&ToKeeper::Ack(key))?;
            self.departures.runs.remove(&key);
        }
        Ok(())
    }

    /// Saves what is in the pipes at this instant: nobody will later.
    pub(super) fn save_output(&self) {
        let taps = self.processes.values().flat_map(|process| &process.taps);
        taps.chain(self.departures.taps()).for_each(|tap| tap.save());
    }
}

fn past_exit(
    launch: &str,
    name: &str,
    record: &ExitRecord,
    until_ns: Option<u64>,
    verdict: &Verdict,
    sources: &[Source],
) -> PastExitJson {
    // The wall clock first: a pause between the two makes times earlier, and then nothing of the run's output is before it.
    let (wall, monotonic) = (SystemTime::now(), os::clock::monotonic_ns());
    let wall = |ns: u64| wall - Duration::from_nanos(monotonic.saturating_sub(ns));
    let (started, ended) = (wall(record.born_ns), wall(record.at_ns));
    let lived = Duration::from_nanos(record.at_ns.saturating_sub(record.born_ns));
    let rfc3339 = |time| humantime::format_rfc3339_millis(time).to_string();
    let start = Start {
        lines: Some(TAIL_LINES),
        since: Some(Start::micros(started)),
        until: until_ns.map(|ns| Start::micros(wall(ns))),
    };
    // An exit without its output is still an exit.
    let tail = Reader::tail(sources, start).unwrap_or_default();
    PastExitJson {
        launch: launch.to_owned(),
        node: record.key.node,
        name: name.to_owned(),
        run: record.key.run,
        pid: record.pid.as_raw(),
        started: rfc3339(started),
        ended: rfc3339(ended),
        uptime_ms: u64::try_from(lived.as_millis()).unwrap_or(u64::MAX),
        exit: exit_json(exit_of(record.status)),
        requested: verdict.requested,
        killed: verdict.killed,
        decision: verdict.decision,
        left_behind: left_json(&record.left),
        touched: verdict.touched.clone(),
        rusage: UsageJson {
            user_ms: record.user_us / 1_000,
            system_ms: record.system_us / 1_000,
            max_rss_bytes: record.max_rss_kib * 1024,
        },
        log_tail: shortened(tail).iter().map(|line| LogLineJson::new(line, sources)).collect(),
    }
}

/// The last lines that fit.
fn shortened(mut lines: Vec<Line>) -> Vec<Line> {
    let mut room = TAIL_BYTES;
    let fitting = lines.iter().rev().take(TAIL_LINES).take_while(|line| {
        let fits = line.bytes.len() <= room;
        room = room.saturating_sub(line.bytes.len());
        fits
    });
    let dropped = lines.len() - fitting.count();
    lines.split_off(dropped)
}

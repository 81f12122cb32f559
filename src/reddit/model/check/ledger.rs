//! I14 from the other side: what clients were told has happened must have happened, once, and as they were told.
//!
//! A client writes down every answer it read before it counts it ([`Acknowledged`]). Each line is looked for in the
//! log by the name of its operation, and must say the same there. Two kinds of lines have no line in the log: a vote
//! that changed nothing, for which the tables must have said so already when it was cast; and what a snapshot covers,
//! for which the tables must show what came of it. A user does one thing at a time, so the lines of a user stand in a
//! ledger in the order in which they happened.
//!
//! What is in the log and in no ledger was carried out while its client, or the way to it, died: it may be there, or
//! not, but whole (I15). The account tells how many there are (I17).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde::Serialize;

use super::super::{Effect, Entry, Model, OpId, UserId};
use super::deed::{Acknowledged, Deed};
use super::{Violation, must};

/// What ledgers came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Lines of all ledgers.
    pub acknowledged: u64,
    /// Of these, lines of the log that say the same.
    pub in_log: u64,
    /// Of these, votes that changed nothing.
    pub unchanged: u64,
    /// Of these, shown by the tables because a snapshot stands for the log of their time.
    pub in_snapshot: u64,
    /// Operations of the same clients that were carried out, and whose answers nobody read.
    pub unread: u64,
}

/// All ledgers, while a log is read.
#[derive(Clone, Debug, Default)]
pub struct Ledgers {
    lines: Vec<Acknowledged>,
    by_op: HashMap<OpId, usize>,
    /// The first line of each stream.
    streams: HashMap<u64, usize>,
    found: Vec<bool>,
    /// What stands of each user and was not found in the log so far.
    pending: BTreeMap<UserId, VecDeque<usize>>,
    /// The log does not begin at the beginning.
    snapshot: bool,
    /// Who did something in the log that was read.
    seen: HashSet<UserId>,
    /// Who did something that a snapshot covers and whose answer was not read.
    unread_before: HashSet<UserId>,
    account: Account,
}

impl Ledgers {
    /// Adds the next line. The lines of one user must come in their order.
    ///
    /// # Errors
    /// The operation was acknowledged before.
    pub fn add(&mut self, line: Acknowledged) -> Result<(), Violation> {
        let number = self.lines.len();
        let op = line.op;
        must!(
            self.by_op.insert(op, number).is_none(),
            "I17",
            "operation {:x}/{} was acknowledged twice",
            op.stream,
            op.number
        );
        self.streams.entry(op.stream).or_insert(number);
        if let (Some(by), Some(_)) = (line.by, line.deed.standing()) {
            self.pending.entry(by).or_default().push_back(number);
        }
        self.lines.push(line);
        self.found.push(false);
        self.account.acknowledged += 1;
        Ok(())
    }

    /// The log begins where these tables stand.
    pub(super) fn begin(&mut self, model: &Model) {
        self.snapshot = *model != Model::default();
        let unread = model.operations.all().filter(|(op, _, _)| !self.by_op.contains_key(op));
        self.unread_before = unread.filter_map(|(_, by, _)| by).collect();
    }

    /// Before a line of the log is applied.
    pub(super) fn before(&mut self, model: &Model, entry: &Entry) -> Result<(), Violation> {
        let (Some(op), Some(by)) = (entry.op, entry.record.actor()) else { return Ok(()) };
        let line = self.by_op.get(&op).copied();
        if let Some(pending) = self.pending.get(&by) {
            let earlier = |&&number: &&usize| match line {
                Some(line) => number < line,
                None => self.is_earlier(number, op),
            };
            let count = pending.iter().rposition(|number| earlier(&number)).map_or(0, |last| last + 1);
            self.judge(model, by, count)?;
            if let (Some(line), Some(pending)) = (line, self.pending.get_mut(&by))
                && pending.front() == Some(&line)
            {
                pending.pop_front();
            }
        }
        self.seen.insert(by);
        Ok(())
    }

    /// Whether a line was written before an operation of the same user that stands in no ledger.
    fn is_earlier(&self, number: usize, op: OpId) -> bool {
        let known = self.lines[number].op;
        match known.stream == op.stream {
            true => known.number < op.number,
            false => self.streams.get(&op.stream).is_some_and(|&first| number < first),
        }
    }

    /// After a line of the log was applied.
    pub(super) fn after(
        &mut self,
        op: Option<OpId>,
        by: Option<UserId>,
        deed: &Deed,
        effect: Effect,
    ) -> Result<(), Violation> {
        let Some(op) = op else { return Ok(()) };
        let Some(&number) = self.by_op.get(&op) else {
            self.account.unread += u64::from(self.streams.contains_key(&op.stream));
            return Ok(());
        };
        let line = &self.lines[number];
        must!(
            (line.by, &line.deed, line.effect) == (by, deed, effect),
            "I14",
            "operation {:x}/{} was acknowledged as {:?} of {:?} with {:?}, and the log has {deed:?} of {by:?} with {effect:?}",
            op.stream,
            op.number,
            line.deed,
            line.by,
            line.effect
        );
        self.found[number] = true;
        self.account.in_log += 1;
        Ok(())
    }

    /// The first `count` lines that are pending for a user have no line in the log. The tables are as they were when
    /// the last of them was acknowledged.
    fn judge(&mut self, model: &Model, by: UserId, count: usize) -> Result<(), Violation> {
        let covered = self.snapshot && !self.seen.contains(&by);
        let Some(pending) = self.pending.get_mut(&by) else { return Ok(()) };
        let lines: Vec<usize> = pending.drain(..count).filter(|&number| !self.found[number]).collect();
        let mut last = BTreeMap::new();
        for &number in &lines {
            last.insert(self.lines[number].deed.standing(), number);
        }
        for number in lines {
            let line = &self.lines[number];
            let is_last = last.get(&line.deed.standing()) == Some(&number);
            let sure = if covered { is_last && !self.unread_before.contains(&by) } else { true };
            let possible = covered || line.deed.is_vote();
            must!(possible && (!sure || line.is_shown(model)), "I14", "{}", missing(line));
            self.found[number] = true;
            let kind = if covered { &mut self.account.in_snapshot } else { &mut self.account.unchanged };
            *kind += 1;
        }
        Ok(())
    }

    /// After the last line of the log.
    pub(super) fn finish(mut self, model: &Model) -> Result<Account, Violation> {
        let users: Vec<(UserId, usize)> = self.pending.iter().map(|(by, all)| (*by, all.len())).collect();
        for (by, count) in users {
            self.judge(model, by, count)?;
        }
        for (line, _) in self.lines.iter().zip(&self.found).filter(|(_, found)| !**found) {
            // Asked again by somebody who is known already, a registration is a login.
            let possible = self.snapshot || matches!(line.deed, Deed::Register { .. });
            must!(possible && line.is_shown(model), "I14", "{}", missing(line));
            let kind =
                if self.snapshot { &mut self.account.in_snapshot } else { &mut self.account.unchanged };
            *kind += 1;
        }
        Ok(self.account)
    }
}

fn missing(line: &Acknowledged) -> String {
    let OpId { stream, number } = line.op;
    let (deed, effect) = (&line.deed, line.effect);
    let by = line.by.map_or_else(|| "somebody new".to_owned(), |by| by.to_string());
    format!("acknowledged and not there: operation {stream:x}/{number}, {deed:?} of {by} with {effect:?}")
}

#[cfg(test)]
mod tests;

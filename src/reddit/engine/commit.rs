//! The commit actor: the only one that changes the model.

use crate::reddit::model::{Command, Decision, Effect, Entry, Error, Model, OpId};

/// Owns the model. One command, at most one record, one order of all records.
#[derive(Debug)]
pub(super) struct Commit {
    model: Model,
    records: u64,
}

impl Commit {
    pub(super) fn new(model: Model) -> Commit {
        Commit { model, records: 0 }
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// Records applied since the start.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Decides a command and applies what it comes to. Asked again under the same name, it only says what it did.
    pub(super) fn carry_out(
        &mut self,
        op: Option<OpId>,
        command: Command,
        now_ms: u64,
    ) -> Result<Effect, Error> {
        let done = op.map(|op| self.model.operations().done(op, command.actor())).transpose()?.flatten();
        if let Some(effect) = done {
            return Ok(effect);
        }
        match self.model.decide(command, now_ms)? {
            Decision::Apply(record) => {
                self.records += 1;
                Ok(self.model.apply_entry(Entry { op, record }))
            }
            Decision::Unchanged(effect) => Ok(effect),
        }
    }
}

//! The commit actor: the only one that changes the model, and the only one that touches the store.

use std::io;

use super::subscriptions::Note;
use crate::reddit::model::{Asked, Command, Decision, Effect, Entry, Error, Field, Flaw, Model};
use crate::reddit::store::{Full, Store};

/// Owns the model. One command, at most one record, one order of all records.
#[derive(Debug)]
pub(super) struct Commit {
    model: Model,
    /// `None`: everything is forgotten when the process ends.
    store: Option<Store>,
    /// The store could not be written. Nothing that came after may be acknowledged.
    failed: Option<io::Error>,
    records: u64,
    repeated: u64,
    /// What somebody may want to know; `None`: nobody wants to know anything.
    notes: Option<Vec<Note>>,
}

impl Commit {
    pub(super) fn new(model: Model, store: Option<Store>) -> Commit {
        Commit { model, store, failed: None, records: 0, repeated: 0, notes: None }
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Records applied since the start.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Operations since the start that had been carried out when they were asked for.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Decides a command and applies what it comes to. Asked again under the same name, it only says what it did.
    pub(super) fn carry_out(
        &mut self,
        asked: Option<Asked>,
        command: Command,
        now_ms: u64,
    ) -> Result<Effect, Error> {
        let done =
            asked.map(|asked| self.model.operations().done(asked, command.actor())).transpose()?.flatten();
        if let Some(effect) = done {
            self.must_be_the_same(&command, effect)?;
            self.repeated += 1;
            return Ok(effect);
        }
        match self.model.decide(command, now_ms)? {
            Decision::Apply(record) => {
                let entry = Entry { op: asked.map(|asked| asked.op), record };
                self.write(&entry)?;
                self.records += 1;
                Ok(if self.notes.is_some() { self.apply_noted(entry) } else { self.model.apply_entry(entry) })
            }
            Decision::Unchanged(effect) => Ok(effect),
        }
    }

    /// A registration has no user yet whose it is. The answer is a session, so who asks again must have the secret.
    fn must_be_the_same(&self, command: &Command, effect: Effect) -> Result<(), Error> {
        let reused = Error::BadRequest { field: Field::Operation, flaw: Flaw::Reused };
        match (command, effect) {
            (Command::Register { secret, .. }, Effect::UserRegistered(user))
                if self.model.users().get(user)?.secret != *secret =>
            {
                Err(reused)
            }
            _ => Ok(()),
        }
    }

    fn apply_noted(&mut self, entry: Entry) -> Effect {
        let note = Note::begin(&entry.record);
        let effect = self.model.apply_entry(entry);
        if let Some(notes) = &mut self.notes {
            notes.extend(note(effect));
        }
        effect
    }

    /// From now on note what happens, or do so no longer.
    pub(super) fn take_notes(&mut self, wanted: bool) {
        if self.notes.is_some() != wanted {
            self.notes = wanted.then(Vec::new);
        }
    }

    /// Moves what was noted, which is durable by now.
    pub(super) fn notes_into(&mut self, settled: &mut Vec<Note>) {
        if let Some(notes) = &mut self.notes {
            settled.append(notes);
        }
    }

    fn write(&mut self, entry: &Entry) -> Result<(), Error> {
        let Some(store) = &mut self.store else { return Ok(()) };
        store.append(entry).map_err(|Full| Error::StoreFull)?;
        // After an error nothing more is written: a group says that all before it are on the disk.
        if store.is_due() && self.failed.is_none() {
            self.failed = store.commit().err();
        }
        Ok(())
    }

    /// Makes everything so far as durable as was promised.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.store.as_mut().map_or(Ok(()), Store::commit)
    }
}

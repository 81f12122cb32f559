//! What a person does with a store: check it, count it, look into it with other tools.
//!
//! All of it only reads. A store in use may be read too: what its engine writes meanwhile is seen as far as it is
//! finished.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::Whereabouts;
use super::model::check::{Account, Checker, Examination, Ledgers, Violation};
use super::model::{Entry, Model};
use super::store::{self, Contents, OpenError, Reading};

mod ledger;
mod live;
mod sqlite;

pub use live::{Counters, counters};
pub use sqlite::{ExportError, export};

/// What a check or a count found.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    /// Entries after the newest snapshot.
    pub entries: u64,
    /// Records since the store was made.
    pub position: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes behind the end of the log, which do not count.
    pub unfinished_bytes: u64,
    /// Records that were written after the last sync and are behind the end of the log.
    pub behind_the_end: u64,
    /// Users.
    pub users: usize,
    /// Subreddits.
    pub subreddits: usize,
    /// Posts.
    pub posts: usize,
    /// Comments.
    pub comments: usize,
    /// Votes that stand.
    pub votes: u64,
    /// Direct messages.
    pub messages: usize,
    /// Equal for equal tables; of a running engine too.
    pub fingerprint: String,
    /// What the ledgers of clients came to, where some were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledgers: Option<Account>,
    /// What its engine said of itself, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Examination>,
    /// The invariants that were looked at; none of a count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checked: Vec<&'static str>,
    /// Those that were not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_checked: Vec<&'static str>,
}

/// All invariants. A store alone does not show I17 and I18.
const INVARIANTS: [&str; 19] = [
    "I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I13", "I14", "I15", "I16",
    "I17", "I18", "I19",
];

impl Summary {
    fn new(model: &Model, contents: &Contents) -> Summary {
        Summary {
            entries: contents.entries,
            position: contents.next,
            log_bytes: contents.log_bytes,
            unfinished_bytes: contents.torn,
            behind_the_end: contents.beyond,
            users: model.users().count(),
            subreddits: model.subreddits().count(),
            posts: model.posts().count(),
            comments: model.comments().count(),
            votes: model.posts().votes() + model.comments().votes(),
            messages: model.messages().count(),
            fingerprint: format!("{:016x}", store::fingerprint(model)),
            ledgers: None,
            engine: None,
            checked: Vec::new(),
            not_checked: Vec::new(),
        }
    }

    /// The summary of a check, with what was looked at beside the store.
    fn checked(mut self, ledgers: Option<Account>, engine: Option<Examination>) -> Summary {
        let looked = |invariant: &&str| match *invariant {
            "I17" => ledgers.is_some() || engine.is_some(),
            "I18" => engine.is_some(),
            _ => true,
        };
        (self.checked, self.not_checked) = INVARIANTS.into_iter().partition(looked);
        self.ledgers = ledgers;
        self.engine = engine;
        self
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { users, subreddits, posts, comments, votes, messages, .. } = self;
        writeln!(
            f,
            "users {users}, subreddits {subreddits}, posts {posts}, comments {comments}, votes {votes}, messages {messages}"
        )?;
        write!(
            f,
            "{} records in all, {} of them after the snapshot ({} bytes, {} unfinished); fingerprint {}",
            self.position, self.entries, self.log_bytes, self.unfinished_bytes, self.fingerprint
        )?;
        if self.behind_the_end > 0 {
            write!(
                f,
                "\n{} records behind the end of the log were written after its last sync, and what is before them is not \
                 there (did the power fail?); they do not count",
                self.behind_the_end
            )?;
        }
        if let Some(Account { acknowledged, in_log, unchanged, in_snapshot, unread }) = self.ledgers {
            write!(
                f,
                "\n{acknowledged} acknowledged operations, each there once and as it was acknowledged: {in_log} in the \
                 log, {in_snapshot} in the snapshot, {unchanged} that changed nothing; {unread} more were carried out and \
                 their answers not read"
            )?;
        }
        if let Some(Examination { position, requests, done, refused, sessions, .. }) = self.engine {
            write!(
                f,
                "\nits engine is what its first {position} records make; of {requests} requests it did {done} and refused \
                 {refused}, and {sessions} users are online"
            )?;
        }
        if !self.checked.is_empty() {
            write!(f, "\nchecked {}", self.checked.join(" "))?;
        }
        if !self.not_checked.is_empty() {
            write!(f, "\nnot checked {}: ask a running engine with --engine", self.not_checked.join(" "))?;
        }
        Ok(())
    }
}

/// Why a check did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The store holds what must not be.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The store cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A ledger cannot be read.
    #[error("cannot read the ledger {}: {error}", .path.display())]
    Ledger {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The engine cannot be asked.
    #[error("cannot ask the engine: {0}")]
    Engine(String),
}

/// A checker that reads a store, and the first thing it found.
#[derive(Default)]
struct Judging {
    checker: Checker,
    ledgers: Option<Ledgers>,
    found: Option<Violation>,
    /// The number of the next entry.
    next: u64,
    engine: Option<Examination>,
    /// The tables were held against the engine's.
    compared: bool,
}

impl Judging {
    /// Holds the tables against the engine's, if they are those of the moment at which it looked.
    fn compare(&mut self) -> Result<(), Violation> {
        match self.engine {
            Some(engine) if engine.position == self.next => {
                self.compared = true;
                engine.stored(store::fingerprint(self.checker.model()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn judge(&mut self, entry: Entry) -> Result<(), Violation> {
        self.checker.step(entry)?;
        self.next += 1;
        self.compare()
    }
}

impl Reading for Judging {
    fn begin(&mut self, model: Model, next: u64) {
        self.next = next;
        self.checker = match self.ledgers.take() {
            Some(ledgers) => Checker::with_ledgers(model, ledgers),
            None => Checker::new(model),
        };
        self.found = self.compare().err();
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
        self.judge(entry).map_err(|violation| self.found.insert(violation).to_string())
    }
}

/// Checks every invariant that can be seen in a store, that it holds what its clients wrote into these ledgers, and that
/// its engine, if that is named, is what it says. Ledgers of one client come in the order of its lives.
///
/// # Errors
/// The first invariant that does not hold, or why the store, a ledger or the engine cannot be read.
pub fn check(dir: &Path, ledgers: &[PathBuf], engine: Option<&Whereabouts>) -> Result<Summary, CheckError> {
    let examined = engine.map(live::examine).transpose()?;
    let ledgers = (!ledgers.is_empty()).then(|| ledger::read(ledgers)).transpose()?;
    let mut judging = Judging { ledgers, engine: examined, ..Judging::default() };
    let read = store::read(dir, &mut judging);
    if let Some(violation) = judging.found {
        return Err(violation.into());
    }
    let contents = read?;
    if let Some(engine) = examined {
        engine.check()?;
        live::must_be_of(&engine, &contents, judging.compared)?;
    }
    let (model, account) = judging.checker.finish_with_account()?;
    Ok(Summary::new(&model, &contents).checked(account, examined))
}

/// Counts what is in a store.
///
/// # Errors
/// Why the store cannot be read.
pub fn count(dir: &Path) -> Result<Summary, OpenError> {
    let mut model = Model::default();
    let contents = store::read(dir, &mut model)?;
    Ok(Summary::new(&model, &contents))
}

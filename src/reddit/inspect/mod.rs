//! What a person does with a store: check it, count it, look into it with other tools.
//!
//! All of it only reads. A store in use may be read too: what its engine writes meanwhile is seen as far as it is
//! finished.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use super::model::check::{Account, Checker, Ledgers, Violation};
use super::model::{Entry, Model};
use super::store::{self, Contents, OpenError, Reading};

mod ledger;
mod sqlite;

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
    /// Bytes of a last group that was not finished and does not count.
    pub unfinished_bytes: u64,
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
}

impl Summary {
    fn new(model: &Model, contents: &Contents) -> Summary {
        Summary {
            entries: contents.entries,
            position: contents.next,
            log_bytes: contents.log_bytes,
            unfinished_bytes: contents.torn,
            users: model.users().count(),
            subreddits: model.subreddits().count(),
            posts: model.posts().count(),
            comments: model.comments().count(),
            votes: model.posts().votes() + model.comments().votes(),
            messages: model.messages().count(),
            fingerprint: format!("{:016x}", store::fingerprint(model)),
            ledgers: None,
        }
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
        let Some(Account { acknowledged, in_log, unchanged, in_snapshot, unread }) = self.ledgers else {
            return Ok(());
        };
        write!(
            f,
            "\n{acknowledged} acknowledged operations, each there once and as it was acknowledged: {in_log} in the log, \
             {in_snapshot} in the snapshot, {unchanged} that changed nothing; {unread} more were carried out and their \
             answers not read"
        )
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
}

/// A checker that reads a store, and the first thing it found.
#[derive(Default)]
struct Judging {
    checker: Checker,
    ledgers: Option<Ledgers>,
    found: Option<Violation>,
}

impl Reading for Judging {
    fn begin(&mut self, model: Model) {
        self.checker = match self.ledgers.take() {
            Some(ledgers) => Checker::with_ledgers(model, ledgers),
            None => Checker::new(model),
        };
    }

    fn entry(&mut self, entry: Entry) -> Result<(), String> {
        self.checker.step(entry).map_err(|violation| self.found.insert(violation).to_string())
    }
}

/// Checks every invariant that can be seen in a store, and that it holds what its clients wrote into these ledgers.
/// Those of one client come in the order of its lives.
///
/// # Errors
/// The first one that does not hold, or why the store or a ledger cannot be read.
pub fn check(dir: &Path, ledgers: &[PathBuf]) -> Result<Summary, CheckError> {
    let ledgers = (!ledgers.is_empty()).then(|| ledger::read(ledgers)).transpose()?;
    let mut judging = Judging { ledgers, ..Judging::default() };
    let read = store::read(dir, &mut judging);
    if let Some(violation) = judging.found {
        return Err(violation.into());
    }
    let contents = read?;
    let (model, account) = judging.checker.finish_with_account()?;
    Ok(Summary { ledgers: account, ..Summary::new(&model, &contents) })
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

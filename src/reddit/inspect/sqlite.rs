//! The tables as an SQLite database, for whatever tool people like.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use crate::reddit::model::{CommentId, MessageId, Model, PostId, SubredditId, UserId};
use crate::reddit::store::{self, OpenError};

const SCHEMA: &str = "
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, created_ms INTEGER NOT NULL,
    post_karma INTEGER NOT NULL, comment_karma INTEGER NOT NULL, public_key BLOB);
CREATE TABLE subreddits (id INTEGER PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL,
    created_ms INTEGER NOT NULL, members INTEGER NOT NULL);
CREATE TABLE members (subreddit INTEGER NOT NULL REFERENCES subreddits, user INTEGER NOT NULL REFERENCES users,
    PRIMARY KEY (subreddit, user)) WITHOUT ROWID;
CREATE TABLE posts (id INTEGER PRIMARY KEY, subreddit INTEGER NOT NULL REFERENCES subreddits,
    author INTEGER NOT NULL REFERENCES users, title TEXT NOT NULL, body TEXT NOT NULL, created_ms INTEGER NOT NULL,
    ups INTEGER NOT NULL, downs INTEGER NOT NULL, comments INTEGER NOT NULL, repost_of INTEGER REFERENCES posts,
    root INTEGER REFERENCES posts, deleted INTEGER NOT NULL, signature BLOB, signed_at_ms INTEGER);
CREATE TABLE comments (id INTEGER PRIMARY KEY, post INTEGER NOT NULL REFERENCES posts,
    parent INTEGER REFERENCES comments, depth INTEGER NOT NULL, author INTEGER NOT NULL REFERENCES users,
    body TEXT NOT NULL, created_ms INTEGER NOT NULL, ups INTEGER NOT NULL, downs INTEGER NOT NULL,
    below INTEGER NOT NULL, deleted INTEGER NOT NULL);
CREATE TABLE messages (id INTEGER PRIMARY KEY, thread INTEGER NOT NULL, reply_to INTEGER REFERENCES messages,
    sender INTEGER NOT NULL REFERENCES users, receiver INTEGER NOT NULL REFERENCES users, subject TEXT NOT NULL,
    body TEXT NOT NULL, created_ms INTEGER NOT NULL, read INTEGER NOT NULL);
";

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is such a file already.
    #[error("{0} exists; name another file, or remove it first")]
    Exists(String),
    /// The file cannot be made.
    #[error("cannot make the file: {0}")]
    Create(io::Error),
    /// The database cannot be written.
    #[error("cannot write the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Writes what the store in `dir` holds into a new database, for its owner only, and returns how many rows. Secrets stay behind.
///
/// # Errors
/// [`ExportError`].
pub fn export(dir: &Path, database: &Path) -> Result<u64, ExportError> {
    if database.symlink_metadata().is_ok() {
        return Err(ExportError::Exists(database.display().to_string()));
    }
    let mut model = Model::default();
    store::read(dir, &mut model)?;
    // What people wrote to each other is in it. An empty file is an empty database.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(database);
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => ExportError::Exists(database.display().to_string()),
        _ => ExportError::Create(error),
    })?;
    write(&model, database).inspect_err(|_| {
        // Half a database is of no use, and would be in the way of the next attempt.
        let _ = fs::remove_file(database);
    })
}

fn write(model: &Model, database: &Path) -> Result<u64, ExportError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(database, flags)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    let rows = users(model, &transaction)?
        + subreddits(model, &transaction)?
        + posts(model, &transaction)?
        + comments(model, &transaction)?
        + messages(model, &transaction)?;
    transaction.commit()?;
    Ok(rows)
}

type Rows = Result<u64, rusqlite::Error>;

/// SQLite knows no unsigned numbers; a time in ms fits into a signed one for the next 292 million years.
fn ms(ms: u64) -> i64 {
    ms.cast_signed()
}

fn users(model: &Model, database: &Connection) -> Rows {
    let mut insert = database.prepare("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?)")?;
    let mut rows = 0;
    while let Ok(user) = model.users().get(UserId(rows + 1)) {
        rows += 1;
        insert.execute(params![
            rows,
            &*user.name,
            ms(user.created_ms),
            user.post_karma,
            user.comment_karma,
            user.key.as_ref().map(|key| key.spki())
        ])?;
    }
    Ok(rows.into())
}

fn subreddits(model: &Model, database: &Connection) -> Rows {
    let mut insert = database.prepare("INSERT INTO subreddits VALUES (?, ?, ?, ?, ?)")?;
    let mut member = database.prepare("INSERT INTO members VALUES (?, ?)")?;
    let (mut rows, mut members) = (0, 0);
    while let Ok(subreddit) = model.subreddits().get(SubredditId(rows + 1)) {
        rows += 1;
        let (name, description) = (&*subreddit.name, &*subreddit.description);
        insert.execute(params![rows, name, description, ms(subreddit.created_ms), subreddit.members()])?;
        for user in subreddit.all() {
            members += 1;
            member.execute(params![rows, user.0])?;
        }
    }
    Ok(u64::from(rows) + members)
}

fn posts(model: &Model, database: &Connection) -> Rows {
    let mut insert =
        database.prepare("INSERT INTO posts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    let mut rows = 0;
    while let Ok(post) = model.posts().get(PostId(rows + 1)) {
        rows += 1;
        let (of, root) = post.origin.map_or((None, None), |origin| (Some(origin.of.0), Some(origin.root.0)));
        let signature = post.signature.as_deref();
        insert.execute(params![
            rows,
            post.subreddit.0,
            post.author.0,
            &*post.title,
            &*post.body,
            ms(post.created_ms),
            post.tally().ups,
            post.tally().downs,
            post.comments,
            of,
            root,
            post.deleted,
            signature.map(|signature| &*signature.bytes),
            signature.map(|signature| ms(signature.signed_at_ms))
        ])?;
    }
    Ok(rows.into())
}

fn comments(model: &Model, database: &Connection) -> Rows {
    let mut insert = database.prepare("INSERT INTO comments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    let mut rows = 0;
    while let Ok(comment) = model.comments().get(CommentId(rows + 1)) {
        rows += 1;
        insert.execute(params![
            rows,
            comment.post.0,
            comment.parent.map(|parent| parent.0),
            comment.depth,
            comment.author.0,
            &*comment.body,
            ms(comment.created_ms),
            comment.tally().ups,
            comment.tally().downs,
            comment.below,
            comment.deleted
        ])?;
    }
    Ok(rows.into())
}

fn messages(model: &Model, database: &Connection) -> Rows {
    let mut insert = database.prepare("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    let mut rows = 0;
    while let Ok(message) = model.messages().get(MessageId(rows + 1)) {
        rows += 1;
        insert.execute(params![
            rows,
            message.thread.0,
            message.reply_to.map(|answered| answered.0),
            message.from.0,
            message.to.0,
            &*message.subject,
            &*message.body,
            ms(message.created_ms),
            message.read
        ])?;
    }
    Ok(rows.into())
}

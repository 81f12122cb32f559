//! `dm_manager`: direct messages.

use serde::{Deserialize, Serialize};

use super::{Folder, MessageId, Packed, Page, Session, Shown, Text, UserId};

/// What it can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Write to somebody.
    Send {
        /// Who.
        session: Session,
        /// To whom.
        to: UserId,
        /// At most 100 characters.
        subject: Text,
        /// 1 to 10,000 characters.
        body: Text,
    },
    /// Answer a message, whichever of the two wrote it.
    Reply {
        /// Who.
        session: Session,
        /// Which.
        message: MessageId,
        /// 1 to 10,000 characters.
        body: Text,
    },
    /// Messages of one's own, newest first.
    List {
        /// Whose.
        session: Session,
        /// Which.
        folder: Folder,
        /// Which part.
        page: Page<MessageId>,
    },
    /// Messages from and to one other user, newest first.
    Conversation {
        /// Whose.
        session: Session,
        /// The other.
        with: UserId,
        /// Which part.
        page: Page<MessageId>,
    },
    /// Take a message for oneself out of the unread ones.
    MarkRead {
        /// The one it is for.
        session: Session,
        /// Which.
        message: MessageId,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Send` and `Reply`.
    Sent {
        /// Which it is.
        id: MessageId,
        /// The message its thread began with.
        thread: MessageId,
    },
    /// To the lists. Fewer than asked for when their texts are long; the rest follows behind the last one.
    Messages(Packed<MessageView>),
    /// To `MarkRead`.
    Read,
}

/// A direct message as it is shown, with texts of type `T`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub struct MessageView<T = Text> {
    /// Its identity.
    pub id: MessageId,
    /// Who wrote it.
    pub from: UserId,
    /// The name of that.
    pub from_name: T,
    /// Who it is for.
    pub to: UserId,
    /// The name of that.
    pub to_name: T,
    /// One line.
    pub subject: T,
    /// The text.
    pub body: T,
    /// What it answers.
    pub reply_to: Option<MessageId>,
    /// The message its thread began with.
    pub thread: MessageId,
    /// ms since 1970.
    pub created_ms: u64,
    /// The one it is for has marked it.
    pub read: bool,
}

impl Shown for MessageView {
    type Inside<'a> = MessageView<&'a str>;
}

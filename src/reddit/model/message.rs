//! Direct messages: between two users, and seen by nobody else.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};

use super::error::{Error, Thing};
use super::id::{MessageId, UserId};
use super::text::Text;

/// One direct message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who wrote it.
    pub from: UserId,
    /// Who it is for.
    pub to: UserId,
    /// One line; a reply has that of what it answers.
    pub subject: Text,
    /// The text.
    pub body: Text,
    /// What it answers.
    pub reply_to: Option<MessageId>,
    /// The message at the beginning of the thread; its own identity if it is that.
    pub thread: MessageId,
    /// ms since 1970.
    pub created_ms: u64,
    /// The one it is for has marked it.
    pub read: bool,
}

impl Message {
    /// The other of the two, as `user` sees it.
    ///
    /// # Errors
    /// [`Error::NotParticipant`] when it is neither from nor for `user`.
    pub fn other(&self, user: UserId) -> Result<UserId, Error> {
        match user {
            user if user == self.from => Ok(self.to),
            user if user == self.to => Ok(self.from),
            _ => Err(Error::NotParticipant),
        }
    }
}

/// Which of a user's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Folder {
    /// For the user.
    Inbox,
    /// For the user, and not marked as read.
    Unread,
    /// From the user.
    Sent,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mailbox {
    pub(super) inbox: BTreeSet<MessageId>,
    pub(super) unread: BTreeSet<MessageId>,
    pub(super) sent: BTreeSet<MessageId>,
}

/// The table of `dm_manager`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Message>")]
pub struct Messages {
    pub(super) list: Vec<Message>,
    /// Of users who ever wrote or got one.
    pub(super) boxes: BTreeMap<UserId, Mailbox>,
    /// Between two users, the smaller identity first.
    pub(super) between: BTreeMap<(UserId, UserId), BTreeSet<MessageId>>,
}

impl Messages {
    /// The message.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: MessageId) -> Result<&Message, Error> {
        id.index().and_then(|index| self.list.get(index)).ok_or(Error::NotFound(Thing::Message))
    }

    /// Messages of `user`, newest first, older than `before` where that is given.
    pub fn of(
        &self,
        user: UserId,
        folder: Folder,
        before: Option<MessageId>,
    ) -> impl Iterator<Item = MessageId> + '_ {
        let messages = self.boxes.get(&user).map(|mailbox| match folder {
            Folder::Inbox => &mailbox.inbox,
            Folder::Unread => &mailbox.unread,
            Folder::Sent => &mailbox.sent,
        });
        older(messages, before)
    }

    /// Messages between the two, newest first, older than `before` where that is given.
    pub fn between(
        &self,
        one: UserId,
        other: UserId,
        before: Option<MessageId>,
    ) -> impl Iterator<Item = MessageId> + '_ {
        older(self.between.get(&(one.min(other), one.max(other))), before)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    pub(super) fn add(
        &mut self,
        (from, to): (UserId, UserId),
        (subject, body): (Text, Text),
        reply_to: Option<MessageId>,
        created_ms: u64,
    ) -> (MessageId, MessageId) {
        let id = MessageId::at(self.list.len());
        let thread = reply_to.and_then(|id| self.get(id).ok()).map_or(id, |first| first.thread);
        self.list.push(Message { from, to, subject, body, reply_to, thread, created_ms, read: false });
        self.file(id);
        (id, thread)
    }

    /// Puts the message into both users' boxes.
    fn file(&mut self, id: MessageId) {
        let Some(message) = id.index().and_then(|index| self.list.get(index)) else { return };
        let (from, to) = (message.from, message.to);
        self.boxes.entry(from).or_default().sent.insert(id);
        let mailbox = self.boxes.entry(to).or_default();
        mailbox.inbox.insert(id);
        if !message.read {
            mailbox.unread.insert(id);
        }
        self.between.entry((from.min(to), from.max(to))).or_default().insert(id);
    }

    /// Marks a message, which must exist, as read.
    pub(super) fn mark_read(&mut self, id: MessageId) {
        let Some(message) = id.index().and_then(|index| self.list.get_mut(index)) else { return };
        message.read = true;
        if let Some(mailbox) = self.boxes.get_mut(&message.to) {
            mailbox.unread.remove(&id);
        }
    }
}

fn older(
    messages: Option<&BTreeSet<MessageId>>,
    before: Option<MessageId>,
) -> impl Iterator<Item = MessageId> + '_ {
    let end = before.unwrap_or(MessageId(u32::MAX));
    messages.into_iter().flat_map(move |messages| messages.range(..end).rev().copied())
}

impl Serialize for Messages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl From<Vec<Message>> for Messages {
    fn from(list: Vec<Message>) -> Messages {
        let mut messages = Messages { list, ..Messages::default() };
        for index in 0..messages.list.len() {
            messages.file(MessageId::at(index));
        }
        messages
    }
}

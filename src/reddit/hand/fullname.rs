//! Identities as people type them: `t3_1z`, as they are shown.

use std::fmt;
use std::str::FromStr;

use crate::reddit::model::{CommentId, MessageId, PostId};

/// A thing that can be pointed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fullname {
    /// `t1_`.
    Comment(CommentId),
    /// `t3_`.
    Post(PostId),
    /// `t4_`.
    Message(MessageId),
}

/// A text that names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoName(&'static str);

impl FromStr for Fullname {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Fullname, NoName> {
        const SHAPE: NoName =
            NoName("a post is named as in t3_1, a comment as in t1_1, a message as in t4_1");
        let (kind, digits) = text.split_once('_').ok_or(SHAPE)?;
        let number = u32::from_str_radix(digits, 36).map_err(|_| SHAPE)?;
        match kind {
            "t1" => Ok(Fullname::Comment(CommentId(number))),
            "t3" => Ok(Fullname::Post(PostId(number))),
            "t4" => Ok(Fullname::Message(MessageId(number))),
            _ => Err(SHAPE),
        }
    }
}

impl fmt::Display for Fullname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fullname::Comment(id) => id.fmt(f),
            Fullname::Post(id) => id.fmt(f),
            Fullname::Message(id) => id.fmt(f),
        }
    }
}

/// A post, and nothing else.
pub(super) fn post(text: &str) -> Result<PostId, NoName> {
    match text.parse()? {
        Fullname::Post(id) => Ok(id),
        Fullname::Comment(_) | Fullname::Message(_) => Err(NoName("a post is named as in t3_1")),
    }
}

/// A message, and nothing else.
pub(super) fn message(text: &str) -> Result<MessageId, NoName> {
    match text.parse()? {
        Fullname::Message(id) => Ok(id),
        Fullname::Comment(_) | Fullname::Post(_) => Err(NoName("a message is named as in t4_1")),
    }
}

/// What one can say something about: a post or a comment.
pub(super) fn said(text: &str) -> Result<Fullname, NoName> {
    match text.parse()? {
        Fullname::Message(_) => Err(NoName("a post is named as in t3_1, a comment as in t1_1")),
        name @ (Fullname::Comment(_) | Fullname::Post(_)) => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed() {
        for name in [
            Fullname::Comment(CommentId(1)),
            Fullname::Post(PostId(u32::MAX)),
            Fullname::Message(MessageId(36)),
        ] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
    }

    #[test]
    fn what_names_nothing_is_told_how_a_name_looks() {
        for text in ["", "1", "t3", "t3_", "t3_zzzzzzzz", "t2_1", "t3_-1", "t3_ 1"] {
            assert!(text.parse::<Fullname>().is_err(), "{text}");
        }
        assert!(post("t1_1").unwrap_err().to_string().contains("t3_1"));
        assert!(said("t4_1").is_err() && said("t1_1").is_ok());
        assert!(message("t3_1").is_err());
    }
}

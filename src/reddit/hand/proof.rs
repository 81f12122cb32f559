//! Whether posts are what their authors signed: found out here, so that the engine need not be believed.
//!
//! Each author's key is asked for once, and kept on this computer with the first post of that author that is seen: another
//! key later on, or none, is told as what it may be, an engine that shows somebody else's words.

use std::collections::BTreeMap;

use super::contact::{Contact, other_answer};
use super::failure::Failure;
use super::known::Known;
use crate::reddit::model::{PublicKey, Signed, UserId};
use crate::reddit::protocol::{PostId, PostView, Reply, Request, post_manager, user_registry};

/// A post, and what is known of its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Post {
    pub(super) view: PostView,
    pub(super) proof: Proof,
}

/// What is known of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The author has no key, or took the post back.
    Unsigned,
    /// It is what its author signed at that time, ms since 1970; of a repost, the post at its root is, and the text with it.
    Verified { signed_at_ms: u64 },
    /// It is not.
    Wrong(Doubt),
}

/// What is wrong with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Doubt {
    #[error("the signature is not the author's over this text")]
    Signature,
    #[error("it is not signed, and its author has a key")]
    Unsigned,
    #[error("it is signed, and the engine has no key of its author")]
    Keyless,
    #[error("the author's key is another one than was first seen on this computer")]
    Changed,
    #[error("its whole text does not begin with what the list shows")]
    Cut,
}

/// Verifies posts.
#[derive(Debug)]
pub(super) struct Prover {
    /// As the engine says.
    keys: BTreeMap<UserId, Option<Box<PublicKey>>>,
    known: Known,
}

impl Prover {
    pub(super) fn new(known: Known) -> Prover {
        Prover { keys: BTreeMap::new(), known }
    }

    /// Verifies each of these.
    pub(super) fn all(&mut self, contact: &mut Contact, views: Vec<PostView>) -> Result<Vec<Post>, Failure> {
        views.into_iter().map(|view| self.one(contact, view)).collect()
    }

    /// Verifies this one.
    pub(super) fn one(&mut self, contact: &mut Contact, view: PostView) -> Result<Post, Failure> {
        let mut proof = self.prove(contact, &view)?;
        if matches!(proof, Proof::Wrong(_)) {
            // It may be another engine than before, with other users.
            self.keys.clear();
            proof = self.prove(contact, &view)?;
        }
        Ok(Post { view, proof })
    }

    fn prove(&mut self, contact: &mut Contact, view: &PostView) -> Result<Proof, Failure> {
        if view.deleted {
            return Ok(Proof::Unsigned);
        }
        let whole = match view.origin {
            Some(origin) => Some(whole(contact, origin.root)?),
            None if view.cut && view.signature.is_some() => Some(whole(contact, view.id)?),
            None => None,
        };
        if whole.as_ref().is_some_and(|whole| whole.deleted) {
            return Ok(Proof::Unsigned);
        }
        let body = whole.as_ref().map_or(&view.body, |whole| &whole.body);
        let begins = if view.cut { body.starts_with(&*view.body) } else { *body == view.body };
        if !begins {
            return Ok(Proof::Wrong(Doubt::Cut));
        }
        // A repost shows another post's text, and is as good as that.
        let signed = match &whole {
            Some(root) if view.origin.is_some() => root,
            Some(_) | None => view,
        };
        self.judge(contact, signed, body)
    }

    fn judge(&mut self, contact: &mut Contact, view: &PostView, body: &str) -> Result<Proof, Failure> {
        let key = self.key(contact, view.author)?;
        if !self.known.agrees(&view.author_name, key.as_deref())? {
            return Ok(Proof::Wrong(Doubt::Changed));
        }
        let (key, signature) = match (key, &view.signature) {
            (None, None) => return Ok(Proof::Unsigned),
            (Some(_), None) => return Ok(Proof::Wrong(Doubt::Unsigned)),
            (None, Some(_)) => return Ok(Proof::Wrong(Doubt::Keyless)),
            (Some(key), Some(signature)) => (key, signature),
        };
        let (author, subreddit, title) = (&view.author_name, &view.subreddit_name, &view.title);
        let signed_at_ms = signature.signed_at_ms;
        let signed = Signed { author, subreddit, title, body, signed_at_ms };
        Ok(match key.verifies(&signed.bytes(), &signature.bytes) {
            true => Proof::Verified { signed_at_ms },
            false => Proof::Wrong(Doubt::Signature),
        })
    }

    /// The key of a user, asked for once.
    fn key(&mut self, contact: &mut Contact, user: UserId) -> Result<Option<Box<PublicKey>>, Failure> {
        if let Some(key) = self.keys.get(&user) {
            return Ok(key.clone());
        }
        let key = key_of(contact, user)?;
        self.keys.insert(user, key.clone());
        Ok(key)
    }
}

/// Asks for the key of a user.
pub(super) fn key_of(contact: &mut Contact, user: UserId) -> Result<Option<Box<PublicKey>>, Failure> {
    match contact.look(Request::UserRegistry(user_registry::Request::GetPublicKey { user }))? {
        Reply::UserRegistry(user_registry::Reply::PublicKey(key)) => Ok(key),
        _ => Err(other_answer()),
    }
}

/// Asks for a post with its whole text.
pub(super) fn whole(contact: &mut Contact, post: PostId) -> Result<PostView, Failure> {
    match contact.look(Request::PostManager(post_manager::Request::Get { post }))? {
        Reply::PostManager(post_manager::Reply::Post(view)) => Ok(view),
        _ => Err(other_answer()),
    }
}

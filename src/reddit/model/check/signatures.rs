//! I19: every post of a user with a key has that user's signature over what it says, and no other post has one.

use super::super::{Model, PostId, UserId};
use super::{Violation, must};

pub(super) fn check(model: &Model) -> Result<(), Violation> {
    for (index, user) in model.users.list.iter().enumerate() {
        let sound = user.key.as_ref().is_none_or(|key| key.check().is_ok());
        must!(sound, "I19", "the public key of {} is none", UserId::at(index));
    }
    for (index, post) in model.posts.list.iter().enumerate() {
        let (id, author) = (PostId::at(index), post.author);
        let signature = post.signature.as_deref();
        // What was taken back says nothing any more, and what a repost shows is signed where it was written.
        if post.deleted || post.origin.is_some() {
            must!(signature.is_none(), "I19", "{id} has a signature and nothing that was signed");
            continue;
        }
        let signs = model.signs(author, signature);
        must!(signs.is_ok(), "I19", "{id} is by {author}, and {signs:?}");
        let Some(signature) = signature else { continue };
        let claim = model.claim((author, post.subreddit), (&post.title, &post.body), signature);
        let fits = claim.is_ok_and(|claim| claim.holds());
        must!(fits, "I19", "the signature of {id} is not that of {author} over its text");
    }
    Ok(())
}

//! The keys of users who sign their posts, and the signatures of the posts that everybody reads.
//!
//! Every signed post that a feed shows is verified when it is seen for the first time, whoever signed it; a list does not
//! show the whole of a long one, and that one is only counted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Crowd, PATIENCE};
use crate::node::CallError;
use crate::reddit::model::{PostId, PublicKey, Signature, Signed, UserId};
use crate::reddit::protocol::{Packed, PostView, Reply, Request, user_registry};
use crate::reddit::simulator::plan::Plan;
use crate::reddit::simulator::report::Signatures;
use crate::reddit::{Remote, Signer};

/// Posts that are remembered as seen; the oldest, which feeds show no more, are forgotten first.
const SEEN: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Signing {
    plan: Plan,
    fraction: f64,
    /// By the number of the user, made when one signs for the first time.
    signers: RefCell<BTreeMap<usize, Rc<Signer>>>,
    /// Authors' keys, as the engine says.
    keys: RefCell<BTreeMap<UserId, Option<Box<PublicKey>>>>,
    seen: RefCell<BTreeSet<PostId>>,
    unverified: RefCell<Vec<Unverified>>,
    counts: Cell<Signatures>,
}

/// A signature that was read.
#[derive(Debug)]
struct Unverified {
    post: PostId,
    author: UserId,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

impl Signing {
    pub(super) fn new(plan: Plan, fraction: f64) -> Signing {
        Signing {
            plan,
            fraction,
            signers: RefCell::default(),
            keys: RefCell::default(),
            seen: RefCell::default(),
            unverified: RefCell::default(),
            counts: Cell::default(),
        }
    }

    /// What the user registers with.
    pub(super) fn key(&self, user: usize) -> Option<Box<PublicKey>> {
        self.signer(user).map(|signer| Box::new(signer.public_key()))
    }

    /// The signature of what the user is about to post, if this one signs.
    pub(super) fn sign(
        &self,
        user: usize,
        (author, subreddit): (&str, &str),
        (title, body): (&str, &str),
    ) -> Option<Box<Signature>> {
        let signer = self.signer(user)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let signed_at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let signed = signer.sign(&Signed { author, subreddit, title, body, signed_at_ms });
        // Without random numbers it is posted without a signature, and refused.
        signed.ok().map(Box::new)
    }

    /// A post of this user was acknowledged.
    pub(super) fn posted(&self, user: usize) {
        let signs = self.plan.private_key(user as u32, self.fraction).is_some();
        self.count(|counts| counts.signed += u64::from(signs));
    }

    /// Takes down what there is to verify in a feed.
    pub(super) fn read(&self, posts: &Packed<PostView>) {
        for post in posts.iter() {
            let Some(signature) = post.signature else { continue };
            if self.seen.borrow().contains(&post.id) {
                continue;
            }
            if post.cut {
                self.saw(post.id);
                self.count(|counts| counts.cut += 1);
                continue;
            }
            let (author, subreddit, signed_at_ms) =
                (post.author_name, post.subreddit_name, signature.signed_at_ms);
            let signed = Signed { author, subreddit, title: post.title, body: post.body, signed_at_ms };
            self.unverified.borrow_mut().push(Unverified {
                post: post.id,
                author: post.author,
                signed: signed.bytes(),
                signature: signature.bytes,
            });
        }
    }

    /// What one engine said is worth nothing at another.
    pub(super) fn forget(&self) {
        self.keys.borrow_mut().clear();
        self.seen.borrow_mut().clear();
        self.unverified.borrow_mut().clear();
    }

    pub(super) fn counts(&self) -> Signatures {
        self.counts.get()
    }

    fn signer(&self, user: usize) -> Option<Rc<Signer>> {
        if let Some(signer) = self.signers.borrow().get(&user) {
            return Some(Rc::clone(signer));
        }
        let number = self.plan.private_key(user as u32, self.fraction)?;
        let signer = Rc::new(Signer::from_number(number).ok()?);
        self.signers.borrow_mut().insert(user, Rc::clone(&signer));
        Some(signer)
    }

    /// `false` if it was seen before.
    fn saw(&self, post: PostId) -> bool {
        let mut seen = self.seen.borrow_mut();
        let is_new = seen.insert(post);
        if seen.len() > SEEN {
            seen.pop_first();
        }
        is_new
    }

    fn count(&self, change: impl FnOnce(&mut Signatures)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

impl Crowd {
    /// Verifies what was read, and asks for the keys that takes.
    pub(super) async fn verify(&self, engine: &Remote) -> Result<(), CallError> {
        let signing = &self.signing;
        let unverified = std::mem::take(&mut *signing.unverified.borrow_mut());
        for Unverified { post, author, signed, signature } in unverified {
            let known = signing.keys.borrow().get(&author).cloned();
            let key = match known {
                Some(key) => key,
                None => {
                    let key = self.key_of(engine, author).await?;
                    signing.keys.borrow_mut().insert(author, key.clone());
                    key
                }
            };
            if !signing.saw(post) {
                continue;
            }
            if key.is_some_and(|key| key.verifies(&signed, &signature)) {
                signing.count(|counts| counts.verified += 1);
            } else {
                signing.count(|counts| counts.bad += 1);
                self.complain("feed: a post is not what its author signed");
            }
        }
        Ok(())
    }

    async fn key_of(&self, engine: &Remote, user: UserId) -> Result<Option<Box<PublicKey>>, CallError> {
        let ask = Request::UserRegistry(user_registry::Request::GetPublicKey { user });
        match engine.call(&ask.into(), PATIENCE).await? {
            Ok(Reply::UserRegistry(user_registry::Reply::PublicKey(key))) => Ok(key),
            answer => {
                self.unexpected("a public key", &answer);
                Ok(None)
            }
        }
    }

    /// What was signed and verified so far.
    pub(in super::super) fn signatures(&self) -> Signatures {
        self.signing.counts()
    }
}

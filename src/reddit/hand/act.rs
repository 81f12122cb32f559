//! From a verb to requests, and from their answers to what is told.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use super::contact::{Contact, other_answer};
use super::failure::Failure;
use super::fullname::Fullname;
use super::known::Known;
use super::people::{Kept, People, Person};
use super::proof::{self, Prover};
use super::told::{Member, Told};
use super::verb::{Dm, Key, Listing, Verb};
use crate::reddit::model::{Error, PublicKey, Signature, Signed, SubredditId, UserId};
use crate::reddit::protocol::{
    Page, Reply, Request, comment_manager, dm_manager, feed_generator, post_manager, subreddit_manager,
    user_registry,
};

/// Somebody at work.
#[derive(Debug)]
pub(super) struct Desk {
    contact: Contact,
    people: People,
    prover: Prover,
    /// Who was named to speak; `None`: the only one there is.
    named: Option<String>,
}

impl Desk {
    pub(super) fn new(contact: Contact, people: People, named: Option<String>) -> Desk {
        let prover = Prover::new(Known::new(people.known_keys(), contact.engine()));
        Desk { contact, people, prover, named }
    }

    /// Who speaks, and to which engine.
    pub(super) fn who(&self) -> (Option<&str>, &str) {
        (self.contact.speaker().map(|person| &*person.name), self.contact.engine())
    }

    /// Who speaks.
    pub(super) fn speaker(&self) -> Option<&Person> {
        self.contact.speaker()
    }

    /// Finds out who speaks, if that is known yet.
    pub(super) fn sit_down(&mut self) -> Result<(), Failure> {
        if self.contact.speaker().is_none() {
            self.contact.speak_for(self.people.who(self.named.as_deref())?);
        }
        Ok(())
    }

    /// Does what a verb says.
    pub(super) fn carry_out(&mut self, verb: Verb) -> Result<Told, Failure> {
        if speaks(&verb) {
            self.sit_down()?;
        }
        match verb {
            Verb::Ping => Ok(Told::Pong(self.contact.ping()?)),
            Verb::Register { name, key } => self.register(&name, key),
            Verb::Whoami => self.whoami(),
            Verb::Create { subreddit, description } => self.create(&subreddit, &description),
            Verb::Join { subreddit } => self.membership(subreddit, Member::Joined),
            Verb::Leave { subreddit } => self.membership(subreddit, Member::Left),
            Verb::Subreddits { mine, order, limit } => self.subreddits(mine, order, limit),
            Verb::Post { subreddit, title, body } => self.post(&subreddit, &title, &body),
            Verb::Repost { post: original, subreddit, title } => {
                let subreddit = self.subreddit(&subreddit)?;
                let title = title.as_deref();
                let reply = self.contact.act(|session| {
                    let title = title.map(Into::into);
                    Request::PostManager(post_manager::Request::Repost {
                        session,
                        subreddit,
                        original,
                        title,
                    })
                });
                posted(reply?)
            }
            Verb::Comment { about, text } => self.comment(about, &text),
            Verb::Vote { on, direction } => {
                let reply = self.contact.act(|session| match on {
                    Fullname::Comment(comment) => {
                        let vote = comment_manager::Request::Vote { session, comment, direction };
                        Request::CommentManager(vote)
                    }
                    Fullname::Post(post) => {
                        Request::PostManager(post_manager::Request::Vote { session, post, direction })
                    }
                    Fullname::Message(_) => unreachable!("no message is taken for this"),
                });
                match reply? {
                    Reply::PostManager(post_manager::Reply::Voted(tally))
                    | Reply::CommentManager(comment_manager::Reply::Voted(tally)) => Ok(Told::Voted(tally)),
                    _ => Err(other_answer()),
                }
            }
            Verb::Delete { which } => self.delete(which),
            Verb::Feed { listing: Listing { sort, window, after, limit } } => {
                let page = Page { after, limit };
                let reply = self.contact.act(|session| {
                    Request::FeedGenerator(feed_generator::Request::Get { session, sort, window, page })
                });
                match reply? {
                    Reply::FeedGenerator(feed_generator::Reply::Posts(posts)) => {
                        Ok(Told::Posts(self.prover.all(&mut self.contact, posts.unpack())?))
                    }
                    _ => Err(other_answer()),
                }
            }
            Verb::Posts { subreddit, listing: Listing { sort, window, after, limit } } => {
                let subreddit = self.subreddit(&subreddit)?;
                let page = Page { after, limit };
                let list = post_manager::Request::List { subreddit, sort, window, page };
                match self.contact.look(Request::PostManager(list))? {
                    Reply::PostManager(post_manager::Reply::Posts(posts)) => {
                        Ok(Told::Posts(self.prover.all(&mut self.contact, posts.unpack())?))
                    }
                    _ => Err(other_answer()),
                }
            }
            Verb::Thread { post, sort, limit } => {
                let view = proof::whole(&mut self.contact, post)?;
                let view = self.prover.one(&mut self.contact, view)?;
                let thread = comment_manager::Request::Thread { post, root: None, sort, limit, levels: None };
                match self.contact.look(Request::CommentManager(thread))? {
                    Reply::CommentManager(comment_manager::Reply::Thread(comments)) => {
                        Ok(Told::Thread { post: view, comments: comments.unpack() })
                    }
                    _ => Err(other_answer()),
                }
            }
            Verb::Dm(dm) => self.dm(dm),
            Verb::Key(Key::Import { name, file }) => {
                let algorithm = self.people.import_key(&name, &file)?;
                Ok(Told::Imported { name, algorithm })
            }
            Verb::Key(Key::Show { name }) => {
                let user = self.user(&name)?;
                let key = proof::key_of(&mut self.contact, user)?.ok_or(Error::KeyMissing)?;
                Ok(Told::Key { name: name.into(), key })
            }
        }
    }

    fn register(&mut self, name: &str, sign: bool) -> Result<Told, Failure> {
        let (person, kept) = self.people.enter(name)?;
        let name = person.name.clone();
        // A key that is kept here is there to be used.
        let (signer, made) = match self.people.key(&name)? {
            None if sign => self.people.make_key(&name).map(|signer| (Some(signer), Kept::Now))?,
            signer => (signer, Kept::Before),
        };
        let registered = self.contact.register(person, signer.map(|signer| signer.public_key()));
        if matches!(registered, Err(Failure::Refused(_) | Failure::NoEngine(_))) {
            // The name is somebody else's, or can be nobody's; or nobody was asked.
            if kept == Kept::Now {
                self.people.forget(&name)?;
            }
            if made == Kept::Now {
                self.people.forget_key(&name)?;
            }
        }
        registered?;
        Ok(Told::Registered(name))
    }

    fn whoami(&mut self) -> Result<Told, Failure> {
        let reply = self
            .contact
            .act(|session| Request::UserRegistry(user_registry::Request::Get { user: session.user }));
        match reply? {
            Reply::UserRegistry(user_registry::Reply::User(view)) => Ok(Told::User(view)),
            _ => Err(other_answer()),
        }
    }

    fn create(&mut self, name: &str, description: &str) -> Result<Told, Failure> {
        let reply = self.contact.act(|session| {
            let (name, description) = (name.into(), description.into());
            Request::SubredditManager(subreddit_manager::Request::Create { session, name, description })
        });
        match reply? {
            Reply::SubredditManager(subreddit_manager::Reply::Subreddit(view)) => Ok(Told::Created(view)),
            _ => Err(other_answer()),
        }
    }

    fn membership(&mut self, name: String, member: Member) -> Result<Told, Failure> {
        let subreddit = self.subreddit(&name)?;
        let reply = self.contact.act(|session| {
            Request::SubredditManager(match member {
                Member::Joined => subreddit_manager::Request::Join { session, subreddit },
                Member::Left => subreddit_manager::Request::Leave { session, subreddit },
            })
        });
        match reply? {
            Reply::SubredditManager(subreddit_manager::Reply::Members { count }) => {
                Ok(Told::Membership { subreddit: name.into(), member, members: count })
            }
            _ => Err(other_answer()),
        }
    }

    fn subreddits(
        &mut self,
        mine: bool,
        order: subreddit_manager::Order,
        limit: Option<u16>,
    ) -> Result<Told, Failure> {
        let page = Page { after: None, limit };
        let reply = if mine {
            self.contact.act(|session| {
                Request::SubredditManager(subreddit_manager::Request::ListMine { session, page })
            })
        } else {
            self.contact.look(Request::SubredditManager(subreddit_manager::Request::List { order, page }))
        };
        match reply? {
            Reply::SubredditManager(subreddit_manager::Reply::Subreddits(list)) => Ok(Told::Subreddits(list)),
            _ => Err(other_answer()),
        }
    }

    fn post(&mut self, subreddit: &str, title: &str, body: &str) -> Result<Told, Failure> {
        let signature = self.sign(subreddit, title, body)?.map(Box::new);
        let subreddit = self.subreddit(subreddit)?;
        let reply = self.contact.act(|session| {
            let (title, body, signature) = (title.into(), body.into(), signature.clone());
            Request::PostManager(post_manager::Request::Create { session, subreddit, title, body, signature })
        });
        posted(reply?)
    }

    /// The signature of a post, if the one who speaks has a key at the engine.
    fn sign(&mut self, subreddit: &str, title: &str, body: &str) -> Result<Option<Signature>, Failure> {
        let Some(registered) = self.own_key()? else { return Ok(None) };
        let Some(speaker) = self.contact.speaker() else { return Ok(None) };
        let author = &speaker.name;
        let missing = || format!("{author} signs posts, and the key is not here: key import {author} FILE");
        let signer = self.people.key(author)?.ok_or_else(|| Failure::Usage(missing()))?;
        if signer.public_key() != *registered {
            let path = self.people.file(author, "key")?;
            let other = format!("{} is not the key that {author} registered", path.display());
            return Err(Failure::Usage(other));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let signed_at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let signed = signer.sign(&Signed { author, subreddit, title, body, signed_at_ms });
        let failed = |error| Failure::File { what: "cannot sign".to_owned(), error: io::Error::other(error) };
        signed.map(Some).map_err(failed)
    }

    /// What the engine has as the key of the one who speaks.
    fn own_key(&mut self) -> Result<Option<Box<PublicKey>>, Failure> {
        let reply = self.contact.act(|session| {
            Request::UserRegistry(user_registry::Request::GetPublicKey { user: session.user })
        });
        match reply? {
            Reply::UserRegistry(user_registry::Reply::PublicKey(key)) => Ok(key),
            _ => Err(other_answer()),
        }
    }

    fn comment(&mut self, about: Fullname, text: &str) -> Result<Told, Failure> {
        let (post, parent) = match about {
            Fullname::Post(post) => (post, None),
            Fullname::Comment(comment) => {
                let get = comment_manager::Request::Get { comment };
                match self.contact.look(Request::CommentManager(get))? {
                    Reply::CommentManager(comment_manager::Reply::Comment(view)) => {
                        (view.post, Some(comment))
                    }
                    _ => return Err(other_answer()),
                }
            }
            Fullname::Message(_) => unreachable!("no message is taken for this"),
        };
        let reply = self.contact.act(|session| {
            let body = text.into();
            Request::CommentManager(comment_manager::Request::Create { session, post, parent, body })
        });
        match reply? {
            Reply::CommentManager(comment_manager::Reply::Created { id, .. }) => Ok(Told::Commented(id)),
            _ => Err(other_answer()),
        }
    }

    fn delete(&mut self, which: Fullname) -> Result<Told, Failure> {
        let reply = self.contact.act(|session| match which {
            Fullname::Comment(comment) => {
                Request::CommentManager(comment_manager::Request::Delete { session, comment })
            }
            Fullname::Post(post) => Request::PostManager(post_manager::Request::Delete { session, post }),
            Fullname::Message(_) => unreachable!("no message is taken for this"),
        });
        match reply? {
            Reply::PostManager(post_manager::Reply::Deleted)
            | Reply::CommentManager(comment_manager::Reply::Deleted) => Ok(Told::Deleted),
            _ => Err(other_answer()),
        }
    }

    fn dm(&mut self, dm: Dm) -> Result<Told, Failure> {
        let reply = match dm {
            Dm::Send { to, subject, text } => {
                let to = self.user(&to)?;
                self.contact.act(|session| {
                    let (subject, body) = (subject.as_str().into(), text.as_str().into());
                    Request::DmManager(dm_manager::Request::Send { session, to, subject, body })
                })
            }
            Dm::List { folder, after, limit } => {
                let page = Page { after, limit };
                self.contact
                    .act(|session| Request::DmManager(dm_manager::Request::List { session, folder, page }))
            }
            Dm::Read { message } => self
                .contact
                .act(|session| Request::DmManager(dm_manager::Request::MarkRead { session, message })),
            Dm::Reply { message, text } => self.contact.act(|session| {
                let body = text.as_str().into();
                Request::DmManager(dm_manager::Request::Reply { session, message, body })
            }),
        };
        match reply? {
            Reply::DmManager(dm_manager::Reply::Sent { id, .. }) => Ok(Told::Sent(id)),
            Reply::DmManager(dm_manager::Reply::Messages(list)) => Ok(Told::Messages(list.unpack())),
            Reply::DmManager(dm_manager::Reply::Read) => Ok(Told::Read),
            _ => Err(other_answer()),
        }
    }

    fn subreddit(&mut self, name: &str) -> Result<SubredditId, Failure> {
        let get = subreddit_manager::Request::GetByName { name: name.into() };
        match self.contact.look(Request::SubredditManager(get))? {
            Reply::SubredditManager(subreddit_manager::Reply::Subreddit(view)) => Ok(view.id),
            _ => Err(other_answer()),
        }
    }

    fn user(&mut self, name: &str) -> Result<UserId, Failure> {
        let get = user_registry::Request::GetByName { name: name.into() };
        match self.contact.look(Request::UserRegistry(get))? {
            Reply::UserRegistry(user_registry::Reply::User(view)) => Ok(view.id),
            _ => Err(other_answer()),
        }
    }
}

/// Whether a verb is somebody's, and not anybody's.
fn speaks(verb: &Verb) -> bool {
    match verb {
        Verb::Ping | Verb::Register { .. } | Verb::Posts { .. } | Verb::Thread { .. } | Verb::Key(_) => false,
        Verb::Subreddits { mine, .. } => *mine,
        Verb::Whoami
        | Verb::Create { .. }
        | Verb::Join { .. }
        | Verb::Leave { .. }
        | Verb::Post { .. }
        | Verb::Repost { .. }
        | Verb::Comment { .. }
        | Verb::Vote { .. }
        | Verb::Delete { .. }
        | Verb::Feed { .. }
        | Verb::Dm(_) => true,
    }
}

fn posted(reply: Reply) -> Result<Told, Failure> {
    match reply {
        Reply::PostManager(post_manager::Reply::Created(id)) => Ok(Told::Posted(id)),
        _ => Err(other_answer()),
    }
}

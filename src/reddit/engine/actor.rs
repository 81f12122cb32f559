//! What all actors have in common: a mailbox, and a behaviour that answers what is in it.

use super::cards::Cards;
use super::commit::Commit;
use super::fronts::{Fronts, Touch};
use super::sessions::Sessions;
use super::view;
use crate::reddit::model::{Asked, Command, Effect, Error, Model};
use crate::reddit::protocol::{
    Answer, Reply, comment_manager, dm_manager, post_manager, subreddit_manager, user_registry,
};

/// The code of one actor (a `gen_server`'s callback module).
pub(super) trait Behaviour {
    /// Its alphabet.
    type Request;

    /// Answers from what it reads, or asks for a command.
    fn handle_call(request: Self::Request, desk: &mut Desk<'_>) -> Result<Step, Error>;
}

/// What an actor makes of a request.
#[derive(Debug)]
pub(super) enum Step {
    /// The answer is known; nothing changes.
    Reply(Reply),
    /// Something is to change. The answer follows from the effect.
    Command(Command),
}

/// What an actor has before it while it answers.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) commit: &'a mut Commit,
    /// Read by all, written by `user_registry` only.
    pub(super) sessions: &'a mut Sessions,
    pub(super) cards: &'a mut Cards,
    pub(super) fronts: &'a mut Fronts,
    /// ms since 1970, the same for the whole turn.
    pub(super) now_ms: u64,
}

impl Desk<'_> {
    pub(super) fn model(&self) -> &Model {
        self.commit.model()
    }

    fn answer(&mut self, op: Option<Asked>, step: Step) -> Answer {
        match step {
            Step::Reply(reply) => Ok(reply),
            Step::Command(command) => {
                let touch = Touch::of(&command);
                let effect = self.commit.carry_out(op, command, self.now_ms)?;
                self.fronts.touched(touch, effect, self.commit.model(), self.cards)?;
                self.confirm(effect)
            }
        }
    }

    /// The answer to a command by what it did.
    fn confirm(&mut self, effect: Effect) -> Answer {
        Ok(match effect {
            Effect::UserRegistered(user) => {
                Reply::UserRegistry(user_registry::Reply::LoggedIn(self.sessions.open(user)))
            }
            Effect::SubredditCreated(id) => Reply::SubredditManager(subreddit_manager::Reply::Subreddit(
                view::subreddit(self.model(), id)?,
            )),
            Effect::Membership { members } => {
                Reply::SubredditManager(subreddit_manager::Reply::Members { count: members })
            }
            Effect::PostCreated(id) => Reply::PostManager(post_manager::Reply::Created(id)),
            Effect::PostVoted(tally) => Reply::PostManager(post_manager::Reply::Voted(tally)),
            Effect::PostDeleted => Reply::PostManager(post_manager::Reply::Deleted),
            Effect::CommentCreated { id, depth } => {
                Reply::CommentManager(comment_manager::Reply::Created { id, depth })
            }
            Effect::CommentVoted(tally) => Reply::CommentManager(comment_manager::Reply::Voted(tally)),
            Effect::CommentDeleted => Reply::CommentManager(comment_manager::Reply::Deleted),
            Effect::MessageSent { id, thread } => Reply::DmManager(dm_manager::Reply::Sent { id, thread }),
            Effect::MessageRead => Reply::DmManager(dm_manager::Reply::Read),
        })
    }
}

/// A behaviour and the requests that wait for it.
#[derive(Debug)]
pub(super) struct Actor<B: Behaviour, A> {
    mailbox: Vec<(A, Option<Asked>, B::Request)>,
}

impl<B: Behaviour, A> Actor<B, A> {
    pub(super) fn new() -> Actor<B, A> {
        Actor { mailbox: Vec::new() }
    }

    /// Puts a request at the end of the mailbox.
    pub(super) fn deliver(&mut self, from: A, op: Option<Asked>, request: B::Request) {
        self.mailbox.push((from, op, request));
    }

    /// Answers everything in the mailbox, in the order it came.
    pub(super) fn empty(&mut self, desk: &mut Desk<'_>, reply: &mut impl FnMut(A, &Answer)) {
        for (from, op, request) in self.mailbox.drain(..) {
            let answer = B::handle_call(request, desk).and_then(|step| desk.answer(op, step));
            reply(from, &answer);
        }
    }
}

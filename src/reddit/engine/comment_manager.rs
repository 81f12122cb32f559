//! `comment_manager`: comments, trees and the votes on them.

use super::actor::{Behaviour, Desk, Step};
use super::view;
use crate::reddit::model::{
    Command, Error, Field, Flaw, LEVELS_DEFAULT, Part, THREAD_DEFAULT, THREAD_MAX, thread,
};
use crate::reddit::protocol::Reply as AnyReply;
use crate::reddit::protocol::comment_manager::{Reply, Request};

#[derive(Debug)]
pub(super) struct CommentManager;

impl Behaviour for CommentManager {
    type Request = Request;

    fn handle_call(request: Request, desk: &mut Desk<'_>) -> Result<Step, Error> {
        let reply = match request {
            Request::Create { session, post, parent, body } => {
                let author = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::Comment { author, post, parent, body }));
            }
            Request::Vote { session, comment, direction } => {
                let voter = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::VoteComment { voter, comment, direction }));
            }
            Request::Delete { session, comment } => {
                let author = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::DeleteComment { author, comment }));
            }
            Request::Get { comment } => Reply::Comment(view::comment(desk.model(), comment)?),
            Request::Thread { post, root, sort, limit, levels } => {
                let limit = view::within(limit, THREAD_DEFAULT, THREAD_MAX)?;
                let levels = match levels {
                    Some(0) => return Err(Error::BadRequest { field: Field::Limit, flaw: Flaw::Empty }),
                    levels => levels.unwrap_or(LEVELS_DEFAULT),
                };
                let shown = thread(desk.model(), post, Part { root, sort, limit, levels })?;
                Reply::Thread(view::comments(desk.commit.model(), desk.cards, shown)?)
            }
        };
        Ok(Step::Reply(AnyReply::CommentManager(reply)))
    }
}

//! `dm_manager`: direct messages.

use super::actor::{Behaviour, Desk, Step};
use super::view;
use crate::reddit::model::{Command, Error};
use crate::reddit::protocol::Reply as AnyReply;
use crate::reddit::protocol::dm_manager::{Reply, Request};

#[derive(Debug)]
pub(super) struct DmManager;

impl Behaviour for DmManager {
    type Request = Request;

    fn handle_call(request: Request, desk: &mut Desk<'_>) -> Result<Step, Error> {
        let messages = match request {
            Request::Send { session, to, subject, body } => {
                let from = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::Send { from, to, subject, body }));
            }
            Request::Reply { session, message, body } => {
                let from = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::Reply { from, message, body }));
            }
            Request::MarkRead { session, message } => {
                let reader = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::MarkRead { reader, message }));
            }
            Request::List { session, folder, page } => {
                let user = desk.sessions.check(session)?;
                let messages = desk.model().messages().of(user, folder, page.after);
                view::messages(desk.model(), messages.take(view::limit(page.limit)?))?
            }
            Request::Conversation { session, with, page } => {
                let user = desk.sessions.check(session)?;
                desk.model().users().get(with)?;
                let messages = desk.model().messages().between(user, with, page.after);
                view::messages(desk.model(), messages.take(view::limit(page.limit)?))?
            }
        };
        Ok(Step::Reply(AnyReply::DmManager(Reply::Messages(messages))))
    }
}

//! `user_registry`: users and their sessions.

use super::actor::{Behaviour, Desk, Step};
use super::view;
use crate::reddit::model::{Command, Error, Field, Flaw, Secret, Thing, UserId};
use crate::reddit::protocol::Reply as AnyReply;
use crate::reddit::protocol::user_registry::{Reply, Request, UserView};

#[derive(Debug)]
pub(super) struct UserRegistry;

impl Behaviour for UserRegistry {
    type Request = Request;

    fn handle_call(request: Request, desk: &mut Desk<'_>) -> Result<Step, Error> {
        let reply = match request {
            Request::Register { name, secret, key } => match desk.model().users().by_name(&name) {
                // Asked again by the one who was registered; anybody else finds the name taken.
                Some(user) => {
                    let known = desk.model().users().get(user)?;
                    if known.secret == secret && key.is_some() && known.key != key {
                        return Err(Error::BadRequest { field: Field::PublicKey, flaw: Flaw::Another });
                    }
                    log_in(desk, user, secret).map_err(|_| Error::NameTaken)?
                }
                None => return Ok(Step::Command(Command::Register { name, secret, key })),
            },
            Request::Login { name, secret } => {
                let user = find(desk, &name)?;
                log_in(desk, user, secret)?
            }
            Request::Logout { session } => {
                desk.sessions.close(session)?;
                Reply::LoggedOut
            }
            Request::Get { user } => Reply::User(look(desk, user)?),
            Request::GetByName { name } => {
                let user = find(desk, &name)?;
                Reply::User(look(desk, user)?)
            }
            Request::GetPublicKey { user } => Reply::PublicKey(desk.model().users().get(user)?.key.clone()),
        };
        Ok(Step::Reply(AnyReply::UserRegistry(reply)))
    }
}

fn find(desk: &Desk<'_>, name: &str) -> Result<UserId, Error> {
    desk.model().users().by_name(name).ok_or(Error::NotFound(Thing::User))
}

fn look(desk: &Desk<'_>, user: UserId) -> Result<UserView, Error> {
    view::user(desk.model(), user, desk.sessions.is_online(user))
}

fn log_in(desk: &mut Desk<'_>, user: UserId, secret: Secret) -> Result<Reply, Error> {
    if desk.model().users().get(user)?.secret == secret {
        Ok(Reply::LoggedIn(desk.sessions.open(user)))
    } else {
        Err(Error::WrongSecret)
    }
}

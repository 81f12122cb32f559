//! `subreddit_manager`: subreddits and membership.

use super::actor::{Behaviour, Desk, Step};
use super::view;
use crate::reddit::model::{Command, Error, Model, SubredditId, Thing};
use crate::reddit::protocol::subreddit_manager::{Order, Reply, Request};
use crate::reddit::protocol::{Page, Reply as AnyReply};

#[derive(Debug)]
pub(super) struct SubredditManager;

impl Behaviour for SubredditManager {
    type Request = Request;

    fn handle_call(request: Request, desk: &mut Desk<'_>) -> Result<Step, Error> {
        let model = desk.model();
        let reply = match request {
            Request::Create { session, name, description } => {
                let creator = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::CreateSubreddit { creator, name, description }));
            }
            Request::Join { session, subreddit } => {
                let user = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::Join { user, subreddit }));
            }
            Request::Leave { session, subreddit } => {
                let user = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::Leave { user, subreddit }));
            }
            Request::Get { subreddit } => Reply::Subreddit(view::subreddit(model, subreddit)?),
            Request::GetByName { name } => {
                let found = model.subreddits().by_name(&name).ok_or(Error::NotFound(Thing::Subreddit))?;
                Reply::Subreddit(view::subreddit(model, found)?)
            }
            Request::List { order: Order::Creation, page } => {
                list(model, model.subreddits().after(page.after), page)?
            }
            Request::List { order: Order::Members, page } => {
                list(model, model.subreddits().largest(page.after), page)?
            }
            Request::ListMine { session, page } => {
                let joined = model.subreddits().of(desk.sessions.check(session)?);
                list(model, joined.filter(|&id| page.after.is_none_or(|after| id > after)), page)?
            }
        };
        Ok(Step::Reply(AnyReply::SubredditManager(reply)))
    }
}

fn list(
    model: &Model,
    ids: impl Iterator<Item = SubredditId>,
    page: Page<SubredditId>,
) -> Result<Reply, Error> {
    let views = ids.take(view::limit(page.limit)?).map(|id| view::subreddit(model, id));
    views.collect::<Result<_, _>>().map(Reply::Subreddits)
}

//! `post_manager`: posts and votes.

use super::actor::{Behaviour, Desk, Step};
use super::sessions::Sessions;
use super::view;
use crate::reddit::model::{Claim, Command, Error, Model, PostId, Sort, SubredditId};
use crate::reddit::protocol::post_manager::{Reply, Request};
use crate::reddit::protocol::{Page, Reply as AnyReply, Window};

#[derive(Debug)]
pub(super) struct PostManager;

impl Behaviour for PostManager {
    type Request = Request;

    fn handle_call(request: Request, desk: &mut Desk<'_>) -> Result<Step, Error> {
        let reply = match request {
            Request::Create { session, subreddit, title, body, signature } => {
                let author = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::Post { author, subreddit, title, body, signature }));
            }
            Request::Repost { session, subreddit, original, title } => {
                let author = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::Repost { author, subreddit, original, title }));
            }
            Request::Delete { session, post } => {
                let author = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::DeletePost { author, post }));
            }
            Request::Vote { session, post, direction } => {
                let voter = desk.sessions.check(session)?;
                return Ok(Step::Command(Command::VotePost { voter, post, direction }));
            }
            Request::Get { post } => Reply::Post(view::post(desk.model(), post)?),
            Request::List { subreddit, sort, window, page } => list(desk, subreddit, sort, window, page)?,
        };
        Ok(Step::Reply(AnyReply::PostManager(reply)))
    }
}

/// What must be found out about a request before it comes to a turn: nothing, unless it has a signature.
pub(super) fn claim(request: &Request, sessions: &Sessions, model: &Model) -> Option<Result<Claim, Error>> {
    let Request::Create { session, subreddit, title, body, signature: Some(signature) } = request else {
        return None;
    };
    let author = sessions.check(*session);
    Some(author.and_then(|author| model.claim((author, *subreddit), (title, body), signature)))
}

fn list(
    desk: &mut Desk<'_>,
    subreddit: SubredditId,
    sort: Sort,
    window: Window,
    page: Page<PostId>,
) -> Result<Reply, Error> {
    let (model, since_ms) = (desk.commit.model(), window.since_ms(desk.now_ms));
    model.subreddits().get(subreddit)?;
    let after = match page.after {
        Some(post) => Some((model.posts().get(post)?.rank(sort), post)),
        None => None,
    };
    let ranked = model.posts().ranked_since(subreddit, sort, since_ms, after).map(|(_, post)| post);
    view::posts(model, desk.cards, ranked.take(view::limit(page.limit)?)).map(Reply::Posts)
}

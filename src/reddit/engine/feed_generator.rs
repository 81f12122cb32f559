//! `feed_generator`: front pages. It only reads.

use super::actor::{Behaviour, Desk, Step};
use super::view;
use crate::reddit::model::{Error, Listing, feed};
use crate::reddit::protocol::Reply as AnyReply;
use crate::reddit::protocol::feed_generator::{Reply, Request};

#[derive(Debug)]
pub(super) struct FeedGenerator;

impl Behaviour for FeedGenerator {
    type Request = Request;

    fn handle_call(request: Request, desk: &mut Desk<'_>) -> Result<Step, Error> {
        let Request::Get { session, sort, window, page } = request;
        let user = desk.sessions.check(session)?;
        let limit = view::limit(page.limit)?;
        let listing = Listing { sort, window, after: page.after, limit, now_ms: desk.now_ms };
        let posts = feed(desk.model(), user, listing)?;
        let posts = view::posts(desk.commit.model(), desk.cards, posts.into_iter())?;
        Ok(Step::Reply(AnyReply::FeedGenerator(Reply::Posts(posts))))
    }
}

//! `feed_generator`: front pages. It only reads.

use super::actor::{Behaviour, Desk, Step};
use super::view;
use crate::reddit::model::{Error, Listing, Sort, Window, feed};
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
        let model = desk.commit.model();
        let posts = match (sort, window, page.after) {
            (Sort::Hot, Window::All, None) => {
                desk.fronts.page(model, desk.cards, user, limit, desk.now_ms)?
            }
            (sort, window, after) => {
                let listing = Listing { sort, window, after, limit, now_ms: desk.now_ms };
                view::posts(model, desk.cards, feed(model, user, listing)?.into_iter())?
            }
        };
        Ok(Step::Reply(AnyReply::FeedGenerator(Reply::Posts(posts))))
    }
}

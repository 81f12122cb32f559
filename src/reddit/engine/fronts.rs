//! What each subreddit has to give to front pages: its hottest posts in their order, ready to be copied.
//!
//! Nearly all front pages are asked for as they are by default, and those of many users begin with the same posts of the
//! same subreddits. So each subreddit keeps the beginning of its hot posts as a list shows them, as deep as pages have
//! needed it, until something in it changes; a page is merged from these. [`feed`](crate::reddit::model::feed()) says what a
//! page is; this only says it faster.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::cards::Cards;
use super::view;
use crate::reddit::model::{
    Command, Error, HOT_AGE_MS, HOT_POSTS, Model, Place, PostId, Rank, Sort, SubredditId, UserId,
};
use crate::reddit::protocol::{Packed, PostView};

/// Posts that are made ready at a time.
const STEP: usize = 8;

/// By the index of the subreddit.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    fronts: Vec<Front>,
    /// Of the page that is being merged: the next post of each of its subreddits, and how many of that were taken.
    heads: BinaryHeap<(Place, SubredditId, usize)>,
}

/// The hottest posts of one subreddit.
#[derive(Debug, Default)]
struct Front {
    posts: Vec<(Place, usize)>,
    /// As a list shows them; each ends where `posts` says.
    bytes: Vec<u8>,
    /// Posts of the order that were looked at, and the place of the last of them.
    looked: usize,
    last: Option<(Rank, PostId)>,
    hottest: Option<Rank>,
    /// There are no more.
    whole: bool,
    /// The oldest of those that are shown was made then, in ms since 1970.
    oldest_ms: u64,
}

/// What a command may change on front pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    Nothing,
    Subreddit(SubredditId),
    /// The subreddit of that post.
    Post(PostId),
    /// A repost shows the text of its root, wherever it is.
    Everything,
}

impl Touch {
    pub(super) fn of(command: &Command) -> Touch {
        match *command {
            Command::Post { subreddit, .. } | Command::Repost { subreddit, .. } => {
                Touch::Subreddit(subreddit)
            }
            Command::VotePost { post, .. } | Command::Comment { post, .. } => Touch::Post(post),
            Command::DeletePost { .. } => Touch::Everything,
            Command::Register { .. }
            | Command::CreateSubreddit { .. }
            | Command::Join { .. }
            | Command::Leave { .. }
            | Command::VoteComment { .. }
            | Command::DeleteComment { .. }
            | Command::Send { .. }
            | Command::Reply { .. }
            | Command::MarkRead { .. } => Touch::Nothing,
        }
    }
}

impl Fronts {
    /// Forgets what is not so any more.
    pub(super) fn touched(&mut self, touch: Touch, model: &Model) {
        match touch {
            Touch::Nothing => {}
            Touch::Subreddit(id) => self.front(id).clear(),
            Touch::Post(id) => {
                if let Ok(post) = model.posts().get(id) {
                    self.front(post.subreddit).clear();
                }
            }
            Touch::Everything => self.fronts.iter_mut().for_each(Front::clear),
        }
    }

    fn front(&mut self, id: SubredditId) -> &mut Front {
        let index = id.0 as usize;
        if self.fronts.len() <= index {
            self.fronts.resize_with(index + 1, Front::default);
        }
        &mut self.fronts[index]
    }

    /// The first page of the hot feed of a user, who exists.
    pub(super) fn page(
        &mut self,
        model: &Model,
        cards: &mut Cards,
        user: UserId,
        limit: usize,
        now_ms: u64,
    ) -> Result<Packed<PostView>, Error> {
        let oldest_ms = now_ms.saturating_sub(HOT_AGE_MS);
        let mut heads = std::mem::take(&mut self.heads);
        heads.clear();
        for id in model.subreddits().of(user) {
            let front = self.front(id);
            // Time alone makes a post too old, too.
            if front.oldest_ms < oldest_ms {
                front.clear();
            }
            heads.extend(front.at(0, id, model, cards, oldest_ms)?.map(|place| (place, id, 1)));
        }
        let mut page = Packed::with_room(limit * view::ENTRY_BYTES);
        while page.len() < limit {
            let Some(mut head) = heads.peek_mut() else { break };
            let (_, id, taken) = *head;
            let front = self.front(id);
            page.push_encoded(front.shown(taken - 1));
            // The next one of the same subreddit takes its place, which is less work than out and in again.
            match front.at(taken, id, model, cards, oldest_ms)? {
                Some(place) => *head = (place, id, taken + 1),
                None => drop(PeekMut::pop(head)),
            }
        }
        self.heads = heads;
        Ok(page)
    }
}

impl Front {
    fn clear(&mut self) {
        let Front { mut posts, mut bytes, .. } = std::mem::take(self);
        posts.clear();
        bytes.clear();
        // What one reader of a single subreddit once needed is not kept for good.
        bytes.shrink_to(2 * STEP * view::ENTRY_BYTES);
        *self = Front { posts, bytes, oldest_ms: u64::MAX, ..Front::default() };
    }

    /// The post at that place, if there are so many.
    fn at(
        &mut self,
        index: usize,
        id: SubredditId,
        model: &Model,
        cards: &mut Cards,
        oldest_ms: u64,
    ) -> Result<Option<Place>, Error> {
        while index >= self.posts.len() && !self.whole {
            self.go_on(id, model, cards, oldest_ms)?;
        }
        Ok(self.posts.get(index).map(|&(place, _)| place))
    }

    fn shown(&self, index: usize) -> &[u8] {
        let begin = index.checked_sub(1).map_or(0, |before| self.posts[before].1);
        &self.bytes[begin..self.posts[index].1]
    }

    /// Makes some more ready.
    fn go_on(
        &mut self,
        id: SubredditId,
        model: &Model,
        cards: &mut Cards,
        oldest_ms: u64,
    ) -> Result<(), Error> {
        let step = STEP.min(HOT_POSTS - self.looked);
        let mut came = 0;
        for (rank, post_id) in model.posts().ranked(id, Sort::Hot, self.last).take(step) {
            came += 1;
            self.last = Some((rank, post_id));
            let hottest = *self.hottest.get_or_insert(rank);
            let post = model.posts().get(post_id)?;
            if post.created_ms >= oldest_ms {
                self.oldest_ms = self.oldest_ms.min(post.created_ms);
                view::append_post(&mut self.bytes, model, cards, post_id, post)?;
                self.posts.push(((rank.normalized(hottest), rank, post_id), self.bytes.len()));
            }
        }
        self.looked += came;
        self.whole = came < STEP || self.looked == HOT_POSTS;
        Ok(())
    }
}

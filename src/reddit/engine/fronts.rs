//! What each subreddit has to give to front pages: its hottest posts in their order, ready to be copied.
//!
//! Nearly all front pages are asked for as they are by default, and those of many users begin with the same posts of the
//! same subreddits. So each subreddit keeps the beginning of its hot order as a list shows it, as deep as pages have needed
//! it, one post behind the other in memory; a page is merged from these. A vote or a comment changes what is said of one
//! post, or its place, and nothing else is made anew. [`feed`](crate::reddit::model::feed()) says what a page is; this only
//! says it faster.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::cards::Cards;
use super::view;
use crate::reddit::model::{
    Command, Effect, Error, HOT_AGE_MS, HOT_POSTS, Model, Place, Post, PostId, Rank, Sort, SubredditId,
    UserId,
};
use crate::reddit::protocol::{Packed, PostView};

/// Posts that are made ready at a time.
const STEP: usize = 8;

/// Posts that are made ready in all before everything is forgotten and begun anew. Most take 200 bytes.
const MOST: usize = 1 << 17;

/// By the index of the subreddit.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    fronts: Vec<Front>,
    /// Posts that were made ready since the last time that everything was forgotten.
    ready: usize,
    /// Of the page that is being merged: the next post of each of its subreddits, and how many of that were taken.
    heads: BinaryHeap<(Place, SubredditId, usize)>,
    /// A post that is being encoded.
    shown: Vec<u8>,
}

/// The beginning of the hot order of one subreddit.
#[derive(Debug, Default)]
struct Front {
    posts: Vec<Ready>,
    /// As a list shows them; each ends where `posts` says.
    bytes: Vec<u8>,
    /// Everything in the order down to this place is here.
    down_to: Option<(Rank, PostId)>,
    /// Everything in the order is here.
    whole: bool,
    /// The rank of the first, by which all are divided.
    hottest: Option<Rank>,
}

/// A post that can be copied.
#[derive(Clone, Copy, Debug)]
struct Ready {
    place: Place,
    created_ms: u64,
    end: usize,
}

impl Ready {
    /// Its place in the order.
    fn order(&self) -> (Rank, PostId) {
        (self.place.1, self.place.2)
    }
}

/// What a command changes on front pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    Nothing,
    Created,
    Changed(PostId),
    /// A repost shows the text of its root, wherever it is.
    Deleted,
}

impl Touch {
    pub(super) fn of(command: &Command) -> Touch {
        match *command {
            Command::Post { .. } | Command::Repost { .. } => Touch::Created,
            Command::VotePost { post, .. } | Command::Comment { post, .. } => Touch::Changed(post),
            Command::DeletePost { .. } => Touch::Deleted,
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
    /// A command with this touch had this effect.
    ///
    /// # Errors
    /// What it was about is not in the tables.
    pub(super) fn touched(
        &mut self,
        touch: Touch,
        effect: Effect,
        model: &Model,
        cards: &mut Cards,
    ) -> Result<(), Error> {
        match (touch, effect) {
            (Touch::Created, Effect::PostCreated(id)) | (Touch::Changed(id), _) => {
                let post = model.posts().get(id)?;
                let mut shown = std::mem::take(&mut self.shown);
                let made_ready = self.front(post.subreddit).update(id, post, &mut shown, model, cards);
                self.shown = shown;
                self.made_ready(usize::from(made_ready?));
            }
            (Touch::Deleted, _) => self.forget(),
            (Touch::Nothing | Touch::Created, _) => {}
        }
        Ok(())
    }

    fn front(&mut self, id: SubredditId) -> &mut Front {
        let index = id.0 as usize;
        if self.fronts.len() <= index {
            self.fronts.resize_with(index + 1, Front::default);
        }
        &mut self.fronts[index]
    }

    fn forget(&mut self) {
        self.fronts.clear();
        self.ready = 0;
    }

    fn made_ready(&mut self, count: usize) {
        self.ready += count;
        if self.ready > MOST {
            self.forget();
        }
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
        let mut made_ready = 0;
        let mut heads = std::mem::take(&mut self.heads);
        heads.clear();
        for id in model.subreddits().of(user) {
            let first = self.front(id).next(0, oldest_ms, id, model, cards, &mut made_ready)?;
            heads.extend(first.map(|(place, index)| (place, id, index)));
        }
        let mut page = Packed::with_room(limit * view::ENTRY_BYTES);
        while page.len() < limit {
            let Some(mut head) = heads.peek_mut() else { break };
            let (_, id, index) = *head;
            let front = self.front(id);
            page.push_encoded(&front.bytes[front.span(index)]);
            // The next one of the same subreddit takes its place, which is less work than out and in again.
            match front.next(index + 1, oldest_ms, id, model, cards, &mut made_ready)? {
                Some((place, index)) => *head = (place, id, index),
                None => drop(PeekMut::pop(head)),
            }
        }
        self.heads = heads;
        self.made_ready(made_ready);
        Ok(page)
    }
}

impl Front {
    /// The first post at `index` or behind it that is young enough, and where it is.
    fn next(
        &mut self,
        mut index: usize,
        oldest_ms: u64,
        id: SubredditId,
        model: &Model,
        cards: &mut Cards,
        made_ready: &mut usize,
    ) -> Result<Option<(Place, usize)>, Error> {
        loop {
            match self.posts.get(index) {
                Some(post) if post.created_ms >= oldest_ms => return Ok(Some((post.place, index))),
                Some(_) => index += 1,
                None if self.whole || self.posts.len() == HOT_POSTS => return Ok(None),
                None => *made_ready += self.go_on(id, model, cards)?,
            }
        }
    }

    /// Makes some more ready, and says how many.
    fn go_on(&mut self, id: SubredditId, model: &Model, cards: &mut Cards) -> Result<usize, Error> {
        let step = STEP.min(HOT_POSTS - self.posts.len());
        let before = self.posts.len();
        for (rank, id) in model.posts().ranked(id, Sort::Hot, self.down_to).take(step) {
            let hottest = *self.hottest.get_or_insert(rank);
            let post = model.posts().get(id)?;
            view::append_post(&mut self.bytes, model, cards, id, post)?;
            let (place, end) = ((rank.normalized(hottest), rank, id), self.bytes.len());
            self.posts.push(Ready { place, created_ms: post.created_ms, end });
            self.down_to = Some((rank, id));
        }
        let came = self.posts.len() - before;
        self.whole = came < step;
        Ok(came)
    }

    /// The post is new, or has other votes or comments than before. `true`: it was made ready.
    fn update(
        &mut self,
        id: PostId,
        post: &Post,
        shown: &mut Vec<u8>,
        model: &Model,
        cards: &mut Cards,
    ) -> Result<bool, Error> {
        let order = (post.rank(Sort::Hot), id);
        let belongs = self.whole || self.down_to.is_some_and(|last| order >= last);
        let was = self.posts.iter().position(|ready| ready.place.2 == id);
        if was.is_none() && !belongs {
            return Ok(false);
        }
        shown.clear();
        view::append_post(shown, model, cards, id, post)?;
        match was {
            Some(at) if self.posts[at].order() == order => {
                self.replace(at, shown);
                return Ok(false);
            }
            Some(at) => {
                self.replace(at, &[]);
                self.posts.remove(at);
            }
            None => {}
        }
        if belongs {
            let at = self.posts.partition_point(|ready| ready.order() > order);
            let place = (Rank(0), order.0, id);
            self.posts.insert(at, Ready { place, created_ms: post.created_ms, end: self.begin(at) });
            self.replace(at, shown);
            self.normalize(at);
            if self.posts.len() > HOT_POSTS {
                self.replace(HOT_POSTS, &[]);
                self.posts.truncate(HOT_POSTS);
                self.down_to = self.posts.last().map(Ready::order);
                self.whole = false;
            }
        } else {
            self.normalize(self.posts.len());
        }
        Ok(belongs)
    }

    /// Works out how the post at that place compares with the first one, or if that is another than before, how all do.
    fn normalize(&mut self, at: usize) {
        let hottest = self.posts.first().map(|ready| ready.place.1);
        let changed = std::mem::replace(&mut self.hottest, hottest) != hottest;
        let some =
            if changed { &mut self.posts[..] } else { self.posts.get_mut(at..=at).unwrap_or_default() };
        for ready in some {
            ready.place.0 = ready.place.1.normalized(hottest.unwrap_or(ready.place.1));
        }
    }

    fn begin(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.posts[before].end)
    }

    /// Where the bytes of a post are.
    fn span(&self, index: usize) -> std::ops::Range<usize> {
        self.begin(index)..self.posts[index].end
    }

    /// Shows the post like this.
    fn replace(&mut self, index: usize, shown: &[u8]) {
        let span = self.span(index);
        if span.len() == shown.len() {
            self.bytes[span].copy_from_slice(shown);
            return;
        }
        let (less, more) = (span.len(), shown.len());
        self.bytes.splice(span, shown.iter().copied());
        for ready in &mut self.posts[index..] {
            ready.end = ready.end - less + more;
        }
    }
}

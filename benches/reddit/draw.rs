//! What a client asks next, drawn cheaply: the mix of a crowd that reads more than it writes.

use std::collections::HashMap;

use provost::reddit::protocol::{
    CommentId, CommentSort, Direction, Folder, MessageId, OpId, Page, PostId, Request, Session, Sort,
    SubredditId, Text, UserId, Window, comment_manager, dm_manager, feed_generator, post_manager,
    subreddit_manager,
};

/// Subreddits; that of rank r has 1/r times the members of the first.
pub(crate) const SUBREDDITS: u32 = 200;

/// Subreddits that a user joins at the beginning.
const JOINS: usize = 5;

/// Things that were seen lately, of which one is voted on or answered.
const SEEN: usize = 256;

/// Actions and how many of 100 they are.
pub(crate) const MIX: [(Action, u32); 9] = [
    (Action::Feed, 35),
    (Action::Vote, 25),
    (Action::Comment, 15),
    (Action::Post, 9),
    (Action::Message, 8),
    (Action::Thread, 4),
    (Action::Join, 2),
    (Action::Repost, 1),
    (Action::Leave, 1),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Feed,
    Vote,
    Comment,
    Post,
    Message,
    Thread,
    Join,
    Repost,
    Leave,
}

impl Action {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Action::Feed => "feed",
            Action::Vote => "vote",
            Action::Comment => "comment",
            Action::Post => "post",
            Action::Message => "message",
            Action::Thread => "thread",
            Action::Join => "join",
            Action::Repost => "repost",
            Action::Leave => "leave",
        }
    }
}

/// SplitMix64.
#[derive(Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.roll()) * bound as u128) >> 64) as usize
    }

    pub(crate) fn part(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// One of the users of a client.
pub(crate) struct User {
    pub(crate) session: Session,
    pub(crate) joined: Vec<SubredditId>,
}

/// The last things seen, the oldest overwritten.
struct Ring<T>(Vec<T>, usize);

impl<T: Copy> Ring<T> {
    fn put(&mut self, thing: T) {
        if self.0.len() < SEEN {
            self.0.push(thing);
        } else {
            self.0[self.1 % SEEN] = thing;
            self.1 += 1;
        }
    }

    fn pick(&self, dice: &mut Dice) -> Option<T> {
        (!self.0.is_empty()).then(|| self.0[dice.below(self.0.len())])
    }
}

/// What a client knows.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) users: Vec<User>,
    /// Sums of the weights of the subreddits up to each.
    zipf: Vec<f64>,
    posts: Ring<PostId>,
    comments: Ring<(PostId, CommentId)>,
    /// With the user who got it.
    messages: Ring<(usize, MessageId)>,
    by_id: HashMap<UserId, usize>,
    stream: u64,
    operations: u32,
    text: String,
}

impl World {
    pub(crate) fn new(number: usize) -> World {
        let mut sum = 0.0;
        let weights = (1..=SUBREDDITS).map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        });
        World {
            dice: Dice(number as u64 + 1),
            users: Vec::new(),
            zipf: weights.collect(),
            posts: Ring(Vec::new(), 0),
            comments: Ring(Vec::new(), 0),
            messages: Ring(Vec::new(), 0),
            by_id: HashMap::new(),
            stream: u64::from(std::process::id()) << 32 | number as u64,
            operations: 0,
            text: "they say that nobody reads this far, and yet you do. ".repeat(8),
        }
    }

    pub(crate) fn add(&mut self, session: Session) {
        self.by_id.insert(session.user, self.users.len());
        self.users.push(User { session, joined: Vec::new() });
    }

    pub(crate) fn op(&mut self) -> OpId {
        self.operations += 1;
        OpId { stream: self.stream, number: self.operations }
    }

    /// A part of a longer text: `least` bytes, and up to 100 more.
    fn words(&mut self, least: usize) -> Text {
        let length = least + self.dice.below(100);
        let begin = self.dice.below(self.text.len() - length);
        self.text[begin..begin + length].into()
    }

    fn subreddit(&mut self) -> SubredditId {
        let at = self.dice.part() * self.zipf[self.zipf.len() - 1];
        SubredditId(self.zipf.partition_point(|&sum| sum <= at) as u32 + 1)
    }

    /// Subreddits for a user to begin with.
    pub(crate) fn memberships(&mut self) -> Vec<SubredditId> {
        let mut joined: Vec<SubredditId> = Vec::new();
        for _ in 0..JOINS {
            let one = self.subreddit();
            if !joined.contains(&one) {
                joined.push(one);
            }
        }
        joined
    }

    pub(crate) fn user(&mut self) -> usize {
        self.dice.below(self.users.len())
    }

    pub(crate) fn action(&mut self) -> Action {
        let mut left = self.dice.below(100) as u32;
        for (action, share) in MIX {
            if left < share {
                return action;
            }
            left -= share;
        }
        Action::Feed
    }

    /// The request of user `index`; another action where this one is not possible now.
    pub(crate) fn request(&mut self, action: Action, index: usize) -> (Action, Request) {
        let session = self.users[index].session;
        let feed =
            feed_generator::Request::Get { session, sort: Sort::Hot, window: Window::All, page: Page::FIRST };
        let instead = (Action::Feed, Request::FeedGenerator(feed));
        let request = match action {
            Action::Feed => return instead,
            Action::Vote => {
                let direction = match self.dice.below(25) {
                    0 => Direction::None,
                    1..=5 => Direction::Down,
                    _ => Direction::Up,
                };
                if self.dice.below(2) == 0 {
                    let Some((_, comment)) = self.comments.pick(&mut self.dice) else { return instead };
                    Request::CommentManager(comment_manager::Request::Vote { session, comment, direction })
                } else {
                    let Some(post) = self.posts.pick(&mut self.dice) else { return instead };
                    Request::PostManager(post_manager::Request::Vote { session, post, direction })
                }
            }
            Action::Comment => {
                let body = self.words(20);
                let nested = self.comments.pick(&mut self.dice).filter(|_| self.dice.below(2) == 0);
                let (post, parent) = match nested {
                    Some((post, comment)) => (post, Some(comment)),
                    None => match self.posts.pick(&mut self.dice) {
                        Some(post) => (post, None),
                        None => return instead,
                    },
                };
                Request::CommentManager(comment_manager::Request::Create { session, post, parent, body })
            }
            Action::Post => {
                let Some(subreddit) = self.place(index) else { return instead };
                let (title, body) = (self.words(10), self.words(100));
                Request::PostManager(post_manager::Request::Create {
                    session,
                    subreddit,
                    title,
                    body,
                    signature: None,
                })
            }
            Action::Repost => {
                let (Some(subreddit), Some(original)) = (self.place(index), self.posts.pick(&mut self.dice))
                else {
                    return instead;
                };
                let title = None;
                Request::PostManager(post_manager::Request::Repost { session, subreddit, original, title })
            }
            Action::Thread => {
                let Some(post) = self.posts.pick(&mut self.dice) else { return instead };
                Request::CommentManager(comment_manager::Request::Thread {
                    post,
                    root: None,
                    sort: CommentSort::Best,
                    limit: Some(50),
                    levels: None,
                })
            }
            Action::Message => return (Action::Message, Request::DmManager(self.message(session))),
            Action::Join => {
                let subreddit = self.subreddit();
                let joined = &mut self.users[index].joined;
                if joined.contains(&subreddit) {
                    return instead;
                }
                joined.push(subreddit);
                Request::SubredditManager(subreddit_manager::Request::Join { session, subreddit })
            }
            Action::Leave => {
                let joined = &mut self.users[index].joined;
                if joined.len() < 2 {
                    return instead;
                }
                let subreddit = joined.swap_remove(0);
                Request::SubredditManager(subreddit_manager::Request::Leave { session, subreddit })
            }
        };
        (action, request)
    }

    /// Half of them to somebody new, an eighth in answer, the others the list of what came.
    fn message(&mut self, session: Session) -> dm_manager::Request {
        match self.dice.below(8) {
            0..=3 => {
                let to = self.user();
                let to = self.users[to].session.user;
                if to == session.user {
                    return dm_manager::Request::List { session, folder: Folder::Inbox, page: Page::FIRST };
                }
                dm_manager::Request::Send { session, to, subject: "hello".into(), body: self.words(20) }
            }
            4 => match self.messages.pick(&mut self.dice) {
                Some((reader, message)) => {
                    let session = self.users[reader].session;
                    dm_manager::Request::Reply { session, message, body: self.words(20) }
                }
                None => dm_manager::Request::List { session, folder: Folder::Inbox, page: Page::FIRST },
            },
            _ => dm_manager::Request::List { session, folder: Folder::Inbox, page: Page::FIRST },
        }
    }

    fn place(&mut self, index: usize) -> Option<SubredditId> {
        let joined = &self.users[index].joined;
        (!joined.is_empty()).then(|| joined[self.dice.below(joined.len())])
    }

    pub(crate) fn saw_posts(&mut self, mut posts: impl Iterator<Item = PostId>) {
        // The first of a page is the likeliest to be looked at, and one further down.
        let skip = self.dice.below(8);
        posts.next().into_iter().for_each(|post| self.posts.put(post));
        posts.nth(skip).into_iter().for_each(|post| self.posts.put(post));
    }

    pub(crate) fn saw_comment(&mut self, post: PostId, comment: CommentId) {
        self.comments.put((post, comment));
    }

    pub(crate) fn got(&mut self, user: UserId, message: MessageId) {
        let reader = self.by_id.get(&user).copied();
        reader.into_iter().for_each(|reader| self.messages.put((reader, message)));
    }
}

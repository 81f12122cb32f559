//! One simulated user: what it remembers, and how a wish becomes a request.

use tokio::time::Instant;

use super::kind::Kind;
use super::plan::{Intent, Target};
use super::population::Topics;
use crate::reddit::protocol::{
    Asked, CommentId, Direction, MessageId, PostId, Secret, Session, Text, UserId,
};

/// One user of the crowd.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: Text,
    pub(super) secret: Secret,
    /// `None` while the engine does not know that the user is there.
    pub(super) session: Option<Session>,
    /// Ranks of the subreddits the user belongs to.
    pub(super) joined: Vec<u16>,
    /// To how many the user wants to belong.
    pub(super) wanted: u16,
    /// What the user has before the eyes.
    pub(super) seen: Seen,
    /// Actions begun; the number of the next one in the plan.
    pub(super) actions: u32,
    /// An action of this user is under way; people do one thing at a time.
    pub(super) busy: bool,
    /// Between two actions; coming and going is not kept up by that.
    pub(super) thinking: bool,
    /// Away from the keyboard: nothing is asked of the engine.
    pub(super) away: bool,
    /// What is under way: a write until its answer has come, from whatever engine.
    pub(super) open: Option<Open>,
}

/// Something that was asked for and not answered.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// The name of a write; reading needs none.
    pub(super) op: Option<Asked>,
    pub(super) action: Action,
    /// When it should have begun.
    pub(super) due: Instant,
    /// Was asked for, on a connection that is no more.
    pub(super) asked: bool,
}

/// What a user has read last.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The feed, best first.
    pub(super) posts: Vec<SeenPost>,
    /// A tree of comments, as it was shown.
    pub(super) comments: Vec<SeenComment>,
    /// The inbox, newest first.
    pub(super) mail: Vec<MessageId>,
}

/// A post in a feed. `place` is the rank of its subreddit, where that is one of the crowd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeenPost {
    pub(super) id: PostId,
    pub(super) author: UserId,
    pub(super) place: Option<u16>,
}

/// A comment below a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeenComment {
    pub(super) id: CommentId,
    pub(super) post: PostId,
    pub(super) place: Option<u16>,
}

/// A wish that can be carried out now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Before anything else.
    Register,
    /// Open the subreddit of this rank, where nobody has yet.
    Create {
        rank: u16,
    },
    ReadFeed,
    ReadThread {
        post: PostId,
        place: Option<u16>,
    },
    ReadMail,
    Vote {
        post: PostId,
        place: Option<u16>,
        direction: Direction,
    },
    VoteComment {
        comment: CommentId,
        place: Option<u16>,
        direction: Direction,
    },
    Post {
        rank: u16,
        title: Text,
        body: Text,
    },
    Repost {
        rank: u16,
        original: PostId,
        title: Text,
    },
    Comment {
        post: PostId,
        parent: Option<CommentId>,
        body: Text,
    },
    Send {
        to: UserId,
        subject: Text,
        body: Text,
    },
    Answer {
        message: MessageId,
        body: Text,
    },
    Join {
        rank: u16,
    },
    Leave {
        rank: u16,
    },
}

impl Action {
    /// Reading twice does no harm; everything else is asked for under a name.
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Action::ReadFeed | Action::ReadThread { .. } | Action::ReadMail)
    }

    /// As what it is counted; what everybody does before acting is not.
    pub(super) fn kind(&self) -> Option<Kind> {
        Some(match self {
            Action::Register | Action::Create { .. } => return None,
            Action::ReadFeed => Kind::Feed,
            Action::ReadThread { .. } => Kind::Thread,
            Action::ReadMail => Kind::Mail,
            Action::Vote { .. } | Action::VoteComment { .. } => Kind::Vote,
            Action::Post { .. } => Kind::Post,
            Action::Repost { .. } => Kind::Repost,
            Action::Comment { .. } => Kind::Comment,
            Action::Send { .. } => Kind::Message,
            Action::Answer { .. } => Kind::Reply,
            Action::Join { .. } => Kind::Join,
            Action::Leave { .. } => Kind::Leave,
        })
    }
}

impl User {
    /// Somebody who belongs to the subreddits of these ranks.
    pub(super) fn new(name: Text, secret: Secret, joined: Vec<u16>) -> User {
        User {
            name,
            secret,
            session: None,
            wanted: joined.len() as u16,
            joined,
            seen: Seen::default(),
            actions: 0,
            busy: false,
            thinking: false,
            away: false,
            open: None,
        }
    }

    /// Whether it can act now.
    pub(super) fn is_free(&self) -> bool {
        !self.busy && !self.thinking && !self.away
    }

    /// What the user does about a wish. Who has nothing before the eyes reads first; who belongs nowhere joins before
    /// posting; who belongs to more than was wanted leaves instead of joining one more.
    pub(super) fn resolve(&self, intent: Intent, topics: &Topics) -> Action {
        match intent {
            Intent::ReadFeed => Action::ReadFeed,
            Intent::ReadMail => Action::ReadMail,
            Intent::ReadThread { pick } => self.look_below(pick),
            Intent::Vote { pick, on: Target::Post, direction } => match chosen(pick, &self.seen.posts) {
                Some(post) => Action::Vote { post: post.id, place: post.place, direction },
                None => Action::ReadFeed,
            },
            Intent::Vote { pick, on: Target::Comment, direction } => {
                match chosen(pick, &self.seen.comments) {
                    Some(on) => Action::VoteComment { comment: on.id, place: on.place, direction },
                    None => self.look_below(pick),
                }
            }
            Intent::Comment { pick, on: Target::Post, body } => match chosen(pick, &self.seen.posts) {
                Some(post) => Action::Comment { post: post.id, parent: None, body },
                None => Action::ReadFeed,
            },
            Intent::Comment { pick, on: Target::Comment, body } => match chosen(pick, &self.seen.comments) {
                Some(on) => Action::Comment { post: on.post, parent: Some(on.id), body },
                None => self.look_below(pick),
            },
            Intent::Post { pick, title, body } => {
                match topics.to_post_in(pick, self.joined.iter().copied()) {
                    Some(rank) => Action::Post { rank, title, body },
                    None => self.join(pick, topics),
                }
            }
            Intent::Repost { pick, place, title } => self.repost(pick, place, title, topics),
            Intent::SendMessage { pick, subject, body } => match chosen(pick, &self.seen.posts) {
                Some(post) if Some(post.author) != self.session.map(|session| session.user) => {
                    Action::Send { to: post.author, subject, body }
                }
                // Nobody writes to oneself.
                Some(_) | None => Action::ReadFeed,
            },
            Intent::Answer { pick, body } => match chosen(pick, &self.seen.mail) {
                Some(message) => Action::Answer { message, body },
                None => Action::ReadMail,
            },
            Intent::Join { pick } if self.joined.len() > usize::from(self.wanted) => self.leave(pick),
            Intent::Join { pick } => self.join(pick, topics),
            Intent::Leave { pick } => self.leave(pick),
        }
    }

    fn join(&self, pick: f64, topics: &Topics) -> Action {
        topics.to_join(pick, &self.joined).map_or(Action::ReadFeed, |rank| Action::Join { rank })
    }

    fn leave(&self, pick: f64) -> Action {
        let place = (pick * self.joined.len() as f64) as usize;
        match self.joined.get(place) {
            Some(&rank) if self.joined.len() > 1 => Action::Leave { rank },
            // One is kept: who belongs nowhere sees nothing.
            Some(_) | None => Action::ReadFeed,
        }
    }

    /// Shows what is popular in another place.
    fn repost(&self, pick: f64, place: f64, title: Text, topics: &Topics) -> Action {
        let Some(original) = chosen(pick, &self.seen.posts) else { return Action::ReadFeed };
        let others = self.joined.iter().copied().filter(|&rank| Some(rank) != original.place);
        match topics.to_post_in(place, others) {
            Some(rank) => Action::Repost { rank, original: original.id, title },
            None => Action::ReadFeed,
        }
    }

    /// Reads what was said about one of the posts before the eyes.
    fn look_below(&self, pick: f64) -> Action {
        chosen(pick, &self.seen.posts)
            .map_or(Action::ReadFeed, |post| Action::ReadThread { post: post.id, place: post.place })
    }
}

/// One of a list, the first ones more often.
fn chosen<T: Copy>(pick: f64, list: &[T]) -> Option<T> {
    list.get(rank_weighted(pick, list.len())).copied()
}

/// A place in a list of `count`, the first ones more often: the place of rank r about 1/r times as often as the first.
fn rank_weighted(pick: f64, count: usize) -> usize {
    ((count as f64 + 1.0).powf(pick) - 1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::super::population::Shape;
    use super::*;

    fn topics() -> Topics {
        Topics::new(Shape { subreddits: 3, exponent: 1.0, joins: 1.0 }, 100)
    }

    fn user(joined: &[u16], seen: &[u32]) -> User {
        let mut user = User::new("ada".into(), Secret([0; 16]), joined.to_vec());
        let post = |&post: &u32| SeenPost { id: PostId(post), author: UserId(9), place: Some(1) };
        user.seen.posts = seen.iter().map(post).collect();
        user
    }

    fn resolved(user: &User, wish: Intent) -> Action {
        user.resolve(wish, &topics())
    }

    #[test]
    fn votes_go_to_what_the_feed_showed_the_first_more_often() {
        let wish = |pick| Intent::Vote { pick, on: Target::Post, direction: Direction::Up };
        let reader = user(&[0], &[11, 12, 13]);
        let voted = |pick| match resolved(&reader, wish(pick)) {
            Action::Vote { post, .. } => post.0,
            other => panic!("{other:?}"),
        };
        // 4^pick - 1 reaches 1 at a half and 2 at 0.79.
        assert_eq!([voted(0.0), voted(0.49), voted(0.51), voted(0.8), voted(0.999)], [11, 11, 12, 13, 13]);
        assert_eq!(resolved(&user(&[0], &[]), wish(0.5)), Action::ReadFeed);
    }

    #[test]
    fn who_has_seen_no_comments_reads_some_before_answering_one() {
        let wish = || Intent::Comment { pick: 0.0, on: Target::Comment, body: "so".into() };
        let mut reader = user(&[0], &[11]);
        assert_eq!(resolved(&reader, wish()), Action::ReadThread { post: PostId(11), place: Some(1) });
        reader.seen.comments = vec![SeenComment { id: CommentId(5), post: PostId(11), place: Some(1) }];
        let parent = Some(CommentId(5));
        let answer = Action::Comment { post: PostId(11), parent, body: "so".into() };
        assert_eq!(resolved(&reader, wish()), answer);
        assert_eq!(resolved(&user(&[0], &[]), wish()), Action::ReadFeed);
        assert_eq!(resolved(&reader, Intent::Answer { pick: 0.0, body: "so".into() }), Action::ReadMail);
    }

    #[test]
    fn posts_go_where_the_user_belongs() {
        let wish = |pick| Intent::Post { pick, title: "t".into(), body: "".into() };
        for pick in [0.0, 0.3, 0.7, 0.999_999] {
            match resolved(&user(&[1, 2], &[]), wish(pick)) {
                Action::Post { rank, .. } => assert!([1, 2].contains(&rank)),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(resolved(&user(&[], &[]), wish(0.5)), Action::Join { .. }));
    }

    #[test]
    fn a_repost_goes_to_another_place_than_its_original() {
        let wish = || Intent::Repost { pick: 0.0, place: 0.0, title: "t".into() };
        let expected = Action::Repost { rank: 2, original: PostId(11), title: "t".into() };
        assert_eq!(resolved(&user(&[1, 2], &[11]), wish()), expected);
        assert_eq!(resolved(&user(&[1], &[11]), wish()), Action::ReadFeed);
    }

    #[test]
    fn who_belongs_to_more_than_was_wanted_leaves_instead_of_joining() {
        let join = || Intent::Join { pick: 0.0 };
        assert_eq!(resolved(&user(&[0], &[]), join()), Action::Join { rank: 1 });
        assert_eq!(resolved(&user(&[0, 1, 2], &[]), join()), Action::ReadFeed, "there is none left");
        let mut member = user(&[0], &[]);
        member.joined.push(2);
        assert_eq!(resolved(&member, join()), Action::Leave { rank: 0 });
    }

    #[test]
    fn leaving_keeps_the_last_one() {
        let leave = |joined: &[u16]| resolved(&user(joined, &[]), Intent::Leave { pick: 0.9 });
        assert_eq!(leave(&[0, 1]), Action::Leave { rank: 1 });
        assert_eq!(leave(&[0]), Action::ReadFeed);
    }

    #[test]
    fn nobody_writes_to_oneself() {
        let wish = || Intent::SendMessage { pick: 0.0, subject: "s".into(), body: "b".into() };
        let mut writer = user(&[0], &[11]);
        assert!(matches!(resolved(&writer, wish()), Action::Send { to: UserId(9), .. }));
        writer.session = Some(Session { user: UserId(9), token: crate::reddit::protocol::Token(1) });
        assert_eq!(resolved(&writer, wish()), Action::ReadFeed);
    }
}

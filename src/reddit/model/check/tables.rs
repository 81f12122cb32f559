//! What is stored: counts, references, both directions of everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::message::Mailbox;
use super::super::thread::DEEPEST;
use super::super::vote::Votes;
use super::super::{CommentId, Direction, MessageId, Model, PostId, SubredditId, UserId};
use super::{Violation, must};

pub(super) fn check(model: &Model) -> Result<(), Violation> {
    names(model)?;
    memberships(model)?;
    votes_and_karma(model)?;
    comments(model)?;
    posts(model)?;
    messages(model)?;
    times(model)
}

/// I6.
fn names(model: &Model) -> Result<(), Violation> {
    let mut users = BTreeMap::new();
    for (index, user) in model.users.list.iter().enumerate() {
        let id = UserId::at(index);
        let other = users.insert(user.name.to_ascii_lowercase().into_boxed_str(), id);
        must!(other.is_none(), "I6", "{id} and {other:?} are both called {:?}", user.name);
    }
    must!(users == model.users.by_name, "I6", "users are not found under their names");
    let mut subreddits = BTreeMap::new();
    for (index, subreddit) in model.subreddits.list.iter().enumerate() {
        let id = SubredditId::at(index);
        let other = subreddits.insert(subreddit.name.to_ascii_lowercase().into_boxed_str(), id);
        must!(other.is_none(), "I6", "{id} and {other:?} are both called {:?}", subreddit.name);
    }
    must!(subreddits == model.subreddits.by_name, "I6", "subreddits are not found under their names");
    Ok(())
}

/// I4.
fn memberships(model: &Model) -> Result<(), Violation> {
    let mut both = 0;
    for (index, subreddit) in model.subreddits.list.iter().enumerate() {
        let id = SubredditId::at(index);
        for &user in &subreddit.members {
            must!(model.users.get(user).is_ok(), "I4", "{user}, a member of {id}, does not exist");
            let joined = user.index().and_then(|user| model.subreddits.of_user.get(user));
            must!(
                joined.is_some_and(|joined| joined.contains(&id)),
                "I4",
                "{user} is a member of {id} and has not joined it"
            );
        }
        both += subreddit.members.len();
        let counted = (subreddit.members.len() as u32, id);
        must!(model.subreddits.by_size.contains(&counted), "I4", "{id} is listed with a wrong size");
    }
    let joined: usize = model.subreddits.of_user.iter().map(BTreeSet::len).sum();
    must!(joined == both, "I4", "{joined} memberships seen from the users, {both} from the subreddits");
    must!(
        model.subreddits.by_size.len() == model.subreddits.list.len(),
        "I4",
        "{} subreddits are listed by size, {} exist",
        model.subreddits.by_size.len(),
        model.subreddits.list.len()
    );
    Ok(())
}

#[derive(Default)]
struct Karma {
    post: i64,
    comment: i64,
}

/// I1, I2, I3.
fn votes_and_karma(model: &Model) -> Result<(), Violation> {
    let mut karma: HashMap<UserId, Karma> = HashMap::new();
    let mut cast = [0, 0];
    for (index, post) in model.posts.list.iter().enumerate() {
        let given = votes(model, &PostId::at(index).to_string(), post.author, &post.votes)?;
        karma.entry(post.author).or_default().post += given;
        cast[0] += post.votes.by.len() as u64;
    }
    for (index, comment) in model.comments.list.iter().enumerate() {
        let given = votes(model, &CommentId::at(index).to_string(), comment.author, &comment.votes)?;
        karma.entry(comment.author).or_default().comment += given;
        cast[1] += comment.votes.by.len() as u64;
    }
    let counted = [model.posts.votes, model.comments.votes];
    must!(counted == cast, "I2", "{counted:?} votes on posts and comments are counted, {cast:?} stand");
    for (index, user) in model.users.list.iter().enumerate() {
        let id = UserId::at(index);
        let earned = karma.remove(&id).unwrap_or_default();
        must!(
            user.post_karma == earned.post && user.comment_karma == earned.comment,
            "I1",
            "{id} has karma {} for posts and {} for comments, votes give {} and {}",
            user.post_karma,
            user.comment_karma,
            earned.post,
            earned.comment
        );
    }
    Ok(())
}

/// The votes on one thing; returns the karma they give.
fn votes(model: &Model, thing: &str, author: UserId, votes: &Votes) -> Result<i64, Violation> {
    let (mut ups, mut downs, mut karma) = (0, 0, 0);
    for (&voter, &direction) in &votes.by {
        must!(model.users.get(voter).is_ok(), "I3", "{voter}, who votes on {thing}, does not exist");
        must!(direction != Direction::None, "I3", "a withdrawn vote of {voter} on {thing} is kept");
        ups += u32::from(direction == Direction::Up);
        downs += u32::from(direction == Direction::Down);
        karma += if voter == author { 0 } else { direction.value() };
    }
    let tally = votes.tally;
    must!(
        (tally.ups, tally.downs) == (ups, downs),
        "I2",
        "{thing} shows {} up and {} down, votes are {ups} and {downs}",
        tally.ups,
        tally.downs
    );
    Ok(karma)
}

/// I8, I10, and that posts name what exists.
fn posts(model: &Model) -> Result<(), Violation> {
    let mut comments: HashMap<PostId, u32> = HashMap::new();
    for comment in &model.comments.list {
        *comments.entry(comment.post).or_default() += 1;
    }
    for (index, post) in model.posts.list.iter().enumerate() {
        let id = PostId::at(index);
        must!(
            model.users.get(post.author).is_ok(),
            "I5",
            "{}, the author of {id}, does not exist",
            post.author
        );
        must!(
            model.subreddits.get(post.subreddit).is_ok(),
            "I5",
            "{id} is in {}, which does not exist",
            post.subreddit
        );
        let counted = comments.get(&id).copied().unwrap_or(0);
        must!(post.comments == counted, "I8", "{id} shows {} comments and has {counted}", post.comments);
        let Some(origin) = post.origin else { continue };
        must!(origin.of < id, "I10", "{id} reposts {}, which is not older", origin.of);
        let (Ok(of), Ok(root)) = (model.posts.get(origin.of), model.posts.get(origin.root)) else {
            return Err(Violation::new("I10", format!("{id} reposts what does not exist")));
        };
        must!(root.origin.is_none(), "I10", "{}, the root of {id}, is a repost itself", origin.root);
        let above = of.origin.map_or(origin.of, |above| above.root);
        must!(
            above == origin.root,
            "I10",
            "{id} has the root {}, {} leads to {above}",
            origin.root,
            origin.of
        );
    }
    Ok(())
}

/// I7.
fn comments(model: &Model) -> Result<(), Violation> {
    let list = &model.comments.list;
    let mut below = vec![0_u32; list.len()];
    // Answers are younger than what they answer, so from the last to the first every sum is complete when it is used.
    for (index, comment) in list.iter().enumerate().rev() {
        let id = CommentId::at(index);
        must!(
            model.posts.get(comment.post).is_ok(),
            "I7",
            "{id} is below {}, which does not exist",
            comment.post
        );
        must!(
            comment.below == below[index],
            "I7",
            "{id} shows {} below it and has {}",
            comment.below,
            below[index]
        );
        must!(comment.depth <= DEEPEST, "I7", "{id} is {} levels deep", comment.depth);
        let Some(parent) = comment.parent else {
            must!(comment.depth == 1, "I7", "{id} answers the post at level {}", comment.depth);
            continue;
        };
        must!(parent < id, "I7", "{id} answers {parent}, which is not older");
        let Some(above) = parent.index().filter(|&above| above < index) else {
            return Err(Violation::new("I7", format!("{id} answers {parent}, which does not exist")));
        };
        must!(
            list[above].post == comment.post,
            "I7",
            "{id} and its parent {parent} are below different posts"
        );
        must!(list[above].depth + 1 == comment.depth, "I7", "{id} is not one level below {parent}");
        below[above] += below[index] + 1;
    }
    Ok(())
}

/// I11.
fn messages(model: &Model) -> Result<(), Violation> {
    let mut boxes: BTreeMap<UserId, Mailbox> = BTreeMap::new();
    let mut between: BTreeMap<(UserId, UserId), BTreeSet<MessageId>> = BTreeMap::new();
    for (index, message) in model.messages.list.iter().enumerate() {
        let id = MessageId::at(index);
        let (from, to) = (message.from, message.to);
        let real = model.users.get(from).is_ok() && model.users.get(to).is_ok() && from != to;
        must!(real, "I11", "{id} is from {from} to {to}");
        let thread = match message.reply_to {
            None => id,
            Some(answered) => {
                must!(answered < id, "I11", "{id} answers {answered}, which is not older");
                let Ok(first) = model.messages.get(answered) else {
                    return Err(Violation::new("I11", format!("{id} answers what does not exist")));
                };
                must!(first.other(from) == Ok(to), "I11", "{id} answers {answered} between two others");
                first.thread
            }
        };
        must!(message.thread == thread, "I11", "{id} is in thread {}, not in {thread}", message.thread);
        boxes.entry(from).or_default().sent.insert(id);
        let mailbox = boxes.entry(to).or_default();
        mailbox.inbox.insert(id);
        if !message.read {
            mailbox.unread.insert(id);
        }
        between.entry((from.min(to), from.max(to))).or_default().insert(id);
    }
    let wrong = boxes.iter().find(|(user, mailbox)| model.messages.boxes.get(user) != Some(mailbox));
    must!(
        wrong.is_none(),
        "I11",
        "the boxes of {:?} do not hold exactly the user's messages",
        wrong.map(|(user, _)| user)
    );
    must!(boxes.len() == model.messages.boxes.len(), "I11", "somebody has a box without a message");
    must!(between == model.messages.between, "I11", "conversations do not hold exactly their messages");
    Ok(())
}

/// I13. Identities are places in the tables, so they are dense and grow with time.
fn times(model: &Model) -> Result<(), Violation> {
    fn ordered(table: &str, times: impl Iterator<Item = u64>, last_ms: u64) -> Result<(), Violation> {
        let mut before = 0;
        for (index, at_ms) in times.enumerate() {
            must!(at_ms >= before, "I13", "{table} {} is older than the one before", index + 1);
            before = at_ms;
        }
        must!(before <= last_ms, "I13", "the last of the {table}s is younger than the newest record");
        Ok(())
    }
    let last_ms = model.last_ms;
    ordered("user", model.users.list.iter().map(|user| user.created_ms), last_ms)?;
    ordered("subreddit", model.subreddits.list.iter().map(|subreddit| subreddit.created_ms), last_ms)?;
    ordered("post", model.posts.list.iter().map(|post| post.created_ms), last_ms)?;
    ordered("comment", model.comments.list.iter().map(|comment| comment.created_ms), last_ms)?;
    ordered("message", model.messages.list.iter().map(|message| message.created_ms), last_ms)
}

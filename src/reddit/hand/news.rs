//! How news looks: a line for people, or one of JSON.

use serde_json::{Value, json};

use super::show::{Line, VERSION};
use crate::reddit::protocol::subscription_manager::{Happened, News};
use crate::text;

/// One piece of news as a line.
pub(super) fn line(news: &News, as_json: bool) -> String {
    if as_json {
        let mut value = to_json(&news.what);
        value["version"] = VERSION.into();
        return format!("{}\n", text::printable_json(&value.to_string()));
    }
    match &news.what {
        Happened::MessageArrived { id, from, subject, excerpt } => {
            format!("{from} wrote to you: {}: {} ({id})\n", Line(subject), Line(excerpt))
        }
        Happened::Replied { id, post, from, excerpt, .. } => {
            format!("{from} answered you: {} ({id} on {post})\n", Line(excerpt))
        }
        Happened::NewPost { id, subreddit_name, from, title, .. } => {
            format!("new in {subreddit_name}: {}, by {from} ({id})\n", Line(title))
        }
    }
}

fn to_json(what: &Happened) -> Value {
    match what {
        Happened::MessageArrived { id, from, subject, excerpt } => json!({
            "news": "message", "id": id.to_string(), "from": &**from, "subject": &**subject, "text": &**excerpt,
        }),
        Happened::Replied { id, post, parent, from, excerpt } => json!({
            "news": "reply", "id": id.to_string(), "post": post.to_string(),
            "parent": parent.map(|parent| parent.to_string()), "from": &**from, "text": &**excerpt,
        }),
        Happened::NewPost { id, subreddit_name, from, title, .. } => json!({
            "news": "post", "id": id.to_string(), "subreddit": &**subreddit_name, "from": &**from,
            "title": &**title,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reddit::protocol::{CommentId, MessageId, PostId, SubredditId, UserId};

    fn told(what: Happened, as_json: bool) -> String {
        line(&News { to: UserId(1), what }, as_json)
    }

    #[test]
    fn news_is_one_line_and_others_text_does_no_harm_in_it() {
        let (from, subject) = ("bob".into(), "hi".into());
        let letter =
            Happened::MessageArrived { id: MessageId(1), from, subject, excerpt: "a\nb\x1b[2J".into() };
        assert_eq!(told(letter.clone(), false), "bob wrote to you: hi: a b\\x1b[2J (t4_1)\n");
        let value: Value = serde_json::from_str(&told(letter, true)).unwrap();
        assert_eq!((&value["news"], &value["text"]), (&"message".into(), &"a\nb\x1b[2J".into()));
        let (id, post) = (CommentId(2), PostId(1));
        let reply = Happened::Replied { id, post, parent: None, from: "bob".into(), excerpt: "Good".into() };
        assert_eq!(told(reply, false), "bob answered you: Good (t1_2 on t3_1)\n");
        let (subreddit, subreddit_name) = (SubredditId(1), "rust".into());
        let (from, title) = ("bob".into(), "T".into());
        let post = Happened::NewPost { id: post, subreddit, subreddit_name, from, title };
        assert_eq!(told(post, false), "new in rust: T, by bob (t3_1)\n");
    }
}

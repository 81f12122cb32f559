//! How answers look: lines for people, or one line of JSON. What others wrote is shown without control characters, which
//! would reach the reader's terminal.

use std::fmt::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use pem::{EncodeConfig, LineEnding, Pem};
use serde_json::{Value, json};

use super::proof::{Post, Proof};
use super::told::{Member, Told};
use crate::reddit::model::{PublicKey, Tally};
use crate::reddit::protocol::PostView;
use crate::reddit::protocol::comment_manager::CommentView;
use crate::reddit::protocol::dm_manager::MessageView;
use crate::reddit::protocol::subreddit_manager::SubredditView;
use crate::reddit::protocol::user_registry::UserView;
use crate::text;

/// Version of the JSON: fields may be added, never renamed.
pub(super) const VERSION: u32 = 1;

/// Keys in files end their lines as files here do.
pub(super) const PEM: EncodeConfig = EncodeConfig::new().set_line_ending(LineEnding::LF);

/// The answer as text that ends with a line.
pub(super) fn show(told: &Told, as_json: bool) -> String {
    if as_json {
        let mut value = to_json(told);
        value["version"] = VERSION.into();
        return format!("{}\n", text::printable_json(&value.to_string()));
    }
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_text(&mut out, told);
    out
}

fn write_text(out: &mut String, told: &Told) -> fmt::Result {
    match told {
        Told::Pong(engine) => writeln!(out, "pong: {engine}"),
        Told::Registered(name) => writeln!(out, "you are {name}"),
        Told::User(UserView { id, name, created_ms, post_karma, comment_karma, subreddits, .. }) => writeln!(
            out,
            "{name} ({id}), here since {}, post karma {post_karma}, comment karma {comment_karma}, in {}",
            Time(*created_ms),
            count(u64::from(*subreddits), "subreddit"),
        ),
        Told::Created(view) => writeln!(out, "r/{} is open ({})", view.name, view.id),
        Told::Subreddits(list) if list.is_empty() => writeln!(out, "no subreddits"),
        Told::Subreddits(list) => list.iter().try_for_each(|view| {
            let (members, posts) = (count(view.members.into(), "member"), count(view.posts.into(), "post"));
            let about = Line(&view.description);
            writeln!(out, "{}", format!("r/{}  {members}, {posts}  {about}", view.name).trim_end())
        }),
        Told::Membership { subreddit, member, members } => {
            let what = match member {
                Member::Joined => "joined",
                Member::Left => "left",
            };
            writeln!(out, "{what} r/{subreddit}, which has {} now", count((*members).into(), "member"))
        }
        Told::Posted(id) => writeln!(out, "posted {id}"),
        Told::Posts(posts) if posts.is_empty() => writeln!(out, "no posts"),
        Told::Posts(posts) => posts.iter().try_for_each(|post| write_post(out, post)),
        Told::Commented(id) => writeln!(out, "said {id}"),
        Told::Voted(tally) => writeln!(out, "score {} now", Score(*tally)),
        Told::Deleted => writeln!(out, "taken back"),
        Told::Thread { post, comments } => {
            write_post(out, post)?;
            block(out, 4, &post.view.body)?;
            comments.iter().try_for_each(|comment| write_comment(out, comment))
        }
        Told::Sent(id) => writeln!(out, "sent {id}"),
        Told::Read => writeln!(out, "marked as read"),
        Told::Messages(messages) if messages.is_empty() => writeln!(out, "no messages"),
        Told::Messages(messages) => messages.iter().try_for_each(|message| {
            let MessageView { id, from_name, to_name, subject, body, created_ms, read, .. } = message;
            let unread = if *read { "" } else { "  unread" };
            writeln!(out, "{id}  {from_name} to {to_name}  {}{unread}", Time(*created_ms))?;
            writeln!(out, "    {}", Line(subject))?;
            block(out, 4, body)
        }),
        Told::Imported { name, algorithm } => {
            writeln!(out, "a key of {name} is kept ({algorithm}): register {name} makes it known")
        }
        Told::Key { key, .. } => out.write_str(&pem(key)),
    }
}

fn pem(key: &PublicKey) -> String {
    pem::encode_config(&Pem::new("PUBLIC KEY", key.spki()), PEM)
}

fn write_post(out: &mut String, Post { view: post, proof }: &Post) -> fmt::Result {
    let PostView { id, subreddit_name, author_name, title, created_ms, tally, comments, .. } = post;
    let comments = count(u64::from(*comments), "comment");
    let score = Score(*tally);
    write!(
        out,
        "{id}  r/{subreddit_name}  u/{author_name}  score {score}  {comments}  {}",
        Time(*created_ms)
    )?;
    if let Some(origin) = post.origin {
        write!(out, "  repost of {}", origin.of)?;
    }
    match proof {
        Proof::Unsigned => {}
        Proof::Verified { .. } if post.origin.is_some() => write!(out, "  original verified")?,
        Proof::Verified { .. } => write!(out, "  verified")?,
        Proof::Wrong(doubt) => write!(out, "  NOT VERIFIED: {doubt}")?,
    }
    if post.deleted {
        return writeln!(out, "\n    (taken back)");
    }
    writeln!(out, "\n    {}", Line(title))
}

fn write_comment(out: &mut String, comment: &CommentView) -> fmt::Result {
    let CommentView { id, author_name, body, created_ms, tally, depth, deleted, .. } = comment;
    let indent = 4 * usize::from(*depth);
    writeln!(out, "{:indent$}{id}  u/{author_name}  score {}  {}", "", Score(*tally), Time(*created_ms))?;
    block(out, indent + 4, if *deleted { "(taken back)" } else { body })
}

/// Lines of a text, all behind the same margin.
fn block(out: &mut String, indent: usize, text: &str) -> fmt::Result {
    text.lines().try_for_each(|line| writeln!(out, "{}", format!("{:indent$}{}", "", Line(line)).trim_end()))
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Others' text in one line.
pub(super) struct Line<'a>(pub(super) &'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.0.replace(['\t', '\n'], " ");
        f.write_str(&text::escaped(line.as_bytes()))
    }
}

struct Score(Tally);

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Score(tally) = self;
        write!(f, "{} (+{} -{})", tally.score(), tally.ups, tally.downs)
    }
}

/// ms since 1970 as RFC 3339.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // humantime cannot show what comes after the year 9999.
        let at = UNIX_EPOCH + Duration::from_millis(self.0.min(253_402_300_799_000));
        humantime::format_rfc3339_seconds(at).fmt(f)
    }
}

fn to_json(told: &Told) -> Value {
    match told {
        Told::Pong(engine) => json!({ "engine": { "node": engine.node, "pid": engine.pid } }),
        Told::Registered(name) => json!({ "name": name }),
        Told::User(view) => json!({ "user": {
            "id": view.id.to_string(), "name": view.name, "created": Time(view.created_ms).to_string(),
            "post_karma": view.post_karma, "comment_karma": view.comment_karma, "subreddits": view.subreddits,
        } }),
        Told::Created(view) => json!({ "subreddit": subreddit(view) }),
        Told::Subreddits(list) => json!({ "subreddits": list.iter().map(subreddit).collect::<Vec<_>>() }),
        Told::Membership { subreddit, member, members } => {
            json!({ "subreddit": subreddit, "member": *member == Member::Joined, "members": members })
        }
        Told::Posted(id) => json!({ "id": id.to_string() }),
        Told::Posts(posts) => json!({ "posts": posts.iter().map(post).collect::<Vec<_>>() }),
        Told::Commented(id) => json!({ "id": id.to_string() }),
        Told::Voted(tally) => votes(*tally),
        Told::Deleted => json!({ "deleted": true }),
        Told::Thread { post: view, comments } => {
            json!({ "post": post(view), "comments": comments.iter().map(comment).collect::<Vec<_>>() })
        }
        Told::Sent(id) => json!({ "id": id.to_string() }),
        Told::Read => json!({ "read": true }),
        Told::Messages(list) => json!({ "messages": list.iter().map(message).collect::<Vec<_>>() }),
        Told::Imported { name, algorithm } => json!({ "name": name, "algorithm": algorithm.to_string() }),
        Told::Key { name, key } => json!({
            "name": name, "algorithm": key.check().map_or(Value::Null, |kind| kind.to_string().into()),
            "spki_pem": pem(key),
        }),
    }
}

fn votes(tally: Tally) -> Value {
    json!({ "score": tally.score(), "ups": tally.ups, "downs": tally.downs })
}

fn subreddit(view: &SubredditView) -> Value {
    json!({
        "id": view.id.to_string(), "name": view.name, "description": view.description,
        "created": Time(view.created_ms).to_string(), "members": view.members, "posts": view.posts,
    })
}

fn post(Post { view, proof }: &Post) -> Value {
    json!({
        "signature": match proof {
            Proof::Unsigned => Value::Null,
            Proof::Verified { signed_at_ms } => {
                json!({ "verified": true, "signed": Time(*signed_at_ms).to_string() })
            }
            Proof::Wrong(doubt) => json!({ "verified": false, "doubt": doubt.to_string() }),
        },
        "id": view.id.to_string(), "subreddit": view.subreddit_name, "author": view.author_name,
        "title": view.title, "body": view.body, "cut": view.cut, "created": Time(view.created_ms).to_string(),
        "votes": votes(view.tally), "comments": view.comments, "deleted": view.deleted,
        "repost_of": view.origin.map(|origin| origin.of.to_string()),
        "root": view.origin.map(|origin| origin.root.to_string()),
    })
}

fn comment(view: &CommentView) -> Value {
    json!({
        "id": view.id.to_string(), "post": view.post.to_string(), "depth": view.depth,
        "parent": view.parent.map(|parent| parent.to_string()), "author": view.author_name,
        "body": view.body, "created": Time(view.created_ms).to_string(), "votes": votes(view.tally),
        "below": view.below, "deleted": view.deleted,
    })
}

fn message(view: &MessageView) -> Value {
    json!({
        "id": view.id.to_string(), "from": view.from_name, "to": view.to_name, "subject": view.subject,
        "body": view.body, "created": Time(view.created_ms).to_string(), "read": view.read,
        "reply_to": view.reply_to.map(|id| id.to_string()), "thread": view.thread.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reddit::hand::proof::Doubt;
    use crate::reddit::model::{PostId, SubredditId, UserId};

    fn a_post(proof: Proof) -> Post {
        let view = PostView {
            id: PostId(1),
            subreddit: SubredditId(1),
            subreddit_name: "rust".into(),
            author: UserId(1),
            author_name: "ada".into(),
            title: "bold \u{1b}[1mtitle".into(),
            body: "one\n\n\u{7}two".into(),
            cut: false,
            created_ms: 0,
            tally: Tally { ups: 3, downs: 1 },
            comments: 1,
            origin: None,
            signature: None,
            deleted: false,
        };
        Post { view, proof }
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        let text = show(&Told::Thread { post: a_post(Proof::Unsigned), comments: Vec::new() }, false);
        let expected = "t3_1  r/rust  u/ada  score 2 (+3 -1)  1 comment  1970-01-01T00:00:00Z\n    bold \\x1b[1mtitle\n    one\n\n    \\x07two\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_is_one_line_with_names_as_they_are_typed() {
        let line = show(&Told::Posts(vec![a_post(Proof::Unsigned)]), true);
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["version"], &value["posts"][0]["id"]), (&1.into(), &"t3_1".into()));
        assert_eq!(value["posts"][0]["votes"]["score"], 2);
        assert_eq!(value["posts"][0]["signature"], Value::Null);
    }

    #[test]
    fn what_is_known_of_a_signature_is_told() {
        let [verified, wrong] =
            [Proof::Verified { signed_at_ms: 1000 }, Proof::Wrong(Doubt::Signature)].map(|proof| {
                let told = Told::Posts(vec![a_post(proof)]);
                (
                    show(&told, false),
                    serde_json::from_str::<Value>(&show(&told, true)).unwrap(),
                    told.doubts(),
                )
            });
        assert!(verified.0.contains("Z  verified\n") && verified.2.is_ok(), "{}", verified.0);
        let signature = &verified.1["posts"][0]["signature"];
        assert_eq!(
            (&signature["verified"], &signature["signed"]),
            (&true.into(), &"1970-01-01T00:00:01Z".into())
        );
        assert!(wrong.0.contains("  NOT VERIFIED: the signature is not the author's"), "{}", wrong.0);
        assert_eq!(wrong.1["posts"][0]["signature"]["verified"], false);
        assert_eq!(wrong.2.unwrap_err().to_string(), "1 post is not certainly what its author signed");
    }
}

//! What can be typed, on the command line and at the prompt.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand, ValueEnum};

use super::fullname::{self, Fullname};
use crate::reddit::Whereabouts;
use crate::reddit::model::{CommentSort, Direction, Folder, MessageId, PostId, Sort, Window};
use crate::reddit::protocol::subreddit_manager::Order;

/// One verb, and what it needs to know beside its own words.
#[derive(Clone, Debug)]
pub struct ByHand {
    pub(super) common: Common,
    pub(super) errand: Errand,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Common {
    /// The engine: the name of its node, or the path of its socket.
    #[arg(long, global = true, value_name = "ENGINE", default_value_t)]
    pub(super) engine: Whereabouts,

    /// Who you are. Not needed where one name only is registered.
    #[arg(long = "as", global = true, value_name = "NAME", env = "REDDIT_USER")]
    pub(super) user: Option<String>,

    /// Answer in JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Wait so long for an engine that is not there ("5s").
    #[arg(long, global = true, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(super) wait_engine: Duration,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Errand {
    #[command(flatten)]
    Verb(Verb),
    /// Take one verb after the other, from a prompt or from standard input; at a terminal, also show what happens meanwhile
    Interactive,
    /// Print what happens as it happens, until Ctrl-C; over restarts of the engine too
    ///
    /// What happens while nobody watches, or while there is no connection, is not printed later: it is in your feed, in 'dm
    /// list' and below your posts.
    Watch {
        /// What [default: all of it]
        topics: Vec<Topic>,
    },
}

/// What one can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Topic {
    /// Messages to you
    Messages,
    /// Comments on your posts and answers to your comments
    Replies,
    /// Others' posts in subreddits you have joined
    Feed,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// Ask whether the engine is there: pong, or code 69
    Ping,
    /// Become a user of that name, or be that user again
    Register {
        /// 3 to 20 letters, digits, '_' or '-'
        name: String,
        /// Sign every post: with the key that was imported for that name, else with a new P-256 key
        #[arg(long)]
        key: bool,
    },
    /// Show who you are
    Whoami,
    /// Open a subreddit; you are its first member
    Create {
        /// 3 to 21 letters, digits or '_'
        #[arg(value_parser = subreddit)]
        subreddit: String,
        /// What it is about
        #[arg(default_value = "")]
        description: String,
    },
    /// Become a member of a subreddit: its posts are in your feed then, and you may post there
    Join {
        /// Which
        #[arg(value_parser = subreddit)]
        subreddit: String,
    },
    /// Be a member no longer
    Leave {
        /// Which
        #[arg(value_parser = subreddit)]
        subreddit: String,
    },
    /// List subreddits
    Subreddits {
        /// Only those you have joined
        #[arg(long)]
        mine: bool,
        /// In which order
        #[arg(long, default_value = "members")]
        order: Order,
        /// How many
        #[arg(long, value_name = "N")]
        limit: Option<u16>,
    },
    /// Post in a subreddit
    Post {
        /// Where
        #[arg(value_parser = subreddit)]
        subreddit: String,
        /// One line
        title: String,
        /// The text
        #[arg(default_value = "")]
        body: String,
    },
    /// Show a post in another subreddit
    Repost {
        /// Which (t3_1)
        #[arg(value_parser = fullname::post)]
        post: PostId,
        /// Where
        #[arg(value_parser = subreddit)]
        subreddit: String,
        /// Another title
        #[arg(long)]
        title: Option<String>,
    },
    /// Say something about a post (t3_1) or a comment (t1_1)
    Comment {
        /// About what
        #[arg(value_parser = fullname::said)]
        about: Fullname,
        /// The text
        text: String,
    },
    /// Vote on a post (t3_1) or a comment (t1_1)
    Vote {
        /// On what
        #[arg(value_parser = fullname::said)]
        on: Fullname,
        /// up, down, or none to take a vote back
        direction: Direction,
    },
    /// Take a post or a comment of your own back
    Delete {
        /// Which
        #[arg(value_parser = fullname::said)]
        which: Fullname,
    },
    /// Show the posts of the subreddits you have joined
    Feed {
        #[command(flatten)]
        listing: Listing,
    },
    /// Show the posts of one subreddit
    Posts {
        /// Which
        #[arg(value_parser = subreddit)]
        subreddit: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show a post and what was said about it
    Thread {
        /// Which (t3_1)
        #[arg(value_parser = fullname::post)]
        post: PostId,
        /// Which comments go first
        #[arg(long, default_value = "best")]
        sort: CommentSort,
        /// How many comments
        #[arg(long, value_name = "N")]
        limit: Option<u16>,
    },
    /// Direct messages
    #[command(subcommand)]
    Dm(Dm),
    /// Keys: what posts are signed and verified with
    #[command(subcommand)]
    Key(Key),
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Key {
    /// Keep a private key for a name, to register with it and to sign with it from then on
    Import {
        /// Whose it is
        #[arg(value_parser = user)]
        name: String,
        /// A P-256 or RSA-2048 key, PKCS #8 in PEM, as 'openssl genpkey' writes it
        file: PathBuf,
    },
    /// Print anybody's public key in PEM
    Show {
        /// Whose
        #[arg(value_parser = user)]
        name: String,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Dm {
    /// Write to somebody
    Send {
        /// To whom
        #[arg(value_parser = user)]
        to: String,
        /// One line
        subject: String,
        /// The text
        text: String,
    },
    /// List your messages, newest first
    List {
        /// Which
        #[arg(default_value = "inbox")]
        folder: Folder,
        /// Continue behind this one
        #[arg(long, value_name = "MESSAGE", value_parser = fullname::message)]
        after: Option<MessageId>,
        /// How many
        #[arg(long, value_name = "N")]
        limit: Option<u16>,
    },
    /// Mark a message (t4_1) as read
    Read {
        /// Which
        #[arg(value_parser = fullname::message)]
        message: MessageId,
    },
    /// Answer a message (t4_1)
    Reply {
        /// Which
        #[arg(value_parser = fullname::message)]
        message: MessageId,
        /// The text
        text: String,
    },
}

/// Which posts, and in which order.
#[derive(Args, Clone, Debug)]
pub(super) struct Listing {
    /// Which go first
    #[arg(long, default_value = "hot")]
    pub(super) sort: Sort,
    /// How far back
    #[arg(long, default_value = "all")]
    pub(super) window: Window,
    /// Continue behind this post
    #[arg(long, value_name = "POST", value_parser = fullname::post)]
    pub(super) after: Option<PostId>,
    /// How many
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u16>,
}

/// The name of a subreddit, with or without `r/`.
fn subreddit(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.trim_start_matches('/').strip_prefix("r/").unwrap_or(text).to_owned())
}

/// The name of a user, with or without `u/`.
fn user(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.trim_start_matches('/').strip_prefix("u/").unwrap_or(text).to_owned())
}

impl FromArgMatches for ByHand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ByHand, clap::Error> {
        let errand = Errand::from_arg_matches(matches)?;
        let common = Common::from_arg_matches(matches.subcommand().map_or(matches, |(_, verb)| verb))?;
        Ok(ByHand { common, errand })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ByHand::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Each verb takes the common options too, wherever they stand behind it.
impl Subcommand for ByHand {
    fn augment_subcommands(command: Command) -> Command {
        let verbs = Errand::augment_subcommands(Command::new("verbs"));
        command.subcommands(verbs.get_subcommands().cloned().map(Common::augment_args))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        ByHand::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Errand::has_subcommand(name)
    }
}

/// The words for the values of a closed list.
macro_rules! words {
    ($type:ty: $($value:path = $word:literal),+) => {
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [$type] {
                &[$($value),+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(PossibleValue::new(match self {
                    $($value => $word),+
                }))
            }
        }
    };
}

words!(Sort: Sort::Hot = "hot", Sort::New = "new", Sort::Top = "top", Sort::Controversial = "controversial");
words!(Window: Window::Hour = "hour", Window::Day = "day", Window::Week = "week", Window::Month = "month",
    Window::Year = "year", Window::All = "all");
words!(CommentSort: CommentSort::Best = "best", CommentSort::Top = "top", CommentSort::New = "new",
    CommentSort::Controversial = "controversial", CommentSort::Old = "old");
words!(Direction: Direction::Up = "up", Direction::Down = "down", Direction::None = "none");
words!(Folder: Folder::Inbox = "inbox", Folder::Unread = "unread", Folder::Sent = "sent");
words!(Order: Order::Members = "members", Order::Creation = "creation");

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<ByHand, clap::Error> {
        let command = ByHand::augment_subcommands(Command::new("x").no_binary_name(true));
        ByHand::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn common_options_stand_anywhere_behind_the_verb() {
        for line in
            ["dm --as ada list sent --json", "dm list --as ada --json sent", "dm --json list sent --as ada"]
        {
            let ByHand { common, errand } = typed(line).unwrap();
            assert_eq!((common.user.as_deref(), common.json), (Some("ada"), true), "{line}");
            assert!(
                matches!(errand, Errand::Verb(Verb::Dm(Dm::List { folder: Folder::Sent, .. }))),
                "{line}"
            );
        }
        assert_eq!(typed("feed").unwrap().common.engine, Whereabouts::default());
        assert!(typed("feed --wait-engine 5").is_err(), "a number without a unit");
    }

    #[test]
    fn names_are_taken_with_and_without_their_mark() {
        for line in ["join rust", "join r/rust", "join /r/rust"] {
            let Errand::Verb(Verb::Join { subreddit }) = typed(line).unwrap().errand else {
                panic!("{line}")
            };
            assert_eq!(subreddit, "rust", "{line}");
        }
        assert!(typed("vote t4_1 up").is_err() && typed("vote t1_1 up").is_ok());
        assert!(typed("comment t3_1 -5").is_err(), "a word that looks like an option");
        assert!(typed("comment t3_1 -- -5").is_ok());
    }

    #[test]
    fn the_definitions_hold_together() {
        ByHand::augment_subcommands(Command::new("x")).debug_assert();
    }
}

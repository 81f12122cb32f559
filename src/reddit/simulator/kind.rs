//! The kinds of things that users do, and how often.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Feed,
    Vote,
    Comment,
    Post,
    Repost,
    Thread,
    Message,
    Reply,
    Mail,
    Join,
    Leave,
    /// Coming back, and going for a while: not wishes, but what sessions are made of.
    Login,
    Logout,
}

impl Kind {
    pub(super) const ALL: [Kind; 13] = [
        Kind::Feed,
        Kind::Vote,
        Kind::Comment,
        Kind::Post,
        Kind::Repost,
        Kind::Thread,
        Kind::Message,
        Kind::Reply,
        Kind::Mail,
        Kind::Join,
        Kind::Leave,
        Kind::Login,
        Kind::Logout,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Feed => "feed",
            Kind::Vote => "vote",
            Kind::Comment => "comment",
            Kind::Post => "post",
            Kind::Repost => "repost",
            Kind::Thread => "thread",
            Kind::Message => "message",
            Kind::Reply => "reply",
            Kind::Mail => "mail",
            Kind::Join => "join",
            Kind::Leave => "leave",
            Kind::Login => "login",
            Kind::Logout => "logout",
        }
    }
}

/// How often users wish for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mix {
    /// As people use such a site: mostly they read and vote
    #[default]
    ReadHeavy,
    /// Every line of the assignment's sheet about equally often: posts, comments, votes 20 % each, subreddits and
    /// messages 15 % each, feeds 10 %
    Sheet,
    /// Posts 30 %, comments, votes and messages 20 % each, feeds 10 %
    PostFlood,
}

impl Mix {
    /// How many of a hundred wishes are of this kind.
    pub(super) fn weight(self, kind: Kind) -> u32 {
        let [read_heavy, sheet, post_flood] = match kind {
            Kind::Feed => [35, 10, 10],
            Kind::Vote => [25, 20, 20],
            Kind::Comment => [15, 20, 20],
            Kind::Post => [9, 18, 27],
            Kind::Repost => [1, 2, 3],
            Kind::Thread => [4, 0, 0],
            Kind::Message => [4, 10, 15],
            Kind::Reply => [1, 2, 3],
            Kind::Mail => [3, 3, 2],
            Kind::Join => [2, 10, 0],
            Kind::Leave => [1, 5, 0],
            Kind::Login | Kind::Logout => [0, 0, 0],
        };
        match self {
            Mix::ReadHeavy => read_heavy,
            Mix::Sheet => sheet,
            Mix::PostFlood => post_flood,
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mix::ReadHeavy => "read-heavy",
            Mix::Sheet => "sheet",
            Mix::PostFlood => "post-flood",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mix_is_a_hundred_and_one_post_in_ten_a_repost() {
        for mix in [Mix::ReadHeavy, Mix::Sheet, Mix::PostFlood] {
            assert_eq!(Kind::ALL.iter().map(|&kind| mix.weight(kind)).sum::<u32>(), 100, "{mix}");
            assert_eq!(mix.weight(Kind::Repost) * 9, mix.weight(Kind::Post), "{mix}");
        }
    }
}

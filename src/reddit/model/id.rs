//! Identities: dense numbers from 1, in the order of creation, shown as Reddit's fullnames.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! identity {
    ($(#[$meta:meta])* $name:ident, $prefix:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);

        impl $name {
            /// The identity of the entry at `index` of its table.
            pub(super) fn at(index: usize) -> $name {
                // Tables are bounded by memory long before 4 thousand million entries.
                $name(u32::try_from(index + 1).expect("a table holds at most u32::MAX entries"))
            }

            /// Where its entry stands; `None` for the number 0, which is nobody's.
            pub(super) fn index(self) -> Option<usize> {
                self.0.checked_sub(1).map(|index| index as usize)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), Base36(self.0))
            }
        }
    };
}

identity!(
    /// A comment, `t1_`.
    CommentId,
    "t1"
);
identity!(
    /// A user, `t2_`.
    UserId,
    "t2"
);
identity!(
    /// A post, `t3_`.
    PostId,
    "t3"
);
identity!(
    /// A direct message, `t4_`.
    MessageId,
    "t4"
);
identity!(
    /// A subreddit, `t5_`.
    SubredditId,
    "t5"
);

struct Base36(u32);

impl fmt::Display for Base36 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Base36(mut rest) = *self;
        // 36^7 exceeds u32::MAX.
        let mut digits = [0; 7];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        digits[first..].iter().try_for_each(|&digit| write!(f, "{}", char::from(digit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_as_fullnames() {
        assert_eq!(UserId(1).to_string(), "t2_1");
        assert_eq!(PostId(36).to_string(), "t3_10");
        assert_eq!(SubredditId(u32::MAX).to_string(), "t5_1z141z3");
    }
}

//! Where a post or comment stands: Reddit's formulae, in fixed point so that order is exact and the same everywhere.

use serde::{Deserialize, Serialize};

/// Reddit's epoch in its hot formula: 8 December 2005, seconds since 1970.
const EPOCH_S: f64 = 1_134_028_003.0;

/// Seconds of age that weigh as much as a factor of ten in score: 12.5 hours.
const DECADE_S: f64 = 45_000.0;

/// Units of a [`Rank`] in one unit of the formula: Reddit rounds hot to 7 digits.
const UNITS: f64 = 1e7;

/// Orders of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sort {
    /// Score and age together.
    Hot,
    /// Newest first.
    New,
    /// Highest score first.
    Top,
    /// Many votes, evenly split, first.
    Controversial,
}

impl Sort {
    /// All of them.
    pub const ALL: [Sort; 4] = [Sort::Hot, Sort::New, Sort::Top, Sort::Controversial];
}

/// How far back the posts of a listing go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Window {
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
    /// 365 days.
    Year,
    /// To the beginning.
    All,
}

impl Window {
    /// Its first moment at the present time `now_ms`, in ms since 1970.
    #[must_use]
    pub fn since_ms(self, now_ms: u64) -> u64 {
        const HOUR: u64 = 60 * 60 * 1000;
        let length = match self {
            Window::Hour => HOUR,
            Window::Day => 24 * HOUR,
            Window::Week => 7 * 24 * HOUR,
            Window::Month => 30 * 24 * HOUR,
            Window::Year => 365 * 24 * HOUR,
            Window::All => return 0,
        };
        now_ms.saturating_sub(length)
    }
}

/// Orders of comments among their siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommentSort {
    /// Most surely good first: the lower bound of the share of upvotes.
    Best,
    /// Highest score first.
    Top,
    /// Newest first.
    New,
    /// Many votes, evenly split, first.
    Controversial,
    /// Oldest first.
    Old,
}

impl CommentSort {
    /// All of them.
    pub const ALL: [CommentSort; 5] =
        [CommentSort::Best, CommentSort::Top, CommentSort::New, CommentSort::Controversial, CommentSort::Old];
}

/// A place in one order, larger first. Equal ranks are ordered by age, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rank(pub i64);

impl Rank {
    /// The rank of a post with these votes, made at `created_ms`. It does not depend on the present time: a post moves
    /// only when it is voted on.
    #[must_use]
    pub fn of(sort: Sort, ups: u32, downs: u32, created_ms: u64) -> Rank {
        match sort {
            Sort::Hot => Rank(fixed(hot(score(ups, downs), created_ms))),
            Sort::New => Rank(0),
            Sort::Top => Rank(score(ups, downs)),
            Sort::Controversial => Rank(fixed(controversy(ups, downs))),
        }
    }

    /// A hot rank that no post has which was made before `since_ms`, whatever its votes.
    #[must_use]
    pub(super) fn hot_if_younger(since_ms: u64) -> Rank {
        // Votes are counted in 32 bits, so no score weighs more than ten factors of ten.
        Rank(fixed(hot(1, since_ms) + 10.0))
    }

    /// The rank of a comment with these votes among its siblings. Those by age are equal here: identities grow with
    /// time.
    #[must_use]
    pub fn of_comment(sort: CommentSort, ups: u32, downs: u32) -> Rank {
        match sort {
            CommentSort::Best => Rank(fixed(confidence(ups, downs))),
            CommentSort::Top => Rank(score(ups, downs)),
            CommentSort::Controversial => Rank(fixed(controversy(ups, downs))),
            CommentSort::New | CommentSort::Old => Rank(0),
        }
    }

    /// This hot rank as a part of the rank of the hottest post of its subreddit, so that a large subreddit does not
    /// drown a small one in a feed (`normalized_hot.py`). The divisor is at least 1.
    #[must_use]
    pub fn normalized(self, hottest: Rank) -> Rank {
        // 1e15 parts keep two neighbouring hot ranks apart; a hot rank is below 1e12 units for the next centuries.
        let scaled = i128::from(self.0) * 1_000_000_000_000_000 / i128::from(hottest.0.max(fixed(1.0)));
        Rank(i64::try_from(scaled).unwrap_or(if scaled < 0 { i64::MIN } else { i64::MAX }))
    }
}

/// Upvotes minus downvotes.
pub(super) fn score(ups: u32, downs: u32) -> i64 {
    i64::from(ups) - i64::from(downs)
}

fn fixed(value: f64) -> i64 {
    (value * UNITS).round() as i64
}

/// `_hot` of `_sorts.pyx`: each factor of ten in score is worth 12.5 hours.
fn hot(score: i64, created_ms: u64) -> f64 {
    let order = (score.unsigned_abs().max(1) as f64).log10();
    let seconds = created_ms as f64 / 1000.0 - EPOCH_S;
    score.signum() as f64 * order + seconds / DECADE_S
}

/// `_controversy` of `_sorts.pyx`.
fn controversy(ups: u32, downs: u32) -> f64 {
    if ups == 0 || downs == 0 {
        return 0.0;
    }
    let (ups, downs) = (f64::from(ups), f64::from(downs));
    (ups + downs).powf(ups.min(downs) / ups.max(downs))
}

/// `_confidence` of `_sorts.pyx`: the lower bound of Wilson's interval at 80 %.
fn confidence(ups: u32, downs: u32) -> f64 {
    const Z: f64 = 1.281_551_565_545;
    let n = f64::from(ups) + f64::from(downs);
    if n == 0.0 {
        return 0.0;
    }
    let p = f64::from(ups) / n;
    let left = p + Z * Z / (2.0 * n);
    let right = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    (left - right) / (1.0 + Z * Z / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ms since 1970 at `seconds` after Reddit's epoch.
    fn at(seconds: u64) -> u64 {
        (1_134_028_003 + seconds) * 1000
    }

    #[test]
    fn hot_is_reddits_formula() {
        let hot = |ups, downs, ms| Rank::of(Sort::Hot, ups, downs, ms).0;
        assert_eq!(hot(1, 0, at(0)), 0, "log10(1) = 0 at the epoch");
        assert_eq!(hot(1, 0, at(45_000)), 10_000_000, "12.5 hours are one");
        assert_eq!(hot(10, 0, at(0)), 10_000_000, "and so are ten points");
        assert_eq!(hot(0, 100, at(45_000)), -10_000_000, "1 - log10(100)");
        assert_eq!(hot(5, 5, at(45_000)), 10_000_000, "a score of 0 counts as 1, without sign");
        assert_eq!(hot(1, 0, at(45)), 10_000, "45 s are a thousandth");
        // 1_700_000_000 s: (1_700_000_000 - 1_134_028_003) / 45_000 = 12_577.1554888.., + log10(42) = 1.6232493
        assert_eq!(hot(43, 1, 1_700_000_000_000), 125_787_787_382);
    }

    #[test]
    fn a_hot_rank_tells_that_its_post_is_young_whatever_its_votes() {
        let bound = Rank::hot_if_younger(at(1_000_000));
        assert!(Rank::of(Sort::Hot, u32::MAX, 0, at(1_000_000) - 1) < bound);
        assert!(Rank::of(Sort::Hot, 1, 0, at(1_000_000 + 11 * 45_000)) >= bound);
    }

    #[test]
    fn controversy_is_reddits_formula() {
        let controversial = |ups, downs| Rank::of(Sort::Controversial, ups, downs, 0).0;
        assert_eq!(controversial(10, 0), 0);
        assert_eq!(controversial(5, 5), 100_000_000, "10 ^ 1");
        assert_eq!(controversial(8, 4), 34_641_016, "12 ^ 0.5");
        assert_eq!(controversial(4, 8), 34_641_016, "either way");
    }

    #[test]
    fn best_is_reddits_formula() {
        let best = |ups, downs| Rank::of_comment(CommentSort::Best, ups, downs).0;
        assert_eq!(best(0, 0), 0);
        assert_eq!(best(1, 0), 3_784_475, "1 / (1 + z^2)");
        assert_eq!(best(0, 5), 0, "nobody liked it");
        assert!(best(10, 1) > best(1, 0) && best(10, 1) < best(100, 10), "more votes are surer");
    }

    #[test]
    fn windows_reach_back_from_now() {
        assert_eq!(Window::Hour.since_ms(3_600_001), 1);
        assert_eq!(Window::Year.since_ms(1), 0, "before 1970 there was nothing");
        assert_eq!(Window::All.since_ms(u64::MAX), 0);
    }

    #[test]
    fn top_is_the_score_and_may_be_negative() {
        assert_eq!(Rank::of(Sort::Top, 3, 10, 0), Rank(-7));
    }

    #[test]
    fn the_hottest_post_of_any_subreddit_normalizes_to_the_same() {
        let (small, large) = (Rank(120_000_000_000), Rank(125_787_787_382));
        assert_eq!(small.normalized(small), large.normalized(large));
        assert!(Rank(large.0 - 1).normalized(large) < large.normalized(large), "neighbours stay apart");
        assert_eq!(
            Rank(5_000_000).normalized(Rank(2)),
            Rank(500_000_000_000_000),
            "the divisor is at least 1"
        );
    }
}

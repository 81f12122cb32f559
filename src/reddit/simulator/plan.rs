//! What each user wants to do next: pure, and reproducible from the seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Zipf};

use super::population::Shape;
use super::{name, text};
use crate::reddit::model::{Direction, Secret, Text};

/// Words of the random stream that belong to one action; no action needs more.
const WORDS_OF_ACTION: u128 = 1 << 10;

/// The streams of the generator: one for each user, and the last ones for the crowd as a whole.
const POPULATION: u64 = u64::MAX;
const TURNS: u64 = u64::MAX - 1;
const SECRETS: u64 = u64::MAX - 2;

/// Out of this many upvotes, downvotes and withdrawn votes.
const UP_PERCENT: u32 = 80;
const DOWN_PERCENT: u32 = 16;

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Feed,
    Vote,
    Post,
    Join,
    Leave,
}

impl Kind {
    pub(super) const ALL: [Kind; 5] = [Kind::Feed, Kind::Vote, Kind::Post, Kind::Join, Kind::Leave];

    /// How many of a hundred actions in the full mix `read-heavy`. What is missing from the hundred are comments,
    /// threads and messages; the shares of the others keep their proportions.
    fn weight(self) -> u32 {
        match self {
            Kind::Feed => 35,
            Kind::Vote => 25,
            Kind::Post => 9,
            Kind::Join => 2,
            Kind::Leave => 1,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Feed => "feed",
            Kind::Vote => "vote",
            Kind::Post => "post",
            Kind::Join => "join",
            Kind::Leave => "leave",
        }
    }
}

/// A wish, before it is known what there is to choose from. A `pick` is a place in 0..1 among whatever there is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Intent {
    ReadFeed,
    Vote {
        pick: f64,
        direction: Direction,
    },
    Post {
        pick: f64,
        title: Text,
        body: Text,
    },
    /// The subreddit of this popularity rank, from 0.
    Join {
        rank: usize,
    },
    Leave {
        pick: f64,
    },
}

/// Every wish of every user of one client, computed when it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    base: ChaCha8Rng,
    popularity: Zipf<f64>,
}

impl Plan {
    pub(super) fn new(seed: u64, client: &str, shape: Shape) -> Plan {
        let base = ChaCha8Rng::seed_from_u64(seed ^ name::fnv1a(client.as_bytes()));
        let popularity = Zipf::new(f64::from(shape.subreddits), shape.exponent)
            .expect("there is at least one subreddit and the exponent is not negative");
        Plan { base, popularity }
    }

    /// What `user` wants to do as its action number `action`.
    pub(super) fn intent(&self, user: u32, action: u32) -> Intent {
        let random = &mut self.stream(user.into());
        random.set_word_pos(u128::from(action) * WORDS_OF_ACTION);
        match kind(random) {
            Kind::Feed => Intent::ReadFeed,
            Kind::Vote => Intent::Vote { pick: random.random(), direction: direction(random) },
            Kind::Post => {
                Intent::Post { pick: random.random(), title: text::title(random), body: text::body(random) }
            }
            Kind::Join => Intent::Join { rank: self.popularity.sample(random) as usize - 1 },
            Kind::Leave => Intent::Leave { pick: random.random() },
        }
    }

    /// What the user proves its identity with, the same in every life of the client.
    pub(super) fn secret(&self, user: u32) -> Secret {
        let random = &mut self.stream(SECRETS);
        random.set_word_pos(u128::from(user) * WORDS_OF_ACTION);
        name::secret(random)
    }

    /// Decides who belongs where at the beginning.
    pub(super) fn population(&self) -> ChaCha8Rng {
        self.stream(POPULATION)
    }

    /// Decides whose turn it is.
    pub(super) fn turns(&self) -> ChaCha8Rng {
        self.stream(TURNS)
    }

    fn stream(&self, number: u64) -> ChaCha8Rng {
        let mut random = self.base.clone();
        random.set_stream(number);
        random
    }
}

fn kind(random: &mut ChaCha8Rng) -> Kind {
    let total = Kind::ALL.iter().map(|kind| kind.weight()).sum();
    let mut drawn = random.random_range(0..total);
    for kind in Kind::ALL {
        match drawn.checked_sub(kind.weight()) {
            Some(rest) => drawn = rest,
            None => return kind,
        }
    }
    unreachable!("what was drawn is below the sum of all weights")
}

fn direction(random: &mut ChaCha8Rng) -> Direction {
    match random.random_range(0..100) {
        drawn if drawn < UP_PERCENT => Direction::Up,
        drawn if drawn < UP_PERCENT + DOWN_PERCENT => Direction::Down,
        _ => Direction::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64, client: &str) -> Plan {
        Plan::new(seed, client, Shape::default())
    }

    fn wishes(plan: &Plan, user: u32) -> Vec<Intent> {
        (0..200).map(|action| plan.intent(user, action)).collect()
    }

    #[test]
    fn the_same_seed_and_name_want_the_same_and_others_something_else() {
        let wanted = wishes(&plan(1, "client@1"), 3);
        assert_eq!(wanted, wishes(&plan(1, "client@1"), 3));
        assert_ne!(wanted, wishes(&plan(2, "client@1"), 3));
        assert_ne!(wanted, wishes(&plan(1, "client@2"), 3));
        assert_ne!(wanted, wishes(&plan(1, "client@1"), 4));
    }

    #[test]
    fn the_first_wish_of_a_seed_never_changes() {
        // The stream is a published standard; a change here makes every recorded run irreproducible.
        assert_eq!(plan(1, "client@1").secret(0).0[..4], [201, 246, 35, 144]);
    }

    #[test]
    fn wishes_have_the_proportions_of_the_mix() {
        let plan = plan(7, "client@1");
        let mut counts = [0u32; Kind::ALL.len()];
        for action in 0..72_000 {
            let kind = match plan.intent(0, action) {
                Intent::ReadFeed => Kind::Feed,
                Intent::Vote { .. } => Kind::Vote,
                Intent::Post { .. } => Kind::Post,
                Intent::Join { .. } => Kind::Join,
                Intent::Leave { .. } => Kind::Leave,
            };
            counts[kind as usize] += 1;
        }
        for (kind, count) in Kind::ALL.into_iter().zip(counts) {
            let expected = kind.weight() * 1000;
            assert!(count.abs_diff(expected) < expected / 10, "{}: {count}, not {expected}", kind.name());
        }
    }

    #[test]
    fn an_action_stays_within_its_part_of_the_stream() {
        // The longest action is a post; even rejected draws leave it far from the next action's words.
        let plan = plan(7, "client@1");
        let mut random = plan.stream(0);
        for action in 0..1000u32 {
            let begin = u128::from(action) * WORDS_OF_ACTION;
            random.set_word_pos(begin);
            text::title(&mut random);
            text::body(&mut random);
            assert!(random.get_word_pos() - begin < WORDS_OF_ACTION / 4);
        }
    }
}

//! What each user wants to do next: pure, and reproducible from the seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1};

use super::kind::{Kind, Mix};
use super::{name, text};
use crate::reddit::model::{Direction, Secret, Text};

/// Words of the random stream that belong to one action; no action needs more.
const WORDS_OF_ACTION: u128 = 1 << 10;

/// The streams of the generator: one for each user, and the last ones for the crowd as a whole.
const POPULATION: u64 = u64::MAX;
const TURNS: u64 = u64::MAX - 1;
const SECRETS: u64 = u64::MAX - 2;
const PRESENCE: u64 = u64::MAX - 3;
const OPERATIONS: u64 = u64::MAX - 4;
const KEYS: u64 = u64::MAX - 5;

/// Out of this many upvotes, downvotes and withdrawn votes.
const UP_PERCENT: u32 = 80;
const DOWN_PERCENT: u32 = 16;

/// A wish, before it is known what there is to choose from. A `pick` is a place in 0..1 among whatever there is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Intent {
    ReadFeed,
    Vote {
        pick: f64,
        on: Target,
        direction: Direction,
    },
    Comment {
        pick: f64,
        on: Target,
        body: Text,
    },
    Repost {
        pick: f64,
        place: f64,
        title: Text,
    },
    ReadThread {
        pick: f64,
    },
    /// To the author of something seen.
    SendMessage {
        pick: f64,
        subject: Text,
        body: Text,
    },
    Answer {
        pick: f64,
        body: Text,
    },
    ReadMail,
    Post {
        pick: f64,
        title: Text,
        body: Text,
    },
    Join {
        pick: f64,
    },
    Leave {
        pick: f64,
    },
}

/// What a vote or a comment is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Post,
    Comment,
}

/// Every wish of every user of one client, computed when it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    base: ChaCha8Rng,
    mix: Mix,
    /// Texts are so many times as long.
    text_scale: f64,
}

impl Plan {
    pub(super) fn new(seed: u64, client: &str, mix: Mix, text_scale: f64) -> Plan {
        let base = ChaCha8Rng::seed_from_u64(seed ^ name::fnv1a(client.as_bytes()));
        Plan { base, mix, text_scale }
    }

    /// What `user` wants to do as its action number `action`.
    pub(super) fn intent(&self, user: u32, action: u32) -> Intent {
        let random = &mut self.stream(user.into());
        random.set_word_pos(u128::from(action) * WORDS_OF_ACTION);
        match kind(self.mix, random) {
            Kind::Feed => Intent::ReadFeed,
            Kind::Vote => {
                Intent::Vote { pick: random.random(), on: target(random), direction: direction(random) }
            }
            Kind::Comment => Intent::Comment {
                pick: random.random(),
                on: target(random),
                body: self.long(text::remark(random)),
            },
            Kind::Repost => {
                Intent::Repost { pick: random.random(), place: random.random(), title: text::title(random) }
            }
            Kind::Thread => Intent::ReadThread { pick: random.random() },
            Kind::Message => Intent::SendMessage {
                pick: random.random(),
                subject: text::title(random),
                body: self.long(text::remark(random)),
            },
            Kind::Reply => Intent::Answer { pick: random.random(), body: self.long(text::remark(random)) },
            Kind::Mail => Intent::ReadMail,
            Kind::Post => Intent::Post {
                pick: random.random(),
                title: text::title(random),
                body: self.long(text::body(random)),
            },
            Kind::Join => Intent::Join { pick: random.random() },
            Kind::Leave => Intent::Leave { pick: random.random() },
            Kind::Login | Kind::Logout => unreachable!("no mix has them"),
        }
    }

    fn long(&self, text: Text) -> Text {
        if self.text_scale == 1.0 { text } else { text::stretched(&text, self.text_scale) }
    }

    /// How long `user` thinks after action number `action`, in means of all such times: exponential.
    pub(super) fn thought(&self, user: u32, action: u32) -> f64 {
        let random = &mut self.stream(user.into());
        // Behind the words of the action itself, which needs less than a quarter of them.
        random.set_word_pos(u128::from(action) * WORDS_OF_ACTION + WORDS_OF_ACTION / 2);
        Exp1.sample(random)
    }

    /// What the user proves its identity with, the same in every life of the client.
    pub(super) fn secret(&self, user: u32) -> Secret {
        let random = &mut self.stream(SECRETS);
        random.set_word_pos(u128::from(user) * WORDS_OF_ACTION);
        name::secret(random)
    }

    /// The private key of a user of whom this fraction has one, the same in every life of the client.
    pub(super) fn private_key(&self, user: u32, fraction: f64) -> Option<[u8; 32]> {
        if fraction <= 0.0 {
            return None;
        }
        let random = &mut self.stream(KEYS);
        random.set_word_pos(u128::from(user) * WORDS_OF_ACTION);
        (random.random::<f64>() < fraction).then(|| random.random())
    }

    /// Decides who belongs where at the beginning.
    pub(super) fn population(&self) -> ChaCha8Rng {
        self.stream(POPULATION)
    }

    /// Decides when users come and go.
    pub(super) fn presence(&self) -> ChaCha8Rng {
        self.stream(PRESENCE)
    }

    /// Decides whose turn it is.
    pub(super) fn turns(&self) -> ChaCha8Rng {
        self.stream(TURNS)
    }

    /// Names the stream of operations where it must be the same in every run.
    pub(super) fn operations(&self) -> u64 {
        self.stream(OPERATIONS).random()
    }

    fn stream(&self, number: u64) -> ChaCha8Rng {
        let mut random = self.base.clone();
        random.set_stream(number);
        random
    }
}

fn kind(mix: Mix, random: &mut ChaCha8Rng) -> Kind {
    let total = Kind::ALL.iter().map(|&kind| mix.weight(kind)).sum();
    let mut drawn = random.random_range(0..total);
    for kind in Kind::ALL {
        match drawn.checked_sub(mix.weight(kind)) {
            Some(rest) => drawn = rest,
            None => return kind,
        }
    }
    unreachable!("what was drawn is below the sum of all weights")
}

/// One half each.
fn target(random: &mut ChaCha8Rng) -> Target {
    if random.random_bool(0.5) { Target::Post } else { Target::Comment }
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
        Plan::new(seed, client, Mix::ReadHeavy, 1.0)
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
    fn the_same_users_have_the_same_keys_and_more_have_one_where_more_shall() {
        let plan = plan(1, "client@1");
        let keys = |fraction| (0..1000).map(|user| plan.private_key(user, fraction)).collect::<Vec<_>>();
        let (some, all) = (keys(0.3), keys(1.0));
        assert!(keys(0.0).iter().all(Option::is_none) && all.iter().all(Option::is_some));
        assert!(some.iter().zip(&all).all(|(some, all)| some.is_none() || some == all));
        assert!(some.iter().flatten().count().abs_diff(300) < 50);
        assert!(all[0] != all[1]);
    }

    #[test]
    fn longer_texts_change_nothing_else() {
        let (short, long) = (plan(1, "client@1"), Plan::new(1, "client@1", Mix::ReadHeavy, 3.0));
        for (ours, theirs) in wishes(&short, 3).into_iter().zip(wishes(&long, 3)) {
            match (ours, theirs) {
                (Intent::Post { body: ours, .. }, Intent::Post { body: theirs, .. }) => {
                    assert_eq!(theirs.len(), 3 * ours.len());
                }
                (ours, theirs) => assert_eq!(std::mem::discriminant(&ours), std::mem::discriminant(&theirs)),
            }
        }
    }

    #[test]
    fn thoughts_are_the_seed_s_and_exponential() {
        let thoughts = |plan: &Plan| (0..20_000).map(|action| plan.thought(3, action)).collect::<Vec<_>>();
        let times = thoughts(&plan(1, "client@1"));
        assert_eq!(times, thoughts(&plan(1, "client@1")));
        assert_ne!(times, thoughts(&plan(2, "client@1")));
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let longer = times.iter().filter(|&&time| time > 1.0).count() as f64 / times.len() as f64;
        assert!((mean - 1.0).abs() < 0.03 && (longer - (-1f64).exp()).abs() < 0.01, "{mean} {longer}");
    }

    #[test]
    fn wishes_have_the_proportions_of_the_mix() {
        let plan = plan(7, "client@1");
        let mut counts = [0u32; Kind::ALL.len()];
        for action in 0..100_000 {
            let kind = match plan.intent(0, action) {
                Intent::ReadFeed => Kind::Feed,
                Intent::Vote { .. } => Kind::Vote,
                Intent::Comment { .. } => Kind::Comment,
                Intent::Repost { .. } => Kind::Repost,
                Intent::ReadThread { .. } => Kind::Thread,
                Intent::SendMessage { .. } => Kind::Message,
                Intent::Answer { .. } => Kind::Reply,
                Intent::ReadMail => Kind::Mail,
                Intent::Post { .. } => Kind::Post,
                Intent::Join { .. } => Kind::Join,
                Intent::Leave { .. } => Kind::Leave,
            };
            counts[kind as usize] += 1;
        }
        for (kind, count) in Kind::ALL.into_iter().zip(counts) {
            let expected = Mix::ReadHeavy.weight(kind) * 1000;
            assert!(count.abs_diff(expected) <= expected / 10, "{}: {count}, not {expected}", kind.name());
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

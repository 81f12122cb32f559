//! Who belongs where at the beginning: few large subreddits, many small ones.

use rand::Rng;
use rand::seq::index;

/// The shape of a population.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// How many subreddits, ranked by popularity. All clients share them.
    pub subreddits: u16,
    /// The exponent of Zipf's law: the subreddit of rank r has r to the power of minus this times as many members as
    /// the first.
    pub exponent: f64,
    /// Subreddits a user joins on average.
    pub joins: f64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { subreddits: 200, exponent: 1.0, joins: 5.0 }
    }
}

impl Shape {
    /// The name of the subreddit of this rank, from 0.
    pub(super) fn subreddit_name(self, rank: u16) -> String {
        format!("topic_{}", rank + 1)
    }

    fn ranks(self) -> impl Iterator<Item = u16> {
        1..=self.subreddits
    }

    /// Members of each subreddit among `users` users.
    fn sizes(self, users: u32) -> Vec<usize> {
        let all = f64::from(users);
        let size = |first: f64, rank: u16| (first / f64::from(rank).powf(self.exponent)).min(all);
        let total = |first: f64| self.ranks().map(|rank| size(first, rank)).sum::<f64>();
        // Where the largest would have more members than there are users, the others take what is left over.
        let wanted = (self.joins * all).min(f64::from(self.subreddits) * all);
        let (mut low, mut high) = (0.0, all * f64::from(self.subreddits).powf(self.exponent.max(1.0)));
        for _ in 0..64 {
            let middle = f64::midpoint(low, high);
            if total(middle) < wanted { low = middle } else { high = middle }
        }
        self.ranks().map(|rank| size(high, rank).round() as usize).collect()
    }

    /// The ranks that each user joins. Members are drawn without replacement, so that the sizes come out exactly.
    pub(super) fn memberships(self, users: u32, random: &mut impl Rng) -> Vec<Vec<u16>> {
        let mut joined = vec![Vec::new(); users as usize];
        for (rank, size) in (0..).zip(self.sizes(users)) {
            for user in index::sample(random, users as usize, size) {
                joined[user].push(rank);
            }
        }
        joined
    }
}

/// The subreddits of a shape as users choose among them, by rank.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    pub(super) shape: Shape,
    /// How strongly posts are drawn there: activity grows faster than membership, with its power 1.27
    /// (arXiv:2503.02661).
    pull: Vec<f64>,
    /// How likely somebody who does not belong there joins. Where more belong already, fewer are left to join, so
    /// these get a larger weight each: as many join as it takes to keep the sizes what they are.
    welcome: Vec<f64>,
}

impl Topics {
    pub(super) fn new(shape: Shape, users: u32) -> Topics {
        let sizes = shape.sizes(users);
        let left = |size: usize| (users as usize).saturating_sub(size).max(1) as f64;
        Topics {
            shape,
            pull: sizes.iter().map(|&size| (size as f64).powf(1.27).max(f64::MIN_POSITIVE)).collect(),
            welcome: sizes.iter().map(|&size| size.max(1) as f64 / left(size)).collect(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.pull.len()
    }

    /// One of these for a post.
    pub(super) fn to_post_in(&self, pick: f64, among: impl Iterator<Item = u16> + Clone) -> Option<u16> {
        weighted(pick, among, &self.pull)
    }

    /// One to join, for somebody who belongs to those already.
    pub(super) fn to_join(&self, pick: f64, joined: &[u16]) -> Option<u16> {
        let all = 0..self.count() as u16;
        weighted(pick, all.filter(|rank| !joined.contains(rank)), &self.welcome)
    }
}

/// The place of `pick` among those, each as wide as its weight.
fn weighted(pick: f64, among: impl Iterator<Item = u16> + Clone, weights: &[f64]) -> Option<u16> {
    let weight = |rank: u16| weights[usize::from(rank)];
    let mut left = pick * among.clone().map(weight).sum::<f64>();
    let mut last = None;
    for rank in among {
        left -= weight(rank);
        last = Some(rank);
        if left < 0.0 {
            break;
        }
    }
    // The sums of floating point may leave a little over behind the last one.
    last
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn sizes_of(shape: Shape, users: u32) -> Vec<usize> {
        let memberships = shape.memberships(users, &mut ChaCha8Rng::seed_from_u64(1));
        let mut sizes = vec![0; shape.subreddits.into()];
        memberships.iter().flatten().for_each(|&rank| sizes[usize::from(rank)] += 1);
        sizes
    }

    /// Slope of a straight line through the points (ln rank, ln size).
    fn slope(sizes: &[usize]) -> f64 {
        let points: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(at, &size)| ((at as f64 + 1.0).ln(), (size as f64).ln()))
            .collect();
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let shared: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
        shared / points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
    }

    #[test]
    fn members_follow_zipfs_law_with_the_wanted_exponent() {
        for exponent in [0.8, 1.0, 1.2] {
            let shape = Shape { exponent, ..Shape::default() };
            let fitted = slope(&sizes_of(shape, 10_000));
            assert!((fitted + exponent).abs() <= 0.05, "exponent {exponent}, slope {fitted}");
        }
    }

    #[test]
    fn users_join_as_many_as_wanted_on_average() {
        let joins = sizes_of(Shape::default(), 10_000).iter().sum::<usize>();
        assert!(joins.abs_diff(50_000) < 500, "{joins}");
    }

    #[test]
    fn nobody_joins_twice_and_no_subreddit_has_more_members_than_there_are_users() {
        let shape = Shape { exponent: 1.5, ..Shape::default() };
        let memberships = shape.memberships(7, &mut ChaCha8Rng::seed_from_u64(1));
        for ranks in &memberships {
            assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "{ranks:?}");
        }
        let small = Shape { subreddits: 2, ..shape }.memberships(3, &mut ChaCha8Rng::seed_from_u64(1));
        assert!(small.iter().all(|ranks| ranks == &[0, 1]), "fewer subreddits than joins");
    }

    #[test]
    fn coming_and_going_keeps_the_sizes() {
        let (shape, users) = (Shape::default(), 2_000);
        let topics = Topics::new(shape, users);
        let random = &mut ChaCha8Rng::seed_from_u64(5);
        let mut homes = shape.memberships(users, random);
        // Everybody leaves one and joins one, ten times.
        for turn in 0..10 * users as usize {
            let joined = &mut homes[turn % users as usize];
            if !joined.is_empty() {
                joined.remove(random.random_range(0..joined.len()));
            }
            joined.extend(topics.to_join(random.random(), joined));
        }
        let mut sizes = vec![0; topics.count()];
        homes.iter().flatten().for_each(|&rank| sizes[usize::from(rank)] += 1);
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let fitted = slope(&sizes);
        assert!((fitted + 1.0).abs() <= 0.05, "slope {fitted}");
    }

    #[test]
    fn a_pick_falls_on_one_of_those_in_proportion_to_its_weight() {
        let weights = [1.0, 5.0, 3.0];
        let picked = |pick| weighted(pick, [0, 2].into_iter(), &weights);
        assert_eq!([0.0, 0.24, 0.26, 0.999].map(picked), [Some(0), Some(0), Some(2), Some(2)]);
        assert_eq!(weighted(0.5, [].into_iter(), &weights), None);
    }
}

//! Who belongs where at the beginning: few large subreddits, many small ones.

use rand::Rng;
use rand::seq::index;

/// The shape of a population.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    /// How many subreddits, ranked by popularity. All clients share them.
    pub(super) subreddits: u32,
    /// The exponent of Zipf's law: the subreddit of rank r has r to the power of minus this times as many members as
    /// the first.
    pub(super) exponent: f64,
    /// Subreddits a user joins on average.
    pub(super) joins: f64,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { subreddits: 200, exponent: 1.0, joins: 5.0 }
    }
}

impl Shape {
    /// The name of the subreddit of this rank, from 0.
    pub(super) fn subreddit_name(self, rank: usize) -> String {
        format!("topic_{}", rank + 1)
    }

    /// How strongly posts are drawn to the subreddit of this rank: activity grows faster than membership, with its
    /// power 1.27 (arXiv:2503.02661).
    pub(super) fn attraction(self, rank: usize) -> f64 {
        (rank as f64 + 1.0).powf(-1.27 * self.exponent)
    }

    /// Members of each subreddit among `users` users.
    fn sizes(self, users: u32) -> Vec<usize> {
        let all = f64::from(users);
        let size = |first: f64, rank: u32| (first / f64::from(rank).powf(self.exponent)).min(all);
        let total = |first: f64| (1..=self.subreddits).map(|rank| size(first, rank)).sum::<f64>();
        // Where the largest would have more members than there are users, the others take what is left over.
        let wanted = (self.joins * all).min(f64::from(self.subreddits) * all);
        let (mut low, mut high) = (0.0, all * f64::from(self.subreddits).powf(self.exponent.max(1.0)));
        for _ in 0..64 {
            let middle = f64::midpoint(low, high);
            if total(middle) < wanted { low = middle } else { high = middle }
        }
        (1..=self.subreddits).map(|rank| size(high, rank).round() as usize).collect()
    }

    /// The ranks that each user joins. Members are drawn without replacement, so that the sizes come out exactly.
    pub(super) fn memberships(self, users: u32, random: &mut impl Rng) -> Vec<Vec<usize>> {
        let mut joined = vec![Vec::new(); users as usize];
        for (rank, size) in self.sizes(users).into_iter().enumerate() {
            for user in index::sample(random, users as usize, size) {
                joined[user].push(rank);
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn sizes_of(shape: Shape, users: u32) -> Vec<usize> {
        let memberships = shape.memberships(users, &mut ChaCha8Rng::seed_from_u64(1));
        let mut sizes = vec![0; shape.subreddits as usize];
        memberships.iter().flatten().for_each(|&rank| sizes[rank] += 1);
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
}

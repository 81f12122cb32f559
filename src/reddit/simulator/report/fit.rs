//! How well counts follow Zipf's law: the one of rank r is r to the power of minus the exponent times the first.

/// A straight line through the logarithms of ranks and counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Minus the exponent that fits best.
    pub slope: f64,
    /// The logarithm of the count of the first, on the line.
    pub first: f64,
    /// The part of the spread of the logarithms that the line explains.
    pub r2: f64,
    /// The largest distance between the cumulated shares and those of the law of `exponent` (Kolmogorov-Smirnov).
    pub ks: f64,
    /// Ranks with a count; others have no logarithm and are left out.
    pub ranks: usize,
}

impl Fit {
    /// Of counts in any order; they are ranked here. `None` where there are too few to say anything: a line goes
    /// through any two points.
    #[must_use]
    pub fn of(counts: &[u64], exponent: f64) -> Option<Fit> {
        let counts = ranked(counts);
        let points: Vec<(f64, f64)> =
            (1..).zip(&counts).map(|(rank, &count)| (f64::from(rank).ln(), (count as f64).ln())).collect();
        if points.len() < 3 {
            return None;
        }
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|p| of(p.0 - x, p.1 - y)).sum::<f64>();
        let slope = sum(&|x, y| x * y) / sum(&|x, _| x * x);
        let spread = sum(&|_, y| y * y);
        let unexplained = sum(&|x, y| (y - slope * x).powi(2));
        let r2 = if spread > 0.0 { 1.0 - unexplained / spread } else { 1.0 };
        let ks = distance(&counts, exponent);
        Some(Fit { slope, first: y - slope * x, r2, ks, ranks: points.len() })
    }

    /// Whether the counts follow the law of this exponent: the slope is within 0.05 of it, and the line explains 98 %.
    #[must_use]
    pub fn follows(&self, exponent: f64) -> bool {
        (self.slope + exponent).abs() <= 0.05 && self.r2 >= 0.98
    }
}

/// The largest first, without those that are nothing.
pub(super) fn ranked(counts: &[u64]) -> Vec<u64> {
    let mut counts: Vec<u64> = counts.iter().copied().filter(|&count| count > 0).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

fn distance(counts: &[u64], exponent: f64) -> f64 {
    let law: Vec<f64> = (1..=counts.len()).map(|rank| (rank as f64).powf(-exponent)).collect();
    let (all, whole) = (counts.iter().sum::<u64>() as f64, law.iter().sum::<f64>());
    let (mut seen, mut expected, mut most) = (0.0, 0.0, 0.0_f64);
    for (&count, share) in counts.iter().zip(&law) {
        seen += count as f64 / all;
        expected += share / whole;
        most = most.max((seen - expected).abs());
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_is_recognised() {
        for exponent in [0.8, 1.0, 1.3] {
            let counts: Vec<u64> =
                (1..=100).map(|rank| (1e6 * f64::from(rank).powf(-exponent)) as u64).collect();
            let fit = Fit::of(&counts, exponent).unwrap();
            assert!((fit.slope + exponent).abs() < 0.001 && fit.r2 > 0.9999 && fit.ks < 0.001, "{fit:?}");
            assert!(fit.follows(exponent) && !fit.follows(exponent + 0.1));
        }
    }

    #[test]
    fn what_follows_another_law_is_told_from_it() {
        let even = Fit::of(&[50; 20], 1.0).unwrap();
        assert!(even.slope.abs() < 1e-9 && even.ks > 0.2 && !even.follows(1.0), "{even:?}");
        let counts: Vec<u64> = (0..20).map(|rank| 1_000_000 >> rank).collect();
        let geometric = Fit::of(&counts, 1.0).unwrap();
        assert!(!geometric.follows(1.0) && geometric.r2 < 0.98, "{geometric:?}");
    }

    #[test]
    fn two_points_say_nothing() {
        assert_eq!(Fit::of(&[7, 0, 3], 1.0), None);
    }
}

//! When users come and go.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp, LogNormal};

/// Seconds that a user stays on average; lognormal, most stay for less.
const STAY_S: f64 = 60.0;

/// The spread of the logarithm of a stay.
const SPREAD: f64 = 1.0;

/// Seconds that a user is away on average; exponential.
const AWAY_S: f64 = 30.0;

/// The next coming or going of every user, by the crowd's clock.
#[derive(Debug)]
pub(super) struct Presence {
    due: BinaryHeap<Reverse<(Duration, usize)>>,
    stay: LogNormal<f64>,
    away: Exp<f64>,
    /// Everything takes so many times its time.
    scale: f64,
    random: ChaCha8Rng,
}

impl Presence {
    /// As it is in the long run: one in three is away, and therefore due at zero; the others go after what is left of a
    /// stay.
    pub(super) fn new(users: usize, scale: f64, mut random: ChaCha8Rng) -> Presence {
        // The mean of a lognormal is exp(mu + sigma^2 / 2).
        let stay = LogNormal::new(STAY_S.ln() - SPREAD * SPREAD / 2.0, SPREAD).expect("the spread is finite");
        let away = Exp::new(1.0 / AWAY_S).expect("the rate is positive");
        let due = (0..users)
            .map(|user| {
                let is_away = random.random_bool(AWAY_S / (STAY_S + AWAY_S));
                // At any moment long stays are met more often: their lengths are lognormal too, exp(sigma^2) times as long.
                let left = stay.sample(&mut random) * (SPREAD * SPREAD).exp() * random.random::<f64>();
                let seconds = if is_away { 0.0 } else { left * scale };
                Reverse((Duration::from_secs_f64(seconds), user))
            })
            .collect();
        Presence { due, stay, away, scale, random }
    }

    /// When the next one comes or goes.
    pub(super) fn next(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next one who is due.
    pub(super) fn take(&mut self, now: Duration) -> Option<usize> {
        if self.next()? > now {
            return None;
        }
        self.due.pop().map(|Reverse((_, user))| user)
    }

    /// The user came and will go.
    pub(super) fn came(&mut self, user: usize, now: Duration) {
        let stay = self.stay.sample(&mut self.random);
        self.again(user, now, stay);
    }

    /// The user went and will come.
    pub(super) fn went(&mut self, user: usize, now: Duration) {
        let away = self.away.sample(&mut self.random);
        self.again(user, now, away);
    }

    fn again(&mut self, user: usize, now: Duration, seconds: f64) {
        self.due.push(Reverse((now + Duration::from_secs_f64(seconds * self.scale), user)));
    }

    /// The user is in the middle of something and will be looked at again soon.
    pub(super) fn postpone(&mut self, user: usize, now: Duration) {
        self.due.push(Reverse((now + Duration::from_millis(5), user)));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn two_thirds_are_there() {
        let mut presence = Presence::new(500, 1.0, ChaCha8Rng::seed_from_u64(1));
        let (mut there, mut here, mut sum, mut looks) = (vec![true; 500], 500_i64, 0, 0);
        for second in 0..600 {
            let now = Duration::from_secs(second);
            while let Some(user) = presence.take(now) {
                there[user] = !there[user];
                here += if there[user] { 1 } else { -1 };
                if there[user] { presence.came(user, now) } else { presence.went(user, now) }
            }
            assert!(second > 0 || here < 400, "one in three goes at zero: {here}");
            sum += here;
            looks += 1;
        }
        let share = sum as f64 / looks as f64 / 500.0;
        assert!((0.62..0.72).contains(&share), "{share}");
    }
}

//! How long to wait before the next attempt.

use std::time::Duration;

use rand::Rng;

/// Exponential backoff with jitter: each delay is drawn between half of the current step and the whole of it, then
/// the step doubles up to the largest. The draw keeps many clients of one engine from coming back in one instant.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    largest: Duration,
    step: Duration,
}

impl Backoff {
    /// Steps from `first`, doubling up to `largest`.
    #[must_use]
    pub fn new(first: Duration, largest: Duration) -> Backoff {
        Backoff { first, largest, step: first }
    }

    /// The next delay.
    pub fn next(&mut self, random: &mut impl Rng) -> Duration {
        let delay = self.step.mul_f64(random.random_range(0.5..=1.0));
        self.step = (self.step * 2).min(self.largest);
        delay
    }

    /// Begins again at the first step: an attempt succeeded.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn delays_double_stay_within_half_a_step_and_stop_at_the_largest() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        for step in [100, 200, 400, 800, 1600, 2000, 2000] {
            let delay = backoff.next(&mut random).as_millis();
            assert!((step / 2..=step).contains(&delay), "{delay} ms at step {step} ms");
        }
        backoff.reset();
        assert!(backoff.next(&mut random) <= Duration::from_millis(100));
    }

    #[test]
    fn two_hundred_clients_that_lost_one_engine_at_once_do_not_come_back_at_once() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut clients = vec![Backoff::new(Duration::from_millis(100), Duration::from_secs(2)); 200];
        let mut times: Vec<Duration> = vec![Duration::ZERO; 200];
        for attempt in 1..=5 {
            for (client, time) in clients.iter_mut().zip(&mut times) {
                *time += client.next(&mut random);
            }
            times.sort();
            let within = |window: Duration| {
                let begins_with = |(at, begin): (usize, &Duration)| {
                    times[at..].iter().take_while(|time| **time < *begin + window).count()
                };
                times.iter().enumerate().map(begins_with).max()
            };
            let most = within(Duration::from_millis(5));
            assert!(most < Some(50), "{most:?} of 200 within 5 ms at attempt {attempt}");
        }
    }
}

//! How long to wait before the next attempt.

use std::time::Duration;

use rand::Rng;

/// The first window of [`Backoff::default`]: 200 clients that lose one engine come back one in a millisecond, and a single one
/// after a tenth of a second.
const FIRST_WINDOW: Duration = Duration::from_millis(200);
const LARGEST_WINDOW: Duration = Duration::from_secs(2);

/// Exponential backoff with full jitter: each delay is drawn from the whole of the current window, then the window doubles up
/// to the largest. Whoever lost a peer waits before the first attempt too; the draw keeps the many clients of one engine,
/// which all lose it in one instant, from coming back in one.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    largest: Duration,
    window: Duration,
}

/// For coming back to a peer: windows of 200 ms, doubling up to 2 s.
impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::new(FIRST_WINDOW, LARGEST_WINDOW)
    }
}

impl Backoff {
    /// Windows from `first`, doubling up to `largest`.
    #[must_use]
    pub fn new(first: Duration, largest: Duration) -> Backoff {
        Backoff { first, largest, window: first }
    }

    /// The next delay.
    pub fn next(&mut self, random: &mut impl Rng) -> Duration {
        let delay = self.window.mul_f64(random.random_range(0.0..=1.0));
        self.window = (self.window * 2).min(self.largest);
        delay
    }

    /// Begins again at the first window: an attempt succeeded.
    pub fn reset(&mut self) {
        self.window = self.first;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn windows_double_up_to_the_largest_and_delays_are_drawn_from_all_of_them() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut clients = vec![Backoff::new(Duration::from_millis(100), Duration::from_secs(2)); 300];
        for window in [100, 200, 400, 800, 1600, 2000, 2000] {
            let delays: Vec<_> =
                clients.iter_mut().map(|client| client.next(&mut random).as_millis()).collect();
            assert!(delays.iter().all(|&delay| delay <= window), "window of {window} ms: {delays:?}");
            for tenth in 0..10 {
                let within =
                    |delay: &&u128| (window * tenth..=window * (tenth + 1)).contains(&(**delay * 10));
                assert!(delays.iter().any(|delay| within(&delay)), "tenth {tenth} of {window} ms");
            }
        }
        clients[0].reset();
        assert!(clients[0].next(&mut random) <= Duration::from_millis(100));
    }

    /// When each of `clients` that lost their engine at one instant reaches the next one, which is there after `away`.
    fn arrivals(clients: usize, away: Duration, random: &mut ChaCha8Rng) -> Vec<Duration> {
        let arrival = |_| {
            let mut backoff = Backoff::default();
            let mut time = backoff.next(random);
            while time < away {
                time += backoff.next(random);
            }
            time
        };
        let mut arrivals: Vec<_> = (0..clients).map(arrival).collect();
        arrivals.sort();
        arrivals
    }

    #[test]
    fn an_engine_that_is_back_is_not_met_by_all_its_clients_at_once() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for away in [0, 20, 50, 100, 200, 500, 1000, 5000].map(Duration::from_millis) {
            let times = arrivals(200, away, &mut random);
            let from =
                |at: usize| times[at..].iter().take_while(|&&time| time < times[at] + MILLISECOND).count();
            let most = (0..times.len()).map(from).max().unwrap();
            let (median, last) = (times[100] - away, times[199] - away);
            println!(
                "away for {away:?}: at most {most} in 1 ms, median after {median:?}, last after {last:?}"
            );
            assert!(most < 12, "{most} of 200 within 1 ms, {away:?} after they lost it");
        }
    }

    const MILLISECOND: Duration = Duration::from_millis(1);
}

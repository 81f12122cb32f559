//! Looking once more before going to sleep.
//!
//! Nearly all of a lone call between two processes is the wake-up of a core that has gone to sleep (about 40 us each way),
//! not the copy. So whoever waits for a reply looks again for a moment before it parks. Between two looks other tasks of the
//! thread and the event loop have their turn, and a look is bounded. Where it finds nothing, because traffic is slow or
//! because the peer needs the very core that is looking, looks become rare: an idle node costs nothing, and a busy machine
//! loses less than a hundredth.

use std::time::{Duration, Instant};

use tokio::task::yield_now;

/// How long to look at most.
const BUDGET: Duration = Duration::from_micros(50);

/// Waits without a look after many looks in vain.
const RAREST: u32 = 1024;

/// When to look, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linger {
    /// Waits to come without a look.
    skip: u32,
    /// How many those were after the last look in vain.
    pause: u32,
}

impl Linger {
    pub(super) fn new() -> Linger {
        Linger { skip: 0, pause: 0 }
    }

    /// A wait begins. Looks until `look` finds something or the time is over; `None`: park. Safe to cancel.
    pub(super) async fn before_parking<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                self.pause = 0;
                return Some(found);
            }
            if began.elapsed() >= BUDGET {
                break;
            }
            yield_now().await;
        }
        self.pause = (2 * self.pause).clamp(1, RAREST);
        self.skip = self.pause;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the next wait begins with a look.
    async fn looks(linger: &mut Linger, finds: Option<u8>) -> bool {
        let mut looked = false;
        let found = linger
            .before_parking(|| {
                looked = true;
                finds
            })
            .await;
        assert_eq!(found, finds.filter(|_| looked));
        looked
    }

    #[tokio::test]
    async fn a_look_that_finds_something_is_followed_by_another() {
        let mut linger = Linger::new();
        for _ in 0..10 {
            assert!(looks(&mut linger, Some(7)).await);
        }
    }

    #[tokio::test]
    async fn looks_in_vain_become_rare_and_one_that_finds_something_makes_them_usual_again() {
        let mut linger = Linger::new();
        let mut vain = 0;
        for _ in 0..8 * RAREST {
            vain += u32::from(looks(&mut linger, None).await);
        }
        assert!((10..20).contains(&vain), "{vain} looks in {} waits", 8 * RAREST);
        for _ in 0..=RAREST {
            looks(&mut linger, Some(7)).await;
        }
        assert!(looks(&mut linger, Some(7)).await && looks(&mut linger, Some(7)).await);
    }
}

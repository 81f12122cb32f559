//! How long a restart waits (extensions section 1; OTP has no such pause).

use std::time::Duration;

use super::spec::Backoff;
use super::tree::{NodeId, Run};

/// The pause before the restart that follows `streak` restarts in a row: `min(max, initial * factor^streak)`, then
/// lengthened by the jitter.
///
/// The random part is a fixed mixture of node and run: the same history gives the same pauses (so that a state can be
/// replayed), while siblings that died together come back apart.
pub(super) fn pause(backoff: &Backoff, streak: u32, node: NodeId, run: Run) -> Duration {
    let mut pause = backoff.initial.min(backoff.max);
    for _ in 0..streak {
        let longer = (pause.saturating_mul(backoff.factor_milli) / 1000).min(backoff.max);
        if longer == pause {
            break;
        }
        pause = longer;
    }
    let chance = (mix(u64::from(node.0) << 32 | u64::from(run.0)) % 1001) as u32;
    let part = pause.saturating_mul(backoff.jitter_milli) / 1000;
    pause.saturating_add(part.saturating_mul(chance) / 1000)
}

/// The finaliser of splitmix64: every bit of the input moves every bit of the output.
fn mix(input: u64) -> u64 {
    let z = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubling() -> Backoff {
        Backoff {
            initial: Duration::from_millis(100),
            factor_milli: 2000,
            max: Duration::from_secs(2),
            jitter_milli: 0,
            reset_after: None,
        }
    }

    fn millis(backoff: &Backoff, streak: u32) -> u128 {
        pause(backoff, streak, NodeId(1), Run(1)).as_millis()
    }

    #[test]
    fn doubles_up_to_the_cap() {
        let pauses: Vec<_> = (0..7).map(|n| millis(&doubling(), n)).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(millis(&doubling(), u32::MAX), 2000);
    }

    #[test]
    fn a_factor_of_one_or_less_ends_the_growth() {
        assert_eq!(millis(&Backoff { factor_milli: 1000, ..doubling() }, u32::MAX), 100);
        assert_eq!(millis(&Backoff { factor_milli: 0, ..doubling() }, u32::MAX), 0);
        assert_eq!(millis(&Backoff { initial: Duration::MAX, ..doubling() }, 3), 2000);
    }

    #[test]
    fn jitter_only_lengthens_and_stays_in_its_part() {
        let jittered = Backoff { jitter_milli: 500, ..doubling() };
        let pauses: Vec<_> =
            (1..200).map(|run| pause(&jittered, 0, NodeId(3), Run(run)).as_millis()).collect();
        assert!(pauses.iter().all(|pause| (100..=150).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause > 140) && pauses.iter().any(|pause| *pause < 110));
    }
}

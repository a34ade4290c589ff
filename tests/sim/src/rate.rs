//! How fast simulated recoveries are: in a second of processor time, so that what else the machine does counts little.

use crate::campaign::run_seed;
use crate::plan::Shape;
use nix::time::{ClockId, clock_gettime};
use std::ops::Range;
use std::time::Duration;

/// Three nodes, and all else as it is drawn, the same in each round.
const SHAPE: Shape = Shape {
    nodes: Some(3),
    lockspaces: None,
    locks: None,
    rare: None,
    withdraws: false,
    aimed: false,
    lies: false,
    c_peers: false,
};
/// Seeds of a round.
const SEEDS: Range<u64> = 1..1001;
/// Others in the processor's caches make a round slow; nothing makes one faster than it is.
const ROUNDS: usize = 5;

/// Recoveries in a second of one processor: of the first round that has `enough`, else of the best one.
///
/// # Errors
/// A promise that was broken.
pub fn recoveries_a_second(enough: u64) -> Result<u64, String> {
    let mut best = 0;
    for _ in 0..ROUNDS {
        let begin = processor_time();
        let mut recoveries = 0;
        for seed in SEEDS {
            let outcome = run_seed(seed, SHAPE);
            if let Some(what) = outcome.broken {
                return Err(format!("seed {seed} of 3 nodes: {what}"));
            }
            recoveries += outcome.recoveries;
        }
        best = best.max(in_a_second(recoveries, processor_time().saturating_sub(begin)));
        if best >= enough {
            break;
        }
    }
    Ok(best)
}

fn in_a_second(count: u64, time: Duration) -> u64 {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000_000) / micros
}

/// Of this thread, the only one that simulates.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_whole_seconds() {
        assert_eq!(in_a_second(500, Duration::from_millis(250)), 2000);
        assert_eq!(in_a_second(3, Duration::from_secs(2)), 1);
        assert_eq!(in_a_second(7, Duration::ZERO), 7_000_000);
    }

    #[test]
    fn processor_time_passes_while_something_is_simulated() {
        let begin = processor_time();
        assert_eq!(run_seed(1, SHAPE).broken, None);
        assert!(processor_time() > begin);
    }
}

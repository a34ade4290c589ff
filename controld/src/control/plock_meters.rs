//! What the core counts of POSIX locks, as the document has it.

use dlm_core::plock::{PLOCK_BOUNDS, PlockMeters, PlockTimes};
use dlmcontrol::state::{Bucket, PlockMeters as Document, Timing};
use std::collections::BTreeMap;

/// Nanoseconds in a microsecond.
const NANOS_PER_US: u64 = 1000;

pub(super) fn document(of: &PlockMeters) -> Document {
    Document {
        requests: words([
            ("lock", of.locks),
            ("wait_lock", of.waiting_locks),
            ("unlock", of.unlocks),
            ("close", of.closes),
            ("test", of.tests),
            ("cancel", of.cancels),
        ]),
        results: words([("done", of.done), ("conflict", of.conflicts), ("error", of.errors)]),
        answers: timing(&of.answers),
        waits: timing(&of.waits),
        received: of.received,
        moves: words([("owned", of.owned), ("given_up", of.given_up), ("dropped", of.dropped)]),
        resources: count(of.resources),
        waiting: count(of.waiting),
        in_flight: count(of.in_flight),
    }
}

fn timing(of: &PlockTimes) -> Timing {
    let mut sum = 0_u64;
    let buckets = PLOCK_BOUNDS.iter().zip(&of.below).map(|(bound, below)| {
        sum = sum.saturating_add(*below);
        Bucket { up_to_us: bound / NANOS_PER_US, count: sum }
    });
    let buckets = buckets.collect();
    Timing { count: of.count, sum_us: of.sum_nanos / NANOS_PER_US, buckets }
}

fn words<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cumulated_and_in_microseconds() {
        let mut answers = PlockTimes { count: 5, sum_nanos: 1_234_567, ..PlockTimes::default() };
        answers.below[0] = 3;
        answers.below[2] = 1;
        let document = document(&PlockMeters { answers, closes: 4, ..PlockMeters::default() });
        assert_eq!((document.answers.count, document.answers.sum_us), (5, 1234));
        let first: Vec<_> = document.answers.buckets.iter().take(4).collect();
        let first: Vec<_> = first.iter().map(|bucket| (bucket.up_to_us, bucket.count)).collect();
        assert_eq!(first, [(100, 3), (250, 3), (500, 4), (1000, 4)]);
        assert_eq!(document.requests["close"], 4);
    }
}

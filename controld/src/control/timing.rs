//! How often something took how long: the histograms behind what the daemon tells of times.

use dlm_core::types::Instant;
use dlmcontrol::state::{Bucket, Timing};
use std::collections::BTreeMap;

/// Nanoseconds in a microsecond.
pub(super) const NANOS_PER_US: u64 = 1000;

/// A histogram. Its bounds are its user's, who gives the same ones each time: microseconds, smallest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// By upper bound, none of them cumulated; what is above all bounds is in `count` alone.
    below: BTreeMap<u64, u64>,
    count: u64,
    sum_ns: u64,
}

impl Histogram {
    /// Something went on from then to then; the other way round counts as no time.
    pub(super) fn observe(&mut self, bounds: &[u64], from: Instant, to: Instant) {
        let nanos = to.as_nanos().saturating_sub(from.as_nanos());
        self.count = self.count.saturating_add(1);
        self.sum_ns = self.sum_ns.saturating_add(nanos);
        let bound = bounds.iter().find(|bound| nanos <= bound.saturating_mul(NANOS_PER_US));
        if let Some(bound) = bound {
            add(&mut self.below, *bound);
        }
    }

    /// The document's form.
    pub(super) fn document(&self, bounds: &[u64]) -> Timing {
        let mut count = 0_u64;
        let buckets = bounds.iter().map(|bound| {
            count = count.saturating_add(self.below.get(bound).copied().unwrap_or_default());
            Bucket { up_to_us: *bound, count }
        });
        let buckets = buckets.collect();
        Timing { count: self.count, sum_us: self.sum_ns / NANOS_PER_US, buckets }
    }
}

/// One more of these.
pub(super) fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_include_those_before_them_and_what_is_above_all_counts_too() {
        let mut taken = Histogram::default();
        let at_us = |us: u64| Instant::from_nanos(us * NANOS_PER_US);
        for us in [1, 10, 11, 5000] {
            taken.observe(&[10, 100], at_us(7), at_us(7 + us));
        }
        taken.observe(&[10, 100], at_us(5), at_us(4));
        let document = taken.document(&[10, 100]);
        assert_eq!((document.count, document.sum_us), (5, 5022));
        let counts: Vec<u64> = document.buckets.iter().map(|bucket| bucket.count).collect();
        assert_eq!(counts, [3, 4]);
    }
}

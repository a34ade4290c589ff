//! The one source of chance: a small generator whose seed is printed with every story, so that it can be told again.

/// SplitMix64 (Steele, Lea, Flood 2014): one word of state, good enough to vary schedules, the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of one seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included; `low` where the range is empty.
    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low {
            return low;
        }
        low + self.word() % (high - low + 1)
    }

    /// True once in `n` draws.
    pub const fn one_in(&mut self, n: u64) -> bool {
        self.between(1, n) == 1
    }

    /// One of the items; `None` of none.
    pub fn pick<T: Clone>(&mut self, items: &[T]) -> Option<T> {
        let last = u64::try_from(items.len()).ok()?.checked_sub(1)?;
        usize::try_from(self.between(0, last)).ok().and_then(|i| items.get(i)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_numbers() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert!((0..100).all(|_| a.word() == b.word()));
    }

    #[test]
    fn picks_every_item_and_nothing_else() {
        let mut random = Random::new(1);
        let drawn: std::collections::BTreeSet<_> =
            (0..100).filter_map(|_| random.pick(&[1, 2, 3])).collect();
        assert_eq!(drawn, [1, 2, 3].into());
        assert_eq!(random.pick::<u8>(&[]), None);
    }
}

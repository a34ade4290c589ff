//! Bytes that have become free: where it is worth to look for a waiter that can be granted.

use super::record::Mode;
use super::resource::Lock;
use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// A set of bytes, as ranges that do not overlap: first byte to last byte.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Bytes {
    ranges: BTreeMap<u64, u64>,
}

impl Bytes {
    /// The ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(&start, &end)| (start, end))
    }

    /// Whether some byte of the range is in the set.
    pub(super) fn touches(&self, start: u64, end: u64) -> bool {
        self.last_until(end).is_some_and(|(_, last)| start <= last)
    }

    /// Adds a range.
    pub(super) fn add(&mut self, start: u64, end: u64) {
        let (mut first, mut last) = (start, end);
        while let Some((old_start, old_end)) = self.last_until(end).filter(|old| start <= old.1) {
            self.ranges.remove(&old_start);
            (first, last) = (first.min(old_start), last.max(old_end));
        }
        self.ranges.insert(first, last);
    }

    /// Takes a range out. Whether any of it was there.
    pub(super) fn take(&mut self, start: u64, end: u64) -> bool {
        let mut any = false;
        while let Some((old_start, old_end)) = self.last_until(end).filter(|old| start <= old.1) {
            any = true;
            self.ranges.remove(&old_start);
            if old_start < start {
                self.ranges.insert(old_start, start - 1);
            }
            if end < old_end {
                self.ranges.insert(end + 1, old_end);
            }
        }
        any
    }

    /// The last range that starts at the byte or before it.
    fn last_until(&self, end: u64) -> Option<(u64, u64)> {
        self.ranges.range(..=end).next_back().map(|(&start, &end)| (start, end))
    }
}

/// For each kind of waiter the bytes where it is worth to look (see `pass`).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Freed {
    read: Bytes,
    write: Bytes,
}

impl Freed {
    pub(super) fn is_empty(&self) -> bool {
        self.read.ranges.is_empty() && self.write.ranges.is_empty()
    }

    /// What waiters of one mode can hope for.
    pub(super) const fn of(&self, mode: Mode) -> &Bytes {
        match mode {
            Mode::Read => &self.read,
            Mode::Write => &self.write,
        }
    }

    /// A lock is gone. One for reading was in the way of writers alone.
    pub(super) fn lost(&mut self, gone: &Lock) {
        self.write.add(gone.start, gone.end);
        if gone.mode == Mode::Write {
            self.read.add(gone.start, gone.end);
        }
    }

    /// Somewhere in the range a lock for writing became one for reading: only readers gain.
    pub(super) fn lowered(&mut self, lock: &Lock) {
        self.read.add(lock.start, lock.end);
    }

    /// A waiter that nobody has tried yet.
    pub(super) fn untried(&mut self, waiter: &Lock) {
        match waiter.mode {
            Mode::Read => self.read.add(waiter.start, waiter.end),
            Mode::Write => self.write.add(waiter.start, waiter.end),
        }
    }

    /// A lock is held, and so in the way of all but its holder. Whether that takes anything away.
    pub(super) fn held(&mut self, lock: &Lock) -> bool {
        let from_writers = self.write.take(lock.start, lock.end);
        lock.mode == Mode::Write && self.read.take(lock.start, lock.end) || from_writers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of ranges of eight bytes, put into and taken out of what a third one left, against bits.
    #[test]
    fn ranges_are_sets_of_bytes() {
        let ranges = || (0..8_u64).flat_map(|start| (start..8).map(move |end| (start, end)));
        let bits = |(start, end): (u64, u64)| (start..=end).fold(0_u8, |bits, at| bits | 1 << at);
        let mut checked = 0;
        for first in ranges() {
            for second in ranges() {
                for third in ranges() {
                    let mut bytes = Bytes::default();
                    bytes.add(first.0, first.1);
                    bytes.add(second.0, second.1);
                    let held = bits(first) | bits(second);
                    assert_eq!(bytes.take(third.0, third.1), held & bits(third) != 0);
                    let left = held & !bits(third);
                    assert_eq!(bytes.iter().map(bits).fold(0, |all, part| all | part), left);
                    for probe in ranges() {
                        assert_eq!(bytes.touches(probe.0, probe.1), left & bits(probe) != 0);
                        checked += 1;
                    }
                }
            }
        }
        assert_eq!(checked, 36 * 36 * 36 * 36);
    }
}

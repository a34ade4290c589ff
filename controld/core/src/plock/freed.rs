//! Bytes that have become free: where it is worth to look for a waiter that can be granted.

use super::ranges::Room;
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

    /// Takes a range out.
    pub(super) fn take(&mut self, start: u64, end: u64) {
        while let Some((old_start, old_end)) = self.last_until(end).filter(|old| start <= old.1) {
            self.ranges.remove(&old_start);
            if old_start < start {
                self.ranges.insert(old_start, start - 1);
            }
            if end < old_end {
                self.ranges.insert(end + 1, old_end);
            }
        }
    }

    /// The bytes around a range as far as none is in the set. What of the set lies within the range, with bytes of it on both sides,
    /// is no limit.
    pub(super) fn room(&self, start: u64, end: u64) -> Room {
        let left = self.last_until(start).map_or(0, |(_, last)| last.saturating_add(1));
        let over = self.last_until(end).filter(|(first, last)| start < *first && end <= *last);
        let behind =
            || self.ranges.range(end..).map(|(first, _)| *first).find(|first| end < *first);
        let right = over.map(|(first, _)| first).or_else(behind);
        (left, right.map_or(u64::MAX, |first| first.saturating_sub(1)))
    }

    /// The last range that starts at the byte or before it.
    fn last_until(&self, end: u64) -> Option<(u64, u64)> {
        self.ranges.range(..=end).next_back().map(|(&start, &end)| (start, end))
    }
}

/// For each kind of waiter some bytes: where it is worth to look, or of no use to do so (see `pass`).
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

    /// A lock is held, and so in the way of all but its holder: bytes of no use to others. Whether that was not known.
    pub(super) fn block(&mut self, lock: &Lock) -> bool {
        let Lock { start, end, mode, .. } = *lock;
        let known = |bytes: &Bytes| bytes.last_until(start).is_some_and(|(_, last)| end <= last);
        let new = !known(&self.write) || mode == Mode::Write && !known(&self.read);
        if new {
            self.write.add(start, end);
            if mode == Mode::Write {
                self.read.add(start, end);
            }
        }
        new
    }

    /// Of these bytes readers may have use now.
    pub(super) fn unblock_readers(&mut self, lock: &Lock) {
        self.read.take(lock.start, lock.end);
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

    /// A lock is held, and so in the way of all but its holder.
    pub(super) fn held(&mut self, lock: &Lock) {
        self.write.take(lock.start, lock.end);
        if lock.mode == Mode::Write {
            self.read.take(lock.start, lock.end);
        }
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
                    bytes.take(third.0, third.1);
                    let left = (bits(first) | bits(second)) & !bits(third);
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

    /// Room around every range in every set of two ranges: none of the set's bytes, but those that lie within.
    #[test]
    fn room_ends_at_the_next_byte_of_the_set() {
        let ranges = || (0..8_u64).flat_map(|start| (start..8).map(move |end| (start, end)));
        for first in ranges() {
            for second in ranges().filter(|second| first.1 < second.0) {
                let mut bytes = Bytes::default();
                bytes.add(first.0, first.1);
                bytes.add(second.0, second.1);
                for (start, end) in ranges() {
                    let has = |byte: &u64| bytes.touches(*byte, *byte);
                    if has(&start) || has(&end) {
                        continue;
                    }
                    let left = (0..start).rev().find(has).map_or(0, |byte| byte + 1);
                    let right = (end..8).find(has).map_or(u64::MAX, |byte| byte - 1);
                    assert_eq!(bytes.room(start, end), (left, right), "{bytes:?} {start}-{end}");
                }
            }
        }
    }
}

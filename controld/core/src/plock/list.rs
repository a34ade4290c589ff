//! A list whose members can be found by their range, mode and holder.
//!
//! Most files have a lock or two: a short list of locks is looked through, which costs less than to keep trees beside it. They
//! are made when it gets long, and kept until it is empty.

use super::ranges::{Key, Ranges, Search, Wanted};
use super::record::{Holder, Mode, PlockInfo};
use super::resource::Lock;
use crate::types::NodeId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What can be a member.
pub(super) trait Member {
    /// A list without trees has so many at most.
    const SHORT: usize;

    /// The lock that it is or wants.
    fn lock(&self) -> Lock;
}

impl Member for Lock {
    /// Fewer in unit tests, which are to meet both kinds.
    const SHORT: usize = if cfg!(test) { 2 } else { 8 };

    fn lock(&self) -> Lock {
        *self
    }
}

impl Member for PlockInfo {
    /// A pass over waiters searches them by mode.
    const SHORT: usize = 0;

    fn lock(&self) -> Lock {
        Lock::of(self)
    }
}

/// A lock or a waiter, and whether its owner's SYNC message for it is still to come (spec/plocks.md section 5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry<T> {
    pub(super) item: T,
    pub(super) syncing: bool,
}

/// The list. Members have numbers that grow with their place in it; a number is never used again.
#[derive(Clone, Debug)]
pub(super) struct List<T> {
    next: u64,
    entries: BTreeMap<u64, Entry<T>>,
    /// Whether the trees are there.
    long: bool,
    by_mode: Ranges<Mode>,
    by_holder: Ranges<Holder>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        let (by_mode, by_holder) = (Ranges::default(), Ranges::default());
        Self { next: 0, entries: BTreeMap::new(), long: false, by_mode, by_holder }
    }
}

/// The members in their order; their numbers mean nothing.
impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.entries.values().map(|entry| (&entry.item, entry.syncing)))
    }
}

/// The index is made anew: what is decoded cannot disagree with it.
impl<'de, T: Member + Copy + Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut list = Self::default();
        for (item, syncing) in Vec::<(T, bool)>::deserialize(deserializer)? {
            let lock = item.lock();
            if lock.start > lock.end {
                return Err(D::Error::custom("a lock that ends before it begins"));
            }
            let seq = list.next;
            list.push(item);
            if let Some(entry) = list.entries.get_mut(&seq) {
                entry.syncing = syncing;
            }
        }
        Ok(list)
    }
}

/// Lists are equal if their members are, whatever their numbers.
impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries.values().eq(other.entries.values())
    }
}

impl<T: Eq> Eq for List<T> {}

impl<T: Hash> Hash for List<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.entries.len());
        self.entries.values().for_each(|entry| entry.hash(state));
    }
}

impl<T: Member + Copy> List<T> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&self, seq: u64) -> Option<T> {
        self.entries.get(&seq).map(|entry| entry.item)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.values()
    }

    /// Appends.
    pub(super) fn push(&mut self, item: T) {
        let seq = self.next;
        self.next = seq.saturating_add(1);
        self.entries.insert(seq, Entry { item, syncing: false });
        if self.long {
            self.index(seq, &item.lock());
        } else if self.entries.len() > T::SHORT {
            self.long = true;
            let all: Vec<(u64, Lock)> =
                self.entries.iter().map(|(seq, entry)| (*seq, entry.item.lock())).collect();
            all.iter().for_each(|(seq, lock)| self.index(*seq, lock));
        }
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, seq: u64) -> Option<T> {
        let item = self.entries.remove(&seq)?.item;
        self.forget(seq, &item.lock());
        self.long &= !self.entries.is_empty();
        Some(item)
    }

    /// Another member in its place, which keeps the mark.
    pub(super) fn replace(&mut self, seq: u64, item: T) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            let old = core::mem::replace(&mut entry.item, item);
            if self.long {
                self.forget(seq, &old.lock());
                self.index(seq, &item.lock());
            }
        }
    }

    /// Marks all members.
    pub(super) fn mark_syncing(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.syncing = true);
    }

    /// Clears the mark of the first marked member that is or wants this lock. Whether there was one.
    pub(super) fn synced(&mut self, lock: &Lock) -> bool {
        let same = |entry: &&mut Entry<T>| entry.syncing && entry.item.lock() == *lock;
        let of_holder: Vec<u64> = self.own(lock).collect();
        for seq in of_holder {
            if let Some(entry) = self.entries.get_mut(&seq).filter(same) {
                entry.syncing = false;
                return true;
            }
        }
        false
    }

    /// A search of members by mode and range; nothing is found in a short list.
    pub(super) const fn search(&self) -> Search<'_, Mode> {
        self.by_mode.search()
    }

    /// The first, in list order, of those that overlap the wanted lock and are not its holder's, with a mode that does not go
    /// together with its mode.
    pub(super) fn in_the_way(&self, wanted: &Lock) -> Option<Lock> {
        if !self.long {
            let mut locks = self.entries.values().map(|entry| entry.item.lock());
            return locks.find(|lock| {
                let exclusive = Mode::Write == lock.mode || Mode::Write == wanted.mode;
                let overlaps = lock.start <= wanted.end && wanted.start <= lock.end;
                exclusive && overlaps && lock.holder != wanted.holder
            });
        }
        let mut search = self.search();
        search.add(Wanted::overlapping(Mode::Write, wanted.start, wanted.end));
        if wanted.mode == Mode::Write {
            search.add(Wanted::overlapping(Mode::Read, wanted.start, wanted.end));
        }
        let hits = core::iter::from_fn(|| search.next(|_| true));
        let mut locks = hits.filter_map(|hit| self.get(hit.seq)).map(|item| item.lock());
        locks.find(|lock| lock.holder != wanted.holder)
    }

    /// Those of a holder that overlap its lock, in list order.
    pub(super) fn own(&self, lock: &Lock) -> impl Iterator<Item = u64> {
        self.of(Wanted::overlapping(lock.holder, lock.start, lock.end))
    }

    /// All of a holder, in list order.
    pub(super) fn of_holder(&self, holder: Holder) -> impl Iterator<Item = u64> {
        self.of(Wanted::overlapping(holder, 0, u64::MAX))
    }

    /// All of a node, in list order.
    pub(super) fn of_node(&self, node: NodeId) -> impl Iterator<Item = u64> {
        let first = Holder { node, owner: 0 };
        let last = Holder { node, owner: u64::MAX };
        self.of(Wanted { first, last, start: 0, end: u64::MAX })
    }

    fn of(&self, wanted: Wanted<Holder>) -> impl Iterator<Item = u64> {
        let found = self.long.then(|| self.by_holder.find(wanted));
        let short = (!self.long).then_some(&self.entries);
        let looked_through = short.into_iter().flatten().filter(move |(_, entry)| {
            let lock = entry.item.lock();
            (wanted.first..=wanted.last).contains(&lock.holder)
                && lock.start <= wanted.end
                && wanted.start <= lock.end
        });
        found.into_iter().flatten().chain(looked_through.map(|(seq, _)| *seq))
    }

    fn index(&mut self, seq: u64, lock: &Lock) {
        let &Lock { start, end, holder, mode, .. } = lock;
        self.by_mode.insert(Key { group: mode, start, seq }, end);
        self.by_holder.insert(Key { group: holder, start, seq }, end);
    }

    fn forget(&mut self, seq: u64, lock: &Lock) {
        if !self.long {
            return;
        }
        let &Lock { start, holder, mode, .. } = lock;
        self.by_mode.remove(Key { group: mode, start, seq });
        self.by_holder.remove(Key { group: holder, start, seq });
    }
}

//! A list whose members can be found by their range, mode and holder.
//!
//! Most files have a lock or two: a short list of locks is a vector that is looked through, which costs less than to keep trees,
//! in time as in memory. They are made when it gets long, and kept until it is empty.

use super::ranges::{ANYWHERE, Ends, Key, Lowest, Ranges, Search, Wanted};
use super::record::{Holder, Mode, PlockInfo};
use super::resource::Lock;
use crate::types::NodeId;
use alloc::boxed::Box;
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

/// A member, behind its number.
type Numbered<T> = (u64, Entry<T>);

/// The list; `E`: what its tree by mode knows of last bytes. Members have numbers that grow with their place in it; a number is never
/// used again.
#[derive(Clone, Debug)]
pub(super) struct List<T, E = ()> {
    next: u64,
    members: Members<T, E>,
}

/// Of waiters those that reach too far are left out.
pub(super) type Waiters = List<PlockInfo, Lowest>;

#[derive(Clone, Debug)]
enum Members<T, E> {
    /// With their numbers, in their order. What is empty is short.
    Short(Vec<Numbered<T>>),
    Long(Box<Long<T, E>>),
}

/// Many members, and trees to find them.
#[derive(Clone, Debug)]
struct Long<T, E> {
    entries: BTreeMap<u64, Entry<T>>,
    by_mode: Ranges<Mode, E>,
    by_holder: Ranges<Holder>,
}

impl<T, E> Default for List<T, E> {
    fn default() -> Self {
        Self { next: 0, members: Members::Short(Vec::new()) }
    }
}

/// The members in their order; their numbers mean nothing.
impl<T: Serialize, E> Serialize for List<T, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const fn both<T>(entry: &Entry<T>) -> (&T, bool) {
            (&entry.item, entry.syncing)
        }
        match &self.members {
            Members::Short(all) => serializer.collect_seq(all.iter().map(|(_, entry)| both(entry))),
            Members::Long(long) => serializer.collect_seq(long.entries.values().map(both)),
        }
    }
}

/// The index is made anew: what is decoded cannot disagree with it.
impl<'de, T: Member + Copy + Deserialize<'de>, E: Ends> Deserialize<'de> for List<T, E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut list = Self::default();
        for (item, syncing) in Vec::<(T, bool)>::deserialize(deserializer)? {
            let lock = item.lock();
            if lock.start > lock.end {
                return Err(D::Error::custom("a lock that ends before it begins"));
            }
            let seq = list.next;
            list.push(item);
            if let Some(entry) = list.entry_mut(seq) {
                entry.syncing = syncing;
            }
        }
        Ok(list)
    }
}

/// Lists are equal if their members are, whatever their numbers.
impl<T: PartialEq, E> PartialEq for List<T, E> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: Eq, E> Eq for List<T, E> {}

impl<T: Hash, E> Hash for List<T, E> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.len());
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl<T, E> List<T, E> {
    pub(super) fn len(&self) -> usize {
        match &self.members {
            Members::Short(all) => all.len(),
            Members::Long(long) => long.entries.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.members {
            Members::Short(all) => all.is_empty(),
            Members::Long(_) => false,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        let (short, long) = self.parts();
        let long = long.into_iter().flat_map(|long| long.entries.values());
        short.iter().map(|(_, entry)| entry).chain(long)
    }

    /// From this number on, with their numbers.
    pub(super) fn tail(&self, first: u64) -> impl Iterator<Item = (u64, &Entry<T>)> {
        let (short, long) = self.parts();
        let short = short.iter().map(|(seq, entry)| (*seq, entry));
        let long = long.into_iter().flat_map(move |long| long.entries.range(first..));
        short.filter(move |(seq, _)| *seq >= first).chain(long.map(|(seq, entry)| (*seq, entry)))
    }

    /// The one that there is; the other is empty.
    fn parts(&self) -> (&[Numbered<T>], Option<&Long<T, E>>) {
        match &self.members {
            Members::Short(all) => (all, None),
            Members::Long(long) => (&[], Some(long)),
        }
    }

    fn entry_mut(&mut self, seq: u64) -> Option<&mut Entry<T>> {
        match &mut self.members {
            Members::Short(all) => {
                all.iter_mut().find(|(of, _)| *of == seq).map(|(_, entry)| entry)
            }
            Members::Long(long) => long.entries.get_mut(&seq),
        }
    }
}

impl<T: Member + Copy, E: Ends> List<T, E> {
    pub(super) fn get(&self, seq: u64) -> Option<T> {
        let entry = match &self.members {
            Members::Short(all) => all.iter().find(|(of, _)| *of == seq).map(|(_, entry)| entry),
            Members::Long(long) => long.entries.get(&seq),
        };
        entry.map(|entry| entry.item)
    }

    /// Appends.
    pub(super) fn push(&mut self, item: T) {
        let seq = self.next;
        self.next = seq.saturating_add(1);
        let entry = Entry { item, syncing: false };
        match &mut self.members {
            Members::Short(all) if all.len() < T::SHORT => {
                if all.is_empty() {
                    // Most have one.
                    all.reserve_exact(1);
                }
                all.push((seq, entry));
            }
            Members::Short(all) => {
                let mut long = Long::default();
                let all = core::mem::take(all).into_iter().chain([(seq, entry)]);
                all.for_each(|(seq, entry)| long.insert(seq, entry));
                self.members = Members::Long(Box::new(long));
            }
            Members::Long(long) => long.insert(seq, entry),
        }
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, seq: u64) -> Option<T> {
        match &mut self.members {
            Members::Short(all) => {
                let place = all.iter().position(|(of, _)| *of == seq)?;
                Some(all.remove(place).1.item)
            }
            Members::Long(long) => {
                let item = long.entries.remove(&seq)?.item;
                long.forget(seq, &item.lock());
                if long.entries.is_empty() {
                    self.members = Members::Short(Vec::new());
                }
                Some(item)
            }
        }
    }

    /// Another member in its place, which keeps the mark.
    pub(super) fn replace(&mut self, seq: u64, item: T) {
        let Some(entry) = self.entry_mut(seq) else { return };
        let old = core::mem::replace(&mut entry.item, item);
        if let Members::Long(long) = &mut self.members {
            long.forget(seq, &old.lock());
            long.index(seq, &item.lock());
        }
    }

    /// Marks all members.
    pub(super) fn mark_syncing(&mut self) {
        match &mut self.members {
            Members::Short(all) => all.iter_mut().for_each(|(_, entry)| entry.syncing = true),
            Members::Long(long) => {
                long.entries.values_mut().for_each(|entry| entry.syncing = true);
            }
        }
    }

    /// Clears the mark of the first marked member that is or wants this lock. Whether there was one.
    pub(super) fn synced(&mut self, lock: &Lock) -> bool {
        let same = |entry: &&mut Entry<T>| entry.syncing && entry.item.lock() == *lock;
        let of_holder: Vec<u64> = self.own(lock).collect();
        for seq in of_holder {
            if let Some(entry) = self.entry_mut(seq).filter(same) {
                entry.syncing = false;
                return true;
            }
        }
        false
    }

    /// A search of members by mode and range, in a long list.
    pub(super) fn search(&self) -> Option<Search<'_, Mode, E>> {
        self.parts().1.map(|long| long.by_mode.search())
    }

    /// The first, in list order, of those that overlap the wanted lock and are not its holder's, with a mode that does not go
    /// together with its mode.
    pub(super) fn in_the_way(&self, wanted: &Lock) -> Option<Lock> {
        let Some(mut search) = self.search() else {
            let mut locks = self.parts().0.iter().map(|(_, entry)| entry.item.lock());
            return locks.find(|lock| {
                let exclusive = Mode::Write == lock.mode || Mode::Write == wanted.mode;
                let overlaps = lock.start <= wanted.end && wanted.start <= lock.end;
                exclusive && overlaps && lock.holder != wanted.holder
            });
        };
        search.add(Wanted::overlapping(Mode::Write, wanted.start, wanted.end));
        if wanted.mode == Mode::Write {
            search.add(Wanted::overlapping(Mode::Read, wanted.start, wanted.end));
        }
        let hits = core::iter::from_fn(|| search.next(|_| Some(ANYWHERE)));
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
        let (short, long) = self.parts();
        let looked_through = short.iter().filter(move |(_, entry)| {
            let lock = entry.item.lock();
            (wanted.first..=wanted.last).contains(&lock.holder)
                && lock.start <= wanted.end
                && wanted.start <= lock.end
        });
        let found = long.map(|long| long.by_holder.find(wanted));
        looked_through.map(|(seq, _)| *seq).chain(found.into_iter().flatten())
    }
}

impl<T, E> Default for Long<T, E> {
    fn default() -> Self {
        let (by_mode, by_holder) = (Ranges::default(), Ranges::default());
        Self { entries: BTreeMap::new(), by_mode, by_holder }
    }
}

impl<T: Member, E: Ends> Long<T, E> {
    fn insert(&mut self, seq: u64, entry: Entry<T>) {
        self.index(seq, &entry.item.lock());
        self.entries.insert(seq, entry);
    }

    fn index(&mut self, seq: u64, lock: &Lock) {
        let &Lock { start, end, holder, mode, .. } = lock;
        self.by_mode.insert(Key { group: mode, start, seq }, end);
        self.by_holder.insert(Key { group: holder, start, seq }, end);
    }

    fn forget(&mut self, seq: u64, lock: &Lock) {
        let &Lock { start, holder, mode, .. } = lock;
        self.by_mode.remove(Key { group: mode, start, seq });
        self.by_holder.remove(Key { group: holder, start, seq });
    }
}

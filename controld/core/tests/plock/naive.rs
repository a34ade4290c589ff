//! The rules of spec/plocks.md section 3 on plain lists: slow, and simple enough to be right at sight.

use dlm_core::plock::{Answer, Lock, Mode, PlockInfo};
use dlm_core::types::NodeId;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<T> {
    item: T,
    syncing: bool,
}

impl<T> Entry<T> {
    const fn new(item: T) -> Self {
        Self { item, syncing: false }
    }
}

const fn overlaps(one: &Lock, other: &Lock) -> bool {
    one.start <= other.end && other.start <= one.end
}

const fn covers(one: &Lock, other: &Lock) -> bool {
    one.start <= other.start && other.end <= one.end
}

fn conflicts(one: &Lock, other: &Lock) -> bool {
    overlaps(one, other)
        && one.holder != other.holder
        && (one.mode == Mode::Write || other.mode == Mode::Write)
}

/// The same calls as those of `Resource`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Naive {
    /// In list order.
    locks: Vec<Entry<Lock>>,
    /// First come, first tried.
    waiters: Vec<Entry<PlockInfo>>,
}

impl Naive {
    /// Whether the rules have a meaning for the range.
    #[must_use]
    pub(crate) const fn accepts(start: u64, end: u64) -> bool {
        start <= end
    }

    /// LOCK. The waiters are not run.
    pub(crate) fn lock(&mut self, request: &PlockInfo) -> Answer {
        if !Self::accepts(request.start, request.end) {
            Answer::Invalid
        } else if self.get(request).is_none() {
            self.insert(Lock::of(request));
            Answer::Granted
        } else if request.wait {
            self.waiters.push(Entry::new(*request));
            Answer::Queued
        } else {
            Answer::Conflict
        }
    }

    /// UNLOCK. With CLOSE the holder's waiters go as well, in their order, into `cleared`. The waiters are not run.
    pub(crate) fn unlock(&mut self, request: &PlockInfo, cleared: &mut Vec<PlockInfo>) {
        if Self::accepts(request.start, request.end) {
            self.remove(&Lock::of(request));
        }
        if request.is_close() {
            let gone = |waiter: &Entry<PlockInfo>| waiter.item.holder() == request.holder();
            cleared.extend(self.waiters.iter().filter(|w| gone(w)).map(|waiter| waiter.item));
            self.waiters.retain(|waiter| !gone(waiter));
        }
    }

    /// GET: the first lock in list order that is in the way.
    #[must_use]
    pub(crate) fn get(&self, request: &PlockInfo) -> Option<Lock> {
        let wanted = Lock::of(request);
        if !Self::accepts(request.start, request.end) {
            return None;
        }
        self.locks.iter().map(|lock| lock.item).find(|lock| conflicts(lock, &wanted))
    }

    /// CANCEL: removes the first waiter equal in node, owner, pid, range and mode. Whether there was one.
    pub(crate) fn cancel(&mut self, request: &PlockInfo) -> bool {
        let wanted = Lock::of(request);
        let found = self.waiters.iter().position(|waiter| Lock::of(&waiter.item) == wanted);
        if let Some(at) = found {
            self.waiters.remove(at);
        }
        found.is_some()
    }

    /// One pass over the waiters in their order: each that nothing is in the way of now gets its lock and is put into
    /// `granted`. A waiter granted late in the pass does not lead to a second try of those before it.
    pub(crate) fn run_waiters(&mut self, granted: &mut Vec<PlockInfo>) {
        for waiter in std::mem::take(&mut self.waiters) {
            if self.get(&waiter.item).is_none() {
                self.insert(Lock::of(&waiter.item));
                granted.push(waiter.item);
            } else {
                self.waiters.push(waiter);
            }
        }
    }

    /// Drops the locks and waiters of a node that is gone; how many there were. The waiters are not run.
    pub(crate) fn purge(&mut self, node: NodeId) -> usize {
        let before = self.locks.len().saturating_add(self.waiters.len());
        self.locks.retain(|lock| lock.item.holder.node != node);
        self.waiters.retain(|waiter| waiter.item.node != node);
        before.saturating_sub(self.locks.len()).saturating_sub(self.waiters.len())
    }

    /// A lock of a SYNC message or a state transfer: appended without any check but that of its range. Whether it was.
    pub(crate) fn push_lock(&mut self, lock: Lock) -> bool {
        let accepted = Self::accepts(lock.start, lock.end);
        if accepted {
            self.locks.push(Entry::new(lock));
        }
        accepted
    }

    /// A waiter of a SYNC message or a state transfer: appended without any check but that of its range. Whether it was.
    pub(crate) fn push_waiter(&mut self, info: PlockInfo) -> bool {
        let accepted = Self::accepts(info.start, info.end);
        if accepted {
            self.waiters.push(Entry::new(info));
        }
        accepted
    }

    /// Marks everything here: a SYNC message is under way for it.
    pub(crate) fn mark_syncing(&mut self) {
        self.locks.iter_mut().for_each(|lock| lock.syncing = true);
        self.waiters.iter_mut().for_each(|waiter| waiter.syncing = true);
    }

    /// Our own SYNC message came back: clears the mark of the first marked lock, else waiter, equal in range, holder,
    /// pid and mode. Whether there was one.
    pub(crate) fn synced(&mut self, info: &PlockInfo) -> bool {
        let wanted = Lock::of(info);
        let lock = self.locks.iter_mut().find(|lock| lock.syncing && lock.item == wanted);
        if let Some(lock) = lock {
            lock.syncing = false;
            return true;
        }
        let same = |waiter: &PlockInfo| Lock::of(waiter) == wanted;
        let waiter = self.waiters.iter_mut().find(|waiter| waiter.syncing && same(&waiter.item));
        waiter.map(|waiter| waiter.syncing = false).is_some()
    }

    /// The locks in list order, each with its mark of [`Self::mark_syncing`].
    pub(crate) fn locks(&self) -> impl Iterator<Item = (&Lock, bool)> {
        self.locks.iter().map(|lock| (&lock.item, lock.syncing))
    }

    /// The waiters, longest waiting first, each with its mark of [`Self::mark_syncing`].
    pub(crate) fn waiters(&self) -> impl Iterator<Item = (&PlockInfo, bool)> {
        self.waiters.iter().map(|waiter| (&waiter.item, waiter.syncing))
    }

    /// Neither locks nor waiters.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.locks.is_empty() && self.waiters.is_empty()
    }

    /// Drops all locks and waiters.
    pub(crate) fn clear(&mut self) {
        self.locks.clear();
        self.waiters.clear();
    }

    /// Nothing is in the way: what the holder has in the range gives way to the new lock.
    fn insert(&mut self, new: Lock) {
        let mut rest = Vec::new();
        let mut done = false;
        self.locks.retain_mut(|entry| {
            let old = &mut entry.item;
            if done || old.holder != new.holder || !overlaps(old, &new) {
                return true;
            }
            if covers(old, &new) && (old.start, old.end) != (new.start, new.end) {
                done = true;
                if old.mode != new.mode {
                    let part = |start, end| Lock { start, end, mode: old.mode, ..new };
                    if old.start < new.start {
                        rest.push(part(old.start, new.start - 1));
                    }
                    if new.end < old.end {
                        rest.push(part(new.end + 1, old.end));
                    }
                    *old = Lock { pid: old.pid, ..new };
                }
            } else if old.start == new.start && old.end == new.end {
                done = true;
                old.mode = new.mode;
            } else if covers(&new, old) {
                return false;
            } else {
                trim(old, &new);
            }
            true
        });
        if !done {
            rest.push(new);
        }
        self.locks.extend(rest.into_iter().map(Entry::new));
    }

    /// Takes a range from its holder.
    fn remove(&mut self, gone: &Lock) {
        let mut rest = None;
        let mut done = false;
        self.locks.retain_mut(|entry| {
            let old = &mut entry.item;
            if done || old.holder != gone.holder || !overlaps(old, gone) {
                return true;
            }
            done = covers(old, gone);
            if covers(gone, old) {
                return false;
            }
            if old.start < gone.start && gone.end < old.end {
                rest = Some(Lock { start: gone.end + 1, pid: gone.pid, ..*old });
                old.end = gone.start - 1;
            } else {
                trim(old, gone);
            }
            true
        });
        self.locks.extend(rest.map(Entry::new));
    }
}

/// Cuts from `old` what it has in common with `other`, which overlaps one of its ends but not both.
fn trim(old: &mut Lock, other: &Lock) {
    if old.start < other.start {
        old.end = other.start - 1;
    } else {
        old.start = other.end + 1;
    }
}

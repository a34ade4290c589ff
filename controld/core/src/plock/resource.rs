//! One resource (an inode of a lockspace): who holds which bytes, and who waits for them.
//!
//! The rules are those of spec/plocks.md section 3, list order included: `F_GETLK` names the first lock in the way, a
//! joiner is sent the locks in their order, so replicas agree only if all of them keep it. Nothing is ever merged.
//!
//! Cost, with n locks here: a lock, an unlock, a test takes O(log n) and O(log n) for each lock of the holder that it
//! touches; a close and a purge O(log n) for each entry that they remove; a pass over the waiters see `pass`.
//!
//! A range whose start is behind its end comes from no kernel (fcntl refuses it) and has no meaning in the rules. It is
//! never stored: `lock` answers [`Answer::Invalid`], the rest changes nothing. Check with [`Resource::accepts`] at the
//! border, to answer EINVAL.

use super::freed::Freed;
use super::list::Waiters;
use super::locks::Locks;
use super::pass;
use super::record::{Holder, Mode, PlockInfo};
use crate::types::NodeId;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use serde::{Deserialize, Serialize};

/// A granted lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lock {
    /// First byte.
    pub start: u64,
    /// Last byte, inclusive.
    pub end: u64,
    /// Whose.
    pub holder: Holder,
    /// The process that asked for it, or for the lock that split it.
    pub pid: u32,
    /// How.
    pub mode: Mode,
}

impl Lock {
    /// What a request asks for.
    #[must_use]
    pub const fn of(request: &PlockInfo) -> Self {
        Self {
            start: request.start,
            end: request.end,
            holder: request.holder(),
            pid: request.pid,
            mode: request.mode,
        }
    }

    pub(super) const fn covers(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// What became of a request for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 0: it is held.
    Granted,
    /// EAGAIN: somebody is in the way, and the caller does not wait.
    Conflict,
    /// No answer yet: it waits, [`Resource::run_waiters`] will grant it.
    Queued,
    /// EINVAL: the range starts behind its end; nothing has changed.
    Invalid,
}

/// What is said of a resource, one after the other.
pub(super) enum Part {
    Lock(Lock),
    Waiter(PlockInfo),
}

/// A place among the parts: what is not behind it has these numbers, or higher ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    lock: u64,
    waiter: u64,
}

/// The locks and waiters of one inode. Two are equal if they hold the same in the same order: how they came to it leaves
/// no trace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Resource {
    locks: Locks,
    /// First come, first tried.
    waiters: Waiters,
    /// Where a waiter may have become free to go since the waiters ran; empty while nobody waits.
    freed: Freed,
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.locks == other.locks && self.waiters == other.waiters
    }
}

impl Eq for Resource {}

impl Hash for Resource {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.locks.hash(state);
        self.waiters.hash(state);
    }
}

impl Resource {
    /// Whether the rules have a meaning for the range.
    #[must_use]
    pub const fn accepts(start: u64, end: u64) -> bool {
        start <= end
    }

    /// LOCK. The waiters are not run.
    pub fn lock(&mut self, request: &PlockInfo) -> Answer {
        let wanted = Lock::of(request);
        if !Self::accepts(request.start, request.end) {
            Answer::Invalid
        } else if self.locks.in_the_way(&wanted).is_none() {
            if self.locks.insert(wanted) && !self.waiters.is_empty() {
                self.freed.lowered(&wanted);
            }
            Answer::Granted
        } else if request.wait {
            self.waiters.push(*request);
            Answer::Queued
        } else {
            Answer::Conflict
        }
    }

    /// UNLOCK. With CLOSE the holder's waiters go as well, in their order, into `cleared`. The waiters are not run.
    pub fn unlock(&mut self, request: &PlockInfo, cleared: &mut Vec<PlockInfo>) {
        if request.is_close() {
            let of_holder: Vec<u64> = self.waiters.of_holder(request.holder()).collect();
            cleared.extend(of_holder.into_iter().filter_map(|seq| self.waiters.remove(seq)));
        }
        if Self::accepts(request.start, request.end) {
            let waited_for = !self.waiters.is_empty();
            self.locks.remove(&Lock::of(request), |lost| {
                if waited_for {
                    self.freed.lost(lost);
                }
            });
        }
        self.forget_freed();
    }

    /// GET: the first lock in list order that is in the way.
    #[must_use]
    pub fn get(&self, request: &PlockInfo) -> Option<Lock> {
        let accepted = Self::accepts(request.start, request.end);
        self.locks.in_the_way(&Lock::of(request)).filter(|_| accepted)
    }

    /// CANCEL: removes the first waiter equal in node, owner, pid, range and mode. Whether there was one.
    pub fn cancel(&mut self, request: &PlockInfo) -> bool {
        let wanted = Lock::of(request);
        let same = |seq: &u64| self.waiters.get(*seq).is_some_and(|w| Lock::of(&w) == wanted);
        let found = self.waiters.own(&wanted).find(same);
        let cancelled = found.and_then(|seq| self.waiters.remove(seq)).is_some();
        self.forget_freed();
        cancelled
    }

    /// One pass over the waiters in their order: each that nothing is in the way of now gets its lock and is put into
    /// `granted`. A waiter granted late in the pass does not lead to a second try of those before it.
    pub fn run_waiters(&mut self, granted: &mut Vec<PlockInfo>) {
        if !self.waiters.is_empty() {
            pass::run(&mut self.locks, &mut self.waiters, &mut self.freed, granted);
        }
        self.forget_freed();
    }

    /// Drops the locks and waiters of a node that is gone; how many there were. The waiters are not run.
    pub fn purge(&mut self, node: NodeId) -> usize {
        let before = self.len();
        let waiters: Vec<u64> = self.waiters.of_node(node).collect();
        for seq in waiters {
            self.waiters.remove(seq);
        }
        let waited_for = !self.waiters.is_empty();
        self.locks.purge(node, |lost| {
            if waited_for {
                self.freed.lost(lost);
            }
        });
        self.forget_freed();
        before.saturating_sub(self.len())
    }

    /// A lock of a SYNC message or a state transfer: appended without any check but that of its range. Whether it was.
    pub fn push_lock(&mut self, lock: Lock) -> bool {
        let accepted = Self::accepts(lock.start, lock.end);
        if accepted {
            self.locks.push(lock);
        }
        accepted
    }

    /// A waiter of a SYNC message or a state transfer: appended without any check but that of its range. Whether it was.
    pub fn push_waiter(&mut self, info: PlockInfo) -> bool {
        let accepted = Self::accepts(info.start, info.end);
        if accepted {
            self.waiters.push(info);
            self.freed.untried(&Lock::of(&info));
        }
        accepted
    }

    /// Marks everything here: a SYNC message is under way for it.
    pub fn mark_syncing(&mut self) {
        self.locks.mark_syncing();
        self.waiters.mark_syncing();
    }

    /// Our own SYNC message came back: clears the mark of the first marked lock, else waiter, equal in range, holder,
    /// pid and mode. Whether there was one.
    pub fn synced(&mut self, info: &PlockInfo) -> bool {
        let lock = Lock::of(info);
        self.locks.synced(&lock) || self.waiters.synced(&lock)
    }

    /// The locks in list order, each with its mark of [`Self::mark_syncing`].
    pub fn locks(&self) -> impl Iterator<Item = (&Lock, bool)> {
        self.locks.iter().map(|lock| (&lock.item, lock.syncing))
    }

    /// The waiters, longest waiting first, each with its mark of [`Self::mark_syncing`].
    pub fn waiters(&self) -> impl Iterator<Item = (&PlockInfo, bool)> {
        self.waiters.iter().map(|waiter| (&waiter.item, waiter.syncing))
    }

    /// What comes next, the locks in their order before the waiters in theirs; the cursor goes behind it.
    pub(super) fn next_part(&self, cursor: &mut Cursor) -> Option<Part> {
        if let Some((seq, lock)) = self.locks_from(cursor.lock).next() {
            cursor.lock = seq.saturating_add(1);
            return Some(Part::Lock(*lock));
        }
        let (seq, waiter) = self.waiters_from(cursor.waiter).next()?;
        cursor.waiter = seq.saturating_add(1);
        Some(Part::Waiter(*waiter))
    }

    /// The cursor behind so many of them.
    pub(super) fn cursor_behind(&self, count: usize) -> Cursor {
        let mut cursor = Cursor::default();
        for _ in 0..count {
            self.next_part(&mut cursor);
        }
        cursor
    }

    /// The locks in list order, from this number on; a lock keeps its number.
    pub(super) fn locks_from(&self, first: u64) -> impl Iterator<Item = (u64, &Lock)> {
        self.locks.tail(first).map(|(seq, lock)| (seq, &lock.item))
    }

    /// The waiters, longest waiting first, from this number on; a waiter keeps its number.
    pub(super) fn waiters_from(&self, first: u64) -> impl Iterator<Item = (u64, &PlockInfo)> {
        self.waiters.tail(first).map(|(seq, waiter)| (seq, &waiter.item))
    }

    /// Locks and waiters.
    pub(super) fn len(&self) -> usize {
        self.locks.len().saturating_add(self.waiters.len())
    }

    /// Somebody has a lock here, or waits for one.
    pub(super) fn is_of(&self, holder: Holder) -> bool {
        self.locks.is_of(holder) || self.waiters.of_holder(holder).next().is_some()
    }

    /// The waiters' next pass may grant something, whatever it is for.
    pub(super) fn has_freed(&self) -> bool {
        !self.freed.is_empty()
    }

    /// Neither locks nor waiters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.locks.is_empty() && self.waiters.is_empty()
    }

    /// Drops all locks and waiters.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn forget_freed(&mut self) {
        if self.waiters.is_empty() && self.has_freed() {
            self.freed = Freed::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plock::{FLAG_CLOSE, Op};
    use crate::types::GlobalId;
    use alloc::string::String;
    use core::fmt::Write as _;

    fn request(owner: u64, mode: Mode, start: u64, end: u64) -> PlockInfo {
        PlockInfo {
            version: [1, 2, 0],
            op: Op::Lock,
            mode,
            wait: true,
            flags: 0,
            pid: u32::try_from(owner).unwrap(),
            node: NodeId::new(1).unwrap(),
            result: 0,
            fsid: GlobalId(1),
            number: 1,
            start,
            end,
            owner,
        }
    }

    fn shown(resource: &Resource) -> String {
        let mut text = String::new();
        for (lock, _) in resource.locks() {
            let Lock { start, end, holder, pid, mode } = lock;
            write!(text, "{:?} {start}-{end} {} pid {pid}, ", mode, holder.owner).unwrap();
        }
        text
    }

    /// The holder has one lock 10-20; what the list is after one more request.
    fn after(step: impl Fn(&mut Resource)) -> String {
        let mut resource = Resource::default();
        assert_eq!(resource.lock(&request(1, Mode::Write, 10, 20)), Answer::Granted);
        step(&mut resource);
        shown(&resource)
    }

    fn lock_again(mode: Mode, start: u64, end: u64) -> String {
        after(|resource| {
            let again = PlockInfo { pid: 2, ..request(1, mode, start, end) };
            assert_eq!(resource.lock(&again), Answer::Granted);
        })
    }

    fn unlock(start: u64, end: u64) -> String {
        after(|resource| {
            let request = PlockInfo { pid: 2, ..request(1, Mode::Read, start, end) };
            resource.unlock(&request, &mut Vec::new());
        })
    }

    #[test]
    fn a_lock_over_the_holders_own() {
        use Mode::{Read, Write};
        assert_eq!(lock_again(Read, 10, 20), "Read 10-20 1 pid 1, ");
        assert_eq!(lock_again(Write, 10, 15), "Write 10-20 1 pid 1, ");
        assert_eq!(lock_again(Read, 10, 15), "Read 10-15 1 pid 1, Write 16-20 1 pid 2, ");
        assert_eq!(lock_again(Read, 16, 20), "Read 16-20 1 pid 1, Write 10-15 1 pid 2, ");
        assert_eq!(lock_again(Write, 12, 15), "Write 10-20 1 pid 1, ");
        assert_eq!(
            lock_again(Read, 12, 15),
            "Read 12-15 1 pid 1, Write 10-11 1 pid 2, Write 16-20 1 pid 2, "
        );
        assert_eq!(lock_again(Write, 5, 20), "Write 5-20 1 pid 2, ");
        assert_eq!(lock_again(Write, 15, 25), "Write 10-14 1 pid 1, Write 15-25 1 pid 2, ");
        assert_eq!(lock_again(Read, 5, 15), "Write 16-20 1 pid 1, Read 5-15 1 pid 2, ");
        assert_eq!(lock_again(Write, 21, 25), "Write 10-20 1 pid 1, Write 21-25 1 pid 2, ");
    }

    #[test]
    fn an_unlock_over_the_holders_own() {
        assert_eq!(unlock(10, 20), "");
        assert_eq!(unlock(0, u64::MAX), "");
        assert_eq!(unlock(10, 15), "Write 16-20 1 pid 1, ");
        assert_eq!(unlock(15, 20), "Write 10-14 1 pid 1, ");
        assert_eq!(unlock(12, 15), "Write 10-11 1 pid 1, Write 16-20 1 pid 2, ");
        assert_eq!(unlock(5, 15), "Write 16-20 1 pid 1, ");
        assert_eq!(unlock(15, 25), "Write 10-14 1 pid 1, ");
        assert_eq!(unlock(21, 25), "Write 10-20 1 pid 1, ");
    }

    #[test]
    fn waiters_are_tried_once_in_their_order() {
        let mut resource = Resource::default();
        assert_eq!(resource.lock(&request(1, Mode::Write, 0, 9)), Answer::Granted);
        for (owner, start) in [(2, 0), (3, 0), (4, 5)] {
            assert_eq!(
                resource.lock(&request(owner, Mode::Write, start, start + 4)),
                Answer::Queued
            );
        }
        let mut granted = Vec::new();
        resource.unlock(&request(1, Mode::Read, 0, 9), &mut Vec::new());
        resource.run_waiters(&mut granted);
        let owners = |list: &[PlockInfo]| list.iter().map(|info| info.owner).collect::<Vec<_>>();
        assert_eq!(owners(&granted), [2, 4], "the one that still conflicts is overtaken");
        assert_eq!(resource.waiters().map(|(info, _)| info.owner).collect::<Vec<_>>(), [3]);

        let close = PlockInfo { flags: FLAG_CLOSE, ..request(3, Mode::Read, 0, u64::MAX) };
        let mut cleared = Vec::new();
        resource.unlock(&close, &mut cleared);
        assert_eq!(owners(&cleared), [3]);
    }

    #[test]
    fn a_range_that_ends_before_it_starts_changes_nothing() {
        let mut resource = Resource::default();
        assert_eq!(resource.lock(&request(1, Mode::Write, 0, 9)), Answer::Granted);
        let before = resource.clone();
        let bad = request(2, Mode::Write, 5, 4);
        assert_eq!(resource.lock(&bad), Answer::Invalid);
        assert!(!resource.push_lock(Lock::of(&bad)) && !resource.push_waiter(bad));
        assert_eq!(resource.get(&bad), None);
        resource.unlock(&request(1, Mode::Write, 5, 4), &mut Vec::new());
        assert_eq!(resource, before);
    }

    #[test]
    fn marks_are_cleared_one_by_one() {
        let mut resource = Resource::default();
        let (held, waits) = (request(1, Mode::Write, 0, 9), request(2, Mode::Read, 3, 3));
        assert_eq!(
            (resource.lock(&held), resource.lock(&waits)),
            (Answer::Granted, Answer::Queued)
        );
        resource.mark_syncing();
        assert!(resource.synced(&held) && !resource.synced(&held));
        assert!(resource.locks().all(|(_, syncing)| !syncing));
        assert!(resource.waiters().all(|(_, syncing)| syncing));
        assert!(resource.synced(&waits) && !resource.synced(&waits));
        assert!(resource.waiters().all(|(_, syncing)| !syncing));
    }
}

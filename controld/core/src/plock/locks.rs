//! The granted locks of a resource, and what a new lock or an unlock does to them: the tables of spec/plocks.md
//! section 3, row by row. Only what overlaps is looked at; what belongs to one holder does not overlap itself, but for
//! what peers have sent (SYNC, state transfer), so the order of the list is followed here too.

use super::list::{Entry, List};
use super::record::Holder;
use super::resource::Lock;
use crate::types::NodeId;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// In list order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Locks {
    list: List<Lock>,
}

impl Locks {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<Lock>> {
        self.list.iter()
    }

    /// From this number on, with their numbers.
    pub(super) fn tail(&self, first: u64) -> impl Iterator<Item = (u64, &Entry<Lock>)> {
        self.list.tail(first)
    }

    /// Appends without any check.
    pub(super) fn push(&mut self, lock: Lock) {
        self.list.push(lock);
    }

    pub(super) fn mark_syncing(&mut self) {
        self.list.mark_syncing();
    }

    pub(super) fn synced(&mut self, lock: &Lock) -> bool {
        self.list.synced(lock)
    }

    pub(super) fn is_of(&self, holder: Holder) -> bool {
        self.list.of_holder(holder).next().is_some()
    }

    /// The first of the list that cannot be there together with the wanted one.
    pub(super) fn in_the_way(&self, wanted: &Lock) -> Option<Lock> {
        self.list.in_the_way(wanted)
    }

    /// Nothing is in the way: what the holder has in the range gives way to the new lock. Whether any of it was for
    /// writing, and the new lock is not.
    pub(super) fn insert(&mut self, new: Lock) -> bool {
        let mut lowered = false;
        for seq in self.own(&new) {
            let Some(old) = self.list.get(seq) else { continue };
            lowered |= old.mode > new.mode;
            if old.covers(&new) {
                if old.mode != new.mode {
                    self.turn(seq, &old, new);
                }
                return lowered;
            }
            if new.covers(&old) {
                self.list.remove(seq);
            } else {
                self.list.replace(seq, without(old, &new));
            }
        }
        self.list.push(new);
        lowered
    }

    /// What a holder has in a range, in list order; hardly ever more than one, for which no memory is asked.
    fn own(&self, lock: &Lock) -> impl Iterator<Item = u64> + use<> {
        let mut own = self.list.own(lock);
        let first = own.next();
        first.into_iter().chain(own.collect::<Vec<u64>>())
    }

    /// A part of the old lock, or all of it, changes its mode: it becomes the new one in its place, what is left of
    /// the old one is appended. The pid stays, and the remainders get the new one.
    fn turn(&mut self, seq: u64, old: &Lock, new: Lock) {
        self.list.replace(seq, Lock { pid: old.pid, ..new });
        if old.start < new.start {
            self.list.push(Lock { start: old.start, end: new.start - 1, mode: old.mode, ..new });
        }
        if new.end < old.end {
            self.list.push(Lock { start: new.end + 1, end: old.end, mode: old.mode, ..new });
        }
    }

    /// Takes a range from its holder; each lock that loses something is shown with the range it loses.
    pub(super) fn remove(&mut self, gone: &Lock, mut lost: impl FnMut(&Lock)) {
        for seq in self.own(gone) {
            let Some(old) = self.list.get(seq) else { continue };
            lost(&Lock { start: old.start.max(gone.start), end: old.end.min(gone.end), ..old });
            if gone.covers(&old) {
                self.list.remove(seq);
            } else if old.start < gone.start && gone.end < old.end {
                self.list.replace(seq, Lock { end: gone.start - 1, ..old });
                self.list.push(Lock { start: gone.end + 1, pid: gone.pid, ..old });
            } else {
                self.list.replace(seq, without(old, gone));
            }
            if old.covers(gone) {
                return;
            }
        }
    }

    /// Drops all of a node; each is shown.
    pub(super) fn purge(&mut self, node: NodeId, mut lost: impl FnMut(&Lock)) {
        let of_node: Vec<u64> = self.list.of_node(node).collect();
        for seq in of_node {
            if let Some(lock) = self.list.remove(seq) {
                lost(&lock);
            }
        }
    }
}

/// The old lock without what it has in common with another, which overlaps one of its ends but not both.
const fn without(old: Lock, other: &Lock) -> Lock {
    if old.start < other.start {
        Lock { end: other.start - 1, ..old }
    } else {
        Lock { start: other.end + 1, ..old }
    }
}

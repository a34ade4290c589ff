//! What is counted and timed of POSIX locks, for people alone: two states that differ in nothing else are the same state.
//!
//! On the way of every request, so it is a few additions; only a request that has to wait for a lock is looked up.

use crate::plock::{Op, PlockInfo};
use crate::types::Instant;
use alloc::collections::BTreeMap;
use core::hash::{Hash, Hasher};

/// Processes of ours that wait for locks, whose times are taken; more of them wait untimed.
const WAITING_MAX: usize = 4096;

/// Upper bounds of [`PlockTimes`], nanoseconds: a request takes a round of corosync's token, some tenths of a millisecond.
pub const PLOCK_BOUNDS: [u64; 9] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
];

/// How often something took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlockTimes {
    /// By the bounds, none of them cumulated; what is above all of them is in `count` alone.
    pub below: [u64; PLOCK_BOUNDS.len()],
    /// How often.
    pub count: u64,
    /// All of it together.
    pub sum_nanos: u64,
}

impl PlockTimes {
    fn observe(&mut self, from: Instant, to: Instant) {
        let nanos = to.as_nanos().saturating_sub(from.as_nanos());
        self.count = self.count.wrapping_add(1);
        self.sum_nanos = self.sum_nanos.wrapping_add(nanos);
        let buckets = PLOCK_BOUNDS.iter().zip(&mut self.below);
        if let Some((_, bucket)) = buckets.into_iter().find(|(bound, _)| nanos <= **bound) {
            *bucket = bucket.wrapping_add(1);
        }
    }
}

/// What was counted and timed of a lockspace's POSIX locks on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlockMeters {
    /// Requests of our kernel: locks that do not wait.
    pub locks: u64,
    /// Locks that wait.
    pub waiting_locks: u64,
    /// Unlocks.
    pub unlocks: u64,
    /// Closes of files.
    pub closes: u64,
    /// Tests for conflicts.
    pub tests: u64,
    /// Ends of waits by signals.
    pub cancels: u64,
    /// Results: done, granted, or no conflict.
    pub done: u64,
    /// Results: a conflicting lock.
    pub conflicts: u64,
    /// Results: errors.
    pub errors: u64,
    /// From the request to its result, where it did not have to wait for a lock.
    pub answers: PlockTimes,
    /// The same, where it had.
    pub waits: PlockTimes,
    /// Requests that the group has carried out, of every node.
    pub received: u64,
    /// Files that became ours (`plock_ownership`).
    pub owned: u64,
    /// Files of ours that became everybody's.
    pub given_up: u64,
    /// Unused files that were forgotten everywhere.
    pub dropped: u64,
    /// Files with locks.
    pub resources: usize,
    /// Processes of ours that wait for locks.
    pub waiting: usize,
    /// Requests of ours on their way through the group.
    pub in_flight: usize,
}

/// Which request waits: file, owner, first and last byte.
type Waiter = (u64, u64, u64, u64);

fn waiter(info: &PlockInfo) -> Waiter {
    (info.number, info.owner, info.start, info.end)
}

/// The counting.
#[derive(Clone, Debug, Default)]
pub(super) struct Meters {
    counts: PlockMeters,
    waiting: BTreeMap<Waiter, Instant>,
}

impl Meters {
    /// What of it is a number; the other fields are the caller's to fill.
    pub(super) fn counts(&self) -> PlockMeters {
        PlockMeters { waiting: self.waiting.len(), ..self.counts }
    }

    /// A request of our kernel.
    pub(super) fn asked(&mut self, info: &PlockInfo) {
        let counts = &mut self.counts;
        add(match info.op {
            Op::Lock if info.wait => &mut counts.waiting_locks,
            Op::Lock => &mut counts.locks,
            Op::Unlock if info.is_close() => &mut counts.closes,
            Op::Unlock => &mut counts.unlocks,
            Op::Get => &mut counts.tests,
            Op::Cancel => &mut counts.cancels,
            Op::Unknown(_) => &mut counts.errors,
        });
    }

    /// A request of ours that was read then has a result.
    pub(super) fn answered(&mut self, since: Instant, result: &PlockInfo, now: Instant) {
        let counts = &mut self.counts;
        counts.answers.observe(since, now);
        add(match (result.op, result.result) {
            (_, 0) => &mut counts.done,
            (Op::Get, 1..) | (Op::Lock, super::errno::CONFLICT) => &mut counts.conflicts,
            _ => &mut counts.errors,
        });
    }

    /// A request of ours that was read then waits for a lock.
    pub(super) fn waits(&mut self, info: &PlockInfo, since: Instant) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.insert(waiter(info), since);
        }
    }

    /// It has its lock.
    pub(super) fn granted(&mut self, info: &PlockInfo, now: Instant) {
        add(&mut self.counts.done);
        if let Some(since) = self.waiting.remove(&waiter(info)) {
            self.counts.waits.observe(since, now);
        }
    }

    /// It waits no more, and has no lock.
    pub(super) fn gave_up(&mut self, info: &PlockInfo) {
        self.waiting.remove(&waiter(info));
    }

    /// So do all.
    pub(super) fn all_gave_up(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn received(&mut self) {
        add(&mut self.counts.received);
    }

    pub(super) fn owned(&mut self) {
        add(&mut self.counts.owned);
    }

    pub(super) fn given_up(&mut self) {
        add(&mut self.counts.given_up);
    }

    pub(super) fn dropped(&mut self) {
        add(&mut self.counts.dropped);
    }
}

fn add(count: &mut u64) {
    *count = count.wrapping_add(1);
}

impl PartialEq for Meters {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Meters {}

impl Hash for Meters {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

//! One pass over the waiters (spec/plocks.md section 3, "Run waiters"), without looking at all of them.
//!
//! The rule is: in their order, each waiter that nothing is in the way of *now* gets its lock. The result must be that
//! of a walk over the whole list, to the last entry, because other nodes of the cluster may do just that.
//!
//! What makes the short way equal: **between passes, a waiter none of whose bytes is in [`Freed`] of its mode is blocked.**
//!
//! - A waiter is queued because it is blocked. One that a peer sent comes unchecked: its range goes into `Freed`.
//! - A waiter that was blocked at some byte stays so until a lock at that byte goes or is lowered from writing to
//!   reading, and exactly these bytes go into `Freed`. A lock for reading blocks nobody but writers.
//! - A new lock, or one that we find in the way of a waiter, blocks everybody who wants one of its bytes in a mode that
//!   conflicts, but not its own holder. So its bytes go out of `Freed`, and the holder's own waiters there are tried by
//!   name. This is what keeps a long queue for one range cheap: the first is granted, the others are not even looked at.
//! - So does everybody who wants a byte of such a lock besides one of `Freed`: once the first of many that wait for the whole file
//!   is found to be held up by a lock elsewhere, the others are not looked at. Only where a lock is lowered these bytes are of
//!   use to readers again, and then they are in `Freed`, so that readers who want them are found by them.
//!
//! A waiter that is granted a lock for reading where its holder had one for writing gives something back in the middle
//! of the pass. Waiters behind it are tried for that at once, those before it not before the next pass, as in the full
//! walk: so these bytes stay in `Freed` when all others are forgotten.

use super::freed::Freed;
use super::list::Waiters;
use super::locks::Locks;
use super::ranges::Wanted;
use super::record::{Mode, PlockInfo};
use super::resource::Lock;
use alloc::vec::Vec;

/// Runs the waiters; those granted, in order, go to `granted`.
pub(super) fn run(
    locks: &mut Locks,
    waiters: &mut Waiters,
    freed: &mut Freed,
    granted: &mut Vec<PlockInfo>,
) {
    let Some(mut search) = waiters.search() else { return };
    let mut open = core::mem::take(freed);
    for mode in [Mode::Read, Mode::Write] {
        for (start, end) in open.of(mode).iter() {
            search.add(Wanted::overlapping(mode, start, end));
        }
    }
    let mut blocked = Freed::default();
    let mut gone = Vec::new();
    let mut tried = None;
    while let Some(found) = search.next(|aim| {
        let hopeful = open.of(aim.first).touches(aim.start, aim.end);
        hopeful.then(|| blocked.of(aim.first).room(aim.start, aim.end))
    }) {
        let Some(waiter) = waiters.get(found.seq).filter(|_| tried < Some(found.seq)) else {
            continue;
        };
        let wanted = Lock::of(&waiter);
        let touches = |bytes: &Freed| bytes.of(wanted.mode).touches(wanted.start, wanted.end);
        if !found.named && (!touches(&open) || touches(&blocked)) {
            continue;
        }
        tried = Some(found.seq);
        let held = locks.in_the_way(&wanted).unwrap_or_else(|| {
            if locks.insert(wanted) {
                freed.lowered(&wanted);
                open.lowered(&wanted);
                blocked.unblock_readers(&wanted);
                search.add(Wanted::overlapping(Mode::Read, wanted.start, wanted.end));
            }
            gone.push(found.seq);
            granted.push(waiter);
            wanted
        });
        open.held(&held);
        if blocked.block(&held) {
            for own in waiters.own(&held).filter(|&own| found.seq < own) {
                search.name(own);
            }
        }
    }
    for seq in gone {
        waiters.remove(seq);
    }
}

//! Locks all over one file, for what measures many of them, and the processor time that is used up.

use dlm_core::plock::{Mode, Op, PlockInfo};
use dlm_core::types::{GlobalId, NodeId};
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// From one lock's first byte to that of the next; half of it is locked.
pub(crate) const STRIDE: u64 = 128;

/// Holders of the locks, on as many nodes as a cluster has.
pub(crate) const HOLDERS: u64 = 1000;
const NODES: u32 = 16;

/// The lock of one place in the file.
pub(crate) fn lock_at(place: u64) -> PlockInfo {
    let owner = place % HOLDERS;
    let node = u32::try_from(owner).unwrap_or(0) % NODES + 1;
    PlockInfo {
        version: [1, 2, 0],
        op: Op::Lock,
        mode: if place % 4 == 0 { Mode::Write } else { Mode::Read },
        wait: false,
        flags: 0,
        pid: 1000,
        node: NodeId::new(node).expect("counted from 1"),
        result: 0,
        fsid: GlobalId(1),
        number: 1,
        start: place * STRIDE,
        end: place * STRIDE + STRIDE / 2,
        owner,
    }
}

/// Places all over the file, none of them twice in a round: the step and the number of places have no common divisor.
pub(crate) fn places(locks: u64, round: usize, count: u64) -> impl Iterator<Item = u64> {
    let first = u64::try_from(round).unwrap_or(0) * 7919;
    (0..count).map(move |at| (first + at * 64_007) % locks)
}

/// What the work takes of the processor; others on the machine do not count.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let begin = processor_time();
    work();
    processor_time().saturating_sub(begin)
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock that Linux has").into()
}

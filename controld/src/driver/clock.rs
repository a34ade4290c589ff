//! The two clocks.

use dlm_core::types::{Instant, Now, WallSeconds};
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds in a second.
const NANOS: u64 = 1_000_000_000;

/// Both clocks now. Linux has both: a failing call would read as the epoch. Of the wall clock only seconds are wanted,
/// which its coarse form has without a look at the hardware.
pub(crate) fn now() -> Now {
    let read = |clock: ClockId| {
        clock_gettime(clock).map(|time| {
            let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
            (seconds, u64::try_from(time.tv_nsec()).unwrap_or(0))
        })
    };
    let (seconds, nanos) = read(ClockId::CLOCK_MONOTONIC).unwrap_or((0, 0));
    let (wall, _) = read(ClockId::CLOCK_REALTIME_COARSE).unwrap_or((0, 0));
    Now {
        mono: Instant::from_nanos(seconds.saturating_mul(NANOS).saturating_add(nanos)),
        wall: WallSeconds(wall),
    }
}

/// The moment `lasted` before `now`.
pub(super) fn before(now: Instant, lasted: Duration) -> Instant {
    Instant::from_nanos(now.as_nanos().saturating_sub(nanos(lasted)))
}

/// The moment `later` than `now`.
pub(crate) fn after(now: Instant, later: Duration) -> Instant {
    Instant::from_nanos(now.as_nanos().saturating_add(nanos(later)))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// From now to `deadline`; zero if it has passed.
pub(crate) fn until(deadline: Instant) -> Duration {
    Duration::from_nanos(deadline.as_nanos().saturating_sub(now().mono.as_nanos()))
}

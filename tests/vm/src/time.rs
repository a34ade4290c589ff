//! Times of the host's wall clock, the one scale that every node's log is brought to.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment by the host's wall clock, since 1970, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct HostTime(Duration);

impl HostTime {
    /// Now.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// A time since 1970.
    pub fn since_1970(time: Duration) -> Self {
        Self(time)
    }

    /// Since 1970.
    pub fn duration(self) -> Duration {
        self.0
    }

    /// Seconds from another moment to this one; negative if this one is earlier.
    pub fn seconds_after(self, other: Self) -> f64 {
        self.0.as_secs_f64() - other.0.as_secs_f64()
    }

    /// Reads what `Display` prints.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(seconds(text)?))
    }
}

impl fmt::Display for HostTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// Seconds with a fraction, as logs print them.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()
}

/// One of a guest's clocks against the host's wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Offset {
    host: Duration,
    guest: Duration,
}

impl Offset {
    /// Both clocks read at one moment.
    pub(crate) fn new(host: Duration, guest: Duration) -> Self {
        Self { host, guest }
    }

    /// The host's time when the guest's clock showed this.
    pub(crate) fn host_time(self, guest: Duration) -> HostTime {
        // Ordered so that the intermediate value is never negative.
        HostTime((self.host + guest).saturating_sub(self.guest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_times_before_and_after_the_reading_are_converted() {
        let offset = Offset::new(Duration::from_secs(1000), Duration::from_secs(50));
        assert_eq!(offset.host_time(Duration::from_secs(40)).0, Duration::from_secs(990));
        assert_eq!(offset.host_time(Duration::from_secs(60)).0, Duration::from_secs(1010));
    }
}

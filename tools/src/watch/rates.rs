//! How much of everything happens in a second, from two states of one daemon.

use dlmcontrol::state::{Meters, State, Timing};

/// Milliseconds in a second.
const MS: u64 = 1000;

/// What has happened in a second, on average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Messages handed to corosync.
    pub sent: u64,
    /// Messages from corosync.
    pub received: u64,
    /// POSIX lock operations that came from all nodes.
    pub plocks: u64,
    /// Those that this node has sent.
    pub own_plocks: u64,
    /// Kernel writes.
    pub kernel_writes: u64,
    /// Events handled.
    pub events: u64,
    /// Time to handle one, microseconds.
    pub event_us: u64,
}

impl Rates {
    /// `None` where they cannot be told: another daemon, or one that does not count.
    #[must_use]
    pub fn between(before: &State, after: &State) -> Option<Self> {
        let ms = before.now.ms_until(after.now);
        let same =
            before.daemon.pid == after.daemon.pid && before.daemon.started == after.daemon.started;
        let (old, new) = (before.meters.as_ref()?, after.meters.as_ref()?);
        if ms == 0 || !same {
            return None;
        }
        let rate = |count: fn(&Meters) -> u64| {
            let more = count(new).saturating_sub(count(old));
            more.saturating_mul(MS).checked_div(ms).unwrap_or_default()
        };
        Some(Self {
            sent: rate(|of| of.sent.values().sum()),
            received: rate(|of| of.received.values().sum()),
            plocks: rate(|of| of.received.get(PLOCK).copied().unwrap_or_default()),
            own_plocks: rate(|of| of.sent.get(PLOCK).copied().unwrap_or_default()),
            kernel_writes: rate(|of| of.kernel_writes.values().map(|timing| timing.count).sum()),
            events: rate(|of| of.events.count),
            event_us: mean(&old.events, &new.events),
        })
    }
}

/// The type of message that carries one operation.
const PLOCK: &str = "plock";

fn mean(before: &Timing, after: &Timing) -> u64 {
    let count = after.count.saturating_sub(before.count);
    after.sum_us.saturating_sub(before.sum_us).checked_div(count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(boot_ms: u64, plocks: u64) -> State {
        let mut state = State::default();
        state.now.boot_ms = boot_ms;
        let mut meters = Meters::default();
        meters.received.extend([("plock".to_owned(), plocks), ("start".to_owned(), 2)]);
        meters.events = Timing { count: plocks, sum_us: 7 * plocks, buckets: Vec::new() };
        state.meters = Some(meters);
        state
    }

    #[test]
    fn rates_are_by_the_second() {
        let rates = Rates::between(&state(1000, 100), &state(3000, 700)).expect("rates");
        assert_eq!((rates.plocks, rates.received, rates.events), (300, 300, 300));
        assert_eq!((rates.event_us, rates.sent), (7, 0));
    }

    #[test]
    fn another_daemon_has_rates_of_its_own() {
        let mut other = state(3000, 1);
        other.daemon.pid = 7;
        assert_eq!(Rates::between(&state(1000, 100), &other), None);
        assert_eq!(Rates::between(&state(1000, 1), &state(1000, 1)), None);
        let silent = State { meters: None, ..state(3000, 1) };
        assert_eq!(Rates::between(&state(1000, 1), &silent), None);
    }
}

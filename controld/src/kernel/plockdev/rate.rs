//! How many requests for POSIX locks are read in a second, and who has to wait for that.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// `plock_rate_limit`: requests a second, 0 for no limit. Clones share it, and what it does.
#[derive(Clone, Debug, Default)]
pub struct RateLimit(Arc<Limit>);

#[derive(Debug, Default)]
struct Limit {
    rate: AtomicU32,
    /// Since when the limit was met by request after request, and when the next one may be read.
    holds: Mutex<Option<(Instant, Instant)>>,
    /// Requests that had to wait, since this was asked last.
    delayed: AtomicU64,
}

impl RateLimit {
    /// So many a second.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self(Arc::new(Limit { rate: rate.into(), ..Limit::default() }))
    }

    pub(super) fn get(&self) -> u32 {
        self.0.rate.load(Ordering::Relaxed)
    }

    /// Counts when the driver next asks for a request: it is the driver that sets it.
    pub(super) fn set(&self, rate: u32) {
        self.0.rate.store(rate, Ordering::Relaxed);
        if rate == 0 {
            self.release();
        }
    }

    /// What [`RateLimit::hold`] said, and since when it says so without a [`RateLimit::release`].
    pub(super) fn held(&self) -> Option<(Instant, Instant)> {
        *self.holds()
    }

    fn holds(&self) -> MutexGuard<'_, Option<(Instant, Instant)>> {
        self.0.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No request may be read before `until`.
    pub(super) fn hold(&self, now: Instant, until: Instant) {
        let mut holds = self.holds();
        let since = holds.map_or(now, |(since, _)| since);
        *holds = Some((since, until));
    }

    /// A request was read that had to wait.
    pub(super) fn delayed(&self) {
        self.0.delayed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many had to wait since this was asked last.
    pub(super) fn take_delayed(&self) -> u64 {
        self.0.delayed.swap(0, Ordering::Relaxed)
    }

    /// There was none, although it might have been read.
    pub(super) fn release(&self) {
        *self.holds() = None;
    }
}

/// How many requests are read: a token bucket, full at the beginning.
///
/// `plock_rate_limit` N lets N requests pass at once, and N a second on the average. (The C daemon counts to N, then stops
/// until it next looks, a second later.)
#[derive(Debug)]
pub(super) struct Bucket {
    /// Requests a second; 0: no limit.
    pub(super) rate: u32,
    /// When the bucket will be full again.
    full_at: Instant,
}

impl Bucket {
    /// What the bucket holds, as the time in which it fills.
    const DEPTH: Duration = Duration::from_secs(1);

    pub(super) fn new(rate: u32) -> Self {
        Self { rate, full_at: Instant::now() }
    }

    /// When the next token is there; `None`: now.
    pub(super) fn wait_until(&self, now: Instant) -> Option<Instant> {
        let room = Self::DEPTH.checked_sub(self.interval()?).unwrap_or_default();
        let due = self.full_at.checked_sub(room)?;
        (due > now).then_some(due)
    }

    /// A request is read.
    pub(super) fn take(&mut self, now: Instant) {
        if let Some(interval) = self.interval() {
            self.full_at = self.full_at.max(now) + interval;
        }
    }

    fn interval(&self) -> Option<Duration> {
        Self::DEPTH.checked_div(self.rate)
    }
}

//! What the daemon counts and times while it works, for monitoring (docs/json.md, docs/metrics.md).
//!
//! Of fixed size, but for the kernel writes under way, which are bounded too: nothing here grows with time.

use dlm_core::effect::{Effect, KernelWrite};
use dlm_core::event::{AgentOutcome, Event, Token};
use dlm_core::message::Message;
use dlm_core::types::Instant;
use dlmcontrol::state::{Bucket, Meters as Document, Timing, WriteKind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Kernel writes under way that are timed; the core has one a lockspace.
const UNDER_WAY_MAX: usize = 4096;

/// Nanoseconds in a microsecond.
const NANOS_PER_US: u64 = 1000;

/// Upper bounds for kernel writes, microseconds: an attribute takes some tens of them, a stop waits for locking activity.
const WRITE_BOUNDS: &[u64] =
    &[100, 1000, 10_000, 100_000, 1_000_000, 5_000_000, 30_000_000, 120_000_000];

/// Upper bounds for the loop, microseconds: a POSIX lock takes a few, and a tenth of a second is a fault.
const LOOP_BOUNDS: &[u64] = &[10, 100, 1000, 10_000, 100_000, 1_000_000];

/// Clones share it: the driver counts, the query thread reads. The lock is held for memory only.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    sent: BTreeMap<&'static str, u64>,
    received: BTreeMap<&'static str, u64>,
    bad_messages: u64,
    under_way: BTreeMap<Token, (WriteKind, Instant)>,
    writes: BTreeMap<WriteKind, Histogram>,
    failed_writes: BTreeMap<WriteKind, u64>,
    agents: BTreeMap<&'static str, u64>,
    events: Histogram,
    late: Histogram,
}

/// How often something took how long.
#[derive(Clone, Debug, Default)]
struct Histogram {
    /// By upper bound, none of them cumulated; what is above all bounds is in `count` alone.
    below: BTreeMap<u64, u64>,
    count: u64,
    sum_ns: u64,
}

impl Meters {
    /// Something has happened, and the core is about to be told.
    pub fn event(&self, now: Instant, event: &Event) {
        let mut counts = self.lock();
        match event {
            Event::Message { packet, .. } => add(&mut counts.received, kind(&packet.message)),
            Event::BadMessage { .. } => counts.bad_messages = counts.bad_messages.saturating_add(1),
            Event::KernelDone { token, result } => counts.written(now, *token, result.is_ok()),
            Event::AgentDone { outcome, .. } => add(&mut counts.agents, word(*outcome)),
            _ => {}
        }
    }

    /// The core wants something done.
    pub fn effect(&self, now: Instant, effect: &Effect) {
        match effect {
            Effect::Send { packet, .. } => add(&mut self.lock().sent, kind(&packet.message)),
            Effect::Kernel { token, write, .. } => {
                let mut counts = self.lock();
                if counts.under_way.len() < UNDER_WAY_MAX {
                    counts.under_way.insert(*token, (write_kind(write), now));
                }
            }
            _ => {}
        }
    }

    /// An event and all that it entailed have been dealt with.
    pub fn handled(&self, from: Instant, to: Instant) {
        self.lock().events.observe(LOOP_BOUNDS, from, to);
    }

    /// A deadline was noticed.
    pub fn deadline(&self, due: Instant, noticed: Instant) {
        self.lock().late.observe(LOOP_BOUNDS, due, noticed);
    }

    /// The document's part.
    #[must_use]
    pub fn document(&self) -> Document {
        let counts = self.lock();
        let writes = &counts.writes;
        Document {
            sent: words(&counts.sent),
            received: words(&counts.received),
            bad_messages: counts.bad_messages,
            kernel_writes: writes
                .iter()
                .map(|(kind, taken)| (*kind, taken.document(WRITE_BOUNDS)))
                .collect(),
            failed_kernel_writes: counts.failed_writes.clone(),
            fence_agents: words(&counts.agents),
            events: counts.events.document(LOOP_BOUNDS),
            late_deadlines: counts.late.document(LOOP_BOUNDS),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn written(&mut self, now: Instant, token: Token, done: bool) {
        let Some((kind, since)) = self.under_way.remove(&token) else { return };
        self.writes.entry(kind).or_default().observe(WRITE_BOUNDS, since, now);
        if !done {
            add(&mut self.failed_writes, kind);
        }
    }
}

impl Histogram {
    fn observe(&mut self, bounds: &[u64], from: Instant, to: Instant) {
        let nanos = to.as_nanos().saturating_sub(from.as_nanos());
        self.count = self.count.saturating_add(1);
        self.sum_ns = self.sum_ns.saturating_add(nanos);
        let bound = bounds.iter().find(|bound| nanos <= bound.saturating_mul(NANOS_PER_US));
        if let Some(bound) = bound {
            add(&mut self.below, *bound);
        }
    }

    fn document(&self, bounds: &[u64]) -> Timing {
        let mut count = 0_u64;
        let buckets = bounds.iter().map(|bound| {
            count = count.saturating_add(self.below.get(bound).copied().unwrap_or_default());
            Bucket { up_to_us: *bound, count }
        });
        let buckets = buckets.collect();
        Timing { count: self.count, sum_us: self.sum_ns / NANOS_PER_US, buckets }
    }
}

fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn words(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

const fn write_kind(write: &KernelWrite) -> WriteKind {
    match write {
        KernelWrite::AddComm { .. } => WriteKind::AddComm,
        KernelWrite::RemoveComm { .. } => WriteKind::RemoveComm,
        KernelWrite::Stop => WriteKind::Stop,
        KernelWrite::Start(_) => WriteKind::Start,
        KernelWrite::EventDone { .. } => WriteKind::EventDone,
        KernelWrite::Release { .. } => WriteKind::Release,
        KernelWrite::AckWithdraw { .. } => WriteKind::AckWithdraw,
    }
}

const fn word(outcome: AgentOutcome) -> &'static str {
    match outcome {
        AgentOutcome::Exited(0) => "success",
        AgentOutcome::Exited(_) => "failed",
        AgentOutcome::Signalled(_) => "signalled",
        AgentOutcome::NotStarted(_) => "not_started",
    }
}

const fn kind(message: &Message) -> &'static str {
    match message {
        Message::Protocol(_) => "protocol",
        Message::Start(_) => "start",
        Message::Plock(_) => "plock",
        Message::PlockOwn { .. } => "plock_own",
        Message::PlockDrop { .. } => "plock_drop",
        Message::PlockSyncLock(_) => "plock_sync_lock",
        Message::PlockSyncWaiter(_) => "plock_sync_waiter",
        Message::PlocksData(_) => "plocks_data",
        Message::PlocksDone(_) => "plocks_done",
        Message::FenceResult(_) => "fence_result",
        Message::FenceClear(_) => "fence_clear",
        Message::ReleaseRecover { .. } => "release_recover",
        Message::Withdraw { .. } => "withdraw",
        Message::RunRequest(_) => "run_request",
        Message::RunReply(_) => "run_reply",
        Message::Other { .. } => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at_us(us: u64) -> Instant {
        Instant::from_nanos(us * NANOS_PER_US)
    }

    #[test]
    fn kernel_writes_are_timed_and_their_failures_counted() {
        let meters = Meters::default();
        let lane = dlm_core::effect::Lane::Cluster;
        for (token, took, result) in [(1, 50, Ok(())), (2, 5000, Err("EBUSY".to_owned()))] {
            let token = Token(token);
            let write = KernelWrite::Stop;
            meters.effect(at_us(1000), &Effect::Kernel { token, lane: lane.clone(), write });
            meters.event(at_us(1000 + took), &Event::KernelDone { token, result });
        }
        // Nobody asked for this one.
        meters.event(at_us(1), &Event::KernelDone { token: Token(3), result: Ok(()) });
        let document = meters.document();
        let taken = &document.kernel_writes[&WriteKind::Stop];
        assert_eq!((taken.count, taken.sum_us), (2, 5050));
        let counts: Vec<u64> = taken.buckets.iter().map(|bucket| bucket.count).collect();
        assert_eq!(counts, [1, 1, 2, 2, 2, 2, 2, 2]);
        assert_eq!(document.failed_kernel_writes, BTreeMap::from([(WriteKind::Stop, 1)]));
    }

    #[test]
    fn what_is_above_all_bounds_is_counted() {
        let meters = Meters::default();
        meters.handled(at_us(0), at_us(2_000_000));
        meters.handled(at_us(0), at_us(10));
        meters.deadline(at_us(5), at_us(4));
        let events = meters.document().events;
        assert_eq!((events.count, events.sum_us), (2, 2_000_010));
        assert!(events.buckets.iter().all(|bucket| bucket.count == 1));
        let late = meters.document().late_deadlines;
        assert_eq!((late.count, late.sum_us), (1, 0));
    }
}

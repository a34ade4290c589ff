//! What the daemon counts and times while it works, for monitoring (docs/json.md, docs/metrics.md).
//!
//! Of fixed size, but for the kernel writes under way, which are bounded too: nothing here grows with time.

use super::clients::Clients;
use super::timing::{Histogram, add};
use dlm_core::effect::{Effect, KernelWrite};
use dlm_core::event::{AgentOutcome, Event, Token};
use dlm_core::types::{Instant, NodeId};
use dlmcontrol::state::{FencingMeter, Meters as Document, WriteKind};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Kernel writes under way that are timed; the core has one a lockspace.
const UNDER_WAY_MAX: usize = 4096;

/// Upper bounds for kernel writes, microseconds: an attribute takes some tens of them, a stop waits for locking activity.
const WRITE_BOUNDS: &[u64] =
    &[100, 1000, 10_000, 100_000, 1_000_000, 5_000_000, 30_000_000, 120_000_000];

/// Fence agents that are counted by node and device: eight nodes with a device for every other one, or a cluster of 128 with two.
const AGENTS_MAX: usize = 256;

/// Upper bounds for fence agents, microseconds: a switch takes seconds, a machine that is to come up again minutes.
const AGENT_BOUNDS: &[u64] =
    &[100_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 60_000_000, 120_000_000, 300_000_000];

/// Upper bounds for the loop, microseconds: a POSIX lock takes a few, and a tenth of a second is a fault.
const LOOP_BOUNDS: &[u64] = &[10, 100, 1000, 10_000, 100_000, 1_000_000];

/// Clones share it: the driver counts, the query thread reads. The lock is held for memory only.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    counts: Arc<Mutex<Counts>>,
    clients: Clients,
}

#[derive(Debug, Default)]
struct Counts {
    sent: BTreeMap<&'static str, u64>,
    received: BTreeMap<&'static str, u64>,
    bad_messages: u64,
    under_way: BTreeMap<Token, (WriteKind, Instant)>,
    writes: BTreeMap<WriteKind, Histogram>,
    failed_writes: BTreeMap<WriteKind, u64>,
    agents: BTreeMap<&'static str, u64>,
    agents_under_way: BTreeMap<Token, (Agent, Instant)>,
    agents_by: BTreeMap<Agent, AgentCounts>,
    events: Histogram,
    late: Histogram,
    answers: Histogram,
    /// Counted by who speaks with corosync.
    retries: Arc<AtomicU64>,
}

/// A fence agent: whom it is for, and its device.
type Agent = (NodeId, String);

#[derive(Debug, Default)]
struct AgentCounts {
    outcomes: BTreeMap<&'static str, u64>,
    taken: Histogram,
}

impl Meters {
    /// Something has happened, and the core is about to be told.
    pub fn event(&self, now: Instant, event: &Event) {
        let mut counts = self.lock();
        match event {
            Event::Message { packet, .. } => add(&mut counts.received, packet.message.name()),
            Event::BadMessage { .. } => counts.bad_messages = counts.bad_messages.saturating_add(1),
            Event::KernelDone { token, result } => counts.written(now, *token, result.is_ok()),
            Event::AgentDone { token, outcome, .. } => counts.fenced(now, *token, word(*outcome)),
            _ => {}
        }
    }

    /// The core wants something done.
    pub fn effect(&self, now: Instant, effect: &Effect) {
        match effect {
            Effect::Send { packet, .. } => add(&mut self.lock().sent, packet.message.name()),
            Effect::Kernel { token, write, .. } => {
                let mut counts = self.lock();
                if counts.under_way.len() < UNDER_WAY_MAX {
                    counts.under_way.insert(*token, (write_kind(write), now));
                }
            }
            Effect::RunAgent { token, victim, device, .. } => {
                let mut counts = self.lock();
                if counts.agents_under_way.len() < AGENTS_MAX {
                    let agent = (*victim, device.name.clone());
                    counts.agents_under_way.insert(*token, (agent, now));
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

    /// The loop has answered a query that was asked then.
    pub(super) fn answered(&self, asked: Instant, answered: Instant) {
        self.lock().answers.observe(LOOP_BOUNDS, asked, answered);
    }

    /// Requests that corosync would not take yet are counted there.
    pub fn count_retries(&self, retries: Arc<AtomicU64>) {
        self.lock().retries = retries;
    }

    /// Who is connected.
    pub(super) const fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The document's part, but for what the history knows.
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
            loop_answers: counts.answers.document(LOOP_BOUNDS),
            send_retries: counts.retries.load(Ordering::Relaxed),
            fencing: counts.fencing(),
            clients: self.clients.document(),
            ..Document::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn fenced(&mut self, now: Instant, token: Token, outcome: &'static str) {
        add(&mut self.agents, outcome);
        let Some((agent, since)) = self.agents_under_way.remove(&token) else { return };
        if self.agents_by.len() < AGENTS_MAX || self.agents_by.contains_key(&agent) {
            let counts = self.agents_by.entry(agent).or_default();
            add(&mut counts.outcomes, outcome);
            counts.taken.observe(AGENT_BOUNDS, since, now);
        }
    }

    fn fencing(&self) -> Vec<FencingMeter> {
        let meter = |((node, device), counts): (&Agent, &AgentCounts)| FencingMeter {
            node: node.get(),
            device: device.clone(),
            outcomes: words(&counts.outcomes),
            taken: counts.taken.document(AGENT_BOUNDS),
        };
        self.agents_by.iter().map(meter).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::super::timing::NANOS_PER_US;
    use super::*;
    use dlm_core::options::Device;
    use dlm_core::types::WallSeconds;

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
    fn fence_agents_are_counted_by_node_and_device() {
        let meters = Meters::default();
        let victim = NodeId::new(3).unwrap();
        let ends = [AgentOutcome::Exited(1), AgentOutcome::Exited(0), AgentOutcome::Signalled(9)];
        for (token, outcome) in (1..).zip(ends) {
            let token = Token(token);
            let (name, agent) = ("power".to_owned(), "fence_ipmilan".to_owned());
            let device = Device { name, agent, arguments: Vec::new() };
            let fail_time = WallSeconds(0);
            meters.effect(at_us(0), &Effect::RunAgent { token, victim, device, fail_time });
            let output = String::new();
            meters.event(at_us(2_000_000), &Event::AgentDone { token, outcome, output });
        }
        let document = meters.document();
        let [of] = document.fencing.as_slice() else { unreachable!("one device") };
        assert_eq!((of.node, of.device.as_str()), (3, "power"));
        let outcomes = ["failed", "signalled", "success"].map(|word| (word.to_owned(), 1));
        assert_eq!(of.outcomes, BTreeMap::from(outcomes));
        assert_eq!((of.taken.count, of.taken.sum_us), (3, 6_000_000));
        assert_eq!(document.fence_agents, of.outcomes);
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

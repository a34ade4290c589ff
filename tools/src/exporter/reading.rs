//! The page of one scrape: what the exporter knows itself, the daemon, the cluster.

use super::daemon::{Cause, Failures};
use super::page::Page;
use super::{family, lockspaces, meters, nodes};
use dlmcontrol::state::{DaemonPhase, Reason, State, Time, Wait};
use prometheus::proto::MetricFamily;
use serde::Serialize;
use std::time::Duration;

/// What one scrape has found.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The daemon's answer, or why there is none.
    pub state: Result<State, Cause>,
    /// How long it took, or was waited for.
    pub took: Duration,
    /// Failed scrapes, this one included.
    pub failures: Failures,
}

/// The text of the page, with the exporter's `own` metrics behind it.
///
/// # Errors
/// One of `own` has no samples.
pub fn page(reading: &Reading, own: &[MetricFamily]) -> Result<String, prometheus::Error> {
    let mut page = Page::default();
    page.flag(family::UP, &[], reading.state.is_ok());
    page.set(family::EXPORTER_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    page.set(family::SCRAPE, &[], reading.took.as_secs_f64());
    for cause in Cause::ALL {
        page.set(family::FAILURES, &[&word(&cause)], number(reading.failures.of(cause)));
    }
    if let Ok(state) = &reading.state {
        daemon(&mut page, state);
        cluster(&mut page, state);
        nodes::fill(&mut page, state);
        lockspaces::fill(&mut page, state);
        meters::fill(&mut page, state);
    }
    page.text(own)
}

/// Everything that the daemon as a whole can wait for.
const DAEMON_REASONS: [Reason; 20] = [
    Reason::DaemonGroup,
    Reason::Protocols,
    Reason::Proposal,
    Reason::UnknownRings,
    Reason::UnknownQuorum,
    Reason::UnknownMerge,
    Reason::UnknownStartup,
    Reason::UnknownVictims,
    Reason::UnknownClearance,
    Reason::UnknownAgreement,
    Reason::MergedRemoval,
    Reason::MergedOperator,
    Reason::Addresses,
    Reason::KernelWrite,
    Reason::KernelRetry,
    Reason::KernelHeld,
    Reason::RunReplies,
    Reason::RunCommands,
    Reason::PlockRate,
    Reason::CorosyncQueue,
];

const PHASES: [DaemonPhase; 5] = [
    DaemonPhase::Corosync,
    DaemonPhase::Unfencing,
    DaemonPhase::Kernel,
    DaemonPhase::Running,
    DaemonPhase::Ending,
];

fn daemon(page: &mut Page, state: &State) {
    let daemon = &state.daemon;
    page.set(family::BUILD, &[&daemon.version, &daemon.build], 1.0);
    page.set(family::STARTED, &[], seconds(daemon.started));
    for phase in PHASES.into_iter().chain([daemon.phase]) {
        page.flag(family::PHASE, &[&word(&phase)], phase == daemon.phase);
    }
    page.set(family::STALE, &[], Duration::from_millis(state.stale_ms.unwrap_or(0)).as_secs_f64());
    let waits = Waiting { now: family::DAEMON_WAITING, since: family::DAEMON_SINCE };
    waits.fill(page, &[], &DAEMON_REASONS, &state.cluster.waits);
}

fn cluster(page: &mut Page, state: &State) {
    let cluster = &state.cluster;
    if let Some(protocol) = &cluster.protocol {
        page.set(family::PROTOCOL, &[protocol], 1.0);
    }
    if let Some(node) = cluster.our_node {
        page.set(family::NODE_INFO, &[&node.to_string()], 1.0);
    }
    page.flag(family::QUORATE, &[], cluster.quorate);
    for (of, ring) in [("quorum", cluster.ring), ("daemon_group", cluster.daemon_ring)] {
        page.set(family::RING_SEQ, &[of], number(ring.seq));
        page.set(family::RING_NODE, &[of], f64::from(ring.node));
    }
    page.set(family::GROUP_MEMBERS, &[], count(cluster.members.len()));
    page.flag(family::UNKNOWN, &[], cluster.fencing_unknown);
    page.flag(family::MERGE, &[], cluster.stateful_merge);
    page.set(family::STARTUP, &[], count(cluster.startup_nodes.len()));
    page.set(family::KILLED_AGENTS, &[], number(cluster.killed_agents));
}

/// The two families of a kind of waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Whether.
    pub(crate) now: family::Family,
    /// Since when.
    pub(crate) since: family::Family,
}

impl Waiting {
    /// All `reasons`, and those of `waits` as true. A reason that is there twice counts from the first.
    pub(crate) fn fill(self, page: &mut Page, of: &[&str], reasons: &[Reason], waits: &[Wait]) {
        for reason in reasons {
            page.flag(self.now, &[of, &[&word(reason)]].concat(), false);
        }
        let mut newest_first: Vec<&Wait> = waits.iter().collect();
        newest_first.sort_by_key(|wait| std::cmp::Reverse(wait.since));
        for wait in newest_first {
            let reason = word(&wait.reason);
            let labels = [of, &[&reason]].concat();
            page.flag(self.now, &labels, true);
            page.set(self.since, &labels, seconds(wait.since));
        }
    }
}

/// The word that the document has for a value.
pub(crate) fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Seconds since 1970.
pub(crate) fn seconds(time: Time) -> f64 {
    Duration::from_millis(time.wall_ms).as_secs_f64()
}

/// A number as Prometheus has them; exact up to 2^53.
pub(crate) fn number(value: u64) -> f64 {
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).map_or(0.0, f64::from);
    half(value >> 32).mul_add(4_294_967_296.0, half(value))
}

/// How many there are of something.
pub(crate) fn count(length: usize) -> f64 {
    u64::try_from(length).map_or(f64::INFINITY, number)
}

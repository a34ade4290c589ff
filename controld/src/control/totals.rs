//! What recoveries and fencings have taken since the daemon began, summed up: the histograms of the metrics, where
//! [`super::History`] has the last ones one by one.
//!
//! Bounded: by the lockspaces that exist, by the nodes of a cluster.

use super::timing::{Histogram, add};
use dlm_core::types::{Instant, LockspaceName, NodeId};
use dlmcontrol::history::PhaseKind;
use dlmcontrol::state::{LockspaceMeters, Timing};
use std::collections::{BTreeMap, BTreeSet};

/// Upper bounds for phases of recoveries and for fencing, microseconds: a healthy phase takes milliseconds, an unhealthy
/// one minutes.
const BOUNDS: &[u64] =
    &[1000, 10_000, 100_000, 1_000_000, 5_000_000, 30_000_000, 120_000_000, 600_000_000];

/// Nodes that are timed; corosync has at most 128.
const NODES_MAX: usize = 128;

/// From then to then.
pub(super) type Span = (Instant, Instant);

#[derive(Debug, Default)]
pub(super) struct Totals {
    lockspaces: BTreeMap<LockspaceName, OfLockspace>,
    starts: BTreeMap<NodeId, Histogram>,
    fencings: BTreeMap<NodeId, Histogram>,
}

#[derive(Debug, Default)]
struct OfLockspace {
    changes: BTreeMap<&'static str, u64>,
    recoveries: Histogram,
    phases: BTreeMap<PhaseKind, Histogram>,
}

impl Totals {
    /// A lockspace's members changed; a change with several causes counts for each.
    pub(super) fn changed(
        &mut self,
        lockspace: &LockspaceName,
        causes: &[(&'static str, &BTreeSet<NodeId>)],
    ) {
        let of = self.of(lockspace);
        for (cause, _) in causes.iter().filter(|(_, nodes)| !nodes.is_empty()) {
            add(&mut of.changes, *cause);
        }
    }

    /// A phase of a recovery is over.
    pub(super) fn phase(&mut self, lockspace: &LockspaceName, kind: PhaseKind, (from, to): Span) {
        self.of(lockspace).phases.entry(kind).or_default().observe(BOUNDS, from, to);
    }

    /// A lockspace runs again.
    pub(super) fn recovered(&mut self, lockspace: &LockspaceName, (from, to): Span) {
        self.of(lockspace).recoveries.observe(BOUNDS, from, to);
    }

    /// A lockspace is gone, and what was counted of it.
    pub(super) fn forget(&mut self, lockspace: &LockspaceName) {
        self.lockspaces.remove(lockspace);
    }

    /// A member's START came so long after ours was sent.
    pub(super) fn start(&mut self, node: NodeId, span: Span) {
        observe(&mut self.starts, node, span);
    }

    /// A node that had to be fenced is dealt with.
    pub(super) fn fenced(&mut self, node: NodeId, span: Span) {
        observe(&mut self.fencings, node, span);
    }

    /// Adds what is known of the lockspace.
    pub(super) fn sum_up(&self, name: &[u8], meters: &mut LockspaceMeters) {
        let of = LockspaceName::new(name).and_then(|name| self.lockspaces.get(&name));
        if let Some(of) = of {
            of.sum_up(meters);
        }
    }

    pub(super) fn starts(&self) -> BTreeMap<u32, Timing> {
        by_node(&self.starts)
    }

    pub(super) fn fencings(&self) -> BTreeMap<u32, Timing> {
        by_node(&self.fencings)
    }

    fn of(&mut self, lockspace: &LockspaceName) -> &mut OfLockspace {
        self.lockspaces.entry(lockspace.clone()).or_default()
    }
}

impl OfLockspace {
    fn sum_up(&self, meters: &mut LockspaceMeters) {
        let changes = self.changes.iter();
        meters.changes = changes.map(|(cause, count)| ((*cause).to_owned(), *count)).collect();
        meters.recoveries = self.recoveries.document(BOUNDS);
        let phases = self.phases.iter();
        meters.phases = phases.map(|(kind, taken)| (*kind, taken.document(BOUNDS))).collect();
    }
}

fn observe(times: &mut BTreeMap<NodeId, Histogram>, node: NodeId, (from, to): Span) {
    if times.len() < NODES_MAX || times.contains_key(&node) {
        times.entry(node).or_default().observe(BOUNDS, from, to);
    }
}

fn by_node(times: &BTreeMap<NodeId, Histogram>) -> BTreeMap<u32, Timing> {
    times.iter().map(|(node, taken)| (node.get(), taken.document(BOUNDS))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::History;
    use super::*;
    use dlm_core::effect::Moment;
    use dlm_core::snapshot::Wait;
    use dlmcontrol::state::{Lockspace, LockspaceState, Meters, SlotsKnown, State};

    /// Nanoseconds in a millisecond.
    const NANOS_PER_MS: u64 = 1_000_000;

    fn nodes(ids: &[u32]) -> BTreeSet<NodeId> {
        ids.iter().filter_map(|id| NodeId::new(*id)).collect()
    }

    fn at_ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * NANOS_PER_MS)
    }

    /// Node 3 dies at 1000 ms and is fenced until 4000 ms; node 2 says START 30 ms after us.
    fn recovery() -> History {
        let lockspace = LockspaceName::new(b"fs").unwrap();
        let (node2, node3) = (NodeId::new(2).unwrap(), NodeId::new(3).unwrap());
        let failed = nodes(&[3]);
        let (joined, left) = (BTreeSet::new(), BTreeSet::new());
        let members = nodes(&[1, 2]);
        let changed =
            Moment::Changed { lockspace: lockspace.clone(), members, joined, left, failed };
        let waiting = |wait| Moment::Waiting { lockspace: lockspace.clone(), wait };
        let start = |from| Moment::StartReceived { lockspace: lockspace.clone(), from };
        let members = nodes(&[1, 2]);
        let history = History::default();
        for (ms, moment) in [
            (1000, changed),
            (1000, Moment::FenceNeeded { victim: node3, actor: None }),
            (1000, waiting(Wait::Stop)),
            (1005, Moment::Stopped { lockspace: lockspace.clone() }),
            (1005, waiting(Wait::Fencing(nodes(&[3])))),
            (4000, Moment::Fenced { victim: node3, by: node2 }),
            (4000, Moment::StartSent { lockspace: lockspace.clone() }),
            (4030, start(node2)),
            (4050, Moment::Started { lockspace: lockspace.clone(), members }),
        ] {
            history.note(at_ms(ms), &moment);
        }
        history
    }

    fn summed_up(history: &History) -> State {
        let lockspace = Lockspace {
            name: "fs".to_owned(),
            id: String::new(),
            state: LockspaceState::Running,
            without_quorum: false,
            members: Vec::new(),
            started: None,
            pending: None,
            slots_known: SlotsKnown::Unknown,
            slots: Vec::new(),
            our_jid: None,
            nodes: Vec::new(),
            waits: Vec::new(),
            meters: None,
        };
        let meters = Some(Meters::default());
        let mut state = State { lockspaces: vec![lockspace], meters, ..State::default() };
        history.sum_up(&mut state);
        state
    }

    #[test]
    fn recoveries_are_summed_up_phase_by_phase_and_node_by_node() {
        let history = recovery();
        let state = summed_up(&history);
        let of = state.lockspaces[0].meters.as_ref().unwrap();
        assert_eq!(of.changes, [("failed".to_owned(), 1)].into());
        assert_eq!((of.recoveries.count, of.recoveries.sum_us), (1, 3_050_000));
        let ms = |kind| of.phases[&kind].sum_us / 1000;
        let kinds =
            [PhaseKind::Stop, PhaseKind::Fencing, PhaseKind::Starts, PhaseKind::KernelStart];
        assert_eq!(kinds.map(ms), [5, 2995, 30, 20]);
        let meters = state.meters.unwrap();
        assert_eq!(meters.starts[&2].sum_us, 30_000);
        assert_eq!((meters.fencings[&3].count, meters.fencings[&3].sum_us), (1, 3_000_000));
    }

    #[test]
    fn what_was_counted_of_a_lockspace_goes_with_it() {
        let history = recovery();
        let lockspace = LockspaceName::new(b"fs").unwrap();
        history.note(at_ms(5000), &Moment::Released { lockspace });
        let state = summed_up(&history);
        assert_eq!(state.lockspaces[0].meters, Some(Default::default()));
    }
}

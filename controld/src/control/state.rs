//! The published state as the document of `dlmcontrol::state` (docs/json.md).
//!
//! Only translates: what is waited for is the core's to say, and [`super::waits`] has its words.

use super::waits::{beside, waits};
use super::{Attempt, Published, plock_meters};
use dlm_core::event::{AgentOutcome, LeaveReason};
use dlm_core::snapshot::{self, Slots, Wait as ChangeWait};
use dlm_core::types::{Instant, NodeId, RingId, Slot as CoreSlot};
use dlm_core::waiting::WriteKind as CoreWrite;
use dlm_core::waiting::{Subject, Waiting};
use dlmcontrol::state::{
    Change, Cluster, Daemon, Fencing, Lockspace, LockspaceMeters, LockspaceNode, LockspaceState,
    Node, Outcome, Ring, SCHEMA_VERSION, Slot, SlotsKnown, State, Time,
};
use std::collections::BTreeMap;

/// Nanoseconds in a millisecond.
const NANOS_PER_MS: u64 = 1_000_000;

/// The document.
pub(crate) fn state(published: &Published, started: Time, now: Time) -> State {
    let clock = Clock { now };
    let snapshot = &published.snapshot;
    State {
        schema_version: SCHEMA_VERSION,
        now,
        // The query thread knows.
        stale_ms: None,
        daemon: Daemon {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            pid: std::process::id(),
            started,
            uptime_ms: started.ms_until(now),
            phase: published.phase,
        },
        cluster: cluster(published, &clock),
        nodes: nodes(published, &clock),
        lockspaces: snapshot
            .lockspaces
            .iter()
            .map(|known| lockspace(known, snapshot, &clock))
            .collect(),
        config: config(&published.config),
        // The query thread adds them.
        meters: None,
    }
}

/// Both clocks now, to tell the wall's time of any moment.
pub(super) struct Clock {
    pub(super) now: Time,
}

impl Clock {
    pub(super) fn time(&self, of: Instant) -> Time {
        let boot_ms = of.as_nanos() / NANOS_PER_MS;
        let wall = self.now.wall_ms.saturating_add(boot_ms).saturating_sub(self.now.boot_ms);
        Time { boot_ms, wall_ms: wall }
    }

    /// `None` for a moment that never was.
    fn past(&self, of: Instant) -> Option<Time> {
        (of != Instant::default()).then(|| self.time(of))
    }
}

fn cluster(published: &Published, clock: &Clock) -> Cluster {
    let snapshot = &published.snapshot;
    Cluster {
        our_node: snapshot.our_node.map(NodeId::get),
        quorate: snapshot.quorate,
        ring: ring(snapshot.cluster_ring),
        daemon_ring: ring(snapshot.daemon_ring),
        protocol: snapshot.protocol.map(|version| version.to_string()),
        members: ids(snapshot.nodes.iter().filter(|node| node.member).map(|node| &node.node)),
        fencing_unknown: snapshot.fence_in_progress_unknown,
        stateful_merge: snapshot.stateful_merge_wait,
        startup_nodes: ids(&snapshot.startup_nodes),
        killed_agents: count(published.zombies),
        waits: waits(&Subject::Daemon, snapshot, clock)
            .into_iter()
            .chain(published.beside.iter().map(|of| beside(of, clock)))
            .collect(),
    }
}

fn ring(ring: RingId) -> Ring {
    Ring { node: ring.node, seq: ring.seq }
}

/// Nodes of the group, then those of the start-up list that were never in it.
fn nodes(published: &Published, clock: &Clock) -> Vec<Node> {
    let snapshot = &published.snapshot;
    let known = snapshot.nodes.iter().map(|of| node(of, published, clock));
    let unseen = snapshot
        .startup_nodes
        .iter()
        .filter(|startup| !snapshot.nodes.iter().any(|node| node.node == **startup));
    let unseen = unseen.map(|startup| Node {
        node: startup.get(),
        left_reason: "unknown".to_owned(),
        waits: waits(&Subject::Node(*startup), snapshot, clock),
        ..Node::default()
    });
    known.chain(unseen).collect()
}

fn node(of: &snapshot::DaemonNode, published: &Published, clock: &Clock) -> Node {
    let attempts = published.attempts.get(&of.node);
    Node {
        node: of.node.get(),
        member: of.member,
        clean: of.clean,
        merged: of.merged,
        killed: of.killed,
        left_reason: of.left_reason.to_owned(),
        added: clock.past(of.add_time),
        removed: clock.past(of.rem_time),
        fencing: Fencing {
            needed: of.need_fencing,
            failed: clock.past(of.fail_time),
            fenced: clock.past(of.fence_time),
            actor: of.actor_last.map(NodeId::get),
            fenced_by: of.actor_done.map(NodeId::get),
            agent_pid: published.agents.get(&of.node).copied().filter(|pid| *pid != 0),
            failures: of.failures,
            config_error: of.config_error.clone(),
            failed_by: of.failed_by.iter().map(|(node, result)| (node.get(), *result)).collect(),
            attempts: attempts.into_iter().flatten().map(|of| attempt(of, clock)).collect(),
        },
        waits: waits(&Subject::Node(of.node), &published.snapshot, clock),
    }
}

fn attempt(of: &Attempt, clock: &Clock) -> dlmcontrol::state::Attempt {
    dlmcontrol::state::Attempt {
        device: of.device.clone(),
        agent: of.agent.clone(),
        started: clock.time(of.started),
        ended: of.ended.as_ref().map(|(ended, _)| clock.time(*ended)),
        outcome: match of.ended {
            None => Outcome::Running,
            Some((_, AgentOutcome::Exited(status))) => Outcome::Exited(status),
            Some((_, AgentOutcome::Signalled(signal))) => Outcome::Signalled(signal),
            Some((_, AgentOutcome::NotStarted(errno))) => Outcome::NotStarted(errno),
        },
        output: of.output.clone(),
    }
}

fn lockspace(of: &snapshot::Lockspace, all: &snapshot::Snapshot, clock: &Clock) -> Lockspace {
    let subject = Subject::Lockspace(of.name.clone());
    let (slots_known, slots) = slots(&of.slots);
    let ours = all.our_node.map(NodeId::get);
    let newest = of.pending.as_ref().map(|(change, _)| change).or(of.started.as_ref());
    let is_member = |node: NodeId| {
        newest.is_some_and(|change| change.members.iter().any(|member| member.node == node))
    };
    let state = lockspace_state(of, &subject, all);
    Lockspace {
        name: of.name.to_string(),
        id: format!("{:#010x}", of.global_id.0),
        state,
        without_quorum: state == LockspaceState::Running && !all.quorate,
        members: of
            .started
            .as_ref()
            .map(|done| ids(done.members.iter().map(|member| &member.node)))
            .unwrap_or_default(),
        started: of.started.as_ref().map(|done| change(done, done.combined_seq.get())),
        pending: of.pending.as_ref().map(|(newest, oldest)| change(newest, oldest.get())),
        our_jid: slots.iter().find(|slot| Some(slot.node) == ours).map(|slot| slot.jid),
        slots_known,
        slots,
        nodes: of
            .nodes
            .iter()
            .map(|node| LockspaceNode {
                node: node.node.get(),
                member: is_member(node.node),
                need_fencing: node.need_fencing,
                fail_reason: node.fail_reason.map(|why| leave_reason(why).to_owned()),
                failed: clock.past(node.fail_time),
                added_change: node.added_seq.get(),
                removed_change: node.removed_seq.get(),
            })
            .collect(),
        waits: waits(&subject, all, clock),
        // The history adds its own.
        meters: Some(LockspaceMeters {
            plocks: plock_meters::document(&of.plocks),
            ..Default::default()
        }),
    }
}

/// A lockspace whose start is decided is on its way as long as the kernel has not said that it is done.
fn lockspace_state(
    of: &snapshot::Lockspace,
    subject: &Subject,
    all: &snapshot::Snapshot,
) -> LockspaceState {
    let starting = || {
        all.waits.iter().filter(|wait| wait.who == *subject).any(|wait| match &wait.what {
            Waiting::Kernel(lane) => lane.write == CoreWrite::Start,
            Waiting::Change(wait) => matches!(wait, ChangeWait::Comms(_)),
            _ => false,
        })
    };
    if of.leaving {
        LockspaceState::Leaving
    } else if of.joining {
        LockspaceState::Joining
    } else if of.kernel_stopped {
        LockspaceState::Stopped
    } else if starting() {
        LockspaceState::Starting
    } else {
        LockspaceState::Running
    }
}

const fn leave_reason(reason: LeaveReason) -> &'static str {
    match reason {
        LeaveReason::Leave => "leave",
        LeaveReason::NodeDown => "nodedown",
        LeaveReason::ProcDown => "procdown",
    }
}

fn slots(known: &Slots) -> (SlotsKnown, Vec<Slot>) {
    let list = |pairs: &[(CoreSlot, NodeId)]| {
        let slot = |(slot, node): &(CoreSlot, NodeId)| Slot {
            slot: slot.get(),
            jid: slot.jid(),
            node: node.get(),
        };
        pairs.iter().map(slot).collect()
    };
    match known {
        Slots::Unknown => (SlotsKnown::Unknown, Vec::new()),
        Slots::Predicted(pairs) => (SlotsKnown::Predicted, list(pairs)),
        Slots::Confirmed(pairs) => (SlotsKnown::Confirmed, list(pairs)),
    }
}

fn change(of: &snapshot::Change, combined_seq: u32) -> Change {
    let those = |wanted: fn(&snapshot::ChangeMember) -> bool| {
        ids(of.members.iter().filter(|member| wanted(member)).map(|member| &member.node))
    };
    Change {
        seq: of.seq.get(),
        combined_seq,
        members: those(|_| true),
        starts: those(|member| member.start),
        disallowed: those(|member| member.disallowed),
        joined_count: count(of.joined_count),
        removed_count: count(of.remove_count),
        failed_count: count(of.failed_count),
    }
}

fn config(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub(super) fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<u32> {
    nodes.into_iter().map(|node| node.get()).collect()
}

pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

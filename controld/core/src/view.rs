//! The state as plain data.

use crate::change::Change;
use crate::core::Core;
use crate::group::{Daemon, Membership};
use crate::lockspace::{Lockspace, Phase};
use crate::snapshot::{self, ChangeMember, DaemonNode, LockspaceNode, Snapshot, Wait};
use crate::types::{ChangeSeq, NodeId};
use crate::writes::Kernel;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

/// Take the snapshot.
pub(crate) fn snapshot(core: &Core) -> Snapshot {
    let world = &core.world;
    let daemons = &world.daemons;
    let mut nodes: Vec<(usize, DaemonNode)> =
        daemons.nodes.iter().map(|(id, node)| (node.order, daemon_node(core, *id, node))).collect();
    nodes.sort_by_key(|(order, _)| *order);
    let mut lockspaces: Vec<snapshot::Lockspace> =
        core.lockspaces.values().map(|lockspace| self::lockspace(core, lockspace)).collect();
    lockspaces.sort_by_key(|lockspace| core::cmp::Reverse(lockspace.number));
    Snapshot {
        our_node: Some(world.setup.our_node),
        quorate: world.cluster.quorate,
        cluster_ring: world.cluster.ring,
        daemon_ring: daemons.ring(),
        member_count: daemons.counts().member,
        joined_count: daemons.counts().joined,
        remove_count: daemons.counts().remove,
        fence_in_progress_unknown: daemons.fencing.unknown,
        protocol_waits_for: daemons.awaited_members(),
        stateful_merge_wait: daemons.merge_wait,
        nodes: nodes.into_iter().map(|(_, node)| node).collect(),
        startup_nodes: daemons.fencing.startup.iter().copied().collect(),
        waits: core.all_waits(),
        protocol: daemons.run.map(|run| run.daemon),
        lockspaces,
        runs: core.runs.snapshot(world.setup.our_node),
    }
}

fn daemon_node(core: &Core, id: NodeId, node: &Daemon) -> DaemonNode {
    let victim = &node.victim;
    let agent_running = core.world.daemons.fencing.attempts.contains_key(&id);
    DaemonNode {
        node: id,
        member: node.membership.is_member(),
        killed: matches!(node.membership, Membership::Merged { killed: true, .. }),
        left_reason: node.left_reason.text(),
        need_fencing: victim.needs_fencing(),
        delay_fencing: victim.needs_fencing() && !agent_running && !victim.result_wait,
        agent_running,
        result_wait: victim.result_wait,
        actor_last: victim.actor_last,
        actor_done: victim.actor_done,
        add_time: node.add_time,
        rem_time: node.rem_time,
        fail_wall: victim.fail_wall,
        fail_time: victim.fail_time,
        fence_wall: victim.fence_wall,
        fence_time: victim.fence_time,
        waits_for: victim.waits_for.clone(),
        failures: victim.failures,
        config_error: victim.config_error.clone(),
        failed_by: victim.failed_by.iter().map(|(node, result)| (*node, *result)).collect(),
        clean: node.membership.is_clean(),
        merged: matches!(node.membership, Membership::Merged { .. }),
    }
}

fn lockspace(core: &Core, lockspace: &Lockspace) -> snapshot::Lockspace {
    let oldest = lockspace.changes.back().map(|change| change.seq).unwrap_or_default();
    let mut nodes: Vec<(usize, LockspaceNode)> = lockspace
        .history
        .iter()
        .map(|(node, record)| {
            let node = LockspaceNode {
                node,
                added_seq: record.added_seq,
                removed_seq: record.removed_seq,
                fail_reason: record.fail_reason,
                fail_wall: record.fail_wall,
                fail_time: record.fail_time,
                need_fencing: record.need_fencing && core.world.setup.fixed.fencing.is_on(),
            };
            (record.order, node)
        })
        .collect();
    nodes.sort_by_key(|(order, _)| *order);
    snapshot::Lockspace {
        number: lockspace.number,
        name: lockspace.name.clone(),
        global_id: lockspace.global_id,
        joining: lockspace.joining,
        leaving: matches!(
            lockspace.phase,
            Phase::Leaving | Phase::Releasing { .. } | Phase::Gone { .. }
        ),
        kernel_stopped: lockspace.kernel == Kernel::Stopped,
        need_plocks: !lockspace.plocks.is_synchronised(),
        plocks: lockspace.plocks.meters(),
        started: lockspace
            .started
            .as_ref()
            .map(|(change, combined)| self::change(change, *combined)),
        pending: lockspace.changes.front().map(|newest| (change(newest, oldest), oldest)),
        wait: lockspace.wait.clone(),
        wait_since: lockspace.wait_since,
        nodes: nodes.into_iter().map(|(_, node)| node).collect(),
        slots: lockspace.slots.snapshot(),
    }
}

fn change(change: &Change, combined_seq: ChangeSeq) -> snapshot::Change {
    snapshot::Change {
        seq: change.seq,
        combined_seq,
        members: change
            .members
            .iter()
            .map(|(node, member)| ChangeMember {
                node: *node,
                start: member.start.is_some(),
                disallowed: member.disallowed,
            })
            .collect(),
        joined_count: change.joined.len(),
        remove_count: change.left.len(),
        failed_count: change.failed_count(),
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = |nodes: &BTreeSet<NodeId>| {
            let ids: Vec<_> = nodes.iter().map(ToString::to_string).collect();
            ids.join(" ")
        };
        match self {
            Self::Stop => f.write_str("our kernel to stop"),
            Self::Ring => f.write_str("corosync's rings to agree"),
            Self::Quorum => f.write_str("quorum"),
            Self::Fencing(set) if set.is_empty() => {
                f.write_str("fencing: not known whether any is in progress elsewhere")
            }
            Self::Fencing(set) => write!(f, "fencing of {}", nodes(set)),
            Self::NodeGone(set) => write!(f, "corosync to remove {}", nodes(set)),
            Self::Ghost(set) => write!(f, "{}, in the group but not in the cluster", nodes(set)),
            Self::Comms(set) => write!(f, "addresses in configfs of {}", nodes(set)),
            Self::Withdraw(set) => write!(f, "{} to leave, whose gfs2 withdraws", nodes(set)),
            Self::Handover => f.write_str("the end of our words about POSIX locks of ours"),
            Self::Starts(set) => write!(f, "START of {}", nodes(set)),
            Self::Disallowed(set) => {
                write!(f, "the removal of {}, merged with state of its own", nodes(set))
            }
        }
    }
}

//! The state as plain data, for status, `ls` and metrics: taken in one go, so that a slow reader holds up nothing.
//!
//! Shapes follow what the sockets carry (spec/control-socket.md sections 4 and 5).

use crate::event::LeaveReason;
use crate::message::{RunCounts, RunRequest};
use crate::plock::PlockMeters;
use crate::types::{
    ChangeSeq, GlobalId, Instant, LockspaceName, NodeId, RingId, Slot, Version, WallSeconds,
};
use crate::waiting::{FenceWait, Waited};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Everything that status shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// This node.
    pub our_node: Option<NodeId>,
    /// The partition may act.
    pub quorate: bool,
    /// Ring of the quorum service.
    pub cluster_ring: RingId,
    /// Ring of the daemon group.
    pub daemon_ring: RingId,
    /// Of the last change of the daemon group.
    pub member_count: usize,
    /// Of the last change of the daemon group.
    pub joined_count: usize,
    /// Of the last change of the daemon group.
    pub remove_count: usize,
    /// We do not know whether fencing is in progress.
    pub fence_in_progress_unknown: bool,
    /// Members whose PROTOCOL the daemon still waits for at its start.
    pub protocol_waits_for: BTreeSet<NodeId>,
    /// Merged nodes outnumber clean ones: nobody acts, an operator must (spec/lockspace-recovery.md section 11).
    pub stateful_merge_wait: bool,
    /// Nodes ever seen in the daemon group, in order of first sight.
    pub nodes: Vec<DaemonNode>,
    /// Nodes of the start-up list that are still to be dealt with.
    pub startup_nodes: Vec<NodeId>,
    /// Everything that is waited for.
    pub waits: Vec<Waited>,
    /// The protocol that the daemons run; `None` until it is settled.
    pub protocol: Option<Version>,
    /// Lockspaces, newest first.
    pub lockspaces: Vec<Lockspace>,
    /// Run commands, in order of creation.
    pub runs: Vec<Run>,
}

/// A run command that was started here, or that runs here for another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Creation number, for stable order.
    pub number: u64,
    /// What was asked, by whom.
    pub request: Arc<RunRequest>,
    /// Process id of the command here; 0 while it is not known.
    pub pid: i32,
    /// Its result; 0 while it is not known.
    pub result: i32,
    /// Answers; zeros where another node asked.
    pub counts: RunCounts,
}

/// A node of the daemon group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonNode {
    /// Who.
    pub node: NodeId,
    /// In the group now.
    pub member: bool,
    /// We asked corosync to remove it.
    pub killed: bool,
    /// Why it is not in the group: text as the C daemon has it, `unknown` if it never left.
    pub left_reason: &'static str,
    /// Must be fenced.
    pub need_fencing: bool,
    /// Fencing is due but waits for something.
    pub delay_fencing: bool,
    /// An agent of ours runs for it.
    pub agent_running: bool,
    /// We have sent a result and wait for it to come back.
    pub result_wait: bool,
    /// Who is to fence it, or was last.
    pub actor_last: Option<NodeId>,
    /// Who fenced it.
    pub actor_done: Option<NodeId>,
    /// When it was last added.
    pub add_time: Instant,
    /// When it was last removed.
    pub rem_time: Instant,
    /// When it failed.
    pub fail_wall: WallSeconds,
    /// When it failed.
    pub fail_time: Instant,
    /// When it was fenced, by the sender's clock.
    pub fence_wall: WallSeconds,
    /// When we learnt that it was fenced.
    pub fence_time: Instant,
    /// What its fencing waits for.
    pub waits_for: Option<FenceWait>,
    /// Attempts of ours that failed in a row.
    pub failures: u32,
    /// Why its fence devices cannot be used, as our last attempt found.
    pub config_error: Option<String>,
    /// Results of the actors that failed, since it must be fenced: exit status, or a negative number.
    pub failed_by: Vec<(NodeId, i32)>,
    /// Its daemon is in the group and its protocol is known.
    pub clean: bool,
    /// It merged with state of another partition.
    pub merged: bool,
}

/// What a lockspace's change waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Wait {
    /// Not looked at yet, or only waiting for our own kernel's stop.
    Stop,
    /// Group, daemon group and quorum service are not on one ring yet.
    Ring,
    /// The partition is not quorate.
    Quorum,
    /// Fencing of these nodes; empty: not known whether fencing is in progress.
    Fencing(BTreeSet<NodeId>),
    /// The cluster still lists these failed nodes.
    NodeGone(BTreeSet<NodeId>),
    /// These members are in the group, but the cluster does not list them.
    Ghost(BTreeSet<NodeId>),
    /// configfs entries of these nodes are not written or removed yet.
    Comms(BTreeSet<NodeId>),
    /// These members' gfs2 withdraws: our kernel has stopped, and goes on when they have left.
    Withdraw(BTreeSet<NodeId>),
    /// Files of ours become everybody's before our START: POSIX locks of theirs are still to be said.
    Handover,
    /// START of these members.
    Starts(BTreeSet<NodeId>),
    /// These members merged from another partition with state of their own; only their removal helps.
    Disallowed(BTreeSet<NodeId>),
}

/// A lockspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockspace {
    /// Creation number, for stable order.
    pub number: u64,
    /// Name.
    pub name: LockspaceName,
    /// Id.
    pub global_id: GlobalId,
    /// First start still pending.
    pub joining: bool,
    /// We are leaving.
    pub leaving: bool,
    /// The kernel is stopped, or being stopped.
    pub kernel_stopped: bool,
    /// POSIX lock state is not complete.
    pub need_plocks: bool,
    /// What was counted of POSIX locks.
    pub plocks: PlockMeters,
    /// The last completed change.
    pub started: Option<Change>,
    /// The newest pending change, and the number of the oldest pending one.
    pub pending: Option<(Change, ChangeSeq)>,
    /// What the pending change waits for.
    pub wait: Option<Wait>,
    /// Since when.
    pub wait_since: Instant,
    /// Nodes ever seen, in order of first sight.
    pub nodes: Vec<LockspaceNode>,
    /// Slots as predicted by the kernel's rule or told by the kernel.
    pub slots: Slots,
}

/// Who holds which slot, and how we know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Slots {
    /// Not known: a joiner before the kernel's line.
    #[default]
    Unknown,
    /// By the kernel's rule, not yet confirmed.
    Predicted(Vec<(Slot, NodeId)>),
    /// From the kernel's log.
    Confirmed(Vec<(Slot, NodeId)>),
}

/// One change of a lockspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub seq: ChangeSeq,
    /// The oldest change that was merged into it.
    pub combined_seq: ChangeSeq,
    /// Members with what is known of them in this change.
    pub members: Vec<ChangeMember>,
    /// Length of the joined list.
    pub joined_count: usize,
    /// Length of the left list.
    pub remove_count: usize,
    /// Those that failed.
    pub failed_count: usize,
}

/// A member of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeMember {
    /// Who.
    pub node: NodeId,
    /// Its START for this change has come.
    pub start: bool,
    /// Merged with state of its own.
    pub disallowed: bool,
}

/// A node ever seen in a lockspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockspaceNode {
    /// Who.
    pub node: NodeId,
    /// Number of the change that added it last.
    pub added_seq: ChangeSeq,
    /// Number of the change that removed it last.
    pub removed_seq: ChangeSeq,
    /// Why it failed last.
    pub fail_reason: Option<LeaveReason>,
    /// When it failed last.
    pub fail_wall: WallSeconds,
    /// When it failed last.
    pub fail_time: Instant,
    /// It ran here, failed, and is not known to be fenced.
    pub need_fencing: bool,
}

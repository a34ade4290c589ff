//! The recoveries of the last hours as one JSON document (`docs/json.md`), served on the query socket
//! ([`crate::proto::Command::History`]): how long each phase of each took, and for whom.

use crate::state::Time;
use serde::{Deserialize, Serialize};

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// [`crate::state::SCHEMA_VERSION`]
    pub schema_version: u32,
    /// When it was made.
    pub now: Time,
    /// Corosync's `runtime.config.totem.token`: how long a node may be silent before it counts as lost.
    pub token_ms: Option<u64>,
    /// Corosync's `runtime.config.totem.consensus`: how long the others may take to agree on the new ring.
    pub consensus_ms: Option<u64>,
    /// Changes of lockspaces, oldest first.
    pub recoveries: Vec<Recovery>,
    /// Nodes that had to be fenced, oldest first.
    pub fencings: Vec<Fencing>,
}

/// A change of a lockspace's members, from the first word of it until the kernel runs again; changes that came
/// meanwhile are part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Which lockspace.
    pub lockspace: String,
    /// When the (first) change came.
    pub began: Time,
    /// When the kernel's start returned, or the lockspace was released; absent: not yet.
    pub ended: Option<Time>,
    /// How long it took, or lasts already.
    pub took_ms: u64,
    /// The lockspace was released before it ran.
    pub released: bool,
    /// Members in the end.
    pub members: Vec<u32>,
    /// Who came.
    pub joined: Vec<u32>,
    /// Who left in order.
    pub left: Vec<u32>,
    /// Who failed.
    pub failed: Vec<u32>,
    /// Changes that were made one.
    pub changes: u64,
    /// What it spent its time with, one after the other, without gaps.
    pub phases: Vec<Phase>,
    /// When each member's START came, since our own was sent.
    pub starts: Vec<Start>,
    /// Whose START came last, where that was somebody else's.
    pub straggler: Option<u32>,
    /// The kernel told the slots so long after its start.
    pub slots_after_ms: Option<u64>,
    /// The kernel's dlm had recovered its locks so long after its start, and granted locks again.
    #[serde(default)]
    pub locks_after_ms: Option<u64>,
    /// gfs2 on this node was blocked no more so long after the start; absent: it has none, or needed nothing.
    #[serde(default)]
    pub file_system_after_ms: Option<u64>,
    /// Journals of failed nodes that this node has replayed.
    #[serde(default)]
    pub journals: Vec<Journal>,
}

/// A journal that this node's gfs2 has replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Which: the failed node's slot less one.
    pub jid: u32,
    /// How long that took.
    pub took_ms: u64,
}

/// A part of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// What was done or waited for.
    pub kind: PhaseKind,
    /// Nodes that were waited for in it.
    pub nodes: Vec<u32>,
    /// Since the recovery began.
    pub from_ms: u64,
    /// How long.
    pub took_ms: u64,
}

/// Kinds of phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// The daemon's own work between the others.
    Daemon,
    /// Our kernel stops.
    Stop,
    /// Corosync's rings have to agree.
    Rings,
    /// No quorum.
    Quorum,
    /// Fencing.
    Fencing,
    /// Corosync's membership does not fit the group's.
    Membership,
    /// Addresses in configfs.
    Addresses,
    /// A peer's gfs2 withdraws.
    Withdraw,
    /// POSIX locks that were ours alone are told to all.
    Handover,
    /// From our START until everybody's has come.
    Starts,
    /// Members that merged with state of their own.
    Merge,
    /// Our kernel starts: from the last START until `control 1` has returned.
    KernelStart,
    /// A word that this version of the types does not know.
    #[serde(other)]
    Other,
}

/// A member's START.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Whose.
    pub node: u32,
    /// After ours was sent; 0 where it was there before.
    pub after_ms: u64,
}

/// A node that had to be fenced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fencing {
    /// Whom.
    pub node: u32,
    /// When it was found to be needed.
    pub needed: Time,
    /// Who was to do it.
    pub actor: Option<u32>,
    /// When it was settled; absent: not yet.
    pub done: Option<Time>,
    /// Who did it; the node itself where it came back clean.
    pub by: Option<u32>,
    /// How long it took, or lasts already.
    pub took_ms: u64,
    /// Agents of this node.
    pub agents: Vec<Agent>,
}

/// A fence agent of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its device.
    pub device: String,
    /// When it was started.
    pub started: Time,
    /// When an agent for this node ended; absent: it runs.
    pub ended: Option<Time>,
    /// How, in words.
    pub outcome: Option<String>,
}

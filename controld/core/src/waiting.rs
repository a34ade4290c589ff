//! Everything that the daemon can wait for, as values: nothing waits anywhere without one of these being true, and
//! `Snapshot::waits` lists those that are. Texts, exit codes and metrics are made from them.

use crate::snapshot::Wait;
use crate::types::{Instant, LockspaceName, NodeId};
use alloc::collections::BTreeSet;
use alloc::string::String;
use core::fmt;
use core::mem::discriminant;
use serde::{Deserialize, Serialize};

/// Somebody waits for something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Waited {
    /// Who.
    pub who: Subject,
    /// For what.
    pub what: Waiting,
    /// Since when for something of this kind; nodes may have come or gone meanwhile.
    pub since: Instant,
}

/// Who waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// The daemon as a whole.
    Daemon,
    /// The dealing with a node: its fencing, or whether it is harmless.
    Node(NodeId),
    /// A lockspace.
    Lockspace(LockspaceName),
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Waiting {
    /// Corosync has not confirmed our join of the daemon group yet.
    DaemonGroup,
    /// PROTOCOL of these members of the daemon group; without it nobody knows what can be run.
    Protocols(BTreeSet<NodeId>),
    /// All have said what they can run; the choice is on its way.
    Proposal,
    /// Not known whether fencing is in progress that we have not seen begin; lockspaces are held back.
    FencingUnknown(Unknown),
    /// Corosync is to remove these nodes, which merged with state of another partition.
    MergedRemoval(BTreeSet<NodeId>),
    /// These merged nodes outnumber the clean ones: nobody may act but an operator.
    MergedOperator(BTreeSet<NodeId>),
    /// Corosync knows no address of these nodes, or the kernel would not take it.
    Addresses(BTreeSet<NodeId>),
    /// The kernel is to do something.
    Kernel(LaneWait),
    /// Answers to commands that this node has others run, or runs itself for that.
    RunReplies {
        /// Whose are missing.
        from: BTreeSet<NodeId>,
        /// When the next operation gives up.
        until: Instant,
        /// Operations.
        count: usize,
    },
    /// The end of commands that run here, or wait for their turn.
    RunCommands {
        /// Who asked for them.
        of: BTreeSet<NodeId>,
        /// When the next one is killed; `None`: all were, and have not ended.
        until: Option<Instant>,
        /// Commands.
        count: usize,
    },

    /// A configured node may still run from before our start: it must join, be fenced, or be acknowledged.
    Startup(FenceWait),
    /// A failed node must be fenced.
    Fence(FenceWait),

    /// The daemons' protocol is not settled; the lockspace's group is joined after that.
    Queued,
    /// Corosync has not confirmed our join of the lockspace's group yet.
    Join,
    /// Corosync has not confirmed our leave of the group yet, after which it is joined anew.
    Rejoin,
    /// Corosync has not confirmed our leave of the group yet.
    Leave,
    /// The newest change of the members.
    Change(Wait),
    /// The state of POSIX locks; requests of our kernel are held meanwhile.
    Plocks {
        /// Who sends it; `None`: nobody, as a transfer has failed, until the members change again.
        from: Option<NodeId>,
    },
    /// These peers are to stop before our gfs2, which withdraws, is answered.
    WithdrawAnswer(BTreeSet<NodeId>),
}

impl Waiting {
    /// Both are of one kind, whatever the nodes and times in them: then `since` goes on.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::FencingUnknown(a), Self::FencingUnknown(b)) => {
                discriminant(a) == discriminant(b)
            }
            (Self::Startup(a), Self::Startup(b)) | (Self::Fence(a), Self::Fence(b)) => {
                discriminant(a) == discriminant(b)
            }
            (Self::Change(a), Self::Change(b)) => discriminant(a) == discriminant(b),
            // A write that is tried again is still the same write.
            (Self::Kernel(a), Self::Kernel(b)) => a.write == b.write,
            _ => discriminant(self) == discriminant(other),
        }
    }
}

/// Why we do not know whether fencing is in progress elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unknown {
    /// Nothing is decided before corosync's rings agree.
    Rings,
    /// Nothing is decided without quorum.
    Quorum,
    /// Nothing is decided while merged nodes are there.
    Merge,
    /// These nodes of the start-up list are not dealt with.
    Startup(BTreeSet<NodeId>),
    /// These nodes are still to be fenced.
    Victims(BTreeSet<NodeId>),
    /// One of these members must tell us that nothing is outstanding; it does when its own fencing is done.
    Clearance(BTreeSet<NodeId>),
    /// These members have not said whether they know of any.
    Agreement(BTreeSet<NodeId>),
}

/// What the fencing of a node waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FenceWait {
    /// The daemons' protocol.
    Protocol,
    /// Agreement of corosync's rings.
    Rings,
    /// Quorum (`enable_quorum_fencing`).
    Quorum,
    /// The removal of merged nodes.
    Merge,
    /// `post_join_delay`; ends at this time, unless another node joins.
    JoinDelay {
        /// When it ends; `None`: it has not begun, as no node has joined yet.
        until: Option<Instant>,
    },
    /// Our fence agent is running.
    Agent,
    /// Our agent is running for another node that shares a device with this one, and `enable_concurrent_fencing` is off.
    OtherAgent,
    /// Our result is on its way to everybody.
    Result,
    /// A pause after a failed attempt.
    Pause {
        /// When the next attempt begins.
        until: Instant,
        /// Attempts that failed in a row.
        failures: u32,
    },
    /// Another node is to fence it.
    Actor(NodeId),
    /// An operator: every actor has failed and none may begin again, or fencing at the start is switched off.
    Operator,
}

impl FenceWait {
    /// All victims wait for it, whoever is to fence them.
    pub(crate) fn is_for_all(&self) -> bool {
        matches!(self, Self::Protocol | Self::Rings | Self::Quorum | Self::Merge)
    }
}

impl fmt::Display for FenceWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol => f.write_str("the daemons' protocol"),
            Self::Rings => f.write_str("agreement of corosync's rings"),
            Self::Quorum => f.write_str("quorum"),
            Self::Merge => f.write_str("merged nodes to be removed"),
            Self::JoinDelay { .. } => f.write_str("post_join_delay"),
            Self::Agent => f.write_str("our fence agent"),
            Self::OtherAgent => f.write_str("our fence agent for another node"),
            Self::Result => f.write_str("our own result to come back"),
            Self::Pause { .. } => f.write_str("the pause after a failed attempt"),
            Self::Actor(actor) => write!(f, "node {actor}, which is to fence it"),
            Self::Operator => f.write_str("an operator: every actor has failed"),
        }
    }
}

/// What the kernel is to do, and how it gets on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LaneWait {
    /// The write.
    pub write: WriteKind,
    /// How it gets on.
    pub state: LaneState,
    /// Writes behind it.
    pub queued: usize,
}

/// How the first write of a lane gets on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LaneState {
    /// The kernel has it. A stop blocks until locking has ceased, which may be never.
    Running {
        /// Attempts that failed before this one.
        failures: u32,
    },
    /// It failed, and will be tried again.
    Pause {
        /// When.
        until: Instant,
        /// Attempts that failed.
        failures: u32,
        /// What the kernel said last.
        error: String,
    },
    /// It may not be handed out yet: it concerns a node that a start names which the kernel is just being given, or its
    /// members' addresses are missing.
    Held,
}

/// Kinds of kernel writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WriteKind {
    /// The address of a node.
    AddComm(NodeId),
    /// The removal of a node's address.
    RemoveComm(NodeId),
    /// `control` 0.
    Stop,
    /// Members, `control` 1.
    Start,
    /// The last writes after our leave.
    Release,
    /// The answer to a uevent.
    EventDone,
    /// The answer to gfs2's withdraw.
    AckWithdraw,
}

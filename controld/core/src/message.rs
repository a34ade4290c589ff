//! What daemons say to each other, typed. Bytes are the wire room's business.
//!
//! Source: spec/cluster-protocol.md. Fields that carry no information (reserved bytes, record sizes) do not appear here.

use crate::plock::{PlockInfo, PlocksData};
use crate::run::RunUuid;
use crate::types::{ChangeSeq, GlobalId, NodeId, Version, WallSeconds};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A message with the parts of its header that mean something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Packet {
    /// Run version of the daemon protocol for lockspace and run messages; 0.0.0 for PROTOCOL and FENCE_*.
    pub version: Version,
    /// Node id that the header names: must be the CPG sender.
    pub sender: NodeId,
    /// 0 on the daemon group.
    pub global_id: GlobalId,
    /// What is said.
    pub message: Message,
}

/// The body of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Type 1.
    Protocol(Protocol),
    /// Type 2, also as a NACK.
    Start(Start),
    /// Type 3: a request, to be carried out by every member at this place of the group's order.
    Plock(PlockInfo),
    /// Type 4: who owns a resource from here on.
    PlockOwn {
        /// Inode number.
        number: u64,
        /// The sender, or nobody: from here on every request is multicast.
        owner: Option<NodeId>,
    },
    /// Type 5: a resource without locks can be forgotten.
    PlockDrop {
        /// Inode number.
        number: u64,
    },
    /// Type 6: a lock that the sender had granted while it owned the resource.
    PlockSyncLock(PlockInfo),
    /// Type 7: a waiter that the sender had while it owned the resource.
    PlockSyncWaiter(PlockInfo),
    /// Type 9: state for a joiner.
    PlocksData(PlocksData),
    /// Type 8.
    PlocksDone(PlocksDone),
    /// Type 14.
    FenceResult(FenceResult),
    /// Type 15.
    FenceClear(FenceClear),
    /// Type 15 too, an extension of ours: see [`FencePast`].
    FencePast(FencePast),
    /// Type 16: a command to be run.
    RunRequest(RunRequest),
    /// Type 17: what became of it on the sender.
    RunReply(RunReply),
    /// Type 19: the sender's coming leave counts as a failure.
    ReleaseRecover {
        /// The value of the kernel's uevent; 0 means nothing special.
        value: u32,
    },
    /// An extension of ours, between daemons that all announce it: gfs2 withdraws on a node, and its peers stop the
    /// lockspace before that node releases it.
    Withdraw {
        /// `None`: it is the sender that withdraws. Else the sender has stopped for this node's withdraw.
        stopped_for: Option<NodeId>,
    },
    /// A type that this daemon does not act upon (unknown): kept with its body, not looked at.
    Other {
        /// Type number of the header.
        kind: u16,
        /// `flags`, `msgdata` and `msgdata2` of the header.
        words: [u32; 3],
        /// Everything after the 40 bytes of the header.
        body: Vec<u8>,
    },
}

impl Message {
    /// The type, as metrics and lines of the log name it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Protocol(_) => "protocol",
            Self::Start(_) => "start",
            Self::Plock(_) => "plock",
            Self::PlockOwn { .. } => "plock_own",
            Self::PlockDrop { .. } => "plock_drop",
            Self::PlockSyncLock(_) => "plock_sync_lock",
            Self::PlockSyncWaiter(_) => "plock_sync_waiter",
            Self::PlocksData(_) => "plocks_data",
            Self::PlocksDone(_) => "plocks_done",
            Self::FenceResult(_) => "fence_result",
            Self::FenceClear(_) | Self::FencePast(_) => "fence_clear",
            Self::ReleaseRecover { .. } => "release_recover",
            Self::Withdraw { .. } => "withdraw",
            Self::RunRequest(_) => "run_request",
            Self::RunReply(_) => "run_reply",
            Self::Other { .. } => "other",
        }
    }

    /// The line of the log for a message that the daemon does not act upon where it has come.
    pub(crate) fn misplaced(&self, from: NodeId) -> String {
        match self {
            Self::Other { kind, .. } => format!(
                "message of unknown type {kind} from {from} ignored: does node {from} run a later version of dlm_controld?"
            ),
            known => format!(
                "{} message from {from} ignored: it does not belong in this group, something is wrong with the daemon of node {from}",
                known.name()
            ),
        }
    }

    /// About POSIX locks: nothing but them can change by it.
    pub(crate) const fn is_about_plocks(&self) -> bool {
        matches!(
            self,
            Self::Plock(_)
                | Self::PlockOwn { .. }
                | Self::PlockDrop { .. }
                | Self::PlockSyncLock(_)
                | Self::PlockSyncWaiter(_)
                | Self::PlocksData(_)
                | Self::PlocksDone(_)
        )
    }
}

/// One of the four versions of a PROTOCOL message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProtocolVersion {
    /// 0.0.0 while undecided.
    pub version: Version,
    /// Bit 0 of `daemon_run`: the sender has run a lockspace.
    pub flags: u16,
}

/// `daemon_run.flags`: the sender has completed a barrier in this daemon's life.
pub const PROTOCOL_STATEFUL: u16 = 1;

/// Type 1: what the sender can run and what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Protocol {
    /// Highest daemon protocol the sender can run.
    pub daemon_max: ProtocolVersion,
    /// Highest kernel protocol.
    pub kernel_max: ProtocolVersion,
    /// Daemon protocol in use, 0.0.0 while undecided.
    pub daemon_run: ProtocolVersion,
    /// Kernel protocol in use, 0.0.0 while undecided.
    pub kernel_run: ProtocolVersion,
    /// Extensions that the sender understands, from the bytes after the 72 that C reads; `None` from a C daemon.
    pub features: Option<u32>,
}

/// Header flag of START: the sender's first start is pending.
pub const START_JOINING: u32 = 1;
/// Header flag of START and PLOCKS_DONE: the sender's POSIX lock state is complete.
pub const START_HAVEPLOCK: u32 = 2;
/// Header bits of START, an extension of ours that C daemons do not look at: what `plock_ownership` is on the sender, 1 unset,
/// 2 on, 3 off; 0 is a C daemon. See [`crate::plock`].
pub const START_OWNERSHIP: u32 = 3 << START_OWNERSHIP_SHIFT;
/// The lowest of them.
pub const START_OWNERSHIP_SHIFT: u32 = 16;
/// Header flag of START: this is no start but a statement that the change is void for the sender.
pub const START_NACK: u32 = 4;

/// The numbers and members of one configuration change, as START and PLOCKS_DONE carry them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChangeCounts {
    /// Barriers that the sender's incarnation of the lockspace has completed.
    pub started_count: u32,
    /// Length of the sender's member list.
    pub member_count: i32,
    /// Length of the joined list.
    pub joined_count: i32,
    /// Length of the left list.
    pub remove_count: i32,
    /// Those of the left list that failed.
    pub failed_count: i32,
    /// The members, in confchg order; the order has no meaning.
    pub members: Vec<NodeId>,
}

/// Type 2: "my kernel is stopped, and I know this change"; with [`START_NACK`]: "this change is void for me".
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Start {
    /// The sender's number of the change.
    pub seq: ChangeSeq,
    /// `START_*`.
    pub flags: u32,
    /// The change.
    pub counts: ChangeCounts,
}

/// Type 8: the data node has sent all POSIX locks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlocksDone {
    /// The sender's number of the change.
    pub seq: ChangeSeq,
    /// `START_*`.
    pub flags: u32,
    /// Number of PLOCKS_DATA messages before it; meaningful only if data was sent.
    pub data_count: u32,
    /// The change whose barrier has just completed.
    pub counts: ChangeCounts,
}

/// Result value of a fencing that an operator acknowledged: Linux' -ECANCELED, part of the protocol.
pub const FENCE_RESULT_ACKNOWLEDGED: i32 = -125;

/// Type 14: what became of an attempt to fence a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FenceResult {
    /// Whom.
    pub victim: NodeId,
    /// 0 fenced; [`FENCE_RESULT_ACKNOWLEDGED`]; else failed.
    pub result: i32,
    /// The sender's wall clock.
    pub wall: WallSeconds,
    /// Number of the sender's ring when the attempt began, an extension of ours: what was in no later ring has been fenced. 0
    /// from a C daemon.
    pub ring: u64,
}

impl FenceResult {
    /// The victim needs no further fencing.
    #[must_use]
    pub const fn settles(&self) -> bool {
        self.result == 0 || self.result == FENCE_RESULT_ACKNOWLEDGED
    }
}

/// Flag of FENCE_CLEAR: the sender does not know whether fencing is in progress.
pub const CLEAR_FIPU_UNKNOWN: u32 = 1;
/// Flag of FENCE_CLEAR: the node may drop its start-up list.
pub const CLEAR_STARTUP: u32 = 2;
/// Flag of FENCE_CLEAR: no fencing is in progress.
pub const CLEAR_FIPU: u32 = 4;
/// Result of a FENCE_CLEAR that carries [`CLEAR_FIPU_UNKNOWN`]: Linux' -ENODATA, part of the protocol.
pub const FENCE_CLEAR_UNKNOWN: i32 = -61;

/// Type 15: a late joiner learns what it may forget, or says that it knows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FenceClear {
    /// The joiner; with [`CLEAR_FIPU_UNKNOWN`] the sender itself.
    pub node: NodeId,
    /// 0 or [`FENCE_CLEAR_UNKNOWN`].
    pub result: i32,
    /// `CLEAR_*`.
    pub flags: u32,
    /// Number of the sender's ring, an extension of ours: it knows of no later one. 0 from a C daemon.
    pub ring: u64,
}

/// Result of a FENCE_CLEAR that is a [`FencePast`]: Linux' -EALREADY. C daemons pass over any result but 0 and -61.
pub const FENCE_CLEAR_PAST: i32 = -114;
/// Flag of a [`FencePast`].
pub const CLEAR_PAST_WHOLE: u32 = 8;

/// An extension of ours: nothing is outstanding of the fencing that one part of the daemons knew of when it met another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FencePast {
    /// Number of the ring in which the sender joined the daemons.
    pub since: u64,
    /// Number of the ring in which they met.
    pub ring: u64,
    /// That part had quorum all the time: the others cannot know more.
    pub whole: bool,
    /// Members of that part, or some of them.
    pub side: Vec<NodeId>,
}

impl FencePast {
    /// So many members fit into one message.
    pub const MOST: usize = 200;
    /// The same, as a message announces it.
    pub const MOST_ANNOUNCED: u32 = 200;
}

/// Flag of RUN_REQUEST: the starting node does not run it.
pub const RUN_NODE_NONE: u32 = 1;
/// Flag of RUN_REQUEST: the starting node runs it at once.
pub const RUN_NODE_FIRST: u32 = 2;
/// Flag of RUN_REQUEST: the starting node runs it when its own message arrives.
pub const RUN_NODE_RECV: u32 = 4;

/// Type 16: a command to be run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunRequest {
    /// By whom; `None`: by everybody.
    pub dest: Option<NodeId>,
    /// Where the client asked.
    pub start: NodeId,
    /// `RUN_NODE_*`; they concern the starting node alone.
    pub flags: u32,
    /// Name of the operation.
    pub uuid: RunUuid,
    /// The text, up to its first NUL, less than 1024 bytes.
    pub command: Vec<u8>,
}

/// Type 17: what became of a command on the sender.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunReply {
    /// As in the request.
    pub dest: Option<NodeId>,
    /// As in the request.
    pub start: NodeId,
    /// As in the request.
    pub flags: u32,
    /// As in the request.
    pub uuid: RunUuid,
    /// Process id of the command; 0 if none ran.
    pub pid: i32,
    /// Exit status or number of the signal; 0 is success.
    pub result: i32,
    /// For information: from the starting node, what it knows; else zeros.
    pub counts: RunCounts,
}

/// How many have answered a run command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunCounts {
    /// Answers that are missing (`need_replies`).
    pub awaited: i32,
    /// Answers (`reply_count`).
    pub replies: i32,
    /// Nodes where it failed (`fail_count`).
    pub failed: i32,
}

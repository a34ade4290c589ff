//! Everything that can happen. The driver turns what the seams report into these, one at a time, in the order of arrival.

use crate::message::Packet;
use crate::options::{DynamicOptions, FenceDevices, LockspaceOptions};
use crate::plock::PlockInfo;
use crate::run::RunEvent;
use crate::types::{Group, LockspaceName, NodeId, RingId, Slot};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// Names one request of the core, so that its completion finds it again. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token(pub u64);

/// Why a process appeared in a group (corosync/cpg.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JoinReason {
    /// The process joined.
    Join,
    /// Rings merged.
    NodeUp,
}

/// Why a process disappeared from a group (corosync/cpg.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LeaveReason {
    /// It left in order: nothing needs recovery.
    Leave,
    /// Its node left the ring.
    NodeDown,
    /// The process died, or closed its connection.
    ProcDown,
}

impl LeaveReason {
    /// A leave is the only reason that needs no recovery.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Leave)
    }
}

/// One configuration change of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Confchg {
    /// Members after the change, in the order given.
    pub members: Vec<NodeId>,
    /// Who came.
    pub joined: Vec<(NodeId, JoinReason)>,
    /// Who went.
    pub left: Vec<(NodeId, LeaveReason)>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event {
    /// All inputs are connected: begin. Once, first.
    Begin,
    /// The deadline named by `Core::next_deadline` has passed. Harmless at any other time.
    Deadline,

    /// Corosync's quorum service: who is in the cluster now.
    Quorum {
        /// This partition may act.
        quorate: bool,
        /// The ring this is about.
        ring: RingId,
        /// Nodes in the cluster.
        members: Vec<NodeId>,
        /// Addresses of all `members`, for the kernel; a node may be missing where corosync does not know it.
        addresses: BTreeMap<NodeId, Vec<SocketAddr>>,
    },
    /// Corosync's quorum service, before the `Quorum` event of the same ring: who came and went. A node in both lists
    /// was away in between although no `Quorum` event shows it.
    Nodelist {
        /// Came.
        joined: Vec<NodeId>,
        /// Went.
        left: Vec<NodeId>,
    },
    /// A group's membership changed.
    Confchg {
        /// Which.
        group: Group,
        /// How.
        change: Confchg,
    },
    /// A group's ring id: after our join, and after the confchgs of every new ring.
    Ring {
        /// Which.
        group: Group,
        /// Its ring.
        ring: RingId,
    },
    /// A message of a group, in the group's order. Our own messages come back like any other.
    Message {
        /// Which.
        group: Group,
        /// CPG sender.
        from: NodeId,
        /// What.
        packet: Packet,
        /// Length in bytes, for the log.
        length: usize,
    },
    /// Bytes that are no message.
    BadMessage {
        /// Which group.
        group: Group,
        /// CPG sender.
        from: NodeId,
        /// What is wrong with it.
        why: String,
    },
    /// A group could not be joined; the group is gone.
    JoinFailed {
        /// Which.
        group: Group,
        /// corosync's words.
        why: String,
    },
    /// Corosync asks whether it may shut this node down.
    ShutdownQuestion,
    /// Corosync is gone, or one of our connections to it.
    ClusterLost {
        /// Which connection and why.
        why: String,
    },

    /// The kernel creates a lockspace and waits for `event_done`.
    Online {
        /// Which.
        lockspace: LockspaceName,
    },
    /// The kernel releases a lockspace and waits for `event_done`.
    Offline {
        /// Which.
        lockspace: LockspaceName,
        /// The uevent's RELEASE_RECOVER; 0 where the kernel has none.
        release_recover: u32,
    },
    /// A kernel write has come to its end.
    KernelDone {
        /// Of the effect that asked for it.
        token: Token,
        /// `Err`: operation, path and errno, for people.
        result: Result<(), String>,
    },
    /// The kernel's log line about the slots of a lockspace.
    Slots {
        /// Which.
        lockspace: LockspaceName,
        /// The kernel's generation of the map.
        generation: u32,
        /// Who holds which slot.
        slots: Vec<(Slot, NodeId)>,
    },
    /// gfs2 withdraws from a file system whose lockspace this is, and waits for an acknowledgement.
    Withdraw {
        /// Lock table, `cluster:name`.
        table: String,
        /// The lockspace (the part after the colon).
        lockspace: LockspaceName,
    },

    /// The kernel hands over a request for a POSIX lock. `node` is ours.
    PlockRequest(PlockInfo),

    /// A fence agent is at its end, or could not be started.
    AgentDone {
        /// Of the effect that asked for it.
        token: Token,
        /// How it ended.
        outcome: AgentOutcome,
        /// The last of what it wrote to stdout and stderr.
        output: String,
    },

    /// Of run commands.
    Run(RunEvent),
    /// An operator says that a node is fenced.
    FenceAck {
        /// Whom.
        node: NodeId,
    },
    /// `set_config` or `reload_config` changed options.
    Options(DynamicOptions),
    /// dlm.conf was read again: its fence devices.
    Devices(FenceDevices),
    /// dlm.conf was read again: its lockspaces, for those that are created from now on.
    LockspaceOptions(BTreeMap<LockspaceName, LockspaceOptions>),
    /// SIGTERM or SIGINT.
    Terminate,
}

/// How a program ended: a fence agent, a run command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AgentOutcome {
    /// Exit status, 0 for success.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
    /// The program could not be run: errno.
    NotStarted(i32),
}

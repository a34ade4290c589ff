//! Everything the core can ask for. The driver carries effects out in order; those with a [`Token`] are answered by an
//! event with that token.

use crate::event::Token;
use crate::message::Packet;
use crate::options::Device;
use crate::plock::{PlockInfo, PlockText};
use crate::run::RunEffect;
use crate::snapshot::Wait;
use crate::types::{GlobalId, Group, LockspaceName, NodeId, Slot, WallSeconds};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Effect {
    /// Join a group; answered by its first `Confchg`, or by `JoinFailed`.
    Join(Group),
    /// Leave a group **in order**, which tells the others that nothing needs recovery; answered by a `Confchg` that
    /// names us as left with reason `Leave`. For `Group::Daemon` nothing is awaited.
    Leave(Group),
    /// Multicast, behind everything sent to that group before.
    Send {
        /// Where.
        group: Group,
        /// What.
        packet: Packet,
    },
    /// Ask corosync to remove a node from the cluster (corosync_cfg_kill_node), possibly our own.
    Kick(NodeId),
    /// The answer to `ShutdownQuestion`.
    AnswerShutdown {
        /// Corosync may go.
        allow: bool,
    },
    /// A kernel write; answered by `KernelDone`. The core gives each lane one write at a time.
    Kernel {
        /// For the answer.
        token: Token,
        /// Which lane, so that a slow lockspace holds up nobody else.
        lane: Lane,
        /// What.
        write: KernelWrite,
    },
    /// Write the result of a `PlockRequest` to the kernel. The kernel matches results to requests by their order: the
    /// driver writes them in the order of these effects.
    PlockResult(PlockInfo),
    /// A line for the plock log (`dlm_tool log_plock`).
    LogPlock {
        /// As [`LogLine::level`]; `None`: a line about a single lock, which goes nowhere else.
        level: Option<Level>,
        /// The lockspace it is about.
        lockspace: LockspaceName,
        /// The text, as the C daemon words it.
        text: PlockText,
    },
    /// Start a fence agent; answered by `AgentDone`.
    RunAgent {
        /// For the answer, and for `KillAgent`.
        token: Token,
        /// Whom to fence.
        victim: NodeId,
        /// With what.
        device: Device,
        /// When the actor saw the failure.
        fail_time: WallSeconds,
    },
    /// Kill an agent's process group; its `AgentDone` still comes.
    KillAgent(Token),
    /// Of run commands.
    Run(RunEffect),
    /// The daemon has joined its peers and can serve: tell systemd. Once.
    Ready,
    /// One line for logs and dump.
    Log(LogLine),
    /// Something an operator wants to see on a time line.
    Timeline(Moment),
    /// All is over and in order: leave, clear configfs, exit with status 0.
    Exit,
    /// The daemon cannot work with its peers: leave, clear configfs, exit with status 1. Nothing runs here yet.
    Refuse {
        /// Why.
        why: String,
    },
    /// The lockspace of this lane is gone: its lane and group can be dropped.
    Retire(LockspaceName),
    /// The daemon must not go on: stop the kernels, leave nothing in order, ask corosync to kill this node, exit 1.
    FailStop {
        /// What broke.
        why: String,
    },
    /// Corosync is gone: stop the kernels and exit with status 0, as the C daemon does; no group is left in order.
    ExitClusterLost {
        /// Which connection and why.
        why: String,
    },
}

/// An ordered sequence of kernel writes that may block as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Writes about nodes: configfs `comms`.
    Cluster,
    /// Writes of one lockspace.
    Lockspace(LockspaceName),
}

/// One kernel write (spec/kernel-interfaces.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum KernelWrite {
    /// configfs `comms/<node>`: replace what is there, then nodeid, addr, mark, local.
    AddComm {
        /// Whose.
        node: NodeId,
        /// Its addresses, first one first.
        addresses: Vec<SocketAddr>,
        /// This is our own node.
        local: bool,
    },
    /// rmdir `comms/<node>`; absent is success.
    RemoveComm {
        /// Whose.
        node: NodeId,
    },
    /// sysfs `control` 0. Blocks until locking activity has ceased.
    Stop,
    /// Members into configfs, `control` 1; for the first start `id` before and `event_done` 0 after.
    Start(KernelStart),
    /// sysfs `event_done`.
    EventDone {
        /// 0 or a negative errno.
        result: i32,
    },
    /// Our leave is through: `control` 0 if `stop`, remove the space from configfs, `event_done` 0.
    Release {
        /// The kernel still runs.
        stop: bool,
    },
    /// Acknowledge gfs2's withdraw: `lock_module/withdraw` 1.
    AckWithdraw {
        /// Lock table, `cluster:name`.
        table: String,
    },
}

/// What `control 1` needs to have in place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct KernelStart {
    /// First start: the id to write, and `event_done` 0 at the end.
    pub first: Option<GlobalId>,
    /// Write `nodir` 1.
    pub nodir: bool,
    /// Members with their weight, in confchg order.
    pub members: Vec<(NodeId, u32)>,
    /// Members that were away since the last start: removed and made again.
    pub renew: BTreeSet<NodeId>,
    /// Removed members whose leave counts as a failure: `release_recover` 1 before the rmdir.
    pub release_recover: BTreeSet<NodeId>,
}

/// How loud a line is. The C daemon logs many ordinary events at error so that they reach syslog; lines keep its
/// levels, as administrators' filters know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    /// Reaches syslog.
    Error,
    /// Reaches syslog.
    Info,
    /// Dump, and the log file with `debug_logfile`.
    Debug,
}

/// One line of the log, without its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// How loud.
    pub level: Level,
    /// The lockspace it is about.
    pub lockspace: Option<LockspaceName>,
    /// The text, as the C daemon words it where it has such a line.
    pub text: String,
}

/// A typed record of something that people want to see on a time line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Moment {
    /// A lockspace's members changed.
    Changed {
        /// Which.
        lockspace: LockspaceName,
        /// Members now.
        members: BTreeSet<NodeId>,
        /// Who came.
        joined: BTreeSet<NodeId>,
        /// Who left in order.
        left: BTreeSet<NodeId>,
        /// Who failed.
        failed: BTreeSet<NodeId>,
    },
    /// The kernel's stop of a lockspace has returned.
    Stopped {
        /// Which.
        lockspace: LockspaceName,
    },
    /// A lockspace began to wait for something else.
    Waiting {
        /// Which.
        lockspace: LockspaceName,
        /// For what.
        wait: Wait,
    },
    /// Our START is on its way.
    StartSent {
        /// Which.
        lockspace: LockspaceName,
    },
    /// A member's START has come.
    StartReceived {
        /// Which.
        lockspace: LockspaceName,
        /// From whom.
        from: NodeId,
    },
    /// The kernel's start has returned.
    Started {
        /// Which.
        lockspace: LockspaceName,
        /// Members.
        members: BTreeSet<NodeId>,
    },
    /// The kernel has told the slot map.
    Slots {
        /// Which.
        lockspace: LockspaceName,
        /// Who holds which slot.
        slots: Vec<(Slot, NodeId)>,
    },
    /// A node must be fenced.
    FenceNeeded {
        /// Whom.
        victim: NodeId,
        /// Who is to do it.
        actor: Option<NodeId>,
    },
    /// We have started an agent.
    AgentStarted {
        /// For whom.
        victim: NodeId,
        /// With which device.
        device: String,
    },
    /// Our agent is at its end.
    AgentEnded {
        /// For whom.
        victim: NodeId,
        /// In words.
        outcome: String,
    },
    /// Fencing of a node is settled.
    Fenced {
        /// Whom.
        victim: NodeId,
        /// By whom.
        by: NodeId,
    },
    /// gfs2's withdraw was answered.
    WithdrawAnswered {
        /// Of which lockspace.
        lockspace: LockspaceName,
    },
    /// A lockspace is released here.
    Released {
        /// Which.
        lockspace: LockspaceName,
    },
}

//! The daemon's state as one JSON document, and the types that it is made of (`docs/json.md`).
//!
//! The daemon fills and serves it on the query socket ([`crate::proto::Command::State`]); `dlm_tool --json`, `check` and
//! `explain` and the exporter read it. Fields and words may be added without a new [`SCHEMA_VERSION`]: readers ignore fields
//! and read words that they do not know as `other`. A field that changes its meaning or goes away gives a new version.
//!
//! Times are milliseconds and carry both clocks, see [`Time`]. Node ids are numbers, names are UTF-8 (a lockspace's
//! name with other bytes shows U+FFFD for them).

use crate::history::PhaseKind;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Version of the document.
pub const SCHEMA_VERSION: u32 = 1;

/// A moment, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time {
    /// Milliseconds since boot (`CLOCK_MONOTONIC`), the clock that all rules use.
    pub boot_ms: u64,
    /// Milliseconds since 1970 (UTC), as far as the clock is right now.
    pub wall_ms: u64,
}

impl Time {
    /// Milliseconds from this moment to `now`; 0 where it is to come.
    #[must_use]
    pub const fn ms_until(self, now: Self) -> u64 {
        now.boot_ms.saturating_sub(self.boot_ms)
    }
}

/// The whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`SCHEMA_VERSION`]
    pub schema_version: u32,
    /// When it was made.
    pub now: Time,
    /// The daemon's event loop did not answer within a second: all but `meters` is so old, milliseconds. Absent: it is of now.
    #[serde(default)]
    pub stale_ms: Option<u64>,
    /// The program.
    pub daemon: Daemon,
    /// Corosync, the daemon group, and what the daemon as a whole waits for.
    pub cluster: Cluster,
    /// Nodes ever seen in the daemon group, and those of the start-up list, in order of first sight.
    pub nodes: Vec<Node>,
    /// Lockspaces, newest first.
    pub lockspaces: Vec<Lockspace>,
    /// Options in effect.
    pub config: BTreeMap<String, String>,
    /// What the daemon has counted and timed since it began; absent from one that does not count.
    #[serde(default)]
    pub meters: Option<Meters>,
}

/// Counters and times since the daemon began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meters {
    /// Messages handed to corosync, by type.
    pub sent: BTreeMap<String, u64>,
    /// Messages that came from corosync, our own included, by type.
    pub received: BTreeMap<String, u64>,
    /// Those that were none.
    pub bad_messages: u64,
    /// Messages, joins and leaves that corosync would not take yet, attempt by attempt.
    pub send_retries: u64,
    /// From the request of a kernel write to its end, attempt by attempt.
    pub kernel_writes: BTreeMap<WriteKind, Timing>,
    /// Attempts that failed.
    pub failed_kernel_writes: BTreeMap<WriteKind, u64>,
    /// Fence agents of this node that have ended: `success`, `failed`, `signalled`, `not_started`.
    pub fence_agents: BTreeMap<String, u64>,
    /// Handling of an event with all that follows at once; nothing else is handled meanwhile.
    pub events: Timing,
    /// How late deadlines were noticed.
    pub late_deadlines: Timing,
    /// How long the event loop let questions for the state wait; at most a second, see `stale_ms`.
    pub loop_answers: Timing,
    /// Fence agents of this node, by the node that they were for and by device.
    pub fencing: Vec<FencingMeter>,
    /// From the need to fence a node until that was settled, by anybody; by node.
    pub fencings: BTreeMap<u32, Timing>,
    /// When START of each node came, since ours was sent, in all lockspaces; 0 where it was there before.
    pub starts: BTreeMap<u32, Timing>,
    /// Clients of the sockets `queries` and `commands`.
    pub clients: BTreeMap<String, Clients>,
    /// The process.
    pub process: Process,
}

/// The runs of one device for one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencingMeter {
    /// Whom they were to fence.
    pub node: u32,
    /// Name of the device in dlm.conf.
    pub device: String,
    /// Runs that have ended: `success`, `failed`, `signalled`, `not_started`.
    pub outcomes: BTreeMap<String, u64>,
    /// How long they took.
    pub taken: Timing,
}

/// Clients of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// Those of now.
    pub connected: u64,
    /// All that were let in.
    pub accepted: u64,
    /// All that were not: too many at a time.
    pub turned_away: u64,
}

/// What the daemon's process takes of the machine; 0 where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Resident memory, which is locked.
    pub resident_bytes: u64,
    /// Processor time of all threads, microseconds.
    pub cpu_us: u64,
    /// Open descriptors.
    pub open_files: u64,
}

/// What was counted and timed of a lockspace since it was joined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockspaceMeters {
    /// Changes of its members by cause: `joined`, `left`, `failed`; one with several counts for each.
    pub changes: BTreeMap<String, u64>,
    /// From the first change until the kernel ran again.
    pub recoveries: Timing,
    /// What that was spent with.
    pub phases: BTreeMap<PhaseKind, Timing>,
    /// POSIX locks of this node's processes.
    pub plocks: PlockMeters,
}

/// What was counted and timed of POSIX locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlockMeters {
    /// Requests of this node's kernel: `lock` (does not wait), `wait_lock`, `unlock`, `close`, `test`, `cancel`.
    pub requests: BTreeMap<String, u64>,
    /// Their results: `done`, `conflict`, `error`.
    pub results: BTreeMap<String, u64>,
    /// From a request to its result, where it did not have to wait for a lock.
    pub answers: Timing,
    /// The same, where it had.
    pub waits: Timing,
    /// Requests of all nodes that were carried out here.
    pub received: u64,
    /// Files that changed hands (`plock_ownership`): `owned`, `given_up`, `dropped` where nobody used them.
    pub moves: BTreeMap<String, u64>,
    /// Files with locks.
    pub resources: u64,
    /// Processes of this node that wait for locks.
    pub waiting: u64,
    /// Requests on their way through the group.
    pub in_flight: u64,
}

/// How often something happened, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// How often.
    pub count: u64,
    /// All of it together, microseconds.
    pub sum_us: u64,
    /// How often up to a time, shortest first; each includes those before it.
    pub buckets: Vec<Bucket>,
}

/// How often something took up to some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// That time, microseconds.
    pub up_to_us: u64,
    /// How often.
    pub count: u64,
}

/// The program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// Version of the package.
    pub version: String,
    /// `debug` or `release`.
    pub build: String,
    /// Process id.
    pub pid: u32,
    /// When it began.
    pub started: Time,
    /// How long ago.
    pub uptime_ms: u64,
    /// Where it is in its life.
    pub phase: DaemonPhase,
}

/// Where the daemon is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DaemonPhase {
    /// Connecting to corosync.
    #[default]
    Corosync,
    /// Unfencing this node by the agents of dlm.conf.
    Unfencing,
    /// Waiting for the kernel's dlm devices, and preparing configfs.
    Kernel,
    /// Events are being handled.
    Running,
    /// The end has begun: kernels are being stopped, configfs cleared.
    Ending,
    /// A word that this version of the types does not know.
    #[serde(other)]
    Other,
}

/// Corosync, the daemon group, the daemon as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// This node.
    pub our_node: Option<u32>,
    /// The partition may act.
    pub quorate: bool,
    /// Ring of the quorum service.
    pub ring: Ring,
    /// Ring of the daemon group; fencing and recovery wait until it is that of the quorum service.
    pub daemon_ring: Ring,
    /// Protocol that all daemons run, `major.minor.patch`; absent until it is settled.
    pub protocol: Option<String>,
    /// Members of the daemon group.
    pub members: Vec<u32>,
    /// It is not known whether fencing is in progress elsewhere: lockspaces are held back.
    pub fencing_unknown: bool,
    /// Partitions with state have merged and no side may act.
    pub stateful_merge: bool,
    /// Configured nodes that may still run from before our start.
    pub startup_nodes: Vec<u32>,
    /// Fence agents that were killed and have not ended.
    pub killed_agents: u64,
    /// What the daemon as a whole waits for.
    pub waits: Vec<Wait>,
}

/// A totem ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// Its representative; 0: no ring yet.
    pub node: u32,
    /// Grows with every ring.
    pub seq: u64,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What.
    pub reason: Reason,
    /// The nodes that it is about; for `startup` and `fencing` waits of a node, that node.
    pub nodes: Vec<u32>,
    /// Since when.
    pub since: Time,
    /// How long already.
    pub waiting_ms: u64,
    /// When it ends by itself, or is tried again.
    pub until: Option<Time>,
    /// The kernel write in question.
    pub write: Option<Write>,
    /// How many operations, commands or messages it is about, where it is about several.
    #[serde(default)]
    pub count: Option<u64>,
}

/// Everything that the daemon can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Daemon: corosync has not confirmed the join of the daemon group.
    DaemonGroup,
    /// Daemon: `nodes` have not said which protocol they can run.
    Protocols,
    /// Daemon: the choice of the protocol is on its way.
    Proposal,
    /// Daemon: not known whether fencing is in progress; corosync's rings have to agree first.
    UnknownRings,
    /// Daemon: the same, without quorum.
    UnknownQuorum,
    /// Daemon: the same, merged nodes have to go first.
    UnknownMerge,
    /// Daemon: the same, until `nodes` of the start-up list have joined or are fenced.
    UnknownStartup,
    /// Daemon: the same, until `nodes` are fenced.
    UnknownVictims,
    /// Daemon: the same, until one of `nodes` says that no fencing is outstanding.
    UnknownClearance,
    /// Daemon: the same, until `nodes` have said whether they know of any.
    UnknownAgreement,
    /// Daemon: corosync is to remove `nodes`, which merged with state of another partition.
    MergedRemoval,
    /// Daemon: merged `nodes` outnumber the others; only an operator can help.
    MergedOperator,
    /// Daemon: corosync knows no address of `nodes`, or the kernel would not take it.
    Addresses,
    /// Daemon, lockspace: the kernel is to carry out `write`.
    KernelWrite,
    /// Daemon, lockspace: `write` failed and is tried again at `until`.
    KernelRetry,
    /// Daemon, lockspace: `write` may not begin yet: it concerns nodes that the kernel is just being given.
    KernelHeld,
    /// Daemon: answers of `nodes` to `count` commands of `dlm_tool run`, until `until`.
    RunReplies,
    /// Daemon: the end of `count` commands that run here because `nodes` asked; killed at `until`.
    RunCommands,
    /// Daemon: `plock_rate_limit` holds back requests for POSIX locks, the next one until `until`.
    PlockRate,
    /// Daemon: corosync is to take `count` messages, joins and leaves.
    CorosyncQueue,

    /// Node: the daemons' protocol is not settled.
    FenceProtocol,
    /// Node: corosync's rings do not agree.
    FenceRings,
    /// Node: no quorum.
    FenceQuorum,
    /// Node: merged nodes have to go first.
    FenceMerge,
    /// Node: `post_join_delay`, until `until`.
    FenceJoinDelay,
    /// Node: our fence agent runs.
    FenceAgent,
    /// Node: our fence agent runs for another node.
    FenceOtherAgent,
    /// Node: our result is on its way to all daemons.
    FenceResult,
    /// Node: a pause after a failed attempt, until `until`.
    FencePause,
    /// Node: `nodes` is to fence it.
    FenceActor,
    /// Node: all have failed, or fencing at the start is off: an operator must acknowledge.
    FenceOperator,

    /// Lockspace: the daemons' protocol is not settled.
    Queued,
    /// Lockspace: corosync has not confirmed the join of its group.
    Join,
    /// Lockspace: it leaves its group to join anew.
    Rejoin,
    /// Lockspace: corosync has not confirmed the leave of its group.
    Leave,
    /// Lockspace: our own kernel has not stopped.
    Stop,
    /// Lockspace: corosync's rings do not agree.
    Rings,
    /// Lockspace: no quorum.
    Quorum,
    /// Lockspace: `nodes` have to be fenced; none: see the daemon's `unknown_*`.
    Fencing,
    /// Lockspace: corosync still lists the failed `nodes`.
    NodeGone,
    /// Lockspace: `nodes` are in the group, but corosync does not list them.
    Ghost,
    /// Lockspace: the kernel has no, or still an old, address of `nodes`.
    Comms,
    /// Lockspace: gfs2 on `nodes` withdraws; they have to leave.
    Withdraw,
    /// Lockspace: POSIX locks that were ours alone have to be told to all before our START.
    Handover,
    /// Lockspace: START of `nodes`.
    Starts,
    /// Lockspace: `nodes` merged with state of their own; only their removal helps.
    Disallowed,
    /// Lockspace: the state of POSIX locks from `nodes`; none: a transfer has failed, the next change brings a new one.
    Plocks,
    /// Lockspace: our gfs2 withdraws; `nodes` have to stop before it is answered.
    WithdrawAnswer,
    /// A word that this version of the types does not know.
    #[serde(other)]
    Other,
}

/// A kernel write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// What is written.
    pub kind: WriteKind,
    /// Attempts that failed.
    pub failures: u32,
    /// What the kernel said last.
    pub error: Option<String>,
    /// Writes that wait behind it.
    pub queued: u64,
}

/// Kinds of kernel writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteKind {
    /// The address of a node, in configfs.
    AddComm,
    /// The removal of a node's address from configfs.
    RemoveComm,
    /// `control` 0: the kernel stops the lockspace. Blocks until locking activity has ceased.
    Stop,
    /// Members in configfs, `control` 1.
    Start,
    /// The last writes after our leave.
    Release,
    /// The answer to a uevent of the kernel.
    EventDone,
    /// The answer to a withdraw of gfs2.
    AckWithdraw,
    /// A word that this version of the types does not know.
    #[serde(other)]
    Other,
}

/// A node of the daemon group or of the start-up list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Who.
    pub node: u32,
    /// In the daemon group now.
    pub member: bool,
    /// In the group, and its protocol is known.
    pub clean: bool,
    /// Merged with state of another partition.
    pub merged: bool,
    /// We have asked corosync to remove it.
    pub killed: bool,
    /// Why it went last: `leave`, `nodedown`, `procdown`, `startup`; `unknown` if it never did.
    pub left_reason: String,
    /// When it was last added to the group.
    pub added: Option<Time>,
    /// When it last went.
    pub removed: Option<Time>,
    /// Its fencing.
    pub fencing: Fencing,
    /// What its fencing, or its place on the start-up list, waits for.
    pub waits: Vec<Wait>,
}

/// The fencing of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fencing {
    /// It must be fenced.
    pub needed: bool,
    /// When it failed last.
    pub failed: Option<Time>,
    /// When we learnt that it was fenced last.
    pub fenced: Option<Time>,
    /// Who is to fence it, or was last.
    pub actor: Option<u32>,
    /// Who fenced it last.
    pub fenced_by: Option<u32>,
    /// Process id of our running agent.
    pub agent_pid: Option<u32>,
    /// Attempts of ours that failed in a row.
    pub failures: u32,
    /// Why its fence devices cannot be used.
    pub config_error: Option<String>,
    /// Results of the actors that failed since it must be fenced: exit status; negative: no agent ran to its end.
    pub failed_by: BTreeMap<u32, i32>,
    /// Agents that this node ran for it, oldest first; the last few.
    pub attempts: Vec<Attempt>,
}

/// A fence agent that this node ran, or runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Name of the device in dlm.conf.
    pub device: String,
    /// The program.
    pub agent: String,
    /// When it was started.
    pub started: Time,
    /// When it ended; absent while it runs.
    pub ended: Option<Time>,
    /// How it ended.
    #[serde(deserialize_with = "outcome")]
    pub outcome: Outcome,
    /// The end of what it wrote.
    pub output: String,
}

/// How a fence agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It runs.
    Running,
    /// Exit status; 0 is success.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// It could not be started: `errno`.
    NotStarted(i32),
    /// A word that this version of the types does not know.
    #[serde(other)]
    Other,
}

/// `serde(other)` alone does not take a word that comes with a value.
fn outcome<'de, D: Deserializer<'de>>(from: D) -> Result<Outcome, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Read {
        Known(Outcome),
        Unknown(IgnoredAny),
    }
    Ok(match Read::deserialize(from)? {
        Read::Known(outcome) => outcome,
        Read::Unknown(IgnoredAny) => Outcome::Other,
    })
}

/// What a lockspace does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockspaceState {
    /// It runs: locks are granted.
    Running,
    /// It has not started yet.
    Joining,
    /// It is stopped for a change of its members.
    Stopped,
    /// The start is decided and the kernel is carrying it out.
    Starting,
    /// It is being left, or released.
    Leaving,
    /// A word that this version of the types does not know.
    #[serde(other)]
    Other,
}

/// A lockspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lockspace {
    /// Its name.
    pub name: String,
    /// Its id in the kernel and between nodes, hexadecimal as `ls` shows it.
    pub id: String,
    /// What it does.
    pub state: LockspaceState,
    /// It runs although the partition is not quorate: its members have not changed.
    pub without_quorum: bool,
    /// Members of the last completed change.
    pub members: Vec<u32>,
    /// The last completed change.
    pub started: Option<Change>,
    /// The newest pending change.
    pub pending: Option<Change>,
    /// How we know the slots.
    pub slots_known: SlotsKnown,
    /// Who holds which slot, in order of the slots.
    pub slots: Vec<Slot>,
    /// Journal id of this node: its slot less one.
    pub our_jid: Option<u32>,
    /// Nodes ever seen.
    pub nodes: Vec<LockspaceNode>,
    /// What it waits for; empty: nothing.
    pub waits: Vec<Wait>,
    /// What was counted and timed of it; absent from a daemon that does not.
    #[serde(default)]
    pub meters: Option<LockspaceMeters>,
}

/// How the slots are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotsKnown {
    /// Not at all.
    Unknown,
    /// By the kernel's rule.
    Predicted,
    /// The kernel has said so.
    Confirmed,
    /// A word that this version of the types does not know.
    #[serde(other)]
    Other,
}

/// A slot of the kernel's dlm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// From 1.
    pub slot: u32,
    /// gfs2's journal: the slot less one.
    pub jid: u32,
    /// Who holds it.
    pub node: u32,
}

/// A change of a lockspace's members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its number on this node.
    pub seq: u32,
    /// The oldest change that it was merged with.
    pub combined_seq: u32,
    /// Members.
    pub members: Vec<u32>,
    /// Those of them whose START has come.
    pub starts: Vec<u32>,
    /// Those of them that merged with state of their own.
    pub disallowed: Vec<u32>,
    /// How many came.
    pub joined_count: u64,
    /// How many went.
    pub removed_count: u64,
    /// How many of them failed.
    pub failed_count: u64,
}

/// A node as a lockspace knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockspaceNode {
    /// Who.
    pub node: u32,
    /// Member of the newest change.
    pub member: bool,
    /// It ran here, failed, and is not known to be fenced.
    pub need_fencing: bool,
    /// `nodedown` or `procdown`; absent: it never failed here.
    pub fail_reason: Option<String>,
    /// When it failed last.
    pub failed: Option<Time>,
    /// Number of the change on this node that it came with last; 0: it was there before us.
    #[serde(default)]
    pub added_change: u32,
    /// Number of the change that it went with last; 0: it never did.
    #[serde(default)]
    pub removed_change: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A later daemon's words, each in the place of one of ours.
    #[test]
    fn words_of_a_newer_daemon_are_read_as_other() -> Result<(), serde_json::Error> {
        let wait = r#"{"reason": "sunspots", "nodes": [], "since": {"boot_ms": 1, "wall_ms": 2}, "waiting_ms": 3,
            "until": null, "moon": "full", "write": {"kind": "poem", "failures": 0, "error": null, "queued": 0}}"#;
        let wait: Wait = serde_json::from_str(wait)?;
        assert_eq!(wait.reason, Reason::Other);
        assert_eq!(wait.write.map(|write| write.kind), Some(WriteKind::Other));
        for (word, expected) in [
            (r#""eaten""#, Outcome::Other),
            (r#"{"eaten": {"by": 3}}"#, Outcome::Other),
            (r#"{"exited": 3}"#, Outcome::Exited(3)),
            (r#""running""#, Outcome::Running),
        ] {
            let attempt = format!(
                r#"{{"device": "d", "agent": "a", "started": {{"boot_ms": 1, "wall_ms": 2}}, "ended": null,
                "outcome": {word}, "output": ""}}"#
            );
            let attempt: Attempt = serde_json::from_str(&attempt)?;
            assert_eq!(attempt.outcome, expected, "{word}");
        }
        let dreaming = "\"dreaming\"";
        assert_eq!(serde_json::from_str::<DaemonPhase>(dreaming)?, DaemonPhase::Other);
        assert_eq!(serde_json::from_str::<LockspaceState>(dreaming)?, LockspaceState::Other);
        assert_eq!(serde_json::from_str::<SlotsKnown>(dreaming)?, SlotsKnown::Other);
        let meters = r#"{"kernel_writes": {"poem": {"count": 1, "sum_us": 2, "buckets": []}}}"#;
        let meters: Meters = serde_json::from_str(meters)?;
        assert_eq!(meters.kernel_writes.get(&WriteKind::Other).map(|timing| timing.count), Some(1));
        Ok(())
    }
}

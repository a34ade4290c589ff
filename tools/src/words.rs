//! What is waited for, in words for an administrator: each reason of the state document with what can be done about it,
//! and the exit code of `dlm_tool check`. The matches are exhaustive, so no wait is without words.

use dlmcontrol::state::{Reason, State, Time, Wait, WriteKind};

/// `check`: everything asked for runs.
pub const RUNNING: u8 = 0;
/// `check`: it cannot be said: bad arguments, an answer that makes no sense, a C daemon.
pub const CANNOT_SAY: u8 = 1;
/// `check`: no daemon.
pub const NO_DAEMON: u8 = 2;
/// `check`: there is a daemon, but it does not answer in time.
pub const NO_ANSWER: u8 = 3;
/// `check`: no such lockspace.
pub const NO_LOCKSPACE: u8 = 4;
/// `check`: the daemon is starting or ending.
pub const DAEMON_NOT_READY: u8 = 5;
/// `check`: the lockspace is being joined.
pub const JOINING: u8 = 10;
/// `check`: the lockspace is being left.
pub const LEAVING: u8 = 11;
/// `check`: corosync's rings do not agree.
pub const RINGS: u8 = 20;
/// `check`: no quorum.
pub const QUORUM: u8 = 21;
/// `check`: fencing.
pub const FENCING: u8 = 22;
/// `check`: partitions with state have merged.
pub const MERGE: u8 = 23;
/// `check`: corosync's membership, or nodes' addresses.
pub const CLUSTER: u8 = 24;
/// `check`: our own kernel.
pub const KERNEL: u8 = 25;
/// `check`: other nodes' START.
pub const STARTS: u8 = 26;
/// `check`: gfs2 withdraws.
pub const WITHDRAW: u8 = 27;
/// `check`: the state of POSIX locks.
pub const PLOCKS: u8 = 28;
/// `check`: something that only a newer tool knows.
pub const OTHER: u8 = 29;

/// The exit code of `check` for a reason.
#[must_use]
pub const fn code(reason: Reason) -> u8 {
    use Reason as R;
    match reason {
        R::DaemonGroup | R::Protocols | R::Proposal | R::Queued => DAEMON_NOT_READY,
        R::UnknownRings | R::FenceRings | R::Rings => RINGS,
        R::UnknownQuorum | R::FenceQuorum | R::Quorum => QUORUM,
        R::UnknownMerge | R::MergedRemoval | R::MergedOperator | R::FenceMerge | R::Disallowed => {
            MERGE
        }
        R::UnknownStartup
        | R::UnknownVictims
        | R::UnknownClearance
        | R::UnknownAgreement
        | R::FenceProtocol
        | R::FenceJoinDelay
        | R::FenceAgent
        | R::FenceOtherAgent
        | R::FenceResult
        | R::FencePause
        | R::FenceActor
        | R::FenceOperator
        | R::Fencing => FENCING,
        R::Addresses | R::NodeGone | R::Ghost | R::Comms => CLUSTER,
        R::KernelWrite | R::KernelRetry | R::KernelHeld | R::Stop => KERNEL,
        R::Join | R::Rejoin => JOINING,
        R::Leave => LEAVING,
        R::Starts => STARTS,
        R::Withdraw | R::WithdrawAnswer => WITHDRAW,
        R::Handover | R::Plocks => PLOCKS,
        // Nothing that keeps a lockspace from running.
        R::RunReplies | R::RunCommands | R::PlockRate | R::CorosyncQueue => RUNNING,
        R::Other => OTHER,
    }
}

/// Word of an exit code, for the line of `check`.
#[must_use]
pub const fn word(code: u8) -> &'static str {
    match code {
        RUNNING => "running",
        NO_DAEMON => "no daemon",
        NO_ANSWER => "no answer",
        NO_LOCKSPACE => "no lockspace",
        DAEMON_NOT_READY => "daemon not ready",
        JOINING => "joining",
        LEAVING => "leaving",
        RINGS => "rings",
        QUORUM => "quorum",
        FENCING => "fencing",
        MERGE => "merge",
        CLUSTER => "cluster",
        KERNEL => "kernel",
        STARTS => "starts",
        WITHDRAW => "withdraw",
        PLOCKS => "plocks",
        OTHER => "other",
        _ => "unknown",
    }
}

/// `node 3`, `nodes 2 and 3`.
#[must_use]
pub fn nodes(ids: &[u32]) -> String {
    let words: Vec<String> = ids.iter().map(ToString::to_string).collect();
    match words.split_last() {
        None => "no node".to_owned(),
        Some((only, [])) => format!("node {only}"),
        Some((last, others)) => format!("nodes {} and {last}", others.join(", ")),
    }
}

/// `12 s`, `3 min 20 s`, `2 h 5 min`, `4 d 2 h`; `0.2 s` below ten seconds.
#[must_use]
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    if seconds < 10 {
        format!("{seconds}.{} s", ms % 1000 / 100)
    } else if minutes == 0 {
        format!("{seconds} s")
    } else if hours == 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else if hours < 24 {
        format!("{hours} h {} min", minutes % 60)
    } else {
        format!("{} d {} h", hours / 24, hours % 24)
    }
}

/// `, next in 4 s`; nothing without a time.
fn until(wait: &Wait, now: Time, what: &str) -> String {
    match wait.until {
        Some(until) => format!("{what} in {}", duration(now.ms_until(until))),
        None => String::new(),
    }
}

/// `a command`, `3 commands`.
fn some(wait: &Wait, one: &str, several: &str) -> String {
    match wait.count {
        None | Some(1) => format!("a {one}"),
        Some(count) => format!("{count} {several}"),
    }
}

fn run_replies(wait: &Wait, now: Time) -> String {
    let (who, until) = (nodes(&wait.nodes), until(wait, now, ", given up"));
    let commands = some(wait, "command of `dlm_tool run`", "commands of `dlm_tool run`");
    format!("{who} to say what became of {commands}{until}")
}

fn run_commands(wait: &Wait, now: Time) -> String {
    let (who, until) = (nodes(&wait.nodes), until(wait, now, ", killed"));
    format!("the end of {} that {who} asked for{until}", some(wait, "command", "commands"))
}

fn plock_rate(wait: &Wait, now: Time) -> String {
    let until = until(wait, now, ", the next one");
    format!("its turn to take another POSIX lock's request (plock_rate_limit){until}")
}

fn corosync_queue(wait: &Wait) -> String {
    let requests = some(wait, "message, join or leave", "messages, joins and leaves");
    format!("corosync to take {requests}")
}

/// What is waited for, as it stands behind "waits for".
#[must_use]
pub fn what(wait: &Wait, now: Time) -> String {
    use Reason as R;
    let who = nodes(&wait.nodes);
    match wait.reason {
        R::DaemonGroup => "corosync to let it join the group of all daemons".to_owned(),
        R::Protocols => format!("{who} to say which protocol can be run"),
        R::Proposal => "the daemons' choice of the protocol to come round".to_owned(),
        R::UnknownRings => {
            "corosync's rings to agree; until then nobody knows whether fencing is in progress"
                .to_owned()
        }
        R::UnknownQuorum => {
            "quorum; until then nobody knows whether fencing is in progress".to_owned()
        }
        R::UnknownMerge => {
            "merged nodes to go; until then nobody knows whether fencing is in progress".to_owned()
        }
        R::UnknownStartup => {
            format!("{who}, which may still run from before our start, to join or to be fenced")
        }
        R::UnknownVictims => format!("{who} to be fenced"),
        R::UnknownClearance => format!("{who} to say that no fencing is outstanding"),
        R::UnknownAgreement => format!("{who} to say what is known of fencing in progress"),
        R::MergedRemoval => {
            format!("corosync to remove {who}, merged with state of another partition")
        }
        R::MergedOperator => format!(
            "an operator: {who} merged with state of another partition, and no side may act"
        ),
        R::Addresses => format!("an address of {who} that corosync knows and the kernel takes"),
        R::KernelWrite => format!("the kernel{}", write(wait)),
        R::KernelRetry => format!("another try{}{}", until(wait, now, ""), write(wait)),
        R::KernelHeld => format!("its turn{}", write(wait)),
        R::RunReplies => run_replies(wait, now),
        R::RunCommands => run_commands(wait, now),
        R::PlockRate => plock_rate(wait, now),
        R::CorosyncQueue => corosync_queue(wait),
        R::FenceProtocol => "the daemons' protocol".to_owned(),
        R::FenceRings => "corosync's rings to agree".to_owned(),
        R::FenceQuorum => "quorum: without it nobody is fenced (enable_quorum_fencing)".to_owned(),
        R::FenceMerge => "merged nodes to be removed first".to_owned(),
        R::FenceJoinDelay => {
            format!("the end of post_join_delay{}; it may join until then", until(wait, now, ""))
        }
        R::FenceAgent => "our fence agent, which runs".to_owned(),
        R::FenceOtherAgent => {
            "our fence agent for another node with the same device (enable_concurrent_fencing is off)".to_owned()
        }
        R::FenceResult => "our result to come round to all daemons".to_owned(),
        R::FencePause => format!("the next attempt{}, after a failure", until(wait, now, "")),
        R::FenceActor => format!("{who}, whose turn it is to fence"),
        R::FenceOperator => "an operator: nobody will fence by itself any more".to_owned(),
        R::Queued => "the daemon to be ready".to_owned(),
        R::Join => "corosync to let it join its group".to_owned(),
        R::Rejoin => "corosync to let it out of its group, to join anew after a merge".to_owned(),
        R::Leave => "corosync to let it leave its group".to_owned(),
        R::Stop => "our own kernel to stop".to_owned(),
        R::Rings => "corosync's rings to agree".to_owned(),
        R::Quorum => "quorum (enable_quorum_lockspace)".to_owned(),
        R::Fencing if wait.nodes.is_empty() => {
            "word whether fencing is in progress elsewhere".to_owned()
        }
        R::Fencing => format!("fencing of {who}"),
        R::NodeGone => format!("corosync to lose {who}, failed here but still in its membership"),
        R::Ghost => format!("{who}: in the group, but not in corosync's membership"),
        R::Comms => format!("the address of {who} in configfs"),
        R::Withdraw => format!("{who} to leave: gfs2 withdraws there"),
        R::Handover => "the end of its words about POSIX locks that it has answered alone".to_owned(),
        R::Starts => {
            format!("START of {who}, whose kernel has not stopped or whose daemon waits itself")
        }
        R::Disallowed => format!("the removal of {who}, merged with state of their own"),
        R::Plocks if wait.nodes.is_empty() => {
            "a new transfer of POSIX locks: the last one failed".to_owned()
        }
        R::Plocks => format!("the state of POSIX locks from {who}"),
        R::WithdrawAnswer => format!("{who} to stop, before gfs2's withdraw is answered"),
        R::Other if wait.nodes.is_empty() => UNKNOWN_WAIT.to_owned(),
        R::Other => format!("{UNKNOWN_WAIT}, about {who}"),
    }
}

/// The daemon is newer than this tool.
const UNKNOWN_WAIT: &str =
    "something that this dlm_tool has no words for, as it is older than the daemon";

fn write(wait: &Wait) -> String {
    let Some(write) = &wait.write else { return String::new() };
    let node = nodes(&wait.nodes);
    let what = match write.kind {
        WriteKind::AddComm => format!(" to take the address of {node}"),
        WriteKind::RemoveComm => format!(" to drop the address of {node}"),
        WriteKind::Stop => " to stop the lockspace".to_owned(),
        WriteKind::Start => " to start the lockspace".to_owned(),
        WriteKind::Release => " to let the lockspace go".to_owned(),
        WriteKind::EventDone => " to take the answer to its uevent".to_owned(),
        WriteKind::AckWithdraw => " to take the answer to gfs2's withdraw".to_owned(),
        WriteKind::Other => " to take a write that this dlm_tool has no words for".to_owned(),
    };
    let failed = match (&write.error, write.failures) {
        (_, 0) => String::new(),
        (Some(error), failures) => format!(", failed {failures} times: {error}"),
        (None, failures) => format!(", failed {failures} times"),
    };
    let queued = match write.queued {
        0 => String::new(),
        queued => format!(", {queued} more behind it"),
    };
    format!("{what}{failed}{queued}")
}

/// What an administrator can do about it.
#[must_use]
pub fn advice(wait: &Wait, state: &State) -> String {
    let general = general_advice(wait, state);
    match wait.nodes.as_slice() {
        [node] => general.replace("<node>", &node.to_string()),
        _ => general.to_owned(),
    }
}

fn general_advice(wait: &Wait, state: &State) -> &'static str {
    use Reason as R;
    match wait.reason {
        R::DaemonGroup | R::Join | R::Rejoin | R::Leave | R::Proposal => {
            "usually milliseconds; else corosync's ring does not settle: see `corosync-cfgtool -s` and its log"
        }
        R::Protocols => {
            "look at dlm_controld on these nodes: it is in the group and says nothing; stop or restart it there"
        }
        R::UnknownRings | R::FenceRings | R::Rings => {
            "corosync's ring is changing; if it stays so, see `corosync-cfgtool -s` and the network between the nodes"
        }
        R::UnknownQuorum | R::FenceQuorum | R::Quorum => {
            "bring back enough nodes for quorum: `corosync-quorumtool -s` shows how many are missing"
        }
        R::UnknownMerge | R::MergedRemoval | R::FenceMerge | R::Disallowed => {
            "nothing if the nodes go by themselves; else reset the nodes of the smaller side"
        }
        R::MergedOperator => "choose the side that goes on, and reset the nodes of all other sides",
        R::UnknownStartup => {
            "start the cluster there, or make sure that the node is off and run `dlm_tool fence_ack <node>`"
        }
        R::UnknownVictims | R::Fencing if wait.nodes.is_empty() => {
            "see what the daemon waits for, above"
        }
        R::UnknownVictims | R::Fencing => "see the fencing of the node below",
        R::UnknownClearance | R::UnknownAgreement => {
            "see `dlm_tool explain` on these nodes: they wait for their own fencing, or their daemon hangs"
        }
        R::Addresses | R::Comms => {
            "see whether corosync knows the node's addresses (`corosync-cmapctl nodelist`), and the kernel log"
        }
        R::KernelWrite | R::Stop if wait.waiting_ms > SLOW_KERNEL_MS => {
            "the kernel blocks: see the kernel log and `cat /proc/*/stack` of tasks in state D; a reset of this node helps in the end"
        }
        R::KernelWrite | R::Stop => {
            "usually milliseconds; a stop lasts until locking activity has ceased"
        }
        R::KernelRetry => {
            "see the error and the kernel log; after some 3 s of failures this node resets itself out of the cluster"
        }
        R::KernelHeld => "nothing: it follows by itself",
        R::RunReplies => {
            "nothing: a node that is silent until then has failed; `dlm_tool run_list` shows the commands, `run_cancel` drops one"
        }
        R::RunCommands if wait.until.is_none() => {
            "they were killed and do not end: see the kernel log, their storage may hang"
        }
        R::RunCommands => "nothing; `dlm_tool run_list` shows them",
        R::PlockRate => {
            "nothing if the limit is meant; `dlm_tool set_config plock_rate_limit=0` lifts it"
        }
        R::CorosyncQueue => {
            "usually milliseconds; else corosync's ring does not settle or is full: see `corosync-cfgtool -s` and its log"
        }
        R::FenceProtocol | R::Queued => "see what the daemon waits for, above",
        R::FenceJoinDelay => {
            "start the cluster on the node now if it is alive; a smaller post_join_delay shortens this"
        }
        R::FenceAgent => {
            "nothing yet; an agent that has not ended after fence_agent_timeout has failed"
        }
        R::FenceOtherAgent => "nothing; enable_concurrent_fencing=1 lets agents run side by side",
        R::FenceResult => "usually milliseconds; else corosync does not deliver",
        R::FencePause => {
            "repair the fence device, or make sure that the node is off and run `dlm_tool fence_ack <node>`"
        }
        R::FenceActor => "see `dlm_tool explain` there",
        R::FenceOperator
            if state.config.get("repeat_failed_fencing").is_some_and(|on| on == "0") =>
        {
            "make sure that the node is off, then run `dlm_tool fence_ack <node>` (repeat_failed_fencing is 0)"
        }
        R::FenceOperator => "make sure that the node is off, then run `dlm_tool fence_ack <node>`",
        R::NodeGone => {
            "corosync should lose the node within its token time; else stop corosync on it, or reset it"
        }
        R::Ghost => "corosync's services disagree; if it stays so, restart corosync on that node",
        R::Withdraw | R::WithdrawAnswer => {
            "see the kernel log of the node that withdraws: its gfs2 has met an error"
        }
        R::Starts => "run `dlm_tool explain` on these nodes: it says what they wait for",
        R::Plocks if wait.nodes.is_empty() => {
            "unmount and mount the file system here, which brings a new transfer"
        }
        R::Handover => "some milliseconds for each thousand locks; else corosync does not deliver",
        R::Plocks => "nothing while it lasts; see dlm_controld on that node if it does not end",
        R::Other => {
            "use the dlm_tool that came with the daemon; `dlm_tool dump` has the daemon's own words"
        }
    }
}

/// From here on a kernel write is called slow.
const SLOW_KERNEL_MS: u64 = 10_000;

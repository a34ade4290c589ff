//! Texts of the status stream: `key=value ` repeated, the last space included. The C library searches keys as bare
//! substrings, so order and names are part of the protocol, and a new key goes to the end (spec/control-socket.md
//! section 4).

use super::queries::Clocked;
use dlm_core::snapshot::{DaemonNode, Run};
use dlm_core::types::NodeId;
use std::fmt::{Display, Write as _};

/// What C says of a node that never left.
const NEVER_LEFT: &str = "unknown";

fn pair(text: &mut String, key: &str, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{key}={value} ");
}

fn joined<const N: usize>(pairs: [(&str, u64); N]) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        pair(&mut text, key, value);
    }
    text
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn node_or_zero(node: Option<NodeId>) -> u64 {
    node.map_or(0, |node| node.get().into())
}

/// The daemon's record.
pub(crate) fn daemon(state: &Clocked<'_>) -> String {
    let snapshot = &state.published.snapshot;
    let agent = state.published.agents.values().next().copied().unwrap_or(0);
    joined([
        ("member_count", number(snapshot.member_count)),
        ("joined_count", number(snapshot.joined_count)),
        ("remove_count", number(snapshot.remove_count)),
        ("daemon_ringid", snapshot.daemon_ring.seq),
        ("cluster_ringid", snapshot.cluster_ring.seq),
        ("quorate", snapshot.quorate.into()),
        ("fence_pid", agent.into()),
        ("fence_in_progress_unknown", snapshot.fence_in_progress_unknown.into()),
        ("zombie_count", number(state.published.zombies)),
        ("monotime", state.monotime),
        ("stateful_merge_wait", snapshot.stateful_merge_wait.into()),
    ])
}

/// A node's record; `agent` is the process id of its running fence agent.
pub(crate) fn daemon_node(node: &DaemonNode, agent: Option<u32>) -> String {
    node_text(
        (node.member, node.killed),
        node.left_reason,
        [
            ("need_fencing", node.need_fencing.into()),
            ("delay_fencing", node.delay_fencing.into()),
            ("fence_pid", agent.unwrap_or(0).into()),
            ("fence_pid_wait", node.agent_running.into()),
            ("fence_result_wait", node.result_wait.into()),
            ("fence_actor_last", node_or_zero(node.actor_last)),
            ("fence_actor_done", node_or_zero(node.actor_done)),
            ("add_time", node.add_time.seconds()),
            ("rem_time", node.rem_time.seconds()),
            ("fail_walltime", node.fail_wall.0),
            ("fail_monotime", node.fail_time.seconds()),
            ("fence_walltime", node.fence_wall.0),
            ("fence_monotime", node.fence_time.seconds()),
        ],
    )
}

/// A record of the start-up list: the keys of a node with nothing known; what is known is in the node's own record.
pub(crate) fn startup_node() -> String {
    node_text(
        (false, false),
        NEVER_LEFT,
        [
            "need_fencing",
            "delay_fencing",
            "fence_pid",
            "fence_pid_wait",
            "fence_result_wait",
            "fence_actor_last",
            "fence_actor_done",
            "add_time",
            "rem_time",
            "fail_walltime",
            "fail_monotime",
            "fence_walltime",
            "fence_monotime",
        ]
        .map(|key| (key, 0)),
    )
}

fn node_text<const N: usize>(
    (member, killed): (bool, bool),
    left_reason: &str,
    rest: [(&str, u64); N],
) -> String {
    let mut text = joined([("member", member.into()), ("killed", killed.into())]);
    pair(&mut text, "left_reason", left_reason);
    text.push_str(&joined(rest));
    text
}

/// Bytes of a command that `run_list` shows.
const RUN_COMMAND_SHOWN: usize = 1000;

/// Run records, two lines each (spec/control-socket.md section 7).
pub(crate) fn runs(runs: &[Run]) -> Vec<u8> {
    let mut text = Vec::new();
    for Run { request, pid, result, counts, .. } in runs {
        let line = format!(
            "run_uuid {} start_nodeid {} local_pid {pid} local_result {result} need_replies {} reply_count {} fail_count {} \
             flags {:x}\nrun_command ",
            request.uuid,
            request.start,
            counts.awaited,
            counts.replies,
            counts.failed,
            request.flags
        );
        text.extend_from_slice(line.as_bytes());
        text.extend(request.command.iter().take(RUN_COMMAND_SHOWN));
        text.push(b'\n');
    }
    text
}

//! The status stream as typed records (spec/control-socket.md section 4).

use crate::proto::StatusKind;

/// One record of the status stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusRecord {
    kind: StatusKind,
    node: i32,
    text: String,
}

impl StatusRecord {
    /// A record from its parts; `text` is `key=value ` repeated, without the NUL.
    #[must_use]
    pub fn new(kind: StatusKind, node: i32, text: String) -> Self {
        Self { kind, node, text }
    }

    /// What it is about.
    #[must_use]
    pub const fn kind(&self) -> StatusKind {
        self.kind
    }

    /// Which node it is about; of [`StatusKind::Daemon`]: the daemon's own.
    #[must_use]
    pub const fn node(&self) -> i32 {
        self.node
    }

    /// The text as it came, without its NUL: each pair is followed by one space.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Keys and values in the order in which they came.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.split(' ').filter_map(|pair| pair.split_once('='))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs().find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The value of a key as a number; 0 where it is missing or no number, as the C library has it.
    #[must_use]
    pub fn number(&self, key: &str) -> u64 {
        self.get(key).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// The daemon's own state, `None` for a record about a node.
    #[must_use]
    pub fn daemon(&self) -> Option<DaemonStatus> {
        (self.kind == StatusKind::Daemon).then(|| DaemonStatus {
            our_node: self.node,
            member_count: self.number("member_count"),
            joined_count: self.number("joined_count"),
            remove_count: self.number("remove_count"),
            daemon_ringid: self.number("daemon_ringid"),
            cluster_ringid: self.number("cluster_ringid"),
            quorate: self.number("quorate") != 0,
            fence_pid: self.number("fence_pid"),
            fence_in_progress_unknown: self.number("fence_in_progress_unknown") != 0,
            zombie_count: self.number("zombie_count"),
            monotime: self.number("monotime"),
            stateful_merge_wait: self.number("stateful_merge_wait") != 0,
        })
    }

    /// A node's state, `None` for the daemon's record. The text of a start-up record may be empty: all values are 0.
    #[must_use]
    pub fn node_status(&self) -> Option<NodeStatus> {
        (self.kind != StatusKind::Daemon).then(|| NodeStatus {
            node: self.node,
            member: self.number("member") != 0,
            killed: self.number("killed") != 0,
            left_reason: self.get("left_reason").unwrap_or("unknown").to_owned(),
            need_fencing: self.number("need_fencing") != 0,
            delay_fencing: self.number("delay_fencing") != 0,
            fence_pid: self.number("fence_pid"),
            fence_pid_wait: self.number("fence_pid_wait") != 0,
            fence_result_wait: self.number("fence_result_wait") != 0,
            fence_actor_last: self.number("fence_actor_last"),
            fence_actor_done: self.number("fence_actor_done"),
            add_time: self.number("add_time"),
            rem_time: self.number("rem_time"),
            fail_walltime: self.number("fail_walltime"),
            fail_monotime: self.number("fail_monotime"),
            fence_walltime: self.number("fence_walltime"),
            fence_monotime: self.number("fence_monotime"),
        })
    }
}

/// What the daemon says of itself. Counts are of the last change of the daemon group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonStatus {
    /// This node.
    pub our_node: i32,
    /// Members.
    pub member_count: u64,
    /// Who came.
    pub joined_count: u64,
    /// Who went.
    pub remove_count: u64,
    /// Sequence number of the daemon group's ring.
    pub daemon_ringid: u64,
    /// Sequence number of the cluster's ring.
    pub cluster_ringid: u64,
    /// The partition may act.
    pub quorate: bool,
    /// A running fence agent, 0: none.
    pub fence_pid: u64,
    /// It is not known whether fencing is in progress.
    pub fence_in_progress_unknown: bool,
    /// Agents that were given up and have not ended yet.
    pub zombie_count: u64,
    /// Now, in seconds of the monotonic clock.
    pub monotime: u64,
    /// Merged nodes outnumber clean ones: an operator must act.
    pub stateful_merge_wait: bool,
}

/// What the daemon says of a node. Times are seconds; 0: never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Who.
    pub node: i32,
    /// In the daemon group.
    pub member: bool,
    /// We asked corosync to remove it.
    pub killed: bool,
    /// Why it left last.
    pub left_reason: String,
    /// Is to be fenced.
    pub need_fencing: bool,
    /// Fencing is due but waits.
    pub delay_fencing: bool,
    /// Its running fence agent, 0: none.
    pub fence_pid: u64,
    /// An agent is waited for.
    pub fence_pid_wait: bool,
    /// A result was sent and has not come back yet.
    pub fence_result_wait: bool,
    /// Who is to fence it, or was last; 0: nobody.
    pub fence_actor_last: u64,
    /// Who fenced it; 0: nobody.
    pub fence_actor_done: u64,
    /// Added last, monotonic.
    pub add_time: u64,
    /// Removed last, monotonic.
    pub rem_time: u64,
    /// Failed last, wall clock.
    pub fail_walltime: u64,
    /// Failed last, monotonic.
    pub fail_monotime: u64,
    /// Fenced last, wall clock of the sender.
    pub fence_walltime: u64,
    /// Fenced last, monotonic.
    pub fence_monotime: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_matched_whole() {
        let text = "fence_pid_wait=1 fence_pid=808 left_reason=nodedown ".to_owned();
        let record = StatusRecord::new(StatusKind::DaemonNode, 3, text);
        let node = record.node_status().unwrap();
        assert_eq!((node.fence_pid, node.fence_pid_wait), (808, true));
        assert_eq!(node.left_reason, "nodedown");
        assert_eq!(node.add_time, 0);
        assert!(record.daemon().is_none());
    }
}

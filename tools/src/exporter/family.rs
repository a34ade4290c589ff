//! The metrics by name: what each means, its type and its labels. `docs/metrics.md` has the same table, and a test
//! compares the two.

/// How Prometheus is to take the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, until the process that counts begins anew.
    Counter,
    /// Counts by upper bound, with a sum.
    Histogram,
}

/// One metric with all its label values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, with the unit at its end.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help }
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Kind::Histogram, labels, help }
}

/// Declares the families and the list of them all, so that none can be missing there.
macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $family:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: Family = $family;)*
        /// Every metric, but the `process_*` ones of the prometheus crate.
        pub const ALL: &[Family] = &[$($name),*];
    };
}

families! {
    UP = gauge("dlm_up", &[], "1: the daemon has answered this scrape in time. 0: see dlm_exporter_failures_total.");
    EXPORTER_INFO = gauge("dlm_exporter_build_info", &["version"], "1; the version of this exporter.");
    SCRAPE = gauge("dlm_exporter_daemon_answer_seconds", &[], "How long the daemon's answer took, or was waited for.");
    FAILURES = Family {
        name: "dlm_exporter_failures_total",
        kind: Kind::Counter,
        labels: &["cause"],
        help: "Scrapes without an answer of the daemon, by cause: not_running, timeout, not_ours (a C daemon), \
               schema (of another version), other.",
    };
    LEFT_OUT = gauge("dlm_exporter_left_out", &["what"], "Lockspaces and nodes beyond the exporter's bounds, not shown.");

    BUILD = gauge("dlm_build_info", &["version", "build"], "1; the version of the daemon.");
    PROTOCOL = gauge("dlm_protocol_info", &["version"], "1; the protocol that all daemons run. Absent until it is settled.");
    STARTED = gauge("dlm_daemon_start_time_seconds", &[], "When the daemon began, in seconds since 1970.");
    PHASE = gauge("dlm_daemon_phase", &["phase"], "1 for the phase of the daemon's life that it is in, 0 for the others.");
    STALE = gauge("dlm_daemon_state_age_seconds", &[], "0: all here is of now. Else the daemon's event loop did not answer within a second, and this is how old its state on this page is.");
    DAEMON_WAITING = gauge("dlm_daemon_waiting", &["reason"], "1: the daemon as a whole waits for this; the reasons are those of docs/json.md.");
    DAEMON_SINCE = gauge("dlm_daemon_waiting_since_timestamp_seconds", &["reason"], "Since when; absent while it does not wait for this.");

    NODE_INFO = gauge("dlm_node_info", &["node"], "1; the id of this node.");
    QUORATE = gauge("dlm_cluster_quorate", &[], "1: this partition has quorum.");
    RING_SEQ = gauge("dlm_cluster_ring_sequence", &["of"], "Sequence number of corosync's ring, as its quorum service and the daemon group have it; they differ while it changes.");
    RING_NODE = gauge("dlm_cluster_ring_node", &["of"], "Node id of that ring's representative; 0: no ring yet.");
    GROUP_MEMBERS = gauge("dlm_cluster_daemons", &[], "Members of the daemon group.");
    UNKNOWN = gauge("dlm_cluster_fencing_unknown", &[], "1: it is not known whether fencing is in progress elsewhere; lockspaces are held back.");
    MERGE = gauge("dlm_cluster_stateful_merge", &[], "1: partitions with state have merged, and no side may act.");
    STARTUP = gauge("dlm_cluster_startup_nodes", &[], "Configured nodes that may still run from before the daemon's start.");
    KILLED_AGENTS = gauge("dlm_fencing_killed_agents", &[], "Fence agents that were killed and have not ended.");

    NODE_MEMBER = gauge("dlm_node_member", &["node"], "1: the node is in the daemon group.");
    NODE_MERGED = gauge("dlm_node_merged", &["node"], "1: it merged with state of another partition.");
    NODE_KILLED = gauge("dlm_node_killed", &["node"], "1: corosync was asked to remove it.");
    NODE_ADDED = gauge("dlm_node_added_timestamp_seconds", &["node"], "When it was last added to the daemon group.");
    NODE_REMOVED = gauge("dlm_node_removed_timestamp_seconds", &["node"], "When it last went.");

    FENCING_NEEDED = gauge("dlm_fencing_needed", &["node"], "1: the node must be fenced.");
    FENCING_ACTOR = gauge("dlm_fencing_actor", &["node", "actor"], "1; who is to fence it, or was to last.");
    FENCING_FAILED = gauge("dlm_fencing_node_failed_timestamp_seconds", &["node"], "When the node failed last.");
    FENCING_DONE = gauge("dlm_fencing_node_fenced_timestamp_seconds", &["node"], "When this node learnt that it was fenced last.");
    FENCING_FAILURES = gauge("dlm_fencing_failures_in_a_row", &["node"], "Attempts of this node to fence it that failed, since the last success.");
    FENCING_RESULT = gauge("dlm_fencing_failed_result", &["node", "actor"], "Result of an actor that failed to fence it: exit status; negative: no agent ran to its end.");
    FENCING_CONFIG = gauge("dlm_fencing_config_error", &["node"], "1: its fence devices in dlm.conf cannot be used.");
    FENCING_AGENT = gauge("dlm_fencing_agent_running", &["node"], "1: this node's fence agent for it runs.");
    FENCING_WAITING = gauge("dlm_fencing_waiting", &["node", "reason"], "1: the fencing of the node waits for this; the reasons are those of docs/json.md.");
    FENCING_SINCE = gauge("dlm_fencing_waiting_since_timestamp_seconds", &["node", "reason"], "Since when; absent while it does not wait for this.");
    ATTEMPTS = gauge("dlm_fencing_recent_attempts", &["node", "device", "outcome"], "Runs of a device's agent on this node, of the last few that the daemon remembers; outcome: running, success, failed, signalled, not_started.");
    ATTEMPT_ENDED = gauge("dlm_fencing_last_attempt_end_timestamp_seconds", &["node", "device"], "When the device's agent ended last.");
    ATTEMPT_TOOK = gauge("dlm_fencing_last_attempt_seconds", &["node", "device"], "How long that run took.");

    LOCKSPACES = gauge("dlm_lockspaces", &[], "Lockspaces on this node.");
    LOCKSPACE_INFO = gauge("dlm_lockspace_info", &["lockspace", "id"], "1; the id of the lockspace in the kernel and between nodes.");
    LOCKSPACE_STATE = gauge("dlm_lockspace_state", &["lockspace", "state"], "1 for the state that it is in, 0 for the others: running, joining, stopped, starting, leaving.");
    WITHOUT_QUORUM = gauge("dlm_lockspace_without_quorum", &["lockspace"], "1: it runs although the partition has no quorum, as its members have not changed.");
    MEMBERS = gauge("dlm_lockspace_members", &["lockspace"], "Members of its last completed change.");
    MEMBER = gauge("dlm_lockspace_member", &["lockspace", "node"], "1: the node is a member of the newest change, 0: it was one before.");
    NEED_FENCING = gauge("dlm_lockspace_needs_fencing", &["lockspace", "node"], "1: the node failed in this lockspace and is not known to be fenced.");
    SLOT = gauge("dlm_lockspace_slot", &["lockspace", "node"], "Slot of the node; gfs2's journal id is one less.");
    OUR_SLOT = gauge("dlm_lockspace_our_slot", &["lockspace"], "Slot of this node.");
    SLOTS_CONFIRMED = gauge("dlm_lockspace_slots_confirmed", &["lockspace"], "1: the kernel has said which slots there are. 0: by the kernel's rule, or unknown.");
    CHANGE = gauge("dlm_lockspace_change_sequence", &["lockspace", "change"], "Number of the started (last completed) and the pending (newest) change on this node.");
    MISSING = gauge("dlm_lockspace_starts_missing", &["lockspace"], "Members of the pending change whose START has not come.");
    WAITING = gauge("dlm_lockspace_waiting", &["lockspace", "reason"], "1: the lockspace waits for this; the reasons are those of docs/json.md.");
    SINCE = gauge("dlm_lockspace_waiting_since_timestamp_seconds", &["lockspace", "reason"], "Since when; absent while it does not wait for this.");
    WRITE_FAILURES = gauge("dlm_lockspace_kernel_write_failures", &["lockspace", "write"], "Failed attempts of the kernel write that is waited for.");
    WRITE_QUEUED = gauge("dlm_lockspace_kernel_writes_queued", &["lockspace", "write"], "Kernel writes that wait behind it.");

    CHANGES = counter("dlm_lockspace_changes_total", &["lockspace", "cause"], "Changes of its members since it was joined, by cause: joined, left, failed; one with several counts for each.");
    RECOVERY = histogram("dlm_lockspace_recovery_seconds", &["lockspace"], "From a change of its members until the kernel ran again; changes that came meanwhile are part of it.");
    PHASES = histogram("dlm_lockspace_phase_seconds", &["lockspace", "phase"], "What that was spent with, phase by phase; the phases are those of docs/json.md.");
    STARTS = histogram("dlm_start_delay_seconds", &["node"], "When START of the node came, since this node sent its own, in all lockspaces; 0 where it was there before.");
    FENCING = histogram("dlm_fencing_seconds", &["node"], "From the need to fence the node until that was settled, by whomever.");
    AGENT_RUNS = counter("dlm_fencing_attempts_total", &["node", "device", "outcome"], "Runs of a device's agent on this node that have ended; outcome: success, failed, signalled, not_started.");
    AGENT_TIMES = histogram("dlm_fencing_agent_seconds", &["node", "device"], "How long they took.");

    PLOCK_REQUESTS = counter("dlm_plock_requests_total", &["lockspace", "op"], "POSIX locks: requests of this node's processes since the lockspace was joined; op: lock (does not wait), wait_lock, unlock, close, test, cancel.");
    PLOCK_RESULTS = counter("dlm_plock_results_total", &["lockspace", "result"], "Their results: done, conflict, error.");
    PLOCK_ANSWERS = histogram("dlm_plock_answer_seconds", &["lockspace"], "From a request to its result, where it did not have to wait for a lock.");
    PLOCK_WAITS = histogram("dlm_plock_wait_seconds", &["lockspace"], "The same, where it had to, and got it.");
    PLOCK_RECEIVED = counter("dlm_plock_received_total", &["lockspace"], "Requests of all nodes that were carried out here.");
    PLOCK_MOVES = counter("dlm_plock_moves_total", &["lockspace", "move"], "Files that changed hands with plock_ownership: owned (became this node's), given_up (another node wanted it, too), dropped (unused).");
    PLOCK_RESOURCES = gauge("dlm_plock_resources", &["lockspace"], "Files with locks.");
    PLOCK_WAITING = gauge("dlm_plock_waiting", &["lockspace"], "Processes of this node that wait for locks.");
    PLOCK_IN_FLIGHT = gauge("dlm_plock_in_flight", &["lockspace"], "Requests of this node on their way through the group.");

    MESSAGES = counter("dlm_messages_total", &["type", "direction"], "Messages between daemons, in all groups, since the daemon began; direction: sent, received (our own come back).");
    BAD_MESSAGES = counter("dlm_bad_messages_total", &[], "Messages that were none of the protocol.");
    RETRIES = counter("dlm_send_retries_total", &[], "Messages, joins and leaves that corosync would not take yet, attempt by attempt: its ring was changing, or its queue full.");
    WRITES = histogram("dlm_kernel_write_seconds", &["write"], "From the request of a kernel write to its end, attempt by attempt.");
    FAILED_WRITES = counter("dlm_kernel_write_failures_total", &["write"], "Attempts of kernel writes that failed.");
    AGENTS = counter("dlm_fence_agents_total", &["outcome"], "Fence agents of this node that have ended; outcome: success, failed, signalled, not_started.");
    EVENTS = histogram("dlm_event_handling_seconds", &[], "Handling of one event with all that follows at once; the daemon handles nothing else meanwhile.");
    ANSWERS = histogram("dlm_event_loop_answer_seconds", &[], "How long the daemon's event loop let questions for its state wait, one a scrape at least; it is given up after a second.");
    CLIENTS = gauge("dlm_control_clients", &["socket"], "Clients of a socket of the daemon: queries, commands.");
    CLIENTS_SEEN = counter("dlm_control_clients_total", &["socket"], "Clients that were let in.");
    CLIENTS_AWAY = counter("dlm_control_clients_turned_away_total", &["socket"], "Clients that were not, as too many were there.");
    MEMORY = gauge("dlm_daemon_resident_memory_bytes", &[], "Resident memory of the daemon, which is locked.");
    CPU = counter("dlm_daemon_cpu_seconds_total", &[], "Processor time of the daemon.");
    FILES = gauge("dlm_daemon_open_fds", &[], "Open descriptors of the daemon.");
    LATE = histogram("dlm_deadline_lag_seconds", &[], "How late the daemon noticed a deadline of its own.");
}

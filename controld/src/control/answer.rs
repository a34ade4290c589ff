//! Answers of the query socket, to the byte (spec/control-socket.md sections 3 to 5).

use super::queries::Clocked;
use super::request::{EchoedName, Query};
use super::text;
use dlm_core::event::LeaveReason;
use dlm_core::snapshot::{self, ChangeMember, LockspaceNode, Snapshot, Wait};
use dlm_core::types::{ChangeSeq, LockspaceName, NodeId};
use dlmcontrol::proto::{self, Command, DUMP_MAX, Header, NodeList, StatusHeader, errno};
use dlmcontrol::proto::{StatusKind, until_nul};
use serde::Serialize;
use zerocopy::{Immutable, IntoBytes};

/// CPG reason codes (corosync/cpg.h), which the node structure carries.
const CPG_REASON_LEAVE: i32 = 2;
const CPG_REASON_NODEDOWN: i32 = 3;
const CPG_REASON_PROCDOWN: i32 = 5;

/// The answer to what the published state alone answers; `None` for logs and POSIX locks.
pub(crate) fn state(query: &Query, state: &Clocked<'_>) -> Option<Vec<u8>> {
    let snapshot = &state.published.snapshot;
    Some(match query {
        Query::DumpConfig => dump(Command::DumpConfig, state.published.config.as_bytes()),
        Query::DumpRun => dump(Command::DumpRun, &text::runs(&snapshot.runs)),
        Query::LockspaceInfo(name) => lockspace_info(name, snapshot),
        Query::NodeInfo { name, node } => node_info(name, *node, snapshot),
        Query::Lockspaces { max } => lockspaces(*max, snapshot),
        Query::LockspaceNodes { name, list, max } => lockspace_nodes(name, *list, *max, snapshot),
        Query::Status => status(state),
        Query::DumpDebug
        | Query::DumpLogPlock
        | Query::DumpPlocks { .. }
        | Query::State
        | Query::History => {
            return None;
        }
    })
}

/// A header with a JSON document behind it, however long. `None`: it cannot be made, which no type in it allows.
pub(crate) fn document<T: Serialize>(command: Command, document: &T) -> Option<Vec<u8>> {
    let text = serde_json::to_vec(document).ok()?;
    Some(framed(Header::new(command), &text))
}

/// A header with text behind it, cut to what the C library has room for. Both logs say they are `DumpDebug`.
pub(crate) fn dump(command: Command, text: &[u8]) -> Vec<u8> {
    let text = text.get(..DUMP_MAX).unwrap_or(text);
    framed(Header::new(command), text)
}

/// POSIX locks of a lockspace, as many lines as the C library has room for; `None`: there is no such lockspace.
pub(crate) fn plocks(command: Command, name: &EchoedName, text: Option<&str>) -> Vec<u8> {
    let mut header = Header { name: name.0, ..Header::new(command) };
    let text = text.map(str::as_bytes);
    header.data = match text {
        None => -errno::ENOENT,
        Some(text) if text.len() > DUMP_MAX => -errno::ENOSPC,
        Some(_) => 0,
    };
    let text = text.unwrap_or_default();
    let room = text.get(..DUMP_MAX).unwrap_or(text);
    let lines =
        room.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last.saturating_add(1));
    framed(header, room.get(..lines).unwrap_or(room))
}

/// A reply of the command socket: a header, and what belongs behind it.
pub(crate) fn framed(header: Header, payload: &[u8]) -> Vec<u8> {
    let header = header.followed_by(payload.len());
    [header.as_bytes(), payload].concat()
}

/// Header and one structure, zeros where there is nothing to say.
fn structured<T: IntoBytes + Immutable + Default>(mut header: Header, found: Option<T>) -> Vec<u8> {
    if found.is_none() {
        header.data = -errno::ENOENT;
    }
    framed(header, found.unwrap_or_default().as_bytes())
}

fn find<'a>(name: &EchoedName, snapshot: &'a Snapshot) -> Option<&'a snapshot::Lockspace> {
    snapshot.lockspaces.iter().find(|lockspace| lockspace.name.as_bytes() == name.bytes())
}

fn lockspace_info(name: &EchoedName, snapshot: &Snapshot) -> Vec<u8> {
    let header = Header { name: name.0, ..Header::new(Command::LockspaceInfo) };
    structured(header, find(name, snapshot).map(lockspace))
}

/// A node that was never seen is no error: only its id is set.
fn node_info(name: &EchoedName, nodeid: i32, snapshot: &Snapshot) -> Vec<u8> {
    let header = Header { name: name.0, ..Header::new(Command::NodeInfo) };
    let id = u32::try_from(nodeid).ok().and_then(NodeId::new);
    let of = |lockspace| match id {
        Some(id) => node(lockspace, id, newest_members(lockspace)),
        None => proto::Node { nodeid, ..proto::Node::default() },
    };
    structured(header, find(name, snapshot).map(of))
}

/// With a maximum the 4.1 library's rule: not more than its buffer takes, and -E2BIG if there are more.
fn lockspaces(max: Option<usize>, snapshot: &Snapshot) -> Vec<u8> {
    let all: Vec<_> = snapshot.lockspaces.iter().map(lockspace).collect();
    listed(Header::new(Command::Lockspaces), max, &all)
}

fn lockspace_nodes(
    name: &EchoedName,
    list: Option<NodeList>,
    max: usize,
    snapshot: &Snapshot,
) -> Vec<u8> {
    let mut header = Header { name: name.0, ..Header::new(Command::LockspaceNodes) };
    let Some(lockspace) = find(name, snapshot) else {
        header.data = -errno::ENOENT;
        return framed(header, &[]);
    };
    let members_of = |change: Option<&snapshot::Change>| -> Vec<proto::Node> {
        let members = change.map_or(&[][..], |change| &change.members);
        members.iter().map(|member| node(lockspace, member.node, members)).collect()
    };
    let nodes = match list {
        Some(NodeList::All) => {
            let members = newest_members(lockspace);
            lockspace.nodes.iter().map(|seen| node(lockspace, seen.node, members)).collect()
        }
        Some(NodeList::Members) => members_of(lockspace.started.as_ref()),
        Some(NodeList::Next) => members_of(lockspace.pending.as_ref().map(|(change, _)| change)),
        None => Vec::new(),
    };
    listed(header, Some(max), &nodes)
}

/// Header and entries: `data` is their count, or -E2BIG with `max` of them.
fn listed<T: IntoBytes + Immutable>(mut header: Header, max: Option<usize>, all: &[T]) -> Vec<u8> {
    let shown = max.and_then(|max| all.get(..max)).filter(|shown| shown.len() < all.len());
    header.data = match shown {
        Some(_) => -errno::E2BIG,
        None => i32::try_from(all.len()).unwrap_or(i32::MAX),
    };
    framed(header, shown.unwrap_or(all).as_bytes())
}

/// Members of the change in progress, else of the last completed one.
fn newest_members(lockspace: &snapshot::Lockspace) -> &[ChangeMember] {
    let newest = lockspace.pending.as_ref().map(|(change, _)| change);
    newest.or(lockspace.started.as_ref()).map_or(&[], |change| &change.members)
}

/// One node of a lockspace. MEMBER, START and DISALLOWED refer to the change that the list is about, not to the present.
fn node(lockspace: &snapshot::Lockspace, id: NodeId, members: &[ChangeMember]) -> proto::Node {
    let mut flags = 0;
    let mut set = |on: bool, flag: u32| flags |= if on { flag } else { 0 };
    if let Some(member) = members.iter().find(|member| member.node == id) {
        set(true, proto::NODE_MEMBER);
        set(member.start, proto::NODE_START);
        set(member.disallowed, proto::NODE_DISALLOWED);
    }
    let seen = lockspace.nodes.iter().find(|seen| seen.node == id);
    set(seen.is_some_and(|seen| seen.need_fencing), proto::NODE_NEED_FENCING);
    let seq = |of: fn(&LockspaceNode) -> ChangeSeq| seen.map_or(0, |seen| of(seen).get());
    proto::Node {
        nodeid: signed(id),
        flags,
        added_seq: seq(|seen| seen.added_seq),
        removed_seq: seq(|seen| seen.removed_seq),
        fail_reason: seen.and_then(|seen| seen.fail_reason).map_or(0, cpg_reason),
        padding: 0,
        fail_walltime: seen.map_or(0, |seen| seen.fail_wall.0),
        fail_monotime: seen.map_or(0, |seen| seen.fail_time.seconds()),
    }
}

const fn cpg_reason(reason: LeaveReason) -> i32 {
    match reason {
        LeaveReason::Leave => CPG_REASON_LEAVE,
        LeaveReason::NodeDown => CPG_REASON_NODEDOWN,
        LeaveReason::ProcDown => CPG_REASON_PROCDOWN,
    }
}

/// Node ids are signed on this protocol; one over 2^31 shows as C shows it.
fn signed(id: NodeId) -> i32 {
    i32::from_ne_bytes(id.get().to_ne_bytes())
}

fn lockspace(from: &snapshot::Lockspace) -> proto::Lockspace {
    let mut flags = 0;
    for (on, flag) in [
        (from.joining, proto::LOCKSPACE_JOINING),
        (from.leaving, proto::LOCKSPACE_LEAVING),
        (from.kernel_stopped, proto::LOCKSPACE_KERNEL_STOPPED),
        (from.need_plocks, proto::LOCKSPACE_NEED_PLOCKS),
    ] {
        flags |= if on { flag } else { 0 };
    }
    let completed = from.started.as_ref().map(|done| change(done, done.combined_seq));
    let pending = from.pending.as_ref().map(|(newest, oldest)| {
        let (wait_condition, wait_messages) =
            from.wait.as_ref().map_or((0, 0), |of| wait(of, newest));
        proto::Change { wait_condition, wait_messages, ..change(newest, *oldest) }
    });
    proto::Lockspace {
        cg_prev: completed.unwrap_or_default(),
        cg_next: pending.unwrap_or_default(),
        flags,
        global_id: from.global_id.0,
        name: padded_name(&from.name),
        padding: [0; 3],
    }
}

fn padded_name(name: &LockspaceName) -> [u8; proto::LOCKSPACE_NAME_LEN] {
    let mut padded = [0; proto::LOCKSPACE_NAME_LEN];
    for (to, from) in padded.iter_mut().zip(until_nul(name.as_bytes())) {
        *to = *from;
    }
    padded
}

fn change(from: &snapshot::Change, combined: ChangeSeq) -> proto::Change {
    proto::Change {
        member_count: count(from.members.len()),
        joined_count: count(from.joined_count),
        remove_count: count(from.remove_count),
        failed_count: count(from.failed_count),
        wait_condition: 0,
        wait_messages: 0,
        seq: from.seq.get(),
        combined_seq: combined.get(),
    }
}

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

/// `wait_condition` and `wait_messages`. Waits that C does not have are shown as the one of C's that comes first among
/// those they belong to: a member that the cluster does not list, or still lists, is a ring that has not settled. Where
/// our own START waits for something of this node, START messages are what is missing, ours among them.
fn wait(wait: &Wait, change: &snapshot::Change) -> (i32, i32) {
    match wait {
        Wait::Stop | Wait::Comms(_) | Wait::Withdraw(_) | Wait::Handover => {
            (count(change.members.iter().filter(|member| !member.start).count()), 1)
        }
        Wait::Ring | Wait::NodeGone(_) | Wait::Ghost(_) => (proto::WAIT_RINGID, 0),
        Wait::Quorum => (proto::WAIT_QUORUM, 0),
        Wait::Fencing(_) => (proto::WAIT_FENCING, 0),
        Wait::Starts(nodes) | Wait::Disallowed(nodes) => (count(nodes.len()), 1),
    }
}

/// The stream of status records: the daemon, nodes in order of first sight, the start-up list. No header; the end of
/// the stream is the end of the connection.
fn status(state: &Clocked<'_>) -> Vec<u8> {
    let snapshot = &state.published.snapshot;
    let mut stream = Vec::new();
    let ours = snapshot.our_node.map_or(0, signed);
    record(&mut stream, StatusKind::Daemon, ours, text::daemon(state));
    for node in &snapshot.nodes {
        let agent = state.published.agents.get(&node.node).copied();
        let text = text::daemon_node(node, agent);
        record(&mut stream, StatusKind::DaemonNode, signed(node.node), text);
    }
    for node in &snapshot.startup_nodes {
        record(&mut stream, StatusKind::StartupNode, signed(*node), text::startup_node());
    }
    stream
}

fn record(stream: &mut Vec<u8>, kind: StatusKind, nodeid: i32, text: String) {
    let mut text = text.into_bytes();
    text.push(0);
    let header = StatusHeader {
        kind: kind.number(),
        flags: 0,
        nodeid,
        data32: 0,
        data64: 0,
        str_len: u32::try_from(text.len()).unwrap_or(0),
        bin_len: 0,
    };
    stream.extend_from_slice(header.as_bytes());
    stream.extend_from_slice(&text);
}

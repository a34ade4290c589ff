//! Answers compared, byte for byte, with what the C daemon sent (tests/golden/ctl, see its README).

use super::queries::Clocked;
use super::request::{self, HEADER_BYTES, Order, Query};
use super::{Published, answer, append_plocks};
use dlm_core::event::LeaveReason;
use dlm_core::plock::{Holder, Mode, PlockResource, TransferEntry};
use dlm_core::snapshot::{
    Change, ChangeMember, DaemonNode, Lockspace, LockspaceNode, Slots, Snapshot, Wait,
};
use dlm_core::types::{ChangeSeq, Group, Instant, LockspaceName, NodeId, RingId, WallSeconds};
use dlmcontrol::proto::{Command, DUMP_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One connection of a golden file.
#[derive(Default)]
struct Exchange {
    socket: String,
    sent: Vec<u8>,
    answered: Vec<u8>,
}

fn exchanges(file: &str) -> Vec<Exchange> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/ctl");
    let text = std::fs::read_to_string(folder.join(format!("{file}.txt"))).unwrap();
    let mut all = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "connect" {
            all.push(Exchange { socket: words[1].to_owned(), ..Exchange::default() });
            continue;
        }
        let exchange = all.last_mut().unwrap();
        let side = if words[0] == ">" { &mut exchange.sent } else { &mut exchange.answered };
        match words[1] {
            "zeros" => side.resize(side.len() + words[2].parse::<usize>().unwrap(), 0),
            hex => {
                let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                side.extend((0..hex.len()).step_by(2).map(byte));
            }
        }
    }
    assert!(!all.is_empty());
    all
}

pub(super) fn id(node: u32) -> NodeId {
    NodeId::new(node).unwrap()
}

fn seconds(count: u64) -> Instant {
    Instant::default().plus_seconds(count)
}

fn daemon_node(node: u32) -> DaemonNode {
    DaemonNode {
        node: id(node),
        member: true,
        killed: false,
        left_reason: "unknown",
        need_fencing: false,
        delay_fencing: false,
        agent_running: false,
        result_wait: false,
        actor_last: None,
        actor_done: None,
        add_time: seconds(16),
        rem_time: Instant::default(),
        fail_wall: WallSeconds(0),
        fail_time: Instant::default(),
        fence_wall: WallSeconds(0),
        fence_time: Instant::default(),
        waits_for: None,
        failures: 0,
        config_error: None,
        failed_by: Vec::new(),
        clean: true,
        merged: false,
    }
}

fn change(seq: u32, start: bool, members: &[u32]) -> Change {
    let member = |node: &u32| ChangeMember { node: id(*node), start, disallowed: false };
    Change {
        seq: ChangeSeq::from_wire(seq),
        combined_seq: ChangeSeq::from_wire(seq),
        members: members.iter().map(member).collect(),
        joined_count: 1,
        remove_count: 0,
        failed_count: 0,
    }
}

pub(super) fn lockspace(number: u64, name: &str) -> Lockspace {
    let name = LockspaceName::new(name.as_bytes()).unwrap();
    let seen = |node| LockspaceNode {
        node: id(node),
        added_seq: ChangeSeq::from_wire(node),
        removed_seq: ChangeSeq::default(),
        fail_reason: None,
        fail_wall: WallSeconds(0),
        fail_time: Instant::default(),
        need_fencing: false,
    };
    Lockspace {
        number,
        global_id: Group::Lockspace(name.clone()).global_id(),
        name,
        joining: false,
        leaving: false,
        kernel_stopped: false,
        need_plocks: false,
        plocks: Default::default(),
        started: Some(change(3, true, &[1, 2, 3])),
        pending: None,
        wait: None,
        wait_since: Instant::default(),
        nodes: (1..=3).map(seen).collect(),
        slots: Slots::Unknown,
    }
}

/// Three nodes, no lockspace.
pub(super) fn idle() -> Snapshot {
    Snapshot {
        our_node: Some(id(1)),
        quorate: true,
        cluster_ring: RingId { node: 1, seq: 13 },
        daemon_ring: RingId { node: 1, seq: 13 },
        member_count: 3,
        joined_count: 1,
        nodes: (1..=3).map(daemon_node).collect(),
        ..Snapshot::default()
    }
}

/// Two lockspaces, `fs` the newer one.
pub(super) fn locks() -> Snapshot {
    Snapshot { lockspaces: vec![lockspace(2, "fs"), lockspace(1, "t1")], ..idle() }
}

/// Node 3 was killed; agent 808 of node 1 runs.
pub(super) fn fencing_wait() -> Snapshot {
    let mut state = locks();
    let ring = RingId { node: 1, seq: 17 };
    (state.cluster_ring, state.daemon_ring) = (ring, ring);
    (state.member_count, state.joined_count, state.remove_count) = (2, 0, 1);
    let (wall, time) = (WallSeconds(1_795_257_100), seconds(96));
    let victim = &mut state.nodes[2];
    victim.member = false;
    victim.left_reason = "nodedown";
    victim.need_fencing = true;
    victim.agent_running = true;
    victim.actor_last = Some(id(1));
    (victim.rem_time, victim.fail_time, victim.fail_wall) = (time, time, wall);
    for lockspace in &mut state.lockspaces {
        lockspace.kernel_stopped = true;
        let counts = Change {
            joined_count: 0,
            remove_count: 1,
            failed_count: 1,
            ..change(4, false, &[1, 2])
        };
        lockspace.pending = Some((counts, ChangeSeq::from_wire(4)));
        lockspace.wait = Some(Wait::Fencing(BTreeSet::from([id(3)])));
        let gone = &mut lockspace.nodes[2];
        gone.removed_seq = ChangeSeq::from_wire(4);
        gone.fail_reason = Some(LeaveReason::NodeDown);
        (gone.fail_time, gone.fail_wall, gone.need_fencing) = (time, wall, true);
    }
    state
}

fn query(exchange: &Exchange) -> Query {
    assert_eq!(exchange.socket, "dlmc_query_sock");
    let bytes = exchange.sent.first_chunk::<HEADER_BYTES>().unwrap();
    let (header, payload) = request::header(bytes).unwrap();
    assert_eq!(payload, 0);
    Query::parse(&header).unwrap()
}

fn check(snapshot: Snapshot, agents: BTreeMap<NodeId, u32>, monotime: u64, file: &str) {
    let published = Published { snapshot, agents, ..Published::default() };
    for exchange in exchanges(file) {
        let query = query(&exchange);
        let ours = answer::state(&query, &Clocked { published: &published, monotime }).unwrap();
        assert_eq!(ours, exchange.answered, "{file}: {query:?}");
    }
}

#[test]
fn status_of_an_idle_cluster() {
    check(idle(), BTreeMap::new(), 43, "idle-status");
    check(idle(), BTreeMap::new(), 43, "idle-status_-v");
    check(locks(), BTreeMap::new(), 79, "locks-status");
}

#[test]
fn status_while_an_agent_runs() {
    let agents = || BTreeMap::from([(id(3), 808)]);
    check(fencing_wait(), agents(), 104, "fencing-wait-status");
    check(fencing_wait(), agents(), 105, "fencing-wait-status_-v");
}

#[test]
fn lockspaces_and_their_nodes() {
    check(idle(), BTreeMap::new(), 0, "idle-ls");
    check(idle(), BTreeMap::new(), 0, "idle-ls_-n");
    check(locks(), BTreeMap::new(), 0, "locks-ls");
    check(locks(), BTreeMap::new(), 0, "locks-ls_-n");
    check(locks(), BTreeMap::new(), 0, "locks-ls_-n_fs");
}

#[test]
fn lockspaces_that_wait_for_fencing() {
    check(fencing_wait(), BTreeMap::new(), 0, "fencing-wait-ls");
    check(fencing_wait(), BTreeMap::new(), 0, "fencing-wait-ls_-n");
}

/// The text of an answer, put back into an answer of ours.
fn round_trip(file: &str, make: impl Fn(&Query, &[u8]) -> Vec<u8>) {
    for exchange in exchanges(file) {
        let text = &exchange.answered[HEADER_BYTES..];
        assert_eq!(make(&query(&exchange), text), exchange.answered, "{file}");
    }
}

#[test]
fn dumps_have_the_header_of_the_first_of_them() {
    let dump = |_: &Query, text: &[u8]| answer::dump(Command::DumpDebug, text);
    round_trip("idle-dump", dump);
    round_trip("idle-log_plock", dump);
    round_trip("idle-dump_config", |_, text| answer::dump(Command::DumpConfig, text));
    round_trip("idle-run_list", |_, text| answer::dump(Command::DumpRun, text));
}

#[test]
fn plocks_name_their_lockspace() {
    let of = |query: &Query, text: Option<&[u8]>| match query {
        Query::DumpPlocks { command, name, .. } => {
            answer::plocks(*command, name, text.map(|text| std::str::from_utf8(text).unwrap()))
        }
        other => unreachable!("{other:?}"),
    };
    round_trip("idle-plocks_fs", |query, _| of(query, None));
    round_trip("locks-plocks_fs", |query, text| of(query, Some(text)));
    let line = "79937 WR 0-9 nodeid 1 pid 623 owner ff11000027dd1600 rown 0\n";
    let long = line.repeat(DUMP_MAX / line.len() + 1).into_bytes();
    for exchange in exchanges("locks-plocks_fs") {
        let cut = of(&query(&exchange), Some(&long));
        // The lines that fitted, none of them cut.
        assert_eq!(cut.len(), HEADER_BYTES + DUMP_MAX / line.len() * line.len());
        assert_eq!(cut[20..24], (-28_i32).to_ne_bytes());
    }
}

#[test]
fn plocks_read_as_those_of_the_c_daemon() {
    let entry = |start, node, pid, owner, waiter| TransferEntry {
        start,
        end: start + 9,
        holder: Holder { node: id(node), owner },
        pid,
        mode: Mode::Write,
        waiter,
    };
    let resource = PlockResource {
        number: 79937,
        owner: 0,
        unused_millis: 0,
        entries: vec![
            entry(20, 2, 315, 0xff11_0000_049c_0580, false),
            entry(0, 1, 623, 0xff11_0000_27dd_1600, false),
            entry(5, 3, 271, 0xff11_0000_049c_0b00, true),
        ],
        pending: Vec::new(),
    };
    let captured = exchanges("locks-plocks_fs").remove(0);
    let mut text = String::new();
    append_plocks([resource], &mut text);
    assert_eq!(text.as_bytes(), &captured.answered[HEADER_BYTES..]);
}

fn order(file: &str) -> Order {
    let exchange = exchanges(file).remove(0);
    assert_eq!(exchange.socket, "dlmc_sock");
    let (bytes, payload) = exchange.sent.split_first_chunk::<HEADER_BYTES>().unwrap();
    let (header, length) = request::header(bytes).unwrap();
    assert_eq!(length, payload.len());
    Order::parse(&header, payload).unwrap()
}

#[test]
fn commands_of_the_c_tool_are_understood() {
    assert_eq!(order("idle-fence_ack_3"), Order::FenceAck(id(3)));
    assert_eq!(order("idle-reload_config"), Order::ReloadConfig);
    let text = "plock_debug=1 ".to_owned();
    assert_eq!(order("idle-set_config_plock_debug=1"), Order::SetConfig(text));
    let command = "true ".to_owned();
    assert_eq!(order("idle-run_start_true"), Order::RunStart { command, node: None, flags: 1 });
}

//! Whole daemons on a real corosync each, with the testbed's kernels and power switch. Needs root and corosync, and the
//! programs beside this one: `tests/check/tiers/namespaces` builds them.

mod daemons;
#[path = "daemons/peer.rs"]
mod peer;
#[path = "daemons/plocks.rs"]
mod plocks;

use controld::wire;
use daemons::{join, programs, start, times, wait_for_members};
use dlm_core::message::{Message, Packet, START_HAVEPLOCK, START_JOINING};
use dlm_core::types::{ChangeSeq, GlobalId, NodeId, Version};
use peer::Peer;
use plocks::wait_for_plock;
use std::path::Path;
use std::time::Duration;
use testbed::kernel::Callback;
use testbed::lab::{Lab, PATIENCE, Turn};
use testbed::live::{Options, Sight, What};

/// A booting daemon must not be fenced while corosync forms its rings.
const SETTINGS: &str = "post_join_delay=30\n";

/// So many nodes, without daemons.
fn nodes(nodes: u32) -> Lab {
    let options = Options { nodes, seed: 1, token: Duration::from_millis(300) };
    Lab::on_corosync(programs(), options, SETTINGS).unwrap()
}

/// Three nodes with a lockspace, ready for the worst.
fn cluster() -> Lab {
    let mut lab = nodes(3);
    start(&mut lab, 3);
    for node in 1..=3 {
        assert_eq!(lab.tool(node, &["set_config", "post_join_delay=0"]).unwrap().status, Some(0));
    }
    join(&mut lab, 3, "fs");
    lab
}

/// The journal of `node` was replayed here, and the lockspace went on.
fn recovered(sights: &[Sight], here: u32, node: u32) -> bool {
    let replayed = sights.iter().position(|sight| {
        sight.node.get() == here
            && matches!(&sight.what, What::Called(_, Callback::RecoverSlot { node: failed, .. })
                if failed.get() == node)
    });
    replayed.is_some_and(|at| {
        sights.iter().skip(at).any(|sight| {
            sight.node.get() == here && matches!(sight.what, What::Called(_, Callback::RecoverDone))
        })
    })
}

fn wait_for_recovery(lab: &mut Lab, survivors: [u32; 2], failed: u32) {
    let members: String = survivors.iter().map(|node| format!("{node} ")).collect();
    for node in survivors {
        wait_for_members(lab, node, &members);
    }
    let done = |sights: &[Sight]| survivors.iter().all(|node| recovered(sights, *node, failed));
    assert!(lab.testbed().wait_until(PATIENCE, done), "{:#?}", lab.testbed().sights());
    assert_eq!(agents(lab), 1, "runs of the agent");
}

fn agents(lab: &Lab) -> usize {
    let sights = lab.testbed().sights();
    (1..=3).map(|node| times(&sights, node, |what| matches!(what, What::AgentAsks(_)))).sum()
}

/// Where the daemon may run before others at all.
#[test]
fn thread_of_corosync_runs_before_all_ordinary_load() {
    let lab = cluster();
    let allowed = !lab.tool(1, &["dump"]).unwrap().out.contains("no realtime priority: ");
    let first = if allowed { Turn::First } else { Turn::Ordinary };
    let threads = lab.daemon_threads(1).unwrap();
    let turns = ["dlm_controld", "corosync"].map(|name| threads.get(name));
    assert_eq!(turns, [Some(&first); 2], "{threads:?}");
    lab.discard();
}

#[test]
fn dead_node_is_fenced_once_and_recovered_and_comes_back() {
    let mut lab = cluster();
    lab.kill_corosync(3).unwrap();
    lab.kill_daemon(3).unwrap();
    wait_for_recovery(&mut lab, [1, 2], 3);

    lab.restart_corosync(3).unwrap();
    lab.start_daemon(3).unwrap();
    let members = |text: &str| text.matches(" M add ").count() == 3;
    lab.wait_for_tool(3, &["status"], "members", members).unwrap();
    lab.command("join 3 fs").unwrap();
    for node in 1..=3 {
        wait_for_members(&mut lab, node, "1 2 3 ");
    }
    assert_eq!(agents(&lab), 1, "nobody was fenced for coming back");
    for node in 1..=3 {
        lab.command(&format!("leave {node} fs")).unwrap();
        lab.wait_for_tool(node, &["ls"], "end of the lockspace", |text| !text.contains("name "))
            .unwrap();
        assert_eq!(lab.terminate(node).unwrap(), Some(0));
    }
    lab.discard();
}

#[test]
fn minority_of_a_partition_stays_stopped_until_it_is_fenced() {
    let mut lab = cluster();
    let before = lab.testbed().sights().len();
    lab.cut(3).unwrap();
    wait_for_recovery(&mut lab, [1, 2], 3);
    let sights = lab.testbed().sights();
    let started = sights.iter().skip(before).find(|sight| {
        sight.node.get() == 3 && matches!(sight.what, What::Called(_, Callback::RecoverDone))
    });
    assert!(started.is_none(), "{started:?}");
    // The power switch took it.
    let off = sights.iter().position(|sight| {
        sight.node.get() == 3 && matches!(&sight.what, What::PowerOff(why) if why == "fenced")
    });
    let off = off.expect("node 3 is fenced");
    let done = sights.iter().position(|sight| {
        sight.node.get() != 3
            && matches!(&sight.what, What::Called(_, Callback::RecoverSlot { .. }))
    });
    assert!(done.is_some_and(|done| off < done), "recovery before the fencing: {sights:#?}");
    lab.discard();
}

#[test]
fn dead_daemon_takes_its_node_with_it() {
    let mut lab = cluster();
    lab.kill_daemon(3).unwrap();
    wait_for_recovery(&mut lab, [1, 2], 3);
    lab.discard();
}

#[test]
fn dead_corosync_under_a_lockspace_is_recovered_by_the_others() {
    let mut lab = cluster();
    lab.kill_corosync(3).unwrap();
    wait_for_recovery(&mut lab, [1, 2], 3);
    assert_eq!(lab.daemon_ended(3).unwrap().code(), Some(0), "its cluster is gone");
    lab.discard();
}

/// Corosync runs, and the kernel has not what the daemon needs.
#[test]
fn missing_parts_of_the_kernel_are_named_with_what_to_do() {
    let lab = nodes(1);
    let run = |command: &str| {
        let said = lab.program(1, &[], Path::new("sh"), &["-c", command]).unwrap();
        assert_eq!(said.status, Some(0), "{said:?}");
    };
    let refused = |why: &str| {
        let said = lab.second_daemon(1, &["--foreground", "1"]).unwrap();
        assert!(said.status == Some(1) && said.err.matches(why).count() == 1, "{said:?}");
    };
    run("mount -t tmpfs tmpfs /sys/kernel");
    refused("No /sys/kernel/config, is configfs loaded? (modprobe configfs)");
    run("mkdir /sys/kernel/config");
    refused(
        "configfs is not mounted at /sys/kernel/config: mount -t configfs none /sys/kernel/config",
    );
    lab.discard();
}

const DAEMONS: &str = "dlm:controld";
const LOCKSPACE: &str = "dlm:ls:fs";

/// A program that the daemons of nodes 1 and 2 take for the daemon of node 3, with which they run a lockspace; and a message of it
/// that they take there.
fn peer_in_a_lockspace(lab: &mut Lab) -> (Peer, Packet) {
    start(lab, 2);
    let mut peer = Peer::start(lab, 3);
    peer.ask(&format!("join {DAEMONS}"));
    peer.say_as(DAEMONS, 1, |message| matches!(message, Message::Protocol(_)));
    join(lab, 2, "fs");
    peer.ask(&format!("join {LOCKSPACE}"));
    let start = peer.say_as(LOCKSPACE, 1, |message| {
        let Message::Start(start) = message else { return false };
        start.seq = ChangeSeq::from_wire(1);
        start.flags = start.flags & !START_HAVEPLOCK | START_JOINING;
        start.counts.started_count = 0;
        true
    });
    for node in [1, 2] {
        wait_for_members(lab, node, "1 2 3 ");
    }
    (peer, start)
}

/// Messages that no daemon sends, each with its group and the beginning of the line of the log that tells of it.
fn malformed(start: &Packet) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let in_lockspace = |message| Packet { message, ..start.clone() };
    let among_daemons = |message| Packet {
        version: Version::default(),
        global_id: GlobalId::default(),
        ..in_lockspace(message)
    };
    let of_kind = |kind, body: &[u8]| Message::Other { kind, words: [0; 3], body: body.to_vec() };
    let unknown = || of_kind(99, &[0xa5; 1 << 16]);
    let of_node_1 = |packet| Packet { sender: NodeId::new(1).unwrap(), ..packet };
    let of_version_9 = |packet| Packet { version: Version::new(9, 1, 1), ..packet };
    let of_another = |packet| Packet { global_id: GlobalId(7), ..packet };
    let daemons = [
        (
            among_daemons(of_kind(1, &[])),
            "dlm:controld: message from 3 ignored: PROTOCOL: message of 40 bytes",
        ),
        (among_daemons(of_kind(1, &[0; 32])), "receive_protocol 3 ignored: its maximum has a zero"),
        (
            among_daemons(of_kind(16, &[0xa5; 4096])),
            "dlm:controld: message from 3 ignored: RUN_REQUEST: ",
        ),
        (among_daemons(unknown()), "dlm:controld: message of unknown type 99 from 3 ignored"),
        (among_daemons(start.message.clone()), "dlm:controld: start message from 3 ignored"),
        (of_node_1(among_daemons(unknown())), "dlm:controld: bad msg nodeid 1 from 3, ignored"),
    ];
    let lockspace = [
        (
            in_lockspace(of_kind(2, &[0xa5; 40])),
            "dlm:ls:fs: message from 3 ignored: START: 2779096485 members",
        ),
        (
            in_lockspace(of_kind(3, &[0xa5; 20])),
            "dlm:ls:fs: message from 3 ignored: PLOCK: message of 60 bytes",
        ),
        (of_version_9(start.clone()), "fs reject message from 3 version 9.1.1 vs 3.1.1"),
        (of_another(start.clone()), "fs reject message from 3 for lockspace id 00000007"),
        (in_lockspace(unknown()), "fs message of unknown type 99 from 3 ignored"),
        (
            in_lockspace(of_kind(16, &[0xa5; 1064])),
            "dlm:ls:fs: message from 3 ignored: RUN_REQUEST: message of 1104 bytes",
        ),
        (of_node_1(start.clone()), "dlm:ls:fs: bad msg nodeid 1 from 3, ignored"),
    ];
    let encoded = |group, messages: &[(Packet, &'static str)]| {
        messages.iter().map(|(packet, line)| (group, wire::encode(packet), *line)).collect()
    };
    let mut all: Vec<_> = encoded(DAEMONS, &daemons);
    all.extend::<Vec<_>>(encoded(LOCKSPACE, &lockspace));
    let short = "message from 3 ignored: header: message of 10 bytes, needs 40";
    all.extend([DAEMONS, LOCKSPACE].map(|group| (group, vec![0xa5; 10], short)));
    all
}

/// Bytes of memory that a node's daemon has.
fn resident(lab: &Lab, node: u32) -> u64 {
    let said = lab.tool(node, &["--json", "status"]).unwrap();
    let state: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    state["meters"]["process"]["resident_bytes"].as_u64().unwrap()
}

/// Each is told of once, and changes nothing: the lockspace runs, its locks are given, and nothing is kept.
#[test]
fn malformed_messages_of_a_member_are_told_and_change_nothing() {
    const ROUNDS: u64 = 100;
    let mut lab = nodes(3);
    let (mut peer, start) = peer_in_a_lockspace(&mut lab);
    let lock = |lab: &Lab, owner: u64| {
        lab.command(&format!("plock 1 fs try {owner} 0 9 write {owner}")).unwrap();
        wait_for_plock(lab, 1, owner, &[0]);
    };
    lock(&lab, 1);
    let listed = [1, 2].map(|node| lab.tool(node, &["ls", "-n"]).unwrap());
    let messages = malformed(&start);
    // Far from the types that there are.
    let mut mark = 2000;
    // All of them, and one more in each group, which tells that all have been looked at.
    let mut say_all = |lab: &mut Lab, times| {
        mark += 1;
        for _ in 0..times {
            messages.iter().for_each(|(group, bytes, _)| peer.say(group, bytes));
        }
        for group in [DAEMONS, LOCKSPACE] {
            let message = Message::Other { kind: mark, words: [0; 3], body: Vec::new() };
            peer.say(group, &wire::encode(&Packet { message, ..start.clone() }));
        }
        let last = format!("message of unknown type {mark} from 3 ignored");
        let seen = |text: &str| text.matches(&last).count() == 2;
        [1, 2].map(|node| lab.wait_for_tool(node, &["dump"], &last, seen).unwrap())
    };

    for dump in say_all(&mut lab, 1) {
        for (_, _, line) in &messages {
            let of_this_kind = messages.iter().filter(|(_, _, other)| other == line).count();
            assert_eq!(dump.matches(line).count(), of_this_kind, "{line}:\n{dump}");
        }
    }
    say_all(&mut lab, ROUNDS / 5);
    let before = [1, 2].map(|node| resident(&lab, node));
    say_all(&mut lab, ROUNDS);
    for (node, before) in [1, 2].into_iter().zip(before) {
        let grown = resident(&lab, node).saturating_sub(before);
        assert!(grown < ROUNDS << 14, "node {node} has grown by {grown} bytes");
    }
    lock(&lab, 2);
    assert_eq!([1, 2].map(|node| lab.tool(node, &["ls", "-n"]).unwrap()), listed);

    peer.ask(&format!("leave {LOCKSPACE}"));
    for node in [1, 2] {
        wait_for_members(&mut lab, node, "1 2 ");
    }
    lock(&lab, 3);
    peer.ask(&format!("end {DAEMONS}"));
    peer.line("over");
    assert_eq!(agents(&lab), 0, "runs of the agent");
    lab.discard();
}

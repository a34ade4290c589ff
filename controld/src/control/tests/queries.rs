//! What is answered to the queries of the C tool and library.

use super::*;

/// An operation as the C daemon showed one, but for its name.
fn run() -> Run {
    let request = RunRequest {
        dest: None,
        start: id(1),
        flags: proto::RUN_NODE_NONE,
        uuid: RunUuid::new(b"u1").unwrap(),
        command: b"true ".to_vec(),
    };
    let counts = RunCounts { awaited: 0, replies: 2, failed: 2 };
    Run { number: 1, request: request.into(), pid: 7, result: 0, counts }
}

#[test]
fn client_reads_all_that_is_published() {
    let daemon = Daemon::start();
    let client = daemon.client();
    daemon.debug_log.append(b"15 our_nodeid 1\n");
    daemon.publish(Published {
        snapshot: Snapshot { runs: vec![run()], ..fencing_wait() },
        agents: BTreeMap::from([(id(3), 808)]),
        config: "log_debug=0\n".into(),
        zombies: 2,
        ..Published::default()
    });
    assert_eq!(client.dump_debug().unwrap(), b"15 our_nodeid 1");
    assert_eq!(client.dump_log_plock().unwrap(), b"");
    assert_eq!(client.dump_config().unwrap(), b"log_debug=0\n");
    assert_eq!(
        client.dump_run().unwrap().as_slice(),
        b"run_uuid u1 start_nodeid 1 local_pid 7 local_result 0 need_replies 0 reply_count 2 fail_count 2 flags 1\n\
          run_command true \n"
    );
    let all = client.lockspaces().unwrap();
    let names: Vec<&[u8]> = all.iter().map(proto::Lockspace::name_bytes).collect();
    assert_eq!(names, [&b"fs"[..], b"t1"]);
    assert_eq!(client.lockspace_info(b"fs").unwrap(), all[0]);
    assert_eq!(client.lockspace_info(b"fs0").unwrap_err().errno(), errno::ENOENT);
    let next = client.lockspace_nodes(b"t1", NodeList::Next, 128).unwrap();
    assert_eq!(next.entries.iter().map(|node| node.nodeid).collect::<Vec<_>>(), [1, 2]);
    assert!(client.lockspace_nodes(b"t1", NodeList::All, 2).unwrap().truncated);
    assert_eq!(client.node_info(b"fs", 3).unwrap().flags, proto::NODE_NEED_FENCING);
    let unknown = client.node_info(b"fs", 9).unwrap();
    assert_eq!(unknown, proto::Node { nodeid: 9, ..proto::Node::default() });
    let status = client.status().unwrap();
    let own = status[0].daemon().unwrap();
    assert_eq!((own.our_node, own.monotime, own.fence_pid, own.zombie_count), (1, 104, 808, 2));
    assert_eq!(status[3].node_status().unwrap().fence_actor_last, 1);
}

#[test]
fn plocks_come_from_the_driver() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let _commands = daemon.drive(|_| ());
    assert_eq!(client.dump_plocks(b"fs").unwrap().text, plock_line(0).as_bytes());
    assert_eq!(client.dump_plocks(b"t1").unwrap().result, -errno::ENOENT);
    assert_eq!(client.dump_plocks(b"a/b").unwrap().result, -errno::ENOENT);
}

/// An answer has room for 1 MiB, as the C library wants it; who asks on gets the rest.
#[test]
fn defect_66_plocks_of_a_busy_lockspace_come_whole() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let _commands = daemon.drive(|_| ());
    let first = client.dump_plocks(b"many").unwrap();
    assert_eq!(first.result, -errno::ENOSPC);
    assert!(first.text.len() <= proto::DUMP_MAX && first.text.ends_with(b"\n"));
    let all = client.all_plocks(b"many").unwrap();
    assert_eq!(all.result, 0);
    let lines = String::from_utf8(all.text).unwrap();
    assert!(lines.len() > 4 * proto::DUMP_MAX, "{}", lines.len());
    assert!(lines == (0..MANY_PLOCKS).map(plock_line).collect::<String>());
    assert_eq!(client.all_plocks(b"fs").unwrap().text, plock_line(0).as_bytes());
    assert_eq!(client.all_plocks(b"nosuch").unwrap().result, -errno::ENOENT);
}

#[test]
fn old_library_gets_no_more_lockspaces_than_its_buffer_holds() {
    let daemon = Daemon::start();
    daemon.publish(Published { snapshot: locks(), ..Published::default() });
    let one = daemon.client().lockspaces_up_to(1).unwrap();
    assert_eq!((one.entries.len(), one.truncated), (1, true));
    let both = daemon.client().lockspaces_up_to(2).unwrap();
    assert_eq!((both.entries.len(), both.truncated), (2, false));
}

#[test]
fn waits_are_shown_as_the_c_tool_knows_them() {
    let nodes = || BTreeSet::from([id(2), id(3)]);
    let shown = |wait: Option<Wait>| {
        let base = fencing_wait().lockspaces.remove(0);
        let snapshot = Snapshot { lockspaces: vec![Lockspace { wait, ..base }], ..locks() };
        let published = Published { snapshot, ..Published::default() };
        let state = Clocked { published: &published, monotime: 0 };
        let bytes = answer::state(&Query::Lockspaces { max: None }, &state).unwrap();
        let entry = proto::Lockspace::read_from_bytes(&bytes[96..]).unwrap();
        (entry.cg_next.wait_condition, entry.cg_next.wait_messages)
    };
    assert_eq!(shown(None), (0, 0));
    // Our own START and that of node 2 are missing.
    for of_this_node in [Wait::Stop, Wait::Comms(nodes()), Wait::Withdraw(nodes()), Wait::Handover]
    {
        assert_eq!(shown(Some(of_this_node)), (2, 1));
    }
    assert_eq!(shown(Some(Wait::Ring)), (1, 0));
    assert_eq!(shown(Some(Wait::Ghost(nodes()))), (1, 0));
    assert_eq!(shown(Some(Wait::Quorum)), (2, 0));
    assert_eq!(shown(Some(Wait::Fencing(nodes()))), (3, 0));
    assert_eq!(shown(Some(Wait::Starts(nodes()))), (2, 1));
}

#[test]
fn joining_lockspace_has_no_completed_change() {
    let base = lockspace(1, "fs");
    let pending = base.started.clone().map(|change| (change, Default::default()));
    let joining = Lockspace {
        joining: true,
        kernel_stopped: true,
        need_plocks: true,
        started: None,
        pending,
        ..base
    };
    let snapshot = Snapshot { lockspaces: vec![joining], ..locks() };
    let published = Published { snapshot, ..Published::default() };
    let state = Clocked { published: &published, monotime: 0 };
    let mut name = [0; 64];
    name[..2].copy_from_slice(b"fs");
    let query = Query::LockspaceInfo(EchoedName(name));
    let bytes = answer::state(&query, &state).unwrap();
    let entry = proto::Lockspace::read_from_bytes(&bytes[96..]).unwrap();
    assert_eq!((entry.flags, entry.cg_prev), (0x15, proto::Change::default()));
    let list = Some(NodeList::Members);
    let query = Query::LockspaceNodes { name: EchoedName(name), list, max: 128 };
    assert_eq!(answer::state(&query, &state).unwrap().len(), 96);
}

#[test]
fn startup_nodes_come_last_and_name_their_node() {
    let snapshot = Snapshot { startup_nodes: vec![id(2), id(3)], ..locks() };
    let daemon = Daemon::start();
    daemon.publish(Published { snapshot, ..Published::default() });
    let status = daemon.client().status().unwrap();
    let last: Vec<_> = status[4..].iter().map(|node| (node.kind(), node.node())).collect();
    assert_eq!(last, [(StatusKind::StartupNode, 2), (StatusKind::StartupNode, 3)]);
    assert_eq!(status[4].get("left_reason"), Some("unknown"));
}

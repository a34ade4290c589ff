//! The state for a joiner goes out part by part: what others have to say meanwhile need not wait for the end of it.

use crate::runner::{Run, prepared};
use dlm_core::message::Message;
use dlm_core::plock::PlocksData;
use dlm_core::types::{ChangeSeq, Group, LockspaceName, NodeId};

/// What a C daemon is sent is a message a file.
const FILES: usize = 200;
/// So many of them are on their way at most.
const ON_WAY: usize = 64;
/// Entries of one of them.
const ENTRIES: usize = 24;

/// Of messages to daemons of ours so many, with so many parts and entries each.
const BATCHES_ON_WAY: usize = 4;
const BATCH: usize = 400;

/// The founder of a lockspace, beside a C daemon, or one of ours.
fn founder(beside: &str) -> Run {
    let mut run = prepared(
        "nodes 1 2\nplock on\nplock_ownership off",
        &[
            "up 2 ring 4",
            &format!("protocol from 2 run 3.1.1 {beside}"),
            "online fs",
            "confchg fs members 1 joined 1",
        ],
    );
    for line in ["ring fs 4", "echo all", "kernel all", "echo all"] {
        run.line(line);
    }
    run
}

/// 2 joins; our own START, which is on its way, will complete the barrier.
fn joins(run: &mut Run) {
    for line in ["echo all", "confchg fs members 1 2 joined 2", "kernel all", "agree fs fresh 2"] {
        run.line(line);
    }
    run.take_shown();
}

fn data_under_way(run: &Run) -> Vec<PlocksData> {
    let data = run.under_way().filter_map(|message| match message {
        Message::PlocksData(data) => Some(data.clone()),
        _ => None,
    });
    data.collect()
}

fn end_under_way(run: &Run) -> Option<u32> {
    run.under_way().find_map(|message| match message {
        Message::PlocksDone(done) => Some(done.data_count),
        _ => None,
    })
}

#[test]
fn defect_55_parts_of_a_transfer_wait_for_each_other() {
    let mut run = founder("c");
    for number in 1..=FILES {
        run.line(&format!("plock fs lock {number} w 0-9 7/a"));
    }
    joins(&mut run);
    run.line("echo");
    let mut sent = 0;
    loop {
        let shown = run.take_shown();
        let parts = shown.iter().filter(|line| line.starts_with("send fs data")).count();
        let end = shown.iter().filter(|line| line.starts_with("send fs done")).count();
        assert!(parts == if sent == 0 { ON_WAY } else { 1 }, "{sent} sent: {shown:?}");
        sent += parts;
        assert_eq!(end, usize::from(sent == FILES), "the end comes behind all parts");
        if end > 0 {
            break;
        }
        // What others say meanwhile is carried out at once.
        run.line(&format!("said fs from 2 get {sent} r 0-9 8/b"));
        run.line("echo");
    }
    assert_eq!(sent, FILES);
}

/// A C daemon takes so many bytes in a message, and no more.
#[test]
fn locks_of_a_file_go_in_several_messages() {
    let mut run = founder("c");
    for at in 0..=ENTRIES {
        run.line(&format!("plock fs lock 5 w {at}-{at} 7/a"));
    }
    joins(&mut run);
    run.line("echo");
    let sent: Vec<(usize, bool)> = data_under_way(&run)
        .iter()
        .flat_map(|data| &data.parts)
        .map(|part| (part.entries.len(), part.continues))
        .collect();
    assert_eq!(sent, [(ENTRIES, false), (1, true)]);
}

#[test]
fn transfer_ends_with_the_last_member_that_needs_it() {
    let mut run = founder("c");
    for number in 1..=FILES {
        run.line(&format!("plock fs lock {number} w 0-9 7/a"));
    }
    joins(&mut run);
    run.line("echo");
    assert_eq!(data_under_way(&run).len(), ON_WAY);
    run.take_shown();
    run.line("confchg fs members 1 left 2");
    run.line("echo all");
    let shown = run.take_shown();
    assert!(!shown.iter().any(|line| line.starts_with("send fs data")), "{shown:?}");
}

#[test]
fn part_of_another_transfer_is_named_in_the_log() {
    let mut joiner = prepared(
        "nodes 1 2 3\nplock on\nplock_ownership off",
        &["up 2 3 ring 4", "join fs members 2 3 ring 4 off 2 3"],
    );
    joiner.line("data fs from 3 seq 71 number 5 entries w:0-9:2/7/a");
    let last = joiner.plock_log().last().map(String::as_str);
    assert_eq!(last, Some("fs recv_plocks_data 3:71 ignored: ours is to come from 2:71"));
}

/// A hundred thousand locks: no step sends more than a message, or takes in more than one has, once the transfer is under way, so
/// that other lockspaces' turn comes between any two of them; and few of them are with corosync at a time.
#[test]
fn large_transfer_takes_small_steps() {
    const MANY: usize = 10_000;
    const LOCKS: usize = 10;
    let mut run = founder("");
    for number in 1..=MANY {
        for at in 0..LOCKS {
            run.line(&format!("plock fs lock {number} w {at}-{at} 7/a"));
        }
        run.line("echo all");
    }
    joins(&mut run);
    let mut joiner = prepared(
        "nodes 1 2 3\nplock on\nplock_ownership off",
        &["up 2 3 ring 4", "join fs members 2 3 ring 4 off 2 3"],
    );
    let name = LockspaceName::new(b"fs").unwrap();
    let from = NodeId::new(2).unwrap();

    run.line("echo");
    let (mut messages, mut entries) = (0, 0);
    while end_under_way(&run).is_none() || !data_under_way(&run).is_empty() {
        let under_way = data_under_way(&run);
        assert!(under_way.len() <= BATCHES_ON_WAY, "{messages} sent before");
        if end_under_way(&run).is_none() {
            assert_eq!(under_way.len(), BATCHES_ON_WAY, "{messages} sent before");
        }
        let first = &under_way[0];
        let here: usize = first.parts.iter().map(|part| part.entries.len()).sum();
        assert!(first.parts.len() + here <= BATCH, "{} parts, {here} entries", first.parts.len());
        (messages, entries) = (messages + 1, entries + here);
        // The joiner's sender calls the change by the number of its own START.
        let data = PlocksData { seq: ChangeSeq::from_wire(71), ..first.clone() };
        joiner.deliver(Group::Lockspace(name.clone()), from, Message::PlocksData(data));
        assert_eq!(joiner.under_way().count(), 0, "a joiner only listens");
        run.line("echo");
        run.take_shown();
    }
    assert_eq!(entries, MANY * LOCKS);
    assert_eq!(end_under_way(&run), Some(messages));
    joiner.line(&format!("done fs from 2 seq 71 count {messages}"));
    let locks = |run: &Run| -> Vec<_> {
        let resources = run.core().plocks(&name).unwrap();
        resources.map(|resource| (resource.number, resource.entries)).collect()
    };
    assert!(locks(&joiner) == locks(&run), "the joiner has another state");
}

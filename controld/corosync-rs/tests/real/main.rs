//! The crate against a real corosync, in namespaces of its own. Needs root and corosync.

#![cfg(target_os = "linux")]

mod lab;

use lab::{CLUSTER_NAME, Node, one, two};
use std::collections::BTreeSet;
use std::time::Instant;

/// Lines about one group, in order.
fn about(lines: &[String], group: &str) -> Vec<String> {
    let words = |line: &&String| line.split(' ').nth(1) == Some(group);
    lines.iter().filter(words).cloned().collect()
}

/// Without the number of the ring.
fn shape(line: &str) -> String {
    line.split(' ')
        .filter(|word| !word.contains(':') || word.contains('='))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn without_corosync_the_error_names_call_and_cause() {
    let node = Node::empty();
    let mut watch = node.start(&[&lab::example().to_string_lossy()]);
    let line = watch.lines.expect("Error");
    assert!(line.contains("corosync_cfg_initialize") && line.contains("CS_ERR_LIBRARY"), "{line}");
    assert!(!watch.ended().success());
}

#[test]
fn a_join_is_told_with_its_ring_at_once_and_own_messages_come_back() {
    let node = one();
    let mut watch = node.watch();
    watch.ask("join g");
    watch.ask("send g first words");
    watch.lines.expect("message g");
    let quorum = watch.lines.expect("quorum ");
    assert!(quorum.contains("quorate=true members=[1] addresses={1: [10.99.0.1:0]}"), "{quorum}");
    watch.ask("leave g");
    watch.ask("send g nobody hears this");
    watch.ask("join g");
    watch.ask("send g again");
    watch.lines.expect("message g from=1 again");
    let told: Vec<_> = about(&watch.lines.all(), "g").iter().map(|line| shape(line)).collect();
    let joined = ["confchg g members=1 joined=1:Join left=", "ring g [1]"];
    let [confchg, ring] = joined;
    assert_eq!(
        told,
        [
            confchg,
            ring,
            "message g from=1 first words",
            "confchg g members= joined= left=1:Leave",
            confchg,
            ring,
            "message g from=1 again"
        ]
    );
    watch.ask("join g");
    let refused = watch.lines.expect("join-failed g");
    assert!(refused.contains("CS_ERR_EXIST"), "{refused}");
    watch.ask("end g");
    watch.lines.expect("over");
    assert!(watch.ended().success());
    assert_eq!(watch.lines.starting("lost"), [""; 0]);
}

#[test]
fn long_values_addresses_and_descriptors_are_right() {
    let node = one();
    let mut watch = node.watch();
    watch.ask("join g");
    watch.lines.expect("ring g");
    for (key, value) in [
        ("totem.cluster_name", format!("Some(Text({CLUSTER_NAME:?}))")),
        ("nodelist.node.0.nodeid", "Some(Unsigned(1))".to_owned()),
        ("nodelist.node.1.nodeid", "None".to_owned()),
    ] {
        watch.ask(&format!("cmap {key}"));
        assert_eq!(watch.lines.expect(&format!("cmap {key}")), format!("cmap {key} {value}"));
    }
    watch.ask("addresses 1");
    assert_eq!(watch.lines.expect("addresses 1"), "addresses 1 Ok([10.99.0.1:0])");
    watch.ask("addresses 77");
    let unknown = watch.lines.expect("addresses 77");
    assert!(unknown == "addresses 77 Ok([])" || unknown.contains("CS_ERR"), "{unknown}");
    watch.ask("descriptors");
    assert_eq!(
        watch.lines.expect("descriptors"),
        "descriptors []",
        "inherited by a program we run"
    );
}

#[test]
fn corosync_stays_when_its_shutdown_question_is_answered_no() {
    let node = one();
    let mut watch = node.watch();
    watch.lines.expect("quorum ");
    let tool = node.start(&["corosync-cfgtool", "-H"]);
    assert_eq!(watch.lines.expect("shutdown-question"), "shutdown-question Request");
    watch.ask("answer no");
    tool.lines.expect("Could not shutdown");
    // An answer to no question changes nothing.
    watch.ask("answer yes");
    watch.ask("join g");
    watch.lines.expect("ring g");
    let mut tool = node.start(&["corosync-cfgtool", "-H"]);
    watch.lines.until("second question", |lines| {
        (lines.iter().filter(|line| line.starts_with("shutdown-question")).count() == 2)
            .then_some(())
    });
    watch.ask("answer yes");
    assert!(tool.ended().success(), "{:?}", tool.lines.all());
    watch.lines.expect("lost ");
}

#[test]
fn two_hundred_groups_are_joined_at_once() {
    const GROUPS: usize = 200;
    let node = one();
    let mut watch = node.watch();
    watch.lines.expect("quorum ");
    let begin = Instant::now();
    for group in 0..GROUPS {
        watch.ask(&format!("join g{group}"));
        watch.ask(&format!("send g{group} hello"));
    }
    let count =
        |lines: &[String], start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    watch.lines.until("200 messages", |lines| (count(lines, "message g") == GROUPS).then_some(()));
    println!("{GROUPS} groups joined and used in {:?}", begin.elapsed());
    let lines = watch.lines.all();
    assert_eq!(count(&lines, "ring g"), GROUPS);
    assert_eq!(count(&lines, "lost"), 0);
    let everywhere: BTreeSet<_> = lines.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert!(everywhere.len() > GROUPS);
}

#[test]
fn both_nodes_see_one_order_of_joins_messages_and_departures() {
    let nodes = two();
    let [mut first, mut second] = [nodes[0].watch(), nodes[1].watch()];
    let quorum = second.lines.until("quorum with both", |lines| {
        lines.iter().find(|line| line.contains("members=[1, 2]")).cloned()
    });
    assert!(quorum.contains("{1: [10.99.0.1:0], 2: [10.99.0.2:0]}"), "{quorum}");
    first.ask("cmap quorum.two_node");
    let two_node = first.lines.expect("cmap quorum.two_node");
    assert_eq!(two_node, "cmap quorum.two_node Some(Unsigned(1))");
    first.ask("join g");
    first.lines.expect("ring g");
    second.ask("join g");
    second.lines.expect("ring g");
    first.lines.expect("confchg g members=1,2 joined=2:Join left=");
    for number in 0..200 {
        first.ask(&format!("send g one-{number}"));
        second.ask(&format!("send g two-{number}"));
    }
    let messages = |lines: &[String]| -> Option<Vec<String>> {
        let found: Vec<_> =
            lines.iter().filter(|line| line.starts_with("message g")).cloned().collect();
        (found.len() == 400).then_some(found)
    };
    let [here, there] = [&first, &second].map(|watch| watch.lines.until("400 messages", messages));
    assert_eq!(here, there);
    second.ask("leave g");
    first.lines.expect("confchg g members=1 joined= left=2:Leave");
    second.lines.expect("confchg g members=1 joined= left=2:Leave");
    second.ask("join g");
    second.ask("send g back");
    first.lines.expect("message g from=2 back");
    second.kill();
    first.lines.expect("confchg g members=1 joined= left=2:ProcDown");
    // Closing without a leave says the same to the others.
    let mut third = nodes[1].watch();
    third.ask("join h");
    third.lines.expect("ring h");
    first.ask("join h");
    third.lines.until("join of the other", |lines| {
        lines.iter().find(|line| line.ends_with("joined=1:Join left=")).cloned()
    });
    third.ask("drop");
    first.lines.expect("confchg h members=1 joined= left=2:ProcDown");
    third.lines.expect("over");
    // What was asked for before is still done.
    let mut fourth = nodes[1].watch();
    fourth.ask("join i");
    first.ask("join i");
    first.lines.until("both in i", |lines| {
        let both = |line: &&String| {
            line.starts_with("confchg i members=1,2") || line.starts_with("confchg i members=2,1")
        };
        lines.iter().find(both).cloned()
    });
    fourth.ask("send i goodbye");
    fourth.ask("leave i");
    fourth.ask("drop");
    fourth.lines.expect("over");
    first.lines.expect("confchg i members=1 joined= left=2:Leave");
    first.lines.expect("message i from=2 goodbye");
}

#[test]
fn the_first_group_is_never_behind_another() {
    const PAIRS: usize = 500;
    let nodes = two();
    let [mut sender, mut running, mut paused] = [&nodes[0], &nodes[1], &nodes[1]].map(Node::watch);
    for watch in [&mut running, &mut paused] {
        watch.ask("join first");
        watch.ask("join second");
        watch.lines.expect("ring second");
    }
    paused.ask("pause");
    sender.ask(&format!("alternate first second {PAIRS}"));
    let all = |lines: &[String]| -> Option<Vec<usize>> {
        let messages = lines.iter().filter(|line| line.starts_with("message "));
        let lead = messages.scan(0, |seen, line| {
            let number: usize = line.rsplit(' ').next()?.parse().ok()?;
            *seen = if line.starts_with("message first") { number + 1 } else { *seen };
            Some(seen.saturating_sub(number))
        });
        Some(lead.collect::<Vec<_>>()).filter(|lead| lead.len() == 2 * PAIRS)
    };
    // How many messages of the first group were seen beyond each message; 0 is a message before its older sibling.
    let lead = running.lines.until("all messages", all);
    assert!(lead.iter().all(|lead| *lead > 0), "{lead:?}");
    paused.ask("resume");
    let lead = paused.lines.until("all messages", all);
    assert!(lead.iter().all(|lead| *lead > 0), "{lead:?}");
    // What had come for both while nobody read is read in order of rank, not of arrival.
    assert!(lead.iter().any(|lead| *lead > PAIRS / 2), "{lead:?}");
}

#[test]
fn a_reader_that_holds_still_does_not_hold_up_sending() {
    const MESSAGES: usize = 2000;
    let nodes = two();
    let [mut still, mut other] = [nodes[0].watch(), nodes[1].watch()];
    for watch in [&mut still, &mut other] {
        watch.ask("join g");
        watch.lines.expect("ring g");
    }
    still.lines.expect("confchg g members=1,2");
    still.ask("pause");
    for number in 0..MESSAGES {
        still.ask(&format!("send g {number}"));
    }
    let all = |lines: &[String]| -> Option<Vec<String>> {
        let found: Vec<_> =
            lines.iter().filter(|line| line.starts_with("message g")).cloned().collect();
        (found.len() == MESSAGES).then_some(found)
    };
    let there = other.lines.until("every message", all);
    assert!(still.lines.starting("message g").len() < MESSAGES);
    still.ask("resume");
    assert_eq!(still.lines.until("every message", all), there);
}

#[test]
fn the_death_of_corosync_is_lost_on_its_node_and_nodedown_on_the_other() {
    let mut nodes = two();
    let [mut first, mut second] = [nodes[0].watch(), nodes[1].watch()];
    for watch in [&mut first, &mut second] {
        watch.ask("join g");
        watch.lines.expect("ring g");
    }
    first.lines.expect("confchg g members=1,2");
    let before = first.lines.starting("ring g").len();
    nodes[1].kill_corosync();
    // While the ring changes corosync takes nothing: it is tried again until it does.
    first.ask("join late");
    for number in 0..300 {
        first.ask(&format!("send g {number}"));
    }
    first.ask("send late hello");
    second.lines.expect("over");
    let lost = second.lines.starting("lost ");
    assert!(
        lost.len() == 1 && lost[0].contains("CS_ERR_LIBRARY") | lost[0].contains("hung up"),
        "{lost:?}"
    );
    assert!(second.ended().success());
    let told = first.lines.until("NODEDOWN and a new ring", |lines| {
        let told = about(lines, "g");
        let down = told.iter().position(|line| line.contains("left=2:NodeDown"))?;
        (told.len() > down + 1).then(|| told[down..].to_vec())
    });
    assert_eq!(told[0], "confchg g members=1 joined= left=2:NodeDown");
    assert!(told[1].starts_with("ring g 1:") && told[1].ends_with("[1]"), "{told:?}");
    first.lines.expect("message late from=1 hello");
    first.lines.expect("message g from=1 299");
    let numbers: Vec<_> = first.lines.starting("message g");
    let sent: Vec<_> = (0..300).map(|number| format!("message g from=1 {number}")).collect();
    assert_eq!(numbers, sent, "each once, in order");
    assert_eq!(first.lines.starting("ring g").len(), before + 1);
    first.lines.until("quorum of one", |lines| {
        lines
            .iter()
            .any(|line| line.starts_with("quorum") && line.contains("members=[1] addr"))
            .then_some(())
    });
    assert!(
        first
            .lines
            .all()
            .iter()
            .any(|line| line.starts_with("nodelist") && line.ends_with("left=[2]"))
    );
}

#[test]
fn a_node_that_is_killed_through_cfg_ends_its_corosync() {
    let mut nodes = two();
    let [mut first, mut second] = [nodes[0].watch(), nodes[1].watch()];
    for watch in [&mut first, &mut second] {
        watch.ask("join g");
        watch.lines.expect("ring g");
    }
    first.ask("kill 2");
    second.lines.expect("lost ");
    nodes[1].corosync.as_mut().expect("started").ended();
    first.lines.until("NODEDOWN", |lines| {
        lines
            .iter()
            .any(|line| line.starts_with("confchg g") && line.contains("left=2:NodeDown"))
            .then_some(())
    });
}

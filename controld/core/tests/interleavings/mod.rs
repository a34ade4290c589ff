//! Corosync's three sources have no order among themselves: whatever it is, the same must come of it.
use crate::runner::{Run, prepared};

/// All ways to merge three sequences, each in its own order.
fn interleavings(sources: &[&[&'static str]]) -> Vec<Vec<&'static str>> {
    if sources.iter().all(|source| source.is_empty()) {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        if let Some((first, rest)) = source.split_first() {
            let mut left = sources.to_vec();
            left[index] = rest;
            all.extend(interleavings(&left).into_iter().map(|mut tail| {
                tail.insert(0, *first);
                tail
            }));
        }
    }
    all
}

fn count(lines: &[String], begin: &str) -> usize {
    lines.iter().filter(|line| line.starts_with(begin)).count()
}

fn running_three() -> Run {
    prepared("us 1", &["up 2 3 ring 4", "join fs members 2 3 ring 4"])
}

fn shown(run: &mut Run, lines: &[&str]) -> Vec<String> {
    for line in lines {
        run.line(line);
    }
    run.take_shown()
}

#[test]
fn failure_starts_alike_in_every_order_of_the_three_sources() {
    let quorum = ["nodelist left 3", "quorum 1 ring 8 members 1 2"];
    let daemon = ["confchg daemon members 1 2 left 3:nodedown", "ring daemon 8"];
    let group = ["confchg fs members 1 2 left 3:nodedown", "ring fs 8"];
    let orders = interleavings(&[&quorum, &daemon, &group]);
    assert_eq!(orders.len(), 90);
    let prepared = running_three();
    for order in orders {
        let mut run = prepared.clone();
        let before = shown(&mut run, &order);
        assert_eq!(count(&before, "agent 3"), 1, "{order:?}");
        assert_eq!(count(&before, "send fs start"), 0, "{order:?}");
        assert_eq!(count(&shown(&mut run, &["kernel all"]), "send fs start"), 0, "{order:?}");
        let fenced = shown(&mut run, &["agent 3 exit 0", "echo"]);
        assert_eq!(count(&fenced, "send fs start"), 1, "{order:?}");
        let last = shown(&mut run, &["echo all", "agree fs", "state"]);
        assert_eq!(count(&last, "kernel fs start members 1 2"), 1, "{order:?}");
        let state = "fs running, started cg 2 members 1+ 2+, waits for";
        assert_eq!(count(&last, "fs running, started cg 2 members 1+ 2+"), 1, "{order:?}");
        assert_eq!(count(&last, state), 0, "{order:?}");
    }
}

/// The same with fencing switched off: the START must still wait for all three.
#[test]
fn failure_without_fencing_starts_only_after_all_three_sources() {
    let quorum = ["nodelist left 3", "quorum 1 ring 8 members 1 2"];
    let daemon = ["confchg daemon members 1 2 left 3:nodedown", "ring daemon 8"];
    let group = ["confchg fs members 1 2 left 3:nodedown", "ring fs 8"];
    let prepared = prepared("us 1\nfencing off", &["up 2 3 ring 4", "join fs members 2 3 ring 4"]);
    for order in interleavings(&[&quorum, &daemon, &group]) {
        let mut run = prepared.clone();
        for (place, line) in order.iter().enumerate() {
            let said = shown(&mut run, &[line, "kernel all"]);
            let expected = usize::from(place + 1 == order.len());
            assert_eq!(count(&said, "send fs start"), expected, "{place} of {order:?}");
        }
    }
}

/// A clean leave of one node while another fails: two changes at once in each group.
#[test]
fn leave_and_failure_start_alike_in_every_order() {
    let quorum = ["quorum 1 ring 8 members 1 2"];
    let daemon = ["confchg daemon members 1 2 left 3:nodedown", "ring daemon 8"];
    let group =
        ["confchg fs members 1 3 left 2", "confchg fs members 1 left 3:nodedown", "ring fs 8"];
    let prepared = running_three();
    for order in interleavings(&[&quorum, &daemon, &group]) {
        let mut run = prepared.clone();
        shown(&mut run, &order);
        let said = shown(&mut run, &["kernel all", "agent 3 exit 0", "echo all", "state"]);
        assert_eq!(count(&said, "kernel fs start members 1"), 1, "{order:?}");
    }
}

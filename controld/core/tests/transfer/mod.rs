//! The state for a joiner goes out part by part: what others have to say meanwhile need not wait for the end of it.

use crate::runner::prepared;

/// What a C daemon is sent is a message a file.
const FILES: usize = 200;
/// So many of them are on their way at most.
const ON_WAY: usize = 64;

#[test]
fn defect_55_parts_of_a_transfer_wait_for_each_other() {
    let mut run = prepared(
        "nodes 1 2\nplock on\nplock_ownership off",
        &[
            "up 2 ring 4",
            "protocol from 2 run 3.1.1 c",
            "online fs",
            "confchg fs members 1 joined 1",
        ],
    );
    for line in ["ring fs 4", "echo all", "kernel all", "echo all"] {
        run.line(line);
    }
    for number in 1..=FILES {
        run.line(&format!("plock fs lock {number} w 0-9 7/a"));
    }
    for line in ["echo all", "confchg fs members 1 2 joined 2", "kernel all", "agree fs fresh 2"] {
        run.line(line);
    }
    // Our own START completes the barrier.
    run.take_shown();
    run.line("echo");
    let mut sent = 0;
    loop {
        let shown = run.take_shown();
        let parts = shown.iter().filter(|line| line.starts_with("send fs data")).count();
        let end = shown.iter().filter(|line| line.starts_with("send fs done")).count();
        sent += parts;
        assert_eq!(end, usize::from(sent == FILES && parts > 0), "the end comes behind all parts");
        if end > 0 {
            break;
        }
        assert!(parts == if sent == ON_WAY { ON_WAY } else { 1 }, "{sent} sent: {shown:?}");
        // What others say meanwhile is carried out at once.
        run.line(&format!("said fs from 2 get {sent} r 0-9 8/b"));
        run.line("echo");
    }
    assert_eq!(sent, FILES);
}

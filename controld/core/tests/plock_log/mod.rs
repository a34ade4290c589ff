//! The plock log (`dlm_tool log_plock`) is that of the C daemon, to the byte.

use crate::runner::{Run, prepared};
use std::path::Path;

const OPTIONS: &str = "nodes 1 2 3\nplock on\nplock_ownership off";

/// What a C daemon had in its log, without the times.
fn of_c(place: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(place));
    let text = text.expect("a golden file");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(_, words)| words.to_string()).collect()
}

/// A lockspace is created by us; 2 joins it, then 3.
fn founded(run: &mut Run, name: &str) {
    let lines = "online LS\nconfchg LS members 1 joined 1\nring LS 4\necho all\nkernel all\n\
         confchg LS members 1 2 joined 2\nkernel all\nagree LS fresh 2\necho all\nkernel all\n\
         confchg LS members 1 2 3 joined 3\nkernel all\nagree LS fresh 3\necho all\nkernel all";
    lines.replace("LS", name).lines().for_each(|line| run.line(line));
}

/// We join it, and 3 does after us.
fn joined(run: &mut Run, name: &str) {
    let lines = "online LS\nconfchg LS members 1 2 joined 2\nring LS 4\n\
         start LS from 1 seq 2 counts 2/1/0/0 started 1 members 1 2 flags haveplock\necho all\nkernel all\n\
         done LS from 1 seq 2 count 0\nconfchg LS members 1 2 3 joined 3\nkernel all\n\
         start LS from 1 seq 3 counts 3/1/0/0 started 2 members 1 2 3 flags haveplock\n\
         start LS from 3 seq 1 counts 3/1/0/0 started 0 members 1 2 3 flags joining\necho all\nkernel all\n\
         done LS from 1 seq 3 count 0";
    lines.replace("LS", name).lines().for_each(|line| run.line(line));
}

/// The story of tests/golden/tool/README.md: what node 1 wrote, and node 2.
#[test]
fn lines_are_those_of_the_c_daemon() {
    let mut run = prepared(OPTIONS, &["up 2 3 ring 4"]);
    founded(&mut run, "t1");
    founded(&mut run, "fs");
    for line in [
        "said fs from 2 lock 79937 w 20-29 315/ff110000049c0580 wait",
        "plock fs lock 79937 w 0-9 623/ff11000027dd1600 wait",
        "echo all",
        "said fs from 3 lock 79937 w 5-14 271/ff110000049c0b00 wait",
    ] {
        run.line(line);
    }
    assert_eq!(run.plock_log(), of_c("../../tests/golden/tool/locks-log_plock/stdout"));

    let mut run = prepared(&format!("us 2\n{OPTIONS}"), &["up 1 3 ring 4"]);
    joined(&mut run, "t1");
    joined(&mut run, "fs");
    for line in [
        "plock fs lock 79937 w 20-29 315/ff110000049c0580 wait",
        "echo all",
        "said fs from 1 lock 79937 w 0-9 623/ff11000027dd1600 wait",
        "said fs from 3 lock 79937 w 5-14 271/ff110000049c0b00 wait",
    ] {
        run.line(line);
    }
    assert_eq!(run.plock_log(), of_c("tests/plock_log/joiner.txt"));
}

//! The end of a node costs what it removes, however many files others have locked: it is a step like any other, and other
//! lockspaces wait for it.

use crate::runner::{Run, prepared};
use crate::spread::timed;
use std::time::Duration;

const FEW: u64 = 1_000;
const MANY: u64 = 32 * FEW;
/// A walk over all takes some thirty times as long.
const GROWTH_MAX: u32 = 8;
/// Files of the node that ends, among the others.
const OF_LEAVER: u64 = 200;
const ROUNDS: usize = 3;

/// Node 2 has locked so many files, and node 3 some of its own.
fn locked(files: u64) -> Run {
    let mut run = prepared(
        "nodes 1 2 3\nplock on\nplock_ownership off",
        &["up 2 3 ring 4", "join fs members 2 3 ring 4 off 2 3", "done fs from 2 seq 71 count 0"],
    );
    for number in 0..files {
        run.line(&format!("said fs from 2 lock {} w 0-9 7/a", 2 * number + 2));
    }
    for number in 0..OF_LEAVER {
        let number = number * files / OF_LEAVER * 2 + 1;
        run.line(&format!("said fs from 3 lock {number} w 0-9 8/b"));
    }
    run
}

/// What it takes beside an event that is about no lock: a debug build looks at all of the state behind each.
fn end_of_a_node(run: &Run) -> Duration {
    let least = |line: &str, says: &str| {
        let once = |_| {
            let mut run = run.clone();
            let time = timed(|| run.line(line));
            assert!(says.is_empty() || run.plock_log().iter().any(|said| said == says));
            time
        };
        (0..ROUNDS).map(once).min().unwrap()
    };
    let purged = format!("fs purged {OF_LEAVER} plocks for 3");
    let end = least("confchg fs members 1 2 left 3:nodedown", &purged);
    end.saturating_sub(least("ring fs 4", ""))
}

#[test]
fn end_of_a_node_costs_what_it_removes() {
    let (few, many) = (end_of_a_node(&locked(FEW)), end_of_a_node(&locked(MANY)));
    let few = few.max(Duration::from_micros(500));
    println!("{few:?} with {FEW} files of others, {many:?} with {MANY}");
    assert!(many < few * GROWTH_MAX, "{few:?} with {FEW} files of others, {many:?} with {MANY}");
}

//! A part without quorum whose network flaps for hours: what it remembers of that has a bound.

use crate::runner::{Run, prepared};
use dlm_core::types::NodeId;

/// Node 2 is lost and comes back, so many times. Returns the size of the largest state on the way, as text.
fn flap(run: &mut Run, times: u64, from_ring: u64) -> usize {
    let mut largest = 0;
    for ring in (from_ring..).step_by(8).take(times.try_into().expect("a few")) {
        let back = ring + 4;
        for line in [
            format!("quorum 0 ring {ring} members 1"),
            "confchg daemon members 1 left 2:nodedown".to_owned(),
            format!("ring daemon {ring}"),
            "kernel all".to_owned(),
            format!("quorum 0 ring {back} members 1 2"),
            "confchg daemon members 1 2 joined 2:nodeup".to_owned(),
            format!("ring daemon {back}"),
            "kernel all".to_owned(),
            "echo none".to_owned(),
        ] {
            run.line(&line);
        }
        run.take_shown();
        largest = largest.max(format!("{:?}", run.core()).len());
    }
    largest
}

#[test]
fn part_that_flaps_makes_up_for_what_it_forgets() {
    let mut run = prepared(
        "us 1\nnodes 1 2 3 4 5 6 7",
        &[
            "up 2 3 4 5 ring 4",
            "quorum 0 ring 8 members 1 2",
            "confchg daemon members 1 2 left 3:nodedown 4:nodedown 5:nodedown",
            "ring daemon 8",
            "kernel all",
        ],
    );
    let few = flap(&mut run, 200, 100_000);
    assert!(run.snapshot().startup_nodes.is_empty());
    let many = flap(&mut run, 400, 110_000);
    assert!(many > few);
    let more = flap(&mut run, 600, 120_000);
    assert!(more <= many + many / 100, "{more} after {many}");
    // The others are victims, or there.
    let due = [6, 7].map(|number| NodeId::new(number).expect("not 0"));
    assert_eq!(run.snapshot().startup_nodes, due);
}

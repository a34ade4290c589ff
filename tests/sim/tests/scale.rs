//! What a death and a join cost grows as START's M messages of 72 + 4 M bytes a lockspace, and no faster.

use dlm_sim::scale::{Peers, Row, measure};
use std::time::Duration;

/// A START of so many members.
const fn start(members: u64) -> u64 {
    72 + 4 * members
}

fn row(nodes: u32, lockspaces: u32) -> Row {
    measure(nodes, lockspaces, Peers::Mirrored).unwrap()
}

/// The least of three, as other work on the machine only adds.
fn times(nodes: u32, lockspaces: u32) -> (Duration, Duration) {
    let rows = [(); 3].map(|()| row(nodes, lockspaces));
    let least = |cost: fn(&Row) -> Duration| rows.iter().map(cost).min().unwrap();
    (least(|row| row.death.core), least(|row| row.join.core))
}

#[test]
fn a_death_is_one_start_a_member_and_the_locks_of_each_lockspace_and_one_result() {
    for (nodes, lockspaces) in [(3, 1), (3, 20), (8, 5), (32, 2)] {
        let death = row(nodes, lockspaces).death;
        let left = u64::from(nodes) - 1;
        // PLOCKS_DONE of the lowest node is as long as a START.
        let long = (left + 1) * u64::from(lockspaces);
        assert_eq!(death.messages, long + 1, "{nodes} nodes, {lockspaces} lockspaces");
        // FENCE_RESULT of the one actor.
        assert_eq!(death.bytes, long * start(left) + 1064, "{nodes} nodes, {lockspaces}");
    }
}

#[test]
fn a_join_is_one_start_a_member_and_the_locks_of_each_lockspace() {
    for (nodes, lockspaces) in [(3, 1), (3, 20), (8, 5), (32, 2)] {
        let (one, more) = (row(nodes, 1).join, row(nodes, 1 + lockspaces).join);
        let members = u64::from(nodes);
        let lockspaces = u64::from(lockspaces);
        assert_eq!(more.messages - one.messages, lockspaces * (members + 1), "{nodes} nodes");
        assert_eq!(more.bytes - one.bytes, lockspaces * (members + 1) * start(members));
        // The daemons' own: a PROTOCOL or two of each, and the word that lets the joiner go on.
        let own = one.messages - (members + 1);
        assert!(own <= 2 * members + 4, "{own} messages of {nodes} daemons");
    }
}

#[test]
fn mirrored_nodes_cost_what_real_ones_do() {
    for nodes in [3, 4, 7] {
        let counts = |peers| {
            let row = measure(nodes, 3, peers).unwrap();
            [row.death, row.join].map(|cost| (cost.messages, cost.bytes))
        };
        assert_eq!(counts(Peers::Real), counts(Peers::Mirrored), "{nodes} nodes");
    }
}

/// With room for other work on the machine; what this is to find grows by ten times more.
#[test]
fn core_time_is_linear_in_lockspaces() {
    let (few, many) = (times(4, 50), times(4, 500));
    for (few, many) in [(few.0, many.0), (few.1, many.1)] {
        assert!(many < few * 30, "50 lockspaces {few:?}, 500 lockspaces {many:?}");
    }
}

#[test]
fn core_time_is_within_the_square_of_the_members() {
    let (few, many) = (times(8, 4), times(64, 4));
    for (few, many) in [(few.0, many.0), (few.1, many.1)] {
        assert!(many < few * (8 * 8 * 2), "8 nodes {few:?}, 64 nodes {many:?}");
    }
}

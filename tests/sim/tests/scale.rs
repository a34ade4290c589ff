//! What a death and a join cost grows as START's M messages of 72 + 4 M bytes a lockspace, and no faster.

use dlm_sim::scale::{Peers, Row, Traffic, measure};
use std::time::Duration;

/// What the core's time may grow by, beyond what it has to: caches, and other work on the machine.
const ROOM: f64 = 1.5;

fn row(nodes: u32, lockspaces: u32) -> Row {
    measure(nodes, lockspaces, Peers::Mirrored).unwrap()
}

#[test]
fn messages_and_bytes_are_those_of_the_formula() {
    for (nodes, lockspaces) in [(3, 1), (3, 20), (4, 1), (8, 5), (13, 3), (32, 2), (128, 1)] {
        assert_eq!(row(nodes, lockspaces).beside_formula(), None);
    }
}

#[test]
fn formula_counts_a_start_of_each_member_and_what_goes_with_it() {
    let row = row(3, 2);
    // Two STARTs and the PLOCKS_DONE for each lockspace, and the FENCE_RESULT.
    let death = Traffic { messages: 7, bytes: 6 * (72 + 8) + 1064 };
    assert_eq!(row.death_by_formula(), death);
    // Three STARTs and the PLOCKS_DONE, four PROTOCOLs and the FENCE_CLEAR.
    let join = Traffic { messages: 13, bytes: 8 * (72 + 12) + 4 * 72 + 1064 };
    assert_eq!(row.join_by_formula(), join);
    let mut more = row;
    more.join.messages += 1;
    let text = more.beside_formula().unwrap();
    assert!(text.starts_with("3 nodes, 2 lockspaces: a join took"), "{text}");
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

/// How many times as much of a core's time the larger cluster takes, for a death and for a join. Other work on the machine
/// only adds: of some runs of both in turn the least counts, until that is within these bounds.
fn assert_growth(small: Row, large: Row, bounds: [f64; 2]) {
    let mut least = [[Duration::MAX; 2]; 2];
    let mut growth = [f64::INFINITY; 2];
    for _ in 0..20 {
        for (least, size) in least.iter_mut().zip([small, large]) {
            let Row { death, join, .. } = row(size.nodes, size.lockspaces);
            *least = [least[0].min(death.core), least[1].min(join.core)];
        }
        let [small, large] = least;
        growth = [0, 1].map(|what| large[what].as_secs_f64() / small[what].as_secs_f64());
        if growth[0] < bounds[0] && growth[1] < bounds[1] {
            return;
        }
    }
    panic!("{growth:?} times, more than {bounds:?}; of {small:?} to {large:?}");
}

#[test]
fn core_time_is_linear_in_lockspaces() {
    assert_growth(row(4, 50), row(4, 500), [10.0 * ROOM; 2]);
}

#[test]
fn core_time_grows_as_bytes_do_with_the_members() {
    let (few, many) = (row(8, 4), row(64, 4));
    let times = |few: Traffic, many: Traffic| {
        let [few, many] = [few, many].map(|of| u32::try_from(of.bytes).map(f64::from).unwrap());
        many / few * ROOM
    };
    let death = times(few.death_by_formula(), many.death_by_formula());
    let join = times(few.join_by_formula(), many.join_by_formula());
    assert_growth(few, many, [death, join]);
}

//! Small searches, whole.

use dlm_core::Core;
use dlm_model::search::{Bounds, Found, search};
use dlm_model::state::{Fault, State};
use std::time::Duration;
use testbed::harness::MakeBrain;

/// Ten times what the searches take on a slow machine.
const BOUNDS: Bounds = Bounds { states: 100_000, time: Duration::from_secs(300) };

fn look(nodes: u32, faults: &[Fault], brains: MakeBrain) -> Found {
    search(&State::begin(nodes, faults, brains).unwrap(), BOUNDS)
}

fn real() -> MakeBrain {
    Box::new(|setup| Box::new(Core::new(setup)))
}

#[test]
fn two_nodes_keep_every_promise_in_every_order() {
    for fault in [Fault::Crash, Fault::Kill, Fault::Leave] {
        let found = look(2, &[fault], real());
        assert_eq!(found.broken, None, "{fault}");
        assert!(found.complete && found.states > 50 && found.well > 0, "{fault}: {found:?}");
    }
}

#[test]
fn a_search_that_reaches_its_bound_says_so() {
    let first = State::begin(2, &[Fault::Crash], real()).unwrap();
    let found = search(&first, Bounds { states: 10, ..BOUNDS });
    assert!(!found.complete && found.states >= 10, "{found:?}");
}

#[test]
fn a_search_is_the_same_each_time() {
    assert_eq!(look(2, &[Fault::Kill], real()), look(2, &[Fault::Kill], real()));
}

//! Small searches, whole.

use dlm_core::Core;
use dlm_model::search::{Bounds, Found, search};
use dlm_model::state::{Fault, Grain, State};
use std::time::Duration;
use testbed::harness::MakeBrain;

/// Ten times what the searches take on a slow machine.
const BOUNDS: Bounds = Bounds { states: 100_000, time: Duration::from_secs(300), depth: None };

fn look(nodes: u32, faults: &[Fault], brains: MakeBrain) -> Found {
    search(&State::begin(nodes, faults, Grain::Event, brains).unwrap(), BOUNDS)
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
    let first = State::begin(2, &[Fault::Crash], Grain::Event, real()).unwrap();
    let found = search(&first, Bounds { states: 10, ..BOUNDS });
    assert!(!found.complete && found.states >= 10, "{found:?}");
}

#[test]
fn a_search_is_the_same_each_time() {
    assert_eq!(look(2, &[Fault::Kill], real()), look(2, &[Fault::Kill], real()));
}

/// What is seen by queues is part of what is seen by events.
#[test]
fn whole_queues_are_fewer_states_and_no_other_promises() {
    let by = |grain| search(&State::begin(2, &[Fault::Crash], grain, real()).unwrap(), BOUNDS);
    let (fine, coarse) = (by(Grain::Event), by(Grain::Queue));
    assert_eq!(coarse.broken, None);
    assert!(coarse.complete && coarse.states > 50 && coarse.states < fine.states, "{coarse:?}");
}

#[test]
fn a_bound_of_depth_is_told_and_loses_nothing_above_it() {
    let to = |depth| {
        let first = State::begin(2, &[Fault::Crash], Grain::Event, real()).unwrap();
        search(&first, Bounds { depth, ..BOUNDS })
    };
    let all = to(None);
    assert!(all.complete && !all.cut_off);
    let (some, more) = (to(Some(8)), to(Some(12)));
    assert!(some.complete && some.cut_off && some.broken.is_none(), "{some:?}");
    assert!(some.states < more.states && more.states < all.states, "{some:?} {more:?}");
    // No way is longer than the longest: nothing is left out.
    let whole = to(Some(all.depth));
    assert_eq!((whole.states, whole.cut_off), (all.states, false));
}

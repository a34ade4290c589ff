//! POSIX locks that a test asks a daemon for.

use dlm_core::effect::Effect;
use testbed::lab::{Lab, PATIENCE};
use testbed::live::{Sight, What};

/// The results that a node's daemon has written, by owner.
pub(crate) fn plock_results(sights: &[Sight], node: u32, owner: u64) -> Vec<i32> {
    let of_node = sights.iter().filter(|sight| sight.node.get() == node);
    let results = of_node.filter_map(|sight| match &sight.what {
        What::Asked(Effect::PlockResult(info)) if info.owner == owner => Some(info.result),
        _ => None,
    });
    results.collect()
}

pub(crate) fn wait_for_plock(lab: &Lab, node: u32, owner: u64, results: &[i32]) {
    let there = |sights: &[Sight]| plock_results(sights, node, owner) == results;
    assert!(lab.testbed().wait_until(PATIENCE, there), "{:#?}", lab.testbed().sights());
}

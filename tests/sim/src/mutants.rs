//! Deliberate defects of the core: each must break a promise on some seed.

use crate::plan::{Plan, Shape};
use crate::storm::{Story, run};
use dlm_core::Core;
use dlm_core::mutants::Mutant;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seeds that come first: each shows a defect that takes tens of thousands of seeds to be met by chance, a daemon that hangs
/// at the wrong moment or a node that comes back with its state.
const RARE: [u64; 3] = [991_000_000_009_445, 993_000_000_042_146, 993_000_000_070_638];

/// What became of one mutant.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// Which.
    pub mutant: Mutant,
    /// Seeds run, the one that broke a promise included.
    pub seeds: u64,
    /// The one that broke it was of faults that are aimed.
    pub aimed: bool,
    /// What it broke; `None`: it survived.
    pub broken: Option<String>,
}

/// Run each of `mutants` on `seeds` seeds at most, from `first` on, on `jobs` threads.
#[must_use]
pub fn hunt(mutants: &[Mutant], first: u64, seeds: u64, jobs: usize) -> Vec<Hunt> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let hunt = hunt_one(*mutant, first, seeds);
                    if let Ok(mut found) = found.lock() {
                        found.push(hunt);
                    }
                }
            });
        }
    });
    let mut hunts = found.into_inner().unwrap_or_default();
    // In the order of the list, whichever thread was done first.
    hunts.sort_by_key(|hunt| mutants.iter().position(|mutant| *mutant == hunt.mutant));
    hunts
}

fn hunt_one(mutant: Mutant, first: u64, seeds: u64) -> Hunt {
    let fresh = (0..seeds).map(|number| first.wrapping_add(number));
    for (number, seed) in (1_usize..).zip(RARE.into_iter().chain(fresh)) {
        // By turns any faults, and faults that are aimed.
        let aimed = number > RARE.len() && number.is_multiple_of(2);
        let withdraws = matches!(mutant, Mutant::WithdrawAtOnce | Mutant::RecoverAsLeave);
        let plan = Plan::draw(seed, Shape { aimed, withdraws, ..Shape::default() });
        let brain: testbed::harness::MakeBrain =
            Box::new(move |setup| Box::new(Core::mutated(setup, mutant)));
        let broken = run(&plan, Story::Silent, brain).broken;
        // The defect's doing alone.
        let sound = || run(&plan, Story::Silent, crate::campaign::real()).broken.is_none();
        if let Some(broken) = broken.filter(|_| sound()) {
            let seeds = u64::try_from(number).unwrap_or(u64::MAX);
            return Hunt { mutant, seeds, aimed, broken: Some(broken) };
        }
    }
    Hunt { mutant, seeds, aimed: false, broken: None }
}

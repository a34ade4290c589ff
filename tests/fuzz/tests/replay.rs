//! The seeds, whole, cut and changed, and all inputs that once broke something: what a fuzzer would call, called by an
//! ordinary test.

use dlm_fuzz::{TARGETS, Target, seeds::seeds};
use std::path::Path;
use testbed::random::Random;

/// Changed copies of each seed.
const CHANGED: u32 = 40;

/// Names the input when the target panics.
struct Named<'a>(&'a Target, &'a [u8]);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("target {}, input {hex}", self.0.name);
        }
    }
}

fn give(target: &Target, input: &[u8]) {
    let _named = Named(target, input);
    (target.run)(input);
}

#[test]
fn every_target_takes_its_seeds_whole_cut_and_changed() {
    let mut random = Random::new(1);
    for target in TARGETS {
        let seeds = seeds(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for seed in &seeds {
            give(target, seed);
            // Long ones are zeros for the most part.
            let step = (seed.len() / 100).max(1);
            for length in (0..seed.len()).step_by(step) {
                give(target, &seed[..length]);
            }
            for _ in 0..CHANGED {
                let mut changed = seed.clone();
                for _ in 0..random.between(1, 6) {
                    let last = u64::try_from(changed.len()).unwrap().saturating_sub(1);
                    let place = usize::try_from(random.between(0, last)).unwrap();
                    changed[place] = u8::try_from(random.between(0, 255)).unwrap();
                }
                give(target, &changed);
            }
        }
    }
}

/// Files below `regressions/TARGET`, put there with the fix of what they broke.
#[test]
fn what_broke_something_once_does_not_any_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    for of_target in std::fs::read_dir(folder).into_iter().flatten() {
        let of_target = of_target.unwrap();
        let name = of_target.file_name();
        let target = TARGETS.iter().find(|target| target.name == name);
        assert!(target.is_some(), "{} is of no target", of_target.path().display());
        for file in std::fs::read_dir(of_target.path()).unwrap() {
            let input = std::fs::read(file.unwrap().path()).unwrap();
            target.into_iter().for_each(|target| give(target, &input));
        }
    }
}

/// A seed that never gets a lockspace started would find little.
#[test]
fn the_scripts_of_the_core_reach_a_running_lockspace() {
    let reached = seeds("core").iter().filter(|seed| dlm_fuzz::starts_of(seed) > 0).count();
    assert!(reached > 0, "no script starts a lockspace");
    let again = seeds("core").iter().filter(|seed| dlm_fuzz::starts_of(seed) > 1).count();
    assert!(again > 0, "no script starts one again after a failure");
}

//! A failing run made short: steps are left out as long as the same promise still breaks.

use crate::plan::Plan;
use crate::storm::Outcome;
use std::time::{Duration, Instant};

/// After so many tries the story is short enough.
const TRIES: u32 = 600;
/// Nor is it made shorter for longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// The shortest plan found that still breaks what `outcome` broke.
pub fn shrink(plan: &Plan, outcome: &Outcome, run: impl Fn(&Plan) -> Outcome) -> Plan {
    let begin = Instant::now();
    let mut best = plan.clone();
    let mut tries = 0;
    let mut chunk = best.steps.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        let mut shorter = false;
        while from < best.steps.len() {
            tries += 1;
            if tries > TRIES || begin.elapsed() > PATIENCE {
                return best;
            }
            let mut candidate = best.clone();
            candidate.steps.drain(from..(from + chunk).min(best.steps.len()));
            if run(&candidate).kind() == outcome.kind() {
                best = candidate;
                shorter = true;
            } else {
                from += chunk;
            }
        }
        if chunk > 1 || !shorter {
            chunk /= 2;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::plan::Shape;

    #[test]
    fn only_what_breaks_the_promise_is_left() {
        let plan = Plan::draw(3, Shape::default());
        let run = |plan: &Plan| {
            let crashes = plan.steps.iter().any(|step| step.fault == Fault::Join(1, "ls".into()));
            let last = plan.steps.iter().any(|step| step.number == 9);
            let broken = (crashes && last).then(|| "promise 2: x".to_owned());
            Outcome { broken, recoveries: 0, seconds: 0, harm: 0, story: String::new() }
        };
        let numbers: Vec<_> =
            shrink(&plan, &run(&plan), run).steps.iter().map(|step| step.number).collect();
        assert_eq!(numbers, [1, 9]);
    }
}

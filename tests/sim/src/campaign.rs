//! Many seeds on all cores, with a line that shows how far it has come.

#[cfg(feature = "mutants")]
use crate::c_peer::mixed;
use crate::plan::{Plan, Shape};
use crate::shrink::shrink;
use crate::storm::{Outcome, Story, run};
use dlm_core::Core;
use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use testbed::harness::MakeBrain;

/// Failing seeds that are told before the campaign gives up.
const FAILURES_TOLD: usize = 3;
/// Lines of a broken run's story that are shown.
const STORY_LINES: usize = 40;
/// Characters of the bar.
const BAR: u64 = 30;

thread_local! {
    /// The seed that this thread runs: a panic names it.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed; the others follow it.
    pub first: u64,
    /// At most so many.
    pub seeds: u64,
    /// No new one is begun after this time.
    pub limit: Option<Duration>,
    /// Threads.
    pub jobs: usize,
    /// Fixed by the user.
    pub shape: Shape,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Seeds run.
    pub seeds: u64,
    /// Recoveries of lockspaces.
    pub recoveries: u64,
    /// Virtual seconds.
    pub seconds: u64,
    /// What lies about fencing have led to.
    pub harm: u64,
    /// Those that broke a promise, with what they broke.
    pub failures: Vec<(u64, Outcome)>,
}

/// The real decisions.
#[must_use]
pub fn real() -> MakeBrain {
    Box::new(|setup| Box::new(Core::new(setup)))
}

/// The decisions of a plan's daemons.
#[must_use]
pub fn brains(plan: &Plan) -> MakeBrain {
    mixed(&plan.c_nodes).unwrap_or_else(real)
}

/// No plan has daemons like the C daemon.
#[cfg(not(feature = "mutants"))]
fn mixed(_: &[u32]) -> Option<MakeBrain> {
    None
}

/// One seed, without its story.
#[must_use]
pub fn run_seed(seed: u64, shape: Shape) -> Outcome {
    SEED.set(seed);
    let plan = Plan::draw(seed, shape);
    run(&plan, Story::Silent, brains(&plan))
}

/// Name the seed of a run that panics.
pub fn name_seed_in_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("\nin the run of seed {}: make sim SEED={0}", SEED.get());
        usual(panic);
    }));
}

impl Campaign {
    /// Run it.
    pub fn run(&self) -> Tally {
        let begin = Instant::now();
        let next = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let (report, reports) = mpsc::channel();
        let mut tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                let (report, next, stop) = (report.clone(), &next, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed)
                        && self.limit.is_none_or(|limit| begin.elapsed() < limit)
                    {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.seeds {
                            break;
                        }
                        let seed = self.first.wrapping_add(number);
                        if report.send((seed, run_seed(seed, self.shape))).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(report);
            let mut progress = Progress::new(self, begin);
            for (seed, outcome) in reports {
                tally.seeds += 1;
                tally.recoveries += outcome.recoveries;
                tally.seconds += outcome.seconds;
                tally.harm += outcome.harm;
                if outcome.broken.is_some() {
                    tally.failures.push((seed, outcome));
                    stop.store(tally.failures.len() >= FAILURES_TOLD, Ordering::Relaxed);
                }
                progress.show(&tally);
            }
            progress.end(&tally);
        });
        tally.failures.sort_by_key(|(seed, _)| *seed);
        tally
    }

    /// How `make sim` repeats a plan.
    #[must_use]
    pub fn command(&self, plan: &Plan, whole: bool) -> String {
        command(plan, self.shape, whole)
    }
}

/// How `make sim` repeats a plan.
#[must_use]
pub fn command(plan: &Plan, shape: Shape, whole: bool) -> String {
    let mut text = format!("make sim SEED={}", plan.seed);
    if let Some(nodes) = shape.nodes {
        let _ = write!(text, " NODES={nodes}");
    }
    if let Some(lockspaces) = shape.lockspaces {
        let _ = write!(text, " LOCKSPACES={lockspaces}");
    }
    if let Some(locks) = shape.locks {
        let _ = write!(text, " LOCKS={locks}");
    }
    if let Some(rare) = shape.rare {
        let _ = write!(text, " RARE={rare}");
    }
    if shape.withdraws {
        text.push_str(" WITHDRAWS=1");
    }
    if shape.aimed {
        text.push_str(" AIMED=1");
    }
    if shape.lies {
        text.push_str(" LIES=1");
    }
    if shape.c_peers {
        text.push_str(" C_PEERS=1");
    }
    if !whole {
        let numbers: Vec<String> = plan.steps.iter().map(|step| step.number.to_string()).collect();
        let _ = write!(text, " KEEP={}", numbers.join(","));
    }
    text
}

/// A failing seed as a short story, with the command that tells it again.
#[must_use]
pub fn tell_failure(seed: u64, shape: Shape, outcome: &Outcome) -> String {
    let plan = Plan::draw(seed, shape);
    let short = shrink(&plan, outcome, |plan| run(plan, Story::Silent, brains(plan)));
    let told = run(&short, Story::Told, brains(&short));
    let mut text =
        format!("BROKEN: {}\n  {}\n", told.broken.as_deref().unwrap_or("nothing"), plan.title());
    let _ = writeln!(text, "  shortened from {} steps to {}:", plan.steps.len(), short.steps.len());
    for step in &short.steps {
        let _ = writeln!(text, "    {:3}. {}; then {} ms", step.number, step.fault, step.pause);
    }
    let lines: Vec<&str> = told.story.lines().collect();
    let from = lines.len().saturating_sub(STORY_LINES);
    let _ = writeln!(text, "  the last {} of {} lines:", lines.len() - from, lines.len());
    for line in lines.iter().skip(from) {
        let _ = writeln!(text, "    {line}");
    }
    let _ = writeln!(text, "  again:     {}", command(&short, shape, false));
    let _ = writeln!(text, "  all of it: {}", command(&plan, shape, true));
    text
}

/// The line that shows how far a campaign has come: redrawn on a terminal, one every ten seconds elsewhere.
struct Progress {
    begin: Instant,
    last: Instant,
    seeds: u64,
    limit: Option<Duration>,
    redrawn: bool,
}

impl Progress {
    fn new(campaign: &Campaign, begin: Instant) -> Self {
        let redrawn = std::io::stderr().is_terminal();
        Self { begin, last: begin, seeds: campaign.seeds, limit: campaign.limit, redrawn }
    }

    fn show(&mut self, tally: &Tally) {
        let every = if self.redrawn { Duration::from_millis(100) } else { Duration::from_secs(10) };
        if self.last.elapsed() >= every {
            self.last = Instant::now();
            self.draw(tally);
        }
    }

    fn draw(&self, tally: &Tally) {
        let line = progress_line(tally, self.begin.elapsed(), self.seeds, self.limit);
        let mut err = std::io::stderr().lock();
        // Nobody is there to read it: no reason to stop.
        let _ = if self.redrawn {
            write!(err, "\r{line}\x1b[K").and_then(|()| err.flush())
        } else {
            writeln!(err, "{line}")
        };
    }

    fn end(&self, tally: &Tally) {
        if self.redrawn {
            self.draw(tally);
            eprintln!();
        }
    }
}

fn progress_line(tally: &Tally, elapsed: Duration, seeds: u64, limit: Option<Duration>) -> String {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = tally.seeds.saturating_mul(1000) / millis;
    let by_seeds =
        (seeds - tally.seeds.min(seeds)).saturating_mul(millis) / tally.seeds.max(1) / 1000;
    let by_time = limit.map(|limit| limit.saturating_sub(elapsed).as_secs());
    let left = by_time.map_or(by_seeds, |time| time.min(by_seeds));
    let done_by_time = limit.map_or(0, |limit| {
        BAR.saturating_mul(millis) / u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1)
    });
    let done = (BAR.saturating_mul(tally.seeds) / seeds.max(1)).max(done_by_time).min(BAR);
    let bar: String = (0..BAR).map(|place| if place < done { '#' } else { '.' }).collect();
    format!(
        "[{bar}] {} of {seeds} seeds, {rate}/s, {} recoveries, {} broken, {left} s left",
        tally.seeds,
        tally.recoveries,
        tally.failures.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_names_rate_and_rest() {
        let tally = Tally { seeds: 50, recoveries: 700, ..Tally::default() };
        assert_eq!(
            progress_line(&tally, Duration::from_secs(5), 100, None),
            "[###############...............] 50 of 100 seeds, 10/s, 700 recoveries, 0 broken, 5 s left"
        );
        let soon = progress_line(&tally, Duration::from_secs(5), 100, Some(Duration::from_secs(6)));
        assert!(soon.ends_with("1 s left"), "{soon}");
    }

    #[test]
    fn a_failure_is_told_with_the_command_that_repeats_it() {
        let shape = Shape { nodes: Some(3), ..Shape::default() };
        let plan = Plan::draw(9, shape);
        assert_eq!(command(&plan, shape, true), "make sim SEED=9 NODES=3");
        assert_eq!(
            command(&plan.keeping(&[1, 4]), shape, false),
            "make sim SEED=9 NODES=3 KEEP=1,4"
        );
    }
}

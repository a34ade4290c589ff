//! Runs scenarios: boots what they want, shares boots, reports, keeps evidence of failures.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Scenario, UnderTest};
use crate::cluster::Cluster;
use crate::options::Options;
use crate::state::State;
use crate::time::HostTime;

/// What a scenario came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The promise was kept.
    Passed,
    /// The promise was kept, but not at the first attempt: emulated machines on a busy host miss deadlines.
    PassedLater,
    /// It was not, or the cluster could not be booted.
    Failed,
    /// The scenario has no meaning with the binaries under test.
    Skipped,
}

/// All outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    outcomes: Vec<Outcome>,
}

impl Report {
    /// How many scenarios came to this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.iter().filter(|found| **found == outcome).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let later = self.count(Outcome::PassedLater);
        if later > 0 {
            writeln!(out, "{later} of these passed only when tried again; their evidence is kept")?;
        }
        let passed = self.count(Outcome::Passed) + later;
        let failed = self.count(Outcome::Failed);
        let skipped = self.count(Outcome::Skipped);
        write!(out, "{passed} passed, {failed} failed")?;
        if skipped > 0 {
            write!(out, ", {skipped} skipped")?;
        }
        Ok(())
    }
}

/// Runs scenarios one after the other, printing each as it ends. One that fails is run again on a fresh cluster until it
/// has had its `attempts`; the first failure's evidence stays. Errors are those of the harness's own files; a cluster that
/// does not boot is a failed scenario.
pub fn run(
    state: &State,
    under_test: &UnderTest,
    scenarios: &[Scenario],
    attempts: u32,
) -> Result<Report> {
    let mut report = Report::default();
    let mut cluster: Option<Cluster> = None;
    for scenario in scenarios {
        let mut outcome = Outcome::Failed;
        for attempt in 1..=attempts {
            outcome = run_one(state, under_test, scenario, &mut cluster, attempt)?;
            if outcome != Outcome::Failed {
                break;
            }
        }
        report.outcomes.push(outcome);
    }
    Ok(report)
}

fn run_one(
    state: &State,
    under_test: &UnderTest,
    scenario: &Scenario,
    cluster: &mut Option<Cluster>,
    attempt: u32,
) -> Result<Outcome> {
    let Some(options) = (scenario.options)(under_test) else {
        println!("skip {:16} needs programs of ours (--daemon PATH, --tool PATH)", scenario.name);
        return Ok(Outcome::Skipped);
    };
    let begin = Instant::now();
    let ready = ready(state, cluster, options);
    let booted = begin.elapsed();
    let since = HostTime::now();
    match ready.and_then(|ready| (scenario.run)(ready)) {
        Ok(()) => {
            print(scenario, "ok", booted, begin.elapsed());
            Ok(if attempt == 1 { Outcome::Passed } else { Outcome::PassedLater })
        }
        Err(error) => {
            print(scenario, "FAIL", booted, begin.elapsed());
            let told = format!("attempt {attempt}; promise: {}\n{error:#}", scenario.promise);
            println!("{}", indent(&told));
            let cluster = cluster.take();
            if attempt == 1 {
                keep_evidence(state, scenario, cluster, since)?;
            }
            Ok(Outcome::Failed)
        }
    }
}

/// The running cluster if it is of the kind wanted and can be brought back to how it was booted.
fn ready<'a>(
    state: &State,
    cluster: &'a mut Option<Cluster>,
    options: Options,
) -> Result<&'a Cluster> {
    let kept = cluster.take().filter(|cluster| *cluster.options() == options).filter(|cluster| {
        let restored = cluster.restore();
        if let Err(error) = &restored {
            println!("     the last scenario's cluster cannot be used again: {error:#}");
        }
        restored.is_ok()
    });
    let ready = match kept {
        Some(kept) => kept,
        None => Cluster::boot(state, options).context("boot")?,
    };
    Ok(cluster.insert(ready))
}

fn print(scenario: &Scenario, word: &str, booted: Duration, all: Duration) {
    let run = all.saturating_sub(booted).as_secs_f64();
    println!(
        "{word:4} {:16} {run:6.1} s (ready after {:.1} s)",
        scenario.name,
        booted.as_secs_f64()
    );
}

fn keep_evidence(
    state: &State,
    scenario: &Scenario,
    cluster: Option<Cluster>,
    since: HostTime,
) -> Result<()> {
    let folder = state.failures().join(scenario.name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    if let Some(cluster) = cluster {
        // Hanging nodes would only cost time.
        cluster.nodes().try_for_each(|node| node.resume())?;
        cluster.collect_on_failure(&folder, since)?;
        println!("     evidence in {}", folder.display());
    }
    Ok(())
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("     {line}\n")).collect::<String>().trim_end().to_owned()
}

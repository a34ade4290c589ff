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
        let [passed, failed, skipped] =
            [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(|outcome| self.count(outcome));
        write!(out, "{passed} passed, {failed} failed")?;
        if skipped > 0 {
            write!(out, ", {skipped} skipped")?;
        }
        Ok(())
    }
}

/// Runs scenarios one after the other, printing each as it ends. Errors are those of the harness's own
/// files; a cluster that does not boot is a failed scenario.
pub fn run(state: &State, under_test: &UnderTest, scenarios: &[Scenario]) -> Result<Report> {
    let mut report = Report::default();
    let mut cluster: Option<Cluster> = None;
    for scenario in scenarios {
        let Some(options) = (scenario.options)(under_test) else {
            println!("skip {:16} needs a daemon of ours (--daemon PATH)", scenario.name);
            report.outcomes.push(Outcome::Skipped);
            continue;
        };
        let begin = Instant::now();
        let ready = ready(state, &mut cluster, options);
        let booted = begin.elapsed();
        let since = HostTime::now();
        let outcome = match ready.and_then(|ready| (scenario.run)(ready)) {
            Ok(()) => {
                print(scenario, "ok", booted, begin.elapsed());
                Outcome::Passed
            }
            Err(error) => {
                print(scenario, "FAIL", booted, begin.elapsed());
                println!("{}", indent(&format!("promise: {}\n{error:#}", scenario.promise)));
                keep_evidence(state, scenario, cluster.take(), since)?;
                Outcome::Failed
            }
        };
        report.outcomes.push(outcome);
    }
    Ok(report)
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

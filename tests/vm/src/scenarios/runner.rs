//! Runs scenarios: boots what they want, shares boots, reports, keeps evidence of failures.
//!
//! A scenario has one attempt: a second one would hide a race of what is tested. Machines that do not come up are the host's
//! affair, and are switched on once more.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Scenario, UnderTest};
use crate::cluster::{Cluster, Unready};
use crate::options::Options;
use crate::state::State;
use crate::time::HostTime;

/// What a scenario came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The promise was kept.
    Passed,
    /// It was not, or there was no cluster, or the cluster could not be used afterwards.
    Failed,
    /// The scenario has no meaning with the binaries under test.
    Skipped,
}

/// All outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    outcomes: Vec<Outcome>,
    /// How often machines were switched on once more.
    boots_repeated: usize,
}

impl Report {
    /// How many scenarios came to this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.iter().filter(|found| **found == outcome).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.boots_repeated > 0 {
            let times = self.boots_repeated;
            writeln!(
                out,
                "{times} times a machine did not come up, and all were switched on anew"
            )?;
        }
        let (passed, failed) = (self.count(Outcome::Passed), self.count(Outcome::Failed));
        let skipped = self.count(Outcome::Skipped);
        write!(out, "{passed} passed, {failed} failed")?;
        if skipped > 0 {
            write!(out, ", {skipped} skipped")?;
        }
        Ok(())
    }
}

/// Runs scenarios one after the other, printing each as it ends. Errors are those of the harness's own files.
pub fn run(state: &State, under_test: &UnderTest, scenarios: &[Scenario]) -> Result<Report> {
    let mut runner = Runner::new(Machines(state), under_test);
    scenarios.iter().try_for_each(|scenario| runner.run(scenario))?;
    Ok(runner.report)
}

/// Where clusters come from, and what is done with them.
trait Clusters {
    type Cluster;

    /// All machines of a new cluster answer. An error is the host's.
    fn switch_on(&self, options: Options) -> Result<Self::Cluster>;

    /// All daemons of a new cluster see one another.
    fn settle(&self, cluster: &Self::Cluster) -> Result<()>;

    /// The cluster is as it was booted.
    fn restore(&self, cluster: &Self::Cluster) -> Result<(), Unready>;

    fn play(&self, scenario: &Scenario, cluster: &Self::Cluster) -> Result<()>;

    /// Ends a cluster, and keeps what it has to say about a failure.
    fn end_with_evidence(
        &self,
        scenario: &str,
        cluster: Self::Cluster,
        since: HostTime,
    ) -> Result<()>;
}

/// A cluster and who had it last.
struct Used<C> {
    cluster: C,
    options: Options,
    last: Played,
}

/// A scenario on its cluster.
#[derive(Clone, Copy)]
struct Played {
    scenario: &'static str,
    /// Its place in the report.
    number: usize,
    since: HostTime,
}

struct Runner<'a, C: Clusters> {
    clusters: C,
    under_test: &'a UnderTest,
    used: Option<Used<C::Cluster>>,
    report: Report,
}

impl<'a, C: Clusters> Runner<'a, C> {
    fn new(clusters: C, under_test: &'a UnderTest) -> Self {
        Self { clusters, under_test, used: None, report: Report::default() }
    }

    fn run(&mut self, scenario: &Scenario) -> Result<()> {
        let outcome = match (scenario.options)(self.under_test) {
            Some(options) => self.run_on(options, scenario)?,
            None => {
                println!(
                    "skip {:16} needs programs of ours (--daemon PATH, --tool PATH)",
                    scenario.name
                );
                Outcome::Skipped
            }
        };
        self.report.outcomes.push(outcome);
        Ok(())
    }

    fn run_on(&mut self, options: Options, scenario: &Scenario) -> Result<Outcome> {
        let begin = Instant::now();
        let kept = self.kept(&options)?;
        let is_new = kept.is_none();
        let cluster = match kept.map_or_else(|| self.booted(&options), Ok) {
            Ok(cluster) => cluster,
            Err(error) => {
                tell_end("FAIL", scenario.name, begin.elapsed(), begin.elapsed());
                tell(&format!("no cluster: {error:#}"));
                return Ok(Outcome::Failed);
            }
        };
        let since = HostTime::now();
        let settled = if is_new { self.clusters.settle(&cluster) } else { Ok(()) };
        let booted = begin.elapsed();
        match settled.and_then(|()| self.clusters.play(scenario, &cluster)) {
            Ok(()) => {
                tell_end("ok", scenario.name, booted, begin.elapsed());
                let number = self.report.outcomes.len();
                let last = Played { scenario: scenario.name, number, since };
                self.used = Some(Used { cluster, options, last });
                Ok(Outcome::Passed)
            }
            Err(error) => {
                tell_end("FAIL", scenario.name, booted, begin.elapsed());
                tell(&format!("promise: {}\n{error:#}", scenario.promise));
                self.clusters.end_with_evidence(scenario.name, cluster, since)?;
                Ok(Outcome::Failed)
            }
        }
    }

    /// The cluster of the last scenario, if it is of the kind wanted and can be brought back to how it was booted.
    fn kept(&mut self, options: &Options) -> Result<Option<C::Cluster>> {
        let Some(used) = self.used.take().filter(|used| used.options == *options) else {
            return Ok(None);
        };
        match self.clusters.restore(&used.cluster) {
            Ok(()) => return Ok(Some(used.cluster)),
            Err(Unready::Machines(error)) => self.tell_host(&error),
            Err(Unready::Programs(error)) => self.condemn(used, &error)?,
        }
        Ok(None)
    }

    /// A daemon that does not end, or a lockspace that stays, is a fault of the scenario before: nobody else has been there.
    fn condemn(&mut self, used: Used<C::Cluster>, error: &anyhow::Error) -> Result<()> {
        let Played { scenario, number, since } = used.last;
        if let Some(outcome) = self.report.outcomes.get_mut(number) {
            *outcome = Outcome::Failed;
        }
        println!("FAIL {scenario:16} after its end: its cluster cannot be brought back");
        tell(&format!("{error:#}"));
        self.clusters.end_with_evidence(scenario, used.cluster, since)
    }

    /// A new cluster. What keeps a machine from coming up may be over the second time.
    fn booted(&mut self, options: &Options) -> Result<C::Cluster> {
        self.clusters.switch_on(options.clone()).or_else(|error| {
            self.tell_host(&error);
            self.clusters.switch_on(options.clone())
        })
    }

    fn tell_host(&mut self, error: &anyhow::Error) {
        self.report.boots_repeated += 1;
        println!("HOST a machine does not come up: all are switched on anew");
        tell(&format!("{error:#}"));
    }
}

/// Virtual machines.
struct Machines<'a>(&'a State);

impl Clusters for Machines<'_> {
    type Cluster = Cluster;

    fn switch_on(&self, options: Options) -> Result<Cluster> {
        Cluster::switch_on(self.0, options)
    }

    fn settle(&self, cluster: &Cluster) -> Result<()> {
        cluster.settle()
    }

    fn restore(&self, cluster: &Cluster) -> Result<(), Unready> {
        cluster.restore()
    }

    fn play(&self, scenario: &Scenario, cluster: &Cluster) -> Result<()> {
        (scenario.run)(cluster)
    }

    fn end_with_evidence(&self, scenario: &str, cluster: Cluster, since: HostTime) -> Result<()> {
        let folder = self.0.failures().join(scenario);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
        }
        // Hanging nodes would only cost time.
        cluster.nodes().try_for_each(|node| node.resume())?;
        cluster.collect_on_failure(&folder, since)?;
        tell(&format!("evidence in {}", folder.display()));
        Ok(())
    }
}

fn tell_end(word: &str, scenario: &str, booted: Duration, all: Duration) {
    let (booted, run) = (booted.as_secs_f64(), all.saturating_sub(booted).as_secs_f64());
    println!("{word:4} {scenario:16} {run:6.1} s (ready after {booted:.1} s)");
}

/// Below a line about a scenario.
fn tell(text: &str) {
    text.lines().for_each(|line| println!("     {line}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// What comes of each request, in order; all others are met.
    #[derive(Default)]
    struct Script {
        boots: VecDeque<Result<()>>,
        settled: VecDeque<Result<()>>,
        restored: VecDeque<Result<(), Unready>>,
        played: VecDeque<Result<()>>,
    }

    /// Notes what it is asked for.
    #[derive(Default)]
    struct Scripted {
        script: RefCell<Script>,
        told: RefCell<Vec<String>>,
    }

    impl Scripted {
        fn note(&self, text: &str) {
            self.told.borrow_mut().push(text.to_owned());
        }
    }

    impl Clusters for &Scripted {
        type Cluster = ();

        fn switch_on(&self, _: Options) -> Result<()> {
            self.note("switch on");
            self.script.borrow_mut().boots.pop_front().unwrap_or(Ok(()))
        }

        fn settle(&self, (): &()) -> Result<()> {
            self.script.borrow_mut().settled.pop_front().unwrap_or(Ok(()))
        }

        fn restore(&self, (): &()) -> Result<(), Unready> {
            self.note("restore");
            self.script.borrow_mut().restored.pop_front().unwrap_or(Ok(()))
        }

        fn play(&self, scenario: &Scenario, (): &()) -> Result<()> {
            self.note(&format!("play {}", scenario.name));
            self.script.borrow_mut().played.pop_front().unwrap_or(Ok(()))
        }

        fn end_with_evidence(&self, scenario: &str, (): (), _: HostTime) -> Result<()> {
            self.note(&format!("evidence of {scenario}"));
            Ok(())
        }
    }

    fn broken() -> anyhow::Error {
        anyhow!("broken")
    }

    /// Two scenarios on one kind of cluster and one on another, as the script has it: what was done, and the report.
    fn run_with(script: Script) -> (Vec<String>, Report) {
        let clusters = Scripted { script: RefCell::new(script), ..Scripted::default() };
        let under_test = UnderTest {
            daemon: crate::Daemon::C,
            tool: None,
            library: None,
            token: Duration::from_secs(1),
        };
        let mut runner = Runner::new(&clusters, &under_test);
        let three = |_: &UnderTest| Some(Options::default());
        let two = |_: &UnderTest| Some(Options { nodes: 2, ..Options::default() });
        let scenario = |name, options: fn(&UnderTest) -> Option<Options>| Scenario {
            name,
            promise: "it runs",
            options,
            run: |_| Ok(()),
        };
        for scenario in [scenario("a", three), scenario("b", three), scenario("c", two)] {
            runner.run(&scenario).unwrap();
        }
        let report = runner.report;
        (clusters.told.into_inner(), report)
    }

    use Outcome::{Failed, Passed};

    #[test]
    fn scenarios_on_one_kind_of_cluster_share_a_boot() {
        let (told, report) = run_with(Script::default());
        let wanted = ["switch on", "play a", "restore", "play b", "switch on", "play c"];
        assert_eq!((told, report.outcomes), (wanted.map(str::to_owned).into(), vec![Passed; 3]));
    }

    #[test]
    fn broken_promise_is_a_failure_at_once() {
        let played = [Err(broken())].into();
        let (told, report) = run_with(Script { played, ..Script::default() });
        assert_eq!(told[..4], ["switch on", "play a", "evidence of a", "switch on"]);
        assert_eq!((told[4].as_str(), &report.outcomes[..2]), ("play b", &[Failed, Passed][..]));
        assert_eq!(report.to_string(), "2 passed, 1 failed");
    }

    #[test]
    fn daemons_that_do_not_find_each_other_are_a_failure_at_once() {
        let settled = [Err(broken())].into();
        let (told, report) = run_with(Script { settled, ..Script::default() });
        assert_eq!(told[..4], ["switch on", "evidence of a", "switch on", "play b"]);
        assert_eq!(report.outcomes[..2], [Failed, Passed]);
    }

    #[test]
    fn machines_that_do_not_come_up_are_switched_on_once_more() {
        let boots = [Err(broken())].into();
        let (told, report) = run_with(Script { boots, ..Script::default() });
        assert_eq!(told[..3], ["switch on", "switch on", "play a"]);
        assert_eq!(report.outcomes, [Passed; 3]);
        assert!(report.to_string().starts_with("1 times a machine did not come up"), "{report}");

        let boots = [Err(broken()), Err(broken())].into();
        let (told, report) = run_with(Script { boots, ..Script::default() });
        assert_eq!(told[..4], ["switch on", "switch on", "switch on", "play b"]);
        assert_eq!(report.outcomes[..2], [Failed, Passed]);
    }

    #[test]
    fn cluster_that_cannot_be_brought_back_is_the_failure_of_who_had_it() {
        let restored = [Err(Unready::Programs(broken()))].into();
        let (told, report) = run_with(Script { restored, ..Script::default() });
        assert_eq!(told[2..6], ["restore", "evidence of a", "switch on", "play b"]);
        assert_eq!(report.outcomes, [Failed, Passed, Passed]);
    }

    #[test]
    fn machine_that_does_not_come_up_again_is_nobodys_failure() {
        let restored = [Err(Unready::Machines(broken()))].into();
        let (told, report) = run_with(Script { restored, ..Script::default() });
        assert_eq!(told[2..5], ["restore", "switch on", "play b"]);
        assert_eq!((report.boots_repeated, report.outcomes), (1, vec![Passed; 3]));
    }
}

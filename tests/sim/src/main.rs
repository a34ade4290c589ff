//! `make sim`: see `dlm-sim --help`.

use anyhow::bail;
use clap::{Args, Parser, Subcommand};
#[cfg(feature = "mutants")]
use dlm_core::mutants::Mutant;
use dlm_sim::campaign::{Campaign, Tally, brains, command, name_seed_in_panics, tell_failure};
use dlm_sim::plan::{Plan, Shape};
use dlm_sim::rate::recoveries_a_second;
use dlm_sim::scale::{Peers, Row, measure, table};
use dlm_sim::storm::{Story, run};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seeds that are run where none are asked for.
const SEEDS: u64 = 10_000;

/// Where the hunt for deliberate defects begins: each is found within its seeds from here on. One is not, from 1 on.
#[cfg(feature = "mutants")]
const HUNT: u64 = 1_000_000;

/// Storms of random faults on simulated clusters of the real daemon's decisions.
///
/// Every run is drawn from one number, its seed: nodes, lockspaces, options, faults, all delays. The promises of
/// docs/design.md are checked at every step. A run that breaks one is made short and told, with the command that
/// repeats it; the exit status is 1 then.
#[derive(Parser)]
#[command(name = "dlm-sim", max_term_width = 110)]
struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Run many seeds, fresh ones unless --first names them
    Storms(Storms),
    /// Run cores with deliberate defects: each must break a promise
    #[cfg(feature = "mutants")]
    Mutants {
        /// This one alone, by its name in the list
        #[arg(long, value_parser = mutant)]
        only: Option<Mutant>,
        /// Seeds for each, at most
        #[arg(long, default_value_t = 5000)]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = HUNT)]
        first: u64,
    },
    /// Run one seed again and tell what happens
    Replay(Replay),
    /// Recoveries of three nodes in a second of one processor
    Rate {
        /// Fewer than so many are an error
        #[arg(long, default_value_t = 0)]
        least: u64,
    },
    /// What a death and a join cost, as a table with its growth
    Scale {
        /// Nodes
        #[arg(long, value_delimiter = ',', default_value = "3,8,16,32,64,128", value_parser = clap::value_parser!(u32).range(3..=128))]
        nodes: Vec<u32>,
        /// Lockspaces
        #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000", value_parser = clap::value_parser!(u32).range(1..=1000))]
        lockspaces: Vec<u32>,
    },
}

#[derive(Args)]
struct Fixed {
    /// Nodes of each cluster, 1 to 128; drawn from 2 to 5 if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=128))]
    nodes: Option<u32>,
    /// Lockspaces, 1 to 1000; drawn from 1 to 3 if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    lockspaces: Option<u32>,
    /// Processes that use POSIX locks, or none; drawn if not given
    #[arg(long)]
    locks: Option<bool>,
    /// Hangs, flapping, loss in one direction and clocks that are set, or none; drawn if not given
    #[arg(long)]
    rare: Option<bool>,
    /// Besides, gfs2 that withdraws, and leaves that are to be recovered
    #[arg(long)]
    withdraws: bool,
    /// Faults at the moment at which they hurt most, instead of any at any time
    #[arg(long)]
    aimed: bool,
    /// Fence agents report success and do nothing, where they would fail otherwise
    #[arg(long)]
    lies: bool,
    /// Some daemons do as the C daemon does, its known faults included
    #[cfg(feature = "mutants")]
    #[arg(long)]
    c_peers: bool,
}

impl Fixed {
    const fn shape(&self) -> Shape {
        let Self { nodes, lockspaces, locks, rare, withdraws, aimed, lies, .. } = *self;
        #[cfg(feature = "mutants")]
        let c_peers = self.c_peers;
        #[cfg(not(feature = "mutants"))]
        let c_peers = false;
        Shape { nodes, lockspaces, locks, rare, withdraws, aimed, lies, c_peers }
    }
}

#[derive(Args)]
struct Storms {
    /// How many
    #[arg(long, default_value_t = SEEDS, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed: the others follow it. Without it, it comes from the clock, and is printed
    #[arg(long)]
    first: Option<u64>,
    /// Begin no more runs after so many seconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Threads; without it one for each core
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    fixed: Fixed,
}

#[derive(Args)]
struct Replay {
    /// The seed
    seed: u64,
    /// Only these steps of its plan, by number: 1,4,9
    #[arg(long, value_delimiter = ',')]
    keep: Option<Vec<usize>>,
    #[command(flatten)]
    fixed: Fixed,
}

fn main() -> anyhow::Result<ExitCode> {
    name_seed_in_panics();
    match Command::parse().what {
        What::Storms(options) => storms(&options),
        #[cfg(feature = "mutants")]
        What::Mutants { only, seeds, first } => mutants(only, seeds, first),
        What::Replay(options) => replay(&options),
        What::Rate { least } => rate(least),
        What::Scale { nodes, lockspaces } => scale(&nodes, &lockspaces),
    }
}

fn storms(options: &Storms) -> anyhow::Result<ExitCode> {
    let cores = std::thread::available_parallelism()?.get();
    let shape = options.fixed.shape();
    let campaign = Campaign {
        first: options.first.map_or_else(fresh_seed, Ok)?,
        seeds: options.seeds,
        limit: options.seconds.map(Duration::from_secs),
        jobs: options.jobs.map_or(cores, usize::from),
        shape,
    };
    println!("{} seeds from {} on, {} threads", campaign.seeds, campaign.first, campaign.jobs);
    let begin = Instant::now();
    let tally = campaign.run();
    for (seed, outcome) in &tally.failures {
        println!("\n{}", tell_failure(*seed, shape, outcome));
    }
    if shape.lies || shape.c_peers {
        println!("harm beyond what daemons of ours can help: {} times", tally.harm);
    }
    println!("{}", sum(&tally, begin.elapsed()));
    Ok(if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(feature = "mutants")]
fn mutant(name: &str) -> Result<Mutant, String> {
    let found = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
    found.copied().ok_or_else(|| "no such mutant; without --only all are listed".to_owned())
}

#[cfg(feature = "mutants")]
fn mutants(only: Option<Mutant>, seeds: u64, first: u64) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    let jobs = std::thread::available_parallelism()?.get();
    let wanted = only.as_ref().map_or(Mutant::ALL, std::slice::from_ref);
    let hunts = dlm_sim::mutants::hunt(wanted, first, seeds, jobs);
    println!("{:28} {:>5} {:>6} {:5}  what it broke", "mutant", "item", "seeds", "");
    for hunt in &hunts {
        let what = hunt.broken.as_deref().unwrap_or("SURVIVED");
        let items: Vec<String> = hunt.mutant.items().iter().map(u32::to_string).collect();
        let (name, items, seeds) = (hunt.mutant.name(), items.join(","), hunt.seeds);
        let aimed = if hunt.aimed { "aimed" } else { "" };
        println!("{name:28} {items:>5} {seeds:6} {aimed:5}  {what}");
    }
    let caught = hunts.iter().filter(|hunt| hunt.broken.is_some()).count();
    let wanted = wanted.len();
    println!("{caught} of {wanted} caught in {:.1} s", begin.elapsed().as_secs_f64());
    Ok(if caught == wanted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn sum(tally: &Tally, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = |count: u64| u32::try_from(count).map_or(0.0, f64::from) / seconds;
    format!(
        "{} runs, {} of virtual days, {} recoveries in {seconds:.1} s ({:.0} runs/s, {:.0} recoveries/s); {} broke a promise",
        tally.seeds,
        tally.seconds / 86_400,
        tally.recoveries,
        rate(tally.seeds),
        rate(tally.recoveries),
        tally.failures.len()
    )
}

fn rate(least: u64) -> anyhow::Result<ExitCode> {
    let rate = recoveries_a_second(least).map_err(anyhow::Error::msg)?;
    println!("{rate} recoveries a second of one processor, three nodes; {least} are asked for");
    Ok(if rate >= least { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn scale(nodes: &[u32], lockspaces: &[u32]) -> anyhow::Result<ExitCode> {
    let sizes = nodes.iter().flat_map(|n| lockspaces.iter().map(move |l| (*n, *l)));
    let mut rows = Vec::new();
    for (nodes, lockspaces) in sizes {
        eprintln!("{nodes} nodes, {lockspaces} lockspaces");
        let row = measure(nodes, lockspaces, Peers::Mirrored).map_err(anyhow::Error::msg)?;
        rows.push(row);
    }
    print!("{}", table(&rows));
    let wrong: Vec<String> = rows.iter().filter_map(Row::beside_formula).collect();
    wrong.iter().for_each(|what| eprintln!("{what}"));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// From the clock: it only has to be another one each time.
fn fresh_seed() -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    // Room for a campaign between one millisecond and the next; numbers that can still be read.
    Ok(u64::try_from(now.as_millis())? * 1000 % 1_000_000_000_000_000)
}

fn replay(options: &Replay) -> anyhow::Result<ExitCode> {
    let shape = options.fixed.shape();
    let whole = Plan::draw(options.seed, shape);
    let plan = match &options.keep {
        None => whole,
        Some(numbers) => {
            let known = 1..=whole.steps.len();
            if let Some(number) = numbers.iter().find(|number| !known.contains(number)) {
                bail!(
                    "step {number} is not in the plan of this seed, which has {}",
                    whole.steps.len()
                );
            }
            whole.keeping(numbers)
        }
    };
    let outcome = run(&plan, Story::Told, brains(&plan));
    println!("{}", plan.title());
    for step in &plan.steps {
        println!("  {:3}. {}; then {} ms", step.number, step.fault, step.pause);
    }
    print!("{}", outcome.story);
    println!("again: {}", command(&plan, shape, options.keep.is_none()));
    match outcome.broken {
        None => println!("every promise was kept; {} recoveries", outcome.recoveries),
        Some(what) => {
            println!("BROKEN: {what}");
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

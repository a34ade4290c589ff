//! `make model`: see `dlm-model --help`.

use anyhow::bail;
use clap::Parser;
use dlm_core::Core;
use dlm_model::search::{Bounds, Found, search};
use dlm_model::state::{Fault, State};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use testbed::harness::MakeBrain;

/// Nodes, faults, seconds at most, and whether everything must be seen.
type Listed = (u32, &'static [Fault], u64, bool);

/// Searches that take seconds.
const QUICK: &[Listed] = &[
    (2, &[Fault::Leave], 300, true),
    (2, &[Fault::Crash], 300, true),
    (2, &[Fault::Kill], 300, true),
    (2, &[Fault::Cut], 300, true),
    (2, &[Fault::Crash, Fault::Kill], 300, true),
    (2, &[Fault::Crash, Fault::Cut], 300, true),
    (2, &[Fault::Cut, Fault::Heal], 10, false),
    (3, &[Fault::Leave], 300, true),
    (3, &[Fault::Crash], 300, true),
    (3, &[Fault::Crash, Fault::Cut], 10, false),
];

/// Searches that take minutes, or more.
const LONG: &[Listed] = &[
    (2, &[Fault::Crash, Fault::Boot], 600, false),
    (2, &[Fault::Cut, Fault::Heal], 600, false),
    (3, &[Fault::Kill], 600, false),
    (3, &[Fault::Cut], 600, false),
    (3, &[Fault::Crash, Fault::Cut], 600, false),
    (3, &[Fault::Crash, Fault::Cut, Fault::Heal], 600, false),
];

/// All interleavings of a small cluster under a few faults.
///
/// Exit status 1 where a promise is broken or a state has no way back to a running lockspace, 2 where a search that should
/// have seen everything has reached a bound.
#[derive(Parser)]
#[command(name = "dlm-model", max_term_width = 110)]
struct Command {
    /// Faults that may happen, each once for each time it is named: crash, kill, cut, heal, boot, leave. Without it the
    /// configurations of the list
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Nodes
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4))]
    nodes: u32,
    /// Of the list those that take seconds
    #[arg(long)]
    quick: bool,
    /// No more states than this in one search
    #[arg(long, default_value_t = 50_000_000)]
    states: usize,
    /// No search takes longer than this
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
}

/// What is searched, and how far.
struct Configuration {
    nodes: u32,
    faults: Vec<Fault>,
    bounds: Bounds,
    /// A search that ends at a bound has failed.
    whole: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let command = Command::parse();
    let bounds = |seconds| Bounds {
        states: command.states,
        time: Duration::from_secs(command.seconds.min(seconds)),
    };
    let listed = |(nodes, faults, seconds, whole): (u32, &[Fault], u64, bool)| Configuration {
        nodes,
        faults: faults.to_vec(),
        bounds: bounds(seconds),
        whole,
    };
    let all: Vec<Configuration> = if command.faults.is_empty() {
        let more = LONG.iter().filter(|_| !command.quick);
        QUICK.iter().chain(more).copied().map(listed).collect()
    } else {
        let (nodes, faults) = (command.nodes, command.faults);
        vec![Configuration { nodes, faults, bounds: bounds(u64::MAX), whole: true }]
    };
    let mut status = ExitCode::SUCCESS;
    for configuration in all {
        let found = look(&configuration)?;
        if found.broken.is_some() {
            return Ok(ExitCode::FAILURE);
        }
        if configuration.whole && !found.complete {
            status = ExitCode::from(2);
        }
    }
    Ok(status)
}

fn look(configuration: &Configuration) -> anyhow::Result<Found> {
    let brains: MakeBrain = Box::new(|setup| Box::new(Core::new(setup)));
    let first = State::begin(configuration.nodes, &configuration.faults, brains);
    let first = first.map_err(anyhow::Error::msg)?;
    let begin = Instant::now();
    let found = search(&first, configuration.bounds);
    let faults: Vec<String> = configuration.faults.iter().map(ToString::to_string).collect();
    println!(
        "{} nodes, {}: {} states ({} well), {} steps, at most {} deep, in {:.1} s; {}",
        configuration.nodes,
        faults.join(" "),
        found.states,
        found.well,
        found.steps,
        found.depth,
        begin.elapsed().as_secs_f64(),
        if found.complete { "everything was seen" } else { "a bound was reached" }
    );
    if let Some((why, steps)) = &found.broken {
        println!("BROKEN: {why}");
        let Some(mut state) = first.fork() else { bail!("a world that cannot be copied") };
        state.tell();
        for step in steps {
            println!("  {step}");
            state.take(step);
        }
        print!("{}", state.story());
    }
    Ok(found)
}

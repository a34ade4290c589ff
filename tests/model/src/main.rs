//! `make model`: see `dlm-model --help`.

use anyhow::bail;
use clap::Parser;
use dlm_core::Core;
use dlm_model::search::{Bounds, Found, search};
use dlm_model::state::{Fault, Grain, State};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use testbed::harness::MakeBrain;

/// Nodes, faults, what one step is, how many steps, seconds at most, and whether everything must be seen.
type Listed = (u32, &'static [Fault], Grain, Option<usize>, u64, bool);

/// Searches that take seconds.
const QUICK: &[Listed] = &[
    (2, &[Fault::Leave], Grain::Event, None, 300, true),
    (2, &[Fault::Crash], Grain::Event, None, 300, true),
    (2, &[Fault::Kill], Grain::Event, None, 300, true),
    (2, &[Fault::Cut], Grain::Event, None, 300, true),
    (2, &[Fault::Crash, Fault::Kill], Grain::Event, None, 300, true),
    (2, &[Fault::Crash, Fault::Cut], Grain::Event, None, 300, true),
    (2, &[Fault::Cut, Fault::Heal], Grain::Event, None, 10, false),
    (3, &[Fault::Leave], Grain::Event, None, 300, true),
    (3, &[Fault::Crash], Grain::Event, None, 300, true),
    (3, &[Fault::Crash, Fault::Cut], Grain::Queue, Some(6), 300, true),
];

/// Searches that take minutes, or more.
const LONG: &[Listed] = &[
    (2, &[Fault::Crash, Fault::Boot], Grain::Event, None, 600, false),
    (2, &[Fault::Cut, Fault::Heal], Grain::Event, None, 600, false),
    (3, &[Fault::Kill], Grain::Event, None, 600, false),
    (3, &[Fault::Cut], Grain::Event, None, 600, false),
    (3, &[Fault::Crash, Fault::Cut], Grain::Queue, Some(8), 600, true),
    (3, &[Fault::Crash, Fault::Cut], Grain::Event, None, 600, false),
    (3, &[Fault::Crash, Fault::Cut, Fault::Heal], Grain::Event, None, 600, false),
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
    /// A step of the bus is all that waits in one queue, not one event
    #[arg(long)]
    queues: bool,
    /// Of the list those that take seconds
    #[arg(long)]
    quick: bool,
    /// No more states than this in one search
    #[arg(long, default_value_t = 50_000_000)]
    states: usize,
    /// Look no further than so many steps from the beginning
    #[arg(long)]
    depth: Option<usize>,
    /// No search takes longer than this
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
}

/// What is searched, and how far.
struct Configuration {
    nodes: u32,
    faults: Vec<Fault>,
    grain: Grain,
    bounds: Bounds,
    /// A search that ends at a bound has failed.
    whole: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let command = Command::parse();
    let bounds = |seconds, depth| Bounds {
        states: command.states,
        time: Duration::from_secs(command.seconds.min(seconds)),
        depth,
    };
    let listed = |(nodes, faults, grain, depth, seconds, whole): Listed| Configuration {
        nodes,
        faults: faults.to_vec(),
        grain,
        bounds: bounds(seconds, depth),
        whole,
    };
    let all: Vec<Configuration> = if command.faults.is_empty() {
        let more = LONG.iter().filter(|_| !command.quick);
        QUICK.iter().chain(more).copied().map(listed).collect()
    } else {
        let (nodes, faults) = (command.nodes, command.faults);
        let grain = if command.queues { Grain::Queue } else { Grain::Event };
        let bounds = bounds(u64::MAX, command.depth);
        vec![Configuration { nodes, faults, grain, bounds, whole: true }]
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
    let Configuration { nodes, grain, .. } = *configuration;
    let first = State::begin(nodes, &configuration.faults, grain, brains);
    let first = first.map_err(anyhow::Error::msg)?;
    let begin = Instant::now();
    let found = search(&first, configuration.bounds);
    let faults: Vec<String> = configuration.faults.iter().map(ToString::to_string).collect();
    println!(
        "{nodes} nodes, {}{}: {} states ({} well), {} steps, at most {} deep, in {:.1} s; {}",
        faults.join(" "),
        if grain == Grain::Queue { ", by queues" } else { "" },
        found.states,
        found.well,
        found.steps,
        found.depth,
        begin.elapsed().as_secs_f64(),
        match (found.complete, found.cut_off) {
            (true, false) => "everything was seen",
            (true, true) => "everything to this depth was seen",
            (false, _) => "a bound was reached",
        }
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

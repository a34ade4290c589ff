//! One run of a plan: the storm, then calm weather in which everything has to run again.

use crate::plan::Plan;
use dlm_core::waiting::FenceWait;
use testbed::harness::{MakeBrain, Pace, World};

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was broken first, in words; `None`: every promise was kept.
    pub broken: Option<String>,
    /// Completed recoveries of lockspaces.
    pub recoveries: u64,
    /// Virtual seconds.
    pub seconds: u64,
    /// What lies about fencing have led to: so many different things.
    pub harm: u64,
    /// What happened; empty unless it was asked for.
    pub story: String,
}

impl Outcome {
    /// Which promise it was about: what a shorter story must break too.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        let broken = self.broken.as_deref()?;
        let promise = broken.strip_prefix("promise ").and_then(|rest| rest.split_once(':'));
        Some(promise.map_or("another", |(number, _)| number))
    }
}

/// Whether the story of a run is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// Much faster without.
    Silent,
    /// Kept.
    Told,
}

/// Run a plan.
#[must_use]
pub fn run(plan: &Plan, story: Story, brains: MakeBrain) -> Outcome {
    let mut world = World::with_brains(plan.seed, plan.nodes, brains);
    if story == Story::Silent {
        world.be_silent();
    }
    plan.set_options(&mut world);
    let broken = storm(plan, &mut world).err();
    // What a C daemon waits for without end, nobody can help; and it may well have sent half a state.
    let theirs = |what: &String| {
        let late = what.starts_with("promise 5: ") || what.starts_with("promise 6: ");
        late && !plan.c_nodes.is_empty() && world.violations().is_empty()
    };
    let harm = world.harm().len() + usize::from(broken.as_ref().is_some_and(theirs));
    Outcome {
        broken: broken.filter(|what| !theirs(what)),
        recoveries: world.recoveries(),
        seconds: world.seconds(),
        harm: u64::try_from(harm).unwrap_or(u64::MAX),
        story: if story == Story::Told { world.story() } else { String::new() },
    }
}

fn storm(plan: &Plan, world: &mut World) -> Result<(), String> {
    rest(world)?;
    world.set_pace(plan.pace());
    for step in &plan.steps {
        step.fault.happen(world);
        world.run_millis(step.pause);
        sound(world)?;
        of_one_mind(world)?;
        world.held_up().first().map_or(Ok(()), |first| Err(first.clone()))?;
    }
    calm_down(plan, world)
}

/// Promise 5, where nothing is under way.
fn of_one_mind(world: &World) -> Result<(), String> {
    let complaints = if world.is_quiet() { world.lock_complaints() } else { Vec::new() };
    complaints.first().map_or(Ok(()), |first| Err(format!("promise 5: {first}")))
}

/// Nothing is broken.
fn sound(world: &World) -> Result<(), String> {
    world.violations().first().map_or(Ok(()), |first| Err(first.clone()))
}

/// Let everything come to rest.
fn rest(world: &mut World) -> Result<(), String> {
    let calm = world.settle();
    sound(world)?;
    if calm { Ok(()) } else { Err("promise 6: never comes to rest".to_owned()) }
}

/// This node waits for the removal of nodes that merged from another partition.
fn is_merged(world: &World, node: u32) -> bool {
    let Some(snapshot) = world.snapshot(node) else { return false };
    snapshot.stateful_merge_wait
        || snapshot.nodes.iter().any(|node| node.waits_for == Some(FenceWait::Merge))
}

/// The faults end: everything heals, whoever is dead is switched on again, and all must run in the end.
fn calm_down(plan: &Plan, world: &mut World) -> Result<(), String> {
    let nodes = plan.nodes;
    world.set_pace(Pace::CALM);
    world.heal();
    world.repair_fencing();
    (1..=nodes).for_each(|node| world.stops_take(node, None));
    rest(world)?;
    let merged = (1..=nodes).any(|node| is_merged(world, node));
    // Fencing succeeds now, so that nobody who lives waits for one that is dead. Without start-up fencing only an operator's word
    // may help.
    if plan.aimed && !merged && plan.options.startup_fencing {
        world.complaints().first().map_or(Ok(()), |first| Err(format!("promise 6: {first}")))?;
    }
    if merged {
        // Nobody may decide which part goes on: the operator switches all of it off, as the manual says.
        (1..=nodes).for_each(|node| world.crash(node));
    }
    for node in 1..=nodes {
        if world.snapshot(node).is_none() {
            world.crash(node);
            world.boot(node);
        }
    }
    rest(world)?;
    (1..=nodes).for_each(|node| world.boot(node));
    rest(world)?;
    (1..=nodes).for_each(|node| world.join(node, "ls"));
    rest(world)?;
    world.complaints().first().map_or(Ok(()), |first| Err(format!("promise 6: {first}")))?;
    of_one_mind(world)
}

//! Shared by the scenario tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file uses a part"
)]

use testbed::harness::World;

/// Let everything come to rest; it must be whole then.
pub fn rest(world: &mut World) {
    let calm = world.settle();
    sound(world);
    if !calm {
        fail(world, "never comes to rest");
    }
}

/// Nothing is broken, and everything wanted runs.
pub fn sound(world: &World) {
    if let Some(first) = world.violations().first() {
        fail(world, first);
    }
}

/// Rest, and everything wanted runs.
pub fn healthy(world: &mut World) {
    rest(world);
    if let Some(first) = world.complaints().first() {
        fail(world, first);
    }
}

/// The story, or its end, then the reason.
pub fn fail(world: &World, why: &str) -> ! {
    let story = world.story();
    let lines: Vec<_> = story.lines().collect();
    let whole = std::env::var_os("STORY").is_some();
    let from = if whole { 0 } else { lines.len().saturating_sub(60) };
    eprintln!("{}\n{}", lines[0], lines[from..].join("\n"));
    panic!("{}: {why}", lines[0]);
}

/// A cluster of `nodes`, all up with their daemons.
pub fn cluster(seed: u64, nodes: u32) -> World {
    let mut world = World::new(seed, nodes);
    rest(&mut world);
    world
}

/// A cluster whose nodes all run `ls`.
pub fn running(seed: u64, nodes: u32) -> World {
    let mut world = cluster(seed, nodes);
    for node in 1..=nodes {
        world.join(node, "ls");
    }
    healthy(&mut world);
    world
}

/// Run a scenario with some seeds.
pub fn with_seeds(scenario: impl Fn(u64)) {
    let count = std::env::var("SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    for seed in 1..=count {
        scenario(seed);
    }
}

//! Random faults on whole clusters. A failure prints its seed; `SEED=<n> STORY=1` tells that one story again, and
//! `SEEDS=<n>` draws more of them.

mod common;

use common::{fail, rest, sound};
use dlm_core::snapshot::Wait;
use dlm_core::waiting::FenceWait;
use testbed::harness::{Pace, World};
use testbed::power::Behaviour;

/// Faults of one storm.
const FAULTS: u64 = 14;

fn any(world: &mut World, nodes: u32) -> u32 {
    let numbers: Vec<u32> = (1..=nodes).collect();
    world.random().pick(&numbers).unwrap_or(1)
}

fn name(world: &mut World) -> &'static str {
    if world.random().one_in(4) { "other" } else { "ls" }
}

fn fault(world: &mut World, nodes: u32) {
    let (node, other) = (any(world, nodes), any(world, nodes));
    match world.random().between(0, 15) {
        0 | 1 => world.crash(node),
        2..=4 => world.boot(node),
        5 => world.kill_daemon(node),
        6 => world.start_daemon(node),
        7 => {
            let side: Vec<u32> = (1..=nodes).filter(|_| world.random().one_in(2)).collect();
            world.partition(&[&side]);
        }
        8 => world.heal(),
        9 | 10 => {
            let name = name(world);
            world.join(node, name);
        }
        11 => {
            let name = name(world);
            world.leave(node, name);
        }
        12 => world.fail_fencing(node, 1),
        13 => world.order_fencing(node, Behaviour::Hangs),
        14 => {
            world.crash(node);
            world.boot(node);
        }
        _ => {
            world.crash(node);
            world.crash(other);
        }
    }
}

fn storm(seed: u64, nodes: u32, pace: Pace) {
    let mut world = World::new(seed, nodes);
    rest(&mut world);
    world.set_pace(pace);
    for node in 1..=nodes {
        world.join(node, "ls");
        if world.random().one_in(2) {
            world.join(node, "other");
        }
    }
    let warm = world.random().between(0, 30_000);
    world.run_millis(warm);
    for _ in 0..FAULTS {
        fault(&mut world, nodes);
        let long = world.random().one_in(3);
        let pause = world.random().between(0, if long { 40_000 } else { 3_000 });
        world.run_millis(pause);
        sound(&world);
    }
    calm_down(&mut world, nodes);
}

/// This node waits for the removal of nodes that merged from another partition.
fn is_merged(world: &World, node: u32) -> bool {
    let Some(snapshot) = world.snapshot(node) else { return false };
    snapshot.stateful_merge_wait
        || snapshot.nodes.iter().any(|node| node.waits_for == Some(FenceWait::Merge))
        || snapshot.lockspaces.iter().any(|ls| matches!(ls.wait, Some(Wait::Disallowed(_))))
}

/// The faults end: everything heals, whoever is dead is switched on again, and all must run in the end.
fn calm_down(world: &mut World, nodes: u32) {
    world.set_pace(Pace::CALM);
    world.heal();
    world.repair_fencing();
    rest(world);
    if (1..=nodes).any(|node| is_merged(world, node)) {
        // Nobody may decide which part goes on: the operator switches all of it off, as the manual says.
        (1..=nodes).for_each(|node| world.crash(node));
    }
    for node in (1..=nodes).filter(|node| world.snapshot(*node).is_none()).collect::<Vec<_>>() {
        world.crash(node);
        world.boot(node);
    }
    rest(world);
    for node in 1..=nodes {
        world.boot(node);
    }
    rest(world);
    for node in 1..=nodes {
        world.join(node, "ls");
    }
    rest(world);
    if let Some(first) = world.complaints().first() {
        fail(world, first);
    }
}

fn storms(nodes: u32, pace: Pace) {
    let read = |name| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    if let Some(seed) = read("SEED") {
        storm(seed, nodes, pace);
        return;
    }
    let first = read("FIRST").unwrap_or(1);
    for seed in first..first + read("SEEDS").unwrap_or(100) {
        storm(seed, nodes, pace);
    }
}

#[test]
fn calm_storms_of_three() {
    storms(3, Pace::CALM);
}

#[test]
fn wild_storms_of_three() {
    storms(3, Pace::WILD);
}

#[test]
fn wild_storms_of_two() {
    storms(2, Pace::WILD);
}

#[test]
fn wild_storms_of_four() {
    storms(4, Pace::WILD);
}

#[test]
fn wild_storms_of_five() {
    storms(5, Pace::WILD);
}

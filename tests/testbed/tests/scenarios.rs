//! The worked sequences of spec/lockspace-recovery.md section 15, and the faults around them, on whole clusters.

mod common;

use common::{cluster, healthy, rest, running, sound, with_seeds};
use testbed::harness::World;
use testbed::power::Behaviour;

const MANY: u32 = 200_000;

#[test]
fn single_node_joins() {
    with_seeds(|seed| {
        let mut world = cluster(seed, 1);
        world.join(1, "ls");
        healthy(&mut world);
    });
}

#[test]
fn three_join_one_after_the_other() {
    with_seeds(|seed| {
        let mut world = cluster(seed, 3);
        for node in 1..=3 {
            world.join(node, "ls");
            healthy(&mut world);
        }
        assert!(!world.happened("RecoverSlot"));
    });
}

#[test]
fn three_join_at_once_while_they_boot() {
    with_seeds(|seed| {
        let mut world = World::new(seed, 3);
        for node in 1..=3 {
            world.join(node, "ls");
        }
        healthy(&mut world);
    });
}

#[test]
fn clean_leave_replays_nothing() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.leave(3, "ls");
        healthy(&mut world);
        assert!(!world.happened("RecoverSlot"));
        world.join(3, "ls");
        healthy(&mut world);
        assert!(!world.happened("RecoverSlot"));
    });
}

#[test]
fn all_leave_and_the_daemons_end() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        for node in 1..=3 {
            world.leave(node, "ls");
        }
        healthy(&mut world);
        for node in 1..=3 {
            world.terminate(node);
        }
        rest(&mut world);
        assert_eq!(world.times("daemon ends in order"), 3);
        assert!(!world.happened("-> agent"));
    });
}

#[test]
fn crash_is_fenced_and_replayed() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.crash(3);
        healthy(&mut world);
        assert_eq!(world.times("-> agent for 3"), 1);
        assert_eq!(world.times("RecoverSlot { node: NodeId(3)"), 2);
        world.boot(3);
        world.join(3, "ls");
        healthy(&mut world);
    });
}

#[test]
fn crash_of_two() {
    with_seeds(|seed| {
        let mut world = running(seed, 5);
        world.crash(4);
        if seed % 2 == 0 {
            world.run_millis(seed * 100);
        }
        world.crash(1);
        healthy(&mut world);
    });
}

#[test]
fn quorum_is_waited_for() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.crash(3);
        world.crash(2);
        rest(&mut world);
        assert!(!world.happened("-> agent"), "no fencing without quorum");
        world.boot(2);
        world.join(2, "ls");
        healthy(&mut world);
    });
}

#[test]
fn fencing_fails_and_is_repeated() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.fail_fencing(3, 3);
        world.crash(3);
        healthy(&mut world);
        assert_eq!(world.times("-> agent for 3"), 4);
    });
}

#[test]
fn hanging_agent_is_given_up() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.order_fencing(3, Behaviour::Hangs);
        world.crash(3);
        healthy(&mut world);
    });
}

#[test]
fn actor_dies_while_it_fences() {
    with_seeds(|seed| {
        let mut world = running(seed, 5);
        world.crash(5);
        assert!(world.run_until(|w| w.happened("-> agent for 5"), MANY));
        world.crash(1);
        healthy(&mut world);
    });
}

#[test]
fn operator_acknowledges() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.stand_fencing(3, Behaviour::Fails(1));
        world.crash(3);
        world.run_millis(20_000);
        sound(&world);
        world.acknowledge(2, 3);
        healthy(&mut world);
    });
}

#[test]
fn partition_fences_the_minority() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.partition(&[&[1, 2], &[3]]);
        healthy(&mut world);
        assert!(world.happened("POWER 3 off: fenced"));
        world.heal();
        world.boot(3);
        world.join(3, "ls");
        healthy(&mut world);
    });
}

#[test]
fn partition_heals_before_the_fencing_succeeds() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.stand_fencing(3, Behaviour::Fails(1));
        world.partition(&[&[1, 2], &[3]]);
        world.run_millis(3000 + seed * 150);
        world.heal();
        world.run_millis(10_000);
        sound(&world);
        world.repair_fencing();
        healthy(&mut world);
    });
}

#[test]
fn short_partition() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.partition(&[&[1, 2], &[3]]);
        world.run_millis(seed * 150);
        world.heal();
        healthy(&mut world);
    });
}

#[test]
fn late_joiner_waits_for_the_fencing() {
    with_seeds(|seed| {
        let mut world = running(seed, 5);
        world.leave(4, "ls");
        healthy(&mut world);
        world.stand_fencing(5, Behaviour::Fails(1));
        world.crash(5);
        world.run_millis(10_000);
        world.join(4, "ls");
        world.run_millis(10_000);
        sound(&world);
        world.repair_fencing();
        healthy(&mut world);
    });
}

#[test]
fn late_daemon_waits_for_the_fencing() {
    with_seeds(|seed| {
        let mut world = cluster(seed, 5);
        for node in [1, 2, 3, 5] {
            world.join(node, "ls");
        }
        healthy(&mut world);
        world.terminate(4);
        healthy(&mut world);
        world.stand_fencing(5, Behaviour::Fails(1));
        world.crash(5);
        world.run_millis(10_000);
        world.start_daemon(4);
        world.join(4, "ls");
        world.run_millis(60_000);
        sound(&world);
        world.repair_fencing();
        healthy(&mut world);
        world.join(4, "ls");
        healthy(&mut world);
    });
}

#[test]
fn join_and_leave_during_recovery() {
    with_seeds(|seed| {
        let mut world = running(seed, 5);
        world.leave(4, "ls");
        healthy(&mut world);
        world.crash(5);
        world.run_millis(seed * 130);
        world.join(4, "ls");
        world.run_millis(seed * 70);
        world.leave(2, "ls");
        healthy(&mut world);
    });
}

#[test]
fn leave_and_return_between_two_starts_is_renewed() {
    with_seeds(|seed| {
        let mut world = running(seed, 5);
        world.stops_take(1, Some(8_000));
        world.leave(3, "ls");
        world.run_millis(2_000 + 100 * seed);
        world.join(3, "ls");
        healthy(&mut world);
    });
}

#[test]
fn flapping_node_during_a_long_stop() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.stops_take(2, Some(60_000));
        world.crash(3);
        world.run_millis(8_000);
        world.boot(3);
        world.join(3, "ls");
        world.run_millis(500 * seed);
        world.crash(3);
        world.run_millis(8_000);
        world.boot(3);
        world.join(3, "ls");
        healthy(&mut world);
    });
}

#[test]
fn killed_daemon_gets_its_node_fenced() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.kill_daemon(3);
        healthy(&mut world);
        assert!(world.happened("POWER 3 off: fenced"));
    });
}

#[test]
fn killed_daemon_without_lockspaces_comes_back() {
    with_seeds(|seed| {
        let mut world = cluster(seed, 3);
        world.join(1, "ls");
        world.join(2, "ls");
        healthy(&mut world);
        world.kill_daemon(3);
        world.start_daemon(3);
        world.join(3, "ls");
        rest(&mut world);
        world.boot(3);
        world.join(3, "ls");
        healthy(&mut world);
    });
}

#[test]
fn even_split_and_merge() {
    with_seeds(|seed| {
        let mut world = running(seed, 4);
        world.partition(&[&[1, 2], &[3, 4]]);
        rest(&mut world);
        assert!(!world.happened("-> agent"), "nobody is quorate");
        world.heal();
        rest(&mut world);
        for node in 1..=4 {
            world.boot(node);
        }
        for node in 1..=4 {
            world.join(node, "ls");
        }
        healthy(&mut world);
    });
}

#[test]
fn two_nodes_race() {
    with_seeds(|seed| {
        let mut world = running(seed, 2);
        world.partition(&[&[1], &[2]]);
        healthy(&mut world);
        assert_eq!(world.times("off: fenced"), 1, "one wins");
        world.heal();
        world.boot(1);
        world.boot(2);
        world.join(1, "ls");
        world.join(2, "ls");
        healthy(&mut world);
    });
}

/// The majority has lost a node and cannot fence it; when the network is whole again corosync is asked to remove it, and it is fenced
/// when that can be.
#[test]
fn kicked_node_is_fenced() {
    with_seeds(|seed| {
        let mut world = running(seed, 3);
        world.stand_fencing(3, Behaviour::Fails(1));
        world.partition(&[&[1, 2], &[3]]);
        // Both sides have seen it.
        world.run_millis(10_000);
        world.heal();
        assert!(world.run_until(|w| w.happened("-> kick 3"), MANY));
        assert!(!world.happened("off: fenced"));
        world.repair_fencing();
        healthy(&mut world);
        assert_eq!(world.times("off: fenced"), 1);
        assert!(!world.happened("-> kick 1") && !world.happened("-> kick 2"));
    });
}

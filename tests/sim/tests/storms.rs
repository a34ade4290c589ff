//! A fixed set of storms; `make sim` runs fresh ones.

use dlm_sim::campaign::run_seed;
use dlm_sim::plan::{Plan, Shape};
use dlm_sim::storm::{Story, run};

fn storms(seeds: std::ops::Range<u64>, shape: Shape) {
    for seed in seeds {
        let outcome = run_seed(seed, shape);
        assert_eq!(outcome.broken, None, "seed {seed} of {shape:?}");
        assert!(outcome.recoveries > 0, "seed {seed} of {shape:?} recovers nothing");
    }
}

/// Plans as they were before gfs2 withdrew in some of them.
const BEFORE: Shape = Shape { withdraws: false, rare: None, locks: None, ..PLAIN };

/// Plans as they were before there were POSIX locks and rare faults.
const PLAIN: Shape = Shape {
    nodes: None,
    lockspaces: None,
    locks: Some(false),
    rare: Some(false),
    withdraws: false,
    aimed: false,
    lies: false,
    c_peers: false,
};

#[test]
fn storms_of_every_shape() {
    storms(1..300, Shape::default());
}

#[test]
fn storms_of_one_to_four_nodes() {
    for nodes in 1..=4 {
        storms(1..40, Shape { nodes: Some(nodes), ..Shape::default() });
    }
}

#[test]
fn storms_of_many_nodes_and_lockspaces() {
    storms(1..3, Shape { nodes: Some(16), lockspaces: Some(5), ..Shape::default() });
}

/// Seeds that showed what is a script of the core's now; the plans behind them may change with the generator.
#[test]
fn seeds_that_broke_a_promise_once() {
    for seed in [
        160,
        1260,
        2338,
        2749,
        2828,
        4077,
        5717,
        11_592,
        9340,
        16_257,
        23_779,
        58_496,
        880_000_000_236_891,
    ] {
        storms(seed..seed + 1, PLAIN);
    }
}

/// The first two: a daemon that hung while all came that know is told that nobody is being fenced. The others: a START from
/// before a joiner's stay does not cost it the POSIX locks.
#[test]
fn seeds_with_locks_and_rare_faults_that_broke_a_promise_once() {
    for seed in [880_000_000_001_515, 880_000_000_001_596, 880_000_000_015_972, 880_000_000_019_507]
    {
        storms(seed..seed + 1, BEFORE);
    }
}

/// A member with state of another partition fails, and those who began since without start-up fencing know nothing of it; word
/// about fencing from a daemon that hung is about a former life.
#[test]
fn seeds_of_fencing_that_nobody_knew_of() {
    for seed in [991_000_000_009_445, 993_000_000_007_388, 993_000_000_042_146, 993_000_000_070_638]
    {
        storms(seed..seed + 1, BEFORE);
    }
}

/// Who had no quorum did not know whom the others were fencing; of two that met with state only one took the other for merged.
#[test]
fn seeds_of_partitions_that_met() {
    for seed in [994_000_000_019_695, 997_000_000_098_134, 660_000_000_055_374] {
        storms(seed..seed + 1, BEFORE);
    }
}

/// Two nodes that began apart, both with state: no side acts, which is said.
#[test]
fn two_nodes_that_began_apart_wait_for_an_operator() {
    const SEED: u64 = 991_000_000_051_869;
    storms(SEED..SEED + 1, BEFORE);
}

/// What the onlooker took for a broken promise: a START of an earlier membership whose sender has started in this one too, a
/// start that was tried in vain before a reset, a write that failed too often, a life that began after what we knew of its node.
#[test]
fn the_onlooker_keeps_lives_apart() {
    for seed in [991_000_000_007_432, 880_000_000_026_314, 993_000_000_028_313, 995_000_000_012_205]
    {
        storms(seed..seed + 1, BEFORE);
    }
}

/// A late first PROTOCOL of a node that came when we had run nothing yet: no merge, whatever we have started since.
#[test]
fn what_was_started_after_a_meeting_is_no_merge() {
    const SEED: u64 = 795_542_800_008_588;
    storms(SEED..SEED + 1, PLAIN);
}

/// Told at the merge that it holds nothing, it starts all the same, by STARTs from before the partition.
#[test]
fn who_has_sent_a_start_may_hold_state() {
    const SEED: u64 = 795_542_900_006_869;
    storms(SEED..SEED + 1, PLAIN);
}

/// Its daemon had left the other daemons before we came, its lockspace had not.
#[test]
fn a_member_whose_daemon_was_gone_before_us_is_waited_for() {
    const SEED: u64 = 600_000_000_084_907;
    storms(SEED..SEED + 1, PLAIN);
}

/// What the onlooker once took for a broken promise: a member that is ahead of what we have been shown, a clean leaver whose
/// kernel has not heard of it yet, a leave after a failure, a START behind our own leave, one of a member that cannot know what
/// another one waits for, or from before its sender could know, a member that is off or has nothing left to run.
#[test]
fn the_onlooker_knows_who_could_know_what() {
    for seed in [
        795_542_454_464_520,
        795_542_810_380_779,
        795_542_800_137_855,
        795_542_900_075_526,
        795_542_900_091_157,
        700_000_000_219_619,
        700_000_000_298_202,
        700_000_000_320_225,
        880_000_000_100_131,
        880_000_000_352_038,
    ] {
        storms(seed..seed + 1, PLAIN);
    }
}

/// Who sends POSIX locks dies of it, and the joiner has no quorum: what nobody uses is not given up again and again until the rest
/// of the locks comes.
#[test]
fn half_a_transfer_gives_up_nothing() {
    for seed in [1609, 1671] {
        storms(seed..seed + 1, Shape { aimed: true, ..BEFORE });
    }
}

/// A node that is fast in all else is slow to be heard among the daemons: it has run the lockspace when it is lost, and its PROTOCOL
/// has not come.
#[test]
fn who_has_run_is_fenced_though_its_daemon_was_never_heard() {
    for seed in [2455, 4303, 6086] {
        storms(seed..seed + 1, Shape { aimed: true, ..BEFORE });
    }
}

/// A joiner's start-up list is due: who was to tell it that it was seen to hung, or waits for the joiner's own past.
#[test]
fn who_knows_of_all_fencing_is_no_actor_of_a_startup_list() {
    for seed in [38, 880_000_000_002_242, 880_000_000_011_142] {
        storms(seed..seed + 1, Shape { aimed: true, ..BEFORE });
    }
}

/// A withdraw while another daemon starts, and while one that merged is to be removed; a START from before the withdraw; RELEASE_RECOVER
/// while a start is pending.
#[test]
fn seeds_of_withdraws_that_broke_a_promise_once() {
    let shape = Shape { withdraws: true, ..Shape::default() };
    for seed in [
        42_000_000_000_020,
        42_000_000_000_170,
        42_000_000_000_076,
        42_000_000_000_067,
        795_791_840_318_741,
        795_791_840_319_007,
    ] {
        storms(seed..seed + 1, shape);
    }
}

/// What the onlooker once took for a broken promise of a lockspace that is being released: it replays nothing, goes on with nothing, and
/// holds no slot; and a kernel before 6.18 that withdraws alone has nobody to replay its journal.
#[test]
fn the_onlooker_knows_what_is_released() {
    let shape = Shape { withdraws: true, ..Shape::default() };
    for seed in [
        42_000_000_001_604,
        42_000_000_003_248,
        42_000_000_005_139,
        42_000_000_017_415,
        42_000_000_047_851,
    ] {
        storms(seed..seed + 1, shape);
    }
    // Who mounts beside one that is unmounting is the first to mount, and replays all.
    for seed in [795_789_298_219_263, 795_789_298_260_760] {
        storms(seed..seed + 1, shape);
    }
    // Of two that were said to be fenced, one has begun since: the other cannot know it.
    const SEED: u64 = 45_000_000_005_957;
    storms(SEED..SEED + 1, Shape { lies: true, ..shape });
}

/// The actor for a node of a start-up list knows of no victim, or has failed before we came to the same.
#[test]
fn an_actor_that_does_nothing_is_not_awaited_for_ever() {
    for seed in [880_000_000_010_347, 880_000_000_011_463] {
        storms(seed..seed + 1, Shape { aimed: true, ..BEFORE });
    }
    let shape = Shape { aimed: true, withdraws: true, ..Shape::default() };
    for seed in [43_000_000_000_275, 43_000_000_000_305] {
        storms(seed..seed + 1, shape);
    }
}

/// The one that had not said what it can run is gone: the other, which only starts, has to propose.
#[test]
fn whoever_is_left_proposes_a_protocol() {
    const SEED: u64 = 43_000_000_000_572;
    let shape = Shape { aimed: true, withdraws: true, ..Shape::default() };
    storms(SEED..SEED + 1, shape);
}

/// It left before its first start, and has made that by the time at which the others take note of the leave.
#[test]
fn the_onlooker_knows_who_had_not_begun() {
    const SEED: u64 = 795_789_703_728_792;
    storms(SEED..SEED + 1, Shape { lies: true, ..Shape::default() });
}

/// Harm that C daemons do, and lives that left before their first start and joined anew.
#[cfg(feature = "mutants")]
#[test]
fn the_onlooker_knows_the_harm_of_c_daemons() {
    let shape = Shape { c_peers: true, ..BEFORE };
    for seed in [1_014_322, 1_020_185, 1_020_528] {
        assert_eq!(run_seed(seed, shape).broken, None, "seed {seed}");
    }
    const SEED: u64 = 44_000_000_000_050;
    let shape = Shape { withdraws: true, ..shape };
    assert_eq!(run_seed(SEED, shape).broken, None);
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let plan = Plan::draw(5, Shape::default());
    let tell = || run(&plan, Story::Told, dlm_sim::campaign::real());
    assert_eq!(tell(), tell());
    assert!(tell().story.lines().count() > 100);
}

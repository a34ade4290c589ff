//! What a request costs does not grow with the number of locks that it is not about, nor does the end of a process or of a node.
//!
//! Thirty-two times as many locks: O(log n) takes half as much again, and memory that is farther away its share; a walk over all
//! takes thirty times as long. What is asserted lies between them, with room for other work on the machine.

#[path = "plock/spread.rs"]
mod spread;

use dlm_core::plock::{Answer, FLAG_CLOSE, Mode, PlockInfo, RANGE_END, Resource};
use dlm_core::types::NodeId;
use spread::{STRIDE, lock_at, places, timed};
use std::hint::black_box;
use std::time::Duration;

const FEW: u64 = 2_000;
const MANY: u64 = 32 * FEW;
const GROWTH_MAX: u32 = 10;
/// Operations of each kind that are timed together.
const COUNT: u64 = 500;
const ROUNDS: usize = 3;
/// The owner whose end is timed has locks of its own kind, on a node of its own.
const LEAVER: u64 = 1_000_000;

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

/// A lock of who will leave, between two others.
fn leavers(place: u64) -> PlockInfo {
    let start = place * STRIDE + STRIDE / 2 + 1;
    PlockInfo { owner: LEAVER, node: node(99), start, end: start + 9, ..lock_at(place) }
}

/// The least of some rounds, as other work on the machine only adds.
fn least(resource: &mut Resource, mut round: impl FnMut(&mut Resource) -> Duration) -> Duration {
    (0..ROUNDS).map(|_| round(resource)).min().unwrap()
}

/// What `COUNT` of each take, with so many locks in the file.
fn times(locks: u64) -> Vec<(&'static str, Duration)> {
    let mut resource = Resource::default();
    for place in 0..locks {
        assert_eq!(resource.lock(&lock_at(place)), Answer::Granted);
    }
    let mut none = Vec::new();
    let other = |place| PlockInfo { owner: LEAVER, mode: Mode::Write, ..lock_at(place) };
    let unlock_and_lock = least(&mut resource, |resource| {
        timed(|| {
            for place in places(locks, 0, COUNT) {
                resource.unlock(&lock_at(place), &mut none);
                assert_eq!(resource.lock(&lock_at(place)), Answer::Granted);
                resource.run_waiters(&mut none);
            }
        })
    });
    let test = least(&mut resource, |resource| {
        timed(|| {
            places(locks, 0, COUNT).for_each(|place| assert!(resource.get(&other(place)).is_some()))
        })
    });
    let refusal = least(&mut resource, |resource| {
        timed(|| {
            for place in places(locks, 0, COUNT) {
                let all = PlockInfo { start: 0, end: RANGE_END, ..other(place) };
                assert_eq!(black_box(resource.lock(&all)), Answer::Conflict);
            }
        })
    });
    let with_leaver = |resource: &mut Resource| {
        for place in places(locks, 0, COUNT) {
            assert_eq!(resource.lock(&leavers(place)), Answer::Granted);
        }
    };
    let close = least(&mut resource, |resource| {
        with_leaver(resource);
        let close = PlockInfo { flags: FLAG_CLOSE, start: 0, end: RANGE_END, ..leavers(0) };
        timed(|| resource.unlock(&close, &mut Vec::new()))
    });
    let purge = least(&mut resource, |resource| {
        with_leaver(resource);
        let mut purged = 0;
        let time = timed(|| purged = resource.purge(node(99)));
        assert_eq!(u64::try_from(purged), Ok(COUNT));
        time
    });
    assert_eq!(u64::try_from(resource.locks().count()), Ok(locks));
    vec![
        ("unlock and lock", unlock_and_lock),
        ("test", test),
        ("refusal", refusal),
        ("end of a process", close),
        ("end of a node", purge),
    ]
}

#[test]
fn nothing_is_walked_through_that_a_request_is_not_about() {
    let (few, many) = (times(FEW), times(MANY));
    for ((what, few), (_, many)) in few.into_iter().zip(many) {
        println!("{what}: {few:?} with {FEW} locks, {many:?} with {MANY}");
        assert!(many < few * GROWTH_MAX, "{what}: {few:?} with {FEW} locks, {many:?} with {MANY}");
    }
}

/// All wait for the whole file: each unlock grants one, and the others are not looked at.
#[test]
fn a_queue_for_one_range_costs_each_unlock_the_same() {
    let whole = |owner| PlockInfo {
        owner,
        mode: Mode::Write,
        wait: true,
        start: 0,
        end: RANGE_END,
        ..lock_at(0)
    };
    let time = |waiters: u64| {
        let mut queue = Resource::default();
        assert_eq!(queue.lock(&whole(0)), Answer::Granted);
        for owner in 1..=waiters {
            assert_eq!(queue.lock(&whole(owner)), Answer::Queued);
        }
        let mut owner = 0;
        least(&mut queue, |queue| {
            timed(|| {
                for _ in 0..COUNT {
                    let mut granted = Vec::new();
                    queue.unlock(&whole(owner), &mut Vec::new());
                    queue.run_waiters(&mut granted);
                    owner += 1;
                    assert_eq!(granted, [whole(owner)]);
                }
            })
        })
    };
    let (few, many) = (time(FEW), time(MANY));
    println!("{few:?} with {FEW} waiters, {many:?} with {MANY}");
    assert!(many < few * GROWTH_MAX, "{few:?} with {FEW} waiters, {many:?} with {MANY}");
}

/// All wait for the whole file, others unlock small parts of it, from one end to the other or back: it is enough to see once that a
/// lock elsewhere is in the way of all who wait.
#[test]
fn unlocks_of_parts_cost_the_same_however_many_wait_for_the_whole_file() {
    let whole = |owner| PlockInfo {
        owner: LEAVER + owner,
        mode: Mode::Write,
        wait: true,
        start: 0,
        end: RANGE_END,
        ..lock_at(0)
    };
    let time = |waiters: u64, order: fn(u64) -> u64| {
        let mut resource = Resource::default();
        for place in 0..2 * COUNT {
            assert_eq!(resource.lock(&lock_at(place)), Answer::Granted);
        }
        for owner in 0..waiters {
            assert_eq!(resource.lock(&whole(owner)), Answer::Queued);
        }
        let mut granted = Vec::new();
        least(&mut resource, |resource| {
            let time = timed(|| {
                for at in 0..COUNT {
                    resource.unlock(&lock_at(order(at)), &mut Vec::new());
                    resource.run_waiters(&mut granted);
                }
            });
            for at in 0..COUNT {
                assert_eq!(resource.lock(&lock_at(order(at))), Answer::Granted);
            }
            assert_eq!(granted, []);
            time
        })
    };
    let compare = |what: &str, order: fn(u64) -> u64| {
        let (few, many) = (time(FEW, order), time(MANY, order));
        println!("{what}: {few:?} with {FEW} waiters, {many:?} with {MANY}");
        assert!(many < few * GROWTH_MAX, "{what}: {few:?} with {FEW}, {many:?} with {MANY}");
    };
    compare("up", |at| at);
    compare("down", |at| 2 * COUNT - 1 - at);
}

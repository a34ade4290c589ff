//! How many requests a second one resource decides while it holds many locks, on one core; and the plain lists of the
//! rules for comparison, with fewer locks. Each figure is the median of some rounds.
//!
//! `cargo run --release -p dlm-core --example plock_rate`; with `-- --least 100000` it fails where locks, unlocks or tests are
//! fewer a second.

#[path = "../tests/plock/naive.rs"]
#[expect(dead_code, reason = "not all of its calls are measured")]
mod naive;
#[path = "../tests/plock/spread.rs"]
mod spread;

use dlm_core::plock::{Answer, Lock, Mode, PlockInfo, RANGE_END, Resource};
use naive::Naive;
use spread::{HOLDERS, lock_at, places, timed};
use std::hint::black_box;
use std::process::ExitCode;

const ROUNDS: usize = 7;

/// The calls that are measured.
trait Calls: Default {
    fn lock(&mut self, request: &PlockInfo) -> Answer;
    fn unlock(&mut self, request: &PlockInfo);
    fn get(&self, request: &PlockInfo) -> Option<Lock>;
    fn run_waiters(&mut self, granted: &mut Vec<PlockInfo>);
}

macro_rules! calls {
    ($name:ident) => {
        impl Calls for $name {
            fn lock(&mut self, request: &PlockInfo) -> Answer {
                self.lock(request)
            }
            fn unlock(&mut self, request: &PlockInfo) {
                self.unlock(request, &mut Vec::new());
            }
            fn get(&self, request: &PlockInfo) -> Option<Lock> {
                self.get(request)
            }
            fn run_waiters(&mut self, granted: &mut Vec<PlockInfo>) {
                self.run_waiters(granted);
            }
        }
    };
}

calls!(Resource);
calls!(Naive);

/// Operations for each second of processor time.
fn rate(count: u64, work: impl FnOnce()) -> f64 {
    f64::from(u32::try_from(count).expect("small")) / timed(work).as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Resident memory in bytes, as the kernel counts it.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// What was measured.
struct Figures {
    /// Bytes of memory for each lock: meaningful in a young process only.
    bytes: u64,
    /// Of locks, unlocks and tests that which is done least often in a second.
    least: f64,
}

fn measure<T: Calls>(name: &str, locks: u64, count: u64) -> Figures {
    let before = resident();
    let mut resource = T::default();
    for place in places(locks, 0, locks) {
        assert_eq!(resource.lock(&lock_at(place)), Answer::Granted);
    }
    let bytes = resident().saturating_sub(before) / locks;
    println!("{name}, {locks} locks held:");
    let [mut unlock, mut lock, mut test, mut refused] = [const { Vec::new() }; 4];
    let mut none = Vec::new();
    for round in 0..ROUNDS {
        unlock.push(rate(count, || {
            for place in places(locks, round, count) {
                resource.unlock(&lock_at(place));
                resource.run_waiters(&mut none);
            }
        }));
        lock.push(rate(count, || {
            for place in places(locks, round, count) {
                assert_eq!(resource.lock(&lock_at(place)), Answer::Granted);
                resource.run_waiters(&mut none);
            }
        }));
        let other = |place| PlockInfo { owner: HOLDERS, mode: Mode::Write, ..lock_at(place) };
        test.push(rate(count, || {
            for place in places(locks, round, count) {
                assert!(black_box(resource.get(&other(place))).is_some());
            }
        }));
        refused.push(rate(count, || {
            for place in places(locks, round, count) {
                let all = PlockInfo { start: 0, end: RANGE_END, ..other(place) };
                assert_eq!(resource.lock(&all), Answer::Conflict);
            }
        }));
    }
    let mut least = f64::INFINITY;
    for (what, figures) in [("lock", lock), ("unlock", unlock), ("test", test)] {
        let figure = median(figures);
        least = least.min(figure);
        println!("{figure:>12.0} a second  {what}");
    }
    println!("{:>12.0} a second  refused, whole file", median(refused));
    Figures { bytes, least }
}

/// Bytes of memory for each of many files that have one lock.
fn small_files(files: u64) -> u64 {
    let before = resident();
    let mut all: Vec<Resource> = Vec::new();
    for place in 0..files {
        let mut resource = Resource::default();
        assert_eq!(resource.lock(&lock_at(place)), Answer::Granted);
        all.push(resource);
    }
    let bytes = resident().saturating_sub(before) / files;
    assert!(black_box(all).iter().all(|resource| !resource.is_empty()));
    bytes
}

/// All wait for the whole file: how many unlocks, each of which grants the next one, in a second.
fn queue<T: Calls>(name: &str, waiters: u64) {
    let whole = |owner| PlockInfo {
        owner,
        mode: Mode::Write,
        wait: true,
        start: 0,
        end: RANGE_END,
        ..lock_at(0)
    };
    let mut resource = T::default();
    for owner in 0..=waiters {
        resource.lock(&whole(owner));
    }
    let mut granted = Vec::new();
    let figure = rate(waiters, || {
        for owner in 0..waiters {
            resource.unlock(&whole(owner));
            resource.run_waiters(&mut granted);
        }
    });
    assert_eq!(u64::try_from(granted.len()), Ok(waiters));
    println!(
        "{name}, {waiters} wait for the whole file:\n{figure:>12.0} a second  unlock and grant"
    );
}

/// The number behind `--least`.
fn wanted() -> f64 {
    let mut words = std::env::args().skip_while(|word| word != "--least");
    words.nth(1).map_or(0.0, |number| number.parse().expect("a number"))
}

fn main() -> ExitCode {
    let entry = size_of::<Lock>();
    println!("a lock is {entry} bytes, a waiter {} bytes, without index", size_of::<PlockInfo>());
    let Figures { bytes, least } = measure::<Resource>("core", 100_000, 50_000);
    println!("{bytes:>12} bytes of memory a lock");
    println!("{:>12} bytes of memory a file with one lock", small_files(100_000));
    if wanted() > 0.0 {
        let enough = wanted() <= least;
        println!("{least:.0} a second at least, {:.0} wanted", wanted());
        return if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    measure::<Naive>("plain lists", 5_000, 2_000);
    queue::<Resource>("core", 100_000);
    queue::<Naive>("plain lists", 2_000);
    ExitCode::SUCCESS
}

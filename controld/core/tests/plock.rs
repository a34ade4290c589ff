//! One resource's POSIX locks against two references: the rules as plain lists, which must agree in every answer, in
//! the order of the lists and in who is granted when; and POSIX itself, byte by byte.

#[path = "plock/bytes.rs"]
mod bytes;
#[path = "plock/naive.rs"]
mod naive;

use bytes::Bytes;
use dlm_core::plock::{Answer, FLAG_CLOSE, Lock, Mode, Op, PlockInfo, RANGE_END, Resource};
use dlm_core::types::{GlobalId, NodeId};
use naive::Naive;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Deterministic numbers (splitmix64), so that a failure shows itself again.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let limit = u64::try_from(all.len()).unwrap();
        let at = self.next().checked_rem(limit)?;
        all.get(usize::try_from(at).unwrap())
    }

    fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }
}

/// What kind of life a resource leads.
#[derive(Clone, Copy, Debug)]
struct Life {
    /// Bytes that the requests are about.
    size: u64,
    /// Longest usual range.
    length: u64,
    nodes: u64,
    owners: u64,
    /// One lock in so many is for writing.
    writers: u64,
    /// The pass over the waiters is left out once in so many requests; 0 for never.
    lazy: u64,
    /// Peers send locks and waiters that nobody checks.
    pushes: bool,
}

fn node(id: u64) -> NodeId {
    NodeId::new(u32::try_from(id).unwrap()).unwrap()
}

impl Life {
    fn request(&self, numbers: &mut Numbers) -> PlockInfo {
        let start = numbers.below(self.size);
        let mut end = (start + numbers.below(self.length)).min(self.size - 1);
        let mut start = start;
        match numbers.below(24) {
            0 => (start, end) = (0, RANGE_END),
            1 => end = RANGE_END,
            2 => end = u64::MAX,
            3 => (start, end) = (0, self.size - 1),
            4 if start > 0 => (start, end) = (start, start - 1),
            _ => {}
        }
        let owner = numbers.below(self.owners);
        PlockInfo {
            version: [1, 2, 0],
            op: Op::Lock,
            mode: if numbers.one_in(self.writers) { Mode::Write } else { Mode::Read },
            wait: numbers.one_in(2),
            flags: 0,
            pid: u32::try_from(100 + numbers.below(3)).unwrap(),
            node: node(1 + numbers.below(self.nodes)),
            result: 0,
            fsid: GlobalId(7),
            number: 9,
            start,
            end,
            owner,
        }
    }
}

/// The three, side by side.
#[derive(Default)]
struct Trio {
    fast: Resource,
    naive: Naive,
    /// As long as nobody has pushed anything unchecked.
    bytes: Option<Bytes>,
    /// Waiters so far.
    granted: usize,
}

impl Trio {
    fn lock(&mut self, request: &PlockInfo) {
        let answer = self.fast.lock(request);
        assert_eq!(answer, self.naive.lock(request));
        let valid = Resource::accepts(request.start, request.end);
        assert_eq!(answer == Answer::Invalid, !valid);
        if let Some(bytes) = self.bytes.as_mut().filter(|_| valid) {
            assert_eq!(answer == Answer::Granted, !bytes.refused(request));
            assert_eq!(answer == Answer::Queued, bytes.refused(request) && request.wait);
            if answer == Answer::Granted {
                bytes.lock(request);
            }
        }
    }

    fn unlock(&mut self, request: &PlockInfo) {
        let (mut cleared, mut expected) = (Vec::new(), Vec::new());
        self.fast.unlock(request, &mut cleared);
        self.naive.unlock(request, &mut expected);
        assert_eq!(cleared, expected);
        if let Some(bytes) = &mut self.bytes {
            bytes.unlock(request);
        }
    }

    fn run_waiters(&mut self) {
        let (mut granted, mut expected) = (Vec::new(), Vec::new());
        self.fast.run_waiters(&mut granted);
        self.naive.run_waiters(&mut expected);
        assert_eq!(granted, expected);
        self.granted += granted.len();
        if let Some(bytes) = &mut self.bytes {
            for waiter in &granted {
                assert!(!bytes.refused(waiter), "{waiter:?}");
                bytes.lock(waiter);
            }
        }
    }

    /// One of the waiters or locks, or something alike.
    fn known(&self, life: &Life, numbers: &mut Numbers) -> PlockInfo {
        let waiters: Vec<&PlockInfo> = self.naive.waiters().map(|(waiter, _)| waiter).collect();
        let locks: Vec<&Lock> = self.naive.locks().map(|(lock, _)| lock).collect();
        let mut request = life.request(numbers);
        if let Some(waiter) = numbers.one_of(&waiters) {
            if numbers.one_in(2) {
                return **waiter;
            }
        }
        if let Some(&lock) = numbers.one_of(&locks) {
            let &Lock { start, end, holder, pid, mode } = lock;
            request = PlockInfo { start, end, pid, mode, node: holder.node, ..request };
            request.owner = holder.owner;
            // Right behind it.
            if numbers.one_in(4) && end < life.size - 1 {
                request.start = end + 1;
                request.end = (request.start + numbers.below(life.length)).min(life.size - 1);
            }
        }
        request
    }

    fn push(&mut self, info: PlockInfo, waiter: bool) {
        self.bytes = None;
        if waiter {
            assert_eq!(self.fast.push_waiter(info), self.naive.push_waiter(info));
        } else {
            let lock = Lock::of(&info);
            assert_eq!(self.fast.push_lock(lock), self.naive.push_lock(lock));
        }
    }

    fn step(&mut self, life: &Life, numbers: &mut Numbers) {
        let wild = life.request(numbers);
        let known = self.known(life, numbers);
        let request = if numbers.one_in(3) { known } else { wild };
        match numbers.below(40) {
            0..20 => self.lock(&request),
            20..30 => self.unlock(&request),
            30..32 => {
                self.unlock(&PlockInfo { flags: FLAG_CLOSE, start: 0, end: RANGE_END, ..request });
            }
            32 => self.unlock(&PlockInfo { flags: FLAG_CLOSE, ..request }),
            33..35 => assert_eq!(self.fast.cancel(&known), self.naive.cancel(&known)),
            35 if numbers.one_in(8) => {
                assert_eq!(self.fast.purge(request.node), self.naive.purge(request.node));
                if let Some(bytes) = &mut self.bytes {
                    bytes.purge(request.node);
                }
            }
            36 if numbers.one_in(8) => {
                self.fast.mark_syncing();
                self.naive.mark_syncing();
            }
            37 => assert_eq!(self.fast.synced(&known), self.naive.synced(&known)),
            38 if life.pushes => {
                let waiter = numbers.one_in(2);
                self.push(request, waiter);
            }
            39 if numbers.one_in(50) => {
                self.fast.clear();
                self.naive.clear();
                self.bytes = self.bytes.take().map(|_| Bytes::default());
            }
            _ => {}
        }
        if life.lazy == 0 || !numbers.one_in(life.lazy) {
            self.run_waiters();
        }
        let test = life.request(numbers);
        assert_eq!(self.fast.get(&test), self.naive.get(&test));
    }

    fn check(&self, life: &Life) {
        assert!(self.fast.locks().eq(self.naive.locks()));
        assert!(self.fast.waiters().eq(self.naive.waiters()));
        assert_eq!(self.fast.is_empty(), self.naive.is_empty());
        if let Some(bytes) = self.bytes.as_ref().filter(|_| life.size <= bytes::SIZE) {
            assert_eq!(*bytes, Bytes::of(&self.fast));
        }
    }
}

/// How much happened, so that a life in which nothing does is seen.
#[derive(Debug, Default)]
struct Seen {
    most_locks: usize,
    most_waiters: usize,
    granted: usize,
}

/// Says where a life ended if it ended badly.
struct Place(Life, u64, u64);

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(life, seed, step) = self;
            eprintln!("{life:?} seed {seed} step {step}; again: SEED={seed} {FRESH}");
        }
    }
}

fn hash_of(resource: &Resource) -> u64 {
    let mut hasher = DefaultHasher::new();
    resource.hash(&mut hasher);
    hasher.finish()
}

/// A joiner that is sent the state goes on as we do, and is equal to us.
fn check_joiner(resource: &Resource) {
    let mut joiner = Resource::default();
    resource.locks().for_each(|(lock, _)| assert!(joiner.push_lock(*lock)));
    resource.waiters().for_each(|(waiter, _)| assert!(joiner.push_waiter(*waiter)));
    let marked = resource.locks().any(|lock| lock.1) || resource.waiters().any(|waiter| waiter.1);
    if !marked {
        assert_eq!(joiner, *resource);
        assert_eq!(hash_of(&joiner), hash_of(resource));
    }
    let mut resource = resource.clone();
    let (mut granted, mut expected) = (Vec::new(), Vec::new());
    joiner.run_waiters(&mut granted);
    resource.run_waiters(&mut expected);
    assert_eq!(granted, expected);
}

fn live(life: Life, seed: u64, steps: u64) -> Seen {
    let mut numbers = Numbers(seed);
    let bytes = (life.size <= bytes::SIZE).then(Bytes::default);
    let mut trio = Trio { bytes, ..Trio::default() };
    let mut seen = Seen::default();
    let mut place = Place(life, seed, 0);
    for step in 0..steps {
        place.2 = step;
        trio.step(&life, &mut numbers);
        trio.check(&life);
        if step % 32 == 0 {
            check_joiner(&trio.fast);
        }
        seen.most_locks = seen.most_locks.max(trio.naive.locks().count());
        seen.most_waiters = seen.most_waiters.max(trio.naive.waiters().count());
    }
    seen.granted = trio.granted;
    seen
}

/// As many lives as a build with optimisation has time for; the others get a twentieth of it.
fn lives(life: Life, seeds: u64, steps: u64) -> Seen {
    let mut all = Seen::default();
    let seeds = if cfg!(debug_assertions) { seeds / 20 } else { seeds };
    for seed in 0..seeds {
        let seen = live(life, seed, steps);
        all.most_locks = all.most_locks.max(seen.most_locks);
        all.most_waiters = all.most_waiters.max(seen.most_waiters);
        all.granted += seen.granted;
    }
    all
}

const SMALL: Life =
    Life { size: 64, length: 12, nodes: 3, owners: 3, writers: 3, lazy: 0, pushes: false };
const FEW_HOLDERS: Life = Life { nodes: 1, owners: 3, length: 40, writers: 2, ..SMALL };
const READERS: Life = Life { owners: 20, length: 64, writers: 10, ..SMALL };
const LAZY: Life = Life { lazy: 2, ..SMALL };
const UNCHECKED: Life = Life { lazy: 8, pushes: true, ..SMALL };
const LARGE: Life =
    Life { size: 1 << 40, length: 1 << 34, nodes: 8, owners: 10, writers: 6, ..SMALL };

#[test]
fn small_files_as_lists_and_as_bytes() {
    let seen = lives(SMALL, 600, 400);
    assert!(seen.most_locks > 15 && seen.most_waiters > 15 && seen.granted > 150, "{seen:?}");
}

#[test]
fn few_holders_that_upgrade_and_downgrade() {
    let seen = lives(FEW_HOLDERS, 600, 400);
    assert!(seen.most_locks > 8 && seen.most_waiters > 10 && seen.granted > 300, "{seen:?}");
}

#[test]
fn mostly_readers() {
    let seen = lives(READERS, 600, 400);
    assert!(seen.most_locks > 30 && seen.most_waiters > 15 && seen.granted > 20, "{seen:?}");
}

#[test]
fn waiters_that_are_not_run_at_once() {
    let seen = lives(LAZY, 600, 400);
    assert!(seen.most_locks > 15 && seen.most_waiters > 15 && seen.granted > 100, "{seen:?}");
}

#[test]
fn locks_and_waiters_that_nobody_checked() {
    let seen = lives(UNCHECKED, 600, 400);
    assert!(seen.most_locks > 15 && seen.most_waiters > 15 && seen.granted > 100, "{seen:?}");
}

#[test]
fn many_locks_in_a_large_file() {
    let seen = lives(LARGE, 60, 2000);
    assert!(seen.most_locks > 100 && seen.most_waiters > 30 && seen.granted > 30, "{seen:?}");
}

/// Tells a life again: all kinds of lives from `SEED` on, for `SECONDS`, or that seed alone.
const FRESH: &str = "cargo test --release -p dlm-core --test plock -- --ignored fresh_lives";

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
#[ignore = "random, and as long as SECONDS say: for the sim tier"]
fn fresh_lives() {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let first = from_environment("SEED");
    // Small enough to be read.
    let first = first.unwrap_or_else(|| u64::try_from(clock() % 1_000_000_000_000).unwrap());
    let seconds = from_environment("SECONDS").unwrap_or(0);
    println!(
        "POSIX locks and their models from seed {first} on: SEED={first} SECONDS={seconds} {FRESH}"
    );
    let begin = Instant::now();
    for seed in first.. {
        for life in [SMALL, FEW_HOLDERS, READERS, LAZY, UNCHECKED, LARGE] {
            live(life, seed, 400);
        }
        if begin.elapsed() >= Duration::from_secs(seconds) {
            println!("{} seeds", seed - first + 1);
            break;
        }
    }
}

/// Ten thousand wait for the whole file: each unlock grants the next one, and the rest cost nothing to speak of.
#[test]
fn a_queue_for_the_whole_file_drains_in_order() {
    let mut numbers = Numbers(1);
    let mut resource = Resource::default();
    let waiter = |owner: u64| {
        let life = Life { nodes: 1, ..SMALL };
        let request = life.request(&mut Numbers(owner));
        PlockInfo { owner, start: 0, end: RANGE_END, wait: true, mode: Mode::Write, ..request }
    };
    let waiters = 10_000;
    assert_eq!(resource.lock(&waiter(0)), Answer::Granted);
    for owner in 1..=waiters {
        assert_eq!(resource.lock(&waiter(owner)), Answer::Queued);
        resource.run_waiters(&mut Vec::new());
    }
    for owner in 0..waiters {
        let mut granted = Vec::new();
        resource.unlock(&waiter(owner), &mut Vec::new());
        resource.run_waiters(&mut granted);
        assert_eq!(granted, [waiter(owner + 1)]);
        let other = waiter(numbers.below(owner + 1));
        assert_eq!(resource.get(&other).map(|lock| lock.holder.owner), Some(owner + 1));
    }
}

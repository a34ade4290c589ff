//! What a lock and its unlock cost on their way through the whole core, where many files are locked: from the kernel's request,
//! through the group if it goes there, to the result. Nanoseconds of processor time, each the median of some rounds.
//!
//! `cargo run --release -p dlm-core --example plock_path`; with `-- owned 1000` that path alone, so often: the difference of two
//! such runs under a simulator of the processor is what it costs in instructions. With `-- --least 200000` it fails where the core
//! carries out fewer requests a second in a file with a hundred thousand locks.

#[path = "../tests/runner/mod.rs"]
#[expect(dead_code, reason = "it only founds the lockspace")]
mod runner;
#[path = "../tests/plock/spread.rs"]
#[expect(dead_code, reason = "its locks of one file are for others")]
mod spread;

use dlm_core::Core;
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::plock::{Mode, Op, PlockInfo};
use dlm_core::types::{GlobalId, Group, Instant, LockspaceName, NodeId, Now, WallSeconds};
use spread::timed;
use std::process::ExitCode;

/// Files that others have locked.
const FILES: u64 = 10_000;
/// Locks of one file that has many.
const LOCKS: u64 = 100_000;
/// Length of a PLOCK on the wire.
const LENGTH: usize = 104;
const ROUNDS: usize = 7;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// To everybody, for a file that nobody else has locked.
    Fresh,
    /// To everybody, for a file where others have a lock.
    Shared,
    /// Nowhere: the file is ours.
    Owned,
    /// To everybody, for a file with many locks.
    Crowded,
    /// Nowhere: a file with many locks is ours.
    OwnedCrowded,
}

impl Path {
    fn is_owned(self) -> bool {
        matches!(self, Self::Owned | Self::OwnedCrowded)
    }

    fn is_crowded(self) -> bool {
        matches!(self, Self::Crowded | Self::OwnedCrowded)
    }

    /// File and process of a lock that nobody has, of many that are all over the place.
    fn place(self, at: u64) -> (u64, u64) {
        // Locked by a process here, which makes no difference to the path.
        let file = 2 * (at * 64_007 % FILES);
        match self {
            Self::Fresh | Self::Owned => (file + 1, 8),
            Self::Shared => (file, 8),
            Self::Crowded | Self::OwnedCrowded => (0, 2 * (at * 64_007 % LOCKS) + 1),
        }
    }
}

struct Daemon {
    core: Core,
    us: NodeId,
    lockspace: GlobalId,
    effects: Vec<Effect>,
    results: u64,
}

impl Daemon {
    fn new(path: Path) -> Self {
        let word = if path.is_owned() { "unset" } else { "off" };
        let ownership = if path.is_owned() { "on" } else { "off" };
        let run = runner::prepared(
            &format!("nodes 1 2 3\nplock on\nplock_ownership {ownership}"),
            &[
                "up 2 3 ring 4",
                &format!("join fs members 2 3 ring 4 {word} 2 3"),
                "done fs from 2 seq 71 count 0",
            ],
        );
        let name = LockspaceName::new(b"fs").expect("a name");
        let mut daemon = Self {
            core: run.core().clone(),
            us: NodeId::new(1).expect("a node"),
            lockspace: Group::Lockspace(name).global_id(),
            effects: Vec::new(),
            results: 0,
        };
        if path.is_crowded() {
            (0..LOCKS).for_each(|at| daemon.request(Op::Lock, 0, 2 * at));
        } else {
            (0..FILES).for_each(|at| daemon.request(Op::Lock, 2 * at, 7));
        }
        daemon
    }

    /// A request of our kernel, and what comes of it.
    fn request(&mut self, op: Op, number: u64, owner: u64) {
        let start = owner * 100;
        let info = PlockInfo {
            version: [1, 2, 0],
            op,
            mode: Mode::Write,
            wait: false,
            flags: 0,
            pid: 1000,
            node: self.us,
            result: 0,
            fsid: self.lockspace,
            number,
            start,
            end: start + 9,
            owner,
        };
        self.step(Event::PlockRequest(info));
    }

    fn step(&mut self, event: Event) {
        let now =
            Now { mono: Instant::from_nanos(200_000_000_000), wall: WallSeconds(1_700_000_000) };
        let mut effects = std::mem::take(&mut self.effects);
        self.core.step(now, event, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { group: group @ Group::Lockspace(_), packet } => {
                    let from = self.us;
                    self.step(Event::Message { group, from, packet, length: LENGTH });
                }
                Effect::PlockResult(info) => {
                    assert_eq!(info.result, 0);
                    self.results += 1;
                }
                _ => {}
            }
        }
        self.effects = effects;
    }

    /// So many locks, each with its unlock.
    fn pairs(&mut self, path: Path, count: u64) {
        let before = self.results;
        for at in 0..count {
            let (number, owner) = path.place(at);
            self.request(Op::Lock, number, owner);
            self.request(Op::Unlock, number, owner);
        }
        assert_eq!(self.results, before + 2 * count, "each has its result");
    }
}

fn median(path: Path, count: u64) -> f64 {
    let mut daemon = Daemon::new(path);
    // The first time a file becomes ours is none of this.
    daemon.pairs(path, FILES);
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| timed(|| daemon.pairs(path, count)).as_secs_f64() * 1e9)
        .map(|nanos| nanos / f64::from(u32::try_from(count).expect("small")))
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

const PATHS: [(&str, Path); 5] = [
    ("fresh", Path::Fresh),
    ("shared", Path::Shared),
    ("owned", Path::Owned),
    ("crowded", Path::Crowded),
    ("owned, crowded", Path::OwnedCrowded),
];

/// Whether the core carries out so many requests a second, in files with many locks.
fn is_fast(wanted: f64) -> bool {
    PATHS.into_iter().filter(|(_, path)| path.is_crowded()).all(|(name, path)| {
        let rate = 2e9 / median(path, 50_000);
        println!("{rate:.0} a second, {name}; {wanted:.0} wanted");
        wanted <= rate
    })
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.as_slice() {
        [least, wanted] if least == "--least" => {
            let enough = is_fast(wanted.parse().expect("a number"));
            return if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        [name, count] => {
            let count = count.parse().expect("a number");
            for (_, path) in PATHS.into_iter().filter(|(known, _)| known == name) {
                Daemon::new(path).pairs(path, count);
            }
        }
        _ => {
            for (name, path) in PATHS {
                println!("{:>8.0} ns  lock and unlock, {name}", median(path, 50_000));
            }
        }
    }
    ExitCode::SUCCESS
}

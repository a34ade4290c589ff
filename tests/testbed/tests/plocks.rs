//! POSIX locks of whole daemons: members with `plock_ownership` unset and off, and such as say nothing of it like C daemons,
//! come, go, die and are cut off while processes lock. No two hold what excludes each other, everybody has an answer, and in
//! the end all are of one mind.

mod common;

use common::with_seeds;
use dlm_core::Core;
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::message::{Message, START_OWNERSHIP};
use dlm_core::options::{Setup, Switch};
use dlm_core::plock::{FLAG_CLOSE, Mode, Op, PlockInfo, RANGE_END};
use dlm_core::snapshot::Snapshot;
use dlm_core::types::{Group, Instant, NodeId, Now};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use testbed::harness::{Brain, World, lockspace, node};
use testbed::random::Random;

const NODES: u32 = 4;
const FILES: u64 = 3;
const BYTES: u64 = 10;
const LS: &str = "fs";

/// What the tests see of all daemons.
#[derive(Default)]
struct Sight {
    cores: BTreeMap<NodeId, Rc<RefCell<Core>>>,
    results: Vec<PlockInfo>,
    owns: u64,
    hand_overs: u64,
}

/// A daemon of ours, or one that says nothing of ownership in its START.
struct Daemon {
    core: Rc<RefCell<Core>>,
    is_c: bool,
    us: NodeId,
    sight: Rc<RefCell<Sight>>,
}

impl Brain for Daemon {
    fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        let first_new = effects.len();
        self.core.borrow_mut().step(now, event, effects);
        let mut sight = self.sight.borrow_mut();
        for effect in &mut effects[first_new..] {
            match effect {
                // Whose it is: the answer to a F_GETLK names another node.
                Effect::PlockResult(info) => {
                    sight.results.push(PlockInfo { node: self.us, ..*info })
                }
                Effect::Send { packet, .. } => match &mut packet.message {
                    Message::Start(start) if self.is_c => start.flags &= !START_OWNERSHIP,
                    Message::PlockOwn { owner: Some(_), .. } => sight.owns += 1,
                    Message::PlockSyncLock(_) => sight.hand_overs += 1,
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.core.borrow().next_deadline()
    }

    fn snapshot(&self) -> Snapshot {
        self.core.borrow().snapshot()
    }
}

#[derive(Clone, Default)]
struct Process {
    owner: u64,
    asked: Option<PlockInfo>,
    held: BTreeMap<(u64, u64), Mode>,
}

struct Story {
    world: World,
    random: Random,
    sight: Rc<RefCell<Sight>>,
    processes: BTreeMap<NodeId, Vec<Process>>,
    owners: u64,
    granted: u64,
}

impl Story {
    fn new(seed: u64) -> Self {
        let sight: Rc<RefCell<Sight>> = Rc::default();
        let (all, draw) = (Rc::clone(&sight), RefCell::new(Random::new(seed ^ 0x0c)));
        let make = move |mut setup: Setup| -> Box<dyn Brain> {
            let is_c = draw.borrow_mut().one_in(6);
            let off = draw.borrow_mut().one_in(12);
            setup.fixed.plock_ownership = (is_c || off).then_some(Switch::Off);
            let us = setup.our_node;
            let core = Rc::new(RefCell::new(Core::new(setup)));
            all.borrow_mut().cores.insert(us, Rc::clone(&core));
            Box::new(Daemon { core, is_c, us, sight: Rc::clone(&all) })
        };
        let mut world = World::with_brains(seed, NODES, Box::new(make));
        world.set_options(|_, dynamic| {
            dynamic.post_join_delay_seconds = 0;
            dynamic.drop_resources_age_millis = 200;
            dynamic.drop_resources_time_millis = 200;
        });
        let processes = (1..=NODES).map(|id| (node(id), Vec::new())).collect();
        Self { world, random: Random::new(seed), sight, processes, owners: 0, granted: 0 }
    }

    /// The kernel has the lockspace, and lets processes lock.
    fn serves(&self, id: NodeId) -> bool {
        let snapshot = self.world.snapshot(id.get());
        snapshot.is_some_and(|snapshot| {
            snapshot.lockspaces.iter().any(|lockspace| !lockspace.joining && !lockspace.leaving)
        })
    }

    /// Processes of nodes that are off, or out of the lockspace, are no more.
    fn bury(&mut self) {
        let ids: Vec<NodeId> = self.processes.keys().copied().collect();
        for id in ids {
            if !self.serves(id) {
                self.processes.get_mut(&id).unwrap().clear();
            } else if self.processes[&id].is_empty() {
                for _ in 0..2 {
                    self.owners += 1;
                    let process = Process { owner: self.owners, ..Process::default() };
                    self.processes.get_mut(&id).unwrap().push(process);
                }
            }
        }
    }

    fn hear_results(&mut self) {
        let results = std::mem::take(&mut self.sight.borrow_mut().results);
        for info in results {
            let Some(process) = self.processes.get_mut(&info.node).and_then(|processes| {
                processes.iter_mut().find(|process| process.owner == info.owner)
            }) else {
                continue;
            };
            let Some(asked) = process.asked.take_if(|asked| asked.op == info.op) else { continue };
            if asked.op == Op::Lock && info.result == 0 {
                for byte in asked.start..=asked.end {
                    process.held.insert((asked.number, byte), asked.mode);
                }
                self.granted += 1;
                self.check_exclusion(&asked);
            }
        }
    }

    fn check_exclusion(&self, asked: &PlockInfo) {
        let others = self.processes.iter().flat_map(|(id, processes)| {
            processes.iter().filter(move |other| (*id, other.owner) != (asked.node, asked.owner))
        });
        for other in others {
            for byte in asked.start..=asked.end {
                let held = other.held.get(&(asked.number, byte));
                let excludes = held.is_some_and(|m| (*m, asked.mode) != (Mode::Read, Mode::Read));
                assert!(!excludes, "{asked:?} is held by {}\n{}", other.owner, self.world.story());
            }
        }
    }

    fn ask(&mut self, id: NodeId) {
        let place = usize::from(self.random.one_in(2));
        let (a, b) = (self.random.between(0, BYTES), self.random.between(0, BYTES));
        let draw = self.random.between(0, 9);
        let mut info = PlockInfo {
            version: [1, 2, 0],
            op: if draw < 6 { Op::Lock } else { Op::Unlock },
            mode: if self.random.one_in(2) { Mode::Read } else { Mode::Write },
            wait: draw < 3,
            flags: 0,
            pid: 7,
            node: id,
            result: 0,
            fsid: Group::Lockspace(lockspace(LS)).global_id(),
            number: self.random.between(0, FILES - 1),
            start: a.min(b),
            end: a.max(b),
            owner: 0,
        };
        self.owners += 1;
        let fresh = self.owners;
        let Some(process) = self.processes.get_mut(&id).and_then(|all| all.get_mut(place)) else {
            return;
        };
        info.owner = process.owner;
        if draw == 9 && process.asked.is_none_or(|asked| asked.wait) {
            // Killed: its files are closed.
            *process = Process { owner: fresh, ..Process::default() };
            for number in 0..FILES {
                let close = PlockInfo {
                    op: Op::Unlock,
                    wait: false,
                    flags: FLAG_CLOSE,
                    number,
                    start: 0,
                    end: RANGE_END,
                    ..info
                };
                self.world.plock(close);
            }
            return;
        }
        if process.asked.is_some() {
            return;
        }
        // What is asked for anew may be refused; what a lock in between changes is not followed.
        if info.op == Op::Lock
            && process.held.keys().any(|(number, byte)| {
                *number == info.number && (info.start..=info.end).contains(byte)
            })
        {
            info.op = Op::Unlock;
            info.wait = false;
        }
        if info.op == Op::Unlock {
            process.held.retain(|(number, byte), _| {
                *number != info.number || !(info.start..=info.end).contains(byte)
            });
        }
        process.asked = Some(info);
        self.world.plock(info);
    }

    fn fault(&mut self) {
        let id = u32::try_from(self.random.between(1, u64::from(NODES))).unwrap();
        match self.random.between(0, 7) {
            0 | 1 => self.world.join(id, LS),
            2 => self.world.leave(id, LS),
            3 => self.world.crash(id),
            4 | 5 => {
                self.world.boot(id);
                self.world.join(id, LS);
            }
            6 => {
                let rest: Vec<u32> = (1..=NODES).filter(|other| *other != id).collect();
                self.world.partition(&[&[id][..], &rest]);
            }
            _ => self.world.heal(),
        }
    }

    fn run(&mut self, rounds: u32) {
        for _ in 0..rounds {
            if self.random.one_in(60) {
                self.fault();
                self.bury();
            }
            for _ in 0..6 {
                let id = node(u32::try_from(self.random.between(1, u64::from(NODES))).unwrap());
                self.ask(id);
            }
            let millis = if self.random.one_in(8) { 2000 } else { self.random.between(0, 20) };
            self.pass(millis);
            assert!(self.world.violations().is_empty(), "{}", self.world.story());
        }
    }

    /// What is answered in the end belongs to processes that live then.
    fn pass(&mut self, millis: u64) {
        let mut left = millis;
        while left > 0 {
            let part = left.min(100);
            left -= part;
            self.world.run_millis(part);
            self.bury();
            self.hear_results();
        }
    }

    /// The faults are over. False: partitions with state on both sides have met, and some lockspace waits for an operator.
    fn rest(&mut self) -> bool {
        self.world.heal();
        for id in 1..=NODES {
            self.world.boot(id);
        }
        self.pass(120_000);
        assert!(self.world.settle(), "{:?}\n{}", self.world.violations(), self.world.story());
        self.bury();
        self.hear_results();
        let stopped = |snapshot: Snapshot| snapshot.lockspaces.iter().any(|ls| ls.kernel_stopped);
        let stuck = (1..=NODES).filter_map(|id| self.world.snapshot(id)).any(stopped);
        if !stuck {
            self.check();
        }
        !stuck
    }

    fn check(&self) {
        let name = lockspace(LS);
        let sight = self.sight.borrow();
        let mut everybodys: BTreeSet<Vec<String>> = BTreeSet::new();
        for (id, processes) in self.processes.iter().filter(|(id, _)| self.serves(**id)) {
            let core = sight.cores[id].borrow();
            let needs = core.snapshot().lockspaces.iter().any(|lockspace| lockspace.need_plocks);
            assert!(!needs, "{id} has no state\n{}", self.world.story());
            let resources: Vec<_> = core.plocks(&name).into_iter().flatten().collect();
            assert!(resources.iter().all(|resource| resource.pending.is_empty()), "{id}");
            let shared = resources.iter().filter(|resource| resource.owner == 0);
            let shared = shared.map(|r| format!("{} {:?}", r.number, r.entries));
            everybodys.insert(shared.filter(|text| !text.ends_with("[]")).collect());
            for process in processes {
                let mut held = BTreeMap::new();
                let mut waits = false;
                for (number, entry) in
                    resources.iter().flat_map(|r| r.entries.iter().map(|e| (r.number, e)))
                {
                    if (entry.holder.node, entry.holder.owner) != (*id, process.owner) {
                        continue;
                    }
                    waits |= entry.waiter;
                    if !entry.waiter {
                        held.extend(
                            (entry.start..=entry.end).map(|byte| ((number, byte), entry.mode)),
                        );
                    }
                }
                assert_eq!(held, process.held, "{id} {}\n{}", process.owner, self.world.story());
                let asked = process.asked.is_some_and(|asked| asked.wait);
                assert_eq!(
                    (waits, asked),
                    (asked, process.asked.is_some()),
                    "{}",
                    self.world.story()
                );
            }
        }
        let mut texts: Vec<_> = everybodys.into_iter().collect();
        // In the order of their creation, which is not the same everywhere.
        texts.iter_mut().for_each(|text| text.sort_unstable());
        texts.dedup();
        assert!(texts.len() <= 1, "{texts:#?}\n{}", self.world.story());
    }
}

#[test]
fn members_of_all_kinds_agree_on_locks() {
    let sums = RefCell::new((0, 0, 0, 0));
    with_seeds(|seed| {
        let mut story = Story::new(seed);
        for id in 1..=NODES {
            story.world.join(id, LS);
        }
        story.pass(30_000);
        story.run(600);
        let checked = story.rest();
        let sight = story.sight.borrow();
        let mut sums = sums.borrow_mut();
        sums.0 += story.granted;
        sums.1 += sight.owns;
        sums.2 += sight.hand_overs;
        sums.3 += u32::from(checked);
    });
    let sums = sums.into_inner();
    assert!(sums.0 > 1000 && sums.1 > 50 && sums.2 > 20 && sums.3 > 10, "too calm: {sums:?}");
}

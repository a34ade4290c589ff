//! Several members on one ordered group, with random requests, joins, leaves and deaths: whatever happens, they agree, each request
//! has its answer, and no two applications are told that they hold what excludes each other.

use crate::change::Change;
use crate::effect::{Effect, Level};
use crate::event::{Confchg, JoinReason, LeaveReason};
use crate::message::{ChangeCounts, Message, START_HAVEPLOCK, Start};
use crate::options::DynamicOptions;
use crate::out::Out;
use crate::plock::resource::Lock;
use crate::plock::resources::Owner;
use crate::plock::voice::Voice;
use crate::plock::{Barrier, FLAG_CLOSE, Mode, Op, PlockInfo, Plocks, RANGE_END, Said, Service};
use crate::types::{
    ChangeSeq, GlobalId, Instant, LockspaceName, NodeId, Now, Version, WallSeconds,
};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

const NODES: u32 = 4;
const FILES: u64 = 3;
const BYTES: u64 = 12;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let place = self.below(u64::try_from(from.len()).unwrap().max(1));
        from.get(usize::try_from(place).unwrap()).copied()
    }
}

/// Owner, locks and waiters of each resource.
type State = BTreeMap<u64, (i64, Vec<Lock>, Vec<Lock>)>;

#[derive(Clone)]
enum Item {
    Change(Confchg),
    Said(NodeId, Message),
}

/// A process of one node; a new one has a new owner number.
#[derive(Clone, Default)]
struct Process {
    owner: u64,
    /// The kernel has it wait for this lock.
    lock: Option<PlockInfo>,
    /// It waits for another answer.
    busy: bool,
    /// What it was told that it holds.
    held: BTreeMap<(u64, u64), Mode>,
    /// The same before its present request, which may be refused.
    before: BTreeMap<(u64, u64), Mode>,
}

struct Node {
    id: NodeId,
    plocks: Plocks,
    /// Next of the group's items.
    place: usize,
    outbox: VecDeque<Message>,
    changes: VecDeque<Change>,
    started: Option<Change>,
    started_count: u32,
    processes: Vec<Process>,
    /// Requests whose answers must come in this order.
    owed: VecDeque<PlockInfo>,
}

struct World {
    random: Random,
    service: Service,
    name: LockspaceName,
    log: Vec<Item>,
    members: BTreeSet<NodeId>,
    nodes: BTreeMap<NodeId, Node>,
    /// Dead, but perhaps still writing: what they held is held.
    unfenced: Vec<Node>,
    owners: u64,
    millis: u64,
    answers: u64,
    granted_late: u64,
    transfers: u64,
}

fn id(number: u32) -> NodeId {
    NodeId::new(number).unwrap()
}

fn options() -> DynamicOptions {
    let off = crate::options::Switch::Off;
    DynamicOptions {
        post_join_delay_seconds: 0,
        quorum_fencing: off,
        quorum_lockspace: off,
        repeat_failed_fencing: off,
        drop_resources_time_millis: 3,
        drop_resources_count: 2,
        drop_resources_age_millis: 5,
    }
}

impl World {
    fn new(seed: u64, service: Service) -> Self {
        Self {
            random: Random(seed),
            service,
            name: LockspaceName::new(b"fs").unwrap(),
            log: Vec::new(),
            members: BTreeSet::new(),
            nodes: BTreeMap::new(),
            unfenced: Vec::new(),
            owners: 0,
            millis: 0,
            answers: 0,
            granted_late: 0,
            transfers: 0,
        }
    }

    /// Let a member's locks do something, and take what comes of it.
    fn act(&mut self, id: NodeId, act: impl FnOnce(&mut Node, &Voice<'_>, &mut Out<'_>)) {
        let mut effects = Vec::new();
        let mut tokens = 0;
        let mono = Instant::default().plus_millis(self.millis);
        let mut out = Out::new(Now { mono, wall: WallSeconds(0) }, &mut effects, &mut tokens);
        let voice = Voice {
            lockspace: &self.name,
            global_id: GlobalId(7),
            us: id,
            version: Version::new(3, 1, 1),
            unused_millis: options().drop_resources_age_millis,
        };
        act(self.nodes.get_mut(&id).unwrap(), &voice, &mut out);
        for effect in effects {
            match effect {
                Effect::Send { packet, .. } => {
                    self.transfers += u64::from(matches!(packet.message, Message::PlocksData(_)));
                    self.nodes.get_mut(&id).unwrap().outbox.push_back(packet.message);
                }
                Effect::PlockResult(info) => self.answered(id, &info),
                Effect::LogPlock { level: Some(Level::Error), text, .. } => {
                    assert!(text.starts_with("clear waiter"), "{id}: {text}");
                }
                _ => {}
            }
        }
    }

    /// What a kernel does with a result.
    fn answered(&mut self, id: NodeId, info: &PlockInfo) {
        self.answers += 1;
        let node = self.nodes.get_mut(&id).unwrap();
        if info.wait {
            let same = |lock: &PlockInfo| PlockInfo { result: 0, ..*info } == *lock;
            let process =
                node.processes.iter_mut().find(|process| process.lock.as_ref().is_some_and(same));
            // Else it was killed meanwhile.
            if let Some(process) = process {
                process.lock = None;
                assert_eq!(info.result, 0);
                self.granted_late += 1;
                self.hold(id, info);
            }
            return;
        }
        let asked = node.owed.pop_front().expect("an answer without a question");
        assert_eq!(
            (asked.number, asked.owner, asked.op),
            (info.number, info.owner, info.op),
            "answers out of order"
        );
        let Some(process) = node.processes.iter_mut().find(|process| process.owner == asked.owner)
        else {
            return;
        };
        process.busy = false;
        match (asked.op, info.result) {
            (Op::Lock, 0) => self.hold(id, &asked),
            (Op::Lock, result) => {
                assert_eq!(result, -11);
                process.held = process.before.clone();
            }
            (Op::Cancel, 0) => {
                process.lock = None;
                process.held = process.before.clone();
            }
            (Op::Cancel | Op::Unlock, result) => assert!(result == 0 || result == -2),
            (_, result) => assert!(result == 0 || result == 1),
        }
    }

    /// An application is told that it has a lock: nobody may have what excludes it.
    fn hold(&mut self, id: NodeId, info: &PlockInfo) {
        let others = self.nodes.values().chain(&self.unfenced).flat_map(|node| {
            node.processes
                .iter()
                .filter(move |process| node.id != id || process.owner != info.owner)
        });
        for process in others {
            for byte in info.start..=info.end.min(BYTES) {
                if let Some(mode) = process.held.get(&(info.number, byte)) {
                    let shared = *mode == Mode::Read && info.mode == Mode::Read;
                    assert!(shared, "byte {byte} of {info:?} is held by {}", process.owner);
                }
            }
        }
        let processes = &mut self.nodes.get_mut(&id).unwrap().processes;
        let process = processes.iter_mut().find(|process| process.owner == info.owner).unwrap();
        for byte in info.start..=info.end.min(BYTES) {
            process.held.insert((info.number, byte), info.mode);
        }
    }

    fn join(&mut self, id: NodeId) {
        self.members.insert(id);
        let owners = self.owners;
        self.owners += 2;
        let process = |owner| Process { owner, ..Process::default() };
        let node = Node {
            id,
            plocks: Plocks::new(self.service),
            place: self.log.len(),
            outbox: VecDeque::new(),
            changes: VecDeque::new(),
            started: None,
            started_count: 0,
            processes: alloc::vec![process(owners + 1), process(owners + 2)],
            owed: VecDeque::new(),
        };
        self.nodes.insert(id, node);
        self.log.push(Item::Change(Confchg {
            members: self.members.iter().copied().collect(),
            joined: alloc::vec![(id, JoinReason::Join)],
            left: Vec::new(),
        }));
    }

    fn part(&mut self, id: NodeId, reason: LeaveReason) {
        let mut node = self.nodes.remove(&id).unwrap();
        self.members.remove(&id);
        let said = if reason.is_failure() {
            // Some of what it said last has reached nobody.
            usize::try_from(self.random.below(3)).unwrap().min(node.outbox.len())
        } else {
            node.outbox.len()
        };
        self.log.extend(node.outbox.drain(..said).map(|message| Item::Said(id, message)));
        self.log.push(Item::Change(Confchg {
            members: self.members.iter().copied().collect(),
            joined: Vec::new(),
            left: alloc::vec![(id, reason)],
        }));
        if reason.is_failure() {
            self.unfenced.push(node);
        }
    }

    /// The next item of the group reaches a member.
    fn deliver(&mut self, id: NodeId) -> bool {
        let node = &self.nodes[&id];
        let place = node.place;
        let Some(item) = self.log.get(place).cloned() else { return false };
        let number = self.log[..=place].iter().filter(|i| matches!(i, Item::Change(_))).count();
        let seq = ChangeSeq::from_wire(u32::try_from(number).unwrap());
        self.act(id, |node, voice, out| {
            node.place += 1;
            node.receive(item, seq, voice, out);
        });
        true
    }

    /// A START, once everybody who died is fenced.
    fn send_start(&mut self, id: NodeId) -> bool {
        let due = self.nodes[&id].changes.front().is_some_and(|change| !change.start_sent);
        if due {
            // Fencing is as fast as it likes, but comes before any START.
            self.unfenced.clear();
            self.nodes.get_mut(&id).unwrap().send_start();
        }
        due
    }

    fn order_a_message(&mut self, id: NodeId) -> bool {
        let message = self.nodes.get_mut(&id).unwrap().outbox.pop_front();
        let any = message.is_some();
        self.log.extend(message.map(|message| Item::Said(id, message)));
        any
    }

    /// Everything that is on its way arrives.
    fn settle(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        loop {
            let mut moved = false;
            for id in &ids {
                moved |= self.deliver(*id);
                moved |= self.order_a_message(*id);
                moved |= self.send_start(*id);
            }
            if !moved {
                return;
            }
        }
    }

    /// A process does something.
    fn ask(&mut self, id: NodeId) {
        let place = usize::try_from(self.random.below(2)).unwrap();
        let draw = self.random.below(20);
        let node = self.nodes.get_mut(&id).unwrap();
        // The kernel has no lockspace before its first start.
        if node.started.is_none() {
            return;
        }
        let process = &mut node.processes[place];
        if let Some(lock) = process.lock {
            match draw {
                0 => self.kill(id, place, lock.number),
                1 | 2 if !process.busy => {
                    process.busy = true;
                    self.request(id, PlockInfo { op: Op::Cancel, wait: false, ..lock });
                }
                _ => {}
            }
            return;
        }
        if process.busy {
            return;
        }
        let (a, b) = (self.random.below(BYTES), self.random.below(BYTES));
        let number = self.random.below(FILES);
        let info = PlockInfo {
            version: [1, 2, 0],
            op: match draw {
                0..12 => Op::Lock,
                12..17 => Op::Unlock,
                _ => Op::Get,
            },
            mode: if self.random.below(2) == 0 { Mode::Read } else { Mode::Write },
            wait: draw < 6,
            flags: 0,
            pid: 7,
            node: id,
            result: 0,
            fsid: GlobalId(7),
            number,
            start: a.min(b),
            end: a.max(b),
            owner: process.owner,
        };
        if draw == 17 {
            self.kill(id, place, number);
            return;
        }
        process.before = process.held.clone();
        for byte in info.start..=info.end {
            match (info.op, info.mode) {
                (Op::Unlock, _) => {
                    process.held.remove(&(number, byte));
                }
                // From here on others may read.
                (Op::Lock, Mode::Read) => {
                    if let Some(mode) = process.held.get_mut(&(number, byte)) {
                        *mode = Mode::Read;
                    }
                }
                _ => {}
            }
        }
        if info.wait {
            process.lock = Some(info);
        } else {
            process.busy = true;
        }
        self.request(id, info);
    }

    /// A process dies: the kernel closes its files, and nobody waits for an answer.
    fn kill(&mut self, id: NodeId, place: usize, number: u64) {
        self.owners += 1;
        let process = &mut self.nodes.get_mut(&id).unwrap().processes[place];
        let dead = core::mem::take(process);
        process.owner = self.owners;
        let mut files: BTreeSet<u64> = dead.held.keys().map(|(number, _)| *number).collect();
        files.insert(number);
        for number in files {
            let close = PlockInfo {
                version: [1, 2, 0],
                op: Op::Unlock,
                mode: Mode::Read,
                wait: false,
                flags: FLAG_CLOSE,
                pid: 7,
                node: id,
                result: 0,
                fsid: GlobalId(7),
                number,
                start: 0,
                end: RANGE_END,
                owner: dead.owner,
            };
            self.request(id, close);
        }
    }

    fn request(&mut self, id: NodeId, info: PlockInfo) {
        if !info.wait && !info.is_close() {
            self.nodes.get_mut(&id).unwrap().owed.push_back(info);
        }
        self.act(id, |node, voice, out| node.plocks.request(info, voice, out));
    }

    fn anything(&mut self) {
        self.millis += 1;
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        let anybody = id(u32::try_from(self.random.below(u64::from(NODES))).unwrap() + 1);
        let member = self.random.pick(&ids);
        match (self.random.below(200), member) {
            (0, _) if !self.members.contains(&anybody) => self.join(anybody),
            (1, Some(member)) if self.members.len() > 1 => self.part(member, LeaveReason::Leave),
            (2, Some(member)) if self.members.len() > 1 => {
                self.part(member, LeaveReason::NodeDown);
            }
            (3..80, Some(member)) => {
                self.deliver(member);
            }
            (80..130, Some(member)) => {
                self.order_a_message(member);
            }
            (130..140, Some(member)) => {
                self.send_start(member);
            }
            (140..190, Some(member)) => self.ask(member),
            (190..200, Some(member)) => {
                self.act(member, |node, voice, out| {
                    node.plocks.drop_unused(&options(), voice, out);
                });
            }
            (_, None) => self.join(anybody),
            _ => {}
        }
    }

    /// Nothing is on its way: members must be of one mind.
    fn check(&self) {
        let mut all: Vec<State> = Vec::new();
        for node in self.nodes.values() {
            assert!(node.plocks.is_synchronised(), "{} is not synchronised", node.id);
            assert!(node.owed.is_empty(), "{} was not answered: {:?}", node.id, node.owed);
            all.push(node.state());
        }
        for (number, (owner, ..)) in all.iter().flatten() {
            let owner_node = u32::try_from(*owner).ok().and_then(NodeId::new);
            assert!(owner_node.is_none_or(|owner| self.members.contains(&owner)), "{number}");
        }
        for node in self.nodes.values() {
            for process in &node.processes {
                self.check_process(node, process);
            }
        }
        // Nothing is left of processes that were killed.
        let alive: BTreeSet<(NodeId, u64)> = (self.nodes.values())
            .flat_map(|node| node.processes.iter().map(|process| (node.id, process.owner)))
            .collect();
        for (_, locks, waiters) in all.iter().flat_map(State::values) {
            for lock in locks.iter().chain(waiters) {
                assert!(alive.contains(&(lock.holder.node, lock.holder.owner)), "{lock:?}");
            }
        }
        // What an owner has is its own business.
        for state in &mut all {
            state.values_mut().filter(|(owner, ..)| *owner != 0).for_each(|(_, locks, waiters)| {
                locks.clear();
                waiters.clear();
            });
        }
        for pair in all.windows(2) {
            assert_eq!(pair[0], pair[1]);
        }
    }

    /// A process has what it was told, and waits for what it waits for, where that is decided.
    fn check_process(&self, node: &Node, process: &Process) {
        let mut held = BTreeMap::new();
        let mut waits = Vec::new();
        for (number, (owner, locks, waiters)) in &node.state() {
            let ours =
                |lock: &&Lock| (lock.holder.node, lock.holder.owner) == (node.id, process.owner);
            for lock in locks.iter().filter(ours) {
                held.extend((lock.start..=lock.end).map(|byte| ((*number, byte), lock.mode)));
            }
            waits.extend(waiters.iter().filter(ours).map(|lock| (*number, *lock)));
            let decider = *owner == 0 || *owner == i64::from(node.id.get());
            assert!(decider || !locks.iter().any(|lock| ours(&lock)));
        }
        let told = if process.lock.is_some() { &process.before } else { &process.held };
        assert_eq!(&held, told, "node {} owner {}", node.id, process.owner);
        let waited = process.lock.as_ref().map(|info| (info.number, Lock::of(info)));
        assert_eq!(waits, Vec::from_iter(waited));
    }
}

impl Node {
    fn receive(&mut self, item: Item, seq: ChangeSeq, voice: &Voice<'_>, out: &mut Out<'_>) {
        match item {
            Item::Change(confchg) => {
                let gone: Vec<NodeId> = confchg.left.iter().map(|(node, _)| *node).collect();
                if confchg.left.iter().any(|(_, reason)| reason.is_failure()) {
                    self.plocks.hold_results();
                }
                self.plocks.members_gone(&gone, voice, out);
                self.changes.push_front(Change::new(seq, &confchg, |_| 0));
            }
            Item::Said(from, Message::Start(start)) => self.start(from, &start, voice, out),
            Item::Said(from, Message::PlocksData(data)) => {
                self.plocks.data(from, &data, voice, out);
            }
            Item::Said(from, Message::PlocksDone(done)) => {
                self.plocks.done(from, &done, self.started.as_ref(), voice, out);
            }
            Item::Said(from, message) => {
                let said = match message {
                    Message::Plock(info) => Said::Plock(info),
                    Message::PlockOwn { number, owner } => Said::Own { number, owner },
                    Message::PlockDrop { number } => Said::Drop { number },
                    Message::PlockSyncLock(info) => Said::SyncLock(info),
                    Message::PlockSyncWaiter(info) => Said::SyncWaiter(info),
                    other => panic!("{other:?}"),
                };
                self.plocks.message(from, said, 104, voice, out);
            }
        }
    }

    fn send_start(&mut self) {
        let flags = if self.plocks.is_synchronised() { START_HAVEPLOCK } else { 0 };
        let newest = self.changes.front_mut().unwrap();
        newest.start_sent = true;
        let counts: ChangeCounts = newest.counts(self.started_count);
        self.outbox.push_back(Message::Start(Start { seq: newest.seq, flags, counts }));
    }

    fn start(&mut self, from: NodeId, start: &Start, voice: &Voice<'_>, out: &mut Out<'_>) {
        if let Some(change) = self.changes.iter_mut().find(|change| change.seq == start.seq) {
            change.record_start(from, start);
        }
        if !self.changes.front().is_some_and(Change::is_complete) {
            return;
        }
        let joined = self.changes.iter().any(|change| !change.joined.is_empty());
        let change = self.changes.pop_front().unwrap();
        self.changes.clear();
        let ours = change.order.iter().copied().collect();
        let barrier = Barrier { change: &change, started_count: self.started_count, joined, ours };
        self.plocks.barrier(&barrier, voice, out);
        self.started_count += 1;
        self.started = Some(change);
    }

    fn state(&self) -> State {
        let all = self.plocks.resources.in_order().into_iter().map(|(number, entry)| {
            assert!(entry.pending.is_empty());
            assert_ne!(entry.owner, Owner::Nobody { established: false });
            let locks = entry.resource.locks().map(|(lock, _)| *lock).collect();
            let waiters = entry.resource.waiters().map(|(info, _)| Lock::of(info)).collect();
            (number, (entry.owner.number(), locks, waiters))
        });
        all.collect()
    }
}

/// Returns how many answers, late grants and parts of transfers there were.
fn storm(seed: u64, service: Service) -> (u64, u64, u64) {
    let mut world = World::new(seed, service);
    for _ in 0..6 {
        for _ in 0..400 {
            world.anything();
        }
        world.settle();
        world.check();
    }
    (world.answers, world.granted_late, world.transfers)
}

fn storms(service: Service) {
    let first = option_env!("SEED").and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let mut sums = (0, 0, 0);
    for seed in first..first + 150 {
        let (answers, late, transfers) = storm(seed, service);
        sums = (sums.0 + answers, sums.1 + late, sums.2 + transfers);
    }
    assert!(sums.0 > 1000 && sums.1 > 100 && sums.2 > 100, "too calm: {sums:?}");
}

#[test]
fn replicated_members_agree_in_every_storm() {
    storms(Service::Replicated);
}

#[test]
fn owners_agree_in_every_storm() {
    storms(Service::Owned);
}

/// LOCK and CLOSE of one process are on their way when a DROP and another's OWN come in between.
#[test]
fn close_on_its_way_ends_a_request_that_comes_back() {
    storm(100_662, Service::Owned);
}

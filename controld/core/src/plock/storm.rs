//! Several members on one ordered group, with random requests, joins, leaves and deaths: whatever happens, they agree, each request
//! has its answer, and no two applications are told that they hold what excludes each other. Members are daemons of ours with
//! `plock_ownership` unset, on or off, and such as behave like C daemons; some are cut off and live on, and come back.

use crate::change::Change;
use crate::effect::{Effect, Level};
use crate::event::{Confchg, JoinReason, LeaveReason};
use crate::message::{ChangeCounts, Message, START_HAVEPLOCK, Start};
use crate::options::DynamicOptions;
use crate::out::Out;
use crate::plock::agreement::Agreed;
use crate::plock::handover::ON_WAY_MAX;
use crate::plock::resource::Lock;
use crate::plock::resources::Owner;
use crate::plock::voice::Voice;
use crate::plock::{
    Barrier, FLAG_CLOSE, Mode, Op, PlockInfo, Plocks, RANGE_END, Said, Service, Word, agreed,
    before_start,
};
use crate::types::{
    ChangeSeq, GlobalId, Instant, LockspaceName, NodeId, Now, Version, WallSeconds,
};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::ToString as _;
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

/// What runs on a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours(Word),
    /// A C daemon, with `plock_ownership` as it says: whoever joins, it does as its file says, and waits for nobody.
    C(Word),
}

impl Kind {
    fn is_c(self) -> bool {
        matches!(self, Self::C(_))
    }
}

struct Node {
    id: NodeId,
    kind: Kind,
    /// It is cut off: what it is shown from here on. It has no quorum, and starts nothing.
    alone: Option<VecDeque<Item>>,
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
    /// What runs on those who join.
    kinds: Vec<Kind>,
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
    /// How often a member has begun to yield its resources.
    yields: u64,
    /// Barriers after which there was another mode than before.
    switches: u64,
    /// Steps after which a member had still to say something of a file that it gives up.
    handovers: u64,
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
    fn new(seed: u64, kinds: &[Kind]) -> Self {
        Self {
            random: Random(seed),
            kinds: kinds.to_vec(),
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
            yields: 0,
            switches: 0,
            handovers: 0,
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
        let node = self.nodes.get_mut(&id).unwrap();
        let (kind, was) = (node.kind, (node.plocks.service(), node.plocks.yielding));
        if self.millis % 2 == 0 {
            node.plocks.handovers.as_from_a_recording();
        }
        act(node, &voice, &mut out);
        node.plocks.resources.check_index();
        node.plocks.check_idle(id);
        self.handovers += u64::from(node.plocks.is_handing_over());
        self.yields += u64::from(node.plocks.yielding && !was.1);
        self.switches += u64::from(node.plocks.service() != was.0);
        for effect in effects {
            match effect {
                Effect::Send { packet, .. } => {
                    self.transfers += u64::from(matches!(packet.message, Message::PlocksData(_)));
                    self.nodes.get_mut(&id).unwrap().outbox.push_back(packet.message);
                }
                Effect::PlockResult(info) => self.answered(id, &info),
                Effect::LogPlock { level: Some(Level::Error), text, .. } => {
                    let text = text.to_string();
                    // Such a daemon does not know that ownership has just ended.
                    let stray = kind.is_c() && text.ends_with("plock_ownership is off here");
                    let clash = text.starts_with("plock_ownership is 1 on one node");
                    assert!(stray || clash || text.starts_with("clear waiter"), "{id}: {text}");
                }
                Effect::FailStop { why } => panic!("{id}: {why}"),
                _ => {}
            }
        }
        self.check_words_on_way(id);
    }

    /// A member knows how many of its words about files that it gives up are still to come back: few.
    fn check_words_on_way(&self, id: NodeId) {
        let node = &self.nodes[&id];
        let is_word = |message: &Message| {
            matches!(
                message,
                Message::PlockSyncLock(_)
                    | Message::PlockSyncWaiter(_)
                    | Message::PlockOwn { owner: None, .. }
            )
        };
        let ahead = self.log.iter().skip(node.place).filter(|_| node.alone.is_none());
        let ours = ahead.chain(node.alone.iter().flatten()).filter(
            |item| matches!(item, Item::Said(from, message) if *from == id && is_word(message)),
        );
        let count = ours.count() + node.outbox.iter().filter(|message| is_word(message)).count();
        if node.plocks.service() == Service::Owned {
            assert_eq!(node.plocks.handovers.on_way(), count, "{id}");
        }
        // Those about unused files wait for nothing.
        let most = ON_WAY_MAX + usize::try_from(FILES).unwrap();
        assert!(count <= most, "{id} has {count} words on their way");
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
            // Not understood by everybody: it waits on.
            (Op::Cancel, -22) => {}
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
        let reason = if self.random.below(8) == 0 { JoinReason::NodeUp } else { JoinReason::Join };
        let kinds = self.kinds.clone();
        let kind = self.random.pick(&kinds).unwrap();
        self.members.insert(id);
        let owners = self.owners;
        self.owners += 2;
        let process = |owner| Process { owner, ..Process::default() };
        let node = Node {
            id,
            kind,
            alone: None,
            plocks: Plocks::new(match kind {
                Kind::Ours(word) | Kind::C(word) => word,
            }),
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
            joined: alloc::vec![(id, reason)],
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

    /// A member is cut off, and lives on until it is fenced. It has heard what was on its way up to some place; of what is behind
    /// that it hears only what it said itself. (Corosync may deliver that just before the change rather than behind it. Then it has
    /// an answer that misses something, and nobody can keep it from its process.)
    fn cut(&mut self, id: NodeId) {
        let others = self.members.iter().copied().filter(|other| *other != id);
        let left = others.map(|other| (other, LeaveReason::NodeDown)).collect();
        let change = Confchg { members: alloc::vec![id], joined: Vec::new(), left };
        let node = self.nodes.get_mut(&id).unwrap();
        let rest = self.log.len() - node.place;
        let heard = usize::try_from(self.random.below(u64::try_from(rest).unwrap() + 1)).unwrap();
        let ordered = usize::try_from(self.random.below(3)).unwrap().min(node.outbox.len());
        self.log.extend(node.outbox.drain(..ordered).map(|message| Item::Said(id, message)));
        let mut alone: VecDeque<Item> = self.log.iter().skip(node.place).cloned().collect();
        let own = alone.split_off(heard).into_iter();
        let own = own.filter(|item| matches!(item, Item::Said(from, _) if *from == id));
        alone.push_back(Item::Change(change));
        alone.extend(own);
        node.alone = Some(alone);
        self.members.remove(&id);
        self.tell_loss(id);
    }

    fn tell_loss(&mut self, id: NodeId) {
        self.log.push(Item::Change(Confchg {
            members: self.members.iter().copied().collect(),
            joined: Vec::new(),
            left: alloc::vec![(id, LeaveReason::NodeDown)],
        }));
    }

    /// One that was cut off is back before it was fenced, is not let in, and has to go.
    fn merge(&mut self, id: NodeId) {
        let node = self.nodes.remove(&id).unwrap();
        self.unfenced.push(node);
        let mut members: Vec<NodeId> = self.members.iter().copied().collect();
        members.push(id);
        let joined = alloc::vec![(id, JoinReason::NodeUp)];
        self.log.push(Item::Change(Confchg { members, joined, left: Vec::new() }));
        self.tell_loss(id);
    }

    /// The next item of the group reaches a member.
    fn deliver(&mut self, id: NodeId) -> bool {
        let millis = u32::try_from(self.millis).unwrap();
        if let Some(alone) = &mut self.nodes.get_mut(&id).unwrap().alone {
            let Some(item) = alone.pop_front() else { return false };
            // Any number does: it sends no START.
            let seq = ChangeSeq::from_wire(1_000_000 + millis);
            self.act(id, |node, voice, out| node.receive(item, seq, voice, out));
            return true;
        }
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
        let Some(node) = self.nodes.get(&id) else { return false };
        if node.alone.is_some() || node.changes.front().is_none_or(|change| change.start_sent) {
            return false;
        }
        // Fencing is as fast as it likes, but comes before any START.
        self.unfenced.clear();
        self.nodes.retain(|_, node| node.alone.is_none());
        let before = self.log_and_outboxes();
        self.act(id, Node::send_start);
        before != self.log_and_outboxes()
    }

    /// How much was said.
    fn log_and_outboxes(&self) -> usize {
        self.log.len() + self.nodes.values().map(|node| node.outbox.len()).sum::<usize>()
    }

    fn order_a_message(&mut self, id: NodeId) -> bool {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(message) = node.outbox.pop_front() else { return false };
        match &mut node.alone {
            Some(alone) => alone.push_back(Item::Said(id, message)),
            None => self.log.push(Item::Said(id, message)),
        }
        true
    }

    /// Everything that is on its way arrives.
    fn settle(&mut self) {
        // Who is cut off is fenced in the end.
        self.nodes.retain(|_, node| node.alone.is_none());
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
        let mut ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        let lost: Vec<NodeId> =
            ids.iter().copied().filter(|id| self.nodes[id].alone.is_some()).collect();
        let what = self.random.below(200);
        if what < 4 {
            ids.retain(|id| !lost.contains(id));
        }
        let anybody = id(u32::try_from(self.random.below(u64::from(NODES))).unwrap() + 1);
        let member = self.random.pick(&ids);
        match (what, member) {
            (0, _) if !self.nodes.contains_key(&anybody) => self.join(anybody),
            (1, Some(member)) if self.members.len() > 1 => self.part(member, LeaveReason::Leave),
            (2, Some(member)) if self.members.len() > 1 => {
                self.part(member, LeaveReason::NodeDown);
            }
            (3, Some(member)) if self.members.len() > 1 => match self.random.pick(&lost) {
                Some(lost) => self.merge(lost),
                None => self.cut(member),
            },
            (4..80, Some(member)) => {
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
        let words = self.nodes.values().map(|node| match node.kind {
            Kind::Ours(word) => word,
            Kind::C(_) => Word::Nothing,
        });
        let c_owns = self.nodes.values().any(|node| node.kind == C_OWNING);
        let wanted = if c_owns { Service::Owned } else { agreed(words).service };
        for node in self.nodes.values() {
            assert_eq!(node.plocks.service(), wanted, "{}", node.id);
            assert!(!node.plocks.yielding, "{} is still yielding", node.id);
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

    fn send_start(&mut self, voice: &Voice<'_>, out: &mut Out<'_>) {
        if !self.kind.is_c() && self.plocks.service() == Service::Owned {
            let before = before_start(&self.changes, self.started.as_ref());
            if self.plocks.prepare(before, voice, out).is_some() {
                return;
            }
        }
        let word = if self.kind.is_c() { 0 } else { self.plocks.word().flags() };
        let flags = word | if self.plocks.is_synchronised() { START_HAVEPLOCK } else { 0 };
        let newest = self.changes.front_mut().unwrap();
        newest.start_sent = true;
        let counts: ChangeCounts = newest.counts(self.started_count);
        voice.send(Message::Start(Start { seq: newest.seq, flags, counts }), out);
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
        let agreed = match self.kind {
            Kind::Ours(_) => agreed(change.members.values().map(|member| member.word)),
            Kind::C(word) => Agreed {
                service: if word == Word::On { Service::Owned } else { Service::Replicated },
                all_ours: false,
                clash: false,
            },
        };
        let started_count = self.started_count;
        let barrier = Barrier {
            change: &change,
            started_count,
            joined,
            ours,
            batches: agreed.all_ours,
            agreed,
            mutation: crate::mutants::Mutation::default(),
        };
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

/// What there was of each.
#[derive(Debug, Default)]
struct Sums {
    answers: u64,
    granted_late: u64,
    transfers: u64,
    yields: u64,
    switches: u64,
    handovers: u64,
}

impl Sums {
    fn add(&mut self, world: &World) {
        self.answers += world.answers;
        self.granted_late += world.granted_late;
        self.transfers += world.transfers;
        self.yields += world.yields;
        self.switches += world.switches;
        self.handovers += world.handovers;
    }
}

fn storm(seed: u64, kinds: &[Kind]) -> World {
    let mut world = World::new(seed, kinds);
    for _ in 0..6 {
        for _ in 0..400 {
            world.anything();
        }
        world.settle();
        world.check();
    }
    world
}

/// `SEED` begins elsewhere, `SEEDS` makes them more, when the test is compiled.
fn storms(kinds: &[Kind]) -> Sums {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    let first = number(option_env!("SEED")).unwrap_or(0);
    let seeds = number(option_env!("SEEDS")).unwrap_or(150);
    let mut sums = Sums::default();
    for seed in first..first + seeds {
        sums.add(&storm(seed, kinds));
    }
    assert!(
        sums.answers > 1000 && sums.granted_late > 100 && sums.transfers > 100,
        "too calm: {sums:?}"
    );
    sums
}

const UNSET: Kind = Kind::Ours(Word::Unset);
const ON: Kind = Kind::Ours(Word::On);
const OFF: Kind = Kind::Ours(Word::Off);
/// C daemons as they are by default.
const C: Kind = Kind::C(Word::Off);
const C_OWNING: Kind = Kind::C(Word::On);

#[test]
fn replicated_members_agree_in_every_storm() {
    let sums = storms(&[OFF]);
    assert_eq!((sums.yields, sums.switches), (0, 0));
}

#[test]
fn owners_agree_in_every_storm() {
    let sums = storms(&[ON]);
    assert!(sums.handovers > 100, "too calm: {sums:?}");
}

#[test]
fn owners_by_default_agree_in_every_storm() {
    storms(&[UNSET]);
}

/// Ownership ends when a C daemon comes, and begins when the last one is gone.
#[test]
fn owners_among_c_daemons_agree_in_every_storm() {
    for kinds in [&[UNSET, UNSET, UNSET, C][..], &[UNSET, UNSET, OFF], &[UNSET, C]] {
        let sums = storms(kinds);
        let busy = sums.yields > 50 && sums.switches > 100 && sums.handovers > 50;
        assert!(busy, "too calm: {sums:?}");
    }
}

/// Whatever the files say, daemons of ours do the same.
#[test]
fn owners_with_different_options_agree_in_every_storm() {
    for kinds in [&[UNSET, ON][..], &[UNSET, ON, OFF], &[ON, C_OWNING]] {
        storms(kinds);
    }
}

/// LOCK and CLOSE of one process are on their way when a DROP and another's OWN come in between.
#[test]
fn close_on_its_way_ends_a_request_that_comes_back() {
    storm(100_662, &[ON]);
}

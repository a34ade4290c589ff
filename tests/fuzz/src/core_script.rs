//! A core under a script of events, as bytes: messages of every type, damaged or not, into a core in every state.
//!
//! The script may say things that no corosync and no kernel would. Whatever it says, the core must not panic, must not
//! ask for more and more, and must keep what does not depend on others telling the truth: one write a lane at a time; a
//! START only while its own kernel is stopped; a kernel started only with members whose START has come and that are in
//! the group; nothing after its own end; messages that can be read again.

use controld::{control, wire};
use dlm_core::Core;
use dlm_core::effect::{Effect, KernelStart, KernelWrite, Lane};
use dlm_core::event::{AgentOutcome, Confchg, Event, JoinReason, LeaveReason, Token};
use dlm_core::message::{Message, Packet, START_NACK};
use dlm_core::options::{Device, DynamicOptions, FenceDevices, Setup, Switch};
use dlm_core::plock::{Mode, Op, PlockInfo};
use dlm_core::run::{RunEffect, RunEvent, RunUuid, Then};
use dlm_core::types::{Group, Instant, LockspaceName, NodeId, Now, RingId, Slot, WallSeconds};
use dlm_recording::{Capacity, Digest, Reason, Recorder};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use testbed::harness::{default_fixed, lockspace, node};

/// Nodes that the script knows; this one is the first.
const NODES: u8 = 4;
const US: u32 = 1;
/// Steps of one script: enough for any state, and a bound for its time.
const STEPS: u32 = 400;
/// Effects of one step, apart from those that a long queue of locks explains.
const EFFECTS_MAX: usize = 4000;
/// Room for a few segments of a script.
const RECORDING: Capacity = Capacity::bytes(64 * 1024);
/// Deadlines in a row that may find the next one at the same time.
const SPIN: u32 = 100;

/// Run a script.
///
/// # Panics
/// When the core does what it must never do.
pub fn fuzz_core(bytes: &[u8]) {
    let run = played(bytes, None);
    let (snapshot, taken) = (run.core.snapshot(), run.now().mono);
    for lockspace in &snapshot.lockspaces {
        let mut text = String::new();
        control::append_plocks(run.core.plocks(&lockspace.name).into_iter().flatten(), &mut text);
        std::hint::black_box(text);
    }
    control::fuzz_answers(snapshot, taken);
}

/// So many times the script has a lockspace started.
///
/// # Panics
/// When the core does what it must never do.
#[must_use]
pub fn starts_of(bytes: &[u8]) -> u32 {
    played(bytes, None).starts
}

/// What the flight recorder keeps of a script.
///
/// # Panics
/// When the core does what it must never do.
#[must_use]
pub fn recording_of(bytes: &[u8]) -> Vec<u8> {
    let run = played(bytes, Some(Recorder::new(RECORDING)));
    run.recorder
        .as_ref()
        .map(|recorder| recorder.save(run.now(), Reason::Asked))
        .unwrap_or_default()
}

fn played(bytes: &[u8], recorder: Option<Recorder>) -> Run {
    let mut script = Bytes(bytes);
    let mut run = Run::new(script.byte());
    run.recorder = recorder;
    run.step(Event::Begin);
    for _ in 0..STEPS {
        if run.ended || script.0.is_empty() {
            break;
        }
        run.act(&mut script);
    }
    run
}

/// What is left of the script; behind its end come zeros.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u64 {
        u64::from(self.byte()) | u64::from(self.byte()) << 8
    }

    fn take(&mut self, length: u8) -> &[u8] {
        let (taken, rest) = self.0.split_at(usize::from(length).min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The nodes of a mask.
    fn nodes(&mut self) -> Vec<NodeId> {
        let mask = self.byte();
        (0..NODES).filter(|bit| mask >> bit & 1 == 1).map(|bit| node(u32::from(bit) + 1)).collect()
    }

    fn node(&mut self) -> NodeId {
        node(u32::from(self.byte() % NODES) + 1)
    }

    fn name(&mut self) -> LockspaceName {
        lockspace(["ls", "other"][usize::from(self.byte() & 1)])
    }

    fn group(&mut self) -> Group {
        match self.byte() % 3 {
            0 => Group::Daemon,
            1 => Group::Lockspace(lockspace("ls")),
            _ => Group::Lockspace(lockspace("other")),
        }
    }
}

/// What an onlooker knows of one lockspace.
#[derive(Default)]
struct Seen {
    members: BTreeSet<NodeId>,
    /// Members whose START has come since they joined.
    spoke: BTreeSet<NodeId>,
    /// The kernel has been given a start since its last stop.
    running: bool,
    /// A start that has failed: it may come again, whatever has happened since.
    failed: Option<KernelStart>,
}

struct Run {
    core: Core,
    recorder: Option<Recorder>,
    now: u64,
    ended: bool,
    writes: BTreeMap<Lane, (Token, KernelWrite)>,
    /// Answers about lockspaces that the core does not know: they keep no order.
    strays: VecDeque<Token>,
    agents: VecDeque<Token>,
    commands: VecDeque<Token>,
    /// Our own messages that have not come back.
    sent: VecDeque<(Group, Packet)>,
    /// Our newest message of each type and group.
    said: BTreeMap<(Group, u16), Packet>,
    seen: BTreeMap<LockspaceName, Seen>,
    spin: u32,
    starts: u32,
    /// Requests for locks and messages about them so far: they explain as many effects in one step.
    locks: usize,
}

impl Run {
    fn new(options: u8) -> Self {
        let on = |bit: u8| Switch::from(options >> bit & 1 == 1);
        let mut fixed = default_fixed();
        fixed.fencing = on(0);
        fixed.startup_fencing = on(1);
        fixed.concurrent_fencing = on(2);
        fixed.plock_ownership = Some(on(3));
        let device = |name: &str| Device {
            name: name.to_owned(),
            agent: "fence_it".to_owned(),
            arguments: Vec::new(),
        };
        let setup = Setup {
            our_node: node(US),
            configured_nodes: (1..=u32::from(NODES)).map(node).collect(),
            two_node: options >> 4 & 1 == 1,
            fixed,
            dynamic: DynamicOptions::default(),
            devices: FenceDevices {
                by_node: BTreeMap::from([(node(2), vec![device("a:1"), device("a:2")])]),
                broken: BTreeMap::from([(node(3), "no such device".to_owned())]),
                fallback: vec![device("all")],
            },
            lockspaces: BTreeMap::new(),
        };
        Self {
            core: Core::new(setup),
            recorder: None,
            now: 1_000_000_000,
            ended: false,
            writes: BTreeMap::new(),
            strays: VecDeque::new(),
            agents: VecDeque::new(),
            commands: VecDeque::new(),
            sent: VecDeque::new(),
            said: BTreeMap::new(),
            seen: BTreeMap::new(),
            spin: 0,
            starts: 0,
            locks: 0,
        }
    }

    /// One instruction of the script.
    fn act(&mut self, script: &mut Bytes<'_>) {
        match script.byte() % 24 {
            0 => self.sleep(script),
            1 => self.quorum(script),
            2 | 3 => self.confchg(script),
            4 => {
                let ring = RingId { node: US, seq: script.word() % 64 };
                self.step(Event::Ring { group: script.group(), ring });
            }
            5..=7 => self.come_back(script.byte()),
            8 => self.all_say(script),
            9 | 10 => self.damaged(script),
            11 => {
                let (group, from, length) = (script.group(), script.node(), script.byte());
                let bytes = script.take(length).to_vec();
                self.receive(group, from, &bytes);
            }
            12 | 13 => self.end_write(script.byte()),
            14 => self.end_program(script),
            15 => self.step(Event::Online { lockspace: script.name() }),
            16 => {
                let release_recover = u32::from(script.byte() & 1);
                self.step(Event::Offline { lockspace: script.name(), release_recover });
            }
            17 | 18 => self.plock(script),
            19 => self.run_command(script),
            20 => self.rarely(script),
            21 => self.settle(),
            22 => self.step(Event::FenceAck { node: script.node() }),
            _ => {
                let slots = script.nodes().into_iter().zip(1..);
                let slots = slots.filter_map(|(node, slot)| Some((Slot::new(slot)?, node)));
                let slots = slots.collect();
                self.step(Event::Slots { lockspace: script.name(), generation: 1, slots });
            }
        }
    }

    fn sleep(&mut self, script: &mut Bytes<'_>) {
        let due = self.core.next_deadline().map(Instant::as_nanos);
        match script.byte() {
            0 => self.now = due.unwrap_or(self.now).max(self.now),
            millis => self.now += u64::from(millis) * 100_000_000,
        }
        self.step(Event::Deadline);
        let next = self.core.next_deadline().map(Instant::as_nanos);
        self.spin = if next.is_some_and(|next| next <= self.now) { self.spin + 1 } else { 0 };
        assert!(self.spin < SPIN, "a deadline that stays in the past");
    }

    fn quorum(&mut self, script: &mut Bytes<'_>) {
        let (joined, left) = (script.nodes(), script.nodes());
        self.step(Event::Nodelist { joined, left });
        let members = script.nodes();
        let known = script.nodes();
        let address = |id: &NodeId| (*id, vec![([10, 0, 0, 1], 0).into()]);
        let addresses = members.iter().filter(|id| !known.contains(id)).map(address).collect();
        let ring = RingId { node: US, seq: script.word() % 64 };
        self.step(Event::Quorum { quorate: script.byte() & 1 == 0, ring, members, addresses });
    }

    fn confchg(&mut self, script: &mut Bytes<'_>) {
        let group = script.group();
        let (members, joined, left, how) =
            (script.nodes(), script.nodes(), script.nodes(), script.byte());
        let came = if how & 1 == 0 { JoinReason::Join } else { JoinReason::NodeUp };
        let went = match how >> 1 & 3 {
            0 => LeaveReason::Leave,
            1 => LeaveReason::NodeDown,
            _ => LeaveReason::ProcDown,
        };
        let change = Confchg {
            members,
            joined: joined.into_iter().map(|id| (id, came)).collect(),
            left: left.into_iter().map(|id| (id, went)).collect(),
        };
        self.step(Event::Confchg { group, change });
    }

    /// Our own messages come back.
    fn come_back(&mut self, count: u8) {
        for _ in 0..=count % 8 {
            let Some((group, packet)) = self.sent.pop_front() else { return };
            let bytes = wire::encode(&packet);
            self.receive(group, node(US), &bytes);
        }
    }

    /// Every other node of a mask says what we said last, of one type.
    fn all_say(&mut self, script: &mut Bytes<'_>) {
        let (which, others) = (script.byte(), script.nodes());
        let Some(count) = self.said.len().checked_sub(1) else { return };
        let Some(((group, _), packet)) = self
            .said
            .iter()
            .nth(usize::from(which) % (count + 1))
            .map(|(k, p)| (k.clone(), p.clone()))
        else {
            return;
        };
        for sender in others.into_iter().filter(|other| other.get() != US) {
            let packet = Packet { sender, ..packet.clone() };
            self.receive(group.clone(), sender, &wire::encode(&packet));
        }
    }

    /// One of our own messages, or one of the captured ones, with bytes changed.
    fn damaged(&mut self, script: &mut Bytes<'_>) {
        let (which, group, from) = (usize::from(script.byte()), script.group(), script.node());
        let samples = crate::seeds::samples();
        let which = which % (self.said.len() + samples.len());
        let said = self.said.values().nth(which).map(wire::encode);
        let sample = || samples.get(which.checked_sub(self.said.len())?).cloned();
        let Some(mut bytes) = said.or_else(sample) else { return };
        // The sender, so that the message is looked at; what follows may change it again.
        if let Some(sender) = bytes.get_mut(8..12) {
            sender.copy_from_slice(&from.get().to_le_bytes());
        }
        for _ in 0..script.byte() % 8 {
            let (place, value) = (script.byte(), script.byte());
            if let Some(byte) = bytes.get_mut(usize::from(place)) {
                *byte = value;
            }
        }
        self.receive(group, from, &bytes);
    }

    fn receive(&mut self, group: Group, from: NodeId, bytes: &[u8]) {
        match wire::decode(bytes) {
            Ok(packet) => {
                self.step(Event::Message { group, from, packet, length: bytes.len() });
            }
            Err(why) => self.step(Event::BadMessage { group, from, why: why.to_string() }),
        }
    }

    fn end_write(&mut self, how: u8) {
        let count = self.writes.len().max(1);
        let token = match self.writes.values().nth(usize::from(how >> 2) % count) {
            Some((token, _)) => *token,
            // At last one that may be of nobody.
            None => self.strays.pop_front().unwrap_or(Token(u64::from(how))),
        };
        let fails = how & 3 == 3;
        let ended = self.writes.iter().find(|(_, (other, _))| *other == token);
        if let Some((Lane::Lockspace(name), (_, KernelWrite::Start(start)))) = ended {
            self.seen.entry(name.clone()).or_default().failed = fails.then(|| start.clone());
        }
        self.writes.retain(|_, (other, _)| *other != token);
        let result = if fails { Err("EIO".to_owned()) } else { Ok(()) };
        self.step(Event::KernelDone { token, result });
    }

    fn end_program(&mut self, script: &mut Bytes<'_>) {
        let outcome = match script.byte() % 4 {
            0 | 1 => AgentOutcome::Exited(0),
            2 => AgentOutcome::Exited(1),
            _ => AgentOutcome::Signalled(9),
        };
        let output = String::new();
        if let Some(token) = self.agents.pop_front() {
            self.step(Event::AgentDone { token, outcome, output });
        } else if let Some(token) = self.commands.pop_front() {
            self.step(Event::Run(RunEvent::Done { token, pid: 7, outcome, output }));
        }
    }

    fn plock(&mut self, script: &mut Bytes<'_>) {
        let (op, how) = (script.byte(), script.byte());
        let fsid = Group::Lockspace(script.name()).global_id();
        let (start, end) = (script.byte(), script.byte());
        self.step(Event::PlockRequest(PlockInfo {
            version: [1, 2, 0],
            op: Op::from_wire(op % 6),
            mode: if how & 1 == 0 { Mode::Read } else { Mode::Write },
            wait: how & 2 != 0,
            flags: how >> 2 & 1,
            pid: u32::from(how >> 3),
            node: node(US),
            result: 0,
            fsid,
            number: u64::from(script.byte() & 3),
            start: u64::from(start),
            end: if end == 255 { u64::MAX } else { u64::from(end) },
            owner: u64::from(script.byte() & 3),
        }));
    }

    fn run_command(&mut self, script: &mut Bytes<'_>) {
        let what = script.byte();
        let name = format!("b7899cc7-b89c-495d-a965-675fca2559a{}", what >> 4 & 3);
        let Some(uuid) = RunUuid::new(name.as_bytes()) else { return };
        let event = match what % 4 {
            0 | 1 => RunEvent::Start {
                uuid,
                command: b"lvm lvs".to_vec(),
                node: (what & 64 != 0).then(|| script.node()),
                flags: u32::from(script.byte()),
            },
            2 => RunEvent::Check { uuid, then: Then::Keep },
            _ => RunEvent::Check { uuid, then: Then::Clear },
        };
        self.step(Event::Run(event));
    }

    fn rarely(&mut self, script: &mut Bytes<'_>) {
        let event = match script.byte() % 7 {
            0 => Event::Terminate,
            1 => Event::ShutdownQuestion,
            2 => Event::JoinFailed { group: script.group(), why: "no".to_owned() },
            3 => Event::Withdraw { table: "cluster:ls".to_owned(), lockspace: script.name() },
            4 => {
                // In this order of bytes: old inputs go on meaning what they meant.
                let dynamic = DynamicOptions {
                    quorum_fencing: Switch::from(script.byte() & 1 == 0),
                    repeat_failed_fencing: Switch::from(script.byte() & 1 == 0),
                    post_join_delay_seconds: u64::from(script.byte()),
                    ..DynamicOptions::default()
                };
                Event::Options(dynamic)
            }
            5 => Event::Devices(FenceDevices::default()),
            _ => Event::ClusterLost { why: "gone".to_owned() },
        };
        self.step(event);
    }

    /// All writes end well, all agents succeed, all our messages come back.
    fn settle(&mut self) {
        for _ in 0..64 {
            if let Some((_, (token, _))) = self.writes.pop_first() {
                self.step(Event::KernelDone { token, result: Ok(()) });
            } else if self.sent.is_empty() {
                return;
            } else {
                self.come_back(0);
            }
        }
    }

    fn step(&mut self, event: Event) {
        self.observe(&event);
        let now = self.now();
        let mut effects = Vec::new();
        if let Some(recorder) = &mut self.recorder {
            recorder.begin(now, &event, &self.core);
        }
        self.core.step(now, event, &mut effects);
        if let Some(recorder) = &mut self.recorder {
            recorder.end(Digest::of(&effects));
        }
        assert!(!self.ended || effects.is_empty(), "after its end: {effects:?}");
        let bound = EFFECTS_MAX + 8 * self.locks;
        assert!(effects.len() <= bound, "{} effects of one step", effects.len());
        for effect in effects {
            self.check(effect);
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: Instant::from_nanos(self.now),
            wall: WallSeconds(1_700_000_000 + self.now / 1_000_000_000),
        }
    }

    /// What the core is about to be told.
    fn observe(&mut self, event: &Event) {
        match event {
            Event::Confchg { group: Group::Lockspace(name), change } => {
                let seen = self.seen.entry(name.clone()).or_default();
                seen.members = change.members.iter().copied().collect();
                let came = change.joined.iter().map(|(id, _)| *id);
                let gone: BTreeSet<NodeId> =
                    came.chain(change.left.iter().map(|(id, _)| *id)).collect();
                seen.spoke.retain(|id| !gone.contains(id));
            }
            Event::Message { group: Group::Lockspace(name), from, packet, .. } => {
                match &packet.message {
                    Message::Start(start) if start.flags & START_NACK == 0 => {
                        self.seen.entry(name.clone()).or_default().spoke.insert(*from);
                    }
                    Message::PlocksData(data) => {
                        self.locks +=
                            data.parts.iter().map(|part| part.entries.len()).sum::<usize>();
                    }
                    _ => self.locks += 1,
                }
            }
            Event::PlockRequest(_) => self.locks += 1,
            _ => {}
        }
    }

    fn check(&mut self, effect: Effect) {
        match effect {
            Effect::Send { group, packet } => self.check_send(group, packet),
            Effect::Kernel { token, lane, write } => self.check_write(token, lane, write),
            Effect::RunAgent { token, victim, .. } => {
                assert_ne!(victim.get(), US, "fences itself");
                self.agents.push_back(token);
            }
            Effect::KillAgent(token) => self.agents.retain(|other| *other != token),
            Effect::Run(RunEffect::Command { token, .. }) => self.commands.push_back(token),
            Effect::Exit
            | Effect::Refuse { .. }
            | Effect::FailStop { .. }
            | Effect::ExitClusterLost { .. } => self.ended = true,
            Effect::Retire(name) => {
                self.seen.remove(&name);
            }
            _ => {}
        }
    }

    fn check_send(&mut self, group: Group, packet: Packet) {
        assert_eq!((packet.sender, packet.global_id), (node(US), group.global_id()));
        let bytes = wire::encode(&packet);
        assert_eq!(wire::decode(&bytes).as_ref(), Ok(&packet), "what is sent is read otherwise");
        if let (Message::Start(start), Group::Lockspace(name)) = (&packet.message, &group)
            && start.flags & START_NACK == 0
        {
            let seen = self.seen.entry(name.clone()).or_default();
            assert!(!seen.running, "START of {name} although its kernel runs");
        }
        let kind = bytes.get(6..8).map_or(0, |kind| u16::from_le_bytes([kind[0], kind[1]]));
        self.said.insert((group.clone(), kind), packet.clone());
        self.sent.push_back((group, packet));
    }

    fn check_write(&mut self, token: Token, lane: Lane, write: KernelWrite) {
        if let Lane::Lockspace(name) = &lane {
            if matches!(write, KernelWrite::AckWithdraw { .. })
                || (matches!(write, KernelWrite::EventDone { .. }) && !self.knows(name))
            {
                self.strays.push_back(token);
                return;
            }
            let busy = self.writes.contains_key(&lane);
            assert!(!busy, "{name}: {write:?} while another write is under way");
            match &write {
                KernelWrite::Stop | KernelWrite::Release { .. } => {
                    self.seen.entry(name.clone()).or_default().running = false;
                }
                KernelWrite::Start(start) => self.check_start(name, start),
                _ => {}
            }
        }
        self.writes.insert(lane, (token, write));
    }

    /// The core has a lockspace of this name.
    fn knows(&self, name: &LockspaceName) -> bool {
        self.core.snapshot().lockspaces.iter().any(|lockspace| lockspace.name == *name)
    }

    fn check_start(&mut self, name: &LockspaceName, start: &KernelStart) {
        let seen = self.seen.entry(name.clone()).or_default();
        if seen.failed.take().as_ref() == Some(start) {
            return;
        }
        let members: BTreeSet<NodeId> = start.members.iter().map(|(id, _)| *id).collect();
        assert_eq!(members, seen.members, "started with others than the group's members");
        assert!(members.is_subset(&seen.spoke), "START of {:?} alone has come", seen.spoke);
        assert!(!seen.running, "started without a stop");
        seen.running = true;
        self.starts += 1;
    }
}

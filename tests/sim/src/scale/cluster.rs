//! A cluster without delays: the bus of the testbed, kernels and agents that are done at once.
//!
//! Of a large cluster three nodes are real: the lowest, which has work that others do not have, the last, which dies and
//! comes back, and one of the many in between. What that one says the rest of them say too, each in its own name.

use super::Cost;
use dlm_core::Core;
use dlm_core::effect::Effect;
use dlm_core::event::{AgentOutcome, Event};
use dlm_core::message::{Message, Packet};
use dlm_core::options::{Device, DynamicOptions, FenceDevices, Setup};
use dlm_core::types::{Group, Instant, LockspaceName, NodeId, Now, WallSeconds};
use nix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use testbed::bus::{Bus, Channel, News, Origin, Outgoing};
use testbed::harness::{default_fixed, node};
use testbed::random::Random;

/// Events that a core takes between two looks at the clock, as those of a busy daemon.
const BATCH: usize = 256;
/// Things to order before the cores get what has come of it: bounds the memory.
const ORDERED_AT_ONCE: usize = 4096;
/// More rounds than any event takes: then something goes round in circles.
const ROUNDS: u32 = 1_000_000;
/// Virtual time of a round, nanoseconds.
const ROUND: u64 = 1_000;
/// The node whose words are those of its peers.
const MODEL: u32 = 2;

/// How the nodes in between are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Each is a core of its own.
    Real,
    /// One of them is, and the others say what it says.
    Mirrored,
}

/// A daemon.
struct Daemon {
    core: Core,
    waiting: VecDeque<Event>,
    /// Connections that have something for it, in order.
    channels: VecDeque<Channel>,
    time: Duration,
}

pub(super) struct Cluster {
    bus: Bus,
    random: Random,
    now: u64,
    nodes: u32,
    lockspaces: Vec<LockspaceName>,
    daemons: BTreeMap<NodeId, Daemon>,
    mirrors: Vec<NodeId>,
    to_order: VecDeque<(NodeId, Group)>,
    messages: u64,
    bytes: u64,
    broken: Option<String>,
}

impl Cluster {
    pub(super) fn new(nodes: u32, lockspaces: u32, peers: Peers) -> Self {
        let mirrors = match peers {
            Peers::Real => Vec::new(),
            Peers::Mirrored => (MODEL + 1..nodes).map(node).collect(),
        };
        let name = |number| LockspaceName::new(format!("ls{number}").as_bytes());
        Self {
            bus: Bus::new((1..=nodes).map(node).collect(), false),
            random: Random::new(1),
            now: 0,
            nodes,
            lockspaces: (1..=lockspaces).filter_map(name).collect(),
            daemons: BTreeMap::new(),
            mirrors,
            to_order: VecDeque::new(),
            messages: 0,
            bytes: 0,
            broken: None,
        }
    }

    /// All nodes come up, and all lockspaces are started on them.
    pub(super) fn form(&mut self) -> Result<(), String> {
        for id in (1..=self.nodes).map(node) {
            self.bus.start(id);
        }
        self.bus.reform(node(1));
        for id in self.mirrors.clone() {
            let groups = self.lockspaces.iter().cloned().map(Group::Lockspace);
            for group in groups.chain([Group::Daemon]) {
                self.bus.submit(id, &group, Outgoing::Join);
            }
        }
        let all: Vec<NodeId> = (1..=self.nodes).map(node).collect();
        for id in all {
            if !self.mirrors.contains(&id) {
                self.start_daemon(id);
            }
        }
        self.run()?;
        self.check()
    }

    /// The last node dies.
    pub(super) fn last_node_dies(&mut self) -> Result<Cost, String> {
        let last = node(self.nodes);
        self.begin_to_count();
        self.daemons.remove(&last);
        self.bus.stop(last, &mut self.random);
        self.bus.reform(node(1));
        self.run()?;
        self.check()?;
        Ok(self.cost())
    }

    /// The last node comes back.
    pub(super) fn last_node_comes(&mut self) -> Result<Cost, String> {
        let last = node(self.nodes);
        self.bus.start(last);
        self.bus.reform(node(1));
        self.run()?;
        self.begin_to_count();
        self.start_daemon(last);
        self.run()?;
        self.check()?;
        Ok(self.cost())
    }

    fn begin_to_count(&mut self) {
        self.messages = 0;
        self.bytes = 0;
        self.daemons.values_mut().for_each(|daemon| daemon.time = Duration::ZERO);
    }

    fn cost(&self) -> Cost {
        let busiest = self.daemons.values().map(|daemon| daemon.time).max();
        Cost { messages: self.messages, bytes: self.bytes, core: busiest.unwrap_or_default() }
    }

    fn start_daemon(&mut self, id: NodeId) {
        let online = |name: &LockspaceName| Event::Online { lockspace: name.clone() };
        let events = [Event::Begin].into_iter().chain(self.lockspaces.iter().map(online));
        let daemon = Daemon {
            core: Core::new(self.setup(id)),
            waiting: events.collect(),
            channels: VecDeque::new(),
            time: Duration::ZERO,
        };
        self.daemons.insert(id, daemon);
        self.bus.connect(id);
    }

    fn setup(&self, id: NodeId) -> Setup {
        let device = Device { name: "off".into(), agent: "fence_off".into(), arguments: vec![] };
        Setup {
            our_node: id,
            configured_nodes: (1..=self.nodes).map(node).collect(),
            two_node: false,
            fixed: default_fixed(),
            dynamic: DynamicOptions::default(),
            devices: FenceDevices { fallback: vec![device], ..FenceDevices::default() },
            lockspaces: BTreeMap::new(),
        }
    }

    /// Until nothing happens any more.
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS {
            self.now += ROUND;
            self.sort_news();
            for _ in 0..ORDERED_AT_ONCE {
                let Some((id, group)) = self.to_order.pop_front() else { break };
                self.bus.order(id, &group);
            }
            self.sort_news();
            let ids: Vec<NodeId> = self.daemons.keys().copied().collect();
            let fed = ids.into_iter().map(|id| self.feed(id)).fold(0, usize::max);
            if let Some(why) = self.broken.take() {
                return Err(why);
            }
            if fed == 0 && self.to_order.is_empty() {
                return Ok(());
            }
        }
        Err("it never comes to rest".to_owned())
    }

    fn sort_news(&mut self) {
        for news in self.bus.drain_news() {
            match news {
                News::Outbox(id, group) => self.to_order.push_back((id, group)),
                News::Inbox(id, channel) => {
                    if let Some(daemon) = self.daemons.get_mut(&id) {
                        daemon.channels.push_back(channel);
                    }
                }
            }
        }
    }

    /// Give a daemon what there is for it, and carry out what it asks for. How many events that were.
    fn feed(&mut self, id: NodeId) -> usize {
        let now = Now { mono: Instant::from_nanos(self.now), wall: WallSeconds(1) };
        let mut count = 0;
        loop {
            let Some(daemon) = self.daemons.get_mut(&id) else { return count };
            while daemon.waiting.len() < BATCH {
                let Some(channel) = daemon.channels.pop_front() else { break };
                let Some(arrival) = self.bus.take(id, &channel) else { continue };
                // The lowest node is in every group and stays there.
                if let (1, Event::Message { length, .. }) = (id.get(), &arrival.event) {
                    self.messages += 1;
                    self.bytes += u64::try_from(*length).unwrap_or(u64::MAX);
                }
                daemon.waiting.push_back(std::sync::Arc::unwrap_or_clone(arrival).event);
            }
            if daemon.waiting.is_empty() {
                return count;
            }
            count += daemon.waiting.len();
            let mut effects = Vec::new();
            let begin = processor_time();
            for event in daemon.waiting.drain(..) {
                daemon.core.step(now, event, &mut effects);
                std::hint::black_box(daemon.core.next_deadline());
            }
            daemon.time += processor_time().saturating_sub(begin);
            for effect in effects {
                self.carry_out(id, effect);
            }
        }
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        let answer = match effect {
            Effect::Join(group) => {
                self.bus.submit(id, &group, Outgoing::Join);
                return;
            }
            Effect::Send { group, packet } => return self.send(id, &group, packet),
            Effect::Kernel { token, .. } => Event::KernelDone { token, result: Ok(()) },
            Effect::RunAgent { token, .. } => {
                let outcome = AgentOutcome::Exited(0);
                Event::AgentDone { token, outcome, output: String::new() }
            }
            Effect::Ready
            | Effect::Log(_)
            | Effect::LogPlock { .. }
            | Effect::Timeline(_)
            | Effect::PlockResult(_) => return,
            other => {
                self.broken.get_or_insert(format!("node {id} asks for {other:?}"));
                return;
            }
        };
        if let Some(daemon) = self.daemons.get_mut(&id) {
            daemon.waiting.push_back(answer);
        }
    }

    fn send(&mut self, id: NodeId, group: &Group, packet: Packet) {
        let origin = Origin::default();
        if id.get() == MODEL {
            for mirror in &self.mirrors {
                let packet = mirrored(&packet, *mirror);
                self.bus.submit(*mirror, group, Outgoing::Message { packet, origin });
            }
        }
        self.bus.submit(id, group, Outgoing::Message { packet, origin });
    }

    /// Every lockspace runs on every daemon with all members that there are.
    fn check(&self) -> Result<(), String> {
        let real: BTreeSet<NodeId> = self.daemons.keys().copied().collect();
        let members: BTreeSet<NodeId> = self.mirrors.iter().copied().chain(real).collect();
        for (id, daemon) in &self.daemons {
            let snapshot = daemon.core.snapshot();
            if snapshot.lockspaces.len() != self.lockspaces.len() {
                return Err(format!("node {id} has {} lockspaces", snapshot.lockspaces.len()));
            }
            for lockspace in &snapshot.lockspaces {
                let started = lockspace.started.as_ref();
                let has: BTreeSet<NodeId> = started
                    .map(|change| change.members.iter().map(|member| member.node).collect())
                    .unwrap_or_default();
                let runs = !lockspace.kernel_stopped && lockspace.pending.is_none();
                if !runs || lockspace.need_plocks || has != members {
                    return Err(format!("node {id}: {lockspace:?}"));
                }
            }
        }
        Ok(())
    }
}

/// The same, said by another node.
fn mirrored(packet: &Packet, sender: NodeId) -> Packet {
    let mut packet = Packet { sender, ..packet.clone() };
    if let Message::FenceClear(clear) = &mut packet.message
        && clear.node == node(MODEL)
    {
        clear.node = sender;
    }
    packet
}

/// What this thread has used.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

//! Whole clusters in one process and in virtual time: N nodes with the real decisions on model surroundings.
//!
//! A [`World`] draws every delay and every choice from one seed. After each step the promises of DESIGN.md are
//! checked as far as an onlooker can see them ([`World::violations`]); the story tells what happened.

mod agenda;
mod brain;
mod carry;
mod choices;
mod disk;
mod faults;
mod knowledge;
mod lanes;
#[cfg(feature = "live")]
mod live;
mod locks;
mod looks;
mod node;
mod promises;
mod recovery;
mod release;
mod setup;
mod started;
mod story;
mod time;

use crate::bus::{Arrival, Bus, Channel, ConfigId, News};
use crate::power::PowerSwitch;
use crate::random::Random;
use agenda::{Action, Agenda, Fifo};
use dlm_core::Core;
use dlm_core::effect::{KernelStart, Lane};
use dlm_core::event::Event;
use dlm_core::options::{DynamicOptions, FixedOptions};
use dlm_core::snapshot::Snapshot;
use dlm_core::types::{Group, Instant, LockspaceName, NodeId, Now, WallSeconds};
use node::{Daemon, Epoch, Instance, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use agenda::Pace;
pub use brain::{Brain, MakeBrain};
pub use choices::Choice;
pub use locks::{Ask, Want};
pub use release::Ending;
pub use setup::default_fixed;

/// Wall clock at the beginning of every world, seconds since 1970.
const WALL_START: u64 = 1_700_000_000;
/// Monotonic clock at the beginning of every world, nanoseconds: machines have been up for a while.
const MONO_START: u64 = 1_000_000_000_000;
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// A simulated cluster.
pub struct World {
    seed: u64,
    now: u64,
    random: Random,
    bus: Bus,
    nodes: BTreeMap<NodeId, Node>,
    agenda: Agenda,
    switch: PowerSwitch,
    pace: Pace,
    fixed: FixedOptions,
    dynamic: DynamicOptions,
    two_node: bool,
    make_brain: MakeBrain,
    /// The story is kept.
    told: bool,
    story: Vec<(u64, String)>,
    /// Not drained yet.
    #[cfg(feature = "live")]
    callbacks: Vec<(NodeId, LockspaceName, crate::kernel::Callback)>,
    violations: Vec<String>,
    instances: BTreeMap<u64, Instance>,
    started_sets: BTreeMap<ConfigId, BTreeSet<NodeId>>,
    wants: BTreeSet<(NodeId, LockspaceName)>,
    leaving: BTreeMap<(NodeId, LockspaceName), Ending>,
    /// Who has files open.
    processes: BTreeMap<locks::Whose, locks::Process>,
    last_owner: u64,
    /// Nodes whose daemons do as the C daemon does, its faults included.
    foreign: BTreeSet<NodeId>,
    /// Lives of nodes of which somebody has said that they are fenced, and they were not.
    lies: BTreeSet<(NodeId, u64)>,
    /// Lives of lockspaces that a C daemon has left in order while they ran, with whether anybody was there to see it.
    abandoned: BTreeMap<u64, bool>,
    harm: BTreeSet<String>,
    disk: disk::Disk,
    /// Lockspaces that have been started beside a node that runs on, which none of those who did it could know of.
    divided: BTreeSet<LockspaceName>,
    /// (observer, other): the other's node was seen to leave the cluster since its lockspace was last in order.
    away: BTreeSet<(NodeId, NodeId)>,
    /// Nodes whose stops take this long, nanoseconds.
    long_stops: BTreeMap<NodeId, u64>,
    /// Every node has two power supplies, and goes off when both are.
    two_feeds: bool,
    /// Feeds of a node that are off.
    feeds_off: BTreeMap<NodeId, BTreeSet<String>>,
    /// Kernel writes of a node that fail next, so many.
    failing_writes: BTreeMap<NodeId, u32>,
    /// Failures in a row of the write that a lane is trying.
    failures_in_row: BTreeMap<(NodeId, Lane), u32>,
    /// Starts that have failed and are tried again, with the lives of the members then.
    failed_starts: BTreeMap<(NodeId, LockspaceName), (KernelStart, BTreeMap<NodeId, u64>)>,
    /// Daemons that do nothing until this moment, nanoseconds.
    hung: BTreeMap<NodeId, u64>,
    /// When the last attempts of a node to fence another one failed, nanoseconds.
    failed_attempts: BTreeMap<(NodeId, NodeId), Vec<u64>>,
    /// How far the wall clock of a node is off, seconds.
    wall: BTreeMap<NodeId, i64>,
    last_epoch: u64,
    last_instance: u64,
    last_recovery: u64,
    recoveries: u64,
    last_activity: u64,
    storm: (u64, u32),
}

/// The node of this number.
///
/// # Panics
/// For 0, which is no node.
#[must_use]
pub fn node(number: u32) -> NodeId {
    NodeId::new(number).expect("node ids begin at 1")
}

/// The lockspace of this name.
///
/// # Panics
/// For a name that the kernel would not take.
#[must_use]
pub fn lockspace(name: &str) -> LockspaceName {
    LockspaceName::new(name.as_bytes()).expect("a lockspace name")
}

/// Three nodes that run `ls`, for tests.
#[cfg(test)]
fn running() -> (World, LockspaceName) {
    let mut world = World::new(1, 3);
    (1..=3).for_each(|number| world.join(number, "ls"));
    assert!(world.settle());
    assert!(world.recoveries() > 0 && world.violations().is_empty());
    (world, lockspace("ls"))
}

impl World {
    /// A cluster of nodes 1 to `nodes` with the real decisions, all of which have just been switched on.
    #[must_use]
    pub fn new(seed: u64, nodes: u32) -> Self {
        Self::with_brains(seed, nodes, Box::new(|setup| Box::new(Core::new(setup))))
    }

    /// A cluster of nodes 1 to `nodes` with decisions of any make, all of which have just been switched on.
    #[must_use]
    pub fn with_brains(seed: u64, nodes: u32, make_brain: MakeBrain) -> Self {
        let configured: BTreeSet<NodeId> = (1..=nodes).map(node).collect();
        let two_node = nodes == 2;
        let dark = |id: &NodeId| {
            let kernel = crate::kernel::Kernel::default();
            (*id, Node { powered: false, boot: 0, kernel, daemon: None })
        };
        let mut world = Self {
            seed,
            now: MONO_START,
            random: Random::new(seed),
            nodes: configured.iter().map(dark).collect(),
            bus: Bus::new(configured.clone(), two_node),
            agenda: Agenda::default(),
            switch: PowerSwitch::default(),
            pace: Pace::CALM,
            fixed: default_fixed(),
            dynamic: DynamicOptions::default(),
            two_node,
            make_brain,
            told: true,
            story: Vec::new(),
            #[cfg(feature = "live")]
            callbacks: Vec::new(),
            violations: Vec::new(),
            instances: BTreeMap::new(),
            started_sets: BTreeMap::new(),
            wants: BTreeSet::new(),
            leaving: BTreeMap::new(),
            processes: BTreeMap::new(),
            last_owner: 0,
            foreign: BTreeSet::new(),
            lies: BTreeSet::new(),
            abandoned: BTreeMap::new(),
            harm: BTreeSet::new(),
            disk: disk::Disk::default(),
            divided: BTreeSet::new(),
            away: BTreeSet::new(),
            long_stops: BTreeMap::new(),
            two_feeds: false,
            feeds_off: BTreeMap::new(),
            failing_writes: BTreeMap::new(),
            failures_in_row: BTreeMap::new(),
            failed_starts: BTreeMap::new(),
            hung: BTreeMap::new(),
            failed_attempts: BTreeMap::new(),
            wall: BTreeMap::new(),
            last_epoch: 0,
            last_instance: 0,
            last_recovery: 0,
            recoveries: 0,
            last_activity: MONO_START,
            storm: (0, 0),
        };
        for id in configured {
            world.boot(id.get());
        }
        world
    }

    /// The daemons of these nodes are no daemons of ours: what they do wrong is harm, and breaks no promise. For a world that
    /// has not begun.
    pub fn are_foreign(&mut self, numbers: &[u32]) {
        self.foreign = numbers.iter().map(|number| node(*number)).collect();
    }

    /// How long things take from now on.
    pub const fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// Keep no story from now on: much faster, for runs that nobody reads unless they break something.
    pub const fn be_silent(&mut self) {
        self.told = false;
    }

    /// Has this node power?
    #[must_use]
    pub fn is_powered(&self, number: u32) -> bool {
        self.nodes.get(&node(number)).is_some_and(|host| host.powered)
    }

    /// The network is cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.bus.is_cut()
    }

    /// Begin the story here.
    pub fn begin_story(&mut self) {
        self.told = true;
        self.story.clear();
    }

    /// So many recoveries of lockspaces have been completed on all their members.
    #[must_use]
    pub const fn recoveries(&self) -> u64 {
        self.recoveries
    }

    /// What has been broken so far; empty is good.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Virtual seconds since the world began.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        (self.now - MONO_START) / SECOND
    }

    /// The state of a daemon, if it runs.
    #[must_use]
    pub fn snapshot(&self, number: u32) -> Option<Snapshot> {
        self.nodes.get(&node(number))?.daemon.as_ref().map(|daemon| daemon.brain.snapshot())
    }

    /// The chance of this world, for tests that draw faults.
    pub const fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn after(&mut self, delay: u64, action: Action) {
        self.agenda.add(self.now + delay, action);
    }

    fn hop(&mut self) -> u64 {
        self.pace.hop(&mut self.random)
    }

    /// Find times for what the bus has to do.
    fn collect_news(&mut self) {
        for news in self.bus.drain_news() {
            let at = self.now + self.hop();
            match news {
                News::Inbox(id, channel) => {
                    let queue = Fifo::Inbox(id, channel.clone());
                    self.agenda.add_in_order(queue, at, Action::Take(id, channel));
                }
                News::Outbox(id, group) => {
                    let queue = Fifo::Outbox(id, group.clone());
                    self.agenda.add_in_order(queue, at, Action::Order(id, group));
                }
            }
        }
    }

    fn act(&mut self, action: Action) {
        if let Some(until) = self.hangs(&action) {
            self.agenda.add(until, action);
            return;
        }
        match action {
            Action::Take(id, channel) => self.take(id, &channel),
            Action::Order(id, group) => self.order(id, &group),
            Action::Reform(id) => self.reform(id),
            Action::Local { node: id, epoch, event } => {
                if self.is_epoch(id, epoch) {
                    self.feed(id, event);
                }
            }
            Action::EndWrite { node: id, boot, epoch, write } => {
                self.end_write(id, boot, epoch, *write);
            }
            Action::Orphaned { node: id, boot, name } => self.orphaned(id, boot, &name),
            Action::AgentEnd { node: id, boot, epoch, token, victim, device, behaviour } => {
                if self.is_boot(id, boot) {
                    self.agent_end(id, epoch, token, (victim, device), behaviour);
                }
            }
            Action::CorosyncUp { node: id, boot } => self.corosync_up(id, boot),
            Action::DaemonUp { node: id, boot } => self.daemon_up(id, boot),
            Action::Kick { from, target, tries } => self.kick(from, target, tries),
            Action::Table { name, recovery } => self.recovery_table(&name, recovery),
            Action::Fetch { name, recovery, node: id } => self.recovery_fetch(&name, recovery, id),
            Action::Done { name, recovery, node: id } => self.recovery_done(&name, recovery, id),
            Action::Create(id, name) => self.try_create(id, &name),
            Action::Release(id, name) => self.try_release(id, &name),
        }
    }

    fn take(&mut self, id: NodeId, channel: &Channel) {
        if let Some(arrival) = self.bus.take(id, channel) {
            self.observe(id, &arrival);
            let Arrival { event, .. } = Arc::unwrap_or_clone(arrival);
            self.feed(id, event);
        }
    }

    fn reform(&mut self, id: NodeId) {
        if self.bus.reform(id) {
            let members: Vec<_> = self.bus.reachable(id).into_iter().map(NodeId::get).collect();
            self.tell(|| format!("ring: {members:?}"));
            self.last_activity = self.now;
        }
        self.begin_recoveries();
    }

    fn is_boot(&self, id: NodeId, boot: u64) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.powered && node.boot == boot)
    }

    fn is_epoch(&self, id: NodeId, epoch: Epoch) -> bool {
        let daemon = self.nodes.get(&id).and_then(|node| node.daemon.as_ref());
        daemon.is_some_and(|daemon| daemon.epoch == epoch)
    }

    fn epoch(&self, id: NodeId) -> Option<Epoch> {
        self.nodes.get(&id)?.daemon.as_ref().map(|daemon| daemon.epoch)
    }

    fn daemon(&self, id: NodeId) -> Option<&Daemon> {
        self.nodes.get(&id)?.daemon.as_ref()
    }

    fn daemon_mut(&mut self, id: NodeId) -> Option<&mut Daemon> {
        self.nodes.get_mut(&id)?.daemon.as_mut()
    }

    fn clocks(&self, id: NodeId) -> Now {
        let mono = Instant::from_nanos(self.now);
        let wall = WALL_START + (self.now - MONO_START) / SECOND;
        let off = self.wall.get(&id).copied().unwrap_or(0);
        Now { mono, wall: WallSeconds(wall.saturating_add_signed(off)) }
    }

    /// Give a daemon an event and carry out what it asks for.
    fn feed(&mut self, id: NodeId, event: Event) {
        let (now, quiet) = (self.clocks(id), matches!(event, Event::Deadline));
        if !quiet {
            self.last_activity = self.now;
            self.tell(|| format!("{id} <- {}", story::event(&event)));
        }
        let Some(daemon) = self.daemon_mut(id) else { return };
        let epoch = daemon.epoch;
        let mut effects = Vec::new();
        daemon.brain.step(now, event, &mut effects);
        daemon.deadline = daemon.brain.next_deadline().map(Instant::as_nanos);
        for effect in effects {
            if !self.is_epoch(id, epoch) {
                break;
            }
            self.carry_out(id, effect);
        }
    }

    /// The group of a lockspace.
    fn group(name: &LockspaceName) -> Group {
        Group::Lockspace(name.clone())
    }
}

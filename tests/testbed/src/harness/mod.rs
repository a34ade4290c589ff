//! Whole clusters in one process and in virtual time: N nodes with the real decisions on model surroundings.
//!
//! A [`World`] draws every delay and every choice from one seed. After each step the promises of DESIGN.md are
//! checked as far as an onlooker can see them ([`World::violations`]); the story tells what happened.

mod agenda;
mod carry;
mod choices;
mod faults;
mod lanes;
#[cfg(feature = "live")]
mod live;
mod node;
mod promises;
mod recovery;
mod story;

use crate::bus::{Arrival, Bus, Channel, ConfigId, News};
use crate::power::PowerSwitch;
use crate::random::Random;
use agenda::{Action, Agenda, Fifo};
use dlm_core::Core;
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::options::{Device, DynamicOptions, FenceDevices, FixedOptions, Setup, Switch};
use dlm_core::plock::PlockInfo;
use dlm_core::snapshot::Snapshot;
use dlm_core::types::{Group, Instant, LockspaceName, NodeId, Now, WallSeconds};
use node::{Daemon, Epoch, Instance, Node};
use std::collections::{BTreeMap, BTreeSet};

pub use agenda::Pace;
pub use choices::Choice;

/// Wall clock at the beginning of every world, seconds since 1970.
const WALL_START: u64 = 1_700_000_000;
/// Monotonic clock at the beginning of every world, nanoseconds: machines have been up for a while.
const MONO_START: u64 = 1_000_000_000_000;
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// A world in which nothing has happened for this long (virtual seconds) has settled; longer than every delay and
/// time limit that the daemons use.
const QUIET_SECONDS: u64 = 400;
/// Deadlines at one and the same moment without anything else happening: more is a daemon that spins.
const DEADLINE_STORM: u32 = 200;

/// The decisions of a daemon.
pub trait Brain {
    /// Take one event, queue what is to be done.
    fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>);
    /// When to wake it if nothing else happens.
    fn next_deadline(&self) -> Option<Instant>;
    /// Its state.
    fn snapshot(&self) -> Snapshot;

    /// A copy, for those who look at every way on; `None` where there can be none.
    fn fork(&self) -> Option<Box<dyn Brain>> {
        None
    }

    /// Puts all that it will decide by into `hasher`. Needed where there can be copies.
    fn hash_state(&self, _hasher: &mut dyn std::hash::Hasher) {}
}

impl Brain for Core {
    fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        Self::step(self, now, event, effects);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Self::next_deadline(self)
    }

    fn snapshot(&self) -> Snapshot {
        Self::snapshot(self)
    }

    fn fork(&self) -> Option<Box<dyn Brain>> {
        Some(Box::new(self.clone()))
    }

    fn hash_state(&self, mut hasher: &mut dyn std::hash::Hasher) {
        std::hash::Hash::hash(self, &mut hasher);
    }
}

/// Makes the decisions of a daemon that starts.
pub type MakeBrain = Box<dyn Fn(Setup) -> Box<dyn Brain>>;

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
    leaving: BTreeSet<(NodeId, LockspaceName)>,
    /// Somebody has said that a node is fenced that is not: promises about fencing no longer hold.
    lied: bool,
    /// Lockspaces that a cluster without start-up fencing has started beside a node that runs on, unseen.
    forsaken: BTreeSet<LockspaceName>,
    /// (observer, other): the other's node was seen to leave the cluster since its lockspace was last in order.
    away: BTreeSet<(NodeId, NodeId)>,
    /// Nodes whose stops take this long, nanoseconds.
    long_stops: BTreeMap<NodeId, u64>,
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
            dynamic: default_dynamic(),
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
            leaving: BTreeSet::new(),
            lied: false,
            forsaken: BTreeSet::new(),
            away: BTreeSet::new(),
            long_stops: BTreeMap::new(),
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

    /// Options of daemons that start from now on.
    pub fn set_options(&mut self, change: impl FnOnce(&mut FixedOptions, &mut DynamicOptions)) {
        change(&mut self.fixed, &mut self.dynamic);
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

    /// A process of this node asks for a POSIX lock, and the daemon reads that at once. False: no daemon runs.
    pub fn plock(&mut self, request: PlockInfo) -> bool {
        let id = request.node;
        match self.nodes.get_mut(&id) {
            Some(host) if host.daemon.is_some() => host.kernel.plocks().read(request),
            Some(_) | None => return false,
        }
        self.feed(id, Event::PlockRequest(request));
        self.collect_news();
        true
    }

    /// Requests for POSIX locks of this node that have no answer.
    #[must_use]
    pub fn waiting_plocks(&mut self, number: u32) -> Vec<PlockInfo> {
        let host = self.nodes.get_mut(&node(number));
        host.map(|host| host.kernel.plocks().waiting().to_vec()).unwrap_or_default()
    }

    /// Let the next thing happen. False if there is nothing left, or something is broken.
    pub fn step(&mut self) -> bool {
        if !self.violations.is_empty() {
            return false;
        }
        let deadline = self.next_deadline();
        let action = self.agenda.next_time();
        match (action, deadline) {
            (None, None) => return false,
            (Some(at), other) if other.is_none_or(|(due, _)| at <= due) => {
                self.now = self.now.max(at);
                if let Some(action) = self.agenda.pop() {
                    self.act(action);
                }
            }
            (_, Some((due, id))) => {
                self.now = self.now.max(due);
                self.count_deadlines();
                self.feed(id, Event::Deadline);
            }
            (Some(_), None) => {}
        }
        self.collect_news();
        true
    }

    fn next_deadline(&self) -> Option<(u64, NodeId)> {
        let due = |(id, node): (&NodeId, &Node)| Some((node.daemon.as_ref()?.deadline?, *id));
        self.nodes.iter().filter_map(due).min()
    }

    fn count_deadlines(&mut self) {
        self.storm =
            if self.storm.0 == self.now { (self.now, self.storm.1 + 1) } else { (self.now, 0) };
        if self.storm.1 > DEADLINE_STORM {
            self.broken("a daemon's deadline stays in the past: it spins".to_owned());
        }
    }

    /// Step until the condition holds; false if it does not within so many steps.
    pub fn run_until(&mut self, condition: impl Fn(&Self) -> bool, max_steps: u32) -> bool {
        for _ in 0..max_steps {
            if condition(self) {
                return true;
            }
            if !self.step() {
                break;
            }
        }
        condition(self)
    }

    /// Let this much virtual time pass.
    pub fn run_millis(&mut self, millis: u64) {
        let end = self.now + millis * (SECOND / 1000);
        let due = |world: &Self| {
            let deadline = world.next_deadline().map(|(at, _)| at);
            world.agenda.next_time().into_iter().chain(deadline).min().is_some_and(|at| at <= end)
        };
        while due(self) && self.step() {}
        self.now = self.now.max(end);
    }

    /// Step until nothing happens any more. False if things go on happening for an hour of virtual time.
    pub fn settle(&mut self) -> bool {
        let begin = self.now;
        self.last_activity = self.now;
        while self.now < begin + 3600 * SECOND {
            let idle = self.agenda.next_time().is_none();
            let deadline = self.next_deadline().map(|(at, _)| at);
            let quiet = deadline.is_none_or(|at| at > self.last_activity + QUIET_SECONDS * SECOND);
            if (idle && quiet) || !self.step() {
                return self.violations.is_empty();
            }
        }
        false
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
            Action::AgentEnd { node: id, boot, epoch, token, victim, behaviour } => {
                if self.is_boot(id, boot) {
                    self.agent_end(id, epoch, token, victim, behaviour);
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
            let Arrival { event, .. } = arrival;
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

    const fn clocks(&self) -> Now {
        let mono = Instant::from_nanos(self.now);
        Now { mono, wall: WallSeconds(WALL_START + (self.now - MONO_START) / SECOND) }
    }

    /// Give a daemon an event and carry out what it asks for.
    fn feed(&mut self, id: NodeId, event: Event) {
        let (now, quiet) = (self.clocks(), matches!(event, Event::Deadline));
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

    fn setup(&self, id: NodeId) -> Setup {
        let device = Device {
            name: "switch".to_owned(),
            agent: "fence_model".to_owned(),
            arguments: Vec::new(),
        };
        let devices = FenceDevices { fallback: vec![device], ..FenceDevices::default() };
        Setup {
            our_node: id,
            configured_nodes: self.nodes.keys().copied().collect(),
            two_node: self.two_node,
            fixed: self.fixed.clone(),
            dynamic: self.dynamic.clone(),
            devices,
            lockspaces: BTreeMap::new(),
        }
    }

    /// The group of a lockspace.
    fn group(name: &LockspaceName) -> Group {
        Group::Lockspace(name.clone())
    }
}

/// Defaults of spec/fencing.md section 1.
#[must_use]
pub const fn default_fixed() -> FixedOptions {
    FixedOptions {
        fencing: Switch::On,
        startup_fencing: Switch::On,
        concurrent_fencing: Switch::Off,
        agent_timeout_seconds: 120,
        plock: Switch::On,
        plock_ownership: None,
        helper: Switch::On,
    }
}

/// Defaults of spec/fencing.md section 1.
#[must_use]
pub const fn default_dynamic() -> DynamicOptions {
    DynamicOptions {
        post_join_delay_seconds: 30,
        quorum_fencing: Switch::On,
        quorum_lockspace: Switch::On,
        repeat_failed_fencing: Switch::On,
        drop_resources_time_millis: 10_000,
        drop_resources_count: 10,
        drop_resources_age_millis: 10_000,
    }
}

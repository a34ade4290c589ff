//! Every way on from a state of a world: for those who look at all interleavings instead of drawing one.
//!
//! Time stands still but for the faults, and for deadlines where nothing else can happen any more. What a step leads to
//! at once is one step with it: a kernel's write and the word of its end, an agent's deed and its report, both events of the
//! quorum service. The kernels' talk among each other comes before anything else, in one order.

use super::agenda::{Action, Agenda};
use super::node::{Daemon, Node};
use super::{SECOND, World};
use crate::bus::{Channel, News};
use crate::random::Random;
use dlm_core::Core;
use dlm_core::effect::KernelWrite;
use dlm_core::event::Event;
use dlm_core::types::NodeId;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// One thing that can happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The head of an inbox is handed over, or that of an outbox ordered.
    Bus(News),
    /// This node's component forms its ring.
    Reform(NodeId),
    /// The entry of the agenda with this number.
    Entry(u64),
    /// Nothing else happens until this daemon's deadline.
    Deadline(NodeId),
}

impl World {
    /// A copy. Daemons that start in it have the real decisions, whatever those of the world have. `None` if a daemon
    /// has decisions that cannot be copied.
    #[must_use]
    pub fn fork(&self) -> Option<Self> {
        let mut nodes = BTreeMap::new();
        for (id, host) in &self.nodes {
            let daemon = match &host.daemon {
                None => None,
                Some(daemon) => Some(Daemon {
                    epoch: daemon.epoch,
                    brain: daemon.brain.fork()?,
                    deadline: daemon.deadline,
                    views: daemon.views.clone(),
                    quorum_ring: daemon.quorum_ring,
                    quorate: daemon.quorate,
                    busy: daemon.busy.clone(),
                    agents: daemon.agents.clone(),
                }),
            };
            let (powered, boot, kernel) = (host.powered, host.boot, host.kernel.clone());
            nodes.insert(*id, Node { powered, boot, kernel, daemon });
        }
        Some(Self {
            seed: self.seed,
            now: self.now,
            random: self.random.clone(),
            bus: self.bus.clone(),
            nodes,
            agenda: self.agenda.clone(),
            switch: self.switch.clone(),
            pace: self.pace,
            fixed: self.fixed.clone(),
            dynamic: self.dynamic.clone(),
            two_node: self.two_node,
            make_brain: Box::new(|setup| Box::new(Core::new(setup))),
            told: self.told,
            story: self.story.clone(),
            #[cfg(feature = "live")]
            callbacks: self.callbacks.clone(),
            violations: self.violations.clone(),
            instances: self.instances.clone(),
            started_sets: self.started_sets.clone(),
            wants: self.wants.clone(),
            leaving: self.leaving.clone(),
            processes: self.processes.clone(),
            last_owner: self.last_owner,
            foreign: self.foreign.clone(),
            lies: self.lies.clone(),
            abandoned: self.abandoned.clone(),
            harm: self.harm.clone(),
            disk: self.disk.clone(),
            divided: self.divided.clone(),
            away: self.away.clone(),
            long_stops: self.long_stops.clone(),
            two_feeds: self.two_feeds,
            feeds_off: self.feeds_off.clone(),
            failing_writes: self.failing_writes.clone(),
            failures_in_row: self.failures_in_row.clone(),
            failed_starts: self.failed_starts.clone(),
            hung: self.hung.clone(),
            failed_attempts: self.failed_attempts.clone(),
            wall: self.wall.clone(),
            last_epoch: self.last_epoch,
            last_instance: self.last_instance,
            last_recovery: self.last_recovery,
            recoveries: self.recoveries,
            last_activity: self.last_activity,
            storm: self.storm,
        })
    }

    /// From now on choices are made, after a fault with number `chance` for what the bus draws.
    pub fn time_passes(&mut self, chance: u64) {
        self.now += SECOND;
        self.random = Random::new(chance);
    }

    /// Messages are under way that a broken ring may or may not carry.
    #[must_use]
    pub fn is_talking(&self) -> bool {
        self.bus.waiting().iter().any(|news| matches!(news, News::Outbox(..)))
    }

    /// All that can happen next.
    pub fn choices(&mut self) -> Vec<Choice> {
        self.tidy();
        let entries = self.agenda.heads();
        let first = |wanted: fn(&Action) -> bool| {
            entries.iter().find(|(_, action)| wanted(action)).map(|(number, _)| *number)
        };
        if let Some(number) = first(is_at_once).or_else(|| first(is_between_kernels)) {
            return vec![Choice::Entry(number)];
        }
        let mut choices: Vec<Choice> = self.bus.waiting().into_iter().map(Choice::Bus).collect();
        choices.extend(self.bus.broken_components().into_iter().map(Choice::Reform));
        let can = |action: &Action| match action {
            Action::Kick { from, target, .. } => {
                from == target || self.bus.connected(*from, *target) || !self.bus.is_up(*from)
            }
            _ => true,
        };
        let able = entries.iter().filter(|(_, action)| can(action));
        choices.extend(able.map(|(number, _)| Choice::Entry(*number)));
        if choices.is_empty() {
            // Whoever was to be removed is out of reach for good.
            choices.extend(entries.iter().map(|(number, _)| Choice::Entry(*number)));
        }
        if choices.is_empty() {
            choices.extend(self.next_deadline().map(|(_, id)| Choice::Deadline(id)));
        }
        choices
    }

    /// Let it happen, and all that waits in the same queue behind it: a daemon reads a connection until it is empty.
    pub fn choose_whole_queue(&mut self, choice: &Choice) {
        self.choose(choice);
        if let Choice::Bus(news) = choice {
            while self.violations.is_empty() && self.bus.waiting().contains(news) {
                self.choose(choice);
            }
        }
    }

    /// Let it happen.
    pub fn choose(&mut self, choice: &Choice) {
        self.random = Random::new(0);
        match choice {
            Choice::Bus(News::Inbox(id, channel)) => {
                self.take(*id, channel);
                if *channel == Channel::Quorum {
                    self.take(*id, channel);
                }
            }
            Choice::Bus(News::Outbox(id, group)) => self.order(*id, group),
            Choice::Reform(id) => self.reform(*id),
            Choice::Entry(number) => {
                if let Some(action) = self.agenda.remove(*number) {
                    match action {
                        Action::Kick { from, target, .. } => self.kick(from, target, u32::MAX),
                        action => self.act(action),
                    }
                }
            }
            Choice::Deadline(id) => {
                let due = self.next_deadline().map_or(self.now, |(at, _)| at);
                self.now = self.now.max(due);
                self.count_deadlines();
                self.feed(*id, Event::Deadline);
            }
        }
        self.tidy();
    }

    /// Drop what can have no effect any more, and what the bus knows better.
    fn tidy(&mut self) {
        self.bus.drain_news();
        let mut agenda = std::mem::take(&mut self.agenda);
        agenda.keep(|action| self.has_effect(action));
        self.agenda = agenda;
    }

    fn has_effect(&self, action: &Action) -> bool {
        match action {
            // Choices of their own.
            Action::Take(..) | Action::Order(..) | Action::Reform(_) => false,
            Action::Local { node, epoch, .. } => self.is_epoch(*node, *epoch),
            Action::EndWrite { node, boot, epoch, write } => {
                self.is_boot(*node, *boot)
                    && (self.is_epoch(*node, *epoch) || write.write == KernelWrite::Stop)
            }
            Action::Orphaned { node, boot, .. }
            | Action::CorosyncUp { node, boot }
            | Action::DaemonUp { node, boot }
            | Action::AgentEnd { node, boot, .. } => self.is_boot(*node, *boot),
            Action::Table { name, recovery }
            | Action::Fetch { name, recovery, .. }
            | Action::Done { name, recovery, .. } => self.nodes.values().any(|host| {
                host.powered
                    && host.kernel.lockspace(name).is_some_and(|l| l.recovery == Some(*recovery))
            }),
            Action::Kick { .. } => true,
            Action::Create(id, name) => {
                self.wants.contains(&(*id, name.clone()))
                    && self.nodes.get(id).is_some_and(|host| host.kernel.lockspace(name).is_none())
            }
            Action::Release(id, name) => self.leaving.contains_key(&(*id, name.clone())),
        }
    }

    /// Two states with one fingerprint go on alike. The story is no part of it.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        let mut hasher = Wide::default();
        self.hash_state(&mut hasher);
        hasher.wide()
    }

    fn hash_state(&self, hasher: &mut Wide) {
        self.now.hash(hasher);
        self.bus.hash(hasher);
        for host in self.nodes.values() {
            (host.powered, host.boot, &host.kernel, host.daemon.is_some()).hash(hasher);
            if let Some(daemon) = &host.daemon {
                (daemon.epoch, &daemon.views, daemon.quorum_ring, daemon.quorate).hash(hasher);
                (&daemon.busy, &daemon.agents).hash(hasher);
                daemon.brain.hash_state(hasher);
            }
        }
        self.agenda.hash_content(hasher);
        // Their order is that of their numbers.
        unordered(self.started_sets.iter()).hash(hasher);
        let Self { switch, instances, wants, leaving, divided, away, .. } = self;
        (switch, instances, wants, leaving, divided, away).hash(hasher);
        (&self.processes, &self.disk, &self.lies, &self.hung, &self.wall).hash(hasher);
        (&self.feeds_off, &self.failing_writes, &self.failures_in_row).hash(hasher);
        (&self.failed_starts, &self.abandoned).hash(hasher);
        (self.last_epoch, self.last_instance, self.last_recovery).hash(hasher);
    }
}

/// A hash of things in any order.
fn unordered(things: impl Iterator<Item = impl Hash>) -> u128 {
    let of = |thing| {
        let mut hasher = Wide::default();
        Hash::hash(&thing, &mut hasher);
        hasher.wide()
    };
    things.map(of).fold(0, u128::wrapping_add)
}

/// A hash of 128 bits in one pass: among millions of states no two may be taken for one by chance.
#[derive(Clone, Copy, Debug)]
struct Wide(u64, u64);

impl Default for Wide {
    fn default() -> Self {
        // Digits of pi.
        Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344)
    }
}

impl Wide {
    /// Two multiplications by odd numbers (those of SplitMix64) mix each word into both halves, each in its own way.
    const fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.0 ^= self.0 >> 32;
        self.1 = (self.1.rotate_left(23) ^ word).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.1 ^= self.1 >> 29;
    }

    fn wide(self) -> u128 {
        u128::from(self.0) << 64 | u128::from(self.1)
    }
}

impl Hasher for Wide {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(u64::try_from(number).unwrap_or(u64::MAX));
    }
}

/// The word of something that has just happened on the same node.
const fn is_at_once(action: &Action) -> bool {
    matches!(
        action,
        Action::Local {
            event: Event::KernelDone { .. } | Event::AgentDone { .. } | Event::Slots { .. },
            ..
        }
    )
}

const fn is_between_kernels(action: &Action) -> bool {
    matches!(action, Action::Table { .. } | Action::Fetch { .. } | Action::Done { .. })
}

/// Queues of their own, of which only the head can come next.
fn queue(action: &Action) -> Option<(NodeId, bool)> {
    match action {
        Action::Local { node, event: Event::Slots { .. }, .. } => Some((*node, true)),
        Action::Local { node, event: Event::Online { .. } | Event::Offline { .. }, .. } => {
            Some((*node, false))
        }
        _ => None,
    }
}

impl Agenda {
    fn remove(&mut self, number: u64) -> Option<Action> {
        let key = self.actions.keys().find(|(_, entered)| *entered == number).copied()?;
        self.actions.remove(&key)
    }

    /// Keep those with an effect, each once.
    fn keep(&mut self, has_effect: impl Fn(&Action) -> bool) {
        let mut kept: Vec<Action> = Vec::new();
        self.actions.retain(|_, action| {
            let new = has_effect(action) && !kept.contains(action);
            if new {
                kept.push(action.clone());
            }
            new
        });
        self.ready.clear();
    }

    /// The actions that can come next, with their numbers, in the order of their entry.
    fn heads(&self) -> Vec<(u64, Action)> {
        let mut entries: Vec<(u64, &Action)> =
            self.actions.iter().map(|((_, entered), action)| (*entered, action)).collect();
        entries.sort_by_key(|(entered, _)| *entered);
        let mut queues = Vec::new();
        entries
            .into_iter()
            .filter(|(_, action)| match queue(action) {
                None => true,
                Some(queue) if queues.contains(&queue) => false,
                Some(queue) => {
                    queues.push(queue);
                    true
                }
            })
            .map(|(entered, action)| (entered, action.clone()))
            .collect()
    }

    /// Times and numbers are no part of it, the order within a queue is.
    fn hash_content(&self, hasher: &mut Wide) {
        let mut entries: Vec<(u64, &Action)> =
            self.actions.iter().map(|((_, entered), action)| (*entered, action)).collect();
        entries.sort_by_key(|(entered, _)| *entered);
        let mut places: BTreeMap<(NodeId, bool), u64> = BTreeMap::new();
        let placed = entries.into_iter().map(|(_, action)| {
            let place = queue(action).map_or(0, |queue| {
                let place = places.entry(queue).or_default();
                *place += 1;
                *place
            });
            (place, action)
        });
        unordered(placed).hash(hasher);
    }
}

//! The promises of DESIGN.md as an onlooker can check them: after what a daemon is shown, at what it sends, at what
//! its kernel does. Who sent a START in which membership, and whose lockspace lived how long, is the world's own
//! knowledge, so that a daemon's mistake cannot hide behind its view.

use super::World;
use super::node::{SeenStart, View};
use crate::bus::{Arrival, ConfigId, Origin};
use crate::kernel::{Run, SlotTable};
use dlm_core::effect::KernelStart;
use dlm_core::event::{Confchg, Event, JoinReason, LeaveReason};
use dlm_core::message::{Message, Packet, START_NACK, Start};
use dlm_core::types::{Group, LockspaceName, NodeId, RingId, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl World {
    /// Something is not as promised.
    pub(super) fn broken(&mut self, what: String) {
        self.tell(|| format!("BROKEN {what}"));
        self.violations.push(what);
    }

    /// This node has done something that is not as promised; of a C daemon nothing is promised.
    pub(super) fn broken_by(&mut self, id: NodeId, what: String) {
        if self.foreign.contains(&id) { self.harmed(what) } else { self.broken(what) }
    }

    /// Remember what a daemon is about to be shown.
    pub(super) fn observe(&mut self, id: NodeId, arrival: &Arrival) {
        match &arrival.event {
            Event::Quorum { quorate, ring, .. } => {
                let (quorate, seq) = (*quorate, ring.seq);
                if let Some(daemon) = self.daemon_mut(id) {
                    daemon.quorate = quorate;
                    daemon.quorum_ring = seq;
                }
            }
            Event::Nodelist { left, .. } => self.away.extend(left.iter().map(|node| (id, *node))),
            Event::Confchg { group, change } => {
                self.observe_change(id, group, change, arrival.origin.config);
            }
            Event::Ring { group, ring } => self.observe_ring(id, group, *ring),
            Event::Message { group, from, packet, .. } => {
                if let Message::Start(start) = &packet.message
                    && start.flags & START_NACK == 0
                    && start.counts.members.contains(&id)
                {
                    let Origin { config, instance } = arrival.origin;
                    let told: BTreeSet<NodeId> = start.counts.members.iter().copied().collect();
                    let view = self.daemon_mut(id).and_then(|d| d.views.get_mut(group));
                    view.map(|view| {
                        let same = *view.members == told;
                        let members = if same { Arc::clone(&view.members) } else { Arc::new(told) };
                        view.starts.insert(*from, SeenStart { config, instance, members })
                    });
                }
            }
            _ => {}
        }
    }

    fn observe_ring(&mut self, id: NodeId, group: &Group, ring: RingId) {
        if let Some(view) = self.daemon_mut(id).and_then(|daemon| daemon.views.get_mut(group)) {
            view.ring = ring.seq;
            view.ring_pending = false;
        }
    }

    fn observe_change(&mut self, id: NodeId, group: &Group, change: &Confchg, config: ConfigId) {
        let failed: Vec<(NodeId, u64)> = change
            .left
            .iter()
            .filter(|(_, reason)| reason.is_failure())
            .filter_map(|(node, _)| Some((*node, self.kernel_comm_of(id, group, *node)?)))
            .collect();
        let lives = self.lives_of(id, group, change);
        let unused = self.unused_of(group, change);
        let now = self.now;
        let boots: BTreeMap<NodeId, u64> =
            self.nodes.iter().map(|(node, host)| (*node, host.boot)).collect();
        let boot = |node: &NodeId| boots.get(node).copied().unwrap_or_default();
        let Some(daemon) = self.daemon_mut(id) else { return };
        if change.joined.contains(&(id, JoinReason::Join)) {
            daemon.views.insert(group.clone(), View::default());
        }
        if change.left.contains(&(id, LeaveReason::Leave)) {
            daemon.views.remove(group);
            return;
        }
        let view = daemon.views.entry(group.clone()).or_default();
        view.config = config;
        view.members = Arc::new(change.members.iter().copied().collect());
        view.joined.get_or_insert_with(|| (config, Arc::clone(&view.members)));
        view.ever.extend(view.members.iter().map(|node| (*node, boot(node))));
        view.failed.extend(failed);
        view.failed_lives.extend(lives);
        view.unused_lives.extend(unused);
        let failures = change.left.iter().filter(|(_, reason)| reason.is_failure());
        for (node, _) in failures {
            // Two changes at one moment: which of them made it a victim cannot be told.
            let twice = view.failed_in.get(node).is_some_and(|(_, shown)| *shown == now);
            view.failed_in.insert(*node, (config, if twice { 0 } else { now }));
        }
        let nodes_changed = change.left.iter().any(|(_, r)| *r == LeaveReason::NodeDown)
            || change.joined.iter().any(|(_, r)| *r == JoinReason::NodeUp);
        view.ring_pending |= nodes_changed;
    }

    /// The lives of the members that leave in this change before their first start.
    fn unused_of(&self, group: &Group, change: &Confchg) -> Vec<u64> {
        let Group::Lockspace(name) = group else { return Vec::new() };
        let left = change.left.iter().filter(|(_, reason)| *reason == LeaveReason::Leave);
        let space = |(node, _): &(NodeId, _)| self.nodes.get(node)?.kernel.lockspace(name);
        let unused = left.filter_map(space).filter(|space| !space.ever_started);
        unused.map(|space| space.instance).collect()
    }

    /// The lives, as far as they were told, of the members that fail in this change: in our kernel, and in their STARTs.
    fn lives_of(&self, id: NodeId, group: &Group, change: &Confchg) -> Vec<u64> {
        let Group::Lockspace(name) = group else { return Vec::new() };
        let ours = self.nodes.get(&id).and_then(|host| host.kernel.lockspace(name));
        let starts = self.daemon(id).and_then(|daemon| daemon.view(group)).map(|view| &view.starts);
        let failed = change.left.iter().filter(|(_, reason)| reason.is_failure());
        let lives = failed.flat_map(|(node, _)| {
            let kernel = ours.and_then(|l| l.members.get(node)).map(|member| member.instance);
            let told = starts.and_then(|starts| starts.get(node)).map(|start| start.instance);
            kernel.into_iter().chain(told)
        });
        lives.collect()
    }

    /// Number of the comm under which our kernel's lockspace has a member.
    fn kernel_comm_of(&self, id: NodeId, group: &Group, member: NodeId) -> Option<u64> {
        let Group::Lockspace(name) = group else { return None };
        let lockspace = self.nodes.get(&id)?.kernel.lockspace(name)?;
        lockspace.members.get(&member).map(|member| member.comm_seq)
    }

    /// Promises about what is sent.
    pub(super) fn check_send(&mut self, id: NodeId, group: &Group, packet: &Packet) {
        if packet.sender != id || packet.global_id != group.global_id() {
            self.broken_by(id, format!("{id}: header names another sender or group: {packet:?}"));
        }
        if let Message::FenceResult(done) = &packet.message {
            self.check_pauses(id, done);
        }
        if let Message::FenceResult(done) = &packet.message
            && done.result == 0
            && self.foreign.contains(&id)
        {
            self.said_fenced(done.victim);
        }
        if let (Message::Start(start), Group::Lockspace(name)) = (&packet.message, group)
            && start.flags & START_NACK == 0
        {
            self.note_division(id, name, group);
            self.note_harm(id, name, &start.counts.members.iter().copied().collect());
            for wrong in self.wrong_start(id, name, group, start) {
                self.broken_by(id, format!("promise 1: {id} sends START of {name}: {wrong}"));
            }
        }
    }

    /// Promise 1: rings agree, quorate, own stop done, every failed node out of the way.
    fn wrong_start(
        &self,
        id: NodeId,
        name: &LockspaceName,
        group: &Group,
        start: &Start,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some(daemon) = self.daemon(id) else { return wrong };
        let Some(view) = daemon.view(group) else { return vec!["not a member".to_owned()] };
        if self.runs(id, name) {
            wrong.push("its kernel is not stopped".to_owned());
        }
        if view.ring_pending || view.ring != daemon.quorum_ring {
            wrong.push(format!("group ring {}, quorum ring {}", view.ring, daemon.quorum_ring));
        }
        if self.dynamic.quorum_lockspace.is_on() && !daemon.quorate {
            wrong.push("no quorum".to_owned());
        }
        let members: BTreeSet<NodeId> = start.counts.members.iter().copied().collect();
        if members != *view.members {
            wrong.push(format!("members {members:?}, group has {:?}", view.members));
        }
        if self.has_left(id, name) {
            // Its leave has its place in the order already: what it says now goes nowhere.
            return wrong;
        }
        // It has left and joined again with us as a member, and been quick to start; we have yet to be shown so much as that.
        let ahead = |node: &NodeId| {
            let theirs = self.daemon(*node).and_then(|daemon| daemon.view(group));
            theirs
                .and_then(|theirs| theirs.joined.as_ref())
                .is_some_and(|(config, members)| *config > view.config && members.contains(&id))
        };
        let alive = self.still_alive(name, &view.members).into_iter();
        let known = alive.filter(|node| {
            self.can_know(id, group, *node) && !ahead(node) && !self.began_without(id, name, *node)
        });
        wrong.extend(known.map(|node| format!("node {node} has run it, is on and has not left")));
        wrong
    }

    /// Promises 2 and 3 when a daemon has its kernel start: every member has said, in this very membership, that it is
    /// stopped, and the kernel can tell who failed. Returns the lives of the members.
    pub(super) fn check_decision(
        &mut self,
        id: NodeId,
        name: &LockspaceName,
        start: &KernelStart,
    ) -> BTreeMap<NodeId, u64> {
        let members: BTreeSet<NodeId> = start.members.iter().map(|(node, _)| *node).collect();
        let Some(view) = self.daemon(id).and_then(|d| d.view(&Self::group(name))).cloned() else {
            self.broken_by(id, format!("promise 3: {id} starts {name} without being a member"));
            return BTreeMap::new();
        };
        if members != *view.members {
            let shown = &view.members;
            self.broken_by(
                id,
                format!("promise 3: {id} starts {name} with {members:?} of {shown:?}"),
            );
        }
        for (node, comm) in &view.failed {
            let ours = self.kernel_comm_of(id, &Self::group(name), *node);
            let listed = self.nodes.get(&id).and_then(|host| host.kernel.comm_seq(*node));
            if ours == Some(*comm) && listed == Some(*comm) {
                self.broken_by(
                    id,
                    format!(
                        "promise 2: {id} starts {name}: the comm of failed {node} is neither gone nor renewed"
                    ),
                );
            }
        }
        for member in &members {
            let seen = view.starts.get(member);
            let exact = seen.is_some_and(|s| s.config == view.config && *s.members == members);
            let holds = |seen| self.still_stopped(*member, name, seen, view.config);
            if !exact && !seen.is_some_and(holds) {
                self.broken_by(
                    id,
                    format!(
                        "promise 2: {id} starts {name} without a START of {member} for this change"
                    ),
                );
            } else if !exact {
                self.tell(|| format!("{id} EARLY: takes an older START of {member} for this one"));
            }
        }
        let earlier = self.started_sets.entry(view.config).or_insert_with(|| members.clone());
        if *earlier != members {
            let earlier = earlier.clone();
            self.broken_by(
                id,
                format!("promise 3: {id} starts {name} {members:?}, others {earlier:?}"),
            );
        }
        if let Some(shown) = self.daemon_mut(id).and_then(|d| d.views.get_mut(&Self::group(name))) {
            shown.started = Some(view.config);
        }
        view.starts.into_iter().map(|(node, seen)| (node, seen.instance)).collect()
    }

    /// Promise 4.
    pub(super) fn check_slots(
        &mut self,
        name: &LockspaceName,
        before: &BTreeMap<NodeId, (Option<Slot>, u32)>,
        table: &SlotTable,
    ) {
        for (node, (slot, _)) in before {
            let now = table.slots.get(node).copied();
            if slot.is_some() && now != *slot {
                self.broken(format!("promise 4: slot of {node} in {name}: {slot:?} to {now:?}"));
            }
        }
        let mut held: BTreeMap<Slot, NodeId> = BTreeMap::new();
        for (node, slot) in &table.slots {
            if let Some(other) = held.insert(*slot, *node) {
                self.broken(format!("promise 4: {other} and {node} hold {slot:?} in {name}"));
            }
        }
        let outside =
            self.nodes.iter().filter(|(id, host)| host.powered && !before.contains_key(id));
        let clash = |(id, host): (&NodeId, &super::node::Node)| {
            let lockspace = host.kernel.lockspace(name).filter(|l| l.run == Run::Running)?;
            // Who left in order has no users any more, however long its kernel takes to hear of it.
            let life = self.instances.get(&lockspace.instance)?;
            if life.fate.is_left() || self.divided.contains(name) {
                return None;
            }
            let lied = self.is_lied_about(lockspace.instance);
            let holder =
                held.get(&lockspace.slot?).filter(|holder| !self.has_left(**holder, name))?;
            let what = format!("promise 4: {id} and {holder} hold {:?} in {name}", lockspace.slot);
            Some((what, lied))
        };
        let clashes: Vec<_> = outside.filter_map(clash).collect();
        // C daemons alone have started beside somebody.
        let of_c = before.keys().all(|node| self.foreign.contains(node));
        for (what, lied) in clashes {
            if lied || of_c { self.harmed(what) } else { self.broken(what) }
        }
    }

    /// A fence agent is run only with quorum (unless switched off), never for ourselves, and by one alone of those who
    /// have been together since the victim failed.
    pub(super) fn check_agent(&mut self, id: NodeId, victim: NodeId) {
        let quorate = self.daemon(id).is_some_and(|daemon| daemon.quorate);
        if self.dynamic.quorum_fencing.is_on() && !quorate {
            self.broken_by(id, format!("{id} fences {victim} without quorum"));
        }
        if id == victim {
            self.broken_by(id, format!("{id} fences itself"));
        }
        // Those who saw it fail in one change are of one mind about it as long as they stay together.
        let mind = |id: NodeId, other: NodeId| {
            let view = self.daemon(id)?.view(&Group::Daemon)?;
            let (since, shown) = *view.failed_in.get(&victim)?;
            let parted = view.failed_in.get(&other).is_some_and(|(parted, _)| *parted >= since);
            // It was no victim before that.
            let nodes = self.daemon(id)?.brain.snapshot().nodes;
            let new = nodes.iter().find(|node| node.node == victim)?.fail_time.as_nanos() == shown;
            (!parted && new).then_some((view.config, since, shown))
        };
        let acts = |other: &NodeId| {
            let Some(daemon) = self.daemon(*other).filter(|_| *other != id) else { return false };
            let mut agents = daemon.agents.values().filter(|(node, _)| *node == victim);
            let Some((_, began)) = agents.next_back() else { return false };
            let (ours, theirs) = (mind(id, *other), mind(*other, id));
            let same = |(config, since, _), (other, then, shown)| {
                (config, since) == (other, then) && *began >= shown
            };
            ours.zip(theirs).is_some_and(|(ours, theirs)| same(ours, theirs))
        };
        if let Some(other) = self.nodes.keys().copied().find(acts) {
            let what = format!("{id} and {other} fence {victim} at once");
            // Of a C daemon's victims and actors nothing is promised, so not of what its peer and it have in common.
            if self.foreign.contains(&other) { self.harmed(what) } else { self.broken_by(id, what) }
        }
    }

    /// No write fails in this world unless the daemon asked for nonsense, so a daemon that gives up is wrong.
    pub(super) fn check_fail_stop(&mut self, id: NodeId, why: &str) {
        self.broken_by(id, format!("{id} gives up: {why}"));
    }
}

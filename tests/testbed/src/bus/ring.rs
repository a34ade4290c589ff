//! Rings: who is in them, how they break, how the next one is formed.

use super::{Arrival, Bus, Channel, ConfigId, News, Origin, Outgoing, arrival_of};
use crate::random::Random;
use dlm_core::event::{Confchg, Event, JoinReason, LeaveReason};
use dlm_core::types::{Group, NodeId, RingId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Totem lets ring numbers grow by this (corosync exec/totemsrp.c).
const RING_SEQ_STEP: u64 = 4;

/// One node's corosync.
#[derive(Clone, Debug, Hash)]
pub(super) struct Station {
    /// Its life: a rebooted node is somebody else to the old ring.
    pub(super) incarnation: u64,
    pub(super) ring: u64,
    pub(super) daemon: bool,
    /// Groups that the present process has joined.
    pub(super) joined: BTreeSet<Group>,
    /// All configured nodes have been seen since the start.
    pub(super) seen_all: bool,
    pub(super) inbox: BTreeMap<Channel, VecDeque<Arc<Arrival>>>,
    pub(super) outbox: BTreeMap<Group, VecDeque<Outgoing>>,
}

/// One ring, or what a fragment of nodes remembers of it.
#[derive(Clone, Debug, Hash)]
pub(super) struct Ring {
    pub(super) id: RingId,
    /// Members with their lives.
    pub(super) members: BTreeMap<NodeId, u64>,
    /// Members of each group.
    pub(super) groups: BTreeMap<Group, Vec<NodeId>>,
    /// Fragments have seen different messages: the ring cannot be taken up again.
    torn: bool,
}

impl Ring {
    pub(super) fn members_of(&self, group: &Group) -> Vec<NodeId> {
        self.groups.get(group).cloned().unwrap_or_default()
    }

    pub(super) fn groups_of(&self, node: NodeId) -> Vec<Group> {
        let of_node = self.groups.iter().filter(|(_, members)| members.contains(&node));
        of_node.map(|(group, _)| group.clone()).collect()
    }
}

/// All that decides how the bus goes on. The keys of the rings, which depend on what came first in places that do not see
/// each other, are no part of it.
impl Hash for Bus {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for (id, station) in &self.stations {
            let Station { incarnation, ring, daemon, joined, seen_all, inbox, outbox } = station;
            (id, incarnation, self.rings.get(ring), daemon, joined, seen_all).hash(hasher);
            inbox.iter().filter(|(_, queue)| !queue.is_empty()).for_each(|it| it.hash(hasher));
            outbox.iter().filter(|(_, queue)| !queue.is_empty()).for_each(|it| it.hash(hasher));
        }
        (&self.sides, &self.stored_seq, &self.places, self.last_incarnation).hash(hasher);
    }
}

/// Made-up addresses of nodes, for the kernel's comms.
fn addresses(node: NodeId) -> Vec<SocketAddr> {
    let [_, _, c, d] = node.get().to_be_bytes();
    vec![SocketAddr::from((Ipv4Addr::new(10, 0, c, d), 0))]
}

impl Bus {
    /// A node's corosync starts, alone in a ring of its own until it finds others.
    pub fn start(&mut self, node: NodeId) {
        if self.is_up(node) {
            return;
        }
        self.last_incarnation += 1;
        let incarnation = self.last_incarnation;
        let station = Station {
            incarnation,
            ring: 0,
            daemon: false,
            joined: BTreeSet::new(),
            seen_all: false,
            inbox: BTreeMap::new(),
            outbox: BTreeMap::new(),
        };
        self.stations.insert(node, station);
        let component = BTreeMap::from([(node, incarnation)]);
        let key = self.make_ring(&component, BTreeMap::new());
        self.enter(node, key);
    }

    /// A node's corosync ends without a word. What it had on the wire may or may not reach the others.
    pub fn stop(&mut self, node: NodeId, random: &mut Random) {
        let Some(station) = self.stations.get(&node) else { return };
        let key = station.ring;
        if !self.is_broken(key) {
            let others: Vec<_> = self
                .rings
                .get(&key)
                .map(|ring| ring.members.keys().copied().filter(|n| *n != node).collect())
                .unwrap_or_default();
            self.flush_some(node, &others, random);
        }
        self.stations.remove(&node);
    }

    /// Cut the network: each listed set of nodes can talk among itself only; nodes not listed form one more side.
    pub fn cut(&mut self, sides: &[BTreeSet<NodeId>], random: &mut Random) {
        self.sides.clear();
        for (number, side) in (1_u32..).zip(sides) {
            self.sides.extend(side.iter().map(|node| (*node, number)));
        }
        let keys: BTreeSet<u64> = self.stations.values().map(|station| station.ring).collect();
        for key in keys {
            if self.is_broken(key) && random.one_in(2) {
                self.tear(key, random);
            }
        }
        self.take_up_rings();
    }

    /// Join what was cut. A ring that has not noticed the cut goes on, and with it what has waited meanwhile.
    pub fn heal(&mut self) {
        self.sides.clear();
        self.take_up_rings();
    }

    /// Rings that have not noticed a cut before it was mended go on.
    fn take_up_rings(&mut self) {
        for node in self.up() {
            self.announce_outbox(node);
        }
    }

    /// Some messages reach a part of the fragments only; from now on the fragments have different pasts.
    fn tear(&mut self, key: u64, random: &mut Random) {
        let mut fragments: BTreeMap<u32, Vec<NodeId>> = BTreeMap::new();
        for (node, _) in self.stations.iter().filter(|(_, station)| station.ring == key) {
            fragments.entry(self.side(*node)).or_default().push(*node);
        }
        if fragments.len() < 2 || self.rings.get(&key).is_none_or(|ring| ring.torn) {
            return;
        }
        for (side, fragment) in &fragments {
            let others = fragments.iter().filter(|(other, _)| *other != side);
            let lucky: Vec<_> = others.filter(|_| random.one_in(2)).flat_map(|(_, n)| n).collect();
            let reach: Vec<_> = fragment.iter().chain(lucky).copied().collect();
            for node in fragment {
                self.flush_some(*node, &reach, random);
            }
        }
        let Some(mut ring) = self.rings.get(&key).cloned() else { return };
        ring.torn = true;
        for fragment in fragments.values() {
            self.last_key += 1;
            self.rings.insert(self.last_key, ring.clone());
            for node in fragment {
                if let Some(station) = self.stations.get_mut(node) {
                    station.ring = self.last_key;
                }
            }
        }
    }

    /// A ring on which nothing can be ordered any more.
    pub(super) fn is_broken(&self, key: u64) -> bool {
        let Some(ring) = self.rings.get(&key) else { return true };
        let sides: BTreeSet<u32> = ring.members.keys().map(|node| self.side(*node)).collect();
        let complete = ring.members.iter().all(|(node, incarnation)| {
            self.stations
                .get(node)
                .is_some_and(|station| station.incarnation == *incarnation && station.ring == key)
        });
        ring.torn || sides.len() > 1 || !complete
    }

    /// Two nodes are in one working ring.
    #[must_use]
    pub fn connected(&self, a: NodeId, b: NodeId) -> bool {
        let key = |node| self.stations.get(&node).map(|station| station.ring);
        key(a).is_some_and(|ring| key(b) == Some(ring) && !self.is_broken(ring))
    }

    /// This node's daemon has yet to be told that it has lost another member of this group: until then both may take what is
    /// said for said to all.
    #[must_use]
    pub fn is_losing(&self, node: NodeId, group: &Group, other: NodeId) -> bool {
        let inbox = self
            .stations
            .get(&node)
            .and_then(|station| station.inbox.get(&Channel::Group(group.clone())));
        let told = inbox.into_iter().flatten().any(|arrival| match &arrival.event {
            Event::Confchg { change, .. } => change.left.iter().any(|(gone, _)| *gone == other),
            _ => false,
        });
        told || !self.connected(node, other)
    }

    /// The nodes that this node can reach, with their lives.
    fn component(&self, node: NodeId) -> BTreeMap<NodeId, u64> {
        let lives = self.reachable(node).into_iter();
        lives.filter_map(|node| Some((node, self.stations.get(&node)?.incarnation))).collect()
    }

    /// The nodes that this node can reach are no working ring.
    pub(super) fn must_reform(&self, node: NodeId) -> bool {
        let Some(present) = self.stations.get(&node).map(|station| station.ring) else {
            return false;
        };
        let settled =
            self.rings.get(&present).is_some_and(|ring| ring.members == self.component(node));
        !settled || self.is_broken(present)
    }

    /// The nodes that this node can reach form a ring, if they are not in one already. True if something changed.
    pub fn reform(&mut self, node: NodeId) -> bool {
        let component = self.component(node);
        if !self.must_reform(node) {
            return false;
        }
        let mut fragments: BTreeMap<u64, BTreeSet<NodeId>> = BTreeMap::new();
        for node in component.keys() {
            if let Some(station) = self.stations.get(node) {
                fragments.entry(station.ring).or_default().insert(*node);
            }
        }
        let groups = self.tell_departures(&fragments);
        let key = self.make_ring(&component, union(&groups));
        self.tell_arrivals(key, &fragments, &groups);
        self.tell_quorum_change(key, &fragments);
        for node in component.keys() {
            self.enter(*node, key);
            self.announce_outbox(*node);
        }
        self.forget_rings();
        true
    }

    fn make_ring(
        &mut self,
        component: &BTreeMap<NodeId, u64>,
        groups: BTreeMap<Group, Vec<NodeId>>,
    ) -> u64 {
        let stored = component.keys().filter_map(|node| self.stored_seq.get(node).copied());
        let seq = stored.max().unwrap_or(0) + RING_SEQ_STEP;
        let representative = component.keys().next().map_or(0, |node| node.get());
        let id = RingId { node: representative, seq };
        self.last_key += 1;
        let ring = Ring { id, members: component.clone(), groups, torn: false };
        self.rings.insert(self.last_key, ring);
        self.stored_seq.extend(component.keys().map(|node| (*node, seq)));
        self.last_key
    }

    fn enter(&mut self, node: NodeId, key: u64) {
        let everybody =
            self.rings.get(&key).map_or(0, |r| r.members.len()) == self.configured.len();
        if let Some(station) = self.stations.get_mut(&node) {
            station.ring = key;
            station.seen_all |= everybody;
        }
    }

    /// What waits in the outbox is tried again in the new ring.
    fn announce_outbox(&mut self, node: NodeId) {
        let Some(station) = self.stations.get(&node) else { return };
        for (group, queue) in &station.outbox {
            let again = queue.iter().map(|_| News::Outbox(node, group.clone()));
            self.news.extend(again);
        }
    }

    fn forget_rings(&mut self) {
        let used: BTreeSet<u64> = self.stations.values().map(|station| station.ring).collect();
        self.rings.retain(|key, _| used.contains(key));
    }

    /// Each fragment learns who of its old ring is gone. The groups that are left, by fragment.
    fn tell_departures(
        &mut self,
        fragments: &BTreeMap<u64, BTreeSet<NodeId>>,
    ) -> BTreeMap<u64, BTreeMap<Group, Vec<NodeId>>> {
        let mut groups = BTreeMap::new();
        for (key, fragment) in fragments {
            let before = self.rings.get(key).map(|ring| ring.groups.clone()).unwrap_or_default();
            let mut after: BTreeMap<Group, Vec<NodeId>> = BTreeMap::new();
            for (group, old) in before {
                let (stay, gone): (Vec<NodeId>, Vec<NodeId>) =
                    old.into_iter().partition(|node| fragment.contains(node));
                if !gone.is_empty() {
                    let config = self.next_config(&group, &stay);
                    let change = Confchg {
                        members: stay.clone(),
                        joined: Vec::new(),
                        left: gone.into_iter().map(|n| (n, LeaveReason::NodeDown)).collect(),
                    };
                    self.tell_change(&stay, &group, change, config);
                }
                after.insert(group, stay);
            }
            groups.insert(*key, after);
        }
        groups
    }

    /// Each fragment learns which processes of the other fragments have come, then the new ring's id.
    fn tell_arrivals(
        &mut self,
        key: u64,
        fragments: &BTreeMap<u64, BTreeSet<NodeId>>,
        before: &BTreeMap<u64, BTreeMap<Group, Vec<NodeId>>>,
    ) {
        let Some(ring) = self.rings.get(&key) else { return };
        let (id, groups) = (ring.id, ring.groups.clone());
        for (group, members) in groups {
            let config = self.next_config(&group, &members);
            for old in fragments.keys() {
                let ours = before.get(old).and_then(|g| g.get(&group)).cloned().unwrap_or_default();
                let joined: Vec<_> =
                    members.iter().copied().filter(|n| !ours.contains(n)).collect();
                let change = (!joined.is_empty()).then(|| {
                    let joined = joined.iter().map(|n| (*n, JoinReason::NodeUp)).collect();
                    let change = Confchg { members: members.clone(), joined, left: Vec::new() };
                    arrival_of(&group, change, config)
                });
                for node in ours {
                    if let Some(change) = &change {
                        self.tell(node, &group, change);
                    }
                    self.tell_ring(node, &group, id);
                }
            }
        }
    }

    fn tell_quorum_change(&mut self, key: u64, fragments: &BTreeMap<u64, BTreeSet<NodeId>>) {
        let Some(ring) = self.rings.get(&key) else { return };
        let (id, members) = (ring.id, ring.members.keys().copied().collect::<Vec<_>>());
        for (old, fragment) in fragments {
            let before: Vec<NodeId> = self
                .rings
                .get(old)
                .map(|r| r.members.keys().copied().collect())
                .unwrap_or_default();
            let joined: Vec<_> =
                members.iter().copied().filter(|n| !fragment.contains(n)).collect();
            let left: Vec<_> = before.into_iter().filter(|n| !fragment.contains(n)).collect();
            for node in fragment {
                self.enter(*node, key);
                self.tell_quorum(*node, id, &members, joined.clone(), left.clone());
            }
        }
    }

    pub(super) fn tell_quorum(
        &mut self,
        node: NodeId,
        ring: RingId,
        members: &[NodeId],
        joined: Vec<NodeId>,
        left: Vec<NodeId>,
    ) {
        if !self.stations.get(&node).is_some_and(|station| station.daemon) {
            return;
        }
        let quorum = Event::Quorum {
            quorate: self.is_quorate(node, members.len()),
            ring,
            members: members.to_vec(),
            addresses: members.iter().map(|node| (*node, addresses(*node))).collect(),
        };
        let origin = Origin { config: ConfigId::default(), instance: 0 };
        let nodelist = Event::Nodelist { joined, left };
        for event in [nodelist, quorum] {
            self.push(node, Channel::Quorum, Arc::new(Arrival { event, origin }));
        }
    }
}

/// Groups of all fragments together.
fn union(parts: &BTreeMap<u64, BTreeMap<Group, Vec<NodeId>>>) -> BTreeMap<Group, Vec<NodeId>> {
    let mut all: BTreeMap<Group, Vec<NodeId>> = BTreeMap::new();
    for (group, members) in parts.values().flatten() {
        all.entry(group.clone()).or_default().extend(members);
    }
    all
}

//! The model of corosync: rings, quorum, and groups with ordered messages, on all nodes at once.
//!
//! It keeps what corosync promises (spec/cluster-protocol.md section 1) and nothing more:
//!
//! - within a group and a ring, everybody sees the same configuration changes and messages in the same order;
//! - a ring change gives each group a change with those who went, a change with those who came, then the ring id;
//!   members that come from one old ring have seen the same before it, others may not have;
//! - what was sent in a dying ring may reach some fragments only, or be ordered in the next ring;
//! - the quorum service and each group are queues of their own at each node: nothing orders them among each other.
//!
//! The bus knows no time. Whoever drives it decides when the head of an outbox is ordered, when the head of an inbox
//! is handed to the daemon, and when a component forms its new ring; `Bus::drain_news` tells it what there is to do.

mod ring;

use crate::random::Random;
use dlm_core::event::{Confchg, Event, JoinReason, LeaveReason};
use dlm_core::message::{Message, Packet};
use dlm_core::types::{Group, NodeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ring::{Ring, Station};

/// A connection of a daemon to its corosync; each is a queue of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// The quorum service.
    Quorum,
    /// A group.
    Group(Group),
}

/// Names one membership of one group: all members that see it know it by the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigId {
    /// Grows with every membership of the cluster.
    number: u64,
    /// What sets it apart whatever goes on elsewhere at the time; see [`Bus::next_config`].
    place: u64,
}

/// Two ways to one state give it other numbers where they have taken the same steps in another order.
impl Hash for ConfigId {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.place.hash(hasher);
    }
}

/// Where a message comes from, as only an onlooker of the whole cluster can know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The newest membership that the sender had been shown when it sent.
    pub config: ConfigId,
    /// The life of the sender's kernel lockspace, 0 for none.
    pub instance: u64,
}

/// What a connection hands to the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arrival {
    /// The event.
    pub event: Event,
    /// For a message its origin; for a change the membership it leads to.
    pub origin: Origin,
}

/// What a daemon, or its death, gives to a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outgoing {
    /// Join.
    Join,
    /// Leave in order.
    Leave,
    /// The process is gone.
    ProcDown,
    /// A message.
    Message {
        /// What is said.
        packet: Packet,
        /// By whom exactly.
        origin: Origin,
    },
}

/// Something that the driver of the bus must find a time for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum News {
    /// One more arrival waits in this inbox.
    Inbox(NodeId, Channel),
    /// One more item waits in this outbox.
    Outbox(NodeId, Group),
}

/// All nodes' corosync.
#[derive(Clone, Debug)]
pub struct Bus {
    configured: BTreeSet<NodeId>,
    two_node: bool,
    stations: BTreeMap<NodeId, Station>,
    rings: BTreeMap<u64, Ring>,
    /// Which side of a partition a node is on, running or not.
    sides: BTreeMap<NodeId, u32>,
    /// Ring sequence number as each node's corosync keeps it on disk.
    stored_seq: BTreeMap<NodeId, u64>,
    last_key: u64,
    last_config: u64,
    /// Places of the memberships that each node has made last.
    places: BTreeMap<(Group, NodeId), u64>,
    last_incarnation: u64,
    news: Vec<News>,
}

impl Bus {
    /// A cluster of these nodes, none of which runs yet.
    #[must_use]
    pub fn new(configured: BTreeSet<NodeId>, two_node: bool) -> Self {
        Self {
            configured,
            two_node,
            stations: BTreeMap::new(),
            rings: BTreeMap::new(),
            sides: BTreeMap::new(),
            stored_seq: BTreeMap::new(),
            last_key: 0,
            last_config: 0,
            places: BTreeMap::new(),
            last_incarnation: 0,
            news: Vec::new(),
        }
    }

    /// What has come up since the last call.
    pub fn drain_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// The network is cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        !self.sides.is_empty()
    }

    /// What can be handed over or ordered now.
    #[must_use]
    pub fn waiting(&self) -> Vec<News> {
        let mut found = Vec::new();
        for (id, station) in &self.stations {
            let inbox = station.inbox.iter().filter(|(_, queue)| !queue.is_empty());
            found.extend(inbox.map(|(channel, _)| News::Inbox(*id, channel.clone())));
            let outbox = station.outbox.iter().filter(|(_, queue)| !queue.is_empty());
            if !self.is_broken(station.ring) {
                found.extend(outbox.map(|(group, _)| News::Outbox(*id, group.clone())));
            }
        }
        found
    }

    /// The lowest node of each component that has yet to form its ring.
    #[must_use]
    pub fn broken_components(&self) -> Vec<NodeId> {
        let lowest = |node: &NodeId| self.reachable(*node).first() == Some(node);
        self.stations
            .keys()
            .copied()
            .filter(lowest)
            .filter(|node| self.must_reform(*node))
            .collect()
    }

    /// This node's corosync runs.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.stations.contains_key(&node)
    }

    /// Nodes whose corosync runs.
    #[must_use]
    pub fn up(&self) -> Vec<NodeId> {
        self.stations.keys().copied().collect()
    }

    /// The running nodes that this one can talk to, itself included.
    #[must_use]
    pub fn reachable(&self, node: NodeId) -> BTreeSet<NodeId> {
        let side = self.side(node);
        self.stations.keys().copied().filter(|other| self.side(*other) == side).collect()
    }

    /// These nodes would be quorate as a ring. With `two_node` it also takes that the node has seen all others since
    /// its start (`wait_for_all`).
    #[must_use]
    pub fn is_quorate(&self, node: NodeId, members: usize) -> bool {
        if self.two_node {
            return self.stations.get(&node).is_some_and(|station| station.seen_all);
        }
        members * 2 > self.configured.len()
    }

    fn side(&self, node: NodeId) -> u32 {
        self.sides.get(&node).copied().unwrap_or(0)
    }

    /// A membership of a group that is made by all of `makers`. Its place is behind all that one of them has made.
    fn next_config(&mut self, group: &Group, makers: &[NodeId]) -> ConfigId {
        self.last_config += 1;
        let of = |id: &NodeId| self.places.get(&(group.clone(), *id)).copied();
        let place = makers.iter().filter_map(of).max().unwrap_or(0) + 1;
        self.places.extend(makers.iter().map(|id| ((group.clone(), *id), place)));
        let lowest = makers.iter().min().map_or(0, |id| u64::from(id.get()));
        let group = u64::from(group.global_id().0);
        ConfigId { number: self.last_config, place: group << 32 | place << 8 | lowest }
    }

    /// A daemon connects: it is told the present state of the cluster.
    pub fn connect(&mut self, node: NodeId) {
        let Some(station) = self.stations.get_mut(&node) else { return };
        station.daemon = true;
        let key = station.ring;
        let Some(ring) = self.rings.get(&key) else { return };
        let (id, members) = (ring.id, ring.members.keys().copied().collect::<Vec<_>>());
        self.tell_quorum(node, id, &members, Vec::new(), Vec::new());
    }

    /// A daemon is gone, however it ended: the groups it is still in learn of it one by one.
    pub fn disconnect(&mut self, node: NodeId) {
        let Some(station) = self.stations.get_mut(&node) else { return };
        station.daemon = false;
        station.inbox.clear();
        station.joined.clear();
        let key = station.ring;
        let mut groups: BTreeSet<Group> = station.outbox.keys().cloned().collect();
        if let Some(ring) = self.rings.get(&key) {
            groups.extend(ring.groups_of(node));
        }
        for group in groups {
            self.submit(node, &group, Outgoing::ProcDown);
        }
    }

    /// A daemon asks something of a group; it takes effect when it is ordered.
    pub fn submit(&mut self, node: NodeId, group: &Group, item: Outgoing) {
        if let Some(station) = self.stations.get_mut(&node) {
            station.outbox.entry(group.clone()).or_default().push_back(item);
            self.news.push(News::Outbox(node, group.clone()));
        }
    }

    /// Hand over the head of an inbox.
    pub fn take(&mut self, node: NodeId, channel: &Channel) -> Option<Arc<Arrival>> {
        self.stations.get_mut(&node)?.inbox.get_mut(channel)?.pop_front()
    }

    /// Give the head of an outbox its place in the order. Nothing happens while the node's ring is broken: the item
    /// waits for the next ring.
    pub fn order(&mut self, node: NodeId, group: &Group) -> Option<Outgoing> {
        let key = self.stations.get(&node)?.ring;
        if self.is_broken(key) {
            return None;
        }
        let item = self.stations.get_mut(&node)?.outbox.get_mut(group)?.pop_front()?;
        match &item {
            Outgoing::Join => self.order_join(key, node, group),
            Outgoing::Leave => self.order_departure(key, node, group, LeaveReason::Leave),
            Outgoing::ProcDown => self.order_departure(key, node, group, LeaveReason::ProcDown),
            Outgoing::Message { packet, origin } => {
                let to = self.group_members(key, group);
                if to.contains(&node) {
                    self.order_message(node, group, packet, *origin, &to);
                }
            }
        }
        Some(item)
    }

    fn group_members(&self, key: u64, group: &Group) -> Vec<NodeId> {
        self.rings.get(&key).map(|ring| ring.members_of(group)).unwrap_or_default()
    }

    fn order_join(&mut self, key: u64, node: NodeId, group: &Group) {
        let Some(ring) = self.rings.get_mut(&key) else { return };
        let id = ring.id;
        let members = ring.groups.entry(group.clone()).or_default();
        if members.contains(&node) {
            return;
        }
        members.push(node);
        let members = members.clone();
        // A process that died before its join was ordered is not there to hear of it.
        if let Some(station) = self.stations.get_mut(&node).filter(|station| station.daemon) {
            station.joined.insert(group.clone());
        }
        let config = self.next_config(group, &members);
        let change = Confchg {
            members: members.clone(),
            joined: vec![(node, JoinReason::Join)],
            left: Vec::new(),
        };
        self.tell_change(&members, group, change, config);
        self.tell_ring(node, group, id);
    }

    fn order_departure(&mut self, key: u64, node: NodeId, group: &Group, reason: LeaveReason) {
        let Some(ring) = self.rings.get_mut(&key) else { return };
        let Some(members) = ring.groups.get_mut(group) else { return };
        if !members.contains(&node) {
            return;
        }
        members.retain(|member| *member != node);
        let members = members.clone();
        let config = self.next_config(group, &[members.as_slice(), &[node]].concat());
        let change =
            Confchg { members: members.clone(), joined: Vec::new(), left: vec![(node, reason)] };
        let leaver = (reason == LeaveReason::Leave).then_some(node);
        let told: Vec<NodeId> = members.into_iter().chain(leaver).collect();
        self.tell_change(&told, group, change, config);
        if reason == LeaveReason::Leave
            && let Some(station) = self.stations.get_mut(&node)
        {
            station.joined.remove(group);
        }
    }

    fn order_message(
        &mut self,
        from: NodeId,
        group: &Group,
        packet: &Packet,
        origin: Origin,
        to: &[NodeId],
    ) {
        let (group, packet) = (group.clone(), packet.clone());
        let length = length(&packet);
        let event = Event::Message { group: group.clone(), from, packet, length };
        let message = Arc::new(Arrival { event, origin });
        to.iter().for_each(|member| self.tell(*member, &group, &message));
    }

    fn tell_change(&mut self, to: &[NodeId], group: &Group, change: Confchg, config: ConfigId) {
        let change = arrival_of(group, change, config);
        to.iter().for_each(|member| self.tell(*member, group, &change));
    }

    fn tell_ring(&mut self, node: NodeId, group: &Group, ring: dlm_core::types::RingId) {
        let event = Event::Ring { group: group.clone(), ring };
        self.tell(node, group, &Arc::new(Arrival { event, origin: Origin::default() }));
    }

    /// Put something into a group's inbox, if the node's present process has joined the group.
    fn tell(&mut self, node: NodeId, group: &Group, arrival: &Arc<Arrival>) {
        let Some(station) = self.stations.get_mut(&node) else { return };
        if station.daemon && station.joined.contains(group) {
            self.push(node, Channel::Group(group.clone()), Arc::clone(arrival));
        }
    }

    fn push(&mut self, node: NodeId, channel: Channel, arrival: Arc<Arrival>) {
        if let Some(station) = self.stations.get_mut(&node) {
            station.inbox.entry(channel.clone()).or_default().push_back(arrival);
            self.news.push(News::Inbox(node, channel));
        }
    }

    /// Messages that were on the wire when something broke: some reach everybody named in `reach`.
    fn flush_some(&mut self, node: NodeId, reach: &[NodeId], random: &mut Random) {
        let Some(station) = self.stations.get(&node) else { return };
        let (key, groups) = (station.ring, station.outbox.keys().cloned().collect::<Vec<_>>());
        for group in groups {
            let members = self.group_members(key, &group);
            let to: Vec<_> = reach.iter().copied().filter(|n| members.contains(n)).collect();
            let head =
                self.stations.get(&node).and_then(|s| s.outbox.get(&group)?.front().cloned());
            let Some(Outgoing::Message { packet, origin }) = head else { continue };
            if members.contains(&node) && random.one_in(2) {
                self.order_message(node, &group, &packet, origin, &to);
                let queue = self.stations.get_mut(&node).and_then(|s| s.outbox.get_mut(&group));
                queue.map(VecDeque::pop_front);
            }
        }
    }
}

/// A change of a group as its members are told of it: one for all of them, as copies of what a hundred nodes are told would fill
/// the memory.
fn arrival_of(group: &Group, change: Confchg, config: ConfigId) -> Arc<Arrival> {
    let event = Event::Confchg { group: group.clone(), change };
    Arc::new(Arrival { event, origin: Origin { config, instance: 0 } })
}

/// Length of a message on the wire as far as it matters for logs (spec/cluster-protocol.md section 4).
fn length(packet: &Packet) -> usize {
    match &packet.message {
        Message::Protocol(_) => 72,
        Message::Start(start) => 72 + 4 * start.counts.members.len(),
        Message::PlocksDone(done) => 72 + 4 * done.counts.members.len(),
        Message::FenceResult(_) | Message::FenceClear(_) | Message::FencePast(_) => 1064,
        Message::RunRequest(_) => 1160,
        Message::RunReply(_) => 136,
        Message::ReleaseRecover { .. } | Message::Withdraw { .. } => 40,
        Message::Plock(_)
        | Message::PlockOwn { .. }
        | Message::PlockDrop { .. }
        | Message::PlockSyncLock(_)
        | Message::PlockSyncWaiter(_) => 104,
        Message::PlocksData(data) => {
            40 + data.parts.iter().map(|part| 24 + 40 * part.entries.len()).sum::<usize>()
        }
        Message::Other { body, .. } => 40 + body.len(),
    }
}

#[cfg(test)]
mod tests;

//! The cluster as corosync's quorum service tells it, and the kernel's `comms` entries that follow it.
//!
//! The kernel takes a node that is missing from a lockspace's new members for failed when its `comms` entry is gone or
//! new, and for a clean leaver when the entry is the old one (spec/kernel-interfaces.md section 5). So an entry is
//! removed exactly when the cluster loses the node, renewed when the node was away unseen, and never touched otherwise.

use crate::effect::{Effect, KernelWrite, Lane};
use crate::event::Token;
use crate::lane::{Finish, Queue};
use crate::out::Out;
use crate::types::{Instant, NodeId, RingId, WallSeconds};
use crate::waiting::{LaneWait, WriteKind};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// What the quorum service said last, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Cluster {
    our_node: NodeId,
    /// This partition may act.
    pub(crate) quorate: bool,
    /// Since when, in this stretch of quorum.
    pub(crate) quorate_since: Instant,
    /// Ring of the last quorum event.
    pub(crate) ring: RingId,
    /// Wall time of the first quorum event.
    pub(crate) first_heard: Option<WallSeconds>,
    nodes: BTreeMap<NodeId, Node>,
    /// Nodes that a nodelist event names as gone and come back.
    away_unseen: BTreeSet<NodeId>,
    comms: Queue<CommWrite>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Node {
    member: bool,
    /// Ring of the quorum event that lost it last; 0 if none did.
    removed_ring: u64,
    comm: Comm,
}

/// The `comms` entry of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Comm {
    /// None, or being removed.
    #[default]
    Absent,
    /// There, or being written.
    Wanted,
    /// Could not be written.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum CommWrite {
    Add { node: NodeId, addresses: Vec<SocketAddr> },
    Remove { node: NodeId },
}

impl CommWrite {
    fn node(&self) -> NodeId {
        match self {
            Self::Add { node, .. } | Self::Remove { node } => *node,
        }
    }
}

/// What a quorum event changed.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// A node came, or was away unseen: post_join_delay counts from now.
    pub(crate) anyone_added: bool,
}

impl Cluster {
    pub(crate) fn new(our_node: NodeId) -> Self {
        Self {
            our_node,
            quorate: false,
            quorate_since: Instant::default(),
            ring: RingId::default(),
            first_heard: None,
            nodes: BTreeMap::new(),
            away_unseen: BTreeSet::new(),
            comms: Queue::default(),
        }
    }

    /// The cluster lists the node now.
    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.member)
    }

    /// The incarnation of the node that was alive in ring `ring` is out of the cluster: the node is not listed, or was
    /// lost in a later ring and has come back.
    pub(crate) fn has_lost_since(&self, node: NodeId, ring: u64) -> bool {
        self.nodes.get(&node).is_none_or(|node| !node.member || node.removed_ring > ring)
    }

    /// The node's `comms` entry is as the last quorum event wants it.
    pub(crate) fn comm_settled(&self, node: NodeId) -> bool {
        !self.comms.outstanding().any(|write| write.node() == node)
    }

    /// The incarnation of the node that was in ring `ring` is in the cluster, and its `comms` entry is written.
    pub(crate) fn comm_ready(&self, node: NodeId, ring: u64) -> bool {
        let wanted =
            |known: &Node| known.member && known.comm == Comm::Wanted && known.removed_ring <= ring;
        self.nodes.get(&node).is_some_and(wanted) && self.comm_settled(node)
    }

    /// A nodelist event: remember who was away although no quorum event will show it.
    pub(crate) fn nodelist(&mut self, joined: &[NodeId], left: &[NodeId], out: &mut Out<'_>) {
        for node in left {
            out.debug(format!("cluster left_list {node} seq {}", self.ring.seq));
        }
        for node in joined {
            out.debug(format!("cluster joined_list {node} seq {}", self.ring.seq));
            if left.contains(node) {
                self.away_unseen.insert(*node);
            }
        }
    }

    /// A quorum event.
    pub(crate) fn quorum(
        &mut self,
        quorate: bool,
        ring: RingId,
        members: &[NodeId],
        addresses: &BTreeMap<NodeId, Vec<SocketAddr>>,
        out: &mut Out<'_>,
    ) -> Change {
        out.debug(format!(
            "cluster quorum {} seq {} nodes {}",
            u8::from(quorate),
            ring.seq,
            members.len()
        ));
        if quorate && !self.quorate {
            self.quorate_since = out.now.mono;
        }
        self.quorate = quorate;
        self.ring = ring;
        self.first_heard.get_or_insert(out.now.wall);
        let gone: Vec<NodeId> = self
            .nodes
            .iter()
            .filter(|(id, node)| node.member && !members.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for node in gone {
            self.lose(node, out);
        }
        let mut change = Change::default();
        for node in members {
            change.anyone_added |= self.see(*node, addresses.get(node), out);
        }
        self.away_unseen.clear();
        change
    }

    fn lose(&mut self, node: NodeId, out: &mut Out<'_>) {
        out.debug(format!("cluster node {node} removed seq {}", self.ring.seq));
        let ring = self.ring.seq;
        let entry = self.nodes.entry(node).or_default();
        *entry = Node { member: false, removed_ring: ring, comm: Comm::Absent };
        self.comms.push(CommWrite::Remove { node });
    }

    /// Returns whether the node is new, or new again.
    fn see(
        &mut self,
        node: NodeId,
        addresses: Option<&Vec<SocketAddr>>,
        out: &mut Out<'_>,
    ) -> bool {
        let ring = self.ring.seq;
        let was_away = self.away_unseen.contains(&node);
        let entry = self.nodes.entry(node).or_default();
        let is_new = !entry.member || was_away;
        if entry.member && was_away {
            entry.removed_ring = ring;
        }
        entry.member = true;
        if is_new {
            out.debug(format!("cluster node {node} added seq {ring}"));
        }
        if is_new || entry.comm != Comm::Wanted {
            match addresses.filter(|addresses| !addresses.is_empty()) {
                Some(addresses) => {
                    entry.comm = Comm::Wanted;
                    self.comms.push(CommWrite::Add { node, addresses: addresses.clone() });
                }
                None => {
                    entry.comm = Comm::Failed;
                    self.comms.push(CommWrite::Remove { node });
                    out.error(format!(
                        "cluster node {node}: corosync knows no address of it; lockspaces with it wait until it does"
                    ));
                }
            }
        }
        is_new
    }

    /// Writes about nodes are waiting.
    pub(crate) fn has_work(&self) -> bool {
        !self.comms.is_idle()
    }

    /// Hand out the next write about nodes, unless its node is `busy`: named by a start that the kernel is just being given.
    /// The kernel notes the entry of each member then, and would note the new one for a node that has died.
    pub(crate) fn pump(&mut self, busy: impl FnOnce(NodeId) -> bool, out: &mut Out<'_>) {
        let our_node = self.our_node;
        self.comms.pump(
            out.now.mono,
            |write| !busy(write.node()),
            |write| {
                let write = match write {
                    CommWrite::Add { node, addresses } => KernelWrite::AddComm {
                        node: *node,
                        addresses: addresses.clone(),
                        local: *node == our_node,
                    },
                    CommWrite::Remove { node } => KernelWrite::RemoveComm { node: *node },
                };
                out.kernel(Lane::Cluster, write)
            },
        );
    }

    /// A write has ended. `false`: not one of ours.
    pub(crate) fn kernel_done(
        &mut self,
        token: Token,
        result: Result<(), String>,
        out: &mut Out<'_>,
    ) -> bool {
        match self.comms.finish(out.now.mono, token, result) {
            Finish::Foreign => return false,
            Finish::Done(_) => {}
            Finish::Retry(error) => {
                out.error(format!("kernel write failed, will be tried again: {error}"))
            }
            Finish::GaveUp(CommWrite::Add { node, .. }, error) => {
                // Lockspaces with this node wait and name it: better than taking our own node down for a peer's address.
                out.error(format!("cluster node {node}: giving up its address: {error}"));
                if let Some(entry) = self.nodes.get_mut(&node) {
                    entry.comm = Comm::Failed;
                }
            }
            Finish::GaveUp(CommWrite::Remove { node }, error) => {
                // Without the removal the kernel would take the dead node for a clean leaver and replay nothing.
                out.push(Effect::FailStop {
                    why: format!("cannot remove node {node} from the kernel: {error}"),
                });
            }
        }
        true
    }

    /// The first write about a node that is on its way.
    pub(crate) fn lane_wait(&self) -> Option<LaneWait> {
        self.comms.wait(|write| match write {
            CommWrite::Add { node, .. } => WriteKind::AddComm(*node),
            CommWrite::Remove { node } => WriteKind::RemoveComm(*node),
        })
    }

    /// Members of the cluster whose address is not known, or that the kernel would not take.
    pub(crate) fn without_address(&self) -> impl Iterator<Item = NodeId> + '_ {
        let lacks = |node: &Node| node.member && node.comm == Comm::Failed;
        self.nodes.iter().filter(move |(_, node)| lacks(node)).map(|(id, _)| *id)
    }

    /// When a paused write is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.comms.deadline()
    }
}

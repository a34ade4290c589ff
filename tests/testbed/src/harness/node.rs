//! One node of a simulated world: power, kernel, daemon.

use super::Brain;
use crate::bus::ConfigId;
use crate::kernel::Kernel;
use dlm_core::effect::Lane;
use dlm_core::event::Token;
use dlm_core::types::{Group, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names one life of one daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Epoch(pub(super) u64);

/// A node.
pub(super) struct Node {
    pub(super) powered: bool,
    /// Counts power-ons.
    pub(super) boot: u64,
    pub(super) kernel: Kernel,
    pub(super) daemon: Option<Daemon>,
}

/// A daemon with what it has been shown so far.
pub(super) struct Daemon {
    pub(super) epoch: Epoch,
    pub(super) brain: Box<dyn Brain>,
    /// Of the brain, as its last step left it, nanoseconds.
    pub(super) deadline: Option<u64>,
    pub(super) views: BTreeMap<Group, View>,
    pub(super) quorum_ring: u64,
    pub(super) quorate: bool,
    pub(super) busy: BTreeMap<Lane, Token>,
    /// Its fence agents: for whom, and since when, nanoseconds.
    pub(super) agents: BTreeMap<Token, (NodeId, u64)>,
}

impl Daemon {
    pub(super) fn view(&self, group: &Group) -> Option<&View> {
        self.views.get(group)
    }
}

/// What one daemon has been shown of one group.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct View {
    pub(super) config: ConfigId,
    /// The membership in which the kernel was last told to start.
    pub(super) started: Option<ConfigId>,
    pub(super) members: Arc<BTreeSet<NodeId>>,
    /// The first membership of this stay, and who was in it.
    pub(super) joined: Option<(ConfigId, Arc<BTreeSet<NodeId>>)>,
    /// Everybody who has been a member since we joined, with the number of its boot: of a later life we know nothing.
    pub(super) ever: BTreeSet<(NodeId, u64)>,
    pub(super) ring: u64,
    /// A change of nodes has come, its ring id has not.
    pub(super) ring_pending: bool,
    /// The newest START of each member: sent in which membership, with which life of its lockspace.
    pub(super) starts: BTreeMap<NodeId, SeenStart>,
    /// Members that failed, with the number of the comm under which our kernel has them.
    pub(super) failed: BTreeMap<NodeId, u64>,
    /// In which change each node failed last, and when that was shown, nanoseconds.
    pub(super) failed_in: BTreeMap<NodeId, (ConfigId, u64)>,
    /// Lives that have failed since we joined.
    pub(super) failed_lives: BTreeSet<u64>,
    /// Lives that were seen to leave before their first start, since ours.
    pub(super) unused_lives: BTreeSet<u64>,
}

/// A START as it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SeenStart {
    pub(super) config: ConfigId,
    pub(super) instance: u64,
    /// As a rule those of the view that it is part of: one set, or the views of a hundred nodes would have a million members.
    pub(super) members: Arc<BTreeSet<NodeId>>,
}

/// One life of a lockspace on a node, as only an onlooker can know it.
#[derive(Clone, Debug, Hash)]
pub(super) struct Instance {
    pub(super) node: NodeId,
    pub(super) boot: u64,
    pub(super) fate: Fate,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    /// It has not, or its node is still powered.
    Open,
    /// It left in order: its leave was ordered.
    Clean,
    /// It left in order, and its journal is not clean: its peers have to replay it.
    Unclean,
    /// Its node lost power.
    Dead,
}

impl Fate {
    /// Its leave was ordered.
    pub(super) const fn is_left(self) -> bool {
        matches!(self, Self::Clean | Self::Unclean)
    }
}

//! The group of all daemons: who is in it, and which protocol they run.
//!
//! Events: configuration changes, ring ids and PROTOCOL messages of `dlm:controld`. A node is a *clean member* while its
//! PROTOCOL is saved; that is what lockspaces and fencing build upon (spec/cluster-protocol.md section 5).

use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::event::{Confchg, JoinReason, LeaveReason};
use crate::fencing::{Fencing, Victim};
use crate::message::{Message, Packet};
use crate::mutants::{Mutant, Mutation};
use crate::negotiation::Run;
use crate::options::Setup;
use crate::out::Out;
use crate::pasts::Pasts;
use crate::types::{GlobalId, Group, Instant, NodeId, RingId, Version};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The daemon group as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Daemons {
    pub(crate) our_node: NodeId,
    /// Every node ever seen, and nodes of the start-up list that had to be fenced.
    pub(crate) nodes: BTreeMap<NodeId, Daemon>,
    pub(crate) fencing: Fencing,
    /// What partitions that met have to tell each other.
    pub(crate) pasts: Pasts,
    pub(crate) ring: RingId,
    /// A ring change has begun here; its ring id has not come yet.
    pub(crate) ring_wait: bool,
    pub(crate) run: Option<Run>,
    pub(crate) proposed: bool,
    /// We have sent a START in this life, so our kernel may run a lockspace: announced with our next PROTOCOL.
    pub(crate) stateful: bool,
    /// PROTOCOLs of ours on their way that do not say so.
    pub(crate) stateless_said: u32,
    /// Merged nodes outnumber clean ones; see `merge`.
    pub(crate) merge_wait: bool,
    /// For the check of the simulator alone.
    /// Not part of recordings: who replays one has the core without it.
    #[serde(skip)]
    pub(crate) mutation: Mutation,
    /// The last ring of each node that a lockspace has seen fail; the group of the daemons may yet have to see it.
    pub(crate) lost_after: BTreeMap<NodeId, u64>,
    pub(crate) counts: Counts,
}

/// Sizes of the last change, for status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) member: usize,
    pub(crate) joined: usize,
    pub(crate) remove: usize,
}

/// One node of the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Daemon {
    /// Creation number: order of first sight.
    pub(crate) order: usize,
    pub(crate) membership: Membership,
    /// Its last PROTOCOL said that it may run a lockspace.
    pub(crate) stateful: bool,
    /// It was in the group when we joined it: what it has run, it has run with our knowledge, so it cannot be a merge.
    pub(crate) there_before_us: bool,
    /// When it came we had sent a START, and the first that it hears of us says so: each of us takes the other for merged, or
    /// neither does.
    pub(crate) met_with_state: bool,
    /// It came with another partition: if it goes before it has told us anything, it may take knowledge of fencing along.
    pub(crate) has_past: bool,
    /// The ring in which we have seen its present stay begin: 0 if it was there before us, `None` until that ring's id has come.
    pub(crate) stay_ring: Option<u64>,
    /// It was there before us, or told us what to forget: it may know of fencing that we do not know of.
    pub(crate) may_know: bool,
    pub(crate) add_time: Instant,
    pub(crate) rem_time: Instant,
    /// Why it went last.
    pub(crate) left_reason: LeftReason,
    pub(crate) victim: Victim,
    /// It said that it does not know whether fencing is in progress.
    pub(crate) says_unknown: bool,
    /// It said what only one says who does know: it has no start-up list, and fences none of the nodes of ours.
    pub(crate) has_no_list: bool,
    /// `CLEAR_*` bits that somebody still owes to it.
    pub(crate) owed: u32,
    /// Members that have been there since before it joined: they know what is owed to it, later ones do not.
    pub(crate) saw_join: BTreeSet<NodeId>,
    /// `CLEAR_*` bits that we have sent to it.
    pub(crate) told: u32,
}

/// What a node is in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Membership {
    /// Never was there (a node of the start-up list).
    Never,
    /// In the group; its PROTOCOL has not come.
    Silent,
    /// In the group, PROTOCOL accepted.
    Clean { features: Option<u32>, max: (Version, Version) },
    /// In the group, with state of another partition; see `merge`. `fenced`: that has succeeded since it came.
    Merged { killed: bool, fenced: bool },
    /// Gone. `ended` tells how its last clean membership ended.
    Gone { ended: Ended },
}

/// How the last clean membership of a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Ended {
    /// It had none, or fencing has settled it.
    Settled,
    /// In order.
    Left,
    /// By failure, before its PROTOCOL came: it had none for us, but lockspaces may have heard of it.
    Unheard,
    /// By failure.
    Failed,
}

impl Membership {
    pub(crate) fn is_member(self) -> bool {
        matches!(self, Self::Silent | Self::Clean { .. } | Self::Merged { .. })
    }

    pub(crate) fn is_clean(self) -> bool {
        matches!(self, Self::Clean { .. })
    }
}

/// What a change of the group means to others.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// We are no longer in it.
    pub(crate) lost_us: bool,
}

impl Daemons {
    pub(crate) fn new(setup: &Setup) -> Self {
        Self {
            our_node: setup.our_node,
            nodes: BTreeMap::new(),
            fencing: Fencing::new(setup),
            pasts: Pasts::default(),
            ring: RingId::default(),
            ring_wait: false,
            run: None,
            proposed: false,
            stateful: false,
            stateless_said: 0,
            merge_wait: false,
            mutation: Mutation::default(),
            lost_after: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn ring(&self) -> RingId {
        self.ring
    }

    /// The group has seen all of the ring that the quorum service reports.
    pub(crate) fn on_ring_of(&self, cluster: &Cluster) -> bool {
        !self.ring_wait && self.ring.seq == cluster.ring.seq
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (NodeId, &Daemon)> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.membership.is_member())
            .map(|(id, node)| (*id, node))
    }

    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.membership.is_member())
    }

    pub(crate) fn is_clean(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.membership.is_clean())
    }

    /// The record of a node, made if absent.
    pub(crate) fn node_mut(&mut self, node: NodeId) -> &mut Daemon {
        let order = self.nodes.len();
        self.nodes.entry(node).or_insert_with(|| Daemon::new(order))
    }

    /// The group's ring id has come.
    pub(crate) fn ring_event(&mut self, ring: RingId, setup: &Setup, out: &mut Out<'_>) {
        out.debug(format!("dlm:controld ring {ring}"));
        self.ring = ring;
        self.ring_wait = false;
        for node in self.nodes.values_mut() {
            node.stay_ring.get_or_insert(ring.seq);
        }
        self.pasts.ring_event(ring.seq, setup);
    }

    /// A configuration change of the group.
    pub(crate) fn confchg(
        &mut self,
        change: &Confchg,
        setup: &Setup,
        out: &mut Out<'_>,
    ) -> Changed {
        out.debug(format!("dlm:controld {}", conf_text(change)));
        let we_joined = change.joined.iter().any(|(node, _)| *node == self.our_node);
        self.counts = Counts {
            member: change.members.len(),
            joined: change.joined.len(),
            remove: change.left.len(),
        };
        if change.left.iter().any(|(_, reason)| *reason == LeaveReason::NodeDown)
            || (change.joined.iter().any(|(_, reason)| *reason == JoinReason::NodeUp)
                && !self.mutation.has(Mutant::SkipMergedRings))
        {
            self.ring_wait = true;
        }
        // Should we be among those who are gone, all is over here: we are nobody whom we could fence.
        let our_node = self.our_node;
        for (node, reason) in change.left.iter().filter(|(node, _)| *node != our_node) {
            self.remove(*node, *reason, change, setup, out);
        }
        let mut before: BTreeSet<NodeId> = self.members().map(|(id, _)| id).collect();
        self.pasts.confchg(change, we_joined, &before);
        if we_joined {
            before.clear();
            self.stateless_said = 0;
        }
        for node in &change.members {
            self.add(*node, we_joined, &before, out);
        }
        for (node, reason) in &change.joined {
            self.node_mut(*node).has_past = *reason == JoinReason::NodeUp;
        }
        if !change.joined.is_empty() {
            self.send_protocol(self.run, out);
        }
        // Whoever had not said what it can run may be gone, and nobody else will make us propose.
        self.propose(out);
        let told_gone = change.left.iter().any(|(node, _)| *node == our_node);
        Changed { lost_us: told_gone || !change.members.contains(&our_node) }
    }

    fn add(&mut self, node: NodeId, we_joined: bool, before: &BTreeSet<NodeId>, out: &mut Out<'_>) {
        let now = out.now.mono;
        let is_us = node == self.our_node;
        let stateful = self.stateful && self.stateless_said == 0;
        let ring = (!self.ring_wait && !we_joined).then_some(self.ring.seq);
        let entry = self.node_mut(node);
        if entry.membership.is_member() {
            return;
        }
        entry.membership = Membership::Silent;
        entry.stateful = false;
        entry.add_time = now;
        entry.there_before_us = we_joined;
        entry.stay_ring = if we_joined && !is_us { Some(0) } else { ring };
        entry.met_with_state = stateful;
        entry.may_know = we_joined && !is_us;
        entry.says_unknown = false;
        entry.has_no_list = false;
        entry.told = 0;
        entry.saw_join.clone_from(before);
        entry.owed = if we_joined { 0 } else { crate::fipu::OWED_TO_JOINER };
        let needs = if entry.victim.needs_fencing() { " needs fencing" } else { "" };
        out.debug(format!("daemon joined {node}{needs}"));
        self.fencing.joined(now);
    }

    fn remove(
        &mut self,
        node: NodeId,
        reason: LeaveReason,
        change: &Confchg,
        setup: &Setup,
        out: &mut Out<'_>,
    ) {
        let now = out.now.mono;
        let forget_merged = self.mutation.has(Mutant::ForgetMerged);
        let ring = self.ring.seq;
        let entry = self.node_mut(node);
        let was = entry.membership;
        entry.rem_time = now;
        entry.left_reason = LeftReason::Left(reason);
        let may_have_known = (entry.may_know || entry.has_past) && !entry.says_unknown;
        entry.says_unknown = false;
        entry.owed = 0;
        // A member from before us, or from another partition, whose PROTOCOL has not reached us was clean to those who were with
        // it. They wait for its fencing and may count on us to do it, and it may run what we are about to join.
        let unheard = was == Membership::Silent && (entry.there_before_us || entry.has_past);
        // One with state of another partition was told to go, and its kernel may still run that. Those who had lost it before may
        // see to its fencing; who has begun since, without start-up fencing, knows of none.
        let known_to_all = entry.victim.is_known_to(&change.members);
        let merged = match was {
            Membership::Merged { fenced, .. } => {
                reason.is_failure() && !(fenced && known_to_all) && !forget_merged
            }
            _ => false,
        };
        let was_clean = was.is_clean() || unheard || merged;
        let unknown_to_c = merged || (entry.has_past && (unheard || entry.stateful));
        entry.membership = Membership::Gone {
            ended: match (was_clean, reason.is_failure()) {
                (false, true) if was == Membership::Silent => Ended::Unheard,
                (false, _) => Ended::Settled,
                (true, false) => Ended::Left,
                (true, true) => Ended::Failed,
            },
        };
        self.witness_lost(may_have_known);
        self.pasts.lose(node);
        self.strike_everywhere(node);
        if !was_clean {
            out.debug(format!("daemon remove {node} no proto skip recover"));
            return;
        }
        if setup.fixed.fencing.is_on() && reason.is_failure() {
            // Whether an earlier failure was still to be fenced, each node knows for itself: one has seen that the node was back,
            // another not yet. All begin with a record of this failure, and what an agent did about that one is no word about it.
            self.cancel_attempt(node, out);
            let joined: BTreeSet<NodeId> = change.joined.iter().map(|(node, _)| *node).collect();
            self.needs_fencing(node, &change.members, &joined, LeftReason::Left(reason), out);
            self.node_mut(node).victim.failed_after(ring, unknown_to_c);
        }
    }

    /// Multicast to the daemon group. These messages carry version 0.0.0, as the C daemon's do.
    pub(crate) fn send(&self, message: Message, out: &mut Out<'_>) {
        let packet = Packet {
            version: Version::default(),
            sender: self.our_node,
            global_id: GlobalId::default(),
            message,
        };
        out.push(Effect::Send { group: Group::Daemon, packet });
    }
}

impl Daemon {
    /// Its life of this ring has failed, and been fenced.
    pub(crate) fn is_over(&self, ring: u64) -> bool {
        self.membership == Membership::Gone { ended: Ended::Settled }
            && self.victim.is_fenced_since(ring)
    }

    fn new(order: usize) -> Self {
        Self {
            order,
            membership: Membership::Never,
            stateful: false,
            there_before_us: false,
            met_with_state: false,
            stay_ring: None,
            may_know: false,
            has_past: false,
            add_time: Instant::default(),
            rem_time: Instant::default(),
            left_reason: LeftReason::Unknown,
            victim: Victim::default(),
            says_unknown: false,
            has_no_list: false,
            owed: 0,
            saw_join: BTreeSet::new(),
            told: 0,
        }
    }
}

/// Why a node is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum LeftReason {
    /// It never was.
    Unknown,
    /// It was not there when the cluster began.
    Startup,
    /// It went.
    Left(LeaveReason),
}

impl LeftReason {
    /// Text of status and logs.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Startup => "startup",
            Self::Left(reason) => reason_text(reason),
        }
    }
}

/// Text of status and logs.
pub(crate) fn reason_text(reason: LeaveReason) -> &'static str {
    match reason {
        LeaveReason::Leave => "leave",
        LeaveReason::NodeDown => "nodedown",
        LeaveReason::ProcDown => "procdown",
    }
}

/// `conf <members> <joined> <left> memb <ids> join <ids> left <ids>`, as the C daemon logs a change.
pub(crate) fn conf_text(change: &Confchg) -> String {
    let ids = |nodes: &mut dyn Iterator<Item = NodeId>| {
        nodes.map(|node| node.to_string()).collect::<Vec<_>>().join(" ")
    };
    let members = ids(&mut change.members.iter().copied());
    let joined = ids(&mut change.joined.iter().map(|(node, _)| *node));
    let left = ids(&mut change.left.iter().map(|(node, _)| *node));
    format!(
        "conf {} {} {} memb {members} join {joined} left {left}",
        change.members.len(),
        change.joined.len(),
        change.left.len()
    )
}

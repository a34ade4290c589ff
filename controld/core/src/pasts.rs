//! Partitions that meet: what the others know of fencing, and we have not seen begin.
//!
//! While we had no quorum, others may have had it, used a lockspace, and lost somebody whom they still have to fence. Had
//! we come as a starting daemon, they would tell us when they are done (`fipu`). At a merge nobody owes us that word, or it
//! is lost with its sender. So every member says once after each merge for whose past it speaks, when nothing of that
//! past is outstanding (`FencePast`). Who may have missed something holds its lockspaces back until the pasts of all
//! who came are told, by whomever. What nobody is left to tell makes the start-up list due again.

use crate::cluster::Cluster;
use crate::event::{Confchg, JoinReason, LeaveReason};
use crate::group::{Daemon, Daemons, Membership};
use crate::message::{CLEAR_FIPU, FencePast, Message};
use crate::mutants::Mutant;
use crate::negotiation::FEATURE_FENCE_PAST;
use crate::options::Setup;
use crate::out::Out;
use crate::types::NodeId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// So many merges are remembered: a part without quorum that flaps more often makes up for what it was to be told.
const MOST_MERGES: usize = 256;

/// The pasts that we wait to be told, and ours that we have to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Pasts {
    /// Who came from another partition, with the ring that it came in.
    untold: BTreeMap<(NodeId, u64), Untold>,
    /// Merges after which we have not spoken yet, in order.
    ours: Vec<Past>,
    /// The ring change under way.
    change: RingChange,
    /// The ring in which we joined the group.
    since: u64,
    /// Daemons that were there when we joined, and may still be the same.
    hosts: BTreeSet<NodeId>,
    /// We have had no quorum since the last ring in which we had all of it to know.
    lacked_quorum: bool,
    /// The ring of the last merge of which nobody was left to tell: our start-up list is due instead.
    made_up: u64,
    /// The last of more merges than we remember: the same is due.
    overflow: Option<u64>,
}

/// The past of one that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Untold {
    /// It has not gone since.
    present: bool,
    /// We had no quorum when it came: it may know what we do not.
    needed: bool,
}

/// What was one part before a merge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Past {
    ring: u64,
    side: BTreeSet<NodeId>,
    /// It had quorum all the time: nobody else can know more. `None`: not judged yet.
    whole: Option<bool>,
}

/// Changes of the group whose ring id has not come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct RingChange {
    /// We have joined in it.
    we_joined: bool,
    /// Members have been lost.
    lost: bool,
    /// Who was together before others came.
    side: BTreeSet<NodeId>,
    /// Who came, and has not gone since.
    arrived: BTreeMap<NodeId, bool>,
}

impl Pasts {
    /// Nothing may be outstanding of which we know nothing.
    pub(crate) fn are_told(&self) -> bool {
        self.untold.is_empty() && self.overflow.is_none()
    }

    /// Members whose past is not told.
    pub(crate) fn awaited(&self) -> BTreeSet<NodeId> {
        self.untold.iter().filter(|(_, past)| past.present).map(|((node, _), _)| *node).collect()
    }

    /// There were more merges than we remember: the ring of the last one.
    pub(crate) fn overflow(&self) -> Option<u64> {
        self.overflow
    }

    /// Whoever could tell of the first merge that is not told is gone. Who came later and may know of it too waits for the
    /// same. The result is the last ring that is lost by now.
    pub(crate) fn lost(&self) -> Option<u64> {
        let first = self.untold.keys().map(|(_, ring)| *ring).min()?;
        let mut of_first = self.untold.iter().filter(|((_, ring), _)| *ring == first);
        let lost = of_first.all(|(_, past)| past.needed && !past.present);
        lost.then(|| self.last_lost()).flatten()
    }

    fn last_lost(&self) -> Option<u64> {
        self.untold.iter().filter(|(_, past)| !past.present).map(|((_, ring), _)| *ring).max()
    }

    /// What nobody is left to tell is made up for otherwise.
    pub(crate) fn make_up_for_lost(&mut self) {
        let rings = self.last_lost().into_iter().chain(self.overflow.take());
        self.made_up = rings.fold(self.made_up, u64::max);
        self.untold.retain(|_, past| past.present);
    }

    /// What was said in this ring knew nothing of what we make up for.
    pub(crate) fn is_older_than_our_list(&self, ring: u64) -> bool {
        ring < self.made_up
    }

    /// The group changes; `side` were in it, and are.
    pub(crate) fn confchg(&mut self, change: &Confchg, we_joined: bool, side: &BTreeSet<NodeId>) {
        self.change.we_joined |= we_joined;
        if we_joined {
            self.hosts = change.members.iter().copied().collect();
        }
        let gone = change.left.iter().filter(|(_, why)| *why != LeaveReason::NodeDown);
        gone.for_each(|(node, _)| {
            self.hosts.remove(node);
        });
        self.change.lost |= change.left.iter().any(|(_, why)| *why == LeaveReason::NodeDown);
        let came = change.joined.iter().filter(|(_, why)| *why == JoinReason::NodeUp);
        let came: Vec<NodeId> = came.map(|(node, _)| *node).collect();
        if came.is_empty() || we_joined {
            return;
        }
        if self.change.arrived.is_empty() {
            self.change.side.clone_from(side);
        }
        self.change.arrived.extend(came.into_iter().map(|node| (node, true)));
    }

    /// A member is gone, and what it knows with it.
    pub(crate) fn lose(&mut self, node: NodeId) {
        let known = self.untold.iter_mut().filter(|((of, _), _)| *of == node);
        known.for_each(|(_, past)| past.present = false);
        if let Some(present) = self.change.arrived.get_mut(&node) {
            *present = false;
        }
    }

    /// The ring of the changes since the last one.
    pub(crate) fn ring_event(&mut self, ring: u64, setup: &Setup) {
        let RingChange { we_joined, lost, side, arrived } = core::mem::take(&mut self.change);
        if we_joined {
            self.since = ring;
        }
        if arrived.is_empty() {
            return;
        }
        // In one change from others to others: unless we are most of all nodes, the quorum in between may have been theirs,
        // though ours was never seen to end.
        self.lacked_quorum |= lost && side.len().saturating_mul(2) <= setup.configured_nodes.len();
        let untold = |(node, present)| ((node, ring), Untold { present, needed: false });
        self.untold.extend(arrived.into_iter().map(untold));
        self.ours.push(Past { ring, side, whole: None });
        self.bound(ring, setup);
    }

    /// Of too many merges the last one is left: what we say of it says the same of those before to all who wait for a word of ours. Of
    /// others who were with us then they hear themselves, or make up for it. What we were to be told ourselves is made up for.
    fn bound(&mut self, ring: u64, setup: &Setup) {
        if self.ours.len() <= MOST_MERGES {
            return;
        }
        let doubtful = self.untold.values().any(|past| past.needed);
        if doubtful || (self.lacked_quorum && !setup.two_node) {
            self.overflow = Some(ring);
        }
        self.untold.clear();
        self.ours.drain(..self.ours.len().saturating_sub(1));
    }

    /// It answers what a starting daemon asks (`fipu`) too. One who has been with us speaks for the same side as we, and not for
    /// those who took their past along.
    fn is_clearance(&self, from: NodeId, past: &FencePast) -> bool {
        let was_host = self.hosts.contains(&from) && past.since <= self.since;
        let knows = if past.whole {
            past.ring >= self.made_up
        } else {
            was_host && past.ring > self.made_up
        };
        past.ring > self.since && knows
    }

    fn told(&mut self, past: &FencePast) {
        self.untold.retain(|(node, ring), _| {
            let known = past.since < *ring && *ring <= past.ring;
            !(known && (past.whole || past.side.contains(node)))
        });
    }

    /// This node says of itself that it knows nothing, as starting daemons do without start-up fencing.
    pub(crate) fn knows_nothing(&mut self, of: NodeId, ring: u64) {
        self.untold.retain(|(node, came), past| !(*node == of && past.present && *came <= ring));
    }

    /// Whose past counts: with quorum all the time we have missed nothing. With `two_node` the others can only be after us.
    fn judge(&mut self, quorate: bool, setup: &Setup) {
        let lacked_quorum = self.lacked_quorum && !setup.two_node;
        self.untold.retain(|_, past| {
            past.needed |= lacked_quorum;
            past.needed
        });
        for past in &mut self.ours {
            past.whole.get_or_insert(!lacked_quorum);
        }
        self.lacked_quorum = !quorate;
    }
}

impl Daemons {
    /// Fencing may be in progress of which we know nothing.
    pub(crate) fn may_miss_fencing(&self) -> bool {
        self.fencing.unknown || !self.pasts.are_told()
    }

    /// At the begin of each pass: who needs to be heard.
    pub(crate) fn judge_pasts(&mut self, cluster: &Cluster, setup: &Setup) {
        let quorate = cluster.quorate || !setup.dynamic.quorum_lockspace.is_on();
        self.pasts.lacked_quorum |= !quorate;
        if self.mutation.has(Mutant::TrustOwnPart) {
            self.pasts.untold.clear();
        }
        if !self.on_ring_of(cluster) {
            return;
        }
        self.pasts.judge(quorate, setup);
        // C daemons say nothing of the kind.
        let mute: Vec<NodeId> =
            self.members().filter(|(_, node)| is_mute(node)).map(|(id, _)| id).collect();
        self.pasts.untold.retain(|(node, _), past| !(past.present && mute.contains(node)));
    }

    /// At the end of a pass: speak for our side of each merge, if all of its past is done with.
    pub(crate) fn tell_pasts(&mut self, out: &mut Out<'_>) {
        if self.fencing.unknown || !self.no_victims() {
            return;
        }
        while let Some(past) = self.pasts.ours.first().cloned() {
            // What came before that we have to be told first.
            if self.pasts.untold.keys().any(|(_, ring)| *ring < past.ring) {
                return;
            }
            self.pasts.ours.remove(0);
            let Past { ring, side, whole } = past;
            let (since, whole) = (self.pasts.since, whole.unwrap_or_default());
            let side: Vec<NodeId> = side.into_iter().collect();
            for side in side.chunks(FencePast::MOST) {
                let past = FencePast { since, ring, whole, side: side.to_vec() };
                self.send(Message::FencePast(past), out);
            }
        }
    }

    /// A member has spoken for its side of a merge.
    pub(crate) fn fence_past(&mut self, from: NodeId, past: &FencePast, out: &mut Out<'_>) {
        let side: Vec<String> = past.side.iter().map(ToString::to_string).collect();
        let whole = u8::from(past.whole);
        out.debug(format!(
            "receive_fence_past from {from} ring {} whole {whole} of {}",
            past.ring,
            side.join(" ")
        ));
        self.pasts.told(past);
        self.has_no_list(from);
        if self.pasts.is_clearance(from, past) {
            self.cleared(CLEAR_FIPU, out);
        }
    }
}

fn is_mute(node: &Daemon) -> bool {
    let Membership::Clean { features, .. } = node.membership else { return false };
    features.is_none_or(|features| features & FEATURE_FENCE_PAST == 0)
}

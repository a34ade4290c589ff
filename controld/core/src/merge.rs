//! Partitions that come together with state on both sides: who removes whom (spec/lockspace-recovery.md section 11).
//!
//! A node that merges with lockspaces of its own cannot be made one with ours; one side has to be reset. Rule A: a side
//! that kept its quorum kills the others. Rule B: where nobody kept it, the lowest stateful node kills the merged ones if
//! they are not more than the clean ones. (The C daemon takes the lowest node; where that one has no state, it sees no
//! merge, and nobody ever acts. Where it has, both rules name the same node.) Rule C (in `fencing`): a member whose fencing succeeded is killed.

use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::group::{Daemons, Membership};
use crate::options::Setup;
use crate::out::Out;
use crate::types::{Instant, NodeId};
use alloc::format;
use alloc::vec::Vec;

/// Numbers of members by what they are to us.
struct Tally {
    merged: usize,
    clean: usize,
    silent: usize,
}

impl Daemons {
    /// A stateful PROTOCOL came from a member that is not clean, and we are stateful too.
    pub(crate) fn merged(
        &mut self,
        from: NodeId,
        cluster: &Cluster,
        setup: &Setup,
        out: &mut Out<'_>,
    ) {
        let Some(node) = self.nodes.get_mut(&from) else { return };
        out.error(format!("daemon node {from} stateful merge"));
        let (killed, fenced) = match node.membership {
            Membership::Merged { killed, fenced } => (killed, fenced),
            _ => (false, false),
        };
        node.membership = Membership::Merged { killed, fenced };
        out.debug(format!(
            "daemon node {from} join {} left {} local quorum {} killed {}",
            node.add_time.seconds(),
            node.rem_time.seconds(),
            cluster.quorate_since.seconds(),
            u8::from(killed)
        ));
        let kept_quorum = cluster.quorate
            && node.rem_time != Instant::default()
            && cluster.quorate_since.seconds() < node.rem_time.seconds();
        if killed || !kept_quorum {
            return;
        }
        node.membership = Membership::Merged { killed: true, fenced };
        // With two_node both sides are quorate: whoever fences first decides, and fencing kills the other (rule C).
        if !setup.two_node || !node.victim.needs_fencing() {
            self.kill_merged(from, out);
        }
    }

    fn kill_merged(&mut self, node: NodeId, out: &mut Out<'_>) {
        out.error(format!("daemon node {node} kill due to stateful merge"));
        if let Some(Membership::Merged { killed, .. }) =
            self.nodes.get_mut(&node).map(|entry| &mut entry.membership)
        {
            *killed = true;
        }
        kick(node, out);
    }

    /// Rule B. Returns whether merged members are still there, so that nothing is fenced until they are gone.
    pub(crate) fn clear_merge(&mut self, setup: &Setup, out: &mut Out<'_>) -> bool {
        if setup.two_node {
            self.note_tie(out);
            return false;
        }
        let tally = self.tally();
        if tally.merged == 0 {
            self.merge_wait = false;
            return false;
        }
        if tally.silent == 0 && tally.clean < tally.merged {
            if !self.merge_wait {
                self.merge_wait = true;
                out.error(format!(
                    "fence work wait to clear merge {} clean {} part {}: no side may act, reset the nodes of the smaller sides",
                    tally.merged, tally.clean, tally.silent
                ));
            }
            return true;
        }
        let our_node = self.our_node;
        let lowest =
            self.members().find(|(id, node)| node.stateful || *id == our_node).map(|(id, _)| id);
        if tally.silent == 0 && lowest == Some(self.our_node) {
            let doomed: Vec<NodeId> = self
                .members()
                .filter(|(_, node)| {
                    matches!(node.membership, Membership::Merged { killed: false, .. })
                })
                .map(|(id, _)| id)
                .collect();
            for node in doomed {
                self.kill_merged(node, out);
            }
        }
        true
    }

    /// With `two_node` rule A alone acts. Where neither has lost the other before, as two that began apart without start-up
    /// fencing, it does on neither side; should the other have lost us, it kills us.
    fn note_tie(&mut self, out: &mut Out<'_>) {
        let idle = Membership::Merged { killed: false, fenced: false };
        let tied = self.members().find(|(_, node)| node.membership == idle).map(|(id, _)| id);
        if let Some(node) = tied.filter(|_| !self.merge_wait) {
            out.error(format!(
                "stateful merge with {node}, and neither of us has lost the other before: no side may act, reset one of the two nodes"
            ));
        }
        self.merge_wait = tied.is_some();
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally { merged: 0, clean: 0, silent: 0 };
        for (id, node) in self.members() {
            let counter = match node.membership {
                Membership::Merged { .. } => &mut tally.merged,
                Membership::Silent if id != self.our_node => &mut tally.silent,
                _ => &mut tally.clean,
            };
            *counter = counter.saturating_add(1);
        }
        tally
    }
}

/// Ask corosync to remove a node.
pub(crate) fn kick(node: NodeId, out: &mut Out<'_>) {
    out.error(format!("tell corosync to remove nodeid {node} from cluster"));
    out.push(Effect::Kick(node));
}

//! What has to be true before our START (spec/lockspace-recovery.md section 4).
//!
//! In order, the first one not met is what status shows: the rings agree, the partition is quorate, everybody who must be
//! is fenced, the cluster has lost every failed member, it has every present one, our own kernel is stopped, POSIX locks are
//! prepared. Rings come first, since only they tie together what the quorum service and the groups say. The kernel's
//! addresses are ours alone: what waits for them is the start of our own kernel, see `writes`.

use crate::group::{Ended, Membership};
use crate::lockspace::Lockspace;
use crate::mutants::Mutant;
use crate::out::Out;
use crate::snapshot::Wait;
use crate::types::NodeId;
use crate::world::World;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

impl Lockspace {
    /// What the newest change waits for before our START; `None`: nothing.
    pub(crate) fn gate(&mut self, world: &mut World, out: &mut Out<'_>) -> Option<Wait> {
        if !self.on_ring_of(world) && !world.mutated(Mutant::SkipRingGate) {
            return Some(Wait::Ring);
        }
        if world.setup.dynamic.quorum_lockspace.is_on()
            && !world.cluster.quorate
            && !world.mutated(Mutant::SkipQuorumGate)
        {
            return Some(Wait::Quorum);
        }
        self.fencing_gate(world, out)
            .or_else(|| self.cluster_gate(world))
            .or_else(|| {
                let stopping = !self.kernel_is_idle() && !world.mutated(Mutant::SkipStopGate);
                stopping.then_some(Wait::Stop)
            })
            .or_else(|| self.withdraw_gate(world))
            .or_else(|| self.plock_gate(world, out))
    }

    /// The lockspace's group, the daemon group and the quorum service have seen the same rings. With the daemon group on
    /// board, every member that failed here by ring `r` has failed there too, and its fencing is known to be due.
    fn on_ring_of(&self, world: &World) -> bool {
        self.is_on_ring(world.cluster.ring)
            && (world.daemons.on_ring_of(&world.cluster) || self.fenced_in_one_second(world))
    }

    /// A defect: whoever has failed here was fenced in the second in which that was seen, or later.
    fn fenced_in_one_second(&self, world: &World) -> bool {
        let fenced = |node: NodeId| world.daemons.nodes.get(&node).map(|d| d.victim.fence_time);
        let mut failures = self
            .history
            .iter()
            .filter(|(_, record)| record.failed_after.is_some())
            .map(|(node, record)| (fenced(node).unwrap_or_default(), record.fail_time))
            .peekable();
        world.mutated(Mutant::SettledInOneSecond)
            && failures.peek().is_some()
            && failures.all(|(fenced, failed)| fenced.seconds() >= failed.seconds())
    }

    fn fencing_gate(&mut self, world: &mut World, out: &mut Out<'_>) -> Option<Wait> {
        if !world.setup.fixed.fencing.is_on() || world.mutated(Mutant::SkipFencingGate) {
            return None;
        }
        let mut waits: BTreeSet<NodeId> = BTreeSet::new();
        let due: Vec<NodeId> = self
            .history
            .iter()
            .filter(|(_, record)| record.need_fencing)
            .map(|(node, _)| node)
            .collect();
        for node in due {
            if self.is_settled(node, world, out) {
                self.history.settled(node);
            } else {
                waits.insert(node);
            }
        }
        // Also for nodes that were never seen here: a victim may have used this lockspace before we joined it.
        waits.extend(world.daemons.victims());
        waits.extend(world.daemons.fencing.startup.iter().copied());
        // A daemon that dies leaves one group after the other. Another lockspace has seen it go; it may have left this one
        // before we came, and still be in that of the daemons.
        let dying = world.daemons.lost_after.iter();
        let dying = dying.filter(|(node, ring)| !world.cluster.has_lost_since(**node, **ring));
        waits.extend(dying.map(|(node, _)| *node).filter(|_| !world.mutated(Mutant::SkipLossGate)));
        let unknown = world.daemons.may_miss_fencing() && !world.mutated(Mutant::SkipUnknownGate);
        (!waits.is_empty() || unknown).then_some(Wait::Fencing(waits))
    }

    /// The incarnation of `node` that failed here holds nothing any more.
    ///
    /// No clock decides this (defects 9 and 13): once the cluster has lost the failed incarnation and the daemon group is
    /// on that ring, the daemon group has seen its end too, and knows whether it still must be fenced.
    fn is_settled(&self, node: NodeId, world: &mut World, out: &mut Out<'_>) -> bool {
        if self.fenced_in_one_second(world) {
            return true;
        }
        let failed_after = self.history.get(node).and_then(|record| record.failed_after);
        let lingers = failed_after.is_some_and(|ring| !world.cluster.has_lost_since(node, ring));
        if lingers && !world.mutated(Mutant::SkipLossGate) {
            return false;
        }
        let Some(daemon) = world.daemons.nodes.get(&node) else {
            // Its daemon was gone before we came, its lockspace was not. The others may have dealt with it long ago, or not yet:
            // they know nothing of our waiting for it, so it is ours to fence.
            world.daemons.demand_fencing(node, &[world.setup.our_node], out);
            return false;
        };
        if daemon.victim.needs_fencing() {
            return false;
        }
        // Its daemon has left in order, or was never heard of, and yet it has run this lockspace: nobody else fences it.
        if let Membership::Gone { ended: Ended::Left | Ended::Unheard } = daemon.membership {
            let members: Vec<NodeId> = self.newest_members();
            world.daemons.demand_fencing(node, &members, out);
            return false;
        }
        let failed = self.history.get(node).map(|record| record.fail_time).unwrap_or_default();
        !world.mutated(Mutant::SettledByLaterFencing) || daemon.victim.fence_time >= failed
    }

    /// A start before the withdrawing node has left would give its locks away too early.
    pub(crate) fn withdraw_gate(&self, world: &World) -> Option<Wait> {
        let leavers = self.withdraws.leavers(world.setup.our_node);
        (!leavers.is_empty()).then_some(Wait::Withdraw(leavers))
    }

    fn cluster_gate(&self, world: &World) -> Option<Wait> {
        // Its `comms` entry is removed when the cluster loses it, and without that the kernel would not replay its journal.
        let failures =
            self.history.iter().filter_map(|(node, record)| Some((node, record.failed_after?)));
        let lingering: BTreeSet<NodeId> = failures
            .filter(|(node, ring)| !world.cluster.has_lost_since(*node, *ring))
            .map(|(node, _)| node)
            .collect();
        if !lingering.is_empty() && !world.mutated(Mutant::SkipLossGate) {
            return Some(Wait::NodeGone(lingering));
        }
        let ghosts: BTreeSet<NodeId> =
            self.newest_members().into_iter().filter(|node| !world.cluster.has(*node)).collect();
        let merged = self.changes.front().is_some_and(|change| change.merges);
        if merged && world.mutated(Mutant::SkipMergedRings) {
            return None;
        }
        (!ghosts.is_empty()).then_some(Wait::Ghost(ghosts))
    }
}

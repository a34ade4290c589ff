//! Victims that each daemon finds by itself: nodes of its start-up list, and those that a lockspace has lost.
//!
//! The others have no record of them, or one of their own, so that their actor may wait for us as we for it. It is awaited for as long as
//! an agent may take; whoever has waited so long fences the node itself. Two may do it then, which costs a second reset at most.

use crate::event::LeaveReason;
use crate::group::{Daemons, Ended, LeftReason, Membership};
use crate::options::Setup;
use crate::out::Out;
use crate::types::{Instant, NodeId};
use alloc::collections::BTreeSet;
use alloc::format;

impl Daemons {
    /// A lockspace saw `node` fail, but its daemon had left the group in order (a daemon that gives its lockspaces up does
    /// so): fence it all the same, by those who were in the lockspace.
    pub(crate) fn demand_fencing(
        &mut self,
        node: NodeId,
        lockspace_members: &[NodeId],
        out: &mut Out<'_>,
    ) {
        self.node_mut(node).membership = Membership::Gone { ended: Ended::Failed };
        let reason = LeftReason::Left(LeaveReason::ProcDown);
        self.needs_fencing_here(node, lockspace_members, reason, out);
        out.ask_for_fencing();
    }

    /// `node` must be fenced, which each daemon finds by itself.
    pub(crate) fn needs_fencing_here(
        &mut self,
        node: NodeId,
        members: &[NodeId],
        reason: LeftReason,
        out: &mut Out<'_>,
    ) {
        self.needs_fencing(node, members, &BTreeSet::new(), reason, out);
        self.node_mut(node).victim.deferred = Some(out.now.mono);
    }

    /// Until when somebody else is awaited who is the actor for such a victim.
    pub(crate) fn deferral_end(&self, node: NodeId, setup: &Setup) -> Option<Instant> {
        let victim = &self.nodes.get(&node)?.victim;
        let other = victim.actors.first().is_some_and(|actor| *actor != self.our_node);
        let since = victim.deferred.filter(|_| other)?;
        Some(since.plus_seconds(setup.fixed.agent_timeout_seconds))
    }

    /// Nobody else does it.
    pub(crate) fn take_over(&mut self, node: NodeId, out: &mut Out<'_>) {
        let us = BTreeSet::from([self.our_node]);
        let victim = &mut self.node_mut(node).victim;
        victim.actors.clone_from(&us);
        victim.all_actors = us;
        out.error(format!("fence request {node}: no word from its actor, we take over"));
    }
}

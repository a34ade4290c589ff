//! Fence-in-progress-unknown: what a daemon that has just started may believe (spec/fencing.md section 8).
//!
//! Members may be fencing the last user of a lockspace that a joiner is about to use; the joiner has not seen that
//! failure. So a starting daemon holds its lockspaces back until a settled member tells it that nothing is outstanding,
//! or until it has seen for itself that every configured node is harmless.

use crate::cluster::Cluster;
use crate::group::{Daemon, Daemons, Membership};
use crate::message::{
    CLEAR_FIPU, CLEAR_FIPU_UNKNOWN, CLEAR_STARTUP, FENCE_CLEAR_UNKNOWN, FenceClear, Message,
};
use crate::mutants::Mutant;
use crate::options::Setup;
use crate::out::Out;
use crate::types::NodeId;
use alloc::format;
use alloc::vec::Vec;

/// What a joiner has to be told by somebody.
pub(crate) const OWED_TO_JOINER: u32 = CLEAR_STARTUP | CLEAR_FIPU;

impl Daemons {
    /// The three rules by which unknown becomes known, at the end of a pass.
    pub(crate) fn fipu_rules(&mut self, cluster: &Cluster, setup: &Setup, out: &mut Out<'_>) {
        // A part without quorum does not know what the other part is fencing, and must not keep its opinion when they meet.
        // It costs nothing: its lockspaces wait for quorum too.
        let heard_all = cluster.quorate || !setup.dynamic.quorum_lockspace.is_on();
        self.refill_startup_list(heard_all, setup, out);
        self.clear_by_ourselves(setup, out);
        self.tell_pasts(out);
        self.serve_joiners(out);
        if !setup.fixed.startup_fencing.is_on() && heard_all {
            self.clear_by_agreement(out);
        }
    }

    /// Rule A: the start-up list is worked off, nobody needs fencing.
    fn clear_by_ourselves(&mut self, setup: &Setup, out: &mut Out<'_>) {
        let by_list = setup.fixed.startup_fencing.is_on() || self.fencing.orphaned;
        if by_list
            && self.fencing.unknown
            && !self.fencing.wait_clear
            && self.fencing.startup.is_empty()
            && self.no_victims()
        {
            out.debug("fence_in_progress_unknown 0 startup".into());
            self.fencing.unknown = false;
            self.fencing.orphaned = false;
            self.fencing.lost_witness = false;
            if let Some(us) = self.nodes.get_mut(&self.our_node) {
                us.says_unknown = false;
            }
        }
    }

    /// Rule B: the lowest member that is owed nothing tells the joiners.
    fn serve_joiners(&mut self, out: &mut Out<'_>) {
        if self.may_miss_fencing() {
            return;
        }
        let nothing_due = self.no_victims() || self.mutation.has(Mutant::ClearTooEarly);
        let may_clear = if nothing_due { CLEAR_STARTUP | CLEAR_FIPU } else { CLEAR_STARTUP };
        let mut joiners: Vec<(usize, NodeId, u32)> = self
            .members()
            .map(|(id, node)| (node.order, id, node.owed & !node.told & may_clear))
            .filter(|(_, node, flags)| *flags != 0 && self.server_of(*node) == Some(self.our_node))
            .collect();
        joiners.sort_unstable();
        for (_, node, flags) in joiners {
            // What is owed goes when the message is delivered, on all nodes at once; until then once is enough.
            if let Some(entry) = self.nodes.get_mut(&node) {
                entry.told |= flags;
            }
            self.send_clear(node, 0, flags, out);
        }
        if nothing_due {
            self.answer_askers(out);
        }
    }

    /// Who was here before all that know, as a daemon that hung while they came, is owed nothing by anybody, and would wait for
    /// ever: the lowest that does not say the same of itself tells it.
    fn answer_askers(&mut self, out: &mut Out<'_>) {
        let lowest = self.members().find(|(_, node)| !node.says_unknown).map(|(id, _)| id);
        if lowest != Some(self.our_node) {
            return;
        }
        let asks =
            |node: &Daemon| node.says_unknown && node.owed == 0 && node.told & CLEAR_FIPU == 0;
        let asking: Vec<NodeId> =
            self.members().filter(|(_, node)| asks(node)).map(|(id, _)| id).collect();
        for node in asking {
            if let Some(entry) = self.nodes.get_mut(&node) {
                entry.told |= CLEAR_FIPU;
            }
            let flags = CLEAR_FIPU;
            self.send_clear(node, 0, flags, out);
        }
    }

    /// The lowest member that is owed nothing, as in the C daemon. It may have come after the joiner and know of no debt:
    /// then the joiner would wait for ever, and the lowest of ours that saw it join has to do it.
    fn server_of(&self, joiner: NodeId) -> Option<NodeId> {
        let settled = || self.members().filter(|(_, node)| node.owed == 0);
        let saw_join = &self.nodes.get(&joiner)?.saw_join;
        let (lowest, _) = settled().next()?;
        if saw_join.contains(&lowest) {
            return Some(lowest);
        }
        let ours = |id: NodeId, node: &Daemon| {
            id == self.our_node
                || matches!(node.membership, Membership::Clean { features: Some(_), .. })
        };
        settled().find(|(id, node)| saw_join.contains(id) && ours(*id, node)).map(|(id, _)| id)
    }

    /// Rule C, without start-up fencing: when nobody knows anything there is nothing to know. Not after the loss of
    /// somebody who might have known (defect 3).
    fn clear_by_agreement(&mut self, out: &mut Out<'_>) {
        if !self.fencing.unknown || self.fencing.orphaned || self.fencing.lost_witness {
            return;
        }
        if self.members().all(|(_, node)| node.says_unknown) {
            out.debug("fence_in_progress_unknown 0 all_fipu".into());
            for node in self.nodes.values_mut() {
                node.says_unknown = false;
            }
            self.fencing.unknown = false;
        } else if self.fencing.joins != self.fencing.said_unknown_at {
            self.fencing.said_unknown_at = self.fencing.joins;
            let node = self.our_node;
            self.send_clear(node, FENCE_CLEAR_UNKNOWN, CLEAR_FIPU_UNKNOWN, out);
        }
    }

    fn send_clear(&self, node: NodeId, result: i32, flags: u32, out: &mut Out<'_>) {
        let clear = FenceClear { node, result, flags, ring: self.ring.seq };
        self.send(Message::FenceClear(clear), out);
    }

    /// A FENCE_CLEAR was delivered.
    pub(crate) fn fence_clear(&mut self, from: NodeId, clear: &FenceClear, out: &mut Out<'_>) {
        out.debug(format!(
            "receive_fence_clear from {from} for {} result {} flags {:x}",
            clear.node, clear.result, clear.flags
        ));
        let unknown_here = self.fencing.unknown;
        let ours = clear.node == self.our_node;
        let Some(node) = self.nodes.get_mut(&clear.node) else {
            out.error(format!("receive_fence_clear from {from} no daemon node {}", clear.node));
            return;
        };
        if clear.result == FENCE_CLEAR_UNKNOWN && clear.flags & CLEAR_FIPU_UNKNOWN != 0 {
            node.says_unknown = true;
            self.pasts.knows_nothing(from, clear.ring);
            return;
        }
        // From a daemon that hung: it means an earlier stay of the node, and knows nothing of what has happened since.
        let late = clear.ring != 0 && node.stay_ring.is_some_and(|ring| clear.ring < ring);
        if late && !self.mutation.has(Mutant::LateClearCounts) {
            out.error(format!(
                "receive_fence_clear from {from} ignored: about an earlier stay of {}",
                clear.node
            ));
            return;
        }
        if clear.result != 0 {
            return;
        }
        node.owed &= !clear.flags;
        if clear.flags & CLEAR_FIPU != 0 {
            node.says_unknown = false;
            node.told &= !CLEAR_FIPU;
        }
        // Our list stands for what somebody has taken along since, of which this word knows nothing.
        let outdated = clear.ring != 0 && self.pasts.is_older_than_our_list(clear.ring);
        if ours && !outdated {
            // Said before we lost its sender: by now our own list has taken the place of what it was to tell us.
            let stay = self.nodes.get(&from).map(|teller| teller.stay_ring);
            let parted =
                clear.ring != 0 && stay.is_some_and(|s| s.is_none_or(|ring| clear.ring < ring));
            let not_now = if parted { CLEAR_STARTUP } else { 0 };
            let waits = unknown_here && !parted;
            if let Some(teller) = self.nodes.get_mut(&from).filter(|_| waits) {
                teller.may_know = true;
                teller.says_unknown = false;
            }
            self.cleared(clear.flags & !not_now, out);
        }
        self.has_no_list(from);
    }

    pub(crate) fn cleared(&mut self, flags: u32, out: &mut Out<'_>) {
        if flags & CLEAR_STARTUP != 0 && !self.fencing.startup.is_empty() {
            self.fencing.startup.clear();
            self.fencing.wait_clear = true;
        }
        if flags & CLEAR_FIPU != 0 && self.fencing.unknown {
            out.debug("fence_in_progress_unknown 0 recv".into());
            self.fencing.startup.clear();
            self.fencing.unknown = false;
            self.fencing.wait_clear = false;
            self.fencing.orphaned = false;
            self.fencing.lost_witness = false;
        }
    }

    /// A member is gone while we do not know whether fencing is in progress. If it was there before us and never said that
    /// it knows nothing either, it may have been fencing somebody of whom nobody else will tell us.
    pub(crate) fn witness_lost(&mut self, may_have_known: bool) {
        if self.fencing.unknown && may_have_known && !self.mutation.has(Mutant::ForgetWitness) {
            self.fencing.lost_witness = true;
        }
    }

    /// When the last member that may have known is gone, nobody's word can replace what we have not seen: every configured
    /// node has to join, be fenced, or be acknowledged (defects 3 and 14).
    fn refill_startup_list(&mut self, heard_all: bool, setup: &Setup, out: &mut Out<'_>) {
        if self.mutation.has(Mutant::NeverRefillStartup) {
            return;
        }
        let on_their_word = self.fencing.wait_clear || !setup.fixed.startup_fencing.is_on();
        let somebody_knows = self.members().any(|(_, node)| node.may_know && !node.says_unknown);
        let no_server =
            self.fencing.unknown && self.fencing.lost_witness && on_their_word && !somebody_knows;
        let lost = if heard_all { self.pasts.lost() } else { None };
        let past = self.pasts.overflow().or(lost);
        if !no_server && past.is_none() {
            return;
        }
        self.fencing.lost_witness = false;
        self.pasts.make_up_for_lost();
        if !setup.fixed.fencing.is_on() {
            return;
        }
        // A victim is being fenced for its own failure, and keeps the time of that.
        let victims = self.victims();
        // Nor is one doubtful that has been fenced since it met us.
        let settled =
            |node: &NodeId| self.nodes.get(node).zip(past).is_some_and(|(n, ring)| n.is_over(ring));
        let harmless_or_known =
            |node: &NodeId| self.is_clean(*node) || victims.contains(node) || settled(node);
        let doubtful: Vec<NodeId> = setup
            .configured_nodes
            .iter()
            .copied()
            .filter(|node| !harmless_or_known(node))
            .collect();
        out.error(format!(
            "whoever may have been fencing a node is gone: {} configured nodes must join, be fenced, or be acknowledged (dlm_tool fence_ack)",
            doubtful.len()
        ));
        self.fencing.startup.extend(doubtful);
        self.fencing.unknown = true;
        self.fencing.wait_clear = false;
        self.fencing.orphaned = true;
    }
}

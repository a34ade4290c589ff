//! Who must be fenced, who is to do it, and what became of it (spec/fencing.md sections 2, 3, 5, 6).
//!
//! A clean member that fails must be fenced, whatever it ran. Every node keeps the same record from the same ordered
//! events and computes the same actor; FENCE_RESULT, ordered too, ends it everywhere at once. The work of the actor is in
//! `fence_work`, what late joiners may believe in `fipu`.

mod alone;

use crate::effect::Moment;
use crate::event::{LeaveReason, Token};
use crate::fence_work::Attempt;
use crate::group::{Daemon, Daemons, Ended, LeftReason, Membership};
use crate::merge::kick;
use crate::message::{FENCE_RESULT_ACKNOWLEDGED, FenceResult, Message};
use crate::mutants::Mutant;
use crate::options::Setup;
use crate::out::Out;
use crate::types::{Instant, NodeId, WallSeconds};
use crate::waiting::FenceWait;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Fencing as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Fencing {
    /// We do not know whether fencing is in progress that we have not seen begin.
    pub(crate) unknown: bool,
    /// Our start-up list was dropped on somebody's word; only that somebody's CLEAR_FIPU clears `unknown`.
    pub(crate) wait_clear: bool,
    /// Somebody who might have known of fencing is gone: the start-up list has to be worked off instead.
    pub(crate) orphaned: bool,
    /// Somebody who might have known of fencing is gone; see `fipu`.
    pub(crate) lost_witness: bool,
    /// Configured nodes of which we do not know yet that they are harmless.
    pub(crate) startup: BTreeSet<NodeId>,
    /// From when post_join_delay counts.
    pub(crate) delay_begin: Option<Instant>,
    /// Grows with every join; what `said_unknown_at` is compared with.
    pub(crate) joins: u64,
    /// `joins` when we last said that we know nothing.
    pub(crate) said_unknown_at: u64,
    /// Our own running attempts, by victim.
    pub(crate) attempts: BTreeMap<NodeId, Attempt>,
}

/// The fencing record of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Victim {
    needs: bool,
    /// Who may still try in this round.
    actors: BTreeSet<NodeId>,
    /// Who may try at all.
    all_actors: BTreeSet<NodeId>,
    /// Who was there when it failed, late comers included: they know of it.
    witnesses: BTreeSet<NodeId>,
    /// Every actor has failed and none may begin again.
    pub(crate) exhausted: bool,
    /// Our result is on its way.
    pub(crate) result_wait: bool,
    /// Attempts of ours that failed in a row.
    pub(crate) failures: u32,
    /// Our next attempt not before this time.
    pub(crate) not_before: Instant,
    /// Since when its present actor is awaited; `None`: it is everybody's victim, and whoever is the actor knows of it.
    pub(crate) deferred: Option<Instant>,
    /// What the fencing waits for here.
    pub(crate) waits_for: Option<FenceWait>,
    /// Why our last attempt began no agent: fence devices that cannot be used.
    pub(crate) config_error: Option<String>,
    /// The last result of every actor that has failed, as FENCE_RESULT carries it.
    pub(crate) failed_by: BTreeMap<NodeId, i32>,
    /// The last ring that had it; 0 where we have not seen it fail.
    last_ring: u64,
    /// C daemons among us may not take it for a victim, so that they are no actors.
    unknown_to_c: bool,
    pub(crate) fail_time: Instant,
    pub(crate) fail_wall: WallSeconds,
    pub(crate) fence_time: Instant,
    pub(crate) fence_wall: WallSeconds,
    pub(crate) actor_last: Option<NodeId>,
    pub(crate) actor_done: Option<NodeId>,
}

impl Victim {
    pub(crate) fn needs_fencing(&self) -> bool {
        self.needs
    }

    /// All of these were there when it failed: they have the same record of it.
    pub(crate) fn is_known_to(&self, members: &[NodeId]) -> bool {
        members.iter().all(|member| self.witnesses.contains(member))
    }

    /// Its node was there in this ring or later, and has been fenced for its failure.
    pub(crate) fn is_fenced_since(&self, ring: u64) -> bool {
        !self.needs && self.actor_done.is_some() && self.last_ring >= ring
    }

    /// Its node failed after this ring.
    pub(crate) fn failed_after(&mut self, ring: u64, unknown_to_c: bool) {
        self.last_ring = ring;
        self.unknown_to_c = unknown_to_c;
    }
}

impl Fencing {
    pub(crate) fn new(setup: &Setup) -> Self {
        let at_start = setup.fixed.fencing.is_on() && setup.fixed.startup_fencing.is_on();
        let startup = if at_start {
            setup.configured_nodes.iter().copied().collect()
        } else {
            BTreeSet::new()
        };
        Self {
            unknown: true,
            wait_clear: false,
            orphaned: false,
            lost_witness: false,
            startup,
            delay_begin: None,
            joins: 0,
            said_unknown_at: 0,
            attempts: BTreeMap::new(),
        }
    }

    /// A node joined the cluster or the group: it, or a node it made quorate, deserves time to join.
    pub(crate) fn joined(&mut self, now: Instant) {
        self.delay_begin = Some(now);
        self.joins = self.joins.wrapping_add(1);
    }

    /// The attempt that a token belongs to.
    pub(crate) fn victim_of(&self, token: Token) -> Option<NodeId> {
        self.attempts.iter().find(|(_, attempt)| attempt.has(token)).map(|(victim, _)| *victim)
    }
}

impl Daemons {
    /// Nodes that must be fenced.
    pub(crate) fn victims(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.victim.needs).map(|(id, _)| *id).collect()
    }

    /// No node must be fenced. Cheaper than asking for the set.
    pub(crate) fn no_victims(&self) -> bool {
        !self.nodes.values().any(|node| node.victim.needs)
    }

    /// `node` failed: from now on it must be fenced, whatever was to be done about an earlier failure. `joined` came in the same change
    /// and did not see it fail.
    pub(crate) fn needs_fencing(
        &mut self,
        node: NodeId,
        members: &[NodeId],
        joined: &BTreeSet<NodeId>,
        reason: LeftReason,
        out: &mut Out<'_>,
    ) {
        let actors: BTreeSet<NodeId> =
            members.iter().copied().filter(|node| !joined.contains(node)).collect();
        let now = out.now;
        let entry = self.node_mut(node);
        entry.left_reason = reason;
        let actor = actors.first().copied();
        out.debug(format!(
            "set_fence_actors for {node} low {} count {}",
            actor.map_or(0, NodeId::get),
            actors.len()
        ));
        entry.victim = Victim {
            needs: true,
            all_actors: actors.clone(),
            actors,
            witnesses: members.iter().copied().collect(),
            fail_time: now.mono,
            fail_wall: now.wall,
            actor_last: entry.victim.actor_last,
            ..Victim::default()
        };
        out.debug(format!(
            "daemon remove {node} {} need_fencing 1 low {}",
            reason.text(),
            actor.map_or(0, NodeId::get)
        ));
        out.moment(Moment::FenceNeeded { victim: node, actor });
    }

    /// This member knows of all fencing, and need not know of the nodes of our start-up list: we would wait for it in vain.
    pub(crate) fn has_no_list(&mut self, member: NodeId) {
        if member == self.our_node {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&member) {
            node.has_no_list = true;
        }
        let of_list = |node: &&mut Daemon| node.left_reason == LeftReason::Startup;
        for node in self.nodes.values_mut().filter(of_list) {
            node.victim.actors.remove(&member);
            node.victim.all_actors.remove(&member);
        }
    }

    /// Set the time at which people and agents are told that a start-up node failed.
    pub(crate) fn set_fail_times(&mut self, node: NodeId, mono: Instant, wall: WallSeconds) {
        let victim = &mut self.node_mut(node).victim;
        victim.fail_time = mono;
        victim.fail_wall = wall;
    }

    /// A node is gone: should it come back it will know of no victim, so it can be nobody's actor. (The C daemon strikes it
    /// out only when it looks for an actor; looking later, it may defer for ever to a node that knows nothing.)
    pub(crate) fn strike_everywhere(&mut self, gone: NodeId) {
        for node in self.nodes.values_mut() {
            node.victim.actors.remove(&gone);
            node.victim.all_actors.remove(&gone);
            node.victim.witnesses.remove(&gone);
            node.saw_join.remove(&gone);
        }
    }

    /// Who is to fence `node` now: the lowest of its actors. Those who are gone are struck out for good; when none of those who saw it fail is left, whoever else knows of it takes over.
    pub(crate) fn actor_for(&mut self, node: NodeId, out: &mut Out<'_>) -> Option<NodeId> {
        let ours_alone = self.nodes.get(&node)?.victim.unknown_to_c;
        let of_c =
            |member: &Daemon| matches!(member.membership, Membership::Clean { features: None, .. });
        let present: BTreeSet<NodeId> = self
            .members()
            .filter(|(id, member)| *id == self.our_node || !ours_alone || !of_c(member))
            .map(|(id, _)| id)
            .collect();
        let our_node = self.our_node;
        if self.mutation.has(Mutant::EverybodyActs) {
            return Some(our_node);
        }
        let run_out = self.mutation.has(Mutant::ActorsRunOut);
        let victim = &mut self.nodes.get_mut(&node)?.victim;
        if victim.all_actors.is_disjoint(&present) && !run_out {
            let witnesses: BTreeSet<NodeId> =
                victim.witnesses.intersection(&present).copied().collect();
            victim.all_actors =
                if witnesses.is_empty() { BTreeSet::from([our_node]) } else { witnesses };
            victim.actors = victim.all_actors.clone();
            victim.exhausted = false;
            out.error(format!("fence request {node}: all its actors are gone, others take over"));
        }
        victim.actors.retain(|actor| present.contains(actor));
        if victim.actors.is_empty() && !victim.exhausted && !run_out {
            // Struck out one by one by absence and failure together: begin again with those who are there.
            victim.actors = victim.all_actors.intersection(&present).copied().collect();
        }
        let actor = victim.actors.first().copied();
        if actor.is_some() {
            victim.actor_last = actor;
        }
        actor
    }

    /// A FENCE_RESULT was delivered.
    pub(crate) fn fence_result(
        &mut self,
        from: NodeId,
        result: &FenceResult,
        setup: &Setup,
        out: &mut Out<'_>,
    ) {
        let victim = result.victim;
        if self.fencing.startup.contains(&victim) {
            // A failed attempt says nothing about a node that we have not begun to fence (defect 2).
            if result.settles() || self.mutation.has(Mutant::FailedResultDropsStartup) {
                self.fencing.startup.remove(&victim);
            }
            if !self.nodes.get(&victim).is_some_and(|node| node.victim.needs) {
                return;
            }
        }
        let says = format!("receive_fence_result {victim} from {from} result {}", result.result);
        let present = self.is_member(victim);
        let our_node = self.our_node;
        let Some(node) = self.nodes.get_mut(&victim) else {
            out.error(format!("{says} no daemon node"));
            return;
        };
        if !node.victim.needs {
            out.error(format!("{says} no need_fencing"));
            return;
        }
        // It has come back and failed again since the attempt began, unseen by a daemon that hung: that is another matter, and
        // whoever is its actor now sees to it. Who was fenced in its last ring has left that for it; but of an attempt that failed
        // there, while it was a victim of the start-up list, the actor has begun another since, for the failure. (Where a daemon
        // alone has gone, its node is in that ring still, and so are the attempts.)
        let last_ring = node.victim.last_ring;
        let left_the_ring = node.left_reason == LeftReason::Left(LeaveReason::NodeDown);
        let begun_anew = result.ring == last_ring && left_the_ring && !result.settles();
        let late = result.ring != 0 && (result.ring < last_ring || begun_anew);
        if late && !self.mutation.has(Mutant::LateResultCounts) {
            out.error(format!("{says} ignored: about an earlier failure"));
            return;
        }
        if from == our_node && result.result != FENCE_RESULT_ACKNOWLEDGED {
            node.victim.result_wait = false;
        }
        out.error(format!(
            "fence status {victim} receive {} from {from} walltime {} local {}",
            result.result, result.wall.0, out.now.wall.0
        ));
        if result.settles() || self.mutation.has(Mutant::FailedResultSettles) {
            self.settle(victim, from, result.wall, out);
            if present {
                kick(victim, out);
            }
            if result.result == FENCE_RESULT_ACKNOWLEDGED {
                self.cancel_attempt(victim, out);
            }
        } else {
            node.victim.failed_by.insert(from, result.result);
            self.strike(victim, from, setup, out);
        }
    }

    fn settle(&mut self, node: NodeId, by: NodeId, wall: WallSeconds, out: &mut Out<'_>) {
        let now = out.now.mono;
        let entry = self.node_mut(node);
        entry.victim.needs = false;
        entry.victim.waits_for = None;
        entry.victim.result_wait = false;
        entry.victim.fence_time = now;
        entry.victim.fence_wall = wall;
        entry.victim.actor_done = Some(by);
        match &mut entry.membership {
            Membership::Gone { ended } => *ended = Ended::Settled,
            Membership::Merged { fenced, .. } => *fenced = true,
            _ => {}
        }
        out.moment(Moment::Fenced { victim: node, by });
    }

    /// An actor has failed: the next one's turn, or everybody's again.
    fn strike(&mut self, node: NodeId, actor: NodeId, setup: &Setup, out: &mut Out<'_>) {
        let now = out.now.mono;
        let victim = &mut self.node_mut(node).victim;
        victim.deferred = victim.deferred.and(Some(now));
        victim.actors.remove(&actor);
        if !victim.actors.is_empty() {
            return;
        }
        if setup.dynamic.repeat_failed_fencing.is_on() {
            out.debug(format!("clear_fence_actor {actor} restoring original actors to retry"));
            victim.actors = victim.all_actors.clone();
        } else {
            victim.exhausted = true;
            out.error(format!(
                "fence request {node} no actor: every one has failed and repeat_failed_fencing is 0; reset the node by hand, then: dlm_tool fence_ack {node}"
            ));
        }
    }

    /// The node has come back clean: whatever it held is gone with its former life. Each node notices by itself.
    pub(crate) fn returned_clean(&mut self, node: NodeId, out: &mut Out<'_>) {
        let wall = out.now.wall;
        self.settle(node, node, wall, out);
        out.error(format!("fence request {node} dropped: it is a clean member again"));
        self.cancel_attempt(node, out);
    }

    /// An operator's word that a node is down.
    pub(crate) fn fence_ack(&mut self, node: NodeId, out: &mut Out<'_>) {
        let awaited = self.fencing.startup.contains(&node)
            || self.nodes.get(&node).is_some_and(|node| node.victim.needs);
        if !awaited {
            out.error(format!("fence_ack {node} refused: no fencing of it is due here"));
            return;
        }
        out.error(format!("fence_ack {node}: an operator says that it is down"));
        let wall = out.now.wall;
        self.send(
            Message::FenceResult(FenceResult {
                victim: node,
                result: FENCE_RESULT_ACKNOWLEDGED,
                wall,
                ring: 0,
            }),
            out,
        );
    }
}

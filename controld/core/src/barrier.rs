//! The barrier of a lockspace's change: our START, everybody's START, the decision to start
//! (spec/lockspace-recovery.md sections 5 to 7).
//!
//! When `gate` lets the newest change pass, our START is sent; when every member's START has come, the start is decided, at
//! the same position of the message order on all nodes.

use crate::change::{Change, Sender, match_start};
use crate::effect::Moment;
use crate::lockspace::{Lockspace, Phase};
use crate::message::{Message, START_HAVEPLOCK, START_JOINING, START_NACK, Start};
use crate::mutants::Mutant;
use crate::out::Out;
use crate::snapshot::Wait;
use crate::types::NodeId;
use crate::world::World;
use crate::writes::{Kernel, Plan, Write};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

impl Lockspace {
    pub(crate) fn receive_start(
        &mut self,
        from: NodeId,
        start: &Start,
        length: usize,
        world: &World,
        out: &mut Out<'_>,
    ) {
        self.debug(out, format!("receive_start {from}:{} len {length}", start.seq));
        if start.flags & START_NACK != 0 && world.mutated(Mutant::IgnoreNack) {
            return;
        }
        let Some(record) = self.history.get_mut(from) else { return };
        let sender =
            Sender { node: from, incarnation: record.incarnation, last_match: record.last_match };
        let mutation = world.daemons.mutation;
        let index = match_start(&self.changes, sender, start, world.setup.our_node, mutation);
        let Some(change) = index.and_then(|index| self.changes.get_mut(index)) else {
            self.debug(out, format!("match_change {from}:{} no match", start.seq));
            self.note_again(from, start);
            return;
        };
        let seq = change.seq;
        record.last_match = seq;
        record.came_empty |= start.counts.started_count == 0;
        let came_empty = record.came_empty;
        let added = self
            .changes
            .iter()
            .any(|change| change.members.get(&from).is_some_and(|member| member.added));
        // Who came without state may have passed a barrier that we have not: an older START of ours was taken for one of that
        // change. Its kernel cannot have recovered without ours, so that there is nothing that could clash.
        let merged =
            added && !came_empty && start.counts.started_count != 0 && self.started_count != 0;
        let nack = start.flags & START_NACK != 0;
        let Some(change) = index.and_then(|index| self.changes.get_mut(index)) else { return };
        if let Some(member) = change.members.get_mut(&from) {
            member.disallowed |= merged;
            if nack {
                member.void = Some(start.seq);
            }
        }
        if merged {
            let count = start.counts.started_count;
            self.error(
                out,
                format!("receive_start {from}:{} add node with started_count {count}", start.seq),
            );
        } else if nack {
            self.debug(out, format!("receive_start {from}:{} voids cg {seq}", start.seq));
        } else {
            change.record_start(from, start);
            if let Some(record) = self.history.get_mut(from) {
                record.ran = true;
            }
            self.debug(out, format!("match_change {from}:{} matches cg {seq}", start.seq));
            out.moment(Moment::StartReceived { lockspace: self.name.clone(), from });
        }
    }

    /// Go on as far as possible.
    pub(crate) fn advance(&mut self, world: &mut World, out: &mut Out<'_>) {
        if self.phase == Phase::Member || self.phase == Phase::Leaving {
            self.drive(world, out);
        }
        self.plock_drop_unused(world, out);
        self.pump(world, out);
    }

    fn drive(&mut self, world: &mut World, out: &mut Out<'_>) {
        let Some(newest) = self.changes.front() else {
            let wait = self.wait_without_change(world);
            self.set_wait(wait, out);
            return;
        };
        if !newest.start_sent {
            if let Some(wait) = self.gate(world, out) {
                self.set_wait(Some(wait), out);
                return;
            }
            self.send_start(world, out);
            // Not only once it is decided: the STARTs that complete it may be in our queue behind a partition that the daemon
            // group has shown us already. Who was told at the merge that we hold nothing would spare us the fencing.
            world.daemons.set_stateful();
        }
        let Some(newest) = self.changes.front() else { return };
        let hasty = world.mutated(Mutant::MissingStart) && newest.missing().len() == 1;
        if newest.is_complete() || hasty {
            // Its START may be from before its gfs2 withdrew.
            let wait = self.withdraw_gate(world).or_else(|| {
                self.decide_start(world, out);
                self.wait_without_change(world)
            });
            self.set_wait(wait, out);
        } else {
            let disallowed = newest.disallowed();
            let wait = if disallowed.is_empty() {
                Wait::Starts(newest.missing())
            } else {
                Wait::Disallowed(disallowed)
            };
            self.set_wait(Some(wait), out);
        }
    }

    fn set_wait(&mut self, wait: Option<Wait>, out: &mut Out<'_>) {
        if self.wait == wait {
            return;
        }
        if let Some(wait) = &wait {
            out.moment(Moment::Waiting { lockspace: self.name.clone(), wait: wait.clone() });
        }
        self.wait = wait;
        self.wait_since = out.now.mono;
    }

    /// A START from before our time in the group was taken for this change, and here is the one that is meant: what its sender
    /// says of the change from now on, as of the POSIX locks that it sends, it says by this number.
    fn note_again(&mut self, from: NodeId, start: &Start) {
        if start.flags & START_NACK != 0 {
            return;
        }
        let Some(newest) = self.changes.front_mut() else {
            // Ours was complete too early: the others pass the barrier here, or later.
            if self.started.as_ref().is_some_and(|(change, _)| change.fits(&start.counts)) {
                self.plocks.barrier_is_later(from, start.seq);
            }
            return;
        };
        if !newest.fits(&start.counts) {
            return;
        }
        let incarnation = self.history.incarnation(from);
        let member = newest.members.get_mut(&from).filter(|m| m.incarnation == incarnation);
        if let Some(member) = member.filter(|m| m.start.is_some_and(|seq| seq < start.seq)) {
            member.again = Some(start.seq);
        }
    }

    /// NACK every older change that our START could be taken for, then send the START.
    fn send_start(&mut self, world: &World, out: &mut Out<'_>) {
        let joining = if self.joining { START_JOINING } else { 0 };
        let claims = world.mutated(Mutant::ClaimLocks);
        let flags = joining | self.plock_flags() | if claims { START_HAVEPLOCK } else { 0 };
        let mut messages: Vec<Start> = Vec::new();
        let mut pending = self.changes.iter();
        let Some(newest) = pending.next() else { return };
        // Only those whose START was never sent: a NACK for another would void the new change (defect 12).
        let all = world.mutated(Mutant::NackStarted);
        let void = |change: &&Change| (!change.start_sent || all) && change.looks_like(newest);
        for change in pending.filter(void) {
            let counts = change.counts(self.started_count);
            messages.push(Start { seq: change.seq, flags: flags | START_NACK, counts });
        }
        messages.push(Start { seq: newest.seq, flags, counts: newest.counts(self.started_count) });
        for start in messages {
            self.debug(
                out,
                format!(
                    "send_start {}:{} counts {} {} {} {} {}{}",
                    world.setup.our_node,
                    start.seq,
                    start.counts.started_count,
                    start.counts.member_count,
                    start.counts.joined_count,
                    start.counts.remove_count,
                    start.counts.failed_count,
                    if start.flags & START_NACK != 0 { " nack" } else { "" }
                ),
            );
            self.send(Message::Start(start), world, out);
        }
        if let Some(newest) = self.changes.front_mut() {
            newest.start_sent = true;
        }
        out.moment(Moment::StartSent { lockspace: self.name.clone() });
    }

    /// Every member has stopped and knows this change: start the kernel.
    fn decide_start(&mut self, world: &mut World, out: &mut Out<'_>) {
        let combined = self.changes.back().map(|change| change.seq).unwrap_or_default();
        let joined = self.changes.iter().any(|change| !change.joined.is_empty());
        let Some(change) = self.changes.pop_front() else { return };
        self.changes.clear();
        self.debug(
            out,
            format!("start_kernel cg {} member_count {}", change.seq, change.order.len()),
        );
        let members = change.order.iter().map(|node| (*node, self.options.weight(*node))).collect();
        let incarnations: BTreeMap<NodeId, u32> =
            change.members.iter().map(|(node, member)| (*node, member.incarnation)).collect();
        let release_recover = core::mem::take(&mut self.release_recover);
        let nodes: BTreeSet<NodeId> = incarnations.keys().copied().collect();
        self.slots.predict(&nodes, &change.fresh());
        let failed = self.history.started();
        self.lane.push(Write::Start(Plan { members, incarnations, release_recover, failed }));
        self.kernel = Kernel::Running;
        self.joining = false;
        // Before all that is to be said: the kernel's recovery is what everybody waits for.
        self.pump(world, out);
        self.plock_barrier(&change, joined, world, out);
        self.started_count = match self.started_count.wrapping_add(1) {
            0 => 1,
            count => count,
        };
        self.started = Some((change, combined));
    }
}

//! One lockspace: its life in its group, from the kernel's `online` to its `offline` (spec/lockspace-recovery.md
//! sections 1 to 3).
//!
//! Every configuration change of the group stops the kernel's lockspace and puts a new change in front of the pending
//! ones. Only the newest is driven: `gate` lets it pass, `barrier` collects the STARTs, `writes` tells the kernel.

use crate::change::{Change, merges};
use crate::effect::{Effect, Level, Moment};
use crate::event::{Confchg, LeaveReason};
use crate::group::{conf_text, reason_text};
use crate::history::History;
use crate::lane::Queue;
use crate::merge::kick;
use crate::message::{Message, Packet};
use crate::mutants::Mutant;
use crate::negotiation::FEATURE_RELEASE_RECOVER;
use crate::options::LockspaceOptions;
use crate::out::Out;
use crate::plock::{self, Plocks, Said, Word};
use crate::slots::SlotMap;
use crate::snapshot::Wait;
use crate::types::{ChangeSeq, GlobalId, Group, Instant, LockspaceName, NodeId, RingId};
use crate::waits::Noted;
use crate::withdraw::Withdraws;
use crate::world::World;
use crate::writes::{Kernel, Write};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Linux' EEXIST, the answer to a second creation of one name.
const EEXIST: i32 = 17;
/// What the creator of a lockspace gets when its group cannot be joined.
const JOIN_FAILED: i32 = -1;

/// A lockspace of this node's kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Lockspace {
    pub(crate) number: u64,
    pub(crate) name: LockspaceName,
    pub(crate) global_id: GlobalId,
    pub(crate) options: LockspaceOptions,
    pub(crate) phase: Phase,
    /// The first start has not been decided.
    pub(crate) joining: bool,
    /// The kernel has its id, and the answer to its `online`.
    pub(crate) answered: bool,
    pub(crate) change_seq: ChangeSeq,
    pub(crate) started_count: u32,
    /// Pending, newest first.
    pub(crate) changes: VecDeque<Change>,
    /// The last one whose start was decided, and the oldest that was merged into it.
    pub(crate) started: Option<(Change, ChangeSeq)>,
    pub(crate) history: History,
    pub(crate) ring: RingId,
    pub(crate) ring_wait: bool,
    /// What the kernel does once the lane is empty.
    pub(crate) kernel: Kernel,
    pub(crate) lane: Queue<Write>,
    /// Members and their stays at the last start that the kernel has completed.
    pub(crate) kernel_members: BTreeMap<NodeId, u32>,
    /// Leavers whose leave counts as a failure, until the next start.
    pub(crate) release_recover: BTreeSet<NodeId>,
    pub(crate) slots: SlotMap,
    pub(crate) withdraws: Withdraws,
    pub(crate) plocks: Plocks,
    pub(crate) wait: Option<Wait>,
    pub(crate) wait_since: Instant,
    pub(crate) noted: Noted,
}

/// Where a lockspace is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// The daemons' protocol is not settled yet.
    Queued,
    /// Our join of the group is on its way.
    Joining,
    /// In the group.
    Member,
    /// Our leave is on its way, and a new join will follow it.
    Rejoining,
    /// Our leave is on its way.
    Leaving,
    /// Out of the group; the kernel is still being told.
    Releasing {
        /// The kernel has created a lockspace of this name anew meanwhile.
        again: bool,
    },
    /// To be forgotten.
    Gone {
        /// As above.
        again: bool,
    },
}

impl Lockspace {
    /// The kernel has created a lockspace. A new one is born stopped.
    pub(crate) fn new(
        number: u64,
        name: LockspaceName,
        options: LockspaceOptions,
        word: Word,
        now: Instant,
    ) -> Self {
        let global_id = Group::Lockspace(name.clone()).global_id();
        Self {
            number,
            name,
            global_id,
            options,
            phase: Phase::Queued,
            joining: true,
            answered: false,
            change_seq: ChangeSeq::default(),
            started_count: 0,
            changes: VecDeque::new(),
            started: None,
            history: History::default(),
            ring: RingId::default(),
            ring_wait: false,
            kernel: Kernel::Stopped,
            lane: Queue::default(),
            kernel_members: BTreeMap::new(),
            release_recover: BTreeSet::new(),
            slots: SlotMap::default(),
            withdraws: Withdraws::default(),
            plocks: Plocks::new(word),
            wait: None,
            wait_since: now,
            noted: Noted::default(),
        }
    }

    pub(crate) fn group(&self) -> Group {
        Group::Lockspace(self.name.clone())
    }

    pub(crate) fn debug(&self, out: &mut Out<'_>, text: String) {
        out.lockspace(Level::Debug, &self.name, text);
    }

    pub(crate) fn error(&self, out: &mut Out<'_>, text: String) {
        out.lockspace(Level::Error, &self.name, text);
    }

    /// Join the group, once the daemons' protocol is settled.
    pub(crate) fn begin_join(&mut self, out: &mut Out<'_>) {
        if self.phase == Phase::Queued {
            self.phase = Phase::Joining;
            self.debug(out, format!("cpg_join {} ...", self.group()));
            out.push(Effect::Join(self.group()));
        }
    }

    /// The kernel creates a lockspace whose name we know.
    pub(crate) fn online_again(&mut self, out: &mut Out<'_>) {
        if let Phase::Releasing { again } = &mut self.phase {
            *again = true;
        } else {
            self.error(out, format!("online uevent for a known lockspace answered with -{EEXIST}"));
            self.lane.push(Write::EventDone { result: -EEXIST });
        }
    }

    /// The kernel releases the lockspace.
    pub(crate) fn offline(&mut self, release_recover: u32, world: &World, out: &mut Out<'_>) {
        match self.phase {
            Phase::Queued => self.release(world, out),
            Phase::Joining | Phase::Member => {
                if release_recover != 0 {
                    self.announce_release_recover(release_recover, world, out);
                }
                self.phase = Phase::Leaving;
                self.debug(out, format!("cpg_leave {} ...", self.group()));
                out.push(Effect::Leave(self.group()));
            }
            Phase::Rejoining => self.phase = Phase::Leaving,
            Phase::Leaving | Phase::Releasing { .. } | Phase::Gone { .. } => {
                self.error(out, String::from("offline uevent ignored: already leaving"));
            }
        }
    }

    fn announce_release_recover(&self, value: u32, world: &World, out: &mut Out<'_>) {
        let without = |node: &NodeId| world.daemons.is_without(*node, FEATURE_RELEASE_RECOVER);
        let (deaf, others): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
            self.present_members().into_iter().partition(without);
        // We are one of the others.
        if others.len() > 1 || deaf.is_empty() {
            self.send(Message::ReleaseRecover { value }, world, out);
        }
        if !deaf.is_empty() {
            let text = "RELEASE_RECOVER: not every member understands it, those will see an ordinary leave";
            self.error(out, String::from(text));
        }
    }

    /// The group could not be joined.
    pub(crate) fn join_failed(&mut self, why: &str, out: &mut Out<'_>) {
        if self.phase != Phase::Joining || self.change_seq != ChangeSeq::default() {
            out.push(Effect::FailStop {
                why: format!("lockspace {}: lost its group: {why}", self.name),
            });
            return;
        }
        self.error(out, format!("cannot join {}: {why}", self.group()));
        self.lane.push(Write::EventDone { result: JOIN_FAILED });
        self.phase = Phase::Releasing { again: false };
    }

    fn release(&mut self, world: &World, out: &mut Out<'_>) {
        self.debug(out, String::from("confchg for our leave"));
        // We are out of the group: a start that still waits for somebody's address is nobody's business any more.
        self.drop_waiting_start();
        let stop = self.kernel == Kernel::Running && !world.mutated(Mutant::ReleaseRunning);
        self.lane.push(Write::Release { stop });
        self.kernel = Kernel::Stopped;
        self.phase = Phase::Releasing { again: false };
        self.plocks.abandon(world.setup.our_node, plock::EEXIST, out);
        self.changes.clear();
        self.wait = None;
    }

    /// The group's membership changed.
    pub(crate) fn confchg(&mut self, confchg: &Confchg, world: &World, out: &mut Out<'_>) {
        out.debug(format!("{} {}", self.group(), conf_text(confchg)));
        let our_node = world.setup.our_node;
        if confchg.left.iter().any(|(node, _)| *node == our_node) {
            match self.phase {
                Phase::Leaving => self.release(world, out),
                Phase::Rejoining => self.join_anew(out),
                _ => out.push(Effect::FailStop {
                    why: format!("lockspace {}: removed from its group without asking", self.name),
                }),
            }
            return;
        }
        if self.phase == Phase::Joining {
            self.phase = Phase::Member;
        }
        let anew = self.phase == Phase::Member && self.joining && merges(confchg);
        if anew && !world.mutated(Mutant::NeverJoinAnew) {
            self.rejoin(out);
            return;
        }
        self.change_seq = self.change_seq.next();
        self.note_members(confchg, our_node, world, out);
        let change = Change::new(self.change_seq, confchg, |node| self.history.incarnation(node));
        self.debug(
            out,
            format!(
                "add_change cg {} counts member {} joined {} remove {} failed {}",
                change.seq,
                change.order.len(),
                change.joined.len(),
                change.left.len(),
                change.failed_count()
            ),
        );
        self.tell_change(confchg, out);
        self.plock_members_gone(confchg, world, out);
        self.changes.push_front(change);
        self.stop(out);
    }

    /// Two partitions of the group have come together, and we have never started. Each side sees the other join, so their
    /// STARTs would never match, and as nobody has to be killed, nobody would ever go on (the C daemon does not). We hold
    /// nothing: leave, and join what is there now.
    fn rejoin(&mut self, out: &mut Out<'_>) {
        self.error(out, String::from("partitions merged before our first start: joining anew"));
        self.phase = Phase::Rejoining;
        self.changes.clear();
        self.wait = None;
        out.push(Effect::Leave(self.group()));
    }

    fn join_anew(&mut self, out: &mut Out<'_>) {
        let (options, word) = (self.options.clone(), self.plocks.word());
        let noted = core::mem::take(&mut self.noted);
        *self = Self::new(self.number, self.name.clone(), options, word, out.now.mono);
        self.noted = noted;
        self.begin_join(out);
    }

    fn note_members(
        &mut self,
        confchg: &Confchg,
        our_node: NodeId,
        world: &World,
        out: &mut Out<'_>,
    ) {
        let seq = self.change_seq;
        // The last ring that had those who are gone; before our first ring id, the cluster's.
        let ring = if self.ring.seq == 0 { world.cluster.ring.seq } else { self.ring.seq };
        for (node, reason) in &confchg.left {
            self.debug(
                out,
                format!("add_change cg {seq} remove nodeid {node} reason {}", reason_text(*reason)),
            );
            let mutated = world.mutated(Mutant::FailureAsLeave);
            let told = if mutated { LeaveReason::Leave } else { *reason };
            self.history.removed(*node, told, ring, seq, out.now);
            self.withdraws.gone(*node);
            match reason {
                LeaveReason::NodeDown => self.ring_wait = true,
                // Its kernel may still run the lockspace while its node is in the cluster: have it removed.
                LeaveReason::ProcDown => kick(*node, out),
                // Noted no earlier: a start that still has it as a member would forget it.
                LeaveReason::Leave if self.history.get(*node).is_some_and(|r| r.recover) => {
                    self.release_recover.insert(*node);
                }
                LeaveReason::Leave => {}
            }
        }
        self.ring_wait |= merges(confchg) && !world.mutated(Mutant::SkipMergedRings);
        let we_joined = confchg.joined.iter().any(|(node, _)| *node == our_node);
        for node in &confchg.members {
            let joined = confchg.joined.iter().any(|(joined, _)| joined == node);
            if joined || we_joined {
                self.debug(out, format!("add_change cg {seq} joined nodeid {node}"));
                self.history.added(*node, seq, we_joined && *node != our_node);
                if world.mutated(Mutant::OneStay) {
                    self.history
                        .get_mut(*node)
                        .into_iter()
                        .for_each(|record| record.incarnation = 1);
                }
            }
        }
        if we_joined {
            self.debug(out, format!("add_change cg {seq} we joined"));
        }
    }

    fn tell_change(&self, confchg: &Confchg, out: &mut Out<'_>) {
        let left = |failed: bool| {
            confchg
                .left
                .iter()
                .filter(|(_, reason)| reason.is_failure() == failed)
                .map(|(node, _)| *node)
                .collect()
        };
        out.moment(Moment::Changed {
            lockspace: self.name.clone(),
            members: confchg.members.iter().copied().collect(),
            joined: confchg.joined.iter().map(|(node, _)| *node).collect(),
            left: left(false),
            failed: left(true),
        });
    }

    /// The group's ring id.
    pub(crate) fn ring_event(&mut self, ring: RingId, out: &mut Out<'_>) {
        out.debug(format!("{} ring {ring}", self.group()));
        self.ring = ring;
        self.ring_wait = false;
    }

    pub(crate) fn is_on_ring(&self, ring: RingId) -> bool {
        !self.ring_wait && self.ring.seq == ring.seq
    }

    /// Members of the group now.
    pub(crate) fn present_members(&self) -> BTreeSet<NodeId> {
        self.history.iter().filter(|(_, record)| record.member).map(|(node, _)| node).collect()
    }

    pub(crate) fn newest_members(&self) -> Vec<NodeId> {
        self.changes.front().map(|change| change.order.clone()).unwrap_or_default()
    }

    pub(crate) fn send(&self, message: Message, world: &World, out: &mut Out<'_>) {
        let packet = Packet {
            version: world.daemons.run_version(),
            sender: world.setup.our_node,
            global_id: self.global_id,
            message,
        };
        out.push(Effect::Send { group: self.group(), packet });
    }

    /// A message is ignored whose sender is not in the group.
    fn tell_stranger(&self, from: NodeId, message: &Message, out: &mut Out<'_>) {
        let text = format!(
            "{} message from {from} ignored: not a member of the lockspace's group",
            message.name()
        );
        // Who joins anew keeps no account of the members meanwhile.
        if self.phase == Phase::Rejoining {
            self.debug(out, text);
        } else {
            self.error(out, text);
        }
    }

    /// A message of the group.
    pub(crate) fn message(
        &mut self,
        from: NodeId,
        packet: &Packet,
        length: usize,
        world: &World,
        out: &mut Out<'_>,
    ) {
        let run = world.daemons.run_version();
        if (packet.version.major, packet.version.minor) != (run.major, run.minor) {
            self.error(
                out,
                format!("reject message from {from} version {} vs {run}", packet.version),
            );
            return;
        }
        if packet.global_id != GlobalId::default() && packet.global_id != self.global_id {
            self.error(
                out,
                format!("reject message from {from} for lockspace id {:08x}", packet.global_id.0),
            );
            return;
        }
        // After a ring change something that a lost node said last may still come. Its locks are purged, and who would purge
        // what it asks for now?
        let member = self.history.get(from).is_some_and(|record| record.member);
        if packet.message.is_about_plocks() && !member {
            self.tell_stranger(from, &packet.message, out);
            return;
        }
        match &packet.message {
            // Of one who has gone it is still looked at, among the changes that had it.
            Message::Start(_) if self.history.get(from).is_none() => {
                self.tell_stranger(from, &packet.message, out);
            }
            Message::Start(start) => self.receive_start(from, start, length, world, out),
            Message::Plock(info) => {
                self.plock_said(from, Said::Plock(*info), length, world, out);
            }
            Message::PlockOwn { number, owner } => {
                let said = Said::Own { number: *number, owner: *owner };
                self.plock_said(from, said, length, world, out);
            }
            Message::PlockDrop { number } => {
                self.plock_said(from, Said::Drop { number: *number }, length, world, out);
            }
            Message::PlockSyncLock(info) => {
                self.plock_said(from, Said::SyncLock(*info), length, world, out);
            }
            Message::PlockSyncWaiter(info) => {
                self.plock_said(from, Said::SyncWaiter(*info), length, world, out);
            }
            Message::PlocksData(data) => self.plocks_data(from, data, world, out),
            Message::PlocksDone(done) => self.plocks_done(from, done, world, out),
            Message::ReleaseRecover { .. } if !member => {
                self.tell_stranger(from, &packet.message, out);
            }
            Message::ReleaseRecover { value } => {
                self.debug(out, format!("receive_release_recover {from} value {value}"));
                if let Some(record) = self.history.get_mut(from) {
                    record.recover |= *value != 0 && !world.mutated(Mutant::RecoverAsLeave);
                }
            }
            Message::Withdraw { stopped_for } => {
                self.receive_withdraw(from, *stopped_for, world, out);
            }
            Message::RunRequest(_)
            | Message::RunReply(_)
            | Message::Other { .. }
            | Message::Protocol(_)
            | Message::FenceResult(_)
            | Message::FenceClear(_)
            | Message::FencePast(_) => {
                self.error(out, packet.message.misplaced(from));
            }
        }
    }
}

//! One lockspace: join, stop, wait, start, leave (spec/lockspace-recovery.md sections 1 to 8).
//!
//! Every configuration change of its group stops the kernel's lockspace and puts a new change in front of the pending
//! ones. Only the newest is driven: when `gate` lets it pass, our START is sent; when every member's START has come, the
//! start is decided and goes to the lane, at the same position of the message order on all nodes.

use crate::change::{Change, Sender, match_start};
use crate::effect::{Effect, KernelStart, KernelWrite, Lane, Level, Moment};
use crate::event::{Confchg, JoinReason, LeaveReason, Token};
use crate::group::{FEATURE_RELEASE_RECOVER, conf_text, reason_text};
use crate::history::History;
use crate::lane::{Finish, Queue};
use crate::merge::kick;
use crate::message::{Message, Packet, START_JOINING, START_NACK, Start};
use crate::options::LockspaceOptions;
use crate::out::Out;
use crate::slots::SlotMap;
use crate::snapshot::Wait;
use crate::types::{ChangeSeq, GlobalId, Group, Instant, LockspaceName, NodeId, RingId, Slot};
use crate::withdraw::Withdraws;
use crate::world::World;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Linux' EEXIST, the answer to a second creation of one name.
const EEXIST: i32 = 17;
/// What the creator of a lockspace gets when its group cannot be joined.
const JOIN_FAILED: i32 = -1;

/// A lockspace of this node's kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lockspace {
    pub(crate) number: u64,
    pub(crate) name: LockspaceName,
    pub(crate) global_id: GlobalId,
    options: LockspaceOptions,
    pub(crate) phase: Phase,
    /// The first start has not been decided.
    pub(crate) joining: bool,
    /// The kernel has its id, and the answer to its `online`.
    answered: bool,
    change_seq: ChangeSeq,
    started_count: u32,
    /// Pending, newest first.
    pub(crate) changes: VecDeque<Change>,
    /// The last one whose start was decided, and the oldest that was merged into it.
    pub(crate) started: Option<(Change, ChangeSeq)>,
    pub(crate) history: History,
    ring: RingId,
    ring_wait: bool,
    /// What the kernel does once the lane is empty.
    pub(crate) kernel: Kernel,
    lane: Queue<Write>,
    /// Members and their stays at the last start that the kernel has completed.
    kernel_members: BTreeMap<NodeId, u32>,
    /// Leavers whose leave counts as a failure, until the next start.
    release_recover: BTreeSet<NodeId>,
    pub(crate) slots: SlotMap,
    pub(crate) withdraws: Withdraws,
    pub(crate) wait: Option<Wait>,
    pub(crate) wait_since: Instant,
}

/// Where a lockspace is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// The kernel's side, as the lane leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Stopped,
    Running,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Write {
    Stop,
    Start(Plan),
    Release { stop: bool },
    EventDone { result: i32 },
}

/// A decided start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Plan {
    members: Vec<(NodeId, u32)>,
    incarnations: BTreeMap<NodeId, u32>,
    release_recover: BTreeSet<NodeId>,
}

impl Lockspace {
    /// The kernel has created a lockspace. A new one is born stopped.
    pub(crate) fn new(
        number: u64,
        name: LockspaceName,
        options: LockspaceOptions,
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
            wait: None,
            wait_since: now,
        }
    }

    fn group(&self) -> Group {
        Group::Lockspace(self.name.clone())
    }

    fn debug(&self, out: &mut Out<'_>, text: String) {
        out.lockspace(Level::Debug, &self.name, text);
    }

    fn error(&self, out: &mut Out<'_>, text: String) {
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
            Phase::Queued => self.release(out),
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
        if world.daemons.all_have(FEATURE_RELEASE_RECOVER) {
            self.send(Message::ReleaseRecover { value }, world, out);
        } else {
            self.error(
                out,
                String::from("RELEASE_RECOVER: not every daemon understands it, the peers will see an ordinary leave"),
            );
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

    fn release(&mut self, out: &mut Out<'_>) {
        self.debug(out, String::from("confchg for our leave"));
        // We are out of the group: a start that still waits for somebody's address is nobody's business any more.
        self.drop_waiting_start();
        self.lane.push(Write::Release { stop: self.kernel == Kernel::Running });
        self.kernel = Kernel::Stopped;
        self.phase = Phase::Releasing { again: false };
        self.changes.clear();
        self.wait = None;
    }

    /// The group's membership changed.
    pub(crate) fn confchg(&mut self, confchg: &Confchg, world: &World, out: &mut Out<'_>) {
        out.debug(format!("{} {}", self.group(), conf_text(confchg)));
        let our_node = world.setup.our_node;
        if confchg.left.iter().any(|(node, _)| *node == our_node) {
            match self.phase {
                Phase::Leaving => self.release(out),
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
        if self.phase == Phase::Member && self.joining && merges(confchg) {
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
        *self = Self::new(self.number, self.name.clone(), self.options.clone(), out.now.mono);
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
            self.history.removed(*node, *reason, ring, seq, out.now);
            self.withdraws.gone(*node);
            match reason {
                LeaveReason::NodeDown => self.ring_wait = true,
                // Its kernel may still run the lockspace while its node is in the cluster: have it removed.
                LeaveReason::ProcDown => kick(*node, out),
                LeaveReason::Leave => {}
            }
        }
        self.ring_wait |= merges(confchg);
        let we_joined = confchg.joined.iter().any(|(node, _)| *node == our_node);
        for node in &confchg.members {
            let joined = confchg.joined.iter().any(|(joined, _)| joined == node);
            if joined || we_joined {
                self.debug(out, format!("add_change cg {seq} joined nodeid {node}"));
                self.history.added(*node, seq);
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

    /// Forget a decided start that still waits for a member's address: nothing has been told to the kernel, so the next
    /// start does all that this one would have done.
    fn drop_waiting_start(&mut self) {
        for write in self.lane.cancel(|write| matches!(write, Write::Start(_))) {
            if let Write::Start(plan) = write {
                self.release_recover.extend(plan.release_recover);
                self.kernel = Kernel::Stopped;
            }
        }
    }

    pub(crate) fn stop(&mut self, out: &mut Out<'_>) {
        self.debug(out, format!("stop_kernel seq {}", self.change_seq));
        self.drop_waiting_start();
        if self.kernel == Kernel::Running {
            self.kernel = Kernel::Stopped;
            self.lane.push(Write::Stop);
        }
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

    /// Members of a start that is with the kernel, or is about to be tried again.
    pub(crate) fn starting(&self) -> impl Iterator<Item = NodeId> {
        let plan = match self.lane.current() {
            Some(Write::Start(plan)) => Some(plan),
            _ => None,
        };
        plan.into_iter().flat_map(|plan| plan.incarnations.keys().copied())
    }

    /// Our stop has returned, and nothing else is on its way to the kernel.
    pub(crate) fn kernel_is_idle(&self) -> bool {
        self.lane.is_idle()
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
        match &packet.message {
            Message::Start(start) => self.receive_start(from, start, length, world, out),
            Message::PlocksDone(done) => {
                self.debug(
                    out,
                    format!("receive_plocks_done {from}:{} ignored: plocks are off here", done.seq),
                );
            }
            Message::ReleaseRecover { value } => {
                self.debug(out, format!("receive_release_recover {from} value {value}"));
                if *value != 0 {
                    self.release_recover.insert(from);
                }
            }
            Message::Withdraw { stopped_for } => {
                self.receive_withdraw(from, *stopped_for, world, out);
            }
            Message::Other { .. } => {}
            Message::Protocol(_) | Message::FenceResult(_) | Message::FenceClear(_) => {
                self.error(
                    out,
                    format!("message from {from} does not belong in a lockspace's group"),
                );
            }
        }
    }

    fn receive_start(
        &mut self,
        from: NodeId,
        start: &Start,
        length: usize,
        world: &World,
        out: &mut Out<'_>,
    ) {
        self.debug(out, format!("receive_start {from}:{} len {length}", start.seq));
        let Some(record) = self.history.get_mut(from) else { return };
        let sender =
            Sender { node: from, incarnation: record.incarnation, last_match: record.last_match };
        let index = match_start(&self.changes, sender, start, world.setup.our_node);
        let Some(change) = index.and_then(|index| self.changes.get_mut(index)) else {
            self.debug(out, format!("match_change {from}:{} no match", start.seq));
            return;
        };
        let seq = change.seq;
        record.last_match = seq;
        let added = self
            .changes
            .iter()
            .any(|change| change.members.get(&from).is_some_and(|member| member.added));
        let merged = added && start.counts.started_count != 0 && self.started_count != 0;
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
        }
        let Some(newest) = self.changes.front() else { return };
        if newest.is_complete() {
            self.set_wait(None, out);
            self.decide_start(world, out);
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

    /// What holds the kernel up although no change is pending: a decided start that waits for members' addresses, or a
    /// peer's withdraw.
    fn wait_without_change(&self, world: &World) -> Option<Wait> {
        let plans = self.lane.outstanding().filter_map(|write| match write {
            Write::Start(plan) => Some(plan),
            Write::Stop | Write::Release { .. } | Write::EventDone { .. } => None,
        });
        let missing: BTreeSet<NodeId> =
            plans.flat_map(|plan| plan.missing_comms(world, self.ring)).collect();
        let withdrawing = self.withdraws.peers();
        if missing.is_empty() {
            (!withdrawing.is_empty()).then(|| Wait::Withdraw(withdrawing.clone()))
        } else {
            Some(Wait::Comms(missing))
        }
    }

    fn set_wait(&mut self, wait: Option<Wait>, out: &mut Out<'_>) {
        if self.wait == wait {
            return;
        }
        if let Some(wait) = &wait {
            self.debug(out, format!("wait for {wait}"));
            out.moment(Moment::Waiting { lockspace: self.name.clone(), reason: format!("{wait}") });
        }
        self.wait = wait;
        self.wait_since = out.now.mono;
    }

    /// NACK every older change that our START could be taken for, then send the START.
    fn send_start(&mut self, world: &World, out: &mut Out<'_>) {
        let joining = if self.joining { START_JOINING } else { 0 };
        let mut messages: Vec<Start> = Vec::new();
        let mut pending = self.changes.iter();
        let Some(newest) = pending.next() else { return };
        // Only those whose START was never sent: a NACK for another would void the new change (defect 12).
        for change in pending.filter(|change| !change.start_sent && change.looks_like(newest)) {
            let counts = change.counts(self.started_count);
            messages.push(Start { seq: change.seq, flags: joining | START_NACK, counts });
        }
        messages.push(Start {
            seq: newest.seq,
            flags: joining,
            counts: newest.counts(self.started_count),
        });
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
        let Some(change) = self.changes.pop_front() else { return };
        self.changes.clear();
        world.daemons.set_stateful();
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
        self.lane.push(Write::Start(Plan { members, incarnations, release_recover }));
        self.kernel = Kernel::Running;
        self.joining = false;
        self.started_count = match self.started_count.wrapping_add(1) {
            0 => 1,
            count => count,
        };
        self.history.started();
        self.started = Some((change, combined));
    }

    /// Hand out the next kernel write.
    fn pump(&mut self, world: &World, out: &mut Out<'_>) {
        let Self { lane, name, options, global_id, kernel_members, answered, ring, .. } = self;
        let ready = |write: &Write| match write {
            Write::Start(plan) => plan.missing_comms(world, *ring).next().is_none(),
            Write::Stop | Write::Release { .. } | Write::EventDone { .. } => true,
        };
        lane.pump(out.now.mono, ready, |write| {
            let write = match write {
                Write::Stop => KernelWrite::Stop,
                Write::Release { stop } => KernelWrite::Release { stop: *stop },
                Write::EventDone { result } => KernelWrite::EventDone { result: *result },
                Write::Start(plan) => KernelWrite::Start(KernelStart {
                    first: (!*answered).then_some(*global_id),
                    nodir: options.nodir,
                    members: plan.members.clone(),
                    renew: plan.renew(kernel_members),
                    release_recover: plan.release_recover.clone(),
                }),
            };
            out.kernel(Lane::Lockspace(name.clone()), write)
        });
    }

    /// The token is of a write of ours.
    pub(crate) fn owns(&self, token: Token) -> bool {
        self.lane.owns(token)
    }

    /// A kernel write of ours has ended.
    pub(crate) fn kernel_done(
        &mut self,
        token: Token,
        result: Result<(), String>,
        out: &mut Out<'_>,
    ) {
        match self.lane.finish(out.now.mono, token, result) {
            Finish::Foreign => {}
            Finish::Done(Write::Stop) => {
                out.moment(Moment::Stopped { lockspace: self.name.clone() })
            }
            Finish::Done(Write::Start(plan)) => {
                let members = plan.incarnations.keys().copied().collect();
                self.kernel_members = plan.incarnations;
                self.answered = true;
                out.moment(Moment::Started { lockspace: self.name.clone(), members });
            }
            Finish::Done(Write::Release { .. }) => {
                out.moment(Moment::Released { lockspace: self.name.clone() })
            }
            Finish::Done(Write::EventDone { .. }) => {}
            Finish::Retry(error) => {
                self.error(out, format!("kernel write failed, will be tried again: {error}"))
            }
            // Half a start stalls every other kernel's recovery, and a leave would say that nothing needs recovery.
            Finish::GaveUp(_, error) => {
                out.push(Effect::FailStop { why: format!("lockspace {}: {error}", self.name) });
            }
        }
        if let Phase::Releasing { again } = self.phase {
            if self.lane.is_idle() {
                self.phase = Phase::Gone { again };
            }
        }
    }

    /// The kernel's line about slots.
    pub(crate) fn slots_event(&mut self, slots: &[(Slot, NodeId)], out: &mut Out<'_>) {
        let members = self.kernel_members.keys().copied().collect();
        if self.kernel == Kernel::Running && self.slots.confirm(&members, slots) {
            out.moment(Moment::Slots { lockspace: self.name.clone(), slots: slots.to_vec() });
        }
    }

    /// When a paused write is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.lane.deadline()
    }
}

/// Rings have merged, and the group with them.
fn merges(confchg: &Confchg) -> bool {
    confchg.joined.iter().any(|(_, reason)| *reason == JoinReason::NodeUp)
}

impl Plan {
    /// Members without an address in the kernel, or lost by the cluster in a ring later than the group's. Such a member
    /// stays here until its removal from the group, which must come, drops the plan: the kernel must not be given it with
    /// the address of its next life, or it would take its death for a leave.
    fn missing_comms<'a>(
        &'a self,
        world: &'a World,
        ring: RingId,
    ) -> impl Iterator<Item = NodeId> + 'a {
        let ready = move |node| world.cluster.comm_ready(node, ring.seq);
        self.incarnations.keys().copied().filter(move |node| !ready(*node))
    }

    /// Members that the kernel has from its last start, but as an earlier stay: it must see them go and come.
    fn renew(&self, kernel_members: &BTreeMap<NodeId, u32>) -> BTreeSet<NodeId> {
        self.incarnations
            .iter()
            .filter(|(node, now)| kernel_members.get(node).is_some_and(|then| then != *now))
            .map(|(node, _)| *node)
            .collect()
    }
}

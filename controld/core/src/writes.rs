//! What the kernel is told of one lockspace: stop, start, release, in the order of its lane
//! (spec/lockspace-recovery.md section 8).

use crate::effect::{Effect, KernelStart, KernelWrite, Lane, Level, Moment};
use crate::event::Token;
use crate::lane::Finish;
use crate::lockspace::{Lockspace, Phase};
use crate::mutants::Mutant;
use crate::out::Out;
use crate::snapshot::Wait;
use crate::types::{Instant, NodeId, RingId, Slot};
use crate::waiting::{LaneWait, WriteKind};
use crate::world::World;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The kernel's side, as the lane leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Kernel {
    Stopped,
    Running,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Write {
    Stop,
    Start(Plan),
    Release { stop: bool },
    EventDone { result: i32 },
}

/// A decided start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) members: Vec<(NodeId, u32)>,
    pub(crate) incarnations: BTreeMap<NodeId, u32>,
    pub(crate) release_recover: BTreeSet<NodeId>,
    /// Who failed since the start before, and after which ring.
    pub(crate) failed: BTreeMap<NodeId, u64>,
}

impl Lockspace {
    /// Forget a decided start that still waits for addresses: nothing has been told to the kernel, so the next start does all
    /// that this one would have done.
    pub(crate) fn drop_waiting_start(&mut self) {
        for write in self.lane.cancel(|write| matches!(write, Write::Start(_))) {
            if let Write::Start(plan) = write {
                self.release_recover.extend(plan.release_recover);
                self.history.not_started(&plan.failed);
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

    /// A start with this member is with the kernel, or is about to be tried again.
    pub(crate) fn is_starting_with(&self, node: NodeId) -> bool {
        match self.lane.current() {
            Some(Write::Start(plan)) => plan.incarnations.contains_key(&node),
            _ => false,
        }
    }

    /// Our stop has returned, and nothing else is on its way to the kernel.
    pub(crate) fn kernel_is_idle(&self) -> bool {
        self.lane.is_idle()
    }

    /// What holds the kernel up although no change is pending: a decided start that waits for addresses, or a peer's withdraw.
    pub(crate) fn wait_without_change(&self, world: &World) -> Option<Wait> {
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

    /// Hand out the next kernel write.
    pub(crate) fn pump(&mut self, world: &World, out: &mut Out<'_>) {
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
                    renew: if world.mutated(Mutant::ForgetRenew) {
                        BTreeSet::new()
                    } else {
                        plan.renew(kernel_members)
                    },
                    release_recover: plan.release_recover.clone(),
                }),
            };
            out.kernel(Lane::Lockspace(name.clone()), write)
        });
    }

    /// The first write that is on its way to the kernel.
    pub(crate) fn lane_wait(&self) -> Option<LaneWait> {
        self.lane.wait(|write| match write {
            Write::Stop => WriteKind::Stop,
            Write::Start(_) => WriteKind::Start,
            Write::Release { .. } => WriteKind::Release,
            Write::EventDone { .. } => WriteKind::EventDone,
        })
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
        let mistaken = self.slots.is_mistaken(slots);
        if self.kernel == Kernel::Running && self.slots.confirm(&members, slots) {
            if mistaken {
                let text = String::from("slots of the kernel are not as predicted");
                out.lockspace(Level::Info, &self.name, text);
            }
            out.moment(Moment::Slots { lockspace: self.name.clone(), slots: slots.to_vec() });
        }
    }

    /// When a paused write is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.lane.deadline().into_iter().chain(self.plocks.deadline()).min()
    }
}

impl Plan {
    /// Whose addresses in the kernel are not as they have to be.
    ///
    /// Members without one, or lost by the cluster in a ring later than the group's. Such a member stays here until its removal
    /// from the group, which must come, drops the plan: the kernel must not be given it with the address of its next life, or it
    /// would take its death for a leave. And failed members whose entry is neither gone nor renewed: the kernel would not replay
    /// their journals.
    fn missing_comms<'a>(
        &'a self,
        world: &'a World,
        ring: RingId,
    ) -> impl Iterator<Item = NodeId> + 'a {
        let skip = world.mutated(Mutant::SkipCommsGate);
        let ready = move |node| world.cluster.comm_ready(node, ring.seq);
        let members = self.incarnations.keys().copied().filter(move |node| !ready(*node));
        let lingers = move |node: &NodeId| !skip && !world.cluster.comm_settled(*node);
        members.chain(self.failed.keys().copied().filter(lingers))
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

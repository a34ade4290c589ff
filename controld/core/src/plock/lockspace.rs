//! Where a lockspace's life meets its POSIX locks.

use crate::change::Change;
use crate::event::Confchg;
use crate::group::Membership;
use crate::lockspace::{Lockspace, Phase};
use crate::message::{PlocksDone, START_HAVEPLOCK};
use crate::mutants::Mutant;
use crate::negotiation::FEATURE_PLOCKS_BATCH;
use crate::out::Out;
use crate::plock::voice::Voice;
use crate::plock::{
    Barrier, EEXIST, PlockInfo, Plocks, PlocksData, Said, Service, agreed, before_start,
};
use crate::snapshot::Wait;
use crate::types::NodeId;
use crate::world::World;
use alloc::vec::Vec;

impl Lockspace {
    fn with_plocks(
        &mut self,
        world: &World,
        out: &mut Out<'_>,
        act: impl FnOnce(&mut Plocks, &Voice<'_>, &mut Out<'_>),
    ) {
        let voice = Voice {
            lockspace: &self.name,
            global_id: self.global_id,
            us: world.setup.our_node,
            version: world.daemons.run_version(),
            unused_millis: world.setup.dynamic.drop_resources_age_millis,
        };
        act(&mut self.plocks, &voice, out);
    }

    /// A request of our kernel.
    pub(crate) fn plock_request(&mut self, info: PlockInfo, world: &World, out: &mut Out<'_>) {
        let here = match self.phase {
            Phase::Queued | Phase::Joining | Phase::Member | Phase::Rejoining => true,
            Phase::Leaving | Phase::Releasing { .. } | Phase::Gone { .. } => false,
        };
        if !here {
            self.plocks.refuse(info, EEXIST, out);
        } else {
            self.with_plocks(world, out, |plocks, voice, out| plocks.request(info, voice, out));
        }
    }

    /// A message about locks.
    pub(crate) fn plock_said(
        &mut self,
        from: NodeId,
        said: Said,
        length: usize,
        world: &World,
        out: &mut Out<'_>,
    ) {
        if !self.plocks.is_synchronised() && world.mutated(Mutant::ForgetSaidMeanwhile) {
            return;
        }
        self.with_plocks(world, out, |plocks, voice, out| {
            plocks.message(from, said, length, voice, out);
        });
    }

    /// A part of a transfer.
    pub(crate) fn plocks_data(
        &mut self,
        from: NodeId,
        data: &PlocksData,
        world: &World,
        out: &mut Out<'_>,
    ) {
        let lose = world.mutated(Mutant::LoseATransferredLock);
        if lose || world.mutated(Mutant::KeepAbortedTransfer) {
            let mut changed = data.clone();
            for part in &mut changed.parts {
                if lose {
                    part.entries = part.entries.iter().skip(1).copied().collect();
                } else {
                    part.continues = self.plocks.resources.contains(part.number);
                }
            }
            self.with_plocks(world, out, |plocks, voice, out| {
                plocks.data(from, &changed, voice, out);
            });
            return;
        }
        self.with_plocks(world, out, |plocks, voice, out| plocks.data(from, data, voice, out));
    }

    /// The end of a transfer.
    pub(crate) fn plocks_done(
        &mut self,
        from: NodeId,
        done: &PlocksDone,
        world: &World,
        out: &mut Out<'_>,
    ) {
        let started = self.started.take();
        let change = started.as_ref().map(|(change, _)| change);
        self.with_plocks(world, out, |plocks, voice, out| {
            plocks.done(from, done, change, voice, out);
        });
        self.started = started;
    }

    /// Members are gone.
    pub(crate) fn plock_members_gone(
        &mut self,
        confchg: &Confchg,
        world: &World,
        out: &mut Out<'_>,
    ) {
        let failed = confchg.left.iter().any(|(_, reason)| reason.is_failure())
            && !world.mutated(Mutant::ResultsAtOnce);
        let mut gone: Vec<NodeId> = confchg.left.iter().map(|(node, _)| *node).collect();
        if world.mutated(Mutant::KeepLocksOfTheDead) {
            gone.clear();
        } else if world.mutated(Mutant::PurgeAnother) && !gone.is_empty() {
            gone = confchg.members.iter().copied().take(1).collect();
        }
        self.with_plocks(world, out, |plocks, voice, out| {
            if failed {
                plocks.hold_results();
            }
            plocks.members_gone(&gone, voice, out);
        });
    }

    /// The barrier of `change` is complete; `joined`: somebody joined since the last one.
    pub(crate) fn plock_barrier(
        &mut self,
        change: &Change,
        joined: bool,
        world: &World,
        out: &mut Out<'_>,
    ) {
        let ours = change.order.iter().copied().filter(|node| {
            let daemon = world.daemons.nodes.get(node);
            daemon.is_some_and(|daemon| {
                matches!(daemon.membership, Membership::Clean { features: Some(_), .. })
            })
        });
        let barrier = Barrier {
            change,
            started_count: self.started_count,
            joined,
            ours: ours.collect(),
            batches: world.daemons.all_have(FEATURE_PLOCKS_BATCH),
            agreed: agreed(change.members.values().map(|member| member.word)),
            mutation: world.daemons.mutation,
        };
        self.with_plocks(world, out, |plocks, voice, out| plocks.barrier(&barrier, voice, out));
    }

    /// The bits of our START.
    pub(crate) fn plock_flags(&self) -> u32 {
        let have = if self.plocks.is_synchronised() { START_HAVEPLOCK } else { 0 };
        have | self.plocks.word().flags()
    }

    /// Nothing owned may meet a barrier that ends ownership. Last before our START, for what is done here holds until then.
    pub(crate) fn plock_gate(&mut self, world: &World, out: &mut Out<'_>) -> Option<Wait> {
        if self.plocks.service() != Service::Owned {
            return None;
        }
        let started = self.started.as_ref().map(|(change, _)| change);
        let before = before_start(&self.changes, started);
        let mut wait = None;
        self.with_plocks(world, out, |plocks, voice, out| {
            wait = plocks.prepare(before, voice, out);
        });
        wait
    }

    /// Our START waits for the last word about files of ours, which has been said.
    pub(crate) fn has_handed_over(&self) -> bool {
        self.wait == Some(Wait::Handover) && !self.plocks.is_handing_over()
    }

    /// Give up what nobody uses, if it is time for that.
    pub(crate) fn plock_drop_unused(&mut self, world: &World, out: &mut Out<'_>) {
        self.with_plocks(world, out, |plocks, voice, out| {
            plocks.drop_unused(&world.setup.dynamic, voice, out);
        });
    }
}

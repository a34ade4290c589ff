//! Where a lockspace's life meets its POSIX locks.

use crate::change::Change;
use crate::event::Confchg;
use crate::group::Membership;
use crate::lockspace::{Lockspace, Phase};
use crate::message::{PlocksDone, START_HAVEPLOCK};
use crate::negotiation::FEATURE_CANCEL;
use crate::options::Setup;
use crate::out::Out;
use crate::plock::voice::Voice;
use crate::plock::{Barrier, EEXIST, EINVAL, Op, PlockInfo, Plocks, PlocksData, Said, Service};
use crate::types::NodeId;
use crate::world::World;
use alloc::vec::Vec;

impl Service {
    /// As the options say.
    pub(crate) fn of(setup: &Setup) -> Self {
        if !setup.fixed.plock.is_on() {
            return Self::Off;
        }
        match setup.fixed.plock_ownership {
            Some(switch) if switch.is_on() => Self::Owned,
            _ => Self::Replicated,
        }
    }
}

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
        } else if info.op == Op::Cancel && !world.daemons.all_have(FEATURE_CANCEL) {
            // A C daemon would keep the waiter, and grant it later.
            self.plocks.refuse(info, EINVAL, out);
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
        let failed = confchg.left.iter().any(|(_, reason)| reason.is_failure());
        let gone: Vec<NodeId> = confchg.left.iter().map(|(node, _)| *node).collect();
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
        let barrier =
            Barrier { change, started_count: self.started_count, joined, ours: ours.collect() };
        self.with_plocks(world, out, |plocks, voice, out| plocks.barrier(&barrier, voice, out));
    }

    /// The bit of our START.
    pub(crate) fn plock_flag(&self) -> u32 {
        if self.plocks.is_synchronised() { START_HAVEPLOCK } else { 0 }
    }

    /// Give up what nobody uses, if it is time for that.
    pub(crate) fn plock_drop_unused(&mut self, world: &World, out: &mut Out<'_>) {
        self.with_plocks(world, out, |plocks, voice, out| {
            plocks.drop_unused(&world.setup.dynamic, voice, out);
        });
    }
}

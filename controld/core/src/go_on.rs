//! Who goes on after an event: fencing, the lockspaces that it concerns, the kernel's entries of nodes, run commands.
//!
//! With a thousand lockspaces most events concern one: nothing here walks over all of them for such an event.

use crate::core::{Core, Stray};
use crate::effect::Effect;
use crate::event::Token;
use crate::lockspace::{Lockspace, Phase};
use crate::mutants::Mutant;
use crate::out::Out;
use crate::types::LockspaceName;
use crate::waiting::WriteKind;
use crate::world::World;
use alloc::vec::Vec;

/// Whom an event may let go on.
pub(crate) enum Touched {
    /// Everybody.
    All,
    /// One lockspace.
    One(LockspaceName),
    /// Nobody.
    Nobody,
}

impl Core {
    /// Let one lockspace go on.
    fn advance(&mut self, name: &LockspaceName, out: &mut Out<'_>) {
        let busy = |(other, lockspace): (&LockspaceName, &Lockspace)| {
            other != name && lockspace.lane.running().is_some()
        };
        if self.world.mutated(Mutant::OneLane) && self.lockspaces.iter().any(busy) {
            return;
        }
        let Some(lockspace) = self.lockspaces.get_mut(name) else { return };
        lockspace.advance(&mut self.world, out);
        let answer = lockspace.settle_withdraws(&self.world, out);
        if let Some(token) = lockspace.lane.running() {
            self.writing.entry(token).or_insert_with(|| name.clone());
        }
        lockspace.note(out.now.mono, &mut self.deadlines);
        if let Some(token) = answer {
            self.note_stray(token, name, WriteKind::AckWithdraw, out);
        }
    }

    /// Everything that the event may have made possible.
    pub(crate) fn go_on(&mut self, touched: &Touched, out: &mut Out<'_>) {
        let World { setup, cluster, daemons } = &mut self.world;
        daemons.fence_work(cluster, setup, out);
        self.each(touched, Self::advance, out);
        // A lockspace may have asked for the fencing of a node.
        let World { setup, cluster, daemons } = &mut self.world;
        daemons.fence_work(cluster, setup, out);
        if cluster.has_work() {
            let lockspaces = &self.lockspaces;
            let busy = |node| lockspaces.values().any(|lockspace| lockspace.is_starting_with(node));
            cluster.pump(busy, out);
        }
        self.runs.go_on(&self.world, out);
        self.each(touched, Self::forget_if_gone, out);
    }

    /// What is to be done for each lockspace that is concerned.
    fn each(
        &mut self,
        touched: &Touched,
        act: fn(&mut Self, &LockspaceName, &mut Out<'_>),
        out: &mut Out<'_>,
    ) {
        match touched {
            Touched::All => {
                let names: Vec<LockspaceName> = self.lockspaces.keys().cloned().collect();
                for name in names {
                    act(self, &name, out);
                }
            }
            Touched::One(name) => act(self, name, out),
            Touched::Nobody => {}
        }
    }

    fn forget_if_gone(&mut self, name: &LockspaceName, out: &mut Out<'_>) {
        let phase = self.lockspaces.get(name).map(|lockspace| lockspace.phase);
        let Some(Phase::Gone { again }) = phase else { return };
        if let Some(lockspace) = self.lockspaces.remove(name) {
            self.ids.remove(&lockspace.global_id);
            lockspace.forget_deadline(&mut self.deadlines);
        }
        out.push(Effect::Retire(name.clone()));
        if again {
            self.create(name.clone(), out);
        }
    }

    pub(crate) fn note_stray(
        &mut self,
        token: Token,
        name: &LockspaceName,
        write: WriteKind,
        out: &Out<'_>,
    ) {
        self.strays.insert(token, Stray { name: name.clone(), write, since: out.now.mono });
    }
}

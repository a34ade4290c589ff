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

/// So many lockspaces, and nodes, of a core that is copied after each event; what many cost is measured, in such builds too.
#[cfg(debug_assertions)]
const SMALL: usize = 5;

/// Whom an event may let go on.
pub(crate) enum Touched {
    /// Everybody.
    All,
    /// One lockspace. It changes nothing for the daemon group, unless it asks for the fencing of a node.
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
        let all = matches!(touched, Touched::All);
        if all {
            self.fence_work(out);
        }
        self.each(touched, Self::advance, out);
        // A lockspace may have asked for it, and the first pass may have found more to do.
        let fencing = all || out.is_fencing_asked();
        if fencing {
            self.fence_work(out);
        }
        let cluster = &mut self.world.cluster;
        let at_nodes = cluster.has_work();
        if at_nodes {
            let lockspaces = &self.lockspaces;
            let busy = |node| lockspaces.values().any(|lockspace| lockspace.is_starting_with(node));
            cluster.pump(busy, out);
        }
        if all {
            self.runs.go_on(&self.world, out);
        }
        self.each(touched, Self::forget_if_gone, out);
        if fencing || at_nodes {
            self.note_waits();
            self.note_due();
        } else {
            #[cfg(debug_assertions)]
            self.check_nothing_is_left(out);
        }
    }

    /// Where less was looked at than there is, a look at all of it finds nothing to do, but for what the time has made due
    /// meanwhile: that has an event of its own.
    #[cfg(debug_assertions)]
    fn check_nothing_is_left(&self, out: &Out<'_>) {
        let large = self.lockspaces.len() > SMALL || self.world.daemons.nodes.len() > SMALL;
        if large || self.next_deadline().is_some_and(|due| due <= out.now.mono) {
            return;
        }
        let (mut whole, mut effects, mut tokens) = (self.clone(), Vec::new(), 0);
        let mut unused = Out::new(out.now, &mut effects, &mut tokens);
        whole.fence_work(&mut unused);
        whole.runs.go_on(&whole.world, &mut unused);
        whole.note_waits();
        whole.note_due();
        assert!(effects.is_empty(), "left out: {effects:?}");
        assert!(
            whole == *self,
            "the daemon group has something to do after the event of a lockspace"
        );
    }

    fn fence_work(&mut self, out: &mut Out<'_>) {
        let World { setup, cluster, daemons } = &mut self.world;
        daemons.fence_work(cluster, setup, out);
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

//! How the use of a lockspace ends on a node that lives on: its user leaves, or its gfs2 withdraws
//! (spec/gfs-control.md section 4).
//!
//! Before 6.18 the peers' kernels replay the journal of a gfs2 that withdraws before it asks its daemon, and its release is
//! one as any other. From 6.18 on the release asks the peers to recover it (RELEASE_RECOVER). Either way it writes nothing
//! once it is answered, and nobody may be granted a lock between the answer and its leave.

use super::World;
use super::agenda::Action;
use super::{lockspace, node};
use crate::kernel::{Lockspace, Run};
use dlm_core::effect::KernelStart;
use dlm_core::event::Event;
use dlm_core::types::{LockspaceName, NodeId};
use std::collections::BTreeMap;

/// What the release of a lockspace leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Nothing.
    Clean,
    /// What the peers have to recover: the kernel says so, by RELEASE_RECOVER.
    Recover,
}

/// A gfs2 that withdraws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Withdrawal {
    ending: Ending,
    /// Its daemon has let it go on.
    pub(super) answered: bool,
}

impl World {
    /// The user leaves (unmounts), as soon as its creation is complete.
    pub fn leave(&mut self, number: u32, name: &str) {
        self.leave_behind(number, name, Ending::Clean);
    }

    /// The user leaves, and leaves this behind.
    pub fn leave_behind(&mut self, number: u32, name: &str, ending: Ending) {
        self.tell(|| format!("USER {number} leaves {name}: {ending:?}"));
        let wish = (node(number), lockspace(name));
        self.wants.remove(&wish);
        self.leaving.insert(wish, ending);
        self.agenda.add(self.now, Action::Release(node(number), lockspace(name)));
    }

    pub(super) fn try_release(&mut self, id: NodeId, name: &LockspaceName) {
        let wish = (id, name.clone());
        let (Some(epoch), Some(life)) = (self.epoch(id), self.life_of(id, name)) else { return };
        let Some(ending) = self.leaving.get(&wish).copied() else { return };
        // What withdraws is released by the answer to that.
        if self.disk.withdrawn.get(&life).is_some_and(|withdrawal| !withdrawal.answered) {
            return;
        }
        if self.nodes.get_mut(&id).is_some_and(|host| host.kernel.release(name)) {
            self.leaving.remove(&wish);
            self.processes_gone(id, Some(name));
            let release_recover = match ending {
                Ending::Clean => 0,
                Ending::Recover => 1,
            };
            if ending == Ending::Recover {
                self.disk.unclean.insert(life);
            }
            self.uevent(id, epoch, Event::Offline { lockspace: name.clone(), release_recover });
        }
    }

    /// The gfs2 of a node withdraws, with a kernel whose release leaves this behind. Nothing happens where none is mounted.
    pub fn withdraw(&mut self, number: u32, name: &str, ending: Ending) {
        let (id, name) = (node(number), lockspace(name));
        let host = self.nodes.get(&id).filter(|host| host.daemon.is_some());
        let Some(space) = host.and_then(|host| host.kernel.lockspace(&name)) else { return };
        let Some(epoch) = self.epoch(id).filter(|_| is_mounted(space)) else { return };
        let life = space.instance;
        let replayed = match ending {
            Ending::Clean => self.peers_replay(id, &name, space),
            Ending::Recover => Some(false),
        };
        let Some(replayed) = replayed.filter(|_| !self.disk.withdrawn.contains_key(&life)) else {
            return;
        };
        self.tell(|| format!("GFS2 of {number} withdraws from {name}: {ending:?}"));
        if replayed {
            self.disk.dirty.remove(&life);
        }
        let wish = (id, name.clone());
        self.wants.remove(&wish);
        self.leaving.remove(&wish);
        self.disk.withdrawn.insert(life, Withdrawal { ending, answered: false });
        let table = format!("cluster:{name}");
        self.uevent(id, epoch, Event::Withdraw { table, lockspace: name });
    }

    /// Whether somebody replays the journal of this node before its kernel asks. Where nobody else is mounted, nobody does before
    /// the next first mount, and no daemon is told. `None`: it cannot be replayed while the lockspace is being recovered, and the
    /// withdraw gets no further.
    fn peers_replay(&self, id: NodeId, name: &LockspaceName, ours: &Lockspace) -> Option<bool> {
        let mut peers = ours.members.keys().filter(|member| **member != id).peekable();
        let any = peers.peek().is_some();
        let goes_on = |peer: &NodeId| {
            let host = self.nodes.get(peer).filter(|host| host.powered);
            let theirs = host.and_then(|host| host.kernel.lockspace(name));
            let knows_us = |l: &Lockspace| l.members.get(&id).map(|m| m.instance);
            theirs.is_some_and(|l| l.is_settled() && knows_us(l) == Some(ours.instance))
                && self.bus.connected(id, *peer)
        };
        (ours.is_settled() && peers.all(goes_on)).then_some(any)
    }

    /// A daemon is about to answer its kernel's withdraw: where all daemons are ours, every peer has stopped.
    pub(super) fn check_withdraw_answer(&mut self, id: NodeId, name: &LockspaceName) {
        let Some(life) = self.life_of(id, name).filter(|_| self.foreign.is_empty()) else { return };
        let goes_on = |peer: &NodeId| {
            let space = self.nodes.get(peer).and_then(|host| host.kernel.lockspace(name));
            let running = space.filter(|l| l.run != Run::Stopped && !l.releasing);
            running.is_some_and(|l| l.members.get(&id).is_some_and(|m| m.instance == life))
                && !self.has_left(*peer, name)
        };
        let mut peers = self.nodes.keys().filter(|peer| **peer != id);
        let running = peers.find(|peer| self.are_together(id, **peer, name) && goes_on(peer));
        if let Some(peer) = running {
            let what = format!("withdraw of {id} from {name} is answered, and {peer} goes on");
            self.broken(what);
        }
    }

    /// A daemon has its kernel start: not with one that has withdrawn.
    pub(super) fn check_none_withdrawn(
        &mut self,
        id: NodeId,
        name: &LockspaceName,
        start: &KernelStart,
        lives: &BTreeMap<NodeId, u64>,
    ) {
        let gone = |life: &u64| self.disk.withdrawn.get(life).is_some_and(|w| w.answered);
        let others = start.members.iter().map(|(node, _)| *node).filter(|node| *node != id);
        let mut withdrawn = others.filter(|node| lives.get(node).is_some_and(gone));
        let known = withdrawn.find(|node| self.are_together(id, *node, name));
        if let Some(node) = known.filter(|_| self.foreign.is_empty()) {
            self.broken(format!("{id} starts {name} with {node}, whose gfs2 has withdrawn"));
        }
    }

    /// Both have daemons that can hear each other, and neither has seen the other fail in this lockspace.
    fn are_together(&self, id: NodeId, other: NodeId, name: &LockspaceName) -> bool {
        let knows = |one: NodeId, two: NodeId| {
            let view = self.daemon(one).and_then(|daemon| daemon.view(&Self::group(name)));
            view.is_some_and(|v| v.members.contains(&two) && !v.failed_in.contains_key(&two))
        };
        self.bus.connected(id, other) && knows(id, other) && knows(other, id)
    }

    /// The kernel of this node has its answer: its gfs2 lets go of the lockspace.
    pub(super) fn withdraw_answered(&mut self, id: NodeId, name: &LockspaceName) {
        let withdrawal = self.life_of(id, name).and_then(|l| self.disk.withdrawn.get_mut(&l));
        let Some(withdrawal) = withdrawal else { return };
        withdrawal.answered = true;
        let ending = withdrawal.ending;
        self.leaving.insert((id, name.clone()), ending);
        self.try_release(id, name);
    }
}

/// Its creator has it, and its releaser does not wait.
fn is_mounted(space: &Lockspace) -> bool {
    space.created && !space.creating && !space.releasing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{lockspace, node, running};

    fn members(world: &World, number: u32) -> Vec<NodeId> {
        let space = world.nodes[&node(number)].kernel.lockspace(&lockspace("ls"));
        space.map(|space| space.members.keys().copied().collect()).unwrap_or_default()
    }

    #[test]
    fn a_gfs2_that_withdraws_leaves_and_the_others_go_on() {
        for ending in [Ending::Clean, Ending::Recover] {
            let (mut world, _) = running();
            world.withdraw(3, "ls", ending);
            assert!(world.settle(), "{:?}", world.violations());
            assert_eq!(members(&world, 1), [node(1), node(2)]);
            assert_eq!(members(&world, 3), []);
            assert!(world.complaints().is_empty(), "{:?}", world.complaints());
            let recovered = world.story().contains("RecoverSlot { node: NodeId(3)");
            assert_eq!(recovered, ending == Ending::Recover);
        }
    }

    #[test]
    fn what_a_user_leaves_behind_is_recovered() {
        let (mut world, _) = running();
        world.leave_behind(2, "ls", Ending::Recover);
        assert!(world.settle(), "{:?}", world.violations());
        assert!(world.story().contains("RecoverSlot { node: NodeId(2)"));
    }

    #[test]
    fn an_answer_beside_one_that_goes_on_is_found() {
        let (mut world, name) = running();
        world.check_withdraw_answer(node(3), &name);
        let found = world.violations()[0].clone();
        assert_eq!(found, "withdraw of 3 from ls is answered, and 1 goes on");
    }

    #[test]
    fn a_start_with_one_that_has_withdrawn_is_found() {
        let (mut world, name) = running();
        let life = world.life_of(node(3), &name).unwrap();
        let answered = Withdrawal { ending: Ending::Clean, answered: true };
        world.disk.withdrawn.insert(life, answered);
        let start = KernelStart {
            first: None,
            nodir: false,
            members: vec![(node(1), 1), (node(3), 1)],
            renew: std::collections::BTreeSet::new(),
            release_recover: std::collections::BTreeSet::new(),
        };
        let lives = BTreeMap::from([(node(3), life)]);
        world.check_none_withdrawn(node(1), &name, &start, &lives);
        assert!(world.violations()[0].contains("whose gfs2 has withdrawn"));
    }
}

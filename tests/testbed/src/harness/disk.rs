//! The shared disk as far as a file system such as gfs2 relies on recovery.
//!
//! Each life of a lockspace that goes on may write any block, and has a journal. The journal is clean when its node has
//! left in order, and when it has been replayed: by those whose kernel called `recover_slot`, or by the first ones that mount.
//! One that withdraws and one that asks for it leave their journal to the peers. Nobody goes on while the journal of one that is gone is not replayed, so that no replay comes after a survivor's writes;
//! nobody replays that of a node which may still write; no two go on that do not know each other.

use super::World;
use super::node::Fate;
use super::release::Withdrawal;
use crate::kernel::{Lockspace, Removed, Run};
use dlm_core::types::{LockspaceName, NodeId, Slot};
use std::collections::{BTreeMap, BTreeSet};

/// All journals.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Disk {
    /// Lives with a journal that may have something in it.
    pub(super) dirty: BTreeMap<u64, LockspaceName>,
    /// Lives that withdraw, or have.
    pub(super) withdrawn: BTreeMap<u64, Withdrawal>,
    /// Lives whose journal is left to the peers when they leave.
    pub(super) unclean: BTreeSet<u64>,
    /// The recovery with which each life went on first.
    begun: BTreeMap<u64, u64>,
    /// Lives that have gone on beside one that was said to be fenced, or that a C daemon did not wait for: it does not know
    /// them, and will replay nothing of theirs. And those that a C daemon has kept from being replayed.
    pub(super) estranged: BTreeSet<u64>,
    /// The lives that have gone on with each one as a member: one of them has to replay its journal. Kept where there are C daemons.
    known_by: BTreeMap<u64, BTreeSet<u64>>,
}

impl World {
    /// The kernel of `id` has called `recover_slot` for a member.
    pub(super) fn replay_slot(&mut self, id: NodeId, name: &LockspaceName, gone: &Removed) {
        if self.is_idle(id, name) {
            return;
        }
        let other = self.nodes.iter().filter(|(user, host)| host.powered && **user != gone.node);
        let mut used = other.filter_map(|(user, host)| {
            let lockspace = host.kernel.lockspace(name)?;
            let life = lockspace.instance;
            let begun =
                self.disk.begun.contains_key(&life) && lockspace.slot.map(Slot::jid) == gone.jid;
            let open = self.instances.get(&life)?.fate == Fate::Open;
            (begun && open).then_some((*user, life))
        });
        if let (Some((user, life)), Some(jid)) = (used.next_back(), gone.jid) {
            let what = format!(
                "promise 4: {id} replays journal {jid} of {name} for {}, and it is that of {user}",
                gone.node
            );
            let ours = self.life_of(id, name).unwrap_or(life);
            self.blame(id, name, &[life, gone.instance, ours], what);
        }
        self.replay(id, name, gone.instance);
    }

    /// The file system of `id` has been unmounted, or withdraws: it neither replays nor goes on (DFL_UNMOUNT and gfs2_withdrawing in
    /// fs/gfs2/lock_dlm.c).
    fn is_idle(&self, id: NodeId, name: &LockspaceName) -> bool {
        let space = self.nodes.get(&id).and_then(|host| host.kernel.lockspace(name));
        space.is_some_and(|l| l.releasing || self.disk.withdrawn.contains_key(&l.instance))
    }

    fn replay(&mut self, id: NodeId, name: &LockspaceName, life: u64) {
        let ours = self.life_of(id, name).unwrap_or(life);
        let Some(instance) = self.instances.get(&life) else { return };
        let (node, boot, open) = (instance.node, instance.boot, instance.fate == Fate::Open);
        let powered = self.nodes.get(&node).is_some_and(|host| host.powered && host.boot == boot);
        if open && powered && self.disk.dirty.contains_key(&life) && self.fixed.fencing.is_on() {
            let what = format!(
                "promise 8: {id} replays the journal of {node} in {name}, which may still write"
            );
            self.blame(id, name, &[life, ours], what);
        }
        self.disk.dirty.remove(&life);
    }

    /// The file system of `id` goes on.
    pub(super) fn unblocked(&mut self, id: NodeId, name: &LockspaceName, recovery: u64) {
        let lockspace = self.nodes.get(&id).and_then(|host| host.kernel.lockspace(name));
        let Some(lockspace) = lockspace.filter(|_| !self.is_idle(id, name)) else { return };
        let ours = lockspace.instance;
        let members: Vec<u64> =
            lockspace.members.values().map(|member| member.instance).chain([ours]).collect();
        // Whoever mounts waits for those that have mounted, and finds itself the first where these are unmounting (control_mount in
        // fs/gfs2/lock_dlm.c).
        let has_left = |life: u64| self.instances.get(&life).is_some_and(|l| l.fate.is_left());
        let mounted = lockspace.members.iter().filter(|(node, _)| !self.is_idle(**node, name));
        // One that has left may have mounted again since.
        let mounted = mounted.map(|(_, member)| member.instance).filter(|life| !has_left(*life));
        let mounted: Vec<u64> = mounted.collect();
        let strangers: Vec<(NodeId, u64)> = self
            .users(name)
            .filter(|(_, other)| !members.contains(&other.instance))
            .map(|(user, other)| (user, other.instance))
            .collect();
        let nodes = lockspace.members.keys().copied().chain([id]).collect();
        let beside = self.running_outside(name, &nodes);
        let of_c = self.foreign.contains(&id) && !beside.is_empty();
        if of_c || beside.iter().any(|(_, life)| self.is_lied_about(*life)) {
            self.disk.estranged.insert(ours);
        }
        for (user, life) in strangers {
            let what =
                format!("promise 1: {id} goes on in {name} beside {user}: both own its blocks");
            self.blame(id, name, &[life, ours], what);
        }
        let first = |life: &u64| self.disk.begun.get(life).is_none_or(|then| *then == recovery);
        let first_mount = mounted.iter().chain([&ours]).all(first);
        let dirty = self.disk.dirty.iter().filter(|(_, of)| *of == name).map(|(life, _)| *life);
        let others: Vec<u64> = dirty.filter(|life| !members.contains(life)).collect();
        for life in others {
            let Some(instance) = self.instances.get(&life) else { continue };
            let (node, fate) = (instance.node, instance.fate);
            if fate == Fate::Clean {
                self.disk.dirty.remove(&life);
            } else if first_mount {
                self.replay(id, name, life);
            } else {
                let what = format!(
                    "promise 8: {id} goes on in {name}, and the journal of {node} is not replayed"
                );
                if self.is_kept_by_c(name, life) || self.is_owed_by_c(name, life) {
                    self.disk.estranged.insert(life);
                }
                if self.disk.estranged.contains(&life) {
                    self.harmed(what);
                } else {
                    self.blame(id, name, &[life, ours], what);
                }
            }
        }
        for member in members.iter().filter(|_| !self.foreign.is_empty()) {
            self.disk.known_by.entry(*member).or_default().insert(ours);
        }
        self.disk.dirty.insert(ours, name.clone());
        self.disk.begun.entry(ours).or_insert(recovery);
    }

    /// Nodes whose file system goes on and may write. Who left in order has nothing to write any more, however long its
    /// kernel takes to hear of it.
    fn users(&self, name: &LockspaceName) -> impl Iterator<Item = (NodeId, &Lockspace)> {
        self.nodes.iter().filter(|(_, host)| host.powered).filter_map(move |(id, host)| {
            let lockspace = host.kernel.lockspace(name)?;
            let open = self.instances.get(&lockspace.instance)?.fate == Fate::Open;
            let answered = self.disk.withdrawn.get(&lockspace.instance).is_some_and(|w| w.answered);
            let writes = lockspace.run == Run::Running && !lockspace.recovering && open;
            (writes && !lockspace.releasing && !answered).then_some((*id, lockspace))
        })
    }

    /// A C daemon has not told its kernel that this life is over (it takes writes that fail for done): the kernel that had to
    /// have its journal replayed goes on with the dead as a member.
    fn is_kept_by_c(&self, name: &LockspaceName, life: u64) -> bool {
        self.foreign.iter().filter_map(|id| self.nodes.get(id)).any(|host| {
            let lockspace = host.kernel.lockspace(name);
            lockspace.is_some_and(|l| l.members.values().any(|member| member.instance == life))
        })
    }

    /// Of those who went on with this life as a member, C daemons alone are left: their kernels had to replay its journal.
    fn is_owed_by_c(&self, name: &LockspaceName, life: u64) -> bool {
        let Some(known_by) = self.disk.known_by.get(&life) else { return false };
        let left = self.nodes.iter().filter(|(_, host)| {
            let lockspace = host.kernel.lockspace(name).filter(|_| host.powered);
            lockspace.is_some_and(|l| l.instance != life && known_by.contains(&l.instance))
        });
        let mut left = left.map(|(id, _)| self.foreign.contains(id)).peekable();
        left.peek().is_some() && left.all(|foreign| foreign)
    }

    /// Something that `id` does is not as promised, and these lives are why: the daemons' fault, unless the lockspace is divided.
    fn blame(&mut self, id: NodeId, name: &LockspaceName, lives: &[u64], what: String) {
        if lives.iter().any(|life| self.is_lied_about(*life)) {
            self.harmed(what);
        } else if self.fixed.fencing.is_on() && !self.divided.contains(name) {
            self.broken_by(id, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{node, running};

    /// The kernel of node 1 goes on without node 3.
    fn go_on_without_3(world: &mut World, name: &LockspaceName) {
        let kernel = &mut world.nodes.get_mut(&node(1)).unwrap().kernel;
        kernel.lockspace_mut(name).unwrap().members.remove(&node(3));
        world.unblocked(node(1), name, 1000);
    }

    #[test]
    fn two_that_do_not_know_each_other_are_found() {
        let (mut world, name) = running();
        go_on_without_3(&mut world, &name);
        assert!(
            world.violations()[0].contains("1 goes on in ls beside 3"),
            "{:?}",
            world.violations()
        );
    }

    #[test]
    fn a_journal_that_nobody_replays_is_found() {
        let (mut world, name) = running();
        world.crash(3);
        go_on_without_3(&mut world, &name);
        assert!(world.violations()[0].contains("journal of 3 is not"), "{:?}", world.violations());
    }

    #[test]
    fn the_journal_of_one_that_went_on_beside_a_lie_is_harm() {
        let (mut world, name) = running();
        world.said_fenced(node(3));
        go_on_without_3(&mut world, &name);
        let beside = world.harm().len();
        world.crash(1);
        let kernel = &mut world.nodes.get_mut(&node(2)).unwrap().kernel;
        kernel.lockspace_mut(&name).unwrap().members.remove(&node(1));
        world.unblocked(node(2), &name, 1001);
        assert!(world.violations().is_empty(), "{:?}", world.violations());
        assert_eq!(world.harm().len(), beside + 1, "{:?}", world.harm());
    }

    #[test]
    fn the_journal_of_one_whose_c_daemon_waited_for_nobody_is_harm() {
        let (mut world, name) = running();
        world.are_foreign(&[1]);
        go_on_without_3(&mut world, &name);
        world.crash(1);
        let kernel = &mut world.nodes.get_mut(&node(2)).unwrap().kernel;
        kernel.lockspace_mut(&name).unwrap().members.remove(&node(1));
        let beside = world.harm().len();
        world.unblocked(node(2), &name, 1001);
        assert!(world.violations().is_empty(), "{:?}", world.violations());
        assert_eq!(world.harm().len(), beside + 1, "{:?}", world.harm());
    }

    #[test]
    fn a_journal_that_a_c_daemon_keeps_is_harm() {
        let (mut world, name) = running();
        world.are_foreign(&[2]);
        world.crash(3);
        go_on_without_3(&mut world, &name);
        assert!(world.violations().is_empty(), "{:?}", world.violations());
        assert_eq!(world.harm().len(), 1, "{:?}", world.harm());
    }

    /// Node 3 dies, and the kernel of node 2, which had it as a member, takes its new life for the old one.
    fn new_life_of_3(foreign: &[u32]) -> World {
        let (mut world, name) = running();
        world.are_foreign(foreign);
        for id in 1..=3 {
            world.unblocked(node(id), &name, 1000);
        }
        let life = world.life_of(node(3), &name).unwrap();
        world.crash(1);
        world.crash(3);
        let kernel = &mut world.nodes.get_mut(&node(2)).unwrap().kernel;
        let members = &mut kernel.lockspace_mut(&name).unwrap().members;
        members.retain(|_, member| member.instance != life);
        world.unblocked(node(2), &name, 1001);
        world
    }

    #[test]
    fn a_journal_that_c_daemons_alone_had_to_see_replayed_is_harm() {
        let ours = new_life_of_3(&[1]);
        assert!(ours.violations().iter().any(|what| what.contains("journal of 3 is not")));
        let theirs = new_life_of_3(&[2]);
        assert!(theirs.violations().is_empty(), "{:?}", theirs.violations());
        assert!(theirs.harm().iter().any(|what| what.contains("journal of 3 is not")));
    }

    #[test]
    fn a_journal_that_no_c_daemon_keeps_is_the_fault_of_ours() {
        let (mut world, name) = running();
        world.are_foreign(&[2]);
        world.crash(3);
        let kernel = &mut world.nodes.get_mut(&node(2)).unwrap().kernel;
        kernel.lockspace_mut(&name).unwrap().members.remove(&node(3));
        go_on_without_3(&mut world, &name);
        assert!(world.violations()[0].contains("journal of 3 is not"), "{:?}", world.violations());
    }

    #[test]
    fn who_goes_on_beside_one_that_has_unmounted_replays_all() {
        let (mut world, name) = running();
        world.crash(3);
        for id in [1, 2] {
            let life = world.life_of(node(id), &name).unwrap();
            world.disk.begun.remove(&life);
        }
        let kernel = &mut world.nodes.get_mut(&node(2)).unwrap().kernel;
        kernel.lockspace_mut(&name).unwrap().members.remove(&node(3));
        // Node 1 had mounted, and is about to join again: that life is a later one than the member's.
        let life = world.life_of(node(1), &name).unwrap();
        world.disk.begun.insert(life, 1);
        world.left_in_order(life);
        world.unblocked(node(2), &name, 1000);
        assert!(world.violations().is_empty(), "{:?}", world.violations());
    }

    #[test]
    fn the_replay_of_one_that_writes_is_found() {
        let (mut world, name) = running();
        let life = world.life_of(node(3), &name).unwrap();
        world.replay(node(1), &name, life);
        assert!(world.violations()[0].contains("may still write"), "{:?}", world.violations());
    }

    #[test]
    fn the_replay_of_another_journal_is_found() {
        let (mut world, name) = running();
        let slots = world.nodes[&node(1)].kernel.lockspace(&name).unwrap().table.clone();
        let instance = world.life_of(node(3), &name).unwrap();
        world.crash(3);
        let jid = Some(slots[&node(2)].jid());
        let gone = Removed { node: node(3), instance, jid, recovered: true, asked: false };
        world.replay_slot(node(1), &name, &gone);
        assert!(world.violations()[0].contains("that of 2"), "{:?}", world.violations());
    }

    #[test]
    fn a_replayed_journal_is_clean() {
        let (mut world, name) = running();
        let instance = world.life_of(node(3), &name).unwrap();
        world.crash(3);
        world.replay(node(1), &name, instance);
        go_on_without_3(&mut world, &name);
        assert!(world.violations().is_empty(), "{:?}", world.violations());
    }
}

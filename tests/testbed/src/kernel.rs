//! The model of one node's kernel: lockspaces, configfs members and node addresses, recovery callbacks.
//!
//! Rules: spec/kernel-interfaces.md sections 2 to 5 and spec/gfs-control.md section 4; what they come from is
//! fs/dlm/{lockspace,member,config}.c. Time and other nodes are the driver's business: a write that takes long has a
//! `begin` and an `end` here. Every member carries the `instance` (the life of a lockspace on one node) that the model
//! of the whole cluster gave it, so that a forgotten removal shows.

mod plocks;
mod slots;

use dlm_core::effect::KernelStart;
use dlm_core::types::{LockspaceName, NodeId, Slot};
use std::collections::{BTreeMap, BTreeSet};

pub use plocks::PlockDevice;
pub use slots::{SlotTable, assign_slots};

/// Whether locking goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Run {
    /// No locking: newly born, or the stop has returned.
    Stopped,
    /// A stop was asked for; locking may still be going on.
    Stopping,
    /// Started.
    Running,
}

/// A call of the kernel into its file system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Callback {
    /// Block.
    RecoverPrep,
    /// This member failed: replay its journal.
    RecoverSlot {
        /// Who.
        node: NodeId,
        /// Its journal, if it ever got a slot.
        jid: Option<u32>,
    },
    /// Unblock.
    RecoverDone,
}

/// A member of a kernel lockspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Number of its comm when it was added.
    pub comm_seq: u64,
    /// Which life of the lockspace on that node.
    pub instance: u64,
}

/// One lockspace.
#[derive(Clone, Debug, Hash)]
pub struct Lockspace {
    /// Its life.
    pub instance: u64,
    /// The creator waits for `event_done`.
    pub creating: bool,
    /// The releaser waits for `event_done`.
    pub releasing: bool,
    /// Does locking go on?
    pub run: Run,
    /// `control 1` was written once.
    pub ever_started: bool,
    /// The first recovery has been completed: the creator has its lockspace.
    pub created: bool,
    /// Recovery has begun and `recover_done` has not been called.
    pub recovering: bool,
    /// The recovery that this node is part of.
    pub recovery: Option<u64>,
    /// Members as of the last `control 1`.
    pub members: BTreeMap<NodeId, Member>,
    /// Our slot.
    pub slot: Option<Slot>,
    /// The newest slot table as this node knows it.
    pub table: BTreeMap<NodeId, Slot>,
    /// Number of that table.
    pub generation: u32,
}

impl Lockspace {
    const fn born(instance: u64) -> Self {
        Self {
            instance,
            creating: true,
            releasing: false,
            run: Run::Stopped,
            ever_started: false,
            created: false,
            recovering: false,
            recovery: None,
            members: BTreeMap::new(),
            slot: None,
            table: BTreeMap::new(),
            generation: 0,
        }
    }

    /// Locking goes on with all recovery done.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.run == Run::Running && !self.recovering && !self.creating && !self.releasing
    }
}

/// A member that a start has removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Removed {
    /// Who.
    pub node: NodeId,
    /// Which life.
    pub instance: u64,
    /// Its journal, if it ever got a slot.
    pub jid: Option<u32>,
    /// `recover_slot` was called for it.
    pub recovered: bool,
    /// Its lockspace asked for that by `release_recover`.
    pub asked: bool,
}

/// What a start has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StartReport {
    /// Members that went.
    pub removed: Vec<Removed>,
    /// Members that the kernel took for unchanged although they have begun a new life.
    pub forgotten: Vec<NodeId>,
}

#[derive(Clone, Copy, Debug, Hash)]
struct SpaceNode {
    comm_seq: u64,
    /// Made since the last start.
    fresh: bool,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Comm {
    seq: u64,
    local: bool,
}

/// One node's kernel.
#[derive(Clone, Debug, Default, Hash)]
pub struct Kernel {
    comms: BTreeMap<NodeId, Comm>,
    last_comm_seq: u64,
    spaces: BTreeMap<LockspaceName, BTreeMap<NodeId, SpaceNode>>,
    lockspaces: BTreeMap<LockspaceName, Lockspace>,
    callbacks: Vec<(LockspaceName, Callback)>,
    plocks: PlockDevice,
}

impl Kernel {
    /// Lockspaces by name.
    #[must_use]
    pub const fn lockspaces(&self) -> &BTreeMap<LockspaceName, Lockspace> {
        &self.lockspaces
    }

    /// One lockspace.
    #[must_use]
    pub fn lockspace(&self, name: &LockspaceName) -> Option<&Lockspace> {
        self.lockspaces.get(name)
    }

    /// One lockspace, to be changed.
    pub fn lockspace_mut(&mut self, name: &LockspaceName) -> Option<&mut Lockspace> {
        self.lockspaces.get_mut(name)
    }

    /// Number of a node's comm.
    #[must_use]
    pub fn comm_seq(&self, node: NodeId) -> Option<u64> {
        self.comms.get(&node).map(|comm| comm.seq)
    }

    /// Members in configfs.
    #[must_use]
    pub fn space_members(&self, name: &LockspaceName) -> BTreeSet<NodeId> {
        self.spaces.get(name).map(|nodes| nodes.keys().copied().collect()).unwrap_or_default()
    }

    /// The plock device.
    pub const fn plocks(&mut self) -> &mut PlockDevice {
        &mut self.plocks
    }

    /// Calls into the file systems since the last drain.
    pub fn drain_callbacks(&mut self) -> Vec<(LockspaceName, Callback)> {
        std::mem::take(&mut self.callbacks)
    }

    /// A file system or other user creates a lockspace. False where the kernel refuses: no daemon has set up our own
    /// address, or the name is taken.
    pub fn create(&mut self, name: &LockspaceName, instance: u64) -> bool {
        if !self.comms.values().any(|comm| comm.local) || self.lockspaces.contains_key(name) {
            return false;
        }
        self.lockspaces.insert(name.clone(), Lockspace::born(instance));
        true
    }

    /// The last user is gone. False where there is nothing to release.
    pub fn release(&mut self, name: &LockspaceName) -> bool {
        match self.lockspaces.get_mut(name) {
            Some(lockspace) if lockspace.created && !lockspace.releasing => {
                lockspace.releasing = true;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The daemon starts and removes what is left in configfs.
    pub fn clear_configfs(&mut self) {
        self.comms.clear();
        self.spaces.clear();
    }

    /// Write `comms/<node>`, replacing it.
    pub fn add_comm(&mut self, node: NodeId, local: bool) {
        self.last_comm_seq += 1;
        self.comms.insert(node, Comm { seq: self.last_comm_seq, local });
    }

    /// rmdir `comms/<node>`.
    pub fn remove_comm(&mut self, node: NodeId) {
        self.comms.remove(&node);
    }

    /// `control 0` begins: recovery is given up, a running lockspace blocks its file system.
    pub fn begin_stop(&mut self, name: &LockspaceName) {
        let Some(lockspace) = self.lockspaces.get_mut(name) else { return };
        lockspace.recovery = None;
        if lockspace.run == Run::Running {
            lockspace.run = Run::Stopping;
            self.callbacks.push((name.clone(), Callback::RecoverPrep));
        }
    }

    /// `control 0` returns.
    pub fn end_stop(&mut self, name: &LockspaceName) {
        if let Some(lockspace) = self.lockspaces.get_mut(name) {
            lockspace.run = Run::Stopped;
        }
    }

    /// Members into configfs, `control 1`, for a first start `event_done` 0. `instances` are the lives of the members
    /// as their STARTs showed them.
    ///
    /// # Errors
    /// What the kernel refuses, in words.
    pub fn start(
        &mut self,
        name: &LockspaceName,
        start: &KernelStart,
        instances: &BTreeMap<NodeId, u64>,
    ) -> Result<StartReport, String> {
        if self.lockspaces.get(name).is_none_or(|lockspace| lockspace.run != Run::Stopped) {
            return Err(format!("control 1 of {name}: not stopped"));
        }
        self.write_members(name, start);
        let report = self.recover_members(name, start, instances);
        let Some(lockspace) = self.lockspaces.get_mut(name) else { return Ok(report) };
        lockspace.run = Run::Running;
        lockspace.ever_started = true;
        lockspace.recovering = true;
        lockspace.recovery = None;
        lockspace.creating &= start.first.is_none();
        Ok(report)
    }

    /// A member without a comm is taken all the same, as one whose comm will never match: the kernel does not look at
    /// the result when it samples the number (node_nodeid_store of fs/dlm/config.c).
    fn write_members(&mut self, name: &LockspaceName, start: &KernelStart) {
        let space = self.spaces.entry(name.clone()).or_default();
        space.retain(|node, _| start.members.iter().any(|(member, _)| member == node));
        for (node, _) in &start.members {
            if space.contains_key(node) && !start.renew.contains(node) {
                continue;
            }
            let comm_seq = self.comms.get(node).map_or(0, |comm| comm.seq);
            space.insert(*node, SpaceNode { comm_seq, fresh: true });
        }
    }

    /// What `control 1` does with the members (dlm_recover_members): those that are gone, or were made again, are
    /// removed, and count as failed if their comm is not what it was.
    fn recover_members(
        &mut self,
        name: &LockspaceName,
        start: &KernelStart,
        instances: &BTreeMap<NodeId, u64>,
    ) -> StartReport {
        let mut report = StartReport::default();
        let (Some(lockspace), Some(space)) =
            (self.lockspaces.get_mut(name), self.spaces.get_mut(name))
        else {
            return report;
        };
        for (node, member) in lockspace.members.clone() {
            if space.get(&node).is_some_and(|entry| !entry.fresh) {
                if instances.get(&node).is_some_and(|instance| *instance != member.instance) {
                    report.forgotten.push(node);
                }
                continue;
            }
            let present = self.comms.get(&node).map(|comm| comm.seq);
            let asked = start.release_recover.contains(&node);
            let recovered = asked || present != Some(member.comm_seq);
            lockspace.members.remove(&node);
            let jid = lockspace.table.remove(&node).map(Slot::jid);
            if recovered {
                self.callbacks.push((name.clone(), Callback::RecoverSlot { node, jid }));
            }
            let instance = member.instance;
            report.removed.push(Removed { node, instance, jid, recovered, asked });
        }
        for (node, entry) in space {
            entry.fresh = false;
            let instance = instances.get(node).copied().unwrap_or(0);
            let member = Member { comm_seq: entry.comm_seq, instance };
            lockspace.members.entry(*node).or_insert(member);
        }
        report
    }

    /// `event_done` of a creation that fails, or of a release. True if the lockspace is gone by that.
    pub fn event_done(&mut self, name: &LockspaceName, result: i32) -> bool {
        let Some(lockspace) = self.lockspaces.get_mut(name) else { return false };
        let gone = lockspace.releasing || (lockspace.creating && result != 0);
        lockspace.creating = false;
        if gone {
            self.lockspaces.remove(name);
        }
        gone
    }

    /// The end of a release: the space goes, the releaser is told.
    pub fn end_release(&mut self, name: &LockspaceName) -> bool {
        self.spaces.remove(name);
        self.event_done(name, 0)
    }

    /// Recovery is complete on this node.
    pub fn finish_recovery(&mut self, name: &LockspaceName) {
        if let Some(lockspace) = self.lockspaces.get_mut(name) {
            lockspace.recovering = false;
            lockspace.recovery = None;
            lockspace.created = true;
            self.callbacks.push((name.clone(), Callback::RecoverDone));
        }
    }
}

#[cfg(test)]
mod tests;

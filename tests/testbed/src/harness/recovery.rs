//! Recovery between the kernels: begins when all members have started with the same members, hands out slots, and
//! completes on each node. A stop anywhere leaves the others waiting, until they are stopped too.

use super::World;
use super::agenda::{Action, Fifo, Pace};
use crate::kernel::{Lockspace, Run, SlotTable, assign_slots};
use dlm_core::event::Event;
use dlm_core::types::{LockspaceName, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// Kernels that cannot talk to each other try again after this long, nanoseconds.
const RETRY: u64 = 1_000_000_000;

impl World {
    /// Begin every recovery whose members are all there.
    pub(super) fn begin_recoveries(&mut self) {
        let waiting: BTreeSet<(NodeId, LockspaceName)> = self
            .nodes
            .iter()
            .flat_map(|(id, host)| {
                let lockspaces = host.kernel.lockspaces().iter();
                lockspaces.filter(|(_, l)| waits(l)).map(|(name, _)| (*id, name.clone()))
            })
            .collect();
        for (id, name) in waiting {
            self.begin_recovery(id, &name);
        }
    }

    /// The same of one lockspace.
    pub(super) fn begin_recoveries_of(&mut self, name: &LockspaceName) {
        let waiting: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in waiting {
            self.begin_recovery(id, name);
        }
    }

    fn kernel_lockspace(&self, id: NodeId, name: &LockspaceName) -> Option<&Lockspace> {
        self.nodes.get(&id).filter(|host| host.powered)?.kernel.lockspace(name)
    }

    fn begin_recovery(&mut self, id: NodeId, name: &LockspaceName) {
        let Some(ours) = self.kernel_lockspace(id, name).filter(|l| waits(l)) else { return };
        let members: BTreeSet<NodeId> = ours.members.keys().copied().collect();
        let together = members.iter().all(|member| {
            let theirs = self.kernel_lockspace(*member, name);
            self.bus.reachable(id).contains(member)
                && theirs.is_some_and(|l| waits(l) && l.members.keys().eq(members.iter()))
        });
        if !together {
            return;
        }
        self.last_recovery += 1;
        let recovery = self.last_recovery;
        for member in &members {
            let host = self.nodes.get_mut(member);
            if let Some(lockspace) = host.and_then(|host| host.kernel.lockspace_mut(name)) {
                lockspace.recovery = Some(recovery);
            }
        }
        self.recovery_step(Action::Table { name: name.clone(), recovery });
    }

    fn recovery_step(&mut self, action: Action) {
        let delay = Pace::draw(self.pace.recovery, &mut self.random);
        self.after(delay, action);
    }

    /// Nodes that are still part of this recovery.
    fn participants(&self, name: &LockspaceName, recovery: u64) -> BTreeMap<NodeId, &Lockspace> {
        let part = |id: &NodeId| {
            let lockspace = self.kernel_lockspace(*id, name)?;
            (lockspace.recovery == Some(recovery)).then_some((*id, lockspace))
        };
        self.nodes.keys().filter_map(part).collect()
    }

    pub(super) fn recovery_table(&mut self, name: &LockspaceName, recovery: u64) {
        let participants = self.participants(name, recovery);
        let Some((low, first)) = participants.first_key_value() else { return };
        if !first.members.keys().eq(participants.keys()) {
            return;
        }
        let reachable = self.bus.reachable(*low);
        let reports: BTreeMap<_, _> =
            participants.iter().map(|(id, l)| (*id, (l.slot, l.generation))).collect();
        let low = *low;
        if !reports.keys().all(|id| reachable.contains(id)) {
            self.after(RETRY, Action::Table { name: name.clone(), recovery });
            return;
        }
        let table = assign_slots(&reports);
        self.check_slots(name, &reports, &table);
        self.tell(|| format!("{name} slots {:?} by {low}", table.slots));
        self.learn_slots(low, name, &table);
        for id in reports.into_keys().filter(|id| *id != low) {
            self.recovery_step(Action::Fetch { name: name.clone(), recovery, node: id });
        }
        self.finish_if_all_know(name, recovery);
    }

    fn learn_slots(&mut self, id: NodeId, name: &LockspaceName, table: &SlotTable) {
        let Some(host) = self.nodes.get_mut(&id) else { return };
        let Some(lockspace) = host.kernel.lockspace_mut(name) else { return };
        lockspace.slot = table.slots.get(&id).copied();
        lockspace.table = table.slots.clone();
        lockspace.generation = table.generation;
        let event = Event::Slots {
            lockspace: name.clone(),
            generation: table.generation,
            slots: table.slots.iter().map(|(id, slot)| (*slot, *id)).collect(),
        };
        if let Some(epoch) = self.epoch(id) {
            let at = self.now + self.hop();
            let action = Action::Local { node: id, epoch, event };
            self.agenda.add_in_order(Fifo::KernelLog(id), at, action);
        }
    }

    pub(super) fn recovery_fetch(&mut self, name: &LockspaceName, recovery: u64, id: NodeId) {
        let participants = self.participants(name, recovery);
        let Some(ours) = participants.get(&id) else { return };
        let Some(low) = ours.members.keys().next().copied() else { return };
        let Some(source) = participants.get(&low) else { return };
        let table = SlotTable { generation: source.generation, slots: source.table.clone() };
        if !self.bus.reachable(id).contains(&low) {
            self.after(RETRY, Action::Fetch { name: name.clone(), recovery, node: id });
            return;
        }
        self.learn_slots(id, name, &table);
        self.finish_if_all_know(name, recovery);
    }

    fn finish_if_all_know(&mut self, name: &LockspaceName, recovery: u64) {
        let participants = self.participants(name, recovery);
        let Some((_, first)) = participants.first_key_value() else { return };
        let complete = first.members.keys().eq(participants.keys());
        let known = participants.values().all(|l| l.generation == first.generation);
        let members: Vec<NodeId> = participants.keys().copied().collect();
        if complete && known {
            self.recoveries += 1;
            for id in members {
                self.recovery_step(Action::Done { name: name.clone(), recovery, node: id });
            }
        }
    }

    pub(super) fn recovery_done(&mut self, name: &LockspaceName, recovery: u64, id: NodeId) {
        let part = self.kernel_lockspace(id, name).is_some_and(|l| l.recovery == Some(recovery));
        if !part {
            return;
        }
        if let Some(host) = self.nodes.get_mut(&id) {
            host.kernel.finish_recovery(name);
        }
        self.unblocked(id, name, recovery);
        self.last_activity = self.now;
        self.tell_callbacks(id);
        self.try_release(id, name);
    }
}

fn waits(lockspace: &Lockspace) -> bool {
    lockspace.run == Run::Running && lockspace.recovering && lockspace.recovery.is_none()
}

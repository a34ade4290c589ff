//! Kernel writes of the daemons: each takes its time.

use super::World;
use super::agenda::{Action, Pace, Write};
use super::node::Epoch;
use crate::kernel::Run;
use dlm_core::effect::{KernelStart, KernelWrite, Lane};
use dlm_core::event::{Event, Token};
use dlm_core::types::{LockspaceName, NodeId};
use std::collections::BTreeMap;

/// A write that fails once more than this is given up by the daemon, and its node with it.
const FAILURES_IN_ROW: u32 = 5;

impl World {
    pub(super) fn begin_write(&mut self, id: NodeId, token: Token, lane: Lane, write: KernelWrite) {
        self.tell(|| format!("{id} -> {}", super::story::write(&lane, &write)));
        let Some(host) = self.nodes.get_mut(&id) else { return };
        let boot = host.boot;
        let Some(daemon) = host.daemon.as_mut() else { return };
        let epoch = daemon.epoch;
        // An answer has no place in the lane's order: it waits for nothing, and changes nothing there.
        let answers = matches!(write, KernelWrite::AckWithdraw { .. });
        let other = if answers { None } else { daemon.busy.insert(lane.clone(), token) };
        if let Some(other) = other {
            self.broken_by(id, format!("{id}: {write:?} while {other:?} is under way in {lane:?}"));
            return;
        }
        let name = lockspace_of(&lane);
        let mut delay = Pace::draw(self.pace.write, &mut self.random);
        let mut instances = BTreeMap::new();
        match &write {
            KernelWrite::Stop | KernelWrite::Release { stop: true } => {
                let running = name.as_ref().is_some_and(|name| self.runs(id, name));
                if running {
                    delay += self.stop_time(id);
                }
                if let (Some(name), Some(host)) = (&name, self.nodes.get_mut(&id)) {
                    host.kernel.begin_stop(name);
                }
            }
            KernelWrite::Start(start) => {
                let tried = name.clone().and_then(|name| self.failed_starts.remove(&(id, name)));
                match (tried, &name) {
                    (Some((before, lives)), _) if before == *start => instances = lives,
                    (_, Some(name)) => {
                        instances = self.check_decision(id, name, start);
                        self.check_none_withdrawn(id, name, start, &instances);
                    }
                    (_, None) => {}
                }
            }
            KernelWrite::AddComm { .. }
            | KernelWrite::RemoveComm { .. }
            | KernelWrite::EventDone { .. }
            | KernelWrite::Release { stop: false } => {}
            KernelWrite::AckWithdraw { .. } => {
                name.iter().for_each(|name| self.check_withdraw_answer(id, name));
            }
        }
        self.tell_callbacks(id);
        let write = Box::new(Write { token, lane, write, instances });
        self.after(delay, Action::EndWrite { node: id, boot, epoch, write });
    }

    pub(super) fn runs(&self, id: NodeId, name: &LockspaceName) -> bool {
        let lockspace = self.nodes.get(&id).and_then(|host| host.kernel.lockspace(name));
        lockspace.is_some_and(|lockspace| lockspace.run != Run::Stopped)
    }

    pub(super) fn end_write(&mut self, id: NodeId, boot: u64, epoch: Epoch, write: Write) {
        if !self.is_boot(id, boot) {
            return;
        }
        let Write { token, lane, write, instances } = write;
        let ours = self.is_epoch(id, epoch);
        let name = lockspace_of(&lane);
        // Threads die with their daemon, but a stop that waits in the kernel goes on to its end.
        if !ours && write != KernelWrite::Stop {
            return;
        }
        let answers = matches!(write, KernelWrite::AckWithdraw { .. });
        let fails = ours && !answers && self.write_fails(id, &lane);
        let result = match (write, name) {
            (KernelWrite::Start(start), Some(name)) if fails => {
                self.failed_starts.insert((id, name), (start, instances));
                Err("EIO".to_owned())
            }
            _ if fails => Err("EIO".to_owned()),
            (KernelWrite::AddComm { node, local, .. }, _) => {
                self.kernel_of(id, |kernel| kernel.add_comm(node, local));
                self.retry_wishes(id);
                Ok(())
            }
            (KernelWrite::RemoveComm { node }, _) => {
                self.kernel_of(id, |kernel| kernel.remove_comm(node));
                Ok(())
            }
            (KernelWrite::Stop, Some(name)) => {
                self.kernel_of(id, |kernel| kernel.end_stop(&name));
                Ok(())
            }
            (KernelWrite::Start(start), Some(name)) => self.start(id, &name, &start, &instances),
            (KernelWrite::EventDone { result }, Some(name)) => {
                self.end_lockspace(id, &name, |kernel| kernel.event_done(&name, result));
                Ok(())
            }
            (KernelWrite::Release { stop }, Some(name)) => {
                if stop {
                    self.kernel_of(id, |kernel| kernel.end_stop(&name));
                } else if self.runs(id, &name) {
                    self.broken_by(id, format!("{id}: {name} released while its kernel runs"));
                }
                self.end_lockspace(id, &name, |kernel| kernel.end_release(&name));
                Ok(())
            }
            (KernelWrite::AckWithdraw { .. }, Some(name)) => {
                self.withdraw_answered(id, &name);
                Ok(())
            }
            (write, None) => Err(format!("{write:?} needs a lockspace's lane")),
        };
        self.tell_callbacks(id);
        if ours {
            if let Some(daemon) = self.daemon_mut(id).filter(|_| !answers) {
                daemon.busy.remove(&lane);
            }
            self.local(id, Event::KernelDone { token, result });
        }
        if let Some(name) = lockspace_of(&lane) {
            self.begin_recoveries_of(&name);
        }
    }

    /// This write is one of those that fail. None fails so often that the daemon must give it up.
    fn write_fails(&mut self, id: NodeId, lane: &Lane) -> bool {
        let in_row = self.failures_in_row.entry((id, lane.clone())).or_default();
        let left = self.failing_writes.get_mut(&id).filter(|left| **left > 0);
        let Some(left) = left.filter(|_| *in_row < FAILURES_IN_ROW) else {
            *in_row = 0;
            return false;
        };
        *in_row += 1;
        *left -= 1;
        self.tell(|| format!("{id} kernel write FAILS"));
        true
    }

    fn kernel_of(&mut self, id: NodeId, change: impl FnOnce(&mut crate::kernel::Kernel)) {
        if let Some(host) = self.nodes.get_mut(&id) {
            change(&mut host.kernel);
        }
    }

    fn start(
        &mut self,
        id: NodeId,
        name: &LockspaceName,
        start: &KernelStart,
        instances: &BTreeMap<NodeId, u64>,
    ) -> Result<(), String> {
        self.tell_missing_comms(id, name, start);
        let Some(host) = self.nodes.get_mut(&id) else { return Ok(()) };
        match host.kernel.start(name, start, instances) {
            Ok(report) => {
                self.check_started(id, name, start, &report);
                Ok(())
            }
            Err(why) => {
                self.broken_by(id, format!("{id}: {why}"));
                Err(why)
            }
        }
    }

    /// A member that is dead already may have lost its comm before the start that still counts it.
    fn tell_missing_comms(&mut self, id: NodeId, name: &LockspaceName, start: &KernelStart) {
        let Some(host) = self.nodes.get(&id) else { return };
        let missing: Vec<NodeId> = start
            .members
            .iter()
            .map(|(node, _)| *node)
            .filter(|node| host.kernel.comm_seq(*node).is_none())
            .collect();
        if !missing.is_empty() {
            self.tell(|| format!("{id} control 1 of {name} without a comm for {missing:?}"));
        }
    }

    /// Something that may end a lockspace's life: if it does, it was in order, and its name is free again.
    fn end_lockspace(
        &mut self,
        id: NodeId,
        name: &LockspaceName,
        change: impl FnOnce(&mut crate::kernel::Kernel) -> bool,
    ) {
        let Some(host) = self.nodes.get_mut(&id) else { return };
        let instance = host.kernel.lockspace(name).map(|lockspace| lockspace.instance);
        if change(&mut host.kernel) {
            self.tell(|| format!("{id} kernel: {name} is gone"));
            if let Some(instance) = instance {
                self.left_in_order(instance);
            }
            self.retry_wishes(id);
        }
    }

    /// Users who wait for a lockspace try again.
    pub(super) fn retry_wishes(&mut self, id: NodeId) {
        let names: Vec<_> =
            self.wants.iter().filter(|(n, _)| *n == id).map(|(_, name)| name.clone()).collect();
        for name in names {
            let delay = self.hop();
            self.after(delay, Action::Create(id, name));
        }
    }
}

fn lockspace_of(lane: &Lane) -> Option<LockspaceName> {
    match lane {
        Lane::Cluster => None,
        Lane::Lockspace(name) => Some(name.clone()),
    }
}

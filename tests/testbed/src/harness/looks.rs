//! What an onlooker sees from time to time, or of one effect, beside the promises about starts.

use super::agenda::Action;
use super::node::Fate;
use super::{SECOND, World};
use crate::kernel::Run;
use dlm_core::effect::Lane;
use dlm_core::event::Event;
use dlm_core::message::FenceResult;
use dlm_core::types::{LockspaceName, NodeId};
use std::collections::BTreeSet;

/// So many attempts to fence one node may fail within `STORM_SECONDS` on one node: pauses between them grow.
const STORM_ATTEMPTS: usize = 20;
const STORM_SECONDS: u64 = 10;

impl World {
    /// Pauses between attempts of one actor: messages about failures must not come at the speed of the ring.
    pub(super) fn check_pauses(&mut self, id: NodeId, done: &FenceResult) {
        if done.result <= 0 && done.result != -1 {
            return;
        }
        let now = self.now;
        let failed = self.failed_attempts.entry((id, done.victim)).or_default();
        failed.retain(|then| then + STORM_SECONDS * SECOND > now);
        failed.push(now);
        let count = failed.len();
        if count > STORM_ATTEMPTS {
            let victim = done.victim;
            self.broken_by(
                id,
                format!("{id} fails to fence {victim} {count} times in {STORM_SECONDS} s"),
            );
        }
    }

    /// Corosync is not shut down under a lockspace that may hold locks.
    pub(super) fn check_shutdown(&mut self, id: NodeId, allow: bool) {
        if !allow {
            return;
        }
        let spaces = self.nodes.get(&id).into_iter().flat_map(|host| host.kernel.lockspaces());
        let open = |life: u64| self.instances.get(&life).is_some_and(|l| l.fate == Fate::Open);
        let runs = spaces.filter(|(_, space)| space.ever_started && open(space.instance));
        let names: Vec<&LockspaceName> = runs.map(|(name, _)| name).collect();
        if names.is_empty() {
            self.corosync_gone(id);
        } else {
            let what = format!("{id} lets corosync be shut down under {names:?}");
            self.broken_by(id, what);
        }
    }

    /// No lockspace waits for another one: stops that are decided and not under way although their lane is free.
    #[must_use]
    pub fn held_up(&self) -> Vec<String> {
        let ours = self.nodes.keys().filter(|id| !self.foreign.contains(id));
        ours.flat_map(|id| self.held_up_on(*id)).collect()
    }

    fn held_up_on(&self, id: NodeId) -> Vec<String> {
        let told = |action: &Action| match action {
            Action::Local { node, event: Event::KernelDone { .. }, .. } => *node == id,
            _ => false,
        };
        let fails = self.failures_in_row.iter().any(|((node, _), times)| *node == id && *times > 0);
        let Some(host) = self.nodes.get(&id).filter(|_| !fails) else { return Vec::new() };
        let Some(daemon) = host.daemon.as_ref() else { return Vec::new() };
        if self.agenda.actions.values().any(told) {
            return Vec::new();
        }
        let runs = |name: &LockspaceName| {
            host.kernel.lockspace(name).is_some_and(|space| space.run == Run::Running)
        };
        let free = |name: &LockspaceName| !daemon.busy.contains_key(&Lane::Lockspace(name.clone()));
        let spaces = daemon.brain.snapshot().lockspaces.into_iter();
        let held = spaces.filter(|space| {
            space.kernel_stopped
                && space.pending.is_some()
                && runs(&space.name)
                && free(&space.name)
        });
        held.map(|space| format!("{id}: the stop of {} waits for something else", space.name))
            .collect()
    }

    /// Who sends the state of POSIX locks to somebody that waits for it: the lowest of the other members.
    #[must_use]
    pub fn sender_of_locks(&self, name: &LockspaceName) -> Option<u32> {
        let spaces = self.nodes.iter().filter_map(|(id, host)| {
            let spaces = host.daemon.as_ref()?.brain.snapshot().lockspaces;
            Some((*id, spaces.into_iter().find(|space| space.name == *name)?))
        });
        let spaces: Vec<_> = spaces.collect();
        let waits = |(_, space): &&(NodeId, dlm_core::snapshot::Lockspace)| {
            space.need_plocks && space.started.is_some() && space.pending.is_none()
        };
        let (_, waiting) = spaces.iter().find(waits)?;
        let members = waiting.started.as_ref()?.members.iter().map(|member| member.node);
        let has =
            |id: &NodeId| spaces.iter().any(|(other, space)| other == id && !space.need_plocks);
        members.filter(has).min().map(NodeId::get)
    }

    /// Somebody has seen this node's daemon come, and has not heard a word of it.
    #[must_use]
    pub fn is_unheard(&self, number: u32) -> bool {
        let id = super::node(number);
        let daemons = self.nodes.values().filter_map(|host| host.daemon.as_ref());
        daemons
            .flat_map(|daemon| daemon.brain.snapshot().nodes)
            .any(|node| node.node == id && node.member && !node.clean && !node.merged)
    }

    /// Promise 6 for a settled world: what keeps each lockspace that is wanted on a node with a daemon and quorum
    /// from running there with exactly the members it should have.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.wants.iter().filter_map(|(id, name)| self.complaint(*id, name)).collect()
    }

    fn complaint(&self, id: NodeId, name: &LockspaceName) -> Option<String> {
        let daemon = self.daemon(id)?;
        let component = self.bus.reachable(id);
        if !self.bus.is_up(id) || !self.bus.is_quorate(id, component.len()) {
            return None;
        }
        let wanted: BTreeSet<NodeId> = component
            .into_iter()
            .filter(|node| {
                self.daemon(*node).is_some() && self.wants.contains(&(*node, name.clone()))
            })
            .collect();
        let lockspace = self.nodes.get(&id).and_then(|host| host.kernel.lockspace(name));
        let members: BTreeSet<NodeId> =
            lockspace.map(|l| l.members.keys().copied().collect()).unwrap_or_default();
        if lockspace.is_some_and(crate::kernel::Lockspace::is_settled) && members == wanted {
            return None;
        }
        let state = lockspace.map(|l| (l.run, l.creating, l.recovering));
        let snapshot = daemon.brain.snapshot();
        let wait = snapshot.lockspaces.iter().find(|l| l.name == *name).map(|l| l.wait.clone());
        Some(format!(
            "{id}: {name} is {state:?} with {members:?} instead of {wanted:?}; waits for {wait:?}"
        ))
    }
}

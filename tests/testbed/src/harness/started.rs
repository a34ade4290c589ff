//! What an onlooker checks once a kernel has been given a start: the members are right, failures and leaves were told apart.

use super::World;
use super::node::Fate;
use crate::kernel::StartReport;
use dlm_core::effect::KernelStart;
use dlm_core::types::{LockspaceName, NodeId};
use std::collections::BTreeSet;

impl World {
    /// After `control 1`: configfs is right (promise 3), failures and leaves were told apart (promise 8).
    pub(super) fn check_started(
        &mut self,
        id: NodeId,
        name: &LockspaceName,
        start: &KernelStart,
        report: &StartReport,
    ) {
        // Of two that begin apart, neither may have run when the other one sent its START.
        self.note_division(id, name, &Self::group(name));
        let members: BTreeSet<NodeId> = start.members.iter().map(|(node, _)| *node).collect();
        let space = self.nodes.get(&id).map(|host| host.kernel.space_members(name));
        if space.as_ref() != Some(&members) {
            self.broken_by(
                id,
                format!("promise 3: {id}: configfs has {space:?}, {name} wants {members:?}"),
            );
        }
        for node in &report.forgotten {
            // The kernel of a C daemon will take the end of this life for that of an earlier one (6).
            let life = self.life_of(*node, name).filter(|_| self.foreign.contains(&id));
            self.disk.estranged.extend(life);
            self.broken_by(id, format!("promise 8: {id}: {node} is not renewed in {name}"));
        }
        for gone in report.removed.iter().filter(|gone| gone.recovered) {
            self.replay_slot(id, name, gone);
        }
        for gone in &report.removed {
            let Some(life) = self.instances.get(&gone.instance) else { continue };
            let host = self.nodes.get(&life.node);
            let stayed = host.is_some_and(|h| h.powered && h.boot == life.boot)
                && self.bus.reachable(id).contains(&life.node);
            let clean = life.fate == Fate::Clean;
            // What was seen to fail before it left, as when its leave comes after a partition, is recovered.
            let group = Self::group(name);
            let view = self.daemon(id).and_then(|daemon| daemon.view(&group));
            let failed = view.is_some_and(|view| view.failed_lives.contains(&gone.instance));
            // It left before its first start, and joined anew: the same life, which has had nothing to recover so far.
            let now = host.and_then(|host| host.kernel.lockspace(name));
            let unused = now.is_some_and(|l| l.instance == gone.instance && !l.ever_started)
                || view.is_some_and(|view| view.unused_lives.contains(&gone.instance)) && !failed;
            let stayed = stayed && !failed && !self.away.contains(&(id, life.node));
            if !clean && !unused && !gone.recovered {
                let node = gone.node;
                let what = format!("promise 8: {id}: no recover_slot for failed {node} in {name}");
                // A C daemon that leaves does not tell its peers that they have to, and another one does not listen.
                let of_c = self.foreign.contains(&life.node) || self.foreign.contains(&id);
                if life.fate == Fate::Unclean && of_c {
                    self.disk.estranged.insert(gone.instance);
                    self.harmed(what);
                } else {
                    self.broken_by(id, what);
                }
            } else if clean && gone.recovered && stayed && !gone.asked {
                let node = gone.node;
                self.broken_by(
                    id,
                    format!("promise 8: {id}: recover_slot for {node}, which left {name}"),
                );
            }
        }
        let view = self.daemon_mut(id).and_then(|daemon| daemon.views.get_mut(&Self::group(name)));
        if let Some(view) = view {
            view.unused_lives.clear();
        }
        for node in members {
            self.away.remove(&(id, node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{node, running};
    use dlm_core::options::Switch;
    use std::sync::Arc;

    #[test]
    fn who_starts_beside_one_that_began_apart_meanwhile_divides_the_lockspace() {
        let (mut world, name) = running();
        world.fixed.startup_fencing = Switch::Off;
        for id in [1, 2] {
            let views = world.daemon_mut(node(id)).unwrap().views.values_mut();
            for view in views {
                Arc::make_mut(&mut view.members).remove(&node(3));
                view.ever.retain(|(other, _)| *other != node(3));
            }
        }
        let start = KernelStart {
            first: None,
            nodir: false,
            members: (1..=3).map(|id| (node(id), 1)).collect(),
            renew: BTreeSet::new(),
            release_recover: BTreeSet::new(),
        };
        world.check_started(node(1), &name, &start, &StartReport::default());
        assert!(world.divided.contains(&name));
        assert!(world.violations().is_empty(), "{:?}", world.violations());
    }
}

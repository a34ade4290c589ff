//! What a daemon can know of a node that runs on, as only an onlooker of the whole cluster can tell, and what is no daemon's
//! fault: a cluster that begins anew without start-up fencing, a lie about fencing.

use super::World;
use super::node::{Fate, SeenStart, View};
use crate::bus::ConfigId;
use crate::kernel::Run;
use dlm_core::types::{Group, LockspaceName, NodeId};
use std::collections::BTreeSet;

impl World {
    /// The leave of this node's lockspace has been ordered.
    pub(super) fn has_left(&self, id: NodeId, name: &LockspaceName) -> bool {
        let life = self.life_of(id, name).and_then(|life| self.instances.get(&life));
        life.is_some_and(|life| life.fate.is_left())
    }

    /// From what this daemon has been shown it can tell that a node which runs the lockspace is to be waited for.
    pub(super) fn can_know(&self, id: NodeId, group: &Group, node: NodeId) -> bool {
        let Some(daemon) = self.daemon(id) else { return false };
        let ever = |group| self.has_seen(id, group, node);
        // A daemon that dies leaves one group after the other. Who joins the lockspace after it has left that, and
        // still sees it in the daemon group, cannot know.
        let daemons = daemon.view(&Group::Daemon).map(|view| &view.members);
        // Unless another lockspace that both had has seen it die.
        let mut views = daemon.views.values();
        let died = views.any(|v| v.failed_in.contains_key(&node) && !v.members.contains(&node));
        let dead = self.daemon(node).is_none_or(|daemon| daemon.view(group).is_none());
        if dead && !died && daemons.is_some_and(|members| members.contains(&node)) && !ever(group) {
            return false;
        }
        // Nor that a C daemon has left more behind than its leave says.
        let life = if let Group::Lockspace(name) = group { self.life_of(node, name) } else { None };
        if life.is_some_and(|life| self.abandoned.contains_key(&life)) && !died && !ever(group) {
            return false;
        }
        // With start-up fencing, nobody is left out who has never been seen. Without, it is left to those who have seen it.
        self.fixed.startup_fencing.is_on() || daemon.views.keys().any(ever)
    }

    /// It has been shown the present life of `node` in this group.
    fn has_seen(&self, id: NodeId, group: &Group, node: NodeId) -> bool {
        let boot = self.nodes.get(&node).map_or(0, |host| host.boot);
        let view: Option<&View> = self.daemon(id).and_then(|daemon| daemon.view(group));
        view.is_some_and(|view| view.ever.contains(&(node, boot)))
    }

    /// The others went on without `id`, as it was said to be fenced: whoever has come to them since, it cannot know.
    pub(super) fn began_without(&self, id: NodeId, name: &LockspaceName, node: NodeId) -> bool {
        let lied = self.life_of(id, name).is_some_and(|life| self.is_lied_about(life));
        let groups = self.daemon(id).into_iter().flat_map(|daemon| daemon.views.keys());
        lied && !groups.into_iter().any(|group| self.has_seen(id, group, node))
    }

    /// Without start-up fencing a cluster that begins anew knows nothing of a node that runs on from before: by choice. Nor can
    /// it know of a daemon that has left this group before its own members came, and has not left that of the daemons yet. What
    /// any of the members has seen of it since its own start has to be enough, though.
    pub(super) fn note_division(&mut self, id: NodeId, name: &LockspaceName, group: &Group) {
        let Some(view) = self.daemon(id).and_then(|daemon| daemon.view(group)) else { return };
        let mut alive = self.still_alive(name, &view.members).into_iter();
        if alive.any(|node| !view.members.iter().any(|m| self.can_know(*m, group, node))) {
            self.divided.insert(name.clone());
        }
    }

    /// Nodes outside of a set whose lockspace has run and may hold locks: powered, not fenced, not left in order.
    pub(super) fn still_alive(
        &self,
        name: &LockspaceName,
        members: &BTreeSet<NodeId>,
    ) -> Vec<NodeId> {
        if self.divided.contains(name) {
            return Vec::new();
        }
        let alive = self.running_outside(name, members).into_iter();
        alive.filter(|(_, life)| !self.is_lied_about(*life)).map(|(node, _)| node).collect()
    }

    pub(super) fn running_outside(
        &self,
        name: &LockspaceName,
        members: &BTreeSet<NodeId>,
    ) -> Vec<(NodeId, u64)> {
        if !self.fixed.fencing.is_on() {
            return Vec::new();
        }
        let outside = self.nodes.iter().filter(|(id, host)| host.powered && !members.contains(id));
        let holds = |(id, host): (&NodeId, &super::node::Node)| {
            let lockspace = host.kernel.lockspace(name)?;
            let life = self.instances.get(&lockspace.instance)?;
            let open = lockspace.ever_started && life.fate == Fate::Open;
            open.then_some((*id, lockspace.instance))
        };
        outside.filter_map(holds).collect()
    }

    /// A START of an earlier membership was taken for one of this (the numbers agreed, as START names no ring): true as long as
    /// what it says holds. It does where the member has nothing left that could run, and where it runs again because it has
    /// started in this membership too.
    pub(super) fn still_stopped(
        &self,
        member: NodeId,
        name: &LockspaceName,
        seen: &SeenStart,
        config: ConfigId,
    ) -> bool {
        let Some(host) = self.nodes.get(&member).filter(|host| host.powered) else { return true };
        let Some(lockspace) = host.kernel.lockspace(name) else { return true };
        let theirs = self.daemon(member).and_then(|daemon| daemon.view(&Self::group(name)));
        let with_us = theirs.is_some_and(|theirs| theirs.started == Some(config));
        seen.instance == lockspace.instance && (lockspace.run == Run::Stopped || with_us)
    }

    /// Somebody has said that its node is fenced, and it was not, or that it holds nothing, and it did.
    pub(super) fn is_lied_about(&self, life: u64) -> bool {
        let boot = self.instances.get(&life).map(|life| (life.node, life.boot));
        self.abandoned.get(&life) == Some(&false)
            || boot.is_some_and(|boot| self.lies.contains(&boot))
    }

    /// A daemon ends in order. That of C does so under lockspaces that run, and its leave says that there is nothing to recover:
    /// where nobody else is in the lockspace, nobody sees it fail and can know better.
    pub(super) fn note_abandoned(&mut self, id: NodeId) {
        let Some(host) = self.nodes.get(&id).filter(|_| self.foreign.contains(&id)) else { return };
        let ran = host.kernel.lockspaces().iter().filter(|(_, lockspace)| lockspace.ever_started);
        let seen_by = |other: &NodeId, name: &LockspaceName| {
            let view = self.daemon(*other).and_then(|daemon| daemon.view(&Self::group(name)));
            view.is_some_and(|view| view.members.contains(&id))
        };
        let seen = |name| self.nodes.keys().any(|other| *other != id && seen_by(other, name));
        let lives: Vec<(u64, bool)> = ran.map(|(name, l)| (l.instance, seen(name))).collect();
        self.abandoned.extend(lives);
    }

    /// Somebody says that a node is fenced. If it has power, harm is to be expected: from what it has run, and no further.
    pub(super) fn said_fenced(&mut self, victim: NodeId) {
        if let Some(host) = self.nodes.get(&victim).filter(|host| host.powered) {
            self.lies.insert((victim, host.boot));
            self.tell(|| format!("LIE: {victim} is said to be fenced, and is on"));
        }
    }

    /// A START is sent although a node of which it was said that it is fenced runs the lockspace.
    pub(super) fn note_harm(
        &mut self,
        id: NodeId,
        name: &LockspaceName,
        members: &BTreeSet<NodeId>,
    ) {
        let alive = self.running_outside(name, members).into_iter();
        let lied: Vec<NodeId> =
            alive.filter(|(_, life)| self.is_lied_about(*life)).map(|(node, _)| node).collect();
        let outside = self.running_outside(name, members).into_iter().map(|(node, _)| node);
        let unknown: Vec<NodeId> =
            outside.filter(|node| self.began_without(id, name, *node)).collect();
        for node in lied.into_iter().chain(unknown) {
            self.harmed(format!("{id} sends START of {name}, which runs on {node}"));
        }
    }

    /// A lie has done harm.
    pub(super) fn harmed(&mut self, what: String) {
        self.tell(|| format!("HARM {what}"));
        self.harm.insert(what);
    }

    /// What lies about fencing have led to, in words.
    #[must_use]
    pub const fn harm(&self) -> &BTreeSet<String> {
        &self.harm
    }

    /// The present life of a lockspace on a node.
    pub(super) fn life_of(&self, id: NodeId, name: &LockspaceName) -> Option<u64> {
        Some(self.nodes.get(&id)?.kernel.lockspace(name)?.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{lockspace, node};

    /// Whether the life of `ls` on node 3 counts as lied about when its daemon ends in order.
    fn is_abandoned(foreign: &[u32], users: &[u32]) -> bool {
        let mut world = World::new(1, 3);
        users.iter().for_each(|user| world.join(*user, "ls"));
        assert!(world.settle());
        world.are_foreign(foreign);
        let life = world.life_of(node(3), &lockspace("ls")).unwrap();
        world.note_abandoned(node(3));
        world.is_lied_about(life)
    }

    #[test]
    fn a_lockspace_that_a_c_daemon_leaves_in_order_is_lied_about_unless_it_is_seen() {
        assert!(is_abandoned(&[3], &[3]));
        assert!(!is_abandoned(&[3], &[1, 3]));
        assert!(!is_abandoned(&[2], &[3]));
    }
}

//! Collects what is waited for after each step. A state that waits and is not found here is a fault: the simulated
//! worlds of the tests look for lockspaces that neither run nor wait for anything.

use crate::core::Core;
use crate::fence_work::Blocked;
use crate::group::Membership;
use crate::lockspace::{Lockspace, Phase};
use crate::snapshot::Wait;
use crate::types::{Instant, LockspaceName, NodeId};
use crate::waiting::{FenceWait, LaneState, LaneWait, Subject, Unknown, Waited, Waiting};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What a lockspace waited for after the last step that concerned it, and when it wants to be called again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Noted {
    waits: Vec<(Waiting, Instant)>,
    deadline: Option<Instant>,
}

impl Core {
    /// Everything that is waited for.
    pub(crate) fn all_waits(&self) -> Vec<Waited> {
        let lockspaces = self.lockspaces.values().flat_map(|lockspace| {
            lockspace.noted.waits.iter().map(|(what, since)| Waited {
                who: Subject::Lockspace(lockspace.name.clone()),
                what: what.clone(),
                since: *since,
            })
        });
        let strays = self.strays.values().map(|stray| {
            let state = LaneState::Running { failures: 0 };
            Waited {
                who: Subject::Lockspace(stray.name.clone()),
                what: Waiting::Kernel(LaneWait { write: stray.write, state, queued: 0 }),
                since: stray.since,
            }
        });
        self.waits.iter().cloned().chain(lockspaces).chain(strays).collect()
    }

    /// Take stock of what the daemon waits for, lockspaces apart; what was waited for before keeps its time.
    pub(crate) fn note_waits(&mut self) {
        let mut found = Vec::new();
        self.daemon_waits(&mut found);
        self.node_waits(&mut found);
        let now = self.now;
        let mut before: BTreeMap<&Subject, Vec<&Waited>> = BTreeMap::new();
        for old in &self.waits {
            before.entry(&old.who).or_default().push(old);
        }
        let since = |who: &Subject, what: &Waiting| {
            let same = before.get(who)?.iter().find(|old| old.what.is_like(what));
            same.map(|old| old.since)
        };
        self.waits = found
            .into_iter()
            .map(|(who, what)| Waited { since: since(&who, &what).unwrap_or(now), who, what })
            .collect();
    }

    fn daemon_waits(&self, found: &mut Vec<(Subject, Waiting)>) {
        let mut add = |what| found.push((Subject::Daemon, what));
        let daemons = &self.world.daemons;
        if !daemons.is_settled() {
            let silent = daemons.awaited_members();
            add(if !daemons.is_member(daemons.our_node) {
                Waiting::DaemonGroup
            } else if silent.is_empty() {
                Waiting::Proposal
            } else {
                Waiting::Protocols(silent)
            });
        }
        let merged: BTreeSet<NodeId> = self.merged_members().collect();
        if !merged.is_empty() {
            add(if daemons.merge_wait {
                Waiting::MergedOperator(merged)
            } else {
                Waiting::MergedRemoval(merged)
            });
        }
        if let Some(why) = self.unknown() {
            add(Waiting::FencingUnknown(why));
        }
        let cluster = &self.world.cluster;
        let nowhere: BTreeSet<NodeId> = cluster.without_address().collect();
        if !nowhere.is_empty() {
            add(Waiting::Addresses(nowhere));
        }
        if let Some(lane) = cluster.lane_wait() {
            add(Waiting::Kernel(lane));
        }
        self.runs.waits().for_each(add);
    }

    fn merged_members(&self) -> impl Iterator<Item = NodeId> + '_ {
        let members = self.world.daemons.members();
        members
            .filter(|(_, node)| matches!(node.membership, Membership::Merged { .. }))
            .map(|(id, _)| id)
    }

    /// Why fence-in-progress is unknown, which holds all lockspaces back (see `fipu`). Before the protocol is settled
    /// that is what is waited for.
    fn unknown(&self) -> Option<Unknown> {
        let daemons = &self.world.daemons;
        let fencing = &daemons.fencing;
        let missing = daemons.may_miss_fencing() && self.world.setup.fixed.fencing.is_on();
        if !missing || !daemons.is_settled() {
            return None;
        }
        let members = |wanted: &dyn Fn(&crate::group::Daemon) -> bool| -> BTreeSet<NodeId> {
            daemons.members().filter(|(_, node)| wanted(node)).map(|(id, _)| id).collect()
        };
        Some(match self.held_up() {
            Some(FenceWait::Rings) => Unknown::Rings,
            Some(FenceWait::Quorum) => Unknown::Quorum,
            Some(_) => Unknown::Merge,
            None if !fencing.startup.is_empty() => Unknown::Startup(fencing.startup.clone()),
            None if !fencing.unknown => Unknown::Clearance(daemons.pasts.awaited()),
            None if fencing.wait_clear || fencing.lost_witness => {
                Unknown::Clearance(members(&|node| node.may_know && !node.says_unknown))
            }
            None if !daemons.no_victims() => Unknown::Victims(daemons.victims()),
            None => Unknown::Agreement(members(&|node| !node.says_unknown)),
        })
    }

    /// What holds up all fencing.
    fn held_up(&self) -> Option<FenceWait> {
        let daemons = &self.world.daemons;
        if !daemons.is_settled() {
            return Some(FenceWait::Protocol);
        }
        match daemons.blocked_by(&self.world.cluster, &self.world.setup) {
            Some(Blocked::Ring) => Some(FenceWait::Rings),
            Some(Blocked::Quorum) => Some(FenceWait::Quorum),
            None if !self.world.setup.two_node && self.merged_members().next().is_some() => {
                Some(FenceWait::Merge)
            }
            None => None,
        }
    }

    fn node_waits(&self, found: &mut Vec<(Subject, Waiting)>) {
        let daemons = &self.world.daemons;
        let setup = &self.world.setup;
        for node in &daemons.fencing.startup {
            let wait = self.held_up().unwrap_or_else(|| {
                let until = daemons.delay_end(setup, self.now);
                if setup.fixed.startup_fencing.is_on() {
                    FenceWait::JoinDelay { until }
                } else {
                    FenceWait::Operator
                }
            });
            found.push((Subject::Node(*node), Waiting::Startup(wait)));
        }
        for (id, node) in daemons.nodes.iter().filter(|(_, node)| node.victim.needs_fencing()) {
            // A failure in the middle of a step was looked at by its end.
            let wait = node.victim.waits_for.clone().unwrap_or(FenceWait::Protocol);
            found.push((Subject::Node(*id), Waiting::Fence(wait)));
        }
    }
}

impl Lockspace {
    /// Take stock, after every step that concerned this lockspace; what was waited for before keeps its time.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        deadlines: &mut BTreeSet<(Instant, LockspaceName)>,
    ) {
        self.note_deadline(deadlines);
        let before = core::mem::take(&mut self.noted.waits);
        let since = |what: &Waiting| {
            let same = before.iter().find(|(old, _)| old.is_like(what));
            same.map_or(now, |(_, since)| *since)
        };
        self.noted.waits = self
            .waits()
            .map(|what| {
                let since = since(&what);
                (what, since)
            })
            .collect();
    }

    /// Take stock after a word about POSIX locks: for nothing else than those can it have begun or ceased to wait, and a
    /// single lock does not even change that.
    pub(crate) fn note_plocks(
        &mut self,
        awaited: Option<Option<NodeId>>,
        now: Instant,
        deadlines: &mut BTreeSet<(Instant, LockspaceName)>,
    ) {
        if self.plocks.awaited() == awaited {
            self.note_deadline(deadlines);
        } else {
            self.note(now, deadlines);
        }
    }

    fn note_deadline(&mut self, deadlines: &mut BTreeSet<(Instant, LockspaceName)>) {
        let deadline = self.deadline();
        if deadline != self.noted.deadline {
            self.forget_deadline(deadlines);
            deadlines.extend(deadline.map(|at| (at, self.name.clone())));
            self.noted.deadline = deadline;
        }
    }

    /// It is to be forgotten.
    pub(crate) fn forget_deadline(&self, deadlines: &mut BTreeSet<(Instant, LockspaceName)>) {
        if let Some(at) = self.noted.deadline {
            deadlines.remove(&(at, self.name.clone()));
        }
    }

    fn waits(&self) -> impl Iterator<Item = Waiting> {
        let life = match self.phase {
            Phase::Queued => Some(Waiting::Queued),
            Phase::Joining => Some(Waiting::Join),
            Phase::Rejoining => Some(Waiting::Rejoin),
            Phase::Leaving => Some(Waiting::Leave),
            Phase::Member | Phase::Releasing { .. } | Phase::Gone { .. } => None,
        };
        let change = self.wait.clone().map(Waiting::Change);
        let lane = self.lane_wait().filter(|lane| !is_named(lane, self)).map(Waiting::Kernel);
        let idle = self.phase == Phase::Member && self.changes.is_empty() && !self.joining;
        let plocks = self.plocks.awaited().filter(|_| idle);
        let plocks = plocks.map(|from| Waiting::Plocks { from });
        let withdraw = self.withdraws.awaited().cloned().map(Waiting::WithdrawAnswer);
        life.into_iter().chain(change).chain(lane).chain(plocks).chain(withdraw)
    }
}

/// A start that is held back for addresses is named by those.
fn is_named(lane: &LaneWait, lockspace: &Lockspace) -> bool {
    lane.state == LaneState::Held && matches!(lockspace.wait, Some(Wait::Comms(_)))
}

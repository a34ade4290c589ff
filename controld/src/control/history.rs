//! The recoveries of the last hours, put together from the core's moments (docs/json.md). Bounded: the oldest go.

use super::totals::{Span, Totals};
use dlm_core::effect::Moment;
use dlm_core::snapshot::Wait;
use dlm_core::types::{Instant, LockspaceName, NodeId};
use dlmcontrol::history as document;
use dlmcontrol::history::{Journal, PhaseKind};
use dlmcontrol::state::{SCHEMA_VERSION, State, Time};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Recoveries that are kept.
const RECOVERIES_MAX: usize = 256;

/// Phases of one recovery that are kept; a lockspace that waits for days changes its mind often.
const PHASES_MAX: usize = 256;

/// Fencings that are kept.
const FENCINGS_MAX: usize = 128;

/// Journals of one recovery that are kept: one a failed node.
const JOURNALS_MAX: usize = 128;

/// Agents of one fencing that are kept.
const AGENTS_MAX: usize = 16;

/// Nanoseconds in a millisecond.
const NANOS_PER_MS: u64 = 1_000_000;

/// Clones share it: the driver adds, the query thread reads. The lock is held for memory only.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    totem: Option<(u64, u64)>,
    recoveries: VecDeque<Recovery>,
    fencings: VecDeque<document::Fencing>,
    totals: Totals,
}

#[derive(Debug)]
struct Recovery {
    lockspace: LockspaceName,
    began: Instant,
    ended: Option<Instant>,
    start_sent: Option<Instant>,
    last_start: Option<Instant>,
    /// The phase that lasts, and since when.
    phase: (PhaseKind, BTreeSet<NodeId>, Instant),
    told: document::Recovery,
    news: News,
}

/// What the totals are to be told of a recovery.
#[derive(Debug, Default)]
struct News {
    phases: Vec<(PhaseKind, Span)>,
    starts: Vec<(NodeId, Span)>,
    recovered: Option<Span>,
}

impl History {
    /// Corosync's token and consensus time, milliseconds.
    pub fn set_totem(&self, token_ms: u64, consensus_ms: u64) {
        self.lock().totem = Some((token_ms, consensus_ms));
    }

    /// Something has happened.
    pub fn note(&self, now: Instant, moment: &Moment) {
        self.lock().note(now, moment);
    }

    /// The kernel's dlm has recovered the locks of a lockspace.
    pub fn locks_recovered(&self, now: Instant, lockspace: &LockspaceName) {
        self.lock().after_start(lockspace, now, |told, ms| {
            told.locks_after_ms.get_or_insert(ms);
        });
    }

    /// gfs2 has replayed a failed node's journal.
    pub fn journal_replayed(&self, now: Instant, lockspace: &LockspaceName, journal: Journal) {
        self.lock().after_start(lockspace, now, |told, _| {
            if told.journals.len() < JOURNALS_MAX {
                told.journals.push(journal);
            }
        });
    }

    /// gfs2 goes on.
    pub fn file_system_unblocked(&self, now: Instant, lockspace: &LockspaceName) {
        self.lock().after_start(lockspace, now, |told, ms| {
            told.file_system_after_ms.get_or_insert(ms);
        });
    }

    /// The document.
    #[must_use]
    pub fn document(&self, now: Time) -> document::History {
        let records = self.lock();
        document::History {
            schema_version: SCHEMA_VERSION,
            now,
            token_ms: records.totem.map(|(token, _)| token),
            consensus_ms: records.totem.map(|(_, consensus)| consensus),
            recoveries: records.recoveries.iter().map(|one| one.document(now)).collect(),
            fencings: records.fencings.iter().map(|one| fencing(one, now)).collect(),
        }
    }

    /// Adds the sums of all recoveries to the state.
    pub(super) fn sum_up(&self, state: &mut State) {
        let records = self.lock();
        for lockspace in &mut state.lockspaces {
            let meters = lockspace.meters.get_or_insert_default();
            records.totals.sum_up(lockspace.name.as_bytes(), meters);
        }
        if let Some(meters) = &mut state.meters {
            meters.starts = records.totals.starts();
            meters.fencings = records.totals.fencings();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only the boot clock is kept; the wall's time of it is told when asked for, as its clock is right then.
fn boot(of: Instant) -> Time {
    Time { boot_ms: of.as_nanos() / NANOS_PER_MS, wall_ms: 0 }
}

fn with_wall(of: Time, now: Time) -> Time {
    let wall = now.wall_ms.saturating_add(of.boot_ms).saturating_sub(now.boot_ms);
    Time { wall_ms: wall, ..of }
}

fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<u32> {
    nodes.into_iter().map(|node| node.get()).collect()
}

fn merge(into: &mut Vec<u32>, nodes: &BTreeSet<NodeId>) {
    let all: BTreeSet<u32> = into.iter().copied().chain(ids(nodes)).collect();
    *into = all.into_iter().collect();
}

fn fencing(of: &document::Fencing, now: Time) -> document::Fencing {
    let mut told = of.clone();
    told.took_ms = told.needed.ms_until(told.done.unwrap_or(now));
    told.needed = with_wall(told.needed, now);
    told.done = told.done.map(|done| with_wall(done, now));
    for agent in &mut told.agents {
        agent.started = with_wall(agent.started, now);
        agent.ended = agent.ended.map(|ended| with_wall(ended, now));
    }
    told
}

impl Records {
    fn note(&mut self, now: Instant, moment: &Moment) {
        match moment {
            Moment::Changed { lockspace, members, joined, left, failed } => {
                let causes = [("joined", joined), ("left", left), ("failed", failed)];
                self.totals.changed(lockspace, &causes);
                self.begin_or_go_on(lockspace, now, |one| {
                    one.change(PhaseKind::Daemon, BTreeSet::new(), now);
                    one.told.changes = one.told.changes.saturating_add(1);
                    one.told.members = ids(members);
                    merge(&mut one.told.joined, joined);
                    merge(&mut one.told.left, left);
                    merge(&mut one.told.failed, failed);
                    one.start_sent = None;
                    one.last_start = None;
                    one.told.starts.clear();
                });
            }
            Moment::Waiting { lockspace, wait } => self.with(lockspace, |one| {
                let (kind, nodes) = phase_of(wait);
                one.change(kind, nodes, now);
            }),
            Moment::Stopped { lockspace } => self.with(lockspace, |one| {
                if one.phase.0 == PhaseKind::Stop {
                    one.change(PhaseKind::Daemon, BTreeSet::new(), now);
                }
            }),
            Moment::StartSent { lockspace } => self.with(lockspace, |one| {
                one.start_sent = Some(now);
                one.change(PhaseKind::Starts, BTreeSet::new(), now);
            }),
            Moment::StartReceived { lockspace, from } => {
                self.with(lockspace, |one| one.start_of(*from, now));
            }
            Moment::Started { lockspace, members } => self.with(lockspace, |one| {
                one.told.members = ids(members);
                one.end(now);
            }),
            Moment::Released { lockspace } => {
                self.with(lockspace, |one| {
                    one.told.released = true;
                    one.end(now);
                });
                self.totals.forget(lockspace);
            }
            Moment::Slots { lockspace, .. } => self.after_start(lockspace, now, |told, ms| {
                told.slots_after_ms.get_or_insert(ms);
            }),
            Moment::FenceNeeded { victim, actor } => self.fence_needed(*victim, *actor, now),
            Moment::AgentStarted { victim, device } => self.with_fencing(*victim, |one| {
                if one.agents.len() < AGENTS_MAX {
                    let (device, started) = (device.clone(), boot(now));
                    one.agents.push(document::Agent { device, started, ..Default::default() });
                }
            }),
            Moment::AgentEnded { victim, outcome } => self.with_fencing(*victim, |one| {
                if let Some(agent) = one.agents.iter_mut().find(|agent| agent.ended.is_none()) {
                    agent.ended = Some(boot(now));
                    agent.outcome = Some(outcome.clone());
                }
            }),
            Moment::Fenced { victim, by } => {
                let mut needed = None;
                self.with_fencing(*victim, |one| {
                    one.done = Some(boot(now));
                    one.by = Some(by.get());
                    needed =
                        Some(Instant::from_nanos(one.needed.boot_ms.saturating_mul(NANOS_PER_MS)));
                });
                if let Some(needed) = needed {
                    self.totals.fenced(*victim, (needed, now));
                }
            }
            Moment::WithdrawAnswered { .. } => {}
        }
    }

    fn begin_or_go_on(
        &mut self,
        lockspace: &LockspaceName,
        now: Instant,
        act: impl FnOnce(&mut Recovery),
    ) {
        let open = |one: &Recovery| one.ended.is_none() && one.lockspace == *lockspace;
        if !self.recoveries.iter().any(open) {
            if self.recoveries.len() >= RECOVERIES_MAX {
                self.recoveries.pop_front();
            }
            self.recoveries.push_back(Recovery::new(lockspace.clone(), now));
        }
        self.with(lockspace, act);
    }

    /// Nothing for a lockspace whose change is over.
    fn with(&mut self, lockspace: &LockspaceName, act: impl FnOnce(&mut Recovery)) {
        let open = |one: &&mut Recovery| one.ended.is_none() && one.lockspace == *lockspace;
        let Some(one) = self.recoveries.iter_mut().find(open) else { return };
        act(one);
        let news = std::mem::take(&mut one.news);
        for (kind, span) in news.phases {
            self.totals.phase(lockspace, kind, span);
        }
        for (node, span) in news.starts {
            self.totals.start(node, span);
        }
        if let Some(span) = news.recovered {
            self.totals.recovered(lockspace, span);
        }
    }

    /// Something that follows the start of the lockspace's last recovery, and how long after it. What belongs to an
    /// earlier start comes while a newer change is on, and is passed over.
    fn after_start(
        &mut self,
        lockspace: &LockspaceName,
        now: Instant,
        act: impl FnOnce(&mut document::Recovery, u64),
    ) {
        let mut known = self.recoveries.iter_mut().rev();
        let newest = known.find(|one| one.lockspace == *lockspace);
        if let Some((one, ended)) = newest.and_then(|one| one.ended.map(|ended| (one, ended))) {
            act(&mut one.told, now.millis_since(ended));
        }
    }

    fn fence_needed(&mut self, victim: NodeId, actor: Option<NodeId>, now: Instant) {
        if self.fencings.len() >= FENCINGS_MAX {
            self.fencings.pop_front();
        }
        let (node, actor) = (victim.get(), actor.map(NodeId::get));
        let needed = boot(now);
        self.fencings.push_back(document::Fencing { node, needed, actor, ..Default::default() });
    }

    fn with_fencing(&mut self, victim: NodeId, act: impl FnOnce(&mut document::Fencing)) {
        let mut known = self.fencings.iter_mut().rev();
        if let Some(one) = known.find(|one| one.node == victim.get() && one.done.is_none()) {
            act(one);
        }
    }
}

fn phase_of(wait: &Wait) -> (PhaseKind, BTreeSet<NodeId>) {
    match wait {
        Wait::Stop => (PhaseKind::Stop, BTreeSet::new()),
        Wait::Ring => (PhaseKind::Rings, BTreeSet::new()),
        Wait::Quorum => (PhaseKind::Quorum, BTreeSet::new()),
        Wait::Fencing(nodes) => (PhaseKind::Fencing, nodes.clone()),
        Wait::NodeGone(nodes) | Wait::Ghost(nodes) => (PhaseKind::Membership, nodes.clone()),
        Wait::Comms(nodes) => (PhaseKind::Addresses, nodes.clone()),
        Wait::Withdraw(nodes) => (PhaseKind::Withdraw, nodes.clone()),
        Wait::Handover => (PhaseKind::Handover, BTreeSet::new()),
        Wait::Starts(nodes) => (PhaseKind::Starts, nodes.clone()),
        Wait::Disallowed(nodes) => (PhaseKind::Merge, nodes.clone()),
    }
}

impl Recovery {
    fn new(lockspace: LockspaceName, now: Instant) -> Self {
        let told = document::Recovery {
            lockspace: lockspace.to_string(),
            ..document::Recovery::default()
        };
        Self {
            lockspace,
            began: now,
            ended: None,
            start_sent: None,
            last_start: None,
            phase: (PhaseKind::Daemon, BTreeSet::new(), now),
            told,
            news: News::default(),
        }
    }

    /// Another phase begins; one of the same kind goes on with more nodes.
    fn change(&mut self, kind: PhaseKind, nodes: BTreeSet<NodeId>, now: Instant) {
        if self.phase.0 == kind {
            self.phase.1.extend(nodes);
            return;
        }
        self.news.phases.push((self.phase.0, (self.phase.2, now)));
        if let Some(phase) = self.lasting(now).filter(|phase| phase.took_ms > 0) {
            if self.told.phases.len() < PHASES_MAX {
                self.told.phases.push(phase);
            }
        }
        self.phase = (kind, nodes, now);
    }

    fn lasting(&self, now: Instant) -> Option<document::Phase> {
        let (kind, nodes, since) = &self.phase;
        let from_ms = since.millis_since(self.began);
        // Both ends are counted from the beginning, so that the parts add up.
        let took_ms = now.millis_since(self.began).saturating_sub(from_ms);
        Some(document::Phase { kind: *kind, nodes: ids(nodes), from_ms, took_ms })
    }

    fn start_of(&mut self, node: NodeId, now: Instant) {
        self.last_start = Some(now);
        let after_ms = self.start_sent.map_or(0, |sent| now.millis_since(sent));
        let known = self.told.starts.iter().any(|start| start.node == node.get());
        if !known {
            self.news.starts.push((node, (self.start_sent.unwrap_or(now), now)));
            self.told.starts.push(document::Start { node: node.get(), after_ms });
        }
    }

    fn end(&mut self, now: Instant) {
        if let Some(last) = self.last_start.filter(|_| self.phase.0 == PhaseKind::Starts) {
            self.change(PhaseKind::KernelStart, BTreeSet::new(), last);
        }
        self.news.phases.push((self.phase.0, (self.phase.2, now)));
        if let Some(phase) = self.lasting(now) {
            self.told.phases.push(phase);
        }
        self.ended = Some(now);
        self.news.recovered = (!self.told.released).then_some((self.began, now));
    }

    fn document(&self, now: Time) -> document::Recovery {
        let mut told = self.told.clone();
        let instant = Instant::from_nanos(now.boot_ms.saturating_mul(NANOS_PER_MS));
        told.took_ms = self.ended.unwrap_or(instant).millis_since(self.began);
        told.began = with_wall(boot(self.began), now);
        told.ended = self.ended.map(|ended| with_wall(boot(ended), now));
        if self.ended.is_none() {
            told.phases.extend(self.lasting(instant));
        }
        let last = told.starts.iter().max_by_key(|start| start.after_ms);
        told.straggler = last.filter(|start| start.after_ms > 0).map(|start| start.node);
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * NANOS_PER_MS)
    }

    fn nodes(ids: &[u32]) -> BTreeSet<NodeId> {
        ids.iter().filter_map(|id| NodeId::new(*id)).collect()
    }

    #[test]
    fn what_the_kernel_says_after_a_start_belongs_to_that_recovery() {
        let fs = LockspaceName::new(b"fs").unwrap();
        let history = History::default();
        let changed = |failed: &[u32]| Moment::Changed {
            lockspace: fs.clone(),
            members: nodes(&[1, 2]),
            joined: nodes(&[]),
            left: nodes(&[]),
            failed: nodes(failed),
        };
        let started = Moment::Started { lockspace: fs.clone(), members: nodes(&[1, 2]) };
        history.note(at(1_000), &changed(&[3]));
        // Of a start before that.
        history.locks_recovered(at(1_010), &fs);
        history.note(at(1_500), &started);
        history.locks_recovered(at(1_590), &fs);
        history.journal_replayed(at(1_900), &fs, Journal { jid: 2, took_ms: 300 });
        history.file_system_unblocked(at(1_950), &fs);
        // Another lockspace, and another start's.
        history.file_system_unblocked(at(1_960), &LockspaceName::new(b"t1").unwrap());
        history.note(at(3_000), &changed(&[]));
        history.file_system_unblocked(at(3_010), &fs);
        history.note(at(3_100), &started);
        let told = history.document(Time { boot_ms: 4_000, wall_ms: 0 }).recoveries;
        assert_eq!(told.len(), 2);
        let (first, second) = (&told[0], &told[1]);
        assert_eq!((first.took_ms, first.locks_after_ms), (500, Some(90)));
        assert_eq!(first.file_system_after_ms, Some(450));
        assert_eq!(first.journals, [Journal { jid: 2, took_ms: 300 }]);
        assert_eq!((second.locks_after_ms, second.file_system_after_ms), (None, None));
    }
}

//! The whole core: takes an event, hands it to the machine that it concerns, and lets everybody go on who now can.
//!
//! Dispatch only; the rules are in the machines.

use crate::effect::{Effect, KernelWrite, Lane};
use crate::event::{Confchg, Event, Token};
use crate::go_on::Touched;
use crate::lockspace::Lockspace;
use crate::message::{Message, Packet};
#[cfg(feature = "mutants")]
use crate::mutants::Defects;
use crate::mutants::Mutant;
use crate::options::Setup;
use crate::out::Out;
use crate::plock::{
    DumpPart, DumpPlace, EEXIST, ENOSYS, PlockFile, PlockInfo, PlockResource, Word,
};
use crate::run::Runs;
use crate::snapshot::Snapshot;
use crate::types::{GlobalId, Group, Instant, LockspaceName, NodeId, Now};
use crate::waiting::{Waited, WriteKind};
use crate::world::World;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The state machine of one daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Core {
    pub(crate) world: World,
    pub(crate) lockspaces: BTreeMap<LockspaceName, Lockspace>,
    /// The lockspace of each id that the kernel names in requests for POSIX locks.
    pub(crate) ids: BTreeMap<GlobalId, LockspaceName>,
    pub(crate) runs: Runs,
    created: u64,
    tokens: u64,
    /// Answers to uevents of lockspaces that we do not know, on their way to the kernel.
    pub(crate) strays: BTreeMap<Token, Stray>,
    /// The lockspace of each write that the kernel has. These two spare a walk over all lockspaces in every step.
    pub(crate) writing: BTreeMap<Token, LockspaceName>,
    /// When which lockspace has something to do.
    pub(crate) deadlines: BTreeSet<(Instant, LockspaceName)>,
    /// When all else has something to do. Events of one lockspace change nothing of it.
    due: Option<Instant>,
    /// What the daemon and its dealings with nodes wait for after the last step; lockspaces note theirs themselves.
    pub(crate) waits: Vec<Waited>,
    pub(crate) now: Instant,
    /// An effect that ends the daemon was asked for: nothing more is done.
    ended: bool,
}

/// An answer to the kernel outside of its lockspace's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Stray {
    pub(crate) name: LockspaceName,
    pub(crate) write: WriteKind,
    pub(crate) since: Instant,
}

impl Core {
    /// A daemon that has not begun.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self {
            world: World::new(setup),
            lockspaces: BTreeMap::new(),
            ids: BTreeMap::new(),
            runs: Runs::default(),
            created: 0,
            tokens: 0,
            strays: BTreeMap::new(),
            writing: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            due: None,
            waits: Vec::new(),
            now: Instant::default(),
            ended: false,
        }
    }

    /// A daemon with a deliberate defect.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn mutated(setup: Setup, mutant: crate::mutants::Mutant) -> Self {
        let mut core = Self::new(setup);
        core.world.daemons.mutation.0 = Defects::One(mutant);
        core
    }

    /// A daemon with the known faults of the C daemon.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn like_c(setup: Setup) -> Self {
        let mut core = Self::new(setup);
        core.world.daemons.mutation.0 = Defects::OfC;
        core
    }

    /// Take one event, and append what is to be done to `effects`.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        if self.ended {
            return;
        }
        self.now = now.mono;
        let first_new = effects.len();
        let mut tokens = self.tokens;
        let mut out = Out::new(now, effects, &mut tokens);
        let touched = self.handle(event, &mut out);
        if !matches!(touched, Touched::Nobody) {
            self.go_on(&touched, &mut out);
        }
        self.tokens = tokens;
        self.ended = effects.iter().skip(first_new).any(|effect| {
            matches!(
                effect,
                Effect::Exit
                    | Effect::Refuse { .. }
                    | Effect::FailStop { .. }
                    | Effect::ExitClusterLost { .. }
            )
        });
    }

    /// When `Event::Deadline` is due, if at all. To be asked after every step.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let lockspaces = self.deadlines.first().map(|(at, _)| *at);
        [lockspaces, self.due].into_iter().flatten().min()
    }

    pub(crate) fn note_due(&mut self) {
        let World { setup, cluster, daemons } = &self.world;
        let due = [daemons.deadline(setup, self.now), cluster.deadline(), self.runs.deadline()];
        self.due = due.into_iter().flatten().min();
    }

    /// The state as plain data.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        crate::view::snapshot(self)
    }

    /// The POSIX locks of a lockspace, resource by resource in the order of their creation; `None`: no such lockspace.
    #[must_use]
    pub fn plocks(&self, lockspace: &LockspaceName) -> Option<impl Iterator<Item = PlockResource>> {
        Some(self.lockspaces.get(lockspace)?.plocks.dump(self.now))
    }

    /// Files of a lockspace with POSIX locks, so many at most, whose numbers are behind that of `last`: in the order of their
    /// numbers, while [`Core::plocks`] has that of [`PlockFile`]. `None`: no such lockspace.
    #[must_use]
    pub fn plock_files(
        &self,
        lockspace: &LockspaceName,
        last: Option<PlockFile>,
        most: usize,
    ) -> Option<Vec<PlockFile>> {
        Some(self.lockspaces.get(lockspace)?.plocks.dump_files(last, most))
    }

    /// As much of what [`Core::plocks`] has of these files, from `place` on, as can be said by looking at so many files and
    /// lines, but for the first `skip` lines. `None`: no such lockspace.
    #[must_use]
    pub fn plocks_part(
        &self,
        lockspace: &LockspaceName,
        files: &[PlockFile],
        place: DumpPlace,
        skip: usize,
        most: usize,
    ) -> Option<DumpPart> {
        let plocks = &self.lockspaces.get(lockspace)?.plocks;
        Some(plocks.dump_part(self.now, files, place, skip, most))
    }

    fn handle(&mut self, event: Event, out: &mut Out<'_>) -> Touched {
        match event {
            Event::Begin => {
                out.debug("cpg_join dlm:controld ...".to_string());
                out.push(Effect::Join(Group::Daemon));
            }
            Event::Deadline => {}
            Event::Quorum { quorate, ring, members, addresses } => {
                let change = self.world.cluster.quorum(quorate, ring, &members, &addresses, out);
                if change.anyone_added {
                    self.world.daemons.fencing.joined(out.now.mono);
                }
            }
            Event::Nodelist { joined, left } => self.world.cluster.nodelist(&joined, &left, out),
            Event::Confchg { group, change } => return self.confchg(group, &change, out),
            Event::Ring { group: Group::Daemon, ring } => {
                self.world.daemons.ring_event(ring, &self.world.setup, out);
            }
            Event::Ring { group: Group::Lockspace(name), ring } => {
                if let Some(lockspace) = self.lockspaces.get_mut(&name) {
                    lockspace.ring_event(ring, out);
                }
                return Touched::One(name);
            }
            Event::Message { group, from, packet, length } => {
                return self.message(group, from, &packet, length, out);
            }
            Event::BadMessage { group, from, why } => {
                out.error(format!("{group}: message from {from} ignored: {why}"));
            }
            Event::JoinFailed { group, why } => return self.join_failed(group, &why, out),
            Event::ClusterLost { why } => self.cluster_lost(why, out),
            other => return self.handle_local(other, out),
        }
        Touched::All
    }

    /// Events of this node alone.
    fn handle_local(&mut self, event: Event, out: &mut Out<'_>) -> Touched {
        match event {
            Event::PlockRequest(info) => {
                self.plock_request(info, out);
                return Touched::Nobody;
            }
            Event::Online { lockspace } => return self.online(lockspace, out),
            Event::Offline { lockspace, release_recover } => {
                return self.offline(lockspace, release_recover, out);
            }
            Event::KernelDone { token, result } => {
                let blind = self.world.mutated(Mutant::WritesNeverFail);
                return self.kernel_done(token, if blind { Ok(()) } else { result }, out);
            }
            Event::Slots { lockspace, slots, .. } => {
                if let Some(known) = self.lockspaces.get_mut(&lockspace) {
                    known.slots_event(&slots, out);
                }
                return Touched::One(lockspace);
            }
            Event::Withdraw { table, lockspace } => self.withdraw(table, &lockspace, out),
            Event::AgentDone { token, outcome, output } => {
                self.world.daemons.agent_done(token, outcome, &output, &self.world.setup, out);
            }
            Event::Run(event) => self.runs.event(event, &self.world, out),
            Event::FenceAck { node } => self.world.daemons.fence_ack(node, out),
            Event::Options(options) => self.world.setup.dynamic = options,
            Event::Devices(devices) => self.world.setup.devices = devices,
            Event::LockspaceOptions(options) => self.world.setup.lockspaces = options,
            Event::ShutdownQuestion => {
                let allow = self.lockspaces.is_empty() || self.world.mutated(Mutant::AllowShutdown);
                if !allow {
                    out.error(format!("corosync shutdown refused: {}", self.active()));
                }
                out.push(Effect::AnswerShutdown { allow });
            }
            Event::Terminate
                if self.lockspaces.is_empty() || self.world.mutated(Mutant::TerminateAnyway) =>
            {
                out.debug("shutdown".to_string());
                out.push(Effect::Leave(Group::Daemon));
                out.push(Effect::Exit);
            }
            Event::Terminate => out.error(format!("shutdown ignored, {}", self.active())),
            _ => {}
        }
        Touched::All
    }

    /// The lockspaces that keep the daemon from going.
    fn active(&self) -> String {
        let names: Vec<String> = self.lockspaces.keys().map(ToString::to_string).collect();
        format!("active lockspaces: {}", names.join(" "))
    }

    fn cluster_lost(&self, why: String, out: &mut Out<'_>) {
        out.error(format!("cluster is down, exiting: {why}"));
        for name in self.lockspaces.keys() {
            out.error(format!("abandoned lockspace {name}"));
        }
        out.push(Effect::ExitClusterLost { why });
    }

    fn confchg(&mut self, group: Group, change: &Confchg, out: &mut Out<'_>) -> Touched {
        let name = match group {
            Group::Daemon => {
                self.runs.confchg(change, out);
                let changed = self.world.daemons.confchg(change, &self.world.setup, out);
                if changed.lost_us {
                    self.cluster_lost("removed from dlm:controld".to_string(), out);
                }
                return Touched::All;
            }
            Group::Lockspace(name) => name,
        };
        match self.lockspaces.get_mut(&name) {
            Some(lockspace) => {
                lockspace.confchg(change, &self.world, out);
                let failures = change.left.iter().filter_map(|(node, _)| {
                    Some((*node, lockspace.history.get(*node)?.failed_after?))
                });
                self.world.daemons.lost_after.extend(failures);
            }
            None => out.error(format!("configuration change of unknown lockspace {name}")),
        }
        Touched::One(name)
    }

    fn message(
        &mut self,
        group: Group,
        from: NodeId,
        packet: &Packet,
        length: usize,
        out: &mut Out<'_>,
    ) -> Touched {
        if packet.sender != from {
            out.error(format!("{group}: bad msg nodeid {} from {from}, ignored", packet.sender));
            return Touched::All;
        }
        match group {
            Group::Daemon => {
                self.daemon_message(from, &packet.message, out);
                Touched::All
            }
            Group::Lockspace(name) => {
                let Some(lockspace) = self.lockspaces.get_mut(&name) else {
                    let what = packet.message.name();
                    out.error(format!(
                        "{what} message from {from} of unknown lockspace {name} ignored"
                    ));
                    return Touched::One(name);
                };
                let awaited = lockspace.plocks.awaited();
                lockspace.message(from, packet, length, &self.world, out);
                if packet.message.is_about_plocks() && !lockspace.has_handed_over() {
                    // Nothing else ever waits for a word about POSIX locks, but for the end of a transfer.
                    lockspace.note_plocks(awaited, out.now.mono, &mut self.deadlines);
                    Touched::Nobody
                } else {
                    Touched::One(name)
                }
            }
        }
    }

    fn daemon_message(&mut self, from: NodeId, message: &Message, out: &mut Out<'_>) {
        match message {
            Message::RunRequest(request) => self.runs.request(from, request, &self.world, out),
            Message::RunReply(reply) => self.runs.reply(from, reply, out),
            message => self.group_message(from, message, out),
        }
    }

    fn group_message(&mut self, from: NodeId, message: &Message, out: &mut Out<'_>) {
        let World { setup, cluster, daemons } = &mut self.world;
        match message {
            Message::Protocol(protocol) => {
                if daemons.protocol(from, protocol, cluster, setup, out) {
                    out.push(Effect::Ready);
                    for lockspace in self.lockspaces.values_mut() {
                        lockspace.begin_join(out);
                    }
                }
            }
            Message::FenceResult(result) => daemons.fence_result(from, result, setup, out),
            Message::FenceClear(clear) => daemons.fence_clear(from, clear, out),
            Message::FencePast(past) => daemons.fence_past(from, past, out),
            // Not ours, or a lockspace's.
            Message::RunRequest(_)
            | Message::RunReply(_)
            | Message::Other { .. }
            | Message::Start(_)
            | Message::Plock(_)
            | Message::PlockOwn { .. }
            | Message::PlockDrop { .. }
            | Message::PlockSyncLock(_)
            | Message::PlockSyncWaiter(_)
            | Message::PlocksData(_)
            | Message::PlocksDone(_)
            | Message::ReleaseRecover { .. }
            | Message::Withdraw { .. } => {
                out.error(format!("{}: {}", Group::Daemon, message.misplaced(from)));
            }
        }
    }

    fn plock_request(&mut self, info: PlockInfo, out: &mut Out<'_>) {
        let name = self.ids.get(&info.fsid);
        match name.and_then(|name| self.lockspaces.get_mut(name)) {
            Some(lockspace) => {
                let awaited = lockspace.plocks.awaited();
                lockspace.plock_request(info, &self.world, out);
                lockspace.note_plocks(awaited, out.now.mono, &mut self.deadlines);
            }
            // The kernel waits for it all the same.
            None if !info.is_close() => {
                let off = !self.world.setup.fixed.plock.is_on();
                let result = if off { -ENOSYS } else { -EEXIST };
                if !off {
                    // Without the process, so that a crowd of them fills no log: a line that repeats is counted.
                    out.error(format!(
                        "plock request for lockspace id {:08x}, which is none of this node (see dlm_tool ls): refused with EEXIST",
                        info.fsid.0
                    ));
                }
                out.push(Effect::PlockResult(PlockInfo { result, ..info }));
            }
            None => {}
        }
    }

    fn join_failed(&mut self, group: Group, why: &str, out: &mut Out<'_>) -> Touched {
        match group {
            Group::Daemon => {
                out.push(Effect::Refuse { why: format!("cannot join dlm:controld: {why}") });
                Touched::All
            }
            Group::Lockspace(name) => {
                if let Some(lockspace) = self.lockspaces.get_mut(&name) {
                    lockspace.join_failed(why, out);
                }
                Touched::One(name)
            }
        }
    }

    fn online(&mut self, name: LockspaceName, out: &mut Out<'_>) -> Touched {
        match self.lockspaces.get_mut(&name) {
            Some(known) => known.online_again(out),
            None => self.create(name.clone(), out),
        }
        Touched::One(name)
    }

    pub(crate) fn create(&mut self, name: LockspaceName, out: &mut Out<'_>) {
        self.created = self.created.wrapping_add(1);
        let options = self.world.setup.lockspaces.get(&name).cloned().unwrap_or_default();
        let mut lockspace = Lockspace::new(
            self.created,
            name.clone(),
            options,
            Word::of(&self.world.setup.fixed),
            out.now.mono,
        );
        if self.world.daemons.is_settled() {
            lockspace.begin_join(out);
        }
        lockspace.note(out.now.mono, &mut self.deadlines);
        self.ids.insert(lockspace.global_id, name.clone());
        self.lockspaces.insert(name, lockspace);
    }

    fn offline(&mut self, name: LockspaceName, release_recover: u32, out: &mut Out<'_>) -> Touched {
        match self.lockspaces.get_mut(&name) {
            Some(known) => known.offline(release_recover, &self.world, out),
            None => {
                out.error(format!("offline uevent for unknown lockspace {name}: let it go"));
                let token =
                    out.kernel(Lane::Lockspace(name.clone()), KernelWrite::EventDone { result: 0 });
                self.note_stray(token, &name, WriteKind::EventDone, out);
            }
        }
        Touched::One(name)
    }

    fn kernel_done(
        &mut self,
        token: Token,
        result: Result<(), String>,
        out: &mut Out<'_>,
    ) -> Touched {
        if let Some(Stray { name, .. }) = self.strays.remove(&token) {
            if let Err(error) = result {
                out.error(format!("lockspace {name}: {error}"));
            }
            if !self.lockspaces.contains_key(&name) {
                out.push(Effect::Retire(name));
            }
            return Touched::All;
        }
        if self.world.cluster.kernel_done(token, result.clone(), out) {
            return Touched::All;
        }
        let owner = self.writing.remove(&token).and_then(|name| self.lockspaces.get_mut(&name));
        match owner.filter(|lockspace| lockspace.owns(token)) {
            Some(lockspace) => {
                lockspace.kernel_done(token, result, out);
                let name = lockspace.name.clone();
                let all = self.world.mutated(Mutant::OneLane);
                if all { Touched::All } else { Touched::One(name) }
            }
            None => Touched::All,
        }
    }

    fn withdraw(&mut self, table: String, name: &LockspaceName, out: &mut Out<'_>) {
        match self.lockspaces.get_mut(name) {
            Some(lockspace) => lockspace.withdraw(table, &self.world, out),
            // Not of a lockspace of ours, and yet its kernel waits: let it go on.
            None => {
                let token =
                    out.kernel(Lane::Lockspace(name.clone()), KernelWrite::AckWithdraw { table });
                self.note_stray(token, name, WriteKind::AckWithdraw, out);
            }
        }
    }
}

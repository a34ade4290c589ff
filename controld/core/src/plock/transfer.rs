//! State for joiners: one member sends all it has, those who need it save what is said meanwhile (spec/plocks.md
//! section 7).
//!
//! What is sent is the state **at the barrier**; what is said after the barrier is saved by the joiner and carried out on
//! top of it, in its order, and so are the losses of members. Both sides pass the barrier at the same place of the group's order,
//! so nothing is missing and nothing counts twice. The sender copies its state at the barrier and sends the copy bit by bit: each
//! part that comes back lets the next one go, so that a big transfer does not hold up other lockspaces (defect 55).
//!
//! Whoever goes on without a transfer that was wanted must fail loudly, not be synchronised with half a state: then it stays
//! without, and holds its kernel's requests, until the next barrier brings a new transfer.

use crate::change::Change;
use crate::message::{ChangeCounts, Message, PlocksDone, START_HAVEPLOCK};
use crate::mutants::{Mutant, Mutation};
use crate::out::Out;
use crate::plock::agreement::Agreed;
use crate::plock::resource::Lock;
use crate::plock::resources::{Entry, Owner};
use crate::plock::space::{Plocks, Said, Service};
use crate::plock::voice::Voice;
use crate::plock::{Op, PlockInfo, PlocksData, PlocksPart, TransferEntry};
use crate::types::{ChangeSeq, GlobalId, NodeId};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Entries of one PLOCKS_DATA: what fits into the 1024 bytes that the C daemon takes.
const ENTRIES_MAX: usize = 24;

/// PLOCKS_DATA on their way through the group at most; few in unit tests, whose transfers are small.
const ON_WAY_MAX: usize = if cfg!(test) { 2 } else { 64 };

/// Parts and entries of one PLOCKS_BATCH: some 16 kB, for what a message costs beside its bytes is then spent once for
/// hundreds of locks, and another lockspace's message waits for a dozen frames at most. Few in unit tests.
const BATCH_MAX: usize = if cfg!(test) { 4 } else { 400 };

/// PLOCKS_BATCH on their way through the group at most: as many bytes as of PLOCKS_DATA.
const BATCHES_ON_WAY_MAX: usize = if cfg!(test) { 2 } else { 4 };

/// Messages that a joiner saves at most, some 110 MB: several seconds of the fastest ring. One more, and the transfer has failed.
const SAVED_MAX: usize = 1 << 20;

/// Bytes of a message before its first part, of a part before its entries, and of an entry, for the log.
const HEADER: usize = 40;
const PART_HEAD: usize = 24;
const ENTRY: usize = 40;

/// How complete our state is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Progress {
    /// We have nothing, and what is said does not concern us: the next transfer contains it.
    Needing,
    /// A barrier is behind us: state comes, and what is said is saved.
    Receiving(Incoming),
    /// As complete as everybody's.
    Synchronised,
}

/// A transfer to us.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Incoming {
    from: NodeId,
    /// The sender's number of the change, from its START. What it sent for an earlier one is none of this.
    seq: ChangeSeq,
    /// Why the sender would say that all is sent although nothing was.
    mistrust: Option<Mistrust>,
    parts: u32,
    /// In a recording it is part of the locks.
    #[serde(skip)]
    pub(super) saved: VecDeque<Saved>,
}

/// Why the end of a transfer is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Mistrust {
    /// A C daemon sends state only for members that joined since its last start. If the one that should have sent us
    /// ours died, its successor says "done" and has sent nothing (defect 4).
    NobodyJoined,
}

impl Mistrust {
    const fn text(self) -> &'static str {
        match self {
            Self::NobodyJoined => "a C daemon sends nothing where nobody has joined",
        }
    }
}

/// Something to carry out once the state is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Saved {
    Said(NodeId, Said),
    /// A member left or failed.
    Gone(NodeId),
}

impl Incoming {
    /// Who sends it.
    pub(super) fn sender(&self) -> NodeId {
        self.from
    }

    /// # Errors
    /// There is no more room.
    pub(super) fn save(&mut self, saved: Saved) -> Result<(), &'static str> {
        if self.saved.len() >= SAVED_MAX {
            return Err("too much was said meanwhile");
        }
        self.saved.push_back(saved);
        Ok(())
    }
}

/// A transfer of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Outgoing {
    seq: ChangeSeq,
    /// Not sent yet. In a recording they are part of the locks.
    #[serde(skip)]
    pub(super) parts: VecDeque<PlocksPart>,
    /// Several in one message: every daemon understands that.
    together: bool,
    on_way: usize,
    sent: u32,
    /// Members that need it.
    needing: BTreeSet<NodeId>,
    /// What the end will say of the change.
    counts: Option<ChangeCounts>,
}

impl Outgoing {
    /// What the next message brings; `None` where nothing is left, or enough is on its way.
    fn next_message(&mut self) -> Option<Vec<PlocksPart>> {
        let (most, on_way_max) =
            if self.together { (BATCH_MAX, BATCHES_ON_WAY_MAX) } else { (0, ON_WAY_MAX) };
        if self.on_way >= on_way_max {
            return None;
        }
        let mut parts = vec![self.parts.pop_front()?];
        let size = |part: &PlocksPart| part.entries.len().saturating_add(1);
        let mut total: usize = parts.iter().map(size).sum();
        while let Some(next) = self.parts.front() {
            total = total.saturating_add(size(next));
            if total > most {
                break;
            }
            parts.extend(self.parts.pop_front());
        }
        Some(parts)
    }
}

/// A completed barrier.
pub(crate) struct Barrier<'a> {
    pub(crate) change: &'a Change,
    /// Barriers that we had completed before it.
    pub(crate) started_count: u32,
    /// Somebody joined in one of the changes since the last one.
    pub(crate) joined: bool,
    /// Members that run a daemon of ours, which sends state whenever somebody needs it.
    pub(crate) ours: BTreeSet<NodeId>,
    /// All daemons understand PLOCKS_BATCH.
    pub(crate) batches: bool,
    /// What all of them do from here on.
    pub(crate) agreed: Agreed,
    pub(crate) mutation: Mutation,
}

impl Plocks {
    /// Everybody has said START, and our kernel is about to be started: who has the state, who needs it?
    pub(crate) fn barrier(&mut self, barrier: &Barrier<'_>, voice: &Voice<'_>, out: &mut Out<'_>) {
        self.results.release(out);
        if self.service == Service::Off {
            return;
        }
        voice.debug(String::from("prepare_plocks"), out);
        self.agree(barrier.agreed, voice, out);
        self.outgoing = Outgoing::default();
        let change = barrier.change;
        let holder = change.members.iter().find(|(_, member)| member.has_plocks).map(|(id, _)| *id);
        let alone = change.members.len() == 1;
        let Some(holder) = holder.filter(|_| !alone) else {
            // Nobody else has anything: what there is begins here, with what we have if we have it all.
            self.data_node = alone.then_some(voice.us);
            self.begin_empty(voice, out);
            return;
        };
        let before = self.data_node.map_or(0, NodeId::get);
        voice.debug(format!("set_plock_data_node from {before} to {holder}"), out);
        self.data_node = Some(holder);
        if holder == voice.us {
            self.send_all(barrier, voice, out);
        } else if !self.is_synchronised() {
            self.receive_from(holder, barrier, voice, out);
        }
    }

    fn begin_empty(&mut self, voice: &Voice<'_>, out: &mut Out<'_>) {
        if !self.is_synchronised() {
            self.resources.clear();
            self.results.meters.all_gave_up();
            self.progress = Progress::Synchronised;
            self.take_held(voice, out);
        }
    }

    fn receive_from(
        &mut self,
        holder: NodeId,
        barrier: &Barrier<'_>,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        voice.debug(String::from("save_plocks start"), out);
        let mistrust =
            (!barrier.joined && !barrier.ours.contains(&holder)).then_some(Mistrust::NobodyJoined);
        let member = barrier.change.members.get(&holder);
        if !barrier.mutation.has(Mutant::KeepAbortedTransfer) {
            self.resources.clear();
        }
        self.progress = Progress::Receiving(Incoming {
            from: holder,
            seq: member.and_then(|member| member.again.or(member.start)).unwrap_or_default(),
            mistrust,
            parts: 0,
            saved: VecDeque::new(),
        });
    }

    /// A member has passed our barrier later than we, or will do so: what it sends is the state from then, and what was said
    /// before is in it.
    pub(crate) fn barrier_is_later(&mut self, member: NodeId, seq: ChangeSeq) {
        let Progress::Receiving(incoming) = &mut self.progress else { return };
        if incoming.parts > 0 {
            return;
        }
        if incoming.from == member && incoming.seq < seq {
            incoming.seq = seq;
        }
        incoming.saved.clear();
    }

    /// We have the state, and send it to whoever has not. Also where nobody joined: the member that should have done it
    /// after an earlier barrier may have died (defect 4).
    fn send_all(&mut self, barrier: &Barrier<'_>, voice: &Voice<'_>, out: &mut Out<'_>) {
        let change = barrier.change;
        let nobody = !barrier.joined && barrier.mutation.has(Mutant::SendOnlyToJoiners);
        let needing = change.members.iter().filter(|(_, member)| !member.has_plocks && !nobody);
        self.outgoing = Outgoing {
            seq: change.seq,
            needing: needing.map(|(node, _)| *node).collect(),
            counts: Some(change.counts(barrier.started_count)),
            together: barrier.batches,
            ..Outgoing::default()
        };
        if !self.outgoing.needing.is_empty() {
            voice.debug(format!("send_all_plocks_data {}:{}", voice.us, change.seq), out);
            for (number, entry) in self.resources.in_order() {
                add_parts(number, entry, voice.us, &mut self.outgoing.parts);
            }
        }
        self.send_more(voice, out);
    }

    /// As much as may be on its way; at the end, that it is the end.
    fn send_more(&mut self, voice: &Voice<'_>, out: &mut Out<'_>) {
        let outgoing = &mut self.outgoing;
        let seq = outgoing.seq;
        while let Some(parts) = outgoing.next_message() {
            let data = PlocksData { seq, parts };
            voice.detail(format!("send_plocks_data {}:{seq} {}", voice.us, data_text(&data)), out);
            voice.send(Message::PlocksData(data), out);
            outgoing.on_way = outgoing.on_way.saturating_add(1);
            outgoing.sent = outgoing.sent.saturating_add(1);
        }
        if !outgoing.parts.is_empty() {
            return;
        }
        if let Some(counts) = outgoing.counts.take() {
            let sent = outgoing.sent;
            if !outgoing.needing.is_empty() {
                voice.debug(format!("send_all_plocks_data {}:{seq} {sent} done", voice.us), out);
            }
            send_done(seq, sent, counts, voice, out);
        }
    }

    /// Members are gone: their locks too, and the transfer if nobody needs it any more.
    pub(crate) fn members_gone(&mut self, gone: &[NodeId], voice: &Voice<'_>, out: &mut Out<'_>) {
        for node in gone {
            self.outgoing.needing.remove(node);
            match &mut self.progress {
                Progress::Needing => {}
                Progress::Receiving(incoming) => {
                    if let Err(why) = incoming.save(Saved::Gone(*node)) {
                        self.fail_transfer(why, voice, out);
                    }
                }
                Progress::Synchronised => self.purge(*node, voice, out),
            }
        }
        if !gone.is_empty() && self.outgoing.needing.is_empty() {
            self.outgoing = Outgoing::default();
        }
    }

    /// A part of a transfer.
    pub(crate) fn data(
        &mut self,
        from: NodeId,
        data: &PlocksData,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        if from == voice.us {
            if data.seq == self.outgoing.seq {
                self.outgoing.on_way = self.outgoing.on_way.saturating_sub(1);
                self.send_more(voice, out);
            }
            return;
        }
        // To others, or to us in an earlier life.
        let Progress::Receiving(incoming) = &mut self.progress else { return };
        if (incoming.from, incoming.seq) != (from, data.seq) {
            let (sender, seq) = (incoming.from, incoming.seq);
            voice.debug(
                format!(
                    "recv_plocks_data {from}:{} ignored: ours is to come from {sender}:{seq}",
                    data.seq
                ),
                out,
            );
            return;
        }
        incoming.parts = incoming.parts.wrapping_add(1);
        voice.detail(format!("recv_plocks_data {from}:{} {}", data.seq, data_text(data)), out);
        let accepted = data.parts.iter().try_for_each(|part| self.accept(part, voice, out));
        if let Err(why) = accepted {
            let text = format!("recv_plocks_data {from}:{} {}: {why}", data.seq, data_text(data));
            voice.error(text, out);
            self.fail_transfer("a part of it cannot be", voice, out);
        }
    }

    fn accept(
        &mut self,
        part: &PlocksPart,
        voice: &Voice<'_>,
        out: &Out<'_>,
    ) -> Result<(), &'static str> {
        let PlocksPart { number, continues, entries, .. } = part;
        let owner = match NodeId::new(part.owner) {
            None => Owner::Nobody { established: true },
            Some(_) if self.service != Service::Owned => {
                return Err("it has an owner, but plock_ownership is off here");
            }
            Some(node) => Owner::Node(node),
        };
        if *continues != self.resources.contains(*number) {
            return Err("its beginning is missing, or comes twice");
        }
        let (entry, index) = self.resources.find_or_make(*number, owner, out.now.mono);
        owner.node().into_iter().for_each(|node| index.note(*number, node, entry));
        let all = entries.iter().all(|part| {
            index.note(*number, part.holder.node, entry);
            if part.waiter {
                entry.resource.push_waiter(waiter(part, *number, voice.global_id))
            } else {
                entry.resource.push_lock(lock(part))
            }
        });
        index.note_untried(*number, entry);
        if all { Ok(()) } else { Err("a range ends before it begins") }
    }

    /// The end of a transfer.
    pub(crate) fn done(
        &mut self,
        from: NodeId,
        done: &PlocksDone,
        started: Option<&Change>,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        let (seq, count) = (done.seq, done.data_count);
        let (need, save) = match &self.progress {
            Progress::Needing => (1, 0),
            Progress::Receiving(_) => (1, 1),
            Progress::Synchronised => (0, 0),
        };
        voice.debug(
            format!(
                "receive_plocks_done {from}:{seq} flags {:x} plocks_data {count} need {need} save {save}",
                done.flags
            ),
            out,
        );
        let Progress::Receiving(incoming) = &self.progress else { return };
        // A word about an earlier change.
        if (incoming.from, incoming.seq) != (from, seq) {
            return;
        }
        if !started.is_some_and(|change| change.fits(&done.counts)) {
            self.fail_transfer("its end names another change", voice, out);
        } else if let Some(why) = incoming.mistrust {
            self.fail_transfer(why.text(), voice, out);
        } else if incoming.parts != count {
            self.fail_transfer("parts of it are missing", voice, out);
        } else {
            self.replay(from, seq, voice, out);
        }
    }

    fn replay(&mut self, from: NodeId, seq: ChangeSeq, voice: &Voice<'_>, out: &mut Out<'_>) {
        let Progress::Receiving(incoming) =
            core::mem::replace(&mut self.progress, Progress::Synchronised)
        else {
            return;
        };
        voice.debug(String::from("process_saved_plocks begin"), out);
        let count = incoming.saved.len();
        for saved in incoming.saved {
            match saved {
                Saved::Said(from, said) => self.hear(from, said, voice, out),
                Saved::Gone(node) => self.purge(node, voice, out),
            }
        }
        voice.debug(format!("process_saved_plocks {count} done"), out);
        let parts = incoming.parts;
        voice.debug(format!("receive_plocks_done {from}:{seq} plocks_data_count {parts}"), out);
        self.look_at_all_later(voice, out.now.mono);
        self.take_held(voice, out);
    }

    /// Half a state would be taken for the whole: rather none.
    pub(super) fn fail_transfer(&mut self, why: &str, voice: &Voice<'_>, out: &mut Out<'_>) {
        voice.error(
            format!(
                "transfer of POSIX locks to us failed: {why}; they wait here until the lockspace's members change"
            ),
            out,
        );
        self.resources.clear();
        self.progress = Progress::Needing;
    }
}

fn data_text(data: &PlocksData) -> String {
    let parts = data.parts.len();
    let count = data.parts.iter().map(|part| part.entries.len()).fold(0, usize::saturating_add);
    let heads = parts.saturating_mul(PART_HEAD).saturating_add(HEADER);
    let length = count.saturating_mul(ENTRY).saturating_add(heads);
    match data.parts.as_slice() {
        [part] => format!("n {} o {} locks {count} len {length}", part.number, part.owner),
        _ => format!("resources {parts} locks {count} len {length}"),
    }
}

fn send_done(
    seq: ChangeSeq,
    data_count: u32,
    counts: ChangeCounts,
    voice: &Voice<'_>,
    out: &mut Out<'_>,
) {
    voice.debug(
        format!(
            "send_plocks_done {}:{seq} counts {} {} {} {} {} plocks_data {data_count}",
            voice.us,
            counts.started_count,
            counts.member_count,
            counts.joined_count,
            counts.remove_count,
            counts.failed_count
        ),
        out,
    );
    let done = PlocksDone { seq, flags: START_HAVEPLOCK, data_count, counts };
    voice.send(Message::PlocksDone(done), out);
}

/// What of a resource a joiner needs: its owner, and the locks and waiters that are everybody's.
fn add_parts(number: u64, entry: &Entry, us: NodeId, parts: &mut VecDeque<PlocksPart>) {
    let owner = match entry.owner {
        // Whoever asks first will say so to the joiner too.
        Owner::Unknown => return,
        // Our OWN that gives it up, and our locks before it, are on their way.
        Owner::Nobody { established: false } => us.get(),
        Owner::Nobody { established: true } => 0,
        Owner::Node(node) => node.get(),
    };
    // What is ours alone is nobody's business. Of another owner's resource, or of one that we are giving up, there is here
    // what SYNC messages have brought so far.
    let entries = if entry.owner == Owner::Node(us) { Vec::new() } else { entries(entry) };
    let mut chunks = entries.chunks(ENTRIES_MAX);
    let mut part = |continues, entries: &[TransferEntry]| {
        parts.push_back(PlocksPart { number, owner, continues, entries: entries.to_vec() });
    };
    // The C daemon does not take entries together with an owner: let it have the owner at least.
    part(false, if owner == 0 { chunks.next().unwrap_or_default() } else { &[] });
    for chunk in chunks {
        part(true, chunk);
    }
}

/// Locks, then waiters; those that a SYNC message brings are left out.
fn entries(entry: &Entry) -> Vec<TransferEntry> {
    let locks = entry.resource.locks().filter(|(_, syncing)| !syncing);
    let waiters = entry.resource.waiters().filter(|(_, syncing)| !syncing);
    let locks = locks.map(|(lock, _)| transfer_entry(lock, false));
    locks.chain(waiters.map(|(info, _)| transfer_entry(&Lock::of(info), true))).collect()
}

pub(super) fn transfer_entry(lock: &Lock, waiter: bool) -> TransferEntry {
    let Lock { start, end, holder, pid, mode } = *lock;
    TransferEntry { start, end, holder, pid, mode, waiter }
}

fn lock(part: &TransferEntry) -> Lock {
    let TransferEntry { start, end, holder, pid, mode, .. } = *part;
    Lock { start, end, holder, pid, mode }
}

/// A waiter of another node: what is not sent is of no use here.
fn waiter(part: &TransferEntry, number: u64, fsid: GlobalId) -> PlockInfo {
    PlockInfo {
        version: [0; 3],
        op: Op::Lock,
        mode: part.mode,
        wait: true,
        flags: 0,
        pid: part.pid,
        node: part.holder.node,
        result: 0,
        fsid,
        number,
        start: part.start,
        end: part.end,
        owner: part.holder.owner,
    }
}

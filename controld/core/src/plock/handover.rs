//! A file of ours becomes everybody's: its locks and waiters are said one after the other, then that nobody owns it
//! (spec/plocks.md section 5).
//!
//! A file may have a hundred thousand locks. So, as in a transfer, what comes back through the group lets the next go, and files
//! that are given up at the same time take turns. Nothing is copied for that: from the first word until our OWN of nobody is back
//! no request is carried out for the file here, so it stays as it was. Of each file the others see what they would see if all
//! was said at once.
//!
//! A START in front of which all must be said waits for the last word, and where C daemons have ownership too nothing begins between
//! our START and its barrier (see `agreement`).

use crate::message::Message;
use crate::out::Out;
use crate::plock::index::Derived;
use crate::plock::resource::{Cursor, Lock, Part};
use crate::plock::resources::{Entry, Owner};
use crate::plock::space::{Plocks, Said};
use crate::plock::voice::Voice;
use crate::plock::{Op, PlockInfo};
use crate::types::GlobalId;
use alloc::collections::{BTreeSet, VecDeque};
use serde::{Deserialize, Serialize};

/// Words of ours about files that we give up, on their way through the group at most: some 30 kB, half of what a transfer has
/// there, for a file's other users wait for the last of them. Few in unit tests, whose files have few locks.
pub(super) const ON_WAY_MAX: usize = if cfg!(test) { 2 } else { 256 };

/// Files that become everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Handovers {
    /// Something of them has been said, or will be with the next turn.
    begun: VecDeque<Handover>,
    /// Still ours, to be given up after those: we yield.
    ahead: VecDeque<u64>,
    /// Words on their way through the group.
    on_way: usize,
    /// Nothing begins before the next barrier.
    rests: bool,
    /// Asked for meanwhile.
    asked: BTreeSet<u64>,
}

/// A file that is being given up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Handover {
    number: u64,
    /// So many of its locks and waiters.
    said: usize,
    /// Behind those; not known of what comes from a recording.
    #[serde(skip)]
    cursor: Derived<Option<Cursor>>,
}

impl Handovers {
    /// Give up these, one after the other; nothing has been said of what was to be given up until now.
    pub(super) fn queue(&mut self, numbers: VecDeque<u64>) {
        self.ahead = numbers;
    }

    /// Whether what is asked for from now on waits for the next barrier.
    pub(super) const fn rest(&mut self, rests: bool) {
        self.rests = rests;
    }

    /// The last word.
    pub(super) fn disown(
        &mut self,
        number: u64,
        entry: &mut Entry,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        entry.owner = Owner::Nobody { established: false };
        voice.send(Message::PlockOwn { number, owner: None }, out);
        self.on_way = self.on_way.saturating_add(1);
    }
}

impl Plocks {
    /// Another node asks for a resource of ours: everybody gets its locks, and then it is nobody's.
    pub(super) fn give_up(&mut self, number: u64, voice: &Voice<'_>, out: &mut Out<'_>) {
        if self.handovers.rests {
            self.handovers.asked.insert(number);
            return;
        }
        self.begin_handover(number, out);
        self.hand_over(voice, out);
    }

    /// The barrier is there for which they rested.
    pub(super) fn begin_rested(&mut self, voice: &Voice<'_>, out: &mut Out<'_>) {
        self.handovers.rests = false;
        for number in core::mem::take(&mut self.handovers.asked) {
            // Else it was dropped meanwhile.
            let entry = self.resources.get_mut(number);
            if entry.is_some_and(|entry| entry.owner == Owner::Node(voice.us)) {
                self.begin_handover(number, out);
            }
        }
        self.hand_over(voice, out);
    }

    fn begin_handover(&mut self, number: u64, out: &Out<'_>) {
        let Some(entry) = self.resources.find(number, out.now.mono) else { return };
        entry.owner = Owner::Nobody { established: false };
        entry.resource.mark_syncing();
        let cursor = Derived(Some(Cursor::default()));
        self.handovers.begun.push_back(Handover { number, said: 0, cursor });
        self.results.meters.given_up();
    }

    /// Something is still to be said.
    pub(super) fn is_handing_over(&self) -> bool {
        !self.handovers.begun.is_empty() || !self.handovers.ahead.is_empty()
    }

    /// Say as much as may be on its way.
    pub(super) fn hand_over(&mut self, voice: &Voice<'_>, out: &mut Out<'_>) {
        while self.handovers.on_way < ON_WAY_MAX {
            if let Some(handover) = self.handovers.begun.pop_front() {
                self.say_next(handover, voice, out);
            } else if let Some(number) = self.handovers.ahead.pop_front() {
                // Else somebody has asked for it meanwhile.
                if self.resources.get_mut(number).is_some_and(|e| e.has_locks_of_owner(voice.us)) {
                    self.begin_handover(number, out);
                }
            } else {
                return;
            }
        }
    }

    fn say_next(&mut self, mut handover: Handover, voice: &Voice<'_>, out: &mut Out<'_>) {
        let number = handover.number;
        let Some(entry) = self.resources.get_mut(number) else { return };
        let Handover { said, cursor: Derived(cursor), .. } = &mut handover;
        let cursor = cursor.get_or_insert_with(|| entry.resource.cursor_behind(*said));
        let message = match entry.resource.next_part(cursor) {
            Some(Part::Lock(lock)) => Message::PlockSyncLock(lock_info(&lock, number)),
            Some(Part::Waiter(waiter)) => Message::PlockSyncWaiter(waiter),
            None => return self.handovers.disown(number, entry, voice, out),
        };
        voice.send(message, out);
        *said = said.saturating_add(1);
        self.handovers.on_way = self.handovers.on_way.saturating_add(1);
        self.handovers.begun.push_back(handover);
    }

    /// A word of ours is back.
    pub(super) fn note_said(&mut self, said: &Said) {
        if let Said::Own { owner: None, .. } | Said::SyncLock(_) | Said::SyncWaiter(_) = said {
            self.handovers.on_way = self.handovers.on_way.saturating_sub(1);
        }
    }
}

/// A SYNC_LOCK names what the lock is, and nothing else.
fn lock_info(lock: &Lock, number: u64) -> PlockInfo {
    PlockInfo {
        version: [0; 3],
        op: Op::Unknown(0),
        mode: lock.mode,
        wait: false,
        flags: 0,
        pid: lock.pid,
        node: lock.holder.node,
        result: 0,
        fsid: GlobalId::default(),
        number,
        start: lock.start,
        end: lock.end,
        owner: lock.holder.owner,
    }
}

#[cfg(test)]
impl Handovers {
    pub(super) fn on_way(&self) -> usize {
        self.on_way
    }

    /// Only what a recording holds is known.
    pub(super) fn as_from_a_recording(&mut self) {
        for handover in &mut self.begun {
            handover.cursor = Derived::default();
        }
    }
}

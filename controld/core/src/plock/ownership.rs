//! Ownership: a file that one node alone locks is answered there without any message, until a second node asks
//! for it (spec/plocks.md section 5).
//!
//! The first node that asks says OWN, and answers its requests from then on. When another one says OWN, the owner hands
//! over all locks by SYNC messages and says OWN of nobody: from there on the resource is replicated. What two nodes say at
//! the same time is put in order by the group, and every member draws the same conclusion from the same order.
//! A resource that nobody has used for a while is forgotten: first the owner gives it up, then a DROP frees it everywhere.

use crate::message::Message;
use crate::options::DynamicOptions;
use crate::out::Out;
use crate::plock::PlockInfo;
use crate::plock::errno::ENOENT;
use crate::plock::resource::Lock;
use crate::plock::resources::{Entry, Owner};
use crate::plock::results::Asked;
use crate::plock::space::{Plocks, Said, Service};
use crate::plock::voice::{Shown, Voice};
use crate::types::{Instant, NodeId};
use alloc::format;
use serde::{Deserialize, Serialize};

/// When to look for unused resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Drops {
    due: Option<Instant>,
}

impl Plocks {
    /// A request of our kernel.
    pub(super) fn take_owned(&mut self, asked: Asked, voice: &Voice<'_>, out: &mut Out<'_>) {
        let number = asked.info.number;
        let (entry, _) = self.resources.find_or_make(number, Owner::Unknown, out.now.mono);
        match entry.owner {
            Owner::Nobody { established: true } => self.multicast(asked, voice, out),
            // Behind our OWN of nobody: older ones may come back until then.
            Owner::Nobody { established: false } => entry.keep(asked),
            Owner::Node(node)
                if node == voice.us && (self.yielding || self.in_flight.is_about(number)) =>
            {
                entry.keep(asked);
            }
            Owner::Node(node) if node == voice.us => {
                self.apply(&asked.info, Some(&asked), voice, out);
            }
            Owner::Unknown | Owner::Node(_) => self.claim(asked, voice, out),
        }
    }

    /// The resource is ours: carry out what waited for that, but nothing before an older one is back.
    pub(super) fn apply_pending(&mut self, number: u64, voice: &Voice<'_>, out: &mut Out<'_>) {
        if self.yielding || self.in_flight.is_about(number) {
            return;
        }
        let Some(entry) = self.resources.find(number, out.now.mono) else { return };
        for asked in core::mem::take(&mut entry.pending) {
            self.apply(&asked.info, Some(&asked), voice, out);
        }
    }

    /// Ask for a resource, and keep the request until there is an answer. One that waits already has asked.
    fn claim(&mut self, asked: Asked, voice: &Voice<'_>, out: &mut Out<'_>) {
        let number = asked.info.number;
        let (entry, _) = self.resources.find_or_make(number, Owner::Unknown, out.now.mono);
        if entry.pending.is_empty() && !self.yielding {
            voice.send(Message::PlockOwn { number, owner: Some(voice.us) }, out);
        }
        entry.keep(asked);
    }

    /// A PLOCK; `asked`: of ours.
    pub(super) fn hear_owned_plock(
        &mut self,
        info: &PlockInfo,
        asked: Option<Asked>,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        let entry = self.resources.find(info.number, out.now.mono);
        let owner = entry.as_ref().map(|entry| entry.owner);
        let ours = owner == Some(Owner::Node(voice.us));
        match (asked, entry) {
            (asked, _) if owner == Some(Owner::Nobody { established: true }) => {
                self.apply(info, asked.as_ref(), voice, out);
            }
            // Sent before we owned it. For everybody else we own it still, so nobody carries this out: say it again, behind
            // our OWN of nobody.
            (Some(asked), Some(entry)) if matches!(entry.owner, Owner::Nobody { .. }) => {
                entry.keep(asked);
            }
            (Some(asked), Some(entry)) if ours && self.yielding => entry.keep(asked),
            (Some(asked), _) if ours => {
                self.apply(info, Some(&asked), voice, out);
                self.apply_pending(info.number, voice, out);
            }
            // Its process has closed the file meanwhile, and the CLOSE is on its way: granted behind that, the lock would
            // belong to nobody. To claim the file would do just that, where another node owns it.
            (Some(asked), _) if self.in_flight.closes_later(&asked) => {
                self.results.finish(&asked, -ENOENT, out);
            }
            // Freed, perhaps claimed anew, while the request was on its way.
            (Some(asked), _) => self.claim(asked, voice, out),
            // The sender finds the same, and sends it again.
            (None, _) => {}
        }
    }

    /// OWN, DROP or SYNC.
    pub(super) fn hear_owned(
        &mut self,
        from: NodeId,
        said: Said,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        if from == voice.us {
            self.note_said(&said);
        }
        match said {
            Said::Own { number, owner } => {
                voice.detail(
                    format!(
                        "receive_own {number:x} from {from} owner {}",
                        owner.map_or(0, NodeId::get)
                    ),
                    out,
                );
                self.hear_own(from, number, owner, voice, out);
                self.look_later(number, voice, out.now.mono);
            }
            Said::Drop { number } => {
                voice.detail(format!("receive_drop {number:x} from {from}"), out);
                self.hear_drop(from, number, voice, out);
            }
            Said::SyncLock(info) | Said::SyncWaiter(info) => {
                voice.detail(format!("receive sync from {from} {}", Shown(&info)), out);
                self.hear_sync(from, said, &info, voice, out);
            }
            Said::Plock(_) => {}
        }
        self.hand_over(voice, out);
    }

    fn hear_own(
        &mut self,
        from: NodeId,
        number: u64,
        owner: Option<NodeId>,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        let us = voice.us;
        let (entry, index) = self.resources.find_or_make(number, Owner::Unknown, out.now.mono);
        let before = entry.owner;
        match (owner, before) {
            (Some(owner), _) if owner != from => self.odd(from, number, before, voice, out),
            (Some(_), Owner::Unknown) => {
                entry.owner = Owner::Node(from);
                index.note(number, from, entry);
                if from == us {
                    self.results.meters.owned();
                    self.apply_pending(number, voice, out);
                }
            }
            // Said twice: freed and asked for again while the first OWN was on its way.
            (Some(_), Owner::Node(node)) if node == us && from == us => {}
            (Some(_), Owner::Node(node)) if node == us => self.give_up(number, voice, out),
            // The owner will hear it, and say that nobody owns it; or nobody does.
            (Some(_), Owner::Node(_) | Owner::Nobody { .. }) => {}
            (None, Owner::Nobody { .. }) if from == us => {
                entry.owner = Owner::Nobody { established: true };
                self.send_pending(number, voice, out);
            }
            (None, Owner::Node(node)) if from != us && node == from => {
                entry.owner = Owner::Nobody { established: true };
                self.send_pending(number, voice, out);
            }
            (None, _) => self.odd(from, number, before, voice, out),
        }
    }

    fn odd(&self, from: NodeId, number: u64, owner: Owner, voice: &Voice<'_>, out: &mut Out<'_>) {
        let text = format!(
            "receive_own {number:x} from {from} ignored: its owner here is {}",
            owner.number()
        );
        voice.error(text, out);
    }

    /// Nobody owns the resource any more: what waited for that goes to everybody.
    fn send_pending(&mut self, number: u64, voice: &Voice<'_>, out: &mut Out<'_>) {
        let Some(entry) = self.resources.find(number, out.now.mono) else { return };
        for asked in core::mem::take(&mut entry.pending) {
            self.multicast(asked, voice, out);
        }
    }

    fn hear_sync(
        &mut self,
        from: NodeId,
        said: Said,
        info: &PlockInfo,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        let found = self.resources.find_with_index(info.number, out.now.mono);
        let Some((entry, index)) = found else {
            voice.error(
                format!("receive sync from {from} ignored: no resource {:x}", info.number),
                out,
            );
            return;
        };
        // Between the owner's OWN and its OWN of nobody, it alone can know of a lock that others do not have.
        if from != voice.us && entry.owner != Owner::Node(from) {
            let text = format!(
                "receive sync from {from} ignored: the owner of {:x} here is {}",
                info.number,
                entry.owner.number()
            );
            voice.error(text, out);
            return;
        }
        let known = if from == voice.us {
            entry.resource.synced(info)
        } else if matches!(said, Said::SyncLock(_)) {
            entry.resource.push_lock(Lock::of(info))
        } else {
            entry.resource.push_waiter(*info)
        };
        index.note(info.number, info.node, entry);
        index.note_untried(info.number, entry);
        if !known {
            voice.error(format!("receive sync from {from} fits nothing: {}", Shown(info)), out);
        }
    }

    fn hear_drop(&mut self, from: NodeId, number: u64, voice: &Voice<'_>, out: &mut Out<'_>) {
        let Some(entry) = self.resources.find(number, out.now.mono) else { return };
        // A late word of somebody who found it unused as well: it has been freed since, and claimed anew. For the others we
        // own it until our OWN of nobody is delivered.
        if entry.owner != (Owner::Nobody { established: true }) {
            return;
        }
        if !entry.pending.is_empty() {
            voice.error(format!("receive_drop {number:x} from {from}: requests wait for it"), out);
        } else if entry.resource.is_empty() {
            self.resources.remove(number);
            self.results.meters.dropped();
        }
    }

    /// When unused resources are due to be looked for.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.drops.due
    }

    /// Have the resource looked at once it may be old enough, if it is of those that can be dropped.
    pub(super) fn look_later(&mut self, number: u64, voice: &Voice<'_>, now: Instant) {
        if self.service == Service::Owned
            && self.resources.note_idle(number, voice.us)
            && self.drops.due.is_none()
        {
            self.drops.due = Some(now.plus_millis(voice.unused_millis));
        }
    }

    /// The same where much may have become unused at once.
    pub(super) fn look_at_all_later(&mut self, voice: &Voice<'_>, now: Instant) {
        self.resources.note_idle_unknown();
        if self.service == Service::Owned && self.drops.due.is_none() {
            self.drops.due = Some(now.plus_millis(voice.unused_millis));
        }
    }

    /// Give up, or forget, what nobody has used for long.
    pub(crate) fn drop_unused(
        &mut self,
        options: &DynamicOptions,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        let now = out.now.mono;
        if self.drops.due.is_none_or(|due| due > now) {
            return;
        }
        self.drops.due = None;
        // What is said meanwhile is carried out at the end of the transfer: said again and again until then, it would be a storm. All
        // is looked at anew then.
        if !self.is_synchronised() {
            return;
        }
        if self.yielding {
            self.drops.due = Some(now.plus_millis(voice.unused_millis));
            return;
        }
        let age = options.drop_resources_age_millis;
        let pause = now.plus_millis(options.drop_resources_time_millis.max(1));
        // Newest first, as the C daemon walks.
        let count = options.drop_resources_count;
        let is_old = |used: Instant| used.plus_millis(age) <= now;
        let (old, next) = self.resources.old(voice.us, count, is_old);
        let next = next.map(|used| used.plus_millis(age).max(pause));
        self.drops.due = if old.is_empty() { next } else { Some(pause) };
        for number in old.into_iter().take(count) {
            let Some(entry) = self.resources.get_mut(number) else { continue };
            match entry.owner {
                Owner::Nobody { established: true } => {
                    voice.send(Message::PlockDrop { number }, out);
                }
                Owner::Node(_) => self.handovers.disown(number, entry, voice, out),
                Owner::Unknown | Owner::Nobody { established: false } => {}
            }
        }
    }
}

impl Entry {
    /// Who waits here may get its lock now. While an owner hands the resource over, only a part of its locks and waiters may
    /// be known here, and what the owner itself granted would come too late for its SYNC messages.
    pub(super) fn may_grant(&self, us: NodeId) -> bool {
        match self.owner {
            Owner::Nobody { established } => established,
            Owner::Node(node) => node == us,
            Owner::Unknown => false,
        }
    }

    /// Nobody has a lock, and this node may say so.
    pub(super) fn is_idle_at(&self, us: NodeId) -> bool {
        let by_us = matches!(self.owner, Owner::Nobody { .. }) || self.owner == Owner::Node(us);
        by_us && self.resource.is_empty() && self.pending.is_empty()
    }
}

/// The owner is gone: nobody owns it, and what waited for its word can be sent.
pub(super) fn orphan(entry: &mut Entry, gone: NodeId) -> impl Iterator<Item = Asked> + use<> {
    let orphaned = entry.owner == Owner::Node(gone);
    if orphaned {
        entry.owner = Owner::Nobody { established: true };
    }
    let pending = if orphaned { core::mem::take(&mut entry.pending) } else { Default::default() };
    pending.into_iter()
}

#[cfg(test)]
impl Plocks {
    /// What is idle is noted, and looked at some time.
    pub(super) fn check_idle(&self, us: NodeId) {
        if self.service == Service::Owned && self.is_synchronised() {
            self.resources.check_idle(us);
            let idle = self.resources.iter().any(|(_, entry)| entry.is_idle_at(us));
            assert!(!idle || self.drops.due.is_some());
        }
    }
}

//! A request is carried out, and who waited goes on: where every member does the same (spec/plocks.md sections 2 and 4).

use crate::out::Out;
use crate::plock::errno::{CONFLICT, EINVAL, ENOENT};
use crate::plock::ownership::orphan;
use crate::plock::resource::Answer;
use crate::plock::resources::Owner;
use crate::plock::results::Asked;
use crate::plock::space::{Plocks, Service};
use crate::plock::voice::{Shown, Voice};
use crate::plock::{Op, PlockInfo};
use crate::types::NodeId;
use alloc::format;
use alloc::vec::Vec;

impl Plocks {
    /// Carry out a request. `asked`: it is ours, and the kernel is told the result.
    pub(super) fn apply(
        &mut self,
        info: &PlockInfo,
        asked: Option<&Asked>,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        match info.op {
            Op::Lock => self.lock(info, asked, voice, out),
            Op::Unlock => self.unlock(info, asked, voice, out),
            Op::Get => {
                if let Some(asked) = asked {
                    self.look(asked, voice, out);
                }
            }
            Op::Cancel => {
                let entry = self.resources.find(info.number, out.now.mono);
                let found = entry.is_some_and(|entry| entry.resource.cancel(info));
                self.results.meters.gave_up(info);
                self.results.finish_ours(asked, if found { 0 } else { -ENOENT }, out);
                self.free_if_empty(info.number, voice, out);
            }
            Op::Unknown(number) => {
                voice.error(format!("receive_plock error from {} optype {number}", info.node), out);
            }
        }
    }

    fn lock(
        &mut self,
        info: &PlockInfo,
        asked: Option<&Asked>,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        let owner = Owner::Nobody { established: true };
        let (entry, index) = self.resources.find_or_make(info.number, owner, out.now.mono);
        index.note(info.number, info.node, entry);
        match entry.resource.lock(info) {
            Answer::Granted => self.results.finish_ours(asked, 0, out),
            Answer::Conflict => self.results.finish_ours(asked, CONFLICT, out),
            Answer::Queued => {
                if let Some(asked) = asked {
                    self.results.meters.waits(info, asked.since);
                }
            }
            Answer::Invalid => self.results.finish_ours(asked, -EINVAL, out),
        }
        let (granted, empty) = entry.run_waiters(info.number, index);
        self.granted(info.number, granted, empty, voice, out);
    }

    fn unlock(
        &mut self,
        info: &PlockInfo,
        asked: Option<&Asked>,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        let found = self.resources.find_with_index(info.number, out.now.mono);
        let Some((entry, index)) = found else {
            self.results.finish_ours(asked, 0, out);
            return;
        };
        let mut cleared = Vec::new();
        entry.resource.unlock(info, &mut cleared);
        for waiter in &cleared {
            self.results.meters.gave_up(waiter);
            voice.error(format!("clear waiter {}", Shown(waiter)), out);
        }
        self.results.finish_ours(asked, 0, out);
        let (granted, empty) = entry.run_waiters(info.number, index);
        self.granted(info.number, granted, empty, voice, out);
    }

    /// F_GETLK, of ours.
    fn look(&mut self, asked: &Asked, voice: &Voice<'_>, out: &mut Out<'_>) {
        let entry = self.resources.find(asked.info.number, out.now.mono);
        match entry.and_then(|entry| entry.resource.get(&asked.info)) {
            None => self.results.finish(asked, 0, out),
            Some(lock) => {
                // The node too, or the kernel shows a process of another node as one of ours.
                let result = PlockInfo {
                    mode: lock.mode,
                    pid: lock.pid,
                    node: lock.holder.node,
                    start: lock.start,
                    end: lock.end,
                    result: 1,
                    ..asked.info
                };
                self.results.answer(asked, result, out);
            }
        }
        self.free_if_empty(asked.info.number, voice, out);
    }

    /// Who waited for a file has its lock now. `empty`: nobody has any more there, which was not noted yet.
    fn granted(
        &mut self,
        number: u64,
        granted: Vec<PlockInfo>,
        empty: bool,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        for info in granted.into_iter().filter(|info| info.node == voice.us) {
            self.results.granted(info, out);
        }
        if empty {
            self.free_if_empty(number, voice, out);
        }
    }

    /// Without ownership a resource lives as long as its locks.
    fn free_if_empty(&mut self, number: u64, voice: &Voice<'_>, out: &Out<'_>) {
        if self.service == Service::Owned {
            self.look_later(number, voice, out.now.mono);
            return;
        }
        let entry = self.resources.find(number, out.now.mono);
        if entry.is_some_and(|entry| entry.resource.is_empty()) {
            self.resources.remove(number);
        }
    }

    /// A member is gone: so are its locks, at this place of the group's order.
    pub(super) fn purge(&mut self, node: NodeId, voice: &Voice<'_>, out: &mut Out<'_>) {
        let mut purged = 0_usize;
        let mut granted = Vec::new();
        let mut orphans: Vec<Asked> = Vec::new();
        for number in self.resources.take_of(node) {
            let Some((entry, index)) = self.resources.get_with_index(number) else { continue };
            purged = purged.saturating_add(entry.resource.purge(node));
            orphans.extend(orphan(entry, node));
            if entry.may_grant(voice.us) {
                entry.resource.run_waiters(&mut granted);
            }
            index.note_untried(number, entry);
            if self.service == Service::Owned {
                self.look_later(number, voice, out.now.mono);
            } else if entry.resource.is_empty() {
                self.resources.remove(number);
            }
        }
        for info in granted.into_iter().filter(|info| info.node == voice.us) {
            self.results.granted(info, out);
        }
        for asked in orphans {
            self.multicast(asked, voice, out);
        }
        voice.debug(format!("purged {purged} plocks for {node}"), out);
    }
}

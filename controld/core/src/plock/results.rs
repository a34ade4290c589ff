//! In which order the kernel gets its answers (spec/plocks.md section 1, Matching).
//!
//! The kernel gives a result without `wait` to the first such request of the lockspace that it has handed over and that has no
//! answer yet. So these results must go out in the order of the requests, whatever finishes first: a finished one waits
//! until all earlier ones are finished. Results with `wait` name their request, and go out as they come.
//!
//! From a member's failure until the next start everything is held back here: what follows from the purge of a dead but
//! unfenced node must not reach applications, for that node may still write (promise 5).

use crate::effect::Effect;
use crate::out::Out;
use crate::plock::PlockInfo;
use crate::plock::errno::EINTR;
use crate::plock::meters::Meters;
use crate::types::Instant;
use alloc::collections::VecDeque;
use serde::{Deserialize, Serialize};

/// The place of a request in the order of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Ticket(u64);

/// A request on its way through the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) info: PlockInfo,
    /// Its place among all requests read.
    pub(super) serial: u64,
    /// When it was read.
    pub(super) since: Instant,
    /// `None`: it may wait, or closes the file.
    ticket: Option<Ticket>,
}

/// A request without `wait`, and its result once that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Owed {
    request: PlockInfo,
    result: Option<PlockInfo>,
}

/// What is owed to the kernel, and what it is not to see yet. Bounded by the processes that wait in the kernel: one
/// request each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Results {
    /// Ticket of the front of `owed`.
    first: u64,
    /// Requests read so far.
    read: u64,
    /// Requests without `wait`, oldest first, with their results as far as they are known.
    owed: VecDeque<Owed>,
    /// A member has failed since the last start.
    holding: bool,
    /// Held back, in their order.
    held: VecDeque<PlockInfo>,
    /// What is counted on the way. Nothing is decided by it: a replay counts from its beginning.
    #[serde(skip)]
    pub(super) meters: Meters,
}

impl Results {
    /// A request has been read.
    pub(super) fn asked(&mut self, info: PlockInfo, since: Instant) -> Asked {
        self.meters.asked(&info);
        let serial = self.read;
        self.read = serial.wrapping_add(1);
        if info.wait || info.is_close() {
            return Asked { info, serial, since, ticket: None };
        }
        let place = u64::try_from(self.owed.len()).unwrap_or(u64::MAX);
        self.owed.push_back(Owed { request: info, result: None });
        Asked { info, serial, since, ticket: Some(Ticket(self.first.wrapping_add(place))) }
    }

    /// A request is finished.
    pub(super) fn finish(&mut self, asked: &Asked, result: i32, out: &mut Out<'_>) {
        self.answer(asked, PlockInfo { result, ..asked.info }, out);
    }

    /// The same, where it is ours.
    pub(super) fn finish_ours(&mut self, asked: Option<&Asked>, result: i32, out: &mut Out<'_>) {
        if let Some(asked) = asked {
            self.finish(asked, result, out);
        }
    }

    /// A request is finished, and its result has other fields than the request.
    pub(super) fn answer(&mut self, asked: &Asked, result: PlockInfo, out: &mut Out<'_>) {
        self.meters.answered(asked.since, &result, out.now.mono);
        let Some(Ticket(number)) = asked.ticket else {
            // The kernel has forgotten a CLOSE: an answer would be taken for another's.
            if !asked.info.is_close() {
                self.put(result, out);
            }
            return;
        };
        let place = usize::try_from(number.wrapping_sub(self.first)).ok();
        if let Some(owed) = place.and_then(|place| self.owed.get_mut(place)) {
            owed.result = Some(result);
        }
        while let Some(result) = self.owed.front().and_then(|owed| owed.result) {
            self.owed.pop_front();
            self.first = self.first.wrapping_add(1);
            self.put(result, out);
        }
    }

    /// The process of a waiting lock is gone. That says nothing of anybody's locks, so it is held back by nothing: there may be
    /// a new one to be killed all the time.
    pub(super) fn gone(&mut self, asked: &Asked, out: &mut Out<'_>) {
        let result = PlockInfo { result: -EINTR, ..asked.info };
        self.meters.answered(asked.since, &result, out.now.mono);
        out.push(Effect::PlockResult(result));
    }

    /// A waiting lock of ours is granted.
    pub(super) fn granted(&mut self, info: PlockInfo, out: &mut Out<'_>) {
        self.meters.granted(&info, out.now.mono);
        self.put(PlockInfo { result: 0, ..info }, out);
    }

    /// A member has failed: nothing more reaches the kernel until `release`.
    pub(super) fn hold(&mut self) {
        self.holding = true;
    }

    /// A process closes a file: what it was granted and not told, it has no more. A killed one is not told anything, so
    /// what is held back is bounded by the processes that live.
    pub(super) fn close(&mut self, info: &PlockInfo, out: &mut Out<'_>) {
        self.held.retain(|held| {
            let ends = held.wait && (held.number, held.owner) == (info.number, info.owner);
            if ends {
                out.push(Effect::PlockResult(PlockInfo { result: -EINTR, ..*held }));
            }
            !ends
        });
    }

    /// A start is decided: whoever failed is fenced.
    pub(super) fn release(&mut self, out: &mut Out<'_>) {
        self.holding = false;
        for result in core::mem::take(&mut self.held) {
            out.push(Effect::PlockResult(result));
        }
    }

    /// The lockspace is gone: no success is true any more. `waiting`: requests that no result is known of.
    pub(super) fn abandon(
        self,
        waiting: impl Iterator<Item = PlockInfo>,
        errno: i32,
        out: &mut Out<'_>,
    ) {
        let owed = self.owed.into_iter().map(|owed| owed.request);
        for info in self.held.into_iter().chain(owed).chain(waiting) {
            let result = if info.result < 0 { info.result } else { -errno };
            out.push(Effect::PlockResult(PlockInfo { result, ..info }));
        }
    }

    fn put(&mut self, result: PlockInfo, out: &mut Out<'_>) {
        if self.holding {
            self.held.push_back(result);
        } else {
            out.push(Effect::PlockResult(result));
        }
    }
}

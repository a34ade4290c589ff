//! Requests of our kernel that nobody else has heard of: until we are synchronised, or until it is known who answers for their
//! file. Whoever waits with one of them may be killed or interrupted meanwhile, and that may last: without the state, until the
//! lockspace's members change; where ownership is yielded, until a barrier that may not come.

use crate::out::Out;
use crate::plock::resource::Lock;
use crate::plock::resources::Owner;
use crate::plock::results::Asked;
use crate::plock::space::Plocks;
use crate::plock::voice::Voice;
use crate::plock::{Op, PlockInfo};
use alloc::collections::VecDeque;

impl Plocks {
    /// Whether there is anything to do for a request behind what it ends here: a CLOSE ends what its process waits for, or what
    /// is not sent would pile up with every process that is killed; a CANCEL that for which it is meant.
    pub(super) fn goes_on(&mut self, asked: &Asked, voice: &Voice<'_>, out: &mut Out<'_>) -> bool {
        let goes_on = match asked.info.op {
            _ if asked.info.is_close() => self.close_unsent(&asked.info, out),
            Op::Cancel => !self.cancel_unsent(asked, out),
            Op::Lock | Op::Unlock | Op::Get | Op::Unknown(_) => true,
        };
        if !goes_on {
            self.forget_unasked(asked.info.number);
            self.look_later(asked.info.number, voice, out.now.mono);
        }
        goes_on
    }

    /// What is not sent about a file. Before we are synchronised it may be about others as well.
    fn unsent(&mut self, number: u64) -> Option<&mut VecDeque<Asked>> {
        if self.is_synchronised() {
            self.resources.get_mut(number).map(|entry| &mut entry.pending)
        } else {
            Some(&mut self.held)
        }
    }

    /// Whether there may be something to close all the same.
    fn close_unsent(&mut self, close: &PlockInfo, out: &mut Out<'_>) -> bool {
        let same =
            |asked: &Asked| (asked.info.number, asked.info.owner) == (close.number, close.owner);
        let synchronised = self.is_synchronised();
        let Some(unsent) = self.unsent(close.number) else { return true };
        if synchronised && unsent.is_empty() {
            return true;
        }
        let ends = |asked: &Asked| same(asked) && waits(&asked.info);
        let (ended, rest): (VecDeque<Asked>, VecDeque<Asked>) =
            core::mem::take(unsent).into_iter().partition(ends);
        *unsent = rest;
        let asked = unsent.iter().any(same);
        for waiter in &ended {
            self.results.gone(waiter, out);
        }
        let entry = self.resources.get_mut(close.number);
        asked
            || self.in_flight.is_of(close.owner, close.number)
            || entry.is_some_and(|entry| entry.resource.is_of(close.holder()))
    }

    /// A waiting lock that nobody has heard of is cancelled here, whoever the others are. It gets no answer, the CANCEL does.
    fn cancel_unsent(&mut self, asked: &Asked, out: &mut Out<'_>) -> bool {
        let wanted = Lock::of(&asked.info);
        let meant = |other: &Asked| {
            waits(&other.info)
                && other.info.number == asked.info.number
                && Lock::of(&other.info) == wanted
        };
        let Some(unsent) = self.unsent(asked.info.number) else { return false };
        let place = unsent.iter().position(meant);
        let cancelled = place.and_then(|place| unsent.remove(place)).is_some();
        if cancelled {
            self.results.finish(asked, 0, out);
        }
        cancelled
    }

    /// A file that was to be asked for is nobody's wish any more: nobody would ask, nor drop it. If we have asked already, the
    /// answer makes it again.
    fn forget_unasked(&mut self, number: u64) {
        let entry = self.resources.get_mut(number);
        if entry.is_some_and(|entry| entry.owner == Owner::Unknown && entry.pending.is_empty()) {
            self.resources.remove(number);
        }
    }
}

fn waits(info: &PlockInfo) -> bool {
    info.op == Op::Lock && info.wait
}

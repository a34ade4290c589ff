//! Files that nobody has locked: so that to look for those that nobody has used for long costs what is found, and not a walk over
//! all files.
//!
//! A file is noted when it becomes idle. A use of it changes nothing here: that is seen when it would be old enough, and it waits
//! anew then, or is forgotten here if somebody has locked it. So an owner's lock and unlock of a file that is noted cost nothing.

use crate::types::Instant;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// What is noted: all files that are idle, and some that were.
#[derive(Clone, Debug)]
pub(super) struct Idle {
    /// More may be idle than is noted.
    unknown: bool,
    /// Noted since the last look.
    news: Vec<u64>,
    /// By a use of theirs, which was their last one when they were looked at.
    by_use: BTreeSet<(Instant, u64)>,
    /// Old enough then; by the number of their creation, newest first.
    old: BTreeSet<(Reverse<u64>, u64)>,
}

/// In a recording nothing is noted.
impl Default for Idle {
    fn default() -> Self {
        Self { unknown: true, news: Vec::new(), by_use: BTreeSet::new(), old: BTreeSet::new() }
    }
}

/// A file that is idle: the number of its creation, and its last use.
pub(super) type Unused = (u64, Instant);

impl Idle {
    /// A file has become idle.
    pub(super) fn note(&mut self, number: u64) {
        self.news.push(number);
    }

    /// Much may have become idle.
    pub(super) fn note_unknown(&mut self) {
        self.unknown = true;
    }

    /// More may be idle than is noted; whoever asks notes it.
    pub(super) fn take_unknown(&mut self) -> bool {
        core::mem::take(&mut self.unknown)
    }

    /// Those that are old enough, newest first, so many at most, but one if there is one; they stay noted. With it, the earliest last
    /// use of the others. `look`: whether a file is idle; if not, it is not noted any more.
    pub(super) fn old(
        &mut self,
        count: usize,
        is_old: impl Fn(Instant) -> bool,
        mut look: impl FnMut(u64) -> Option<Unused>,
    ) -> (Vec<u64>, Option<Instant>) {
        for number in core::mem::take(&mut self.news) {
            self.by_use.extend(look(number).map(|(_, used)| (used, number)));
        }
        let mut next = None;
        while let Some((noted, number)) = self.by_use.pop_first() {
            match look(number) {
                Some((created, used)) if used == noted && is_old(used) => {
                    self.old.insert((Reverse(created), number));
                }
                Some((_, used)) => {
                    self.by_use.insert((used, number));
                    if used == noted {
                        next = Some(used);
                        break;
                    }
                }
                None => {}
            }
        }
        let mut found = Vec::new();
        while found.len() < count.max(1) {
            let Some(old @ (Reverse(noted), number)) = self.old.pop_first() else { break };
            match look(number) {
                // Forgotten since, and made anew.
                Some((created, _)) if created != noted => {}
                Some((_, used)) if is_old(used) => found.push(old),
                Some((_, used)) => {
                    self.by_use.insert((used, number));
                    next = next.into_iter().chain([used]).min();
                }
                None => {}
            }
        }
        self.old.extend(found.iter().copied());
        (found.into_iter().map(|(_, number)| number).collect(), next)
    }
}

//! A segment, step by step: the event is shown before the core sees it, then the effects, compared with the recorded ones.

use crate::digest::Digest;
use crate::file::{Locks, Opening, ReadError, Stamp, decode};
use dlm_core::Core;
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::types::Now;

/// A segment that is being replayed.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    name: String,
    core: Core,
    locks: Locks,
    step: u64,
    last: Now,
    rest: &'a [u8],
}

/// Something that happened, and has not been given to the core yet.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number in the daemon's life, from 1.
    pub number: u64,
    /// When.
    pub now: Now,
    /// What.
    pub event: Event,
    /// Of the effects; `None`: the daemon died in this step, or the recording was made in the midst of it.
    pub recorded: Option<Digest>,
}

/// What a step came to.
#[derive(Clone, Debug)]
pub struct Taken {
    /// What the core asked for.
    pub effects: Vec<Effect>,
    /// Compared with the recording.
    pub verdict: Verdict,
}

/// How effects compare with recorded ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same.
    Same,
    /// The same, but for those about POSIX locks, which cannot be compared: the recording has no locks here.
    SameButLocks,
    /// Others.
    Different,
    /// Not recorded.
    Unknown,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(
        name: String,
        opening: Opening,
        core: Core,
        locks: Locks,
        rest: &'a [u8],
    ) -> Self {
        Self { name, core, locks, step: opening.step, last: opening.now, rest }
    }

    /// When the segment begins.
    #[must_use]
    pub const fn begins(&self) -> Now {
        self.last
    }

    /// Number of its first, or next, step.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.step
    }

    /// The POSIX locks were too many for the recording: effects about them are not compared.
    #[must_use]
    pub fn is_without_locks(&self) -> bool {
        self.locks == Locks::LeftOut
    }

    /// The state, before the next step.
    #[must_use]
    pub const fn core(&self) -> &Core {
        &self.core
    }

    /// What happened next; `None` at the end.
    ///
    /// # Errors
    /// It cannot be decoded; nothing more can be read of this segment.
    pub fn next_step(&mut self) -> Result<Option<Step>, ReadError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let ((stamp, event), rest): ((Stamp, Event), _) = decode(self.rest, &self.name)?;
        let (recorded, rest) = if rest.is_empty() {
            (None, rest)
        } else {
            let (digest, rest) = decode(rest, &self.name)?;
            (Some(digest), rest)
        };
        self.rest = rest;
        self.last = stamp.after(self.last);
        let step = Step { number: self.step, now: self.last, event, recorded };
        self.step = self.step.saturating_add(1);
        Ok(Some(step))
    }

    /// Give a step to the core. In the daemon's place, it may end here as the daemon did.
    pub fn take(&mut self, step: Step) -> Taken {
        let mut effects = Vec::new();
        self.core.step(step.now, step.event, &mut effects);
        let now = Digest::of(&effects);
        let verdict = match step.recorded {
            None => Verdict::Unknown,
            Some(then) if then == now => Verdict::Same,
            Some(then) if self.is_without_locks() && then.decisions == now.decisions => {
                Verdict::SameButLocks
            }
            Some(_) => Verdict::Different,
        };
        Taken { effects, verdict }
    }

    /// This segment, at its end, has the state with which another begins; `None` where the one is not the continuation of
    /// the other, or where locks are missing.
    #[must_use]
    pub fn leads_to(&self, next: &Replay<'_>) -> Option<bool> {
        let comparable = self.rest.is_empty()
            && self.step == next.step
            && self.locks == Locks::Whole
            && next.locks == Locks::Whole;
        comparable.then(|| self.core == next.core)
    }
}

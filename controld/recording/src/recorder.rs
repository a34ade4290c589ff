//! The recorder at work: a ring of segments in memory that is asked for once.
//!
//! A step costs the encoding of its event and of its effects. A segment begins with the state, which is encoded in between
//! two events: its size is bounded so that nobody waits for that, and POSIX locks, of which there may be any number, are
//! left out where they are too many. The event is noted before the core sees it, so that the last one of a daemon that
//! dies of it is there.

use crate::digest::{DIGEST_BYTES, Digest};
use crate::file::{self, Locks, Opening, Reason, Stamp};
use dlm_core::Core;
use dlm_core::event::Event;
use dlm_core::types::Now;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use std::collections::VecDeque;

/// Segments of a ring: when the oldest goes, three quarters of the past stay.
const SEGMENTS: usize = 4;

/// Of a segment the state may be half at most, so that there is room for what happens.
const STATE_SHARE: usize = 2;

/// Of a segment the POSIX locks may be an eighth at most: some 700 locks of 1 MiB's segments, a tenth of a millisecond
/// for each segment.
const LOCKS_SHARE: usize = 8;

/// Steps without a recording before a state that was too big is tried again.
const RETRY_STEPS: u64 = 4096;

/// How much memory a recording may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity(usize);

/// Bytes of a KiB.
const KIB: usize = 1024;

impl Capacity {
    /// The least: less has no room for a state with a few lockspaces.
    pub const KIB_MIN: u32 = 64;
    /// The most: somebody writes a number that he does not mean.
    pub const KIB_MAX: u32 = 65536;

    /// From a number of KiB, which is brought into the bounds.
    #[must_use]
    pub fn kib(kib: u32) -> Self {
        let kib = kib.clamp(Self::KIB_MIN, Self::KIB_MAX);
        Self(usize::try_from(kib).unwrap_or(0).saturating_mul(KIB))
    }

    /// Of any size: for tests, as most is said where there is little room.
    #[must_use]
    pub const fn bytes(bytes: usize) -> Self {
        Self(bytes)
    }

    const fn segment(self) -> usize {
        self.0 / SEGMENTS
    }
}

/// One segment: its bytes as they go into a file.
#[derive(Debug, Default)]
struct Part {
    /// As long as the segment may be.
    room: Vec<u8>,
    used: usize,
}

impl Part {
    fn used(&self) -> &[u8] {
        self.room.get(..self.used).unwrap_or_default()
    }

    /// Append; `spare` bytes stay free behind it. Nothing changes where it does not fit.
    fn put(&mut self, value: &impl Serialize, spare: usize, limit: usize) -> bool {
        let end = self.room.len().saturating_sub(spare).min(self.used.saturating_add(limit));
        let Some(free) = self.room.get_mut(self.used..end) else { return false };
        match postcard::serialize_with_flavor(value, Free { free, used: 0 }) {
            Ok(written) => {
                self.used = self.used.saturating_add(written);
                true
            }
            Err(_) => false,
        }
    }
}

/// Where a value is written to. Nearly all parts of an event are a single byte, which postcard's own slice would copy by a call
/// of memcpy each.
struct Free<'a> {
    free: &'a mut [u8],
    used: usize,
}

impl Flavor for Free<'_> {
    type Output = usize;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        let place = self.free.get_mut(self.used).ok_or(postcard::Error::SerializeBufferFull)?;
        *place = byte;
        self.used = self.used.saturating_add(1);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if let [byte] = bytes {
            return self.try_push(*byte);
        }
        let end = self.used.saturating_add(bytes.len());
        let place = self.free.get_mut(self.used..end);
        place.ok_or(postcard::Error::SerializeBufferFull)?.copy_from_slice(bytes);
        self.used = end;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.used)
    }
}

/// Where the next event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Into the newest segment, behind a step at this time.
    Open(Now),
    /// Into a new one.
    Closed,
    /// Nowhere before this step: the state is too big.
    Off { until: u64 },
}

/// The last events of a core.
#[derive(Debug)]
pub struct Recorder {
    parts: VecDeque<Part>,
    capacity: Capacity,
    state: State,
    /// Steps of the core so far.
    steps: u64,
    /// The event of this step is in the newest segment.
    noted: bool,
}

impl Recorder {
    /// A recorder that has seen nothing.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            parts: VecDeque::with_capacity(SEGMENTS),
            capacity,
            state: State::Closed,
            steps: 0,
            noted: false,
        }
    }

    /// The core is about to be given an event.
    pub fn begin(&mut self, now: Now, event: &Event, core: &Core) {
        self.steps = self.steps.saturating_add(1);
        let fits = match self.state {
            State::Open(last) => self.note(last, now, event),
            State::Off { until } if self.steps < until => return,
            State::Off { .. } | State::Closed => false,
        };
        self.noted = fits || self.open(now, event, core);
        if self.noted {
            self.state = State::Open(now);
        }
    }

    /// What came of it.
    pub fn end(&mut self, digest: Digest) {
        if self.noted {
            self.noted = false;
            if let Some(part) = self.parts.back_mut() {
                part.put(&digest, 0, DIGEST_BYTES);
            }
        }
    }

    /// What has been recorded, as a file. May be called between [`Self::begin`] and [`Self::end`].
    #[must_use]
    pub fn save(&self, now: Now, reason: Reason) -> Vec<u8> {
        let parts: Vec<&[u8]> = self.parts.iter().map(Part::used).collect();
        file::write(now, self.steps, reason, &parts)
    }

    fn note(&mut self, last: Now, now: Now, event: &Event) -> bool {
        let step = (Stamp::between(last, now), event);
        self.parts.back_mut().is_some_and(|part| part.put(&step, DIGEST_BYTES, usize::MAX))
    }

    /// Begin a segment with this event. The oldest one goes, if there is no room.
    fn open(&mut self, now: Now, event: &Event, core: &Core) -> bool {
        let mut part = if self.parts.len() < SEGMENTS {
            Part { room: vec![0; self.capacity.segment()], used: 0 }
        } else {
            self.parts.pop_front().unwrap_or_default()
        };
        part.used = 0;
        if !self.fill(&mut part, now, core) {
            self.state = State::Off { until: self.steps.saturating_add(RETRY_STEPS) };
            return false;
        }
        self.parts.push_back(part);
        let noted = self.note(now, now, event);
        if !noted {
            // An event that is too big for a recording: what follows has a segment of its own.
            self.parts.pop_back();
            self.state = State::Closed;
        }
        noted
    }

    fn fill(&self, part: &mut Part, now: Now, core: &Core) -> bool {
        let size = part.room.len();
        let opening = Opening { now, step: self.steps };
        if !part.put(&opening, 0, size) || !part.put(core, 0, size / STATE_SHARE) {
            return false;
        }
        let before = part.used;
        let whole =
            part.put(&Locks::Whole, 0, size) && part.put(&core.locks(), 0, size / LOCKS_SHARE);
        if !whole {
            part.used = before;
        }
        whole || part.put(&Locks::LeftOut, 0, size)
    }
}

//! A recording as a file.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `dlm-rec` and a newline |
//! | 4 | version, little endian as all numbers of a fixed size |
//! | 4, 4 | length and CRC-32 of the head |
//! | | the head: [`Head`] |
//! | 4, 4 | for each segment: length, CRC-32 |
//! | | the segment: [`Opening`], the core, [`Locks`] (with the locks behind it if it says so), then steps to the end |
//!
//! A step is a [`Stamp`], the event and a digest of 8 bytes. The last digest is missing where the daemon died in that step.
//! Encoded by postcard, as the types' definitions have it: another version of the core may have others, so the head says
//! which core it was.
//!
//! Reading allocates no more than the file's size allows: lengths are checked against what is there.

use crate::FINGERPRINT;
use crate::replay::Replay;
use dlm_core::Core;
use dlm_core::types::{Instant, Now, WallSeconds};
use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"dlm-rec\n";
const VERSION: u32 = 5;

/// Bytes before the head's length.
const NUMBER: usize = 4;

/// No recording is longer; nothing longer is read.
pub const FILE_MAX: usize = 128 * 1024 * 1024;

/// Why a recording was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Somebody asked for it.
    Asked,
    /// The daemon ended, and not in order.
    Ended(String),
    /// The daemon panicked.
    Panicked(String),
}

/// What a file says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`FINGERPRINT`] of the daemon.
    pub core: String,
    /// When it was saved.
    pub saved: Now,
    /// Steps of the daemon until then; the last ones may not have been recorded.
    pub steps: u64,
    /// Why.
    pub reason: Reason,
    /// How many segments follow.
    segments: u32,
}

/// The beginning of a segment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// Time of its first step.
    pub(crate) now: Now,
    /// Number of its first step in the daemon's life.
    pub(crate) step: u64,
}

/// Whether the segment has the POSIX locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Locks {
    /// They follow.
    Whole,
    /// They were too many.
    LeftOut,
}

/// Time since the step before.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    nanos: u64,
    /// The wall clock may be set back.
    wall: i64,
}

impl Stamp {
    pub(crate) fn between(last: Now, now: Now) -> Self {
        let wall = now.wall.0.wrapping_sub(last.wall.0);
        Self {
            nanos: now.mono.as_nanos().wrapping_sub(last.mono.as_nanos()),
            wall: i64::from_le_bytes(wall.to_le_bytes()),
        }
    }

    pub(crate) fn after(self, last: Now) -> Now {
        let wall = u64::from_le_bytes(self.wall.to_le_bytes());
        Now {
            mono: Instant::from_nanos(last.mono.as_nanos().wrapping_add(self.nanos)),
            wall: WallSeconds(last.wall.0.wrapping_add(wall)),
        }
    }
}

pub(crate) fn write(now: Now, steps: u64, reason: Reason, parts: &[&[u8]]) -> Vec<u8> {
    let segments = u32::try_from(parts.len()).unwrap_or(0);
    let head = Head { core: FINGERPRINT.to_owned(), saved: now, steps, reason, segments };
    // Encoding into memory fails for no such value.
    let head = postcard::to_allocvec(&head).unwrap_or_default();
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut file = Vec::with_capacity(length.saturating_add(1024));
    file.extend(MAGIC);
    file.extend(VERSION.to_le_bytes());
    for part in [head.as_slice()].iter().chain(parts) {
        file.extend(u32::try_from(part.len()).unwrap_or(0).to_le_bytes());
        file.extend(crc32fast::hash(part).to_le_bytes());
        file.extend_from_slice(part);
    }
    file
}

/// Why a file cannot be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Anything else, or nothing.
    #[error("this is no recording: it does not begin with \"dlm-rec\"")]
    Magic,
    /// Of another program.
    #[error("the recording has version {0} of the format, this program reads version {VERSION}")]
    Version(u32),
    /// The end is missing.
    #[error("the recording is cut off: {part} needs {needed} bytes, {there} are there")]
    Short {
        /// Of what.
        part: String,
        /// Bytes that it has.
        needed: usize,
        /// Bytes that are left.
        there: usize,
    },
    /// There is more than there should be.
    #[error("{0} bytes follow the end of the recording")]
    Long(usize),
    /// Changed since it was written.
    #[error("{0} is damaged: its checksum does not fit")]
    Checksum(String),
    /// The encoding of another core, or damage that the checksum does not show.
    #[error(
        "{part} cannot be decoded ({source}); a recording can only be replayed by the dlm_tool of its daemon"
    )]
    Encoding {
        /// Of what.
        part: String,
        /// Where it stops making sense.
        source: postcard::Error,
    },
    /// Locks of other lockspaces than there are.
    #[error("{0} has POSIX locks of other lockspaces than it has")]
    Locks(String),
}

/// A recording, read.
#[derive(Clone, Debug)]
pub struct Recording<'a> {
    /// What it says about itself.
    pub head: Head,
    /// Its segments, oldest first.
    pub segments: Vec<Segment<'a>>,
}

impl<'a> Recording<'a> {
    /// Check the form of a file: all but the inside of its segments.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(file: &'a [u8]) -> Result<Self, ReadError> {
        let rest = file.strip_prefix(&MAGIC).ok_or(ReadError::Magic)?;
        let mut reader = Reader { rest };
        let version = reader.number("the version")?;
        if version != VERSION {
            return Err(ReadError::Version(version));
        }
        let head = reader.part("the head")?;
        let (head, tail): (Head, _) = decode(head, "the head")?;
        if !tail.is_empty() {
            return Err(ReadError::Long(tail.len()));
        }
        let mut segments = Vec::new();
        for number in 1..=head.segments {
            let name = format!("segment {number}");
            segments.push(Segment { number, body: reader.part(&name)? });
        }
        match reader.rest {
            [] => Ok(Self { head, segments }),
            more => Err(ReadError::Long(more.len())),
        }
    }

    /// It was made by the core of this build, so it must replay to the same effects.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.head.core == FINGERPRINT
    }
}

/// What is left of a file.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, needed: usize, part: &str) -> Result<&'a [u8], ReadError> {
        let there = self.rest.len();
        let short = || ReadError::Short { part: part.to_owned(), needed, there };
        let (taken, rest) = self.rest.split_at_checked(needed).ok_or_else(short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self, part: &str) -> Result<u32, ReadError> {
        let bytes = self.take(NUMBER, part)?;
        Ok(bytes.try_into().map_or(0, u32::from_le_bytes))
    }

    fn part(&mut self, part: &str) -> Result<&'a [u8], ReadError> {
        let length = self.number(part)?;
        let sum = self.number(part)?;
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX), part)?;
        if crc32fast::hash(bytes) == sum {
            Ok(bytes)
        } else {
            Err(ReadError::Checksum(part.to_owned()))
        }
    }
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    part: &str,
) -> Result<(T, &'a [u8]), ReadError> {
    let encoding = |source| ReadError::Encoding { part: part.to_owned(), source };
    postcard::take_from_bytes(bytes).map_err(encoding)
}

/// A segment, not looked into.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Its place in the file, from 1.
    pub number: u32,
    body: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Its bytes, as they are behind the checksum.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Its state, and the steps that follow.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub fn replay(&self) -> Result<Replay<'a>, ReadError> {
        let name = format!("segment {}", self.number);
        let (opening, rest): (Opening, _) = decode(self.body, &name)?;
        let (mut core, rest): (Core, _) = decode(rest, &name)?;
        let (locks, mut rest): (Locks, _) = decode(rest, &name)?;
        if locks == Locks::Whole {
            let (contents, behind): (dlm_core::recording::Locks, _) = decode(rest, &name)?;
            rest = behind;
            if !core.restore_locks(contents) {
                return Err(ReadError::Locks(name));
            }
        }
        Ok(Replay::new(name, opening, core, locks, rest))
    }
}

/// Any bytes as a recording, and as a segment whose checksum is right: must neither panic nor allocate without bound.
pub fn fuzz_recording(bytes: &[u8]) {
    let file = write(Now::default(), 0, Reason::Asked, &[bytes]);
    for file in [bytes, file.as_slice()] {
        let segments = Recording::read(file).map(|recording| recording.segments);
        for segment in segments.unwrap_or_default() {
            if let Ok(mut replay) = segment.replay() {
                while let Ok(Some(step)) = replay.next_step() {
                    replay.take(step);
                }
            }
        }
    }
}

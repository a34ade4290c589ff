//! The CPG protocol: bytes ⇄ typed messages (spec/cluster-protocol.md).
//!
//! Decides nothing but whether bytes are a message at all. Every length is checked before a field is touched, and
//! nothing here can panic or allocate more than the message's own length, whatever a broken peer sends
//! (spec/defects-and-latency.md item 74). What a well-formed message means, whether its versions fit and whether its
//! sender may send it, is the core's to judge.
//!
//! One file a message family, encode beside decode.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test that cannot go on fails"
    )
)]

mod fence;
mod header;
mod plock;
mod protocol;
mod release;
mod run;
mod start;

#[cfg(test)]
mod tests;

use core::fmt;
use dlm_core::message::{Message, Packet};
use header::{HEADER_LENGTH, Header};
use zerocopy::{FromBytes, Immutable, IntoBytes as _, KnownLayout, Unaligned};

/// Type numbers of the header that have a typed message (spec/cluster-protocol.md section 4).
mod kind {
    pub(super) const PROTOCOL: u16 = 1;
    pub(super) const START: u16 = 2;
    pub(super) const PLOCK: u16 = 3;
    pub(super) const PLOCK_OWN: u16 = 4;
    pub(super) const PLOCK_DROP: u16 = 5;
    pub(super) const PLOCK_SYNC_LOCK: u16 = 6;
    pub(super) const PLOCK_SYNC_WAITER: u16 = 7;
    pub(super) const PLOCKS_DONE: u16 = 8;
    pub(super) const PLOCKS_DATA: u16 = 9;
    pub(super) const FENCE_RESULT: u16 = 14;
    pub(super) const FENCE_CLEAR: u16 = 15;
    pub(super) const RUN_REQUEST: u16 = 16;
    pub(super) const RUN_REPLY: u16 = 17;
    pub(super) const RELEASE_RECOVER: u16 = 19;
    /// Ours, far from what upstream may number next; never sent where a C daemon would see it.
    pub(super) const WITHDRAW: u16 = 1001;
    /// Ours: what several PLOCKS_DATA would bring; never sent where a C daemon would see it.
    pub(super) const PLOCKS_BATCH: u16 = 1002;
}

/// A part of a message, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first 40 bytes of any message.
    Header,
    /// The body of a PROTOCOL message.
    Protocol,
    /// The body of a START message.
    Start,
    /// The record of a message about a POSIX lock.
    Plock,
    /// The body of a PLOCKS_DATA or PLOCKS_BATCH message.
    PlocksData,
    /// The body of a PLOCKS_DONE message.
    PlocksDone,
    /// The body of a FENCE_RESULT message.
    FenceResult,
    /// The body of a FENCE_CLEAR message.
    FenceClear,
    /// The body of a RUN_REQUEST message.
    RunRequest,
    /// The body of a RUN_REPLY message.
    RunReply,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Protocol => "PROTOCOL",
            Self::Start => "START",
            Self::Plock => "PLOCK",
            Self::PlocksData => "PLOCKS_DATA",
            Self::PlocksDone => "PLOCKS_DONE",
            Self::FenceResult => "FENCE_RESULT",
            Self::FenceClear => "FENCE_CLEAR",
            Self::RunRequest => "RUN_REQUEST",
            Self::RunReply => "RUN_REPLY",
        })
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message ends before its fixed part does.
    #[error("{part}: message of {length} bytes, needs {needed}")]
    Short {
        /// What was read.
        part: Part,
        /// Bytes of the whole message.
        length: usize,
        /// Bytes that the whole message must have.
        needed: usize,
    },
    /// A node id is 0, which no node has.
    #[error("{part}: node id 0")]
    NoNode {
        /// Where.
        part: Part,
    },
    /// The message goes on after its fixed part, and may not.
    #[error("{part}: {excess} bytes too many")]
    Long {
        /// What was read.
        part: Part,
        /// Bytes that do not belong there.
        excess: usize,
    },
    /// The name of an operation is empty or cannot be printed.
    #[error("{part}: no uuid")]
    NoUuid {
        /// Where.
        part: Part,
    },
    /// The announced size of a member entry has no room for a node id.
    #[error("{part}: member entries of {size} bytes")]
    MemberSize {
        /// Which message.
        part: Part,
        /// Bytes of an entry, as announced.
        size: u32,
    },
    /// More member entries than any cluster has nodes.
    #[error("{part}: {count} members, more than {max}")]
    TooManyMembers {
        /// Which message.
        part: Part,
        /// Entries, as announced.
        count: u32,
        /// Entries that are accepted.
        max: u32,
    },
    /// The message ends before its last member entry does.
    #[error("{part}: {count} members of {size} bytes announced in {room} bytes")]
    MembersCut {
        /// Which message.
        part: Part,
        /// Entries, as announced.
        count: u32,
        /// Bytes of an entry, as announced.
        size: u32,
        /// Bytes where the entries should be.
        room: usize,
    },
    /// The message ends before its last lock does.
    #[error("{part}: {count} locks announced in {room} bytes")]
    EntriesCut {
        /// Which message.
        part: Part,
        /// Entries, as announced.
        count: u32,
        /// Bytes where the entries should be.
        room: usize,
    },
}

/// Bytes as they came from a CPG group.
///
/// A type that the daemon does not act upon is a [`Message::Other`], whatever its body; bytes that a later version may
/// have appended to a known message are ignored.
///
/// # Errors
/// The first thing that is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<Packet, DecodeError> {
    let (header, body) = header::decode(bytes)?;
    let Header { version, kind, sender, global_id, words } = header;
    let message = match kind {
        kind::PROTOCOL => Message::Protocol(protocol::decode(body)?),
        kind::START => Message::Start(start::decode_start(words, body)?),
        kind::PLOCK => Message::Plock(plock::decode_info(body)?),
        kind::PLOCK_OWN => {
            let (number, owner) = plock::decode_own(body)?;
            Message::PlockOwn { number, owner }
        }
        kind::PLOCK_DROP => Message::PlockDrop { number: plock::decode_own(body)?.0 },
        kind::PLOCK_SYNC_LOCK => Message::PlockSyncLock(plock::decode_info(body)?),
        kind::PLOCK_SYNC_WAITER => Message::PlockSyncWaiter(plock::decode_info(body)?),
        kind::PLOCKS_DATA => Message::PlocksData(plock::decode_data(words, body)?),
        kind::PLOCKS_BATCH => Message::PlocksData(plock::decode_batch(words, body)?),
        kind::PLOCKS_DONE => Message::PlocksDone(start::decode_plocks_done(words, body)?),
        kind::FENCE_RESULT => Message::FenceResult(fence::decode_result(body)?),
        kind::FENCE_CLEAR => fence::decode_clear(body)?,
        kind::RUN_REQUEST => Message::RunRequest(run::decode_request(body)?),
        kind::RUN_REPLY => Message::RunReply(run::decode_reply(body)?),
        kind::RELEASE_RECOVER => release::decode(words),
        kind::WITHDRAW => Message::Withdraw { stopped_for: release::decode_withdraw(words) },
        kind => Message::Other { kind, words, body: body.to_vec() },
    };
    Ok(Packet { version, sender, global_id, message })
}

/// The bytes of a message, for its CPG group.
#[must_use]
pub fn encode(packet: &Packet) -> Vec<u8> {
    let (kind, words) = kind_and_words(&packet.message);
    let header = header::encode(&Header {
        version: packet.version,
        kind,
        sender: packet.sender,
        global_id: packet.global_id,
        words,
    });
    let mut bytes = header.as_bytes().to_vec();
    match &packet.message {
        Message::Protocol(body) => protocol::encode(body, &mut bytes),
        Message::Start(body) => start::encode(&body.counts, &mut bytes),
        Message::Plock(body) | Message::PlockSyncLock(body) | Message::PlockSyncWaiter(body) => {
            plock::encode_info(body, &mut bytes);
        }
        Message::PlockOwn { number, owner } => plock::encode_own(*number, *owner, &mut bytes),
        Message::PlockDrop { number } => plock::encode_own(*number, None, &mut bytes),
        Message::PlocksData(body) => plock::encode_data(body, &mut bytes),
        Message::PlocksDone(body) => start::encode(&body.counts, &mut bytes),
        Message::FenceResult(body) => fence::encode_result(body, &mut bytes),
        Message::FenceClear(body) => fence::encode_clear(body, &mut bytes),
        Message::FencePast(body) => fence::encode_past(packet.sender, body, &mut bytes),
        Message::RunRequest(body) => run::encode_request(body, &mut bytes),
        Message::RunReply(body) => run::encode_reply(body, &mut bytes),
        Message::ReleaseRecover { .. } | Message::Withdraw { .. } => {}
        Message::Other { body, .. } => bytes.extend_from_slice(body),
    }
    bytes
}

/// Type number, and `flags`, `msgdata`, `msgdata2` of the header.
fn kind_and_words(message: &Message) -> (u16, [u32; 3]) {
    match message {
        Message::Protocol(_) => (kind::PROTOCOL, [0; 3]),
        Message::Start(start) => (kind::START, [start.flags, start.seq.get(), 0]),
        Message::Plock(_) => (kind::PLOCK, [0; 3]),
        Message::PlockOwn { .. } => (kind::PLOCK_OWN, [0; 3]),
        Message::PlockDrop { .. } => (kind::PLOCK_DROP, [0; 3]),
        Message::PlockSyncLock(_) => (kind::PLOCK_SYNC_LOCK, [0; 3]),
        Message::PlockSyncWaiter(_) => (kind::PLOCK_SYNC_WAITER, [0; 3]),
        Message::PlocksData(data) => match data.parts.as_slice() {
            [_] => (kind::PLOCKS_DATA, [0, data.seq.get(), 0]),
            parts => (kind::PLOCKS_BATCH, [0, data.seq.get(), plock::count(parts)]),
        },
        Message::PlocksDone(done) => {
            (kind::PLOCKS_DONE, [done.flags, done.seq.get(), done.data_count])
        }
        Message::FenceResult(_) => (kind::FENCE_RESULT, [0; 3]),
        Message::FenceClear(_) | Message::FencePast(_) => (kind::FENCE_CLEAR, [0; 3]),
        Message::RunRequest(_) => (kind::RUN_REQUEST, [0; 3]),
        Message::RunReply(_) => (kind::RUN_REPLY, [0; 3]),
        Message::ReleaseRecover { value } => (kind::RELEASE_RECOVER, release::encode(*value)),
        Message::Withdraw { stopped_for } => {
            (kind::WITHDRAW, release::encode_withdraw(*stopped_for))
        }
        Message::Other { kind, words, .. } => (*kind, *words),
    }
}

/// The fixed part of a body, and what follows it.
fn read<T>(part: Part, body: &[u8]) -> Result<(&T, &[u8]), DecodeError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(body).map_err(|_| DecodeError::Short {
        part,
        length: HEADER_LENGTH.saturating_add(body.len()),
        needed: HEADER_LENGTH.saturating_add(size_of::<T>()),
    })
}

/// Anything at all into the decoder, and what comes out of it back: must neither panic nor change a message.
///
/// # Panics
/// When a decoded message, sent on, would be read as another one: a defect of this room.
#[expect(clippy::panic, reason = "a fuzz target reports what it finds by panicking")]
pub fn fuzz_wire(bytes: &[u8]) {
    if let Ok(packet) = decode(bytes) {
        if decode(&encode(&packet)).as_ref() != Ok(&packet) {
            panic!("{packet:?} is another message after encoding");
        }
    }
}

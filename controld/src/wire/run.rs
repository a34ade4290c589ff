//! RUN_REQUEST (type 16) and RUN_REPLY (type 17), of exactly 1160 and 136 bytes (spec/cluster-protocol.md section 8).

use super::{DecodeError, Part, read};
use dlm_core::message::{RunCounts, RunReply, RunRequest};
use dlm_core::run::{COMMAND_LENGTH, RunUuid, UUID_LENGTH};
use dlm_core::types::NodeId;
use zerocopy::byteorder::little_endian::{I32, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The body of a reply, and the first part of a request.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRun {
    dest: U32,
    start: U32,
    pid: I32,
    result: I32,
    awaited: I32,
    replies: I32,
    failed: I32,
    flags: U32,
    uuid: [u8; UUID_LENGTH],
}

const _: () = assert!(size_of::<RawRun>() == 96);

/// The body of a request. Numbers other than those of [`RunRequest`] are 0 and nobody looks at them.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawRequest {
    run: RawRun,
    command: [u8; COMMAND_LENGTH],
}

const _: () = assert!(size_of::<RawRequest>() == 1120);

/// The body of a RUN_REQUEST.
pub(super) fn decode_request(body: &[u8]) -> Result<RunRequest, DecodeError> {
    let part = Part::RunRequest;
    let raw = read_whole::<RawRequest>(part, body)?;
    let (start, uuid) = names(part, &raw.run)?;
    let command = until_nul(&raw.command);
    Ok(RunRequest {
        dest: NodeId::new(raw.run.dest.get()),
        start,
        flags: raw.run.flags.get(),
        uuid,
        // The last byte counts as NUL whatever it is, as C has it.
        command: command.get(..COMMAND_LENGTH - 1).unwrap_or(command).to_vec(),
    })
}

/// The body of a RUN_REPLY.
pub(super) fn decode_reply(body: &[u8]) -> Result<RunReply, DecodeError> {
    let part = Part::RunReply;
    let raw = read_whole::<RawRun>(part, body)?;
    let (start, uuid) = names(part, raw)?;
    Ok(RunReply {
        dest: NodeId::new(raw.dest.get()),
        start,
        flags: raw.flags.get(),
        uuid,
        pid: raw.pid.get(),
        result: raw.result.get(),
        counts: RunCounts {
            awaited: raw.awaited.get(),
            replies: raw.replies.get(),
            failed: raw.failed.get(),
        },
    })
}

/// Appends the body of a RUN_REQUEST.
pub(super) fn encode_request(request: &RunRequest, bytes: &mut Vec<u8>) {
    let raw = RawRequest {
        run: RawRun {
            dest: request.dest.map_or(0, NodeId::get).into(),
            start: request.start.get().into(),
            pid: I32::ZERO,
            result: I32::ZERO,
            awaited: I32::ZERO,
            replies: I32::ZERO,
            failed: I32::ZERO,
            flags: request.flags.into(),
            uuid: padded(request.uuid.as_str().as_bytes()),
        },
        command: padded(&request.command),
    };
    bytes.extend_from_slice(raw.as_bytes());
}

/// Appends the body of a RUN_REPLY.
pub(super) fn encode_reply(reply: &RunReply, bytes: &mut Vec<u8>) {
    let raw = RawRun {
        dest: reply.dest.map_or(0, NodeId::get).into(),
        start: reply.start.get().into(),
        pid: reply.pid.into(),
        result: reply.result.into(),
        awaited: reply.counts.awaited.into(),
        replies: reply.counts.replies.into(),
        failed: reply.counts.failed.into(),
        flags: reply.flags.into(),
        uuid: padded(reply.uuid.as_str().as_bytes()),
    };
    bytes.extend_from_slice(raw.as_bytes());
}

/// A body that must be as long as its type: peers drop any other.
fn read_whole<T>(part: Part, body: &[u8]) -> Result<&T, DecodeError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    match read::<T>(part, body)? {
        (raw, []) => Ok(raw),
        (_, rest) => Err(DecodeError::Long { part, excess: rest.len() }),
    }
}

/// Who began it, and its name.
fn names(part: Part, raw: &RawRun) -> Result<(NodeId, RunUuid), DecodeError> {
    let start = NodeId::new(raw.start.get()).ok_or(DecodeError::NoNode { part })?;
    let uuid = RunUuid::new(until_nul(&raw.uuid)).ok_or(DecodeError::NoUuid { part })?;
    Ok((start, uuid))
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The bytes with NULs behind them; what has no room is left out, so that a NUL is always there.
fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    for (place, byte) in field.iter_mut().take(N.saturating_sub(1)).zip(bytes) {
        *place = *byte;
    }
    field
}

//! The messages about POSIX locks: PLOCK, OWN, DROP, SYNC_LOCK, SYNC_WAITER (types 3 to 7) with the kernel's record as body,
//! and PLOCKS_DATA (type 9) (spec/plocks.md section 6). PLOCKS_DONE has the body of a START, see `start`.

use super::{DecodeError, Part, read};
use dlm_core::plock::{Holder, Mode, Op, PlockInfo, PlocksData, PlocksPart, TransferEntry};
use dlm_core::types::{ChangeSeq, GlobalId, NodeId};
use zerocopy::byteorder::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `struct dlm_plock_info` in the order of the wire.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawInfo {
    version: [U32; 3],
    op: u8,
    ex: u8,
    wait: u8,
    flags: u8,
    pid: U32,
    node: U32,
    result: I32,
    fsid: U32,
    number: U64,
    start: U64,
    end: U64,
    owner: U64,
}

const _: () = assert!(size_of::<RawInfo>() == 64);

/// A PLOCK, SYNC_LOCK or SYNC_WAITER.
pub(super) fn decode_info(body: &[u8]) -> Result<PlockInfo, DecodeError> {
    let part = Part::Plock;
    let (raw, _) = read::<RawInfo>(part, body)?;
    Ok(PlockInfo {
        version: raw.version.map(U32::get),
        op: Op::from_wire(raw.op),
        mode: Mode::from_wire(raw.ex),
        wait: raw.wait != 0,
        flags: raw.flags,
        pid: raw.pid.get(),
        node: NodeId::new(raw.node.get()).ok_or(DecodeError::NoNode { part })?,
        result: raw.result.get(),
        fsid: GlobalId(raw.fsid.get()),
        number: raw.number.get(),
        start: raw.start.get(),
        end: raw.end.get(),
        owner: raw.owner.get(),
    })
}

/// Appends the body of a PLOCK, SYNC_LOCK or SYNC_WAITER.
pub(super) fn encode_info(info: &PlockInfo, bytes: &mut Vec<u8>) {
    let raw = RawInfo {
        version: info.version.map(U32::new),
        op: info.op.to_wire(),
        ex: info.mode.to_wire(),
        wait: u8::from(info.wait),
        flags: info.flags,
        pid: info.pid.into(),
        node: info.node.get().into(),
        result: info.result.into(),
        fsid: info.fsid.0.into(),
        number: info.number.into(),
        start: info.start.into(),
        end: info.end.into(),
        owner: info.owner.into(),
    };
    bytes.extend_from_slice(raw.as_bytes());
}

/// Inode number and new owner of an OWN; a DROP has no owner.
pub(super) fn decode_own(body: &[u8]) -> Result<(u64, Option<NodeId>), DecodeError> {
    let (raw, _) = read::<RawInfo>(Part::Plock, body)?;
    Ok((raw.number.get(), NodeId::new(raw.node.get())))
}

/// Appends the body of an OWN or DROP.
pub(super) fn encode_own(number: u64, owner: Option<NodeId>, bytes: &mut Vec<u8>) {
    let raw = RawInfo {
        number: number.into(),
        node: owner.map_or(0, NodeId::get).into(),
        ..RawInfo::default()
    };
    bytes.extend_from_slice(raw.as_bytes());
}

/// The fixed part of a PLOCKS_DATA.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawData {
    number: U64,
    owner: U32,
    count: U32,
    flags: U32,
    pad: U32,
}

const _: () = assert!(size_of::<RawData>() == 24);

/// Bit of [`RawData::flags`].
const CONTINUE: u32 = 1;

/// One entry of a PLOCKS_DATA.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    start: U64,
    end: U64,
    owner: U64,
    pid: U32,
    node: U32,
    ex: u8,
    waiter: u8,
    pad1: U16,
    pad2: U32,
}

const _: () = assert!(size_of::<RawEntry>() == 40);

/// A PLOCKS_DATA from its header words and its body.
pub(super) fn decode_data([_, seq, _]: [u32; 3], body: &[u8]) -> Result<PlocksData, DecodeError> {
    let (part, _) = decode_part(body)?;
    Ok(PlocksData { seq: ChangeSeq::from_wire(seq), parts: vec![part] })
}

/// A PLOCKS_BATCH: the bodies of so many PLOCKS_DATA, one behind the other.
pub(super) fn decode_batch(
    [_, seq, count]: [u32; 3],
    mut body: &[u8],
) -> Result<PlocksData, DecodeError> {
    let mut parts = Vec::new();
    for _ in 0..count {
        let (part, rest) = decode_part(body)?;
        parts.push(part);
        body = rest;
    }
    Ok(PlocksData { seq: ChangeSeq::from_wire(seq), parts })
}

/// A part, and what follows it. The announced number of entries counts only if the body is long enough for them.
fn decode_part(body: &[u8]) -> Result<(PlocksPart, &[u8]), DecodeError> {
    let part = Part::PlocksData;
    let (raw, rest) = read::<RawData>(part, body)?;
    let count = raw.count.get();
    let cut = DecodeError::EntriesCut { part, count, room: rest.len() };
    let (entries, rest) = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(size_of::<RawEntry>()))
        .and_then(|length| rest.split_at_checked(length))
        .ok_or(cut)?;
    let entries = entries
        .chunks_exact(size_of::<RawEntry>())
        .map(|entry| {
            let (raw, _) = read::<RawEntry>(part, entry)?;
            Ok(TransferEntry {
                start: raw.start.get(),
                end: raw.end.get(),
                holder: Holder {
                    node: NodeId::new(raw.node.get()).ok_or(DecodeError::NoNode { part })?,
                    owner: raw.owner.get(),
                },
                pid: raw.pid.get(),
                mode: Mode::from_wire(raw.ex),
                waiter: raw.waiter != 0,
            })
        })
        .collect::<Result<_, DecodeError>>()?;
    let part = PlocksPart {
        number: raw.number.get(),
        owner: raw.owner.get(),
        continues: raw.flags.get() & CONTINUE != 0,
        entries,
    };
    Ok((part, rest))
}

/// Appends the body of a PLOCKS_DATA or PLOCKS_BATCH.
pub(super) fn encode_data(data: &PlocksData, bytes: &mut Vec<u8>) {
    data.parts.iter().for_each(|part| encode_part(part, bytes));
}

/// How many; the core fills messages of some kilobytes.
pub(super) fn count<T>(of: &[T]) -> u32 {
    u32::try_from(of.len()).unwrap_or(u32::MAX)
}

fn encode_part(part: &PlocksPart, bytes: &mut Vec<u8>) {
    let raw = RawData {
        number: part.number.into(),
        owner: part.owner.into(),
        count: count(&part.entries).into(),
        flags: if part.continues { CONTINUE } else { 0 }.into(),
        pad: U32::ZERO,
    };
    bytes.extend_from_slice(raw.as_bytes());
    for entry in &part.entries {
        let raw = RawEntry {
            start: entry.start.into(),
            end: entry.end.into(),
            owner: entry.holder.owner.into(),
            pid: entry.pid.into(),
            node: entry.holder.node.get().into(),
            ex: entry.mode.to_wire(),
            waiter: u8::from(entry.waiter),
            pad1: U16::ZERO,
            pad2: U32::ZERO,
        };
        bytes.extend_from_slice(raw.as_bytes());
    }
}

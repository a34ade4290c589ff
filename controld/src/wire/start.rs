//! START (type 2) and PLOCKS_DONE (type 8): one body, a membership change (spec/cluster-protocol.md section 6).
//!
//! A peer's counts and sizes are believed only as far as the message's length bears them out (spec/defects-and-latency.md
//! item 74). Whether the numbers describe a change that we know is the core's to judge.

use super::{DecodeError, Part, read};
use dlm_core::message::{ChangeCounts, PlocksDone, Start};
use dlm_core::types::{ChangeSeq, NodeId};
use zerocopy::byteorder::little_endian::{I32, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Member entries that a message may have: eight times `CPG_MEMBERS_MAX` (128) of corosync/cpg.h, so that no real
/// cluster meets it and no message makes us allocate much.
const MEMBERS_MAX: u32 = 1024;

/// The fixed part of the body.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawChange {
    /// C looks for the member entries right after this struct, whatever this field says; so do we.
    change_size: U32,
    member_size: U32,
    members: U32,
    started_count: U32,
    member_count: I32,
    joined_count: I32,
    remove_count: I32,
    failed_count: I32,
}

/// Bytes of the fixed part.
const CHANGE_SIZE: u32 = 32;
/// Bytes of one member entry: its node id.
const MEMBER_SIZE: u32 = 4;

const _: () = assert!(size_of::<RawChange>() == 32);
const _: () = assert!(size_of::<U32>() == 4);

/// A START from its header words and its body.
pub(super) fn decode_start([flags, seq, _]: [u32; 3], body: &[u8]) -> Result<Start, DecodeError> {
    let counts = decode(Part::Start, body)?;
    Ok(Start { seq: ChangeSeq::from_wire(seq), flags, counts })
}

/// A PLOCKS_DONE from its header words and its body.
pub(super) fn decode_plocks_done(
    [flags, seq, data_count]: [u32; 3],
    body: &[u8],
) -> Result<PlocksDone, DecodeError> {
    let counts = decode(Part::PlocksDone, body)?;
    Ok(PlocksDone { seq: ChangeSeq::from_wire(seq), flags, data_count, counts })
}

/// The body of either message.
fn decode(part: Part, body: &[u8]) -> Result<ChangeCounts, DecodeError> {
    let (raw, entries) = read::<RawChange>(part, body)?;
    Ok(ChangeCounts {
        started_count: raw.started_count.get(),
        member_count: raw.member_count.get(),
        joined_count: raw.joined_count.get(),
        remove_count: raw.remove_count.get(),
        failed_count: raw.failed_count.get(),
        members: decode_members(part, raw, entries)?,
    })
}

/// As many member entries as announced, each as long as announced; bytes after the node id of a longer entry are for
/// later versions.
fn decode_members(part: Part, raw: &RawChange, entries: &[u8]) -> Result<Vec<NodeId>, DecodeError> {
    let (count, size) = (raw.members.get(), raw.member_size.get());
    if size < MEMBER_SIZE {
        return Err(DecodeError::MemberSize { part, size });
    }
    if count > MEMBERS_MAX {
        return Err(DecodeError::TooManyMembers { part, count, max: MEMBERS_MAX });
    }
    let cut = DecodeError::MembersCut { part, count, size, room: entries.len() };
    let (Ok(count), Ok(size)) = (usize::try_from(count), usize::try_from(size)) else {
        return Err(cut);
    };
    let Some(entries) = count.checked_mul(size).and_then(|length| entries.get(..length)) else {
        return Err(cut);
    };
    entries
        .chunks_exact(size)
        .map(|entry| {
            let (id, _) = U32::ref_from_prefix(entry)
                .map_err(|_| DecodeError::MemberSize { part, size: raw.member_size.get() })?;
            NodeId::new(id.get()).ok_or(DecodeError::NoNode { part })
        })
        .collect()
}

/// Appends the body of either message.
pub(super) fn encode(counts: &ChangeCounts, bytes: &mut Vec<u8>) {
    let raw = RawChange {
        change_size: CHANGE_SIZE.into(),
        member_size: MEMBER_SIZE.into(),
        // A group has at most 128 members.
        members: u32::try_from(counts.members.len()).unwrap_or(u32::MAX).into(),
        started_count: counts.started_count.into(),
        member_count: counts.member_count.into(),
        joined_count: counts.joined_count.into(),
        remove_count: counts.remove_count.into(),
        failed_count: counts.failed_count.into(),
    };
    bytes.extend_from_slice(raw.as_bytes());
    for member in &counts.members {
        bytes.extend_from_slice(U32::new(member.get()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn counts() -> ChangeCounts {
        ChangeCounts {
            started_count: 4,
            member_count: 3,
            joined_count: 1,
            remove_count: -1,
            failed_count: i32::MIN,
            members: vec![node(1), node(0xffff_ffff), node(2)],
        }
    }

    /// A body with these three numbers and entries.
    fn body(size: u32, count: u32, entries: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [32, size, count, 0, 0, 0, 0, 0] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(entries);
        bytes
    }

    fn members(size: u32, count: u32, entries: &[u8]) -> Result<Vec<u32>, DecodeError> {
        let start = decode_start([0; 3], &body(size, count, entries))?;
        Ok(start.counts.members.into_iter().map(NodeId::get).collect())
    }

    #[test]
    fn change_survives_the_wire() {
        let mut bytes = Vec::new();
        encode(&counts(), &mut bytes);
        assert_eq!(bytes.len(), 32 + 3 * 4);
        let start = decode_start([5, 6, 7], &bytes);
        assert_eq!(start, Ok(Start { seq: ChangeSeq::from_wire(6), flags: 5, counts: counts() }));
        let done = decode_plocks_done([5, 6, 7], &bytes).unwrap();
        assert_eq!((done.flags, done.seq.get(), done.data_count), (5, 6, 7));
        assert_eq!(done.counts, counts());
    }

    #[test]
    fn entries_are_stepped_by_the_announced_size() {
        assert_eq!(members(6, 2, b"\x01\0\0\0xx\x02\0\0\0yy"), Ok(vec![1, 2]));
        assert_eq!(members(4, 1, b"\x01\0\0\0later"), Ok(vec![1]));
        assert_eq!(members(u32::MAX, 0, b""), Ok(vec![]));
    }

    #[test]
    fn size_of_the_fixed_part_is_not_believed() {
        let mut bytes = body(4, 1, b"\x09\0\0\0");
        bytes[0] = 0xff;
        assert_eq!(decode(Part::Start, &bytes).unwrap().members, [node(9)]);
    }

    #[test]
    fn entries_too_small_for_a_node_are_rejected() {
        let part = Part::Start;
        for size in 0..4 {
            assert_eq!(members(size, 0, b""), Err(DecodeError::MemberSize { part, size }));
        }
    }

    #[test]
    fn more_entries_than_bytes_are_rejected() {
        let part = Part::Start;
        let cut = |count, size, room| Err(DecodeError::MembersCut { part, count, size, room });
        assert_eq!(members(4, 2, &[1; 7]), cut(2, 4, 7));
        assert_eq!(members(u32::MAX, 1024, &[1; 4]), cut(1024, u32::MAX, 4));
    }

    #[test]
    fn absurd_member_counts_are_rejected() {
        let part = Part::Start;
        assert_eq!(members(4, 1024, &[1; 4096]).unwrap().len(), 1024);
        let count = 1025;
        let many = DecodeError::TooManyMembers { part, count, max: 1024 };
        assert_eq!(members(4, count, &[1; 4100]), Err(many));
    }

    #[test]
    fn node_zero_is_no_member() {
        assert_eq!(members(4, 1, &[0; 4]), Err(DecodeError::NoNode { part: Part::Start }));
    }
}

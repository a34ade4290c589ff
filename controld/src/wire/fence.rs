//! FENCE_RESULT (type 14) and FENCE_CLEAR (type 15), bodies of 1024 bytes (spec/cluster-protocol.md section 7).

use super::{DecodeError, Part, read};
use dlm_core::message::{
    CLEAR_PAST_WHOLE, FENCE_CLEAR_PAST, FenceClear, FencePast, FenceResult, Message,
};
use dlm_core::types::{NodeId, WallSeconds};
use zerocopy::byteorder::little_endian::{I32, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The body of both messages.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawFence {
    /// 0.
    version: U32,
    flags: U32,
    node: U32,
    result: I32,
    wall: U64,
    /// An extension of ours, 0 from C daemons, which do not look at it: see the messages.
    ring: U64,
    /// Of a `FencePast`, else 0.
    since: U64,
    /// Members in `side`.
    count: U32,
    side: [U32; FencePast::MOST],
    /// 0; peers insist on the whole length.
    unused: [u8; 180],
}

const _: () = assert!(size_of::<RawFence>() == 1024);

/// The body of a FENCE_RESULT.
pub(super) fn decode_result(body: &[u8]) -> Result<FenceResult, DecodeError> {
    let part = Part::FenceResult;
    let (raw, _) = read::<RawFence>(part, body)?;
    let victim = NodeId::new(raw.node.get()).ok_or(DecodeError::NoNode { part })?;
    Ok(FenceResult {
        victim,
        result: raw.result.get(),
        wall: WallSeconds(raw.wall.get()),
        ring: raw.ring.get(),
    })
}

/// The body of a FENCE_CLEAR.
pub(super) fn decode_clear(body: &[u8]) -> Result<Message, DecodeError> {
    let part = Part::FenceClear;
    let (raw, _) = read::<RawFence>(part, body)?;
    let node = NodeId::new(raw.node.get()).ok_or(DecodeError::NoNode { part })?;
    let (result, flags, ring) = (raw.result.get(), raw.flags.get(), raw.ring.get());
    if result != FENCE_CLEAR_PAST {
        return Ok(Message::FenceClear(FenceClear { node, result, flags, ring }));
    }
    let count = raw.count.get();
    let members = usize::try_from(count).ok().and_then(|count| raw.side.get(..count));
    let members = members.ok_or(DecodeError::TooManyMembers {
        part,
        count,
        max: FencePast::MOST_ANNOUNCED,
    })?;
    let node = |id: &U32| NodeId::new(id.get()).ok_or(DecodeError::NoNode { part });
    let side = members.iter().map(node).collect::<Result<Vec<_>, _>>()?;
    let whole = flags & CLEAR_PAST_WHOLE != 0;
    Ok(Message::FencePast(FencePast { since: raw.since.get(), ring, whole, side }))
}

/// Appends the body of a FENCE_RESULT.
pub(super) fn encode_result(fence: &FenceResult, bytes: &mut Vec<u8>) {
    let raw = raw(fence.victim, fence.result, fence.ring);
    bytes.extend_from_slice(RawFence { wall: fence.wall.0.into(), ..raw }.as_bytes());
}

/// Appends the body of a FENCE_CLEAR.
pub(super) fn encode_clear(clear: &FenceClear, bytes: &mut Vec<u8>) {
    let raw = raw(clear.node, clear.result, clear.ring);
    bytes.extend_from_slice(RawFence { flags: clear.flags.into(), ..raw }.as_bytes());
}

/// Appends the body of a FENCE_CLEAR that speaks for one side of a merge.
pub(super) fn encode_past(sender: NodeId, past: &FencePast, bytes: &mut Vec<u8>) {
    let mut raw = raw(sender, FENCE_CLEAR_PAST, past.ring);
    raw.flags = if past.whole { CLEAR_PAST_WHOLE } else { 0 }.into();
    raw.since = past.since.into();
    for ((place, node), count) in raw.side.iter_mut().zip(&past.side).zip(1_u32..) {
        *place = node.get().into();
        raw.count = count.into();
    }
    bytes.extend_from_slice(raw.as_bytes());
}

/// What all have in common.
fn raw(node: NodeId, result: i32, ring: u64) -> RawFence {
    RawFence {
        version: U32::ZERO,
        flags: U32::ZERO,
        node: node.get().into(),
        result: result.into(),
        wall: U64::ZERO,
        ring: ring.into(),
        since: U64::ZERO,
        count: U32::ZERO,
        side: [U32::ZERO; FencePast::MOST],
        unused: [0; 180],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fence_result_survives_the_wire() {
        let victim = NodeId::new(3).unwrap();
        let wall = WallSeconds(1_700_000_000);
        let fence = FenceResult { victim, result: -125, wall, ring: 36 };
        let mut bytes = Vec::new();
        encode_result(&fence, &mut bytes);
        assert_eq!(bytes.len(), 1024);
        assert_eq!(bytes[12..16], (-125i32).to_le_bytes());
        assert_eq!(bytes[24..32], 36u64.to_le_bytes());
        assert_eq!(decode_result(&bytes), Ok(fence));
    }

    #[test]
    fn fence_clear_survives_the_wire() {
        let clear = FenceClear { node: NodeId::new(2).unwrap(), result: -61, flags: 1, ring: 8 };
        let mut bytes = Vec::new();
        encode_clear(&clear, &mut bytes);
        assert_eq!(bytes.len(), 1024);
        assert_eq!(bytes[..16], *b"\0\0\0\0\x01\0\0\0\x02\0\0\0\xc3\xff\xff\xff");
        assert_eq!(decode_clear(&bytes), Ok(Message::FenceClear(clear)));
    }

    fn past(members: u32) -> FencePast {
        let side = (1..=members).filter_map(NodeId::new).collect();
        FencePast { since: 4, ring: 8, whole: true, side }
    }

    #[test]
    fn word_about_a_past_survives_the_wire() {
        for members in [0, 2, FencePast::MOST_ANNOUNCED] {
            let mut bytes = Vec::new();
            encode_past(NodeId::new(3).unwrap(), &past(members), &mut bytes);
            assert_eq!(bytes.len(), 1024);
            assert_eq!(bytes[..16], *b"\0\0\0\0\x08\0\0\0\x03\0\0\0\x8e\xff\xff\xff");
            assert_eq!(bytes[24..40], *b"\x08\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0");
            assert_eq!(decode_clear(&bytes), Ok(Message::FencePast(past(members))));
        }
    }

    #[test]
    fn word_about_a_past_of_too_many_or_of_nobody_is_refused() {
        let part = Part::FenceClear;
        let mut bytes = Vec::new();
        encode_past(NodeId::new(3).unwrap(), &past(2), &mut bytes);
        bytes[48..52].fill(0);
        assert_eq!(decode_clear(&bytes), Err(DecodeError::NoNode { part }));
        bytes[40..44].copy_from_slice(&201u32.to_le_bytes());
        let many = DecodeError::TooManyMembers { part, count: 201, max: FencePast::MOST_ANNOUNCED };
        assert_eq!(decode_clear(&bytes), Err(many));
    }

    #[test]
    fn node_zero_cannot_be_fenced() {
        let bytes = [0; 1024];
        assert_eq!(decode_result(&bytes), Err(DecodeError::NoNode { part: Part::FenceResult }));
        assert_eq!(decode_clear(&bytes), Err(DecodeError::NoNode { part: Part::FenceClear }));
    }
}

//! FENCE_RESULT (type 14) and FENCE_CLEAR (type 15), bodies of 1024 bytes (spec/cluster-protocol.md section 7).

use super::{DecodeError, Part, read};
use dlm_core::message::{FenceClear, FenceResult};
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
    /// 0; peers insist on the whole length.
    unused: [u8; 1000],
}

const _: () = assert!(size_of::<RawFence>() == 1024);

/// The body of a FENCE_RESULT.
pub(super) fn decode_result(body: &[u8]) -> Result<FenceResult, DecodeError> {
    let part = Part::FenceResult;
    let (raw, _) = read::<RawFence>(part, body)?;
    let victim = NodeId::new(raw.node.get()).ok_or(DecodeError::NoNode { part })?;
    Ok(FenceResult { victim, result: raw.result.get(), wall: WallSeconds(raw.wall.get()) })
}

/// The body of a FENCE_CLEAR.
pub(super) fn decode_clear(body: &[u8]) -> Result<FenceClear, DecodeError> {
    let part = Part::FenceClear;
    let (raw, _) = read::<RawFence>(part, body)?;
    let node = NodeId::new(raw.node.get()).ok_or(DecodeError::NoNode { part })?;
    Ok(FenceClear { node, result: raw.result.get(), flags: raw.flags.get() })
}

/// Appends the body of a FENCE_RESULT.
pub(super) fn encode_result(fence: &FenceResult, bytes: &mut Vec<u8>) {
    encode(0, fence.victim, fence.result, fence.wall, bytes);
}

/// Appends the body of a FENCE_CLEAR.
pub(super) fn encode_clear(clear: &FenceClear, bytes: &mut Vec<u8>) {
    encode(clear.flags, clear.node, clear.result, WallSeconds(0), bytes);
}

fn encode(flags: u32, node: NodeId, result: i32, wall: WallSeconds, bytes: &mut Vec<u8>) {
    let raw = RawFence {
        version: U32::ZERO,
        flags: flags.into(),
        node: node.get().into(),
        result: result.into(),
        wall: wall.0.into(),
        unused: [0; 1000],
    };
    bytes.extend_from_slice(raw.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fence_result_survives_the_wire() {
        let victim = NodeId::new(3).unwrap();
        let fence = FenceResult { victim, result: -125, wall: WallSeconds(1_700_000_000) };
        let mut bytes = Vec::new();
        encode_result(&fence, &mut bytes);
        assert_eq!(bytes.len(), 1024);
        assert_eq!(bytes[12..16], (-125i32).to_le_bytes());
        assert_eq!(decode_result(&bytes), Ok(fence));
    }

    #[test]
    fn fence_clear_survives_the_wire() {
        let clear = FenceClear { node: NodeId::new(2).unwrap(), result: -61, flags: 1 };
        let mut bytes = Vec::new();
        encode_clear(&clear, &mut bytes);
        assert_eq!(bytes.len(), 1024);
        assert_eq!(bytes[..16], *b"\0\0\0\0\x01\0\0\0\x02\0\0\0\xc3\xff\xff\xff");
        assert_eq!(decode_clear(&bytes), Ok(clear));
    }

    #[test]
    fn node_zero_cannot_be_fenced() {
        let bytes = [0; 1024];
        assert_eq!(decode_result(&bytes), Err(DecodeError::NoNode { part: Part::FenceResult }));
        assert_eq!(decode_clear(&bytes), Err(DecodeError::NoNode { part: Part::FenceClear }));
    }
}

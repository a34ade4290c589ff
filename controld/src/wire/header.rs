//! The 40 bytes that begin every message (spec/cluster-protocol.md section 3).

use super::{DecodeError, Part};
use dlm_core::types::{GlobalId, NodeId, Version};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header.
pub(super) const HEADER_LENGTH: usize = 40;

/// The header as it travels.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawHeader {
    version: [U16; 3],
    kind: U16,
    sender: U32,
    /// 0 in every message of 4.x; receivers do not look at it.
    to: U32,
    global_id: U32,
    flags: U32,
    msgdata: U32,
    msgdata2: U32,
    pad: U64,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_LENGTH);

/// The parts of a header that mean something.
pub(super) struct Header {
    /// Run version, or zeros.
    pub(super) version: Version,
    /// Type number.
    pub(super) kind: u16,
    /// Whom the header names as sender.
    pub(super) sender: NodeId,
    /// 0 on the daemon group.
    pub(super) global_id: GlobalId,
    /// `flags`, `msgdata`, `msgdata2`: their meaning depends on the type.
    pub(super) words: [u32; 3],
}

/// The header, and what follows it.
pub(super) fn decode(bytes: &[u8]) -> Result<(Header, &[u8]), DecodeError> {
    let Ok((raw, body)) = RawHeader::ref_from_prefix(bytes) else {
        return Err(DecodeError::Short {
            part: Part::Header,
            length: bytes.len(),
            needed: HEADER_LENGTH,
        });
    };
    let header = Header {
        version: version_from_wire(raw.version),
        kind: raw.kind.get(),
        sender: NodeId::new(raw.sender.get()).ok_or(DecodeError::NoNode { part: Part::Header })?,
        global_id: GlobalId(raw.global_id.get()),
        words: [raw.flags.get(), raw.msgdata.get(), raw.msgdata2.get()],
    };
    Ok((header, body))
}

/// The 40 bytes; what is not known here is 0, as all daemons of 4.x send it.
pub(super) fn encode(header: &Header) -> RawHeader {
    let [flags, msgdata, msgdata2] = header.words;
    RawHeader {
        version: version_to_wire(header.version),
        kind: header.kind.into(),
        sender: header.sender.get().into(),
        to: U32::ZERO,
        global_id: header.global_id.0.into(),
        flags: flags.into(),
        msgdata: msgdata.into(),
        msgdata2: msgdata2.into(),
        pad: U64::ZERO,
    }
}

/// Three numbers of the wire as a version.
pub(super) const fn version_from_wire([major, minor, patch]: [U16; 3]) -> Version {
    Version::new(major.get(), minor.get(), patch.get())
}

/// A version as the three numbers of the wire.
pub(super) const fn version_to_wire(version: Version) -> [U16; 3] {
    [U16::new(version.major), U16::new(version.minor), U16::new(version.patch)]
}

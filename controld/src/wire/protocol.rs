//! PROTOCOL (type 1): what a daemon can run and what it runs (spec/cluster-protocol.md section 5).
//!
//! # Extension
//! C reads 72 bytes and accepts more. After them our daemons send 8 bytes, little endian:
//!
//! | off | type | field |
//! |---|---|---|
//! | 72 | u32 | magic `0x584d4c44`, the letters `DLMX` in memory |
//! | 76 | u32 | mask of the features that the sender understands |
//!
//! A message without them, or with another magic, comes from a daemon without features of ours. Whatever follows these
//! 80 bytes is for later versions and not looked at. Which versions make sense is the core's to judge.

use super::{DecodeError, Part, read};
use crate::wire::header::{version_from_wire, version_to_wire};
use dlm_core::message::{Protocol, ProtocolVersion};
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Before the feature mask: `DLMX` in memory.
const FEATURES_MAGIC: u32 = 0x584d_4c44;

/// One version of a PROTOCOL message.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawVersion {
    version: [U16; 3],
    flags: U16,
}

/// What C sends after the header.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawProtocol {
    daemon_max: RawVersion,
    kernel_max: RawVersion,
    daemon_run: RawVersion,
    kernel_run: RawVersion,
}

/// What our daemons send after that.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawFeatures {
    magic: U32,
    mask: U32,
}

const _: () = assert!(size_of::<RawVersion>() == 8);
const _: () = assert!(size_of::<RawProtocol>() == 32);
const _: () = assert!(size_of::<RawFeatures>() == 8);

impl From<RawVersion> for ProtocolVersion {
    fn from(raw: RawVersion) -> Self {
        Self { version: version_from_wire(raw.version), flags: raw.flags.get() }
    }
}

impl From<ProtocolVersion> for RawVersion {
    fn from(version: ProtocolVersion) -> Self {
        Self { version: version_to_wire(version.version), flags: version.flags.into() }
    }
}

/// The body of a PROTOCOL message.
pub(super) fn decode(body: &[u8]) -> Result<Protocol, DecodeError> {
    let (raw, rest) = read::<RawProtocol>(Part::Protocol, body)?;
    let features = RawFeatures::ref_from_prefix(rest)
        .ok()
        .and_then(|(raw, _)| (raw.magic.get() == FEATURES_MAGIC).then(|| raw.mask.get()));
    Ok(Protocol {
        daemon_max: raw.daemon_max.into(),
        kernel_max: raw.kernel_max.into(),
        daemon_run: raw.daemon_run.into(),
        kernel_run: raw.kernel_run.into(),
        features,
    })
}

/// Appends the body of a PROTOCOL message.
pub(super) fn encode(protocol: &Protocol, bytes: &mut Vec<u8>) {
    let raw = RawProtocol {
        daemon_max: protocol.daemon_max.into(),
        kernel_max: protocol.kernel_max.into(),
        daemon_run: protocol.daemon_run.into(),
        kernel_run: protocol.kernel_run.into(),
    };
    bytes.extend_from_slice(raw.as_bytes());
    if let Some(mask) = protocol.features {
        let raw = RawFeatures { magic: FEATURES_MAGIC.into(), mask: mask.into() };
        bytes.extend_from_slice(raw.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlm_core::types::Version;

    fn protocol(features: Option<u32>) -> Protocol {
        let version = |major, flags| ProtocolVersion { version: Version::new(major, 1, 2), flags };
        Protocol {
            daemon_max: version(3, 0),
            kernel_max: version(1, 0x1234),
            daemon_run: version(4, 1),
            kernel_run: version(0xffff, 0),
            features,
        }
    }

    fn encoded(protocol: &Protocol) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(protocol, &mut bytes);
        bytes
    }

    #[test]
    fn body_of_a_c_daemon_has_no_features() {
        let bytes = encoded(&protocol(None));
        assert_eq!(bytes.len(), 32);
        assert_eq!(decode(&bytes), Ok(protocol(None)));
    }

    #[test]
    fn features_follow_the_bytes_that_c_reads() {
        let bytes = encoded(&protocol(Some(0x0102_0304)));
        assert_eq!(bytes[32..], *b"DLMX\x04\x03\x02\x01");
        assert_eq!(decode(&bytes), Ok(protocol(Some(0x0102_0304))));
    }

    #[test]
    fn bytes_after_the_features_are_for_later_versions() {
        let mut bytes = encoded(&protocol(Some(7)));
        bytes.extend_from_slice(b"later");
        assert_eq!(decode(&bytes), Ok(protocol(Some(7))));
    }

    #[test]
    fn bytes_without_our_magic_are_not_features() {
        for tail in [&b"DLMX\x01\0\0"[..], b"XMLD\x01\0\0\0", b"\0"] {
            let bytes = [encoded(&protocol(None)).as_slice(), tail].concat();
            assert_eq!(decode(&bytes), Ok(protocol(None)), "{tail:?}");
        }
    }
}

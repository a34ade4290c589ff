//! The nouns of the protocol: identifiers, versions, time.
//!
//! Every number that comes from the wire or the kernel is a type of its own with a private field; its constructor is
//! the one place that checks it. `Display` prints what the C daemon prints.

use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZeroU32;
use serde::{Deserialize, Serialize, Serializer};

/// A corosync node id; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(NonZeroU32);

impl NodeId {
    /// `None` for 0, which corosync never gives to a node.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        match NonZeroU32::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number as corosync, the kernel and the wire know it.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A totem ring: the representative that formed it, and a sequence number that grows with every new ring.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct RingId {
    /// Representative of the ring; 0 before any ring was reported.
    pub node: u32,
    /// Grows with every ring; the only part that is compared (spec/lockspace-recovery.md section 4).
    pub seq: u64,
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.seq)
    }
}

/// The name of a kernel lockspace: 1 to 64 bytes, no `/`, no NUL, neither `.` nor `..`, so that it is safe as one
/// component of a path. A clone costs nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "Vec<u8>")]
pub struct LockspaceName(Arc<[u8]>);

impl TryFrom<Vec<u8>> for LockspaceName {
    type Error = &'static str;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        Self::new(&bytes).ok_or("no name of a lockspace")
    }
}

/// At once, not byte by byte; binary encodings have the same form for both.
impl Serialize for LockspaceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// `DLM_LOCKSPACE_LEN` of linux/dlmconstants.h.
pub const LOCKSPACE_NAME_MAX: usize = 64;

/// Before the lockspace name in the name of its CPG group.
const LOCKSPACE_GROUP_PREFIX: &[u8] = b"dlm:ls:";

/// The CPG group of all daemons.
const DAEMON_GROUP: &[u8] = b"dlm:controld";

impl LockspaceName {
    /// `None` where the bytes cannot be a lockspace's name.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let fits = (1..=LOCKSPACE_NAME_MAX).contains(&bytes.len());
        let component =
            bytes != b"." && bytes != b".." && !bytes.contains(&b'/') && !bytes.contains(&0);
        (fits && component).then(|| Self(bytes.into()))
    }

    /// The name as the kernel has it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for LockspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for LockspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// A CPG group of ours: the one of all daemons, or that of a lockspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Group {
    /// `dlm:controld`
    Daemon,
    /// `dlm:ls:<name>`
    Lockspace(LockspaceName),
}

impl Group {
    /// The group's CPG name **without** the trailing NUL, which counts as part of the name on the wire
    /// (spec/cluster-protocol.md section 1).
    #[must_use]
    pub fn cpg_name(&self) -> Vec<u8> {
        match self {
            Self::Daemon => DAEMON_GROUP.to_vec(),
            Self::Lockspace(name) => [LOCKSPACE_GROUP_PREFIX, name.as_bytes()].concat(),
        }
    }

    /// CRC-32 of the CPG name with its NUL: the lockspace's id in the kernel and on the wire. 0 for the daemon group
    /// (spec/cluster-protocol.md section 2).
    #[must_use]
    pub fn global_id(&self) -> GlobalId {
        match self {
            Self::Daemon => GlobalId(0),
            Self::Lockspace(_) => {
                let mut name = self.cpg_name();
                name.push(0);
                GlobalId(crc32fast::hash(&name))
            }
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.cpg_name()))
    }
}

/// A lockspace's id in the kernel and on the wire, see [`Group::global_id`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct GlobalId(pub u32);

/// Number of a configuration change of one group as one node counts them; never 0, wraps past it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ChangeSeq(u32);

impl ChangeSeq {
    /// A number as it came over the wire (other nodes' numbers mean nothing here but in logs).
    #[must_use]
    pub const fn from_wire(seq: u32) -> Self {
        Self(seq)
    }

    /// The number for the wire and the status.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number of the next change.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.wrapping_add(1) {
            0 => Self(1),
            seq => Self(seq),
        }
    }
}

impl fmt::Display for ChangeSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A kernel dlm slot, from 1. gfs2's journal id is one less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(NonZeroU32);

impl Slot {
    /// `None` for 0: no slot.
    #[must_use]
    pub const fn new(slot: u32) -> Option<Self> {
        match NonZeroU32::new(slot) {
            Some(slot) => Some(Self(slot)),
            None => None,
        }
    }

    /// The kernel's number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// gfs2's journal id of this slot.
    #[must_use]
    pub const fn jid(self) -> u32 {
        self.0.get().saturating_sub(1)
    }
}

/// A moment of the monotonic clock (`CLOCK_MONOTONIC`), in nanoseconds. All rules use this clock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instant(u64);

/// Nanoseconds in a second.
const NANOS_PER_SECOND: u64 = 1_000_000_000;

impl Instant {
    /// From nanoseconds of the monotonic clock.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds of the monotonic clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds of the monotonic clock, as status and logs show them.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / NANOS_PER_SECOND
    }

    /// This moment plus whole seconds.
    #[must_use]
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(NANOS_PER_SECOND)))
    }

    /// This moment plus milliseconds.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(NANOS_PER_SECOND / 1000)))
    }

    /// Milliseconds from `earlier` to this moment; 0 where it is not earlier.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / (NANOS_PER_SECOND / 1000)
    }
}

/// Wall-clock seconds since 1970: for people, the wire and fence agents; never for a rule.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct WallSeconds(pub u64);

/// The time at which an event happened, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// For rules.
    pub mono: Instant,
    /// For people and the wire.
    pub wall: WallSeconds,
}

/// Major, minor and patch of a protocol. Compared as the C daemon compares them: the patch never counts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// Must be equal to be compatible; 0 means "not set".
    pub major: u16,
    /// The lower one is run.
    pub minor: u16,
    /// For logs.
    pub patch: u16,
}

impl Version {
    /// A version from its parts.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &[u8]) -> u32 {
        LockspaceName::new(name)
            .map(|name| Group::Lockspace(name).global_id().0)
            .unwrap_or_default()
    }

    #[test]
    fn global_id_counts_the_trailing_nul() {
        assert_eq!(id(b"gfs0"), 0xd6c2_e89a);
        assert_eq!(id(b"lvm_global"), 0x12aa_bd2d);
        assert_eq!(id(b"t0"), 339_757_630);
        assert_eq!(id(b"fs"), 3_501_597_158);
    }

    #[test]
    fn lockspace_names_are_safe_path_components() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 65]] {
            assert_eq!(LockspaceName::new(bad), None, "{bad:?}");
        }
        assert!(LockspaceName::new(&[0xff; 64]).is_some());
    }

    #[test]
    fn change_seq_skips_zero() {
        assert_eq!(ChangeSeq::from_wire(u32::MAX).next().get(), 1);
    }
}

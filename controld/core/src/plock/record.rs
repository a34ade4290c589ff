//! The nouns: a request as kernel and wire carry it, who holds a lock, what a joiner is sent.

use crate::types::{ChangeSeq, GlobalId, NodeId};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What a request asks for (`DLM_PLOCK_OP_*` of linux/dlm_plock.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// 1: take a lock.
    Lock,
    /// 2: give up what the owner holds in the range.
    Unlock,
    /// 3: F_GETLK, who is in the way?
    Get,
    /// 4: the caller of a waiting lock was interrupted (kernels from 6.6).
    Cancel,
    /// Anything else, kept for the answer.
    Unknown(u8),
}

impl Op {
    /// From the number of kernel and wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Self {
        match number {
            1 => Self::Lock,
            2 => Self::Unlock,
            3 => Self::Get,
            4 => Self::Cancel,
            other => Self::Unknown(other),
        }
    }

    /// The number of kernel and wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Lock => 1,
            Self::Unlock => 2,
            Self::Get => 3,
            Self::Cancel => 4,
            Self::Unknown(other) => other,
        }
    }
}

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// F_RDLCK.
    Read,
    /// F_WRLCK.
    Write,
}

impl Mode {
    /// From the `ex` byte of kernel and wire.
    #[must_use]
    pub const fn from_wire(ex: u8) -> Self {
        if ex == 0 { Self::Read } else { Self::Write }
    }

    /// The `ex` byte.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
        }
    }
}

/// Bit of [`PlockInfo::flags`]: the process closes the file. The kernel has forgotten the request already: it must
/// never be answered.
pub const FLAG_CLOSE: u8 = 1;

/// Last byte of a range that goes to the end of the file.
pub const RANGE_END: u64 = 0x7fff_ffff_ffff_ffff;

/// Who holds or wants a lock: the only identity of a lock's owner. The pid is information.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The node that asked.
    pub node: NodeId,
    /// The kernel's opaque number, one for each process that has the file open.
    pub owner: u64,
}

/// One request or result: `struct dlm_plock_info` of linux/dlm_plock.h, 64 bytes on device and wire
/// (spec/plocks.md section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlockInfo {
    /// Version of the kernel's interface, echoed in results; 1.2.0.
    pub version: [u32; 3],
    /// What is asked for.
    pub op: Op,
    /// How; for unlocks without meaning.
    pub mode: Mode,
    /// F_SETLKW: wait while the range is not free. Echoed in results, where it decides to which request they belong.
    pub wait: bool,
    /// `FLAG_CLOSE`.
    pub flags: u8,
    /// Process, for people and F_GETLK.
    pub pid: u32,
    /// The node that asked; in the result of a [`Op::Get`] the holder's.
    pub node: NodeId,
    /// Results: 0 or a negative errno; [`Op::Get`]: 1 for a conflict.
    pub result: i32,
    /// The lockspace's id.
    pub fsid: GlobalId,
    /// Inode number: names the resource within the lockspace.
    pub number: u64,
    /// First byte.
    pub start: u64,
    /// Last byte, inclusive.
    pub end: u64,
    /// See [`Holder::owner`].
    pub owner: u64,
}

impl PlockInfo {
    /// Who asks.
    #[must_use]
    pub const fn holder(&self) -> Holder {
        Holder { node: self.node, owner: self.owner }
    }

    /// The process closes the file: no answer.
    #[must_use]
    pub const fn is_close(&self) -> bool {
        self.flags & FLAG_CLOSE != 0
    }
}

/// State for a joiner: PLOCKS_DATA with a single part (spec/plocks.md sections 6 and 7), else our PLOCKS_BATCH.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlocksData {
    /// The sender's number of the change.
    pub seq: ChangeSeq,
    /// Of one resource after the other.
    pub parts: Vec<PlocksPart>,
}

/// A resource's state, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlocksPart {
    /// Inode number.
    pub number: u64,
    /// Who owns the resource, 0 for nobody.
    pub owner: u32,
    /// More entries for the resource of the part before.
    pub continues: bool,
    /// Locks in list order, then waiters.
    pub entries: Vec<TransferEntry>,
}

/// A granted or wanted lock in a [`PlocksPart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransferEntry {
    /// First byte.
    pub start: u64,
    /// Last byte, inclusive.
    pub end: u64,
    /// Whose.
    pub holder: Holder,
    /// Its process.
    pub pid: u32,
    /// How.
    pub mode: Mode,
    /// Not granted yet.
    pub waiter: bool,
}

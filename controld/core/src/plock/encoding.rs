//! The encoding of a request in recordings: four to six of them in those of each request, so it is written as one row of bytes,
//! which takes a quarter of the time that field by field takes. Order and sizes are those of the fields.

use super::record::{Mode, Op, PlockInfo};
use crate::types::{GlobalId, NodeId};
use core::fmt;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// All fields.
const BYTES: usize = 64;

impl Serialize for PlockInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let &Self {
            version: [major, minor, patch],
            op,
            mode,
            wait,
            flags,
            pid,
            node,
            result,
            fsid,
            number,
            start,
            end,
            owner,
        } = self;
        let mut row = [0; BYTES];
        let mut rest = row.as_mut_slice();
        for word in [major, minor, patch] {
            put(&mut rest, word.to_le_bytes());
        }
        put(&mut rest, [op.to_wire(), mode.to_wire(), u8::from(wait), flags]);
        put(&mut rest, pid.to_le_bytes());
        put(&mut rest, node.get().to_le_bytes());
        put(&mut rest, result.to_le_bytes());
        put(&mut rest, fsid.0.to_le_bytes());
        for long in [number, start, end, owner] {
            put(&mut rest, long.to_le_bytes());
        }
        serializer.serialize_bytes(&row)
    }
}

fn put<const N: usize>(rest: &mut &mut [u8], bytes: [u8; N]) {
    if let Some((place, behind)) = core::mem::take(rest).split_first_chunk_mut() {
        *place = bytes;
        *rest = behind;
    }
}

impl<'de> Deserialize<'de> for PlockInfo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Row)
    }
}

/// Reads the row.
struct Row;

impl Visitor<'_> for Row {
    type Value = PlockInfo;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {BYTES} bytes of a request for a POSIX lock")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<PlockInfo, E> {
        let exact = bytes.len() == BYTES;
        let read = read(bytes).filter(|_| exact);
        read.ok_or_else(|| E::invalid_length(bytes.len(), &self))
    }
}

/// `None` where bytes are missing, or name no node.
fn read(bytes: &[u8]) -> Option<PlockInfo> {
    let mut rest = bytes;
    let mut word = || take(&mut rest).map(u32::from_le_bytes);
    let version = [word()?, word()?, word()?];
    let [op, mode, wait, flags] = take(&mut rest)?;
    let mut word = || take(&mut rest).map(u32::from_le_bytes);
    let (pid, node) = (word()?, word()?);
    let result = take(&mut rest).map(i32::from_le_bytes)?;
    let fsid = GlobalId(take(&mut rest).map(u32::from_le_bytes)?);
    let mut long = || take(&mut rest).map(u64::from_le_bytes);
    Some(PlockInfo {
        version,
        op: Op::from_wire(op),
        mode: Mode::from_wire(mode),
        wait: wait != 0,
        flags,
        pid,
        node: NodeId::new(node)?,
        result,
        fsid,
        number: long()?,
        start: long()?,
        end: long()?,
        owner: long()?,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*taken)
}

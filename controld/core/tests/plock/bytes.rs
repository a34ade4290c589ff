//! POSIX itself, byte by byte: a file of 64 bytes, and for each byte who holds it and how. Knows no list, no remainders
//! and no order; what it says of the rules of spec/plocks.md section 3 it says independently of them.

use dlm_core::plock::{Holder, Mode, PlockInfo, Resource};
use dlm_core::types::NodeId;
use std::collections::BTreeMap;

/// Bytes of the file.
pub(crate) const SIZE: u64 = 64;

/// Who holds what, for each byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes(BTreeMap<u64, BTreeMap<Holder, Mode>>);

/// The bytes of the file in a range; one behind them stands for all up to `RANGE_END`, one for all after that.
fn range(start: u64, end: u64) -> impl Iterator<Item = u64> {
    (0..=SIZE).chain([u64::MAX]).filter(move |byte| (start..=end).contains(byte))
}

impl Bytes {
    /// Somebody else has one of the bytes, and not both want to read.
    pub(crate) fn refused(&self, request: &PlockInfo) -> bool {
        let compatible = |mode: Mode| mode == Mode::Read && request.mode == Mode::Read;
        range(request.start, request.end).filter_map(|byte| self.0.get(&byte)).any(|holders| {
            holders.iter().any(|(&holder, &mode)| holder != request.holder() && !compatible(mode))
        })
    }

    /// A granted lock replaces what its holder had there.
    pub(crate) fn lock(&mut self, request: &PlockInfo) {
        for byte in range(request.start, request.end) {
            self.0.entry(byte).or_default().insert(request.holder(), request.mode);
        }
    }

    /// An unlock leaves its holder nothing there.
    pub(crate) fn unlock(&mut self, request: &PlockInfo) {
        for byte in range(request.start, request.end) {
            if let Some(holders) = self.0.get_mut(&byte) {
                holders.remove(&request.holder());
            }
        }
        self.0.retain(|_, holders| !holders.is_empty());
    }

    /// Nothing of the node is left.
    pub(crate) fn purge(&mut self, node: NodeId) {
        self.0.values_mut().for_each(|holders| holders.retain(|holder, _| holder.node != node));
        self.0.retain(|_, holders| !holders.is_empty());
    }

    /// What a resource's locks mean. No holder may have a byte twice.
    pub(crate) fn of(resource: &Resource) -> Self {
        let mut bytes = Self::default();
        for (lock, _) in resource.locks() {
            for byte in range(lock.start, lock.end) {
                let before = bytes.0.entry(byte).or_default().insert(lock.holder, lock.mode);
                assert_eq!(before, None, "{lock:?} overlaps another lock of its holder");
            }
        }
        bytes
    }
}

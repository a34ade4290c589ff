//! How the kernel hands out slots (dlm_slots_assign of fs/dlm/member.c; spec/gfs-control.md section 5).

use dlm_core::types::{NodeId, Slot};
use std::collections::{BTreeMap, BTreeSet};

/// A slot table with its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SlotTable {
    /// Grows by one with each table.
    pub generation: u32,
    /// Who holds what.
    pub slots: BTreeMap<NodeId, Slot>,
}

/// The next table, from what each member reports: its slot, if it has one, and its generation. Holders keep their
/// slots; the others, in ascending order, take the lowest free ones.
#[must_use]
pub fn assign_slots(reports: &BTreeMap<NodeId, (Option<Slot>, u32)>) -> SlotTable {
    let generation = reports.values().map(|(_, generation)| *generation).max().unwrap_or(0);
    let mut slots: BTreeMap<NodeId, Slot> =
        reports.iter().filter_map(|(node, (slot, _))| Some((*node, (*slot)?))).collect();
    let mut taken: BTreeSet<Slot> = slots.values().copied().collect();
    for node in reports.keys() {
        if slots.contains_key(node) {
            continue;
        }
        let free = (1..).filter_map(Slot::new).find(|slot| !taken.contains(slot));
        if let Some(slot) = free {
            taken.insert(slot);
            slots.insert(*node, slot);
        }
    }
    SlotTable { generation: generation.saturating_add(1), slots }
}

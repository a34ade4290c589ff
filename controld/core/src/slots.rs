//! Who holds which slot of the kernel's dlm, which is who holds which gfs2 journal.
//!
//! The kernel assigns slots by a rule of its own (spec/gfs-control.md section 5) and tells them only in its log. So the
//! map is predicted at a start, confirmed by the kernel's line, and says which of the two it is.

use crate::snapshot::Slots;
use crate::types::{NodeId, Slot};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The map of one lockspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct SlotMap {
    by_node: BTreeMap<NodeId, Slot>,
    knowledge: Knowledge,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Knowledge {
    #[default]
    Unknown,
    Predicted,
    Confirmed,
}

impl SlotMap {
    /// A start with these members is on its way; `fresh` are those who had no slot before. Where everybody is fresh, the
    /// map begins anew.
    pub(crate) fn predict(&mut self, members: &BTreeSet<NodeId>, fresh: &BTreeSet<NodeId>) {
        if members.is_subset(fresh) {
            self.by_node.clear();
        } else if self.knowledge == Knowledge::Unknown {
            return;
        }
        self.by_node.retain(|node, _| members.contains(node) && !fresh.contains(node));
        let mut taken: BTreeSet<u32> = self.by_node.values().map(|slot| slot.get()).collect();
        for node in members {
            if self.by_node.contains_key(node) {
                continue;
            }
            let free = (1..=u32::MAX).find(|slot| !taken.contains(slot)).and_then(Slot::new);
            if let Some(slot) = free {
                taken.insert(slot.get());
                self.by_node.insert(*node, slot);
            }
        }
        self.knowledge = Knowledge::Predicted;
    }

    /// The kernel's line says otherwise than was predicted.
    pub(crate) fn is_mistaken(&self, slots: &[(Slot, NodeId)]) -> bool {
        let told: BTreeMap<NodeId, Slot> =
            slots.iter().map(|(slot, node)| (*node, *slot)).collect();
        self.knowledge == Knowledge::Predicted && told != self.by_node
    }

    /// The kernel's line. Returns whether it is about these members; a line of an older start is not.
    pub(crate) fn confirm(&mut self, members: &BTreeSet<NodeId>, slots: &[(Slot, NodeId)]) -> bool {
        let named: BTreeSet<NodeId> = slots.iter().map(|(_, node)| *node).collect();
        if named != *members {
            return false;
        }
        self.by_node = slots.iter().map(|(slot, node)| (*node, *slot)).collect();
        self.knowledge = Knowledge::Confirmed;
        true
    }

    /// For status.
    pub(crate) fn snapshot(&self) -> Slots {
        let mut pairs: Vec<(Slot, NodeId)> =
            self.by_node.iter().map(|(node, slot)| (*slot, *node)).collect();
        pairs.sort_unstable();
        match self.knowledge {
            Knowledge::Unknown => Slots::Unknown,
            Knowledge::Predicted => Slots::Predicted(pairs),
            Knowledge::Confirmed => Slots::Confirmed(pairs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u32]) -> BTreeSet<NodeId> {
        ids.iter().copied().filter_map(NodeId::new).collect()
    }

    fn map(slots: &SlotMap) -> Vec<(u32, u32)> {
        slots.by_node.iter().map(|(node, slot)| (slot.get(), node.get())).collect()
    }

    #[test]
    fn newcomers_take_the_lowest_free_slots_in_order_of_node_id() {
        let mut slots = SlotMap::default();
        slots.predict(&nodes(&[2]), &nodes(&[2]));
        slots.predict(&nodes(&[1, 2]), &nodes(&[1]));
        assert_eq!(map(&slots), [(2, 1), (1, 2)]);
        slots.predict(&nodes(&[1]), &nodes(&[]));
        slots.predict(&nodes(&[1, 3, 4]), &nodes(&[3, 4]));
        assert_eq!(map(&slots), [(2, 1), (1, 3), (3, 4)]);
    }

    #[test]
    fn a_joiner_knows_nothing_before_the_kernel_tells() {
        let mut slots = SlotMap::default();
        slots.predict(&nodes(&[1, 2]), &nodes(&[2]));
        assert_eq!(slots.snapshot(), Slots::Unknown);
        let line = [(Slot::new(1).unwrap(), NodeId::new(2).unwrap())];
        assert!(!slots.confirm(&nodes(&[1, 2]), &line));
        assert!(slots.confirm(&nodes(&[2]), &line));
        assert!(matches!(slots.snapshot(), Slots::Confirmed(_)));
    }
}

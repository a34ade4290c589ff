//! The resources of a lockspace: one for each file that somebody locks.

use crate::plock::resource::Resource;
use crate::plock::results::Asked;
use crate::types::{Instant, NodeId};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Who answers requests for a resource (spec/plocks.md section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Owner {
    /// Nobody has said yet.
    Unknown,
    /// Every request is multicast; the state is everybody's.
    Nobody {
        /// The OWN that says so has been delivered, so every member knows it.
        established: bool,
    },
    /// This node alone.
    Node(NodeId),
}

impl Owner {
    /// As dumps show it: -1, 0, or a node.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Unknown => -1,
            Self::Nobody { .. } => 0,
            Self::Node(node) => node.get().into(),
        }
    }
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Creation number, for the order of dumps and transfers.
    pub(super) created: u64,
    pub(super) owner: Owner,
    pub(super) resource: Resource,
    /// Own requests that wait until the owner is known, or until older ones are back, oldest first.
    pub(super) pending: VecDeque<Asked>,
    /// Last use.
    pub(super) used: Instant,
}

impl Entry {
    /// Keep a request of ours, behind older ones. One that came back may be older than some that wait already, and a CLOSE
    /// that overtakes its process' lock would leave that lock to nobody.
    pub(super) fn keep(&mut self, asked: Asked) {
        let place = self.pending.partition_point(|other| other.serial < asked.serial);
        self.pending.insert(place, asked);
    }

    /// It is this node's, and so is what is known of its locks and waiters.
    pub(super) fn has_locks_of_owner(&self, node: NodeId) -> bool {
        self.owner == Owner::Node(node) && !self.resource.is_empty()
    }
}

/// All resources of a lockspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Resources {
    entries: BTreeMap<u64, Entry>,
    created: u64,
}

impl Resources {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.entries.contains_key(&number)
    }

    /// A resource; to look at it is no use of it.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&number)
    }

    /// A resource, used now.
    pub(super) fn find(&mut self, number: u64, now: Instant) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&number)?;
        entry.used = now;
        Some(entry)
    }

    /// A resource, used now; made with this owner if there is none.
    pub(super) fn find_or_make(&mut self, number: u64, owner: Owner, now: Instant) -> &mut Entry {
        let created = &mut self.created;
        let entry = self.entries.entry(number).or_insert_with(|| {
            *created = created.wrapping_add(1);
            Entry {
                created: *created,
                owner,
                resource: Resource::default(),
                pending: VecDeque::new(),
                used: now,
            }
        });
        entry.used = now;
        entry
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.entries.remove(&number);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Entry)> {
        self.entries.iter_mut().map(|(number, entry)| (*number, entry))
    }

    /// Keep those that `keep` wants.
    pub(super) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        self.entries.retain(|_, entry| keep(entry));
    }

    /// In the order of their creation.
    pub(super) fn in_order(&self) -> Vec<(u64, &Entry)> {
        let mut all: Vec<(u64, &Entry)> = self.iter().collect();
        all.sort_by_key(|(_, entry)| entry.created);
        all
    }
}

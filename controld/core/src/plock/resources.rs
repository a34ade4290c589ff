//! The resources of a lockspace: one for each file that somebody locks.

use crate::plock::PlockInfo;
use crate::plock::idle::Idle;
use crate::plock::index::{Derived, Index, Places};
use crate::plock::resource::Resource;
use crate::plock::results::Asked;
use crate::types::{Instant, NodeId};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;
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
    /// Who, if it is a node.
    pub(super) fn node(self) -> Option<NodeId> {
        match self {
            Self::Node(node) => Some(node),
            Self::Unknown | Self::Nobody { .. } => None,
        }
    }

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
    /// Which nodes have to do with it.
    #[serde(skip)]
    pub(super) places: Derived<Places>,
    /// It is noted as idle.
    #[serde(skip)]
    pub(super) idle: Derived<bool>,
}

impl Entry {
    /// Keep a request of ours, behind older ones. One that came back may be older than some that wait already, and a CLOSE
    /// that overtakes its process' lock would leave that lock to nobody.
    pub(super) fn keep(&mut self, asked: Asked) {
        let place = self.pending.partition_point(|other| other.serial < asked.serial);
        self.pending.insert(place, asked);
    }

    /// Own requests that wait, from the one with this serial on, with their serials.
    pub(super) fn pending_from(&self, first: u64) -> impl Iterator<Item = (u64, &PlockInfo)> {
        let place = self.pending.partition_point(|asked| asked.serial < first);
        self.pending.range(place..).map(|asked| (asked.serial, &asked.info))
    }

    /// Grant what can be granted now: to whom, and whether nobody has or wants a lock here any more, which was not noted yet.
    pub(super) fn run_waiters(&mut self, number: u64, index: &mut Index) -> (Vec<PlockInfo>, bool) {
        let mut granted = Vec::new();
        self.resource.run_waiters(&mut granted);
        index.note_untried(number, self);
        (granted, self.resource.is_empty() && !self.idle.0)
    }

    /// It is this node's, and so is what is known of its locks and waiters.
    pub(super) fn has_locks_of_owner(&self, node: NodeId) -> bool {
        self.owner == Owner::Node(node) && !self.resource.is_empty()
    }
}

/// All resources of a lockspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Encoded")]
pub(super) struct Resources {
    entries: BTreeMap<u64, Entry>,
    created: u64,
    #[serde(skip)]
    index: Derived<Index>,
    #[serde(skip)]
    idle: Derived<Idle>,
}

/// As they are decoded, without what follows from it.
#[derive(Deserialize)]
struct Encoded {
    entries: BTreeMap<u64, Entry>,
    created: u64,
}

impl From<Encoded> for Resources {
    fn from(Encoded { entries, created }: Encoded) -> Self {
        let mut resources = Self { entries, created, ..Self::default() };
        resources.index_anew();
        resources
    }
}

impl Resources {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.entries.contains_key(&number)
    }

    /// A resource, to be looked at.
    pub(super) fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(&number)
    }

    /// Those with numbers behind this one, in the order of their numbers.
    pub(super) fn behind(&self, number: Option<u64>) -> impl Iterator<Item = (u64, &Entry)> {
        let first = number.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range((first, Bound::Unbounded)).map(|(number, entry)| (*number, entry))
    }

    /// A resource; to look at it is no use of it.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&number)
    }

    /// A resource, used now.
    pub(super) fn find(&mut self, number: u64, now: Instant) -> Option<&mut Entry> {
        self.find_with_index(number, now).map(|(entry, _)| entry)
    }

    /// A resource, and where to note what becomes of it; to look at it is no use of it.
    pub(super) fn get_with_index(&mut self, number: u64) -> Option<(&mut Entry, &mut Index)> {
        Some((self.entries.get_mut(&number)?, &mut self.index.0))
    }

    /// The same, used now.
    pub(super) fn find_with_index(
        &mut self,
        number: u64,
        now: Instant,
    ) -> Option<(&mut Entry, &mut Index)> {
        let (entry, index) = self.get_with_index(number)?;
        entry.used = now;
        Some((entry, index))
    }

    /// A resource, used now; made with this owner if there is none. With it, where to note which nodes have to do with it.
    pub(super) fn find_or_make(
        &mut self,
        number: u64,
        owner: Owner,
        now: Instant,
    ) -> (&mut Entry, &mut Index) {
        let created = &mut self.created;
        let entry = self.entries.entry(number).or_insert_with(|| {
            *created = created.wrapping_add(1);
            Entry {
                created: *created,
                owner,
                resource: Resource::default(),
                pending: VecDeque::new(),
                used: now,
                places: Derived::default(),
                idle: Derived::default(),
            }
        });
        entry.used = now;
        (entry, &mut self.index.0)
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(entry) = self.entries.remove(&number) else { return };
        self.index.0.forget_untried(number);
        for place in entry.places.0.iter() {
            let moved = self.index.0.vacate(*place);
            if let Some(moved) = moved.and_then(|moved| self.entries.get_mut(&moved)) {
                moved.places.0.moved(*place);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.index = Derived::default();
        self.idle = Derived::default();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Entry)> {
        self.entries.iter_mut().map(|(number, entry)| (*number, entry))
    }

    /// Those that have to do with a node.
    pub(super) fn of(&self, node: NodeId) -> impl Iterator<Item = (u64, &Entry)> {
        let numbers = self.index.0.of(node).iter();
        numbers.filter_map(|number| Some((*number, self.entries.get(number)?)))
    }

    /// Note a resource that may have become idle. Whether it is.
    pub(super) fn note_idle(&mut self, number: u64, us: NodeId) -> bool {
        let Some(entry) = self.entries.get_mut(&number).filter(|entry| entry.is_idle_at(us)) else {
            return false;
        };
        if !core::mem::replace(&mut entry.idle.0, true) {
            self.idle.0.note(number);
        }
        true
    }

    /// Much may have become idle.
    pub(super) fn note_idle_unknown(&mut self) {
        self.idle.0.note_unknown();
    }

    /// See [`Idle::old`].
    pub(super) fn old(
        &mut self,
        us: NodeId,
        count: usize,
        is_old: impl Fn(Instant) -> bool,
    ) -> (Vec<u64>, Option<Instant>) {
        if self.idle.0.take_unknown() {
            let numbers: Vec<u64> = self.entries.keys().copied().collect();
            for number in numbers {
                self.note_idle(number, us);
            }
        }
        let entries = &mut self.entries;
        self.idle.0.old(count, is_old, |number| {
            let entry = entries.get_mut(&number)?;
            entry.idle.0 = entry.is_idle_at(us);
            entry.idle.0.then_some((entry.created, entry.used))
        })
    }

    /// Keep those that `keep` wants.
    pub(super) fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        self.entries.retain(|_, entry| keep(entry));
        self.entries.values_mut().for_each(|entry| entry.idle = Derived::default());
        self.idle = Derived::default();
        self.index_anew();
    }

    /// A node is gone: the numbers of all resources that may have to do with it, or have waiters to be tried. It is noted of
    /// none of them any more.
    pub(super) fn take_of(&mut self, node: NodeId) -> impl Iterator<Item = u64> + use<> {
        let numbers = self.index.0.take(node);
        for number in &numbers {
            if let Some(entry) = self.entries.get_mut(number) {
                entry.places.0.remove(node);
            }
        }
        numbers.into_iter()
    }

    /// In the order of their creation.
    pub(super) fn in_order(&self) -> Vec<(u64, &Entry)> {
        let mut all: Vec<(u64, &Entry)> = self.iter().collect();
        all.sort_by_key(|(_, entry)| entry.created);
        all
    }

    fn index_anew(&mut self) {
        self.index = Derived::default();
        for (number, entry) in &mut self.entries {
            self.index.0.note_all(*number, entry);
        }
    }
}

#[cfg(test)]
impl Resources {
    /// All that are idle are noted.
    pub(super) fn check_idle(&self, us: NodeId) {
        let unknown = self.idle.0.clone().take_unknown();
        for (number, entry) in self.iter().filter(|(_, entry)| entry.is_idle_at(us)) {
            assert!(unknown || entry.idle.0, "{number} is idle");
        }
    }

    /// The index has what it should have.
    pub(super) fn check_index(&self) {
        let index = &self.index.0;
        for (number, entry) in &self.entries {
            let places: Vec<NodeId> =
                entry.places.0.iter().map(|place| index.check(*number, *place)).collect();
            let holders = entry.resource.locks().map(|(lock, _)| lock.holder.node);
            let waiters = entry.resource.waiters().map(|(info, _)| info.node);
            for node in holders.chain(waiters).chain(entry.owner.node()) {
                assert!(places.contains(&node), "{node} has to do with {number}: {places:?}");
            }
            assert!(!entry.resource.has_freed() || index.is_untried(*number), "{number}");
        }
        let places = self.entries.values().map(|entry| entry.places.0.iter().count());
        assert_eq!(places.sum::<usize>(), index.len());
    }
}

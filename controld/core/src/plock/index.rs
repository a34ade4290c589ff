//! What the end of a node is about, so that it costs what it removes and not a walk over all files.
//!
//! A file is noted under a node when the node first asks for a lock there, or owns it, and stays so until the file is
//! forgotten: when the node comes back to it, a look at the file alone shows that. Each file knows its places in the
//! nodes' lists, and a list has no gaps: the last file takes the place of one that goes.
//!
//! A purge runs the waiters of every file, and other nodes may do that by a walk over all of them. Where none of a file's bytes
//! is [freed](super::freed) that changes nothing, so the few where some are, are noted too.

use super::resources::Entry;
use crate::types::NodeId;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

/// What follows from other parts of a state: two states do not differ in it alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Derived<T>(pub(super) T);

impl<T> PartialEq for Derived<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Derived<T> {}

impl<T> Hash for Derived<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Where a file stands in a node's list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    node: NodeId,
    at: usize,
}

/// The places of one file. Most files have to do with one node, which needs no memory of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    first: Option<Place>,
    more: Vec<Place>,
}

impl Places {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.first.iter().chain(&self.more)
    }

    fn add(&mut self, place: Place) {
        match self.first {
            None => self.first = Some(place),
            Some(_) => self.more.push(place),
        }
    }

    /// The node is gone, and its list with it.
    pub(super) fn remove(&mut self, node: NodeId) {
        self.more.retain(|place| place.node != node);
        if self.first.is_some_and(|place| place.node == node) {
            self.first = self.more.pop();
        }
    }

    /// Another file has gone, and left its place in a node's list to this one.
    pub(super) fn moved(&mut self, to: Place) {
        if let Some(place) =
            self.first.iter_mut().chain(&mut self.more).find(|place| place.node == to.node)
        {
            *place = to;
        }
    }
}

/// The index.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// As many as a lockspace has members at most, so they are looked through.
    nodes: Vec<(NodeId, Vec<u64>)>,
    /// Files where waiters are to be tried with the next pass, whatever it is for.
    untried: BTreeSet<u64>,
}

impl Index {
    /// A node has to do with a file.
    pub(super) fn note(&mut self, number: u64, node: NodeId, entry: &mut Entry) {
        if entry.places.0.iter().any(|place| place.node == node) {
            return;
        }
        let known = self.nodes.iter_mut().find(|(known, _)| *known == node);
        let at = match known {
            Some((_, files)) => {
                files.push(number);
                files.len().saturating_sub(1)
            }
            None => {
                self.nodes.push((node, Vec::from([number])));
                0
            }
        };
        entry.places.0.add(Place { node, at });
    }

    /// The waiters of a file have been run, or there are new ones.
    pub(super) fn note_untried(&mut self, number: u64, entry: &Entry) {
        if entry.resource.has_freed() {
            self.untried.insert(number);
        }
    }

    /// A file is forgotten, which had this place. Which one has it now.
    pub(super) fn vacate(&mut self, place: Place) -> Option<u64> {
        let (_, files) = self.nodes.iter_mut().find(|(known, _)| *known == place.node)?;
        if place.at < files.len() {
            files.swap_remove(place.at);
        }
        files.get(place.at).copied()
    }

    /// A file is forgotten.
    pub(super) fn forget_untried(&mut self, number: u64) {
        if !self.untried.is_empty() {
            self.untried.remove(&number);
        }
    }

    /// Files that a node has to do with.
    pub(super) fn of(&self, node: NodeId) -> &[u64] {
        let known = self.nodes.iter().find(|(known, _)| *known == node);
        known.map_or(&[], |(_, files)| files)
    }

    /// A node is gone: the files that it has to do with, and those whose waiters are to be tried, in the order of their
    /// numbers. None of it is noted any more.
    pub(super) fn take(&mut self, node: NodeId) -> BTreeSet<u64> {
        let mut files = core::mem::take(&mut self.untried);
        if let Some(place) = self.nodes.iter().position(|(known, _)| *known == node) {
            files.extend(self.nodes.swap_remove(place).1);
        }
        files
    }

    /// Note a file that nothing is noted of.
    pub(super) fn note_all(&mut self, number: u64, entry: &mut Entry) {
        entry.places = Derived::default();
        let owner = entry.owner.node();
        let holders = entry.resource.locks().map(|(lock, _)| lock.holder.node);
        let waiters = entry.resource.waiters().map(|(info, _)| info.node);
        let nodes: BTreeSet<NodeId> = holders.chain(waiters).chain(owner).collect();
        for node in nodes {
            self.note(number, node, entry);
        }
        self.note_untried(number, entry);
    }
}

#[cfg(test)]
impl Index {
    /// The file has this place. Whose.
    pub(super) fn check(&self, number: u64, place: Place) -> NodeId {
        let (_, files) = self.nodes.iter().find(|(node, _)| *node == place.node).unwrap();
        assert_eq!(files[place.at], number);
        place.node
    }

    pub(super) fn is_untried(&self, number: u64) -> bool {
        self.untried.contains(&number)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.iter().map(|(_, files)| files.len()).sum()
    }
}

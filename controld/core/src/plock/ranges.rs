//! An index of byte ranges: which of them overlap this one, in list order, without looking at the others.
//!
//! A balanced (AVL) tree ordered by group, first byte and number in the list. Every node knows of its subtree the last
//! byte of any range, so that a search leaves out what ends before it begins, and the lowest number, so that a search
//! finds the first of the list first and stops there. The tree of waiters also knows the first byte with which any range ends, so
//! that a search leaves out what reaches too far. Depth is below 1.5 log2 of the size, whatever the ranges are:
//! nobody can make a tree of his own choice slow, or the recursion deep.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};

/// No node. Never a valid place: a tree of that size has no memory.
const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// Where a range stands in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<G> {
    /// Ranges of other groups are left out of a search.
    pub(super) group: G,
    /// First byte.
    pub(super) start: u64,
    /// Number in the list.
    pub(super) seq: u64,
}

/// What a node knows, beside the highest, of the last bytes of ranges: its own, and those below it.
pub(super) trait Ends: Copy {
    /// Of one range.
    fn of(end: u64) -> Self;
    /// Of both together.
    fn and(self, other: Self) -> Self;
    /// Whether some range may end with this byte, or before it.
    fn may_reach(self, byte: u64) -> bool;
}

/// Nothing: nobody asks.
impl Ends for () {
    fn of(_: u64) {}
    fn and(self, (): ()) {}
    fn may_reach(self, _: u64) -> bool {
        true
    }
}

/// The lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lowest(u64);

impl Ends for Lowest {
    fn of(end: u64) -> Self {
        Self(end)
    }

    fn and(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    fn may_reach(self, byte: u64) -> bool {
        self.0 <= byte
    }
}

#[derive(Clone, Debug)]
struct Node<G, E> {
    key: Key<G>,
    end: u64,
    /// Of this node and all below it.
    max_end: u64,
    /// Of this node and all below it.
    min_seq: u64,
    ends: E,
    left: u32,
    right: u32,
    height: u8,
}

/// What a search is for: the groups from the first to the last, the bytes from `start` to `end`. Several groups are
/// searched only for all bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<G> {
    pub(super) first: G,
    pub(super) last: G,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl<G: Copy> Wanted<G> {
    /// Those of one group that overlap a range.
    pub(super) const fn overlapping(group: G, start: u64, end: u64) -> Self {
        Self { first: group, last: group, start, end }
    }
}

/// What is found lies between these bytes, both included.
pub(super) type Room = (u64, u64);

/// There is no limit.
pub(super) const ANYWHERE: Room = (0, u64::MAX);

/// The index. Places of nodes that are gone are used again.
#[derive(Clone, Debug)]
pub(super) struct Ranges<G, E = ()> {
    nodes: Vec<Node<G, E>>,
    free: Vec<u32>,
    root: u32,
}

impl<G, E> Default for Ranges<G, E> {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: NIL }
    }
}

impl<G: Copy + Ord, E: Ends> Ranges<G, E> {
    /// Adds a range; its key is not there yet.
    pub(super) fn insert(&mut self, key: Key<G>, end: u64) {
        let node = Node {
            key,
            end,
            max_end: end,
            min_seq: key.seq,
            ends: E::of(end),
            left: NIL,
            right: NIL,
            height: 1,
        };
        let place = match self.free.pop() {
            Some(place) => place,
            None => u32::try_from(self.nodes.len()).unwrap_or(NIL),
        };
        match self.node_mut(place) {
            Some(free) => *free = node,
            None => self.nodes.push(node),
        }
        self.root = self.insert_below(self.root, place, key);
    }

    /// Takes a range out, if it is there.
    pub(super) fn remove(&mut self, key: Key<G>) {
        let (root, gone) = self.remove_below(self.root, key);
        self.root = root;
        self.free.extend(gone);
        if root == NIL {
            *self = Self::default();
        }
    }

    /// A search without any aim yet.
    pub(super) const fn search(&self) -> Search<'_, G, E> {
        Search { ranges: self, wanted: Vec::new(), ahead: BinaryHeap::new() }
    }

    /// The numbers of those wanted, in list order.
    pub(super) fn find(&self, wanted: Wanted<G>) -> impl Iterator<Item = u64> {
        let mut search = self.search();
        search.add(wanted);
        core::iter::from_fn(move || search.next(|_| Some(ANYWHERE))).map(|found| found.seq)
    }

    fn node(&self, place: u32) -> Option<&Node<G, E>> {
        self.nodes.get(usize::try_from(place).ok()?)
    }

    fn node_mut(&mut self, place: u32) -> Option<&mut Node<G, E>> {
        self.nodes.get_mut(usize::try_from(place).ok()?)
    }

    fn height(&self, place: u32) -> u8 {
        self.node(place).map_or(0, |node| node.height)
    }

    fn child(&self, place: u32, side: Side) -> u32 {
        self.node(place).map_or(NIL, |node| match side {
            Side::Left => node.left,
            Side::Right => node.right,
        })
    }

    /// Hangs a child below a node, and makes what the node knows of its subtree right.
    fn hang(&mut self, place: u32, side: Side, child: u32) {
        let other = self.child(place, side.other());
        let below = [child, other].map(|place| self.node(place));
        let max_end = below.iter().flatten().map(|node| node.max_end).max().unwrap_or(0);
        let min_seq = below.iter().flatten().map(|node| node.min_seq).min().unwrap_or(u64::MAX);
        let ends = below.iter().flatten().map(|node| node.ends).reduce(E::and);
        let height = below.iter().flatten().map(|node| node.height).max().unwrap_or(0);
        if let Some(node) = self.node_mut(place) {
            match side {
                Side::Left => node.left = child,
                Side::Right => node.right = child,
            }
            node.max_end = max_end.max(node.end);
            node.min_seq = min_seq.min(node.key.seq);
            let own = E::of(node.end);
            node.ends = ends.map_or(own, |ends| ends.and(own));
            node.height = height.saturating_add(1);
        }
    }

    /// Lifts the child of the given side into the place of its parent; the new root.
    fn rotate(&mut self, place: u32, side: Side) -> u32 {
        let lifted = self.child(place, side);
        self.hang(place, side, self.child(lifted, side.other()));
        self.hang(lifted, side.other(), place);
        lifted
    }

    /// Hangs a changed subtree below a node and restores the balance; the new root.
    fn hang_balanced(&mut self, place: u32, side: Side, child: u32) -> u32 {
        self.hang(place, side, child);
        for side in [Side::Left, Side::Right] {
            let deep = self.child(place, side);
            if self.height(deep) > self.height(self.child(place, side.other())).saturating_add(1) {
                let inner = self.height(self.child(deep, side.other()));
                if inner > self.height(self.child(deep, side)) {
                    let lifted = self.rotate(deep, side.other());
                    self.hang(place, side, lifted);
                }
                return self.rotate(place, side);
            }
        }
        place
    }

    fn insert_below(&mut self, root: u32, place: u32, key: Key<G>) -> u32 {
        let Some(node) = self.node(root) else { return place };
        let side = if key < node.key { Side::Left } else { Side::Right };
        let child = self.insert_below(self.child(root, side), place, key);
        self.hang_balanced(root, side, child)
    }

    /// The new root, and the place that is free now.
    fn remove_below(&mut self, root: u32, key: Key<G>) -> (u32, Option<u32>) {
        let Some(node) = self.node(root) else { return (NIL, None) };
        let side = match key.cmp(&node.key) {
            Ordering::Less => Side::Left,
            Ordering::Greater => Side::Right,
            Ordering::Equal => return (self.join(node.left, node.right), Some(root)),
        };
        let (child, gone) = self.remove_below(self.child(root, side), key);
        (self.hang_balanced(root, side, child), gone)
    }

    /// One tree of the two that were below a node.
    fn join(&mut self, left: u32, right: u32) -> u32 {
        if right == NIL {
            return left;
        }
        let (rest, first) = self.take_first(right);
        self.hang(first, Side::Left, left);
        self.hang_balanced(first, Side::Right, rest)
    }

    /// What is left of a tree without its first node, and that node.
    fn take_first(&mut self, root: u32) -> (u32, u32) {
        let left = self.child(root, Side::Left);
        if left == NIL {
            return (self.child(root, Side::Right), root);
        }
        let (rest, first) = self.take_first(left);
        (self.hang_balanced(root, Side::Left, rest), first)
    }
}

/// One that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its number in the list.
    pub(super) seq: u64,
    /// It was put into the search by its number.
    pub(super) named: bool,
}

/// What a search has still to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ahead {
    /// One to be found.
    One { named: bool },
    /// A subtree, and for which of the aims.
    Tree { root: u32, aim: usize },
}

/// A search in list order that goes no further than it is asked to. One that several aims find comes several times, in
/// a row.
#[derive(Debug)]
pub(super) struct Search<'a, G, E = ()> {
    ranges: &'a Ranges<G, E>,
    wanted: Vec<Wanted<G>>,
    /// By the lowest number that can be found there.
    ahead: BinaryHeap<Reverse<(u64, Ahead)>>,
}

impl<G: Copy + Ord, E: Ends> Search<'_, G, E> {
    /// Finds these as well.
    pub(super) fn add(&mut self, wanted: Wanted<G>) {
        let aim = self.wanted.len();
        self.wanted.push(wanted);
        self.look(self.ranges.root, aim, wanted.start, u64::MAX);
    }

    /// Finds this one as well.
    pub(super) fn name(&mut self, seq: u64) {
        self.ahead.push(Reverse((seq, Ahead::One { named: true })));
    }

    /// The next one. `open`: where that of an aim may lie now, or that it is given up. The room of an aim only gets smaller; what
    /// was seen when it was larger may still be found.
    pub(super) fn next(&mut self, open: impl Fn(&Wanted<G>) -> Option<Room>) -> Option<Found> {
        while let Some(Reverse((seq, ahead))) = self.ahead.pop() {
            match ahead {
                Ahead::One { named } => return Some(Found { seq, named }),
                Ahead::Tree { root, aim } => {
                    let wanted = self.wanted.get(aim).copied();
                    let wanted = wanted.and_then(|wanted| Some((wanted, open(&wanted)?)));
                    let node = self.ranges.node(root);
                    if let (Some((wanted, room)), Some(node)) = (wanted, node) {
                        self.open(node, aim, &wanted, room);
                    }
                }
            }
        }
        None
    }

    fn open(&mut self, node: &Node<G, E>, aim: usize, wanted: &Wanted<G>, (from, to): Room) {
        let key = node.key;
        let before = (key.group, key.start) < (wanted.first, from);
        let behind = (key.group, key.start) > (wanted.last, wanted.end);
        if !before {
            self.look(node.left, aim, wanted.start, to);
        }
        if !behind {
            self.look(node.right, aim, wanted.start, to);
        }
        if !before && !behind && wanted.start <= node.end && node.end <= to {
            self.ahead.push(Reverse((key.seq, Ahead::One { named: false })));
        }
    }

    fn look(&mut self, root: u32, aim: usize, start: u64, to: u64) {
        let wanted = |node: &&Node<G, E>| start <= node.max_end && node.ends.may_reach(to);
        if let Some(node) = self.ranges.node(root).filter(wanted) {
            self.ahead.push(Reverse((node.min_seq, Ahead::Tree { root, aim })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// What the nodes say of their subtrees is so, and no side is deeper than the other by more than one.
    fn check(ranges: &Ranges<u8, Lowest>, root: u32) -> (u8, u64, u64, usize) {
        let Some(node) = ranges.node(root) else { return (0, 0, u64::MAX, 0) };
        let below = [node.left, node.right].map(|place| ranges.node(place));
        let lowest = below.iter().flatten().map(|node| node.ends.0).chain([node.end]).min();
        assert_eq!(Some(node.ends.0), lowest);
        let (left, right) = (check(ranges, node.left), check(ranges, node.right));
        assert!(left.0.abs_diff(right.0) <= 1, "{} and {} below {node:?}", left.0, right.0);
        assert_eq!(node.height, left.0.max(right.0) + 1);
        assert_eq!(node.max_end, node.end.max(left.1).max(right.1));
        assert_eq!(node.min_seq, node.key.seq.min(left.2).min(right.2));
        (node.height, node.max_end, node.min_seq, left.3 + right.3 + 1)
    }

    /// Keys that come in order, against it, from both ends and mixed, and go in order, against it and mixed.
    #[test]
    fn the_tree_is_balanced_whatever_comes_and_goes() {
        const KEYS: u64 = 200;
        let orders: [fn(u64) -> u64; 4] = [
            |at| at,
            |at| KEYS - 1 - at,
            |at| if at % 2 == 0 { at / 2 } else { KEYS - 1 - at / 2 },
            |at| at * 67 % KEYS,
        ];
        for come in orders {
            for go in orders {
                let mut ranges = Ranges::default();
                let key = |at: u64| Key { group: 1_u8, start: at / 3, seq: at };
                for at in 0..KEYS {
                    ranges.insert(key(come(at)), come(at) * 31 % KEYS);
                    assert_eq!(check(&ranges, ranges.root).3, usize::try_from(at).unwrap() + 1);
                }
                for at in 0..KEYS {
                    ranges.remove(key(go(at)));
                    let left = usize::try_from(KEYS - 1 - at).unwrap();
                    assert_eq!(check(&ranges, ranges.root).3, left);
                }
                assert!(ranges.nodes.is_empty() && ranges.free.is_empty());
            }
        }
    }

    /// docs/design.md says what a lock costs.
    #[test]
    fn a_node_takes_as_much_memory_as_the_documents_say() {
        use crate::plock::{Holder, Mode};
        assert_eq!((size_of::<Node<Mode, ()>>(), size_of::<Node<Holder, ()>>()), (64, 72));
    }

    /// A place that became free is used again, and what is not there is not taken.
    #[test]
    fn places_are_used_again() {
        let mut ranges: Ranges<u8> = Ranges::default();
        let key = |seq| Key { group: 1_u8, start: 5, seq };
        ranges.insert(key(0), 6);
        for seq in 1..100 {
            ranges.insert(key(seq), 6);
            ranges.remove(key(seq));
            ranges.remove(key(seq));
        }
        assert_eq!(ranges.nodes.len(), 2);
        assert_eq!(ranges.find(Wanted::overlapping(1, 6, 9)).collect::<Vec<_>>(), vec![0]);
    }
}

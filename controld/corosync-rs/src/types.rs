//! What more than one of corosync's services talks about.

use std::fmt;

/// A totem ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingId {
    /// The node that formed it.
    pub node: u32,
    /// Grows with every new ring.
    pub seq: u64,
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.seq)
    }
}

/// What one look into a connection has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispatch<E> {
    /// Nothing was waiting.
    Idle,
    /// One of corosync's notes was read. Usually it is one event; a part of a long message is none yet.
    Events(Vec<E>),
}

impl<E> From<Option<Vec<E>>> for Dispatch<E> {
    fn from(found: Option<Vec<E>>) -> Self {
        found.map_or(Self::Idle, Self::Events)
    }
}

//! The cluster seam: membership, quorum, ordered group messages, removal of nodes.
//!
//! What happens comes as [`dlm_core::event::Event`]s over one bounded channel: `Quorum`, `Nodelist`, `Confchg`, `Ring`,
//! `Message`, `BadMessage`, `JoinFailed`, `ShutdownQuestion`, `ClusterLost`.

pub mod corosync;

use dlm_core::types::{Group, NodeId};
use std::time::Duration;

/// Requests that the cluster has not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Messages, joins and leaves.
    pub requests: usize,
    /// For how long it has taken none of them.
    pub lasted: Duration,
}

/// What any cluster must offer. Requests neither block nor fail; what becomes of them comes as an event.
pub trait Cluster: Send {
    /// Join a group.
    fn join(&mut self, group: &Group);
    /// Leave a group in order, which says that nothing needs recovery.
    fn leave(&mut self, group: &Group);
    /// Multicast the bytes of one message to a group, behind what was sent before.
    fn send(&mut self, group: &Group, message: Vec<u8>);
    /// Ask for the removal of a node from the cluster.
    fn kick(&mut self, node: NodeId);
    /// Answer `ShutdownQuestion`.
    fn answer_shutdown(&mut self, allow: bool);
    /// What the cluster has not taken yet, if it has to be waited for.
    fn backlog(&self) -> Option<Backlog> {
        None
    }
}

//! What a death and a join cost, and how that grows with nodes and lockspaces.
//!
//! START makes it M messages of 72 + 4 M bytes a lockspace, so messages must be linear in the members, and bytes and the
//! core's time on a node within the square of them; all of it linear in the lockspaces.

mod cluster;
mod table;

use cluster::Cluster;
use std::time::Duration;

pub use cluster::Peers;
pub use table::table;

/// What one event costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Messages of all nodes, in all groups.
    pub messages: u64,
    /// Their bytes; each is carried to every node.
    pub bytes: u64,
    /// Processor time of the core on the busiest node.
    pub core: Duration,
}

/// The costs of one size of cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Nodes, all of which have all lockspaces.
    pub nodes: u32,
    /// Lockspaces.
    pub lockspaces: u32,
    /// A node dies: until the lockspaces run again on the others.
    pub death: Cost,
    /// It comes back: from the start of its daemon until all lockspaces run there too.
    pub join: Cost,
}

/// Measure a cluster of so many nodes, at least 3, and lockspaces.
///
/// # Errors
/// What did not go as it should, in words.
pub fn measure(nodes: u32, lockspaces: u32, peers: Peers) -> Result<Row, String> {
    let mut cluster = Cluster::new(nodes, lockspaces, peers);
    cluster.form()?;
    let death = cluster.last_node_dies()?;
    let join = cluster.last_node_comes()?;
    Ok(Row { nodes, lockspaces, death, join })
}

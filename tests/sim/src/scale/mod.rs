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

/// Messages of all nodes, and their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Bytes of a PROTOCOL, and of a START and a PLOCKS_DONE without its members.
const HEAD: u64 = 72;
/// Bytes of a FENCE_RESULT or FENCE_CLEAR.
const WORD_OF_FENCING: u64 = 1064;

impl Traffic {
    /// What has to be said for each lockspace that starts with so many members: a START of each, and the lowest one's
    /// PLOCKS_DONE. Besides one word of fencing.
    fn of_starts(lockspaces: u64, members: u64) -> Self {
        let messages = lockspaces * (members + 1);
        Self { messages: messages + 1, bytes: messages * (HEAD + 4 * members) + WORD_OF_FENCING }
    }
}

impl Row {
    /// What a death has to cost: the result of one actor, and the starts.
    #[must_use]
    pub fn death_by_formula(&self) -> Traffic {
        Traffic::of_starts(self.lockspaces.into(), u64::from(self.nodes) - 1)
    }

    /// What a join has to cost: a PROTOCOL of each member and one more of the joiner, the word that no fencing is in progress,
    /// and the starts.
    #[must_use]
    pub fn join_by_formula(&self) -> Traffic {
        let members = u64::from(self.nodes);
        let Traffic { messages, bytes } = Traffic::of_starts(self.lockspaces.into(), members);
        Traffic { messages: messages + members + 1, bytes: bytes + (members + 1) * HEAD }
    }

    /// Where the cluster has said more, or less, than it has to.
    #[must_use]
    pub fn beside_formula(&self) -> Option<String> {
        let said = |cost: Cost| Traffic { messages: cost.messages, bytes: cost.bytes };
        [
            ("death", said(self.death), self.death_by_formula()),
            ("join", said(self.join), self.join_by_formula()),
        ]
        .into_iter()
        .find(|(_, said, due)| said != due)
        .map(|(what, said, due)| {
            let Self { nodes, lockspaces, .. } = self;
            format!("{nodes} nodes, {lockspaces} lockspaces: a {what} took {said:?}, not {due:?}")
        })
    }
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

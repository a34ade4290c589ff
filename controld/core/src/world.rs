//! What every lockspace looks at: options, the cluster, the daemon group.

use crate::cluster::Cluster;
use crate::group::Daemons;
use crate::mutants::Mutant;
use crate::options::Setup;
use serde::{Deserialize, Serialize};

/// The node-wide state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) cluster: Cluster,
    pub(crate) daemons: Daemons,
}

impl World {
    /// This core has the deliberate defect; never without the feature `mutants`.
    pub(crate) fn mutated(&self, mutant: Mutant) -> bool {
        self.daemons.mutation.has(mutant)
    }

    pub(crate) fn new(setup: Setup) -> Self {
        Self { cluster: Cluster::new(setup.our_node), daemons: Daemons::new(&setup), setup }
    }
}

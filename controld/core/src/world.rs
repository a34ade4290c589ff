//! What every lockspace looks at: options, the cluster, the daemon group.

use crate::cluster::Cluster;
use crate::group::Daemons;
use crate::options::Setup;

/// The node-wide state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) cluster: Cluster,
    pub(crate) daemons: Daemons,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        Self { cluster: Cluster::new(setup.our_node), daemons: Daemons::new(&setup), setup }
    }
}

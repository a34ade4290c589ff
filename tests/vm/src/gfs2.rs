//! gfs2 on the shared disk.

use anyhow::Result;

use crate::cluster::Cluster;
use crate::node::COMMAND;
use crate::options::CLUSTER_NAME;

/// The file system's name in the cluster, which is its lockspace's too.
pub(crate) const FILE_SYSTEM: &str = "fs";
/// The smallest journal that gfs2 takes, in MiB: quick to make and to replay.
const JOURNAL_MIB: u32 = 8;

impl Cluster {
    /// Makes a file system on the shared disk, with a journal for each node.
    pub fn make_gfs2(&self) -> Result<()> {
        let journals = self.options().nodes;
        self.node(1).ok_within(
            &format!(
                "mkfs.gfs2 -O -K -q -p lock_dlm -t {CLUSTER_NAME}:{FILE_SYSTEM} -j {journals} \
                 -J {JOURNAL_MIB} /dev/vdb"
            ),
            2 * COMMAND,
        )?;
        Ok(())
    }

    /// Makes a file system and mounts it on these nodes, one after the other so that slots follow ids.
    pub fn mount_gfs2(&self, nodes: &[u8]) -> Result<()> {
        self.make_gfs2()?;
        nodes.iter().try_for_each(|id| self.node(*id).mount())
    }
}

//! What dlm.conf and corosync.conf may say besides, and what must follow from it in the kernel.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::basics::{CHANGE, PROGRESS, RECOVERY, fenced_once, replayed_once};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::power::Outcome;
use crate::time::HostTime;

/// configfs of the kernel's dlm.
pub(super) const CONFIGFS: &str = "/sys/kernel/config/dlm/cluster";
/// How long a first connection over SCTP may take on a busy host.
const FIRST_CONTACT: Duration = Duration::from_secs(60);

/// The lines of dlm.conf that [`options`] is about. A blank line ends the masters of a lockspace.
pub(super) const OPTION_LINES: [&str; 7] = [
    "protocol=sctp",
    "lockspace fs nodir=1",
    "",
    "lockspace t1",
    "master t1 node=1 weight=2",
    "master t1 node=2",
    "",
];

/// `protocol=sctp`, a lockspace without a directory, and one with weights: the kernel of every node has
/// exactly these settings, gfs2 works with them, and a death is recovered from.
pub(super) fn options(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    for node in cluster.nodes() {
        node.wait_lockspace(FILE_SYSTEM, &[1, 2, 3], FIRST_CONTACT)?;
        node.ok("dlm_tool join t1")?;
    }
    for node in cluster.nodes() {
        node.wait_lockspace("t1", &[1, 2, 3], FIRST_CONTACT)?;
        for (file, wanted) in [
            (format!("{CONFIGFS}/protocol"), "1"),
            ("/sys/kernel/dlm/fs/nodir".to_owned(), "1"),
            ("/sys/kernel/dlm/t1/nodir".to_owned(), "0"),
            (format!("{CONFIGFS}/spaces/fs/nodes/3/weight"), "1"),
            (format!("{CONFIGFS}/spaces/t1/nodes/1/weight"), "2"),
            (format!("{CONFIGFS}/spaces/t1/nodes/2/weight"), "1"),
            (format!("{CONFIGFS}/spaces/t1/nodes/3/weight"), "0"),
        ] {
            let value = node.ok(&format!("cat {file}"))?;
            ensure!(value.trim() == wanted, "node {}: {file} is {value:?}", node.id());
        }
        node.ok("test -n \"$(cat /proc/net/sctp/assocs | sed 1d)\"")?;
    }
    dies_under_load(cluster, "options")?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace("t1", &[1, 2], RECOVERY)?;
    }
    Ok(())
}

/// Node ids over 127, IPv6, and two addresses a node: the kernel knows both of each node, gfs2 works,
/// the dead node is fenced by what its own line in dlm.conf says, and recovered from.
pub(super) fn addresses(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    for node in cluster.nodes() {
        node.wait_lockspace(FILE_SYSTEM, &[1, 2, 3], FIRST_CONTACT)?;
        for peer in cluster.nodes() {
            let (id, host) = (peer.cluster_id(), peer.id());
            let known = node.ok(&format!("cat {CONFIGFS}/comms/{id}/addr_list"))?;
            for network in ["fd77", "fd79"] {
                ensure!(
                    known.contains(&format!("{network}:0000:0000:0000:0000:0000:0000:000{host}"))
                        || known.contains(&format!("{network}::{host}")),
                    "node {} knows node {id} as {known:?}",
                    node.id()
                );
            }
        }
    }
    dies_under_load(cluster, "addresses")
}

/// Node 3 dies under a load on node 1: fenced once, its journal replayed once, and the load goes on.
fn dies_under_load(cluster: &Cluster, name: &str) -> Result<()> {
    let load =
        cluster.node(1).churn(&format!("{name}.{}", cluster.new_mark()), "/mnt/gfs2/churn")?;
    load.wait_more(5, PROGRESS)?;
    let begin = HostTime::now();
    cluster.node(3).kill()?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    load.wait_more(5, PROGRESS)?;
    load.stop(PROGRESS)?;
    cluster.node(2).ok_within("ls /mnt/gfs2/churn >/dev/null", CHANGE)?;
    fenced_once(cluster, begin, 3, Outcome::WasDown)?;
    replayed_once(cluster, begin, 2)
}

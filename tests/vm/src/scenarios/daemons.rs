//! Daemons that end, in order or not.

use anyhow::{Result, ensure};

use super::basics::{CHANGE, PROGRESS, RECOVERY, replayed_once};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::power::{FenceMode, Outcome};
use crate::time::HostTime;

/// A daemon is killed while its node uses a lockspace: the kernel there stops, the node is fenced once,
/// and the others recover.
pub(super) fn daemon_killed(cluster: &Cluster) -> Result<()> {
    removed_after(cluster, "kill -9 $(pgrep -o dlm_controld)")
}

/// corosync dies under a running lockspace: the daemon there must not go on alone; the node is fenced
/// once, and the others recover.
pub(super) fn corosync_killed(cluster: &Cluster) -> Result<()> {
    removed_after(cluster, "killall -9 corosync")
}

/// Something that ends a node's part in the cluster: it is switched off once, its journal replayed once,
/// and the others' work goes on.
fn removed_after(cluster: &Cluster, command: &str) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    let load =
        cluster.node(1).churn(&format!("removed.{}", cluster.new_mark()), "/mnt/gfs2/churn")?;
    load.wait_more(5, PROGRESS)?;
    let begin = HostTime::now();
    // Its answer must not come behind the command: the machine is off a tenth of a second after its daemon.
    cluster.node(3).ok(&format!("({command}) >/dev/null 2>&1 &"))?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    load.wait_more(5, PROGRESS)?;
    load.stop(PROGRESS)?;
    super::basics::fenced_once(cluster, begin, 3, Outcome::Killed)?;
    replayed_once(cluster, begin, 2)
}

/// A lockspace of the scenario below.
const STUCK: &str = "stuck";

/// The kernel does not come back from a write to a lockspace's `control`, and then the daemon is killed. A thread of it stays
/// in the kernel, and yet kernel and peers see at once that the daemon is gone: its monitor device and its groups close.
/// The node is fenced once, the others recover.
pub(super) fn stuck_write(cluster: &Cluster) -> Result<()> {
    for node in cluster.nodes() {
        node.ok(&format!("dlm_tool join {STUCK}"))?;
    }
    for node in cluster.nodes() {
        node.wait_lockspace(STUCK, &[1, 2, 3], CHANGE)?;
    }
    let victim = cluster.node(3);
    victim.ok(&format!(
        "modprobe fuse && (/vm/dlm-vm-agent silent /sys/kernel/dlm/{STUCK}/control >/run/silent 2>&1 &)"
    ))?;
    victim.wait_for("grep mounted /run/silent", CHANGE)?;
    // So that the machine can still be looked at when its peers have missed it.
    cluster.fence_mode(FenceMode::Fail)?;
    let begin = HostTime::now();
    // Its kernel waits for node 3's to take note, which does not come to it.
    cluster.node(2).ok(&format!("(dlm_tool leave {STUCK} >/dev/null 2>&1 &)"))?;
    victim.wait_for("grep 'somebody waits' /run/silent", CHANGE)?;
    let pid = victim.ok("pgrep -o dlm_controld")?.trim().to_owned();
    victim.ok(&format!("kill -9 {pid}"))?;
    victim.wait_for("dmesg | grep 'no userland control daemon, stopping lockspace'", PROGRESS)?;
    // Not that corosync misses the node later.
    let removed = format!("{STUCK} add_change cg .* remove nodeid 3 reason procdown");
    cluster.node(1).wait_for(&format!("dlm_tool dump | grep '{removed}'"), PROGRESS)?;
    let there = victim.ok(&format!("cat /proc/{pid}/task/*/comm"))?;
    ensure!(there.contains("lane"), "no thread of the daemon is stuck: {there:?}");
    cluster.fence_mode(FenceMode::Ok)?;
    cluster.node(1).wait_lockspace(STUCK, &[1], RECOVERY)?;
    let off = super::membership::successes(cluster, begin);
    ensure!(matches!(off.as_slice(), [only] if only.victim == 3), "fenced: {off:?}");
    Ok(())
}

/// SIGTERM ends a daemon without lockspaces with status 0, and nobody is fenced; with lockspaces it is
/// refused, and the lockspace runs on.
pub(super) fn sigterm(cluster: &Cluster) -> Result<()> {
    let begin = HostTime::now();
    let node = cluster.node(3);
    node.ok("kill $(pgrep -o dlm_controld)")?;
    let exit = node.wait_for("cat /run/daemon.exit", CHANGE)?;
    ensure!(exit.trim() == "0", "the daemon's exit status is {exit:?}");
    cluster.wait_members(&[1, 2], CHANGE)?;
    node.ok(". /vm/rc; start_daemon")?;
    cluster.wait_members(&[1, 2, 3], CHANGE)?;
    node.end_boot_delay()?;
    for node in cluster.nodes() {
        node.ok("dlm_tool join stays")?;
    }
    node.wait_lockspace("stays", &[1, 2, 3], CHANGE)?;
    node.ok("kill $(pgrep -o dlm_controld)")?;
    node.wait_for("dlm_tool dump | grep -q 'shutdown ignored, active lockspaces'", CHANGE)?;
    node.wait_lockspace("stays", &[1, 2, 3], CHANGE)?;
    cluster.wait_members(&[1, 2, 3], CHANGE)?;
    let log = cluster.fence_log(begin);
    ensure!(log.is_empty(), "somebody was fenced: {log:?}");
    Ok(())
}

//! Daemons that end, in order or not.

use anyhow::{Result, ensure};

use super::basics::{CHANGE, PROGRESS, RECOVERY, replayed_once};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::power::Outcome;
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
    cluster.node(3).ok(command)?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    load.wait_more(5, PROGRESS)?;
    load.stop(PROGRESS)?;
    super::basics::fenced_once(cluster, begin, 3, Outcome::Killed)?;
    replayed_once(cluster, begin, 2)
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

/// Takes node 3's one processor from everything of ordinary priority, the kernel's recovery thread
/// included, so that the stop of a lockspace waits for it in the kernel; kills the daemon then.
const STARVE: &str = "#!/bin/sh
# As a real-time process. Only what the shell does by itself, and what it starts, runs from here on.
stuck() {
	for task in /proc/$1/task/*; do
		read -r line <$task/stat || continue
		case ${line##*) } in D*) return 0;; esac
	done
	return 1
}
# Once is chance; a write that is over is not found a thousand times in a row.
found=0
until [ $found -ge 1000 ]; do
	if stuck $1; then found=$((found + 1)); else found=0; fi
done
echo 'dlm-vm: a thread of the daemon is stuck; killing it' >/dev/kmsg
kill -9 $1
while :; do :; done
";

/// A daemon is killed while a write of it is stuck in the kernel, which outlives the kill: the others
/// must learn of the death all the same, switch the node off, and go on.
pub(super) fn sigkill_stuck(cluster: &Cluster) -> Result<()> {
    for node in cluster.nodes() {
        node.ok("dlm_tool join stuck")?;
    }
    for node in cluster.nodes() {
        node.wait_lockspace("stuck", &[1, 2, 3], CHANGE)?;
    }
    let victim = cluster.node(3);
    victim.put("/vm/starve", 0o755, STARVE.as_bytes())?;
    // The daemon, corosync with its network threads, and the kernel's receiving must run on; nothing is
    // to be spared for ordinary processes.
    victim.ok("echo -1 >/proc/sys/kernel/sched_rt_runtime_us && \
         chrt -f -p 20 $(pgrep -x ksoftirqd/0) && chrt -a -f -p 10 $(pidof corosync) && \
         chrt -a -f -p 5 $(pgrep -o dlm_controld)")?;
    let begin = HostTime::now();
    let starving = victim.sh_within("chrt -f 1 /vm/starve $(pgrep -o dlm_controld)", STARVED);
    ensure!(starving.is_err(), "node 3 still answers: {starving:?}");
    cluster.node(2).ok("dlm_tool leave stuck")?;
    victim.wait_off(RECOVERY)?;
    ensure!(victim.console()?.contains("is stuck; killing it"), "no write was stuck");
    cluster.node(1).wait_lockspace("stuck", &[1], RECOVERY)?;
    super::basics::fenced_once(cluster, begin, 3, Outcome::Killed)
}

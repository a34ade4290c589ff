//! Daemons that end, in order or not, and what those find that follow them.

use anyhow::{Result, ensure};

use super::basics::{CHANGE, PROGRESS, RECOVERY, fenced_once, replayed_once};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::power::{FenceMode, Outcome};
use crate::node::Node;
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
    fenced_once(cluster, begin, 3, Outcome::Killed)?;
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

/// A lockspace of the scenario below.
const LEFT: &str = "left-behind";

/// All that the kernel shows of lockspaces and of the cluster; some of it can only be written.
const KERNEL: &str = "grep -r . /sys/kernel/dlm /sys/kernel/config/dlm 2>/dev/null | sort";

/// A daemon is killed under a lockspace where no other daemon is there to have its node removed, and another one is started.
/// It says what it has found and what to do, has corosync end here, and leaves the kernel as it is. Daemons that come
/// later have the node fenced.
pub(super) fn uncontrolled(cluster: &Cluster) -> Result<()> {
    let begin = HostTime::now();
    let others = [1, 2];
    cluster.on_all(&others, |node| node.end_daemon())?;
    let node = cluster.node(3);
    node.ok(&format!("dlm_tool join {LEFT}"))?;
    node.wait_lockspace(LEFT, &[3], CHANGE)?;
    node.ok("kill -9 $(pgrep -o dlm_controld)")?;
    node.wait_for("cat /run/daemon.exit", CHANGE)?;
    let stopped = format!("dmesg | grep '{LEFT}: no userland control daemon, stopping lockspace'");
    node.wait_for(&stopped, PROGRESS)?;
    let before = node.ok(KERNEL)?;
    for place in ["dlm/left-behind/id:", "spaces/left-behind/nodes/3/", "comms/1/"] {
        ensure!(before.contains(place), "no {place} in {before}");
    }
    let told: u32 = node.ok("wc -l </var/log/daemon.stamped")?.trim().parse()?;
    node.ok(". /vm/rc; start_daemon")?;
    let exit = node.wait_for("cat /run/daemon.exit", CHANGE)?;
    ensure!(exit.trim() == "1", "the daemon's exit status is {exit:?}");
    let log = format!("tail -n +{} /var/log/daemon.stamped", told + 1);
    node.wait_for(&format!("{log} | grep 'reboot it'"), CHANGE)?;
    let log = node.ok(&log)?;
    for line in [
        "found uncontrolled lockspace left-behind",
        "tell corosync to remove nodeid 3 from cluster",
        "asking corosync to remove this node, reboot it",
    ] {
        ensure!(log.matches(line).count() == 1, "{line:?} should be told once: {log}");
    }
    node.wait_for("! pidof corosync", PROGRESS)?;
    let after = node.ok(KERNEL)?;
    ensure!(after == before, "the kernel had\n{before}\nand has\n{after}");
    cluster.on_all(&others, |node| node.ok(". /vm/rc; start_daemon"))?;
    cluster.wait_members(&others, CHANGE)?;
    cluster.on_all(&others, |node| node.end_boot_delay())?;
    let fenced = || !cluster.fence_log(begin).is_empty();
    cluster.wait_fence_log("node 3 is fenced", RECOVERY, fenced)?;
    fenced_once(cluster, begin, 3, Outcome::Killed)
}

/// The lockspace that runs while the daemon is told nonsense.
const BYSTANDER: &str = "bystander";

/// Uevents of what there is not, and the beginning of the line of the log that tells of each.
const STRANGE: [(&[&str], &str); 5] = [
    (
        &[
            "offline@/kernel/dlm/ghost",
            "ACTION=offline",
            "DEVPATH=/kernel/dlm/ghost",
            "SUBSYSTEM=dlm",
        ],
        "offline uevent for unknown lockspace ghost",
    ),
    (
        &["online@/kernel/dlm/a/b", "ACTION=online", "DEVPATH=/kernel/dlm/a/b", "SUBSYSTEM=dlm"],
        "online uevent ignored, which names no lockspace that there can be: /kernel/dlm/a/b",
    ),
    (
        &["offline@/kernel/dlm/..", "ACTION=offline", "DEVPATH=/kernel/dlm/..", "SUBSYSTEM=dlm"],
        "offline uevent ignored, which names no lockspace that there can be: /kernel/dlm/..",
    ),
    (
        &["online@dlm", "ACTION=online", "SUBSYSTEM=dlm", "no variable"],
        "online uevent ignored, which names no lockspace that there can be: no DEVPATH",
    ),
    (
        &[
            "offline@/fs/gfs2/vm:nowhere",
            "ACTION=offline",
            "DEVPATH=/fs/gfs2/vm:nowhere",
            "SUBSYSTEM=gfs2",
            "LOCKPROTO=lock_dlm",
            "LOCKTABLE=vm:nowhere",
        ],
        "lockspace nowhere: ",
    ),
];

/// What a daemon cannot do anything with it says, with what to do, and no lockspace changes by it: uevents of what there is not;
/// a second daemon, and one without the right to run; a kernel without configfs or dlm; no corosync.
pub(super) fn bad_input(cluster: &Cluster) -> Result<()> {
    let begin = HostTime::now();
    for node in cluster.nodes() {
        node.ok(&format!("dlm_tool join {BYSTANDER}"))?;
    }
    let listed = || {
        cluster.on_all(&[1, 2, 3], |node| {
            node.wait_lockspace(BYSTANDER, &[1, 2, 3], CHANGE)?;
            node.ok("dlm_tool ls")
        })
    };
    let before = listed()?;
    let node = cluster.node(3);
    for (strings, line) in STRANGE {
        let strings: Vec<String> = strings.iter().map(|string| format!("'{string}'")).collect();
        node.ok(&format!("/vm/dlm-vm-agent uevent {}", strings.join(" ")))?;
        node.wait_for(&format!("dlm_tool dump | grep -F '{line}'"), CHANGE)?;
    }
    refused(node, "", "another dlm_controld runs")?;
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    refused(node, nobody, "(run dlm_controld as root)")?;
    ensure!(listed()? == before, "{:?} was {before:?}", listed()?);

    cluster.on_all(&[1, 2, 3], |node| node.ok(&format!("dlm_tool leave {BYSTANDER}")))?;
    node.end_daemon()?;
    node.ok("umount /sys/kernel/config")?;
    refused(node, "", "mount -t configfs none /sys/kernel/config")?;
    node.ok("mount -t configfs none /sys/kernel/config; modprobe -r gfs2 dlm")?;
    refused(node, "", "(modprobe dlm)")?;
    node.ok("modprobe dlm && modprobe gfs2 && killall corosync")?;
    node.wait_for("! pidof corosync", CHANGE)?;
    refused(node, "", "is corosync running?")?;
    node.ok(". /vm/rc; start_all")?;
    cluster.wait_members(&[1, 2, 3], RECOVERY)?;
    node.end_boot_delay()?;
    let log = cluster.fence_log(begin);
    ensure!(log.is_empty(), "somebody was fenced: {log:?}");
    Ok(())
}

/// A daemon that is started so ends with exit status 1, and this is the only reason that it gives.
fn refused(node: Node<'_>, how: &str, why: &str) -> Result<()> {
    let said = node.ok(&format!(". /vm/rc; timeout 20 {how} $DAEMON -D 2>&1; echo exit $?"))?;
    ensure!(
        said.ends_with("exit 1\n") && said.matches(why).count() == 1,
        "{why:?} should be told once: {said}"
    );
    Ok(())
}

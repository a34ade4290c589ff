//! What else stands on dlm: ocfs2, a gfs2 that withdraws, a mirrored disk.

use anyhow::{Result, ensure};

use super::basics::{CHANGE, PROGRESS, RECOVERY, fenced_once};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::power::Outcome;
use crate::node::COMMAND;
use crate::options::{CLUSTER_NAME, Daemon};
use crate::time::HostTime;
use crate::timeline::{Entry, Source};

/// Two ocfs2 volumes, on nodes 1 and 2 and on nodes 2 and 3. Node 1 dies: only the volume that it had
/// mounted recovers, on node 2, which replays its journal; the other is not stopped anywhere.
pub(super) fn ocfs2(cluster: &Cluster) -> Result<()> {
    for node in cluster.nodes() {
        // The label of the stack is taken before anything of ocfs2 is mounted.
        node.ok("modprobe ocfs2 && modprobe ocfs2_stack_user && mkdir -p /mnt/one /mnt/two && \
             { grep -q pcmk /sys/fs/ocfs2/cluster_stack || echo pcmk >/sys/fs/ocfs2/cluster_stack; }")?;
    }
    let [one, two] = ["/dev/vdb", "/dev/vdc"].map(|disk| make_ocfs2(cluster, disk));
    let (one, two) = (one?, two?);
    for (place, disk, nodes) in [("one", "/dev/vdb", [1, 2]), ("two", "/dev/vdc", [2, 3])] {
        for id in nodes {
            let mount = format!("mount -t ocfs2 {disk} /mnt/{place}");
            cluster.node(id).ok_within(&mount, 2 * COMMAND)?;
            cluster
                .node(id)
                .ok(&format!("echo {id} >/mnt/{place}/{id}; sync /mnt/{place}/{id}"))?;
        }
    }
    let load = cluster.node(3).churn(&format!("ocfs2.{}", cluster.new_mark()), "/mnt/two/churn")?;
    load.wait_more(5, PROGRESS)?;
    let begin = HostTime::now();
    cluster.node(1).kill()?;
    cluster.node(2).wait_lockspace(&one, &[2], RECOVERY)?;
    fenced_once(cluster, begin, 1, Outcome::WasDown)?;
    let text = cluster.node(2).ok_within("cat /mnt/one/1; echo on >/mnt/one/2", COMMAND)?;
    ensure!(text == "1\n", "node 2 reads {text:?}");
    load.wait_more(5, PROGRESS)?;
    load.stop(PROGRESS)?;
    for id in [2, 3] {
        cluster.node(id).wait_lockspace(&two, &[2, 3], CHANGE)?;
    }
    let timeline = cluster.timeline(begin)?;
    let of_one = stops_and_starts(&timeline, &one);
    ensure!(of_one.len() >= 2, "the first volume has recovered, but the logs say only {of_one:?}");
    let of_two = stops_and_starts(&timeline, &two);
    ensure!(of_two.is_empty(), "the other volume was stopped: {of_two:?}");
    Ok(())
}

/// What daemons and kernels say of a lockspace that recovers.
fn stops_and_starts<'a>(timeline: &'a [Entry], lockspace: &str) -> Vec<&'a Entry> {
    let stop = format!("write \"0\" to \"/sys/kernel/dlm/{lockspace}/control");
    let start = format!("{lockspace}: dlm_recover ");
    let told = |entry: &&Entry| match entry.source {
        Source::Daemon => entry.text.contains(&stop),
        Source::Kernel => entry.text.contains(&start),
        Source::Corosync | Source::Power => false,
    };
    timeline.iter().filter(told).collect()
}

/// Makes a volume; the name of its lockspace, which is its UUID.
fn make_ocfs2(cluster: &Cluster, disk: &str) -> Result<String> {
    let node = cluster.node(2);
    node.ok_within(
        &format!(
            "wipefs -aq {disk}; yes | mkfs.ocfs2 -F -x -q -N 4 -b 4K -C 4K -J size=8M --cluster-stack=pcmk \
             --cluster-name={CLUSTER_NAME} {disk} 100000 2>&1"
        ),
        2 * COMMAND,
    )?;
    let uuid = node.ok(&format!("mounted.ocfs2 -d {disk} | grep -o '[0-9A-F]\\{{32\\}}'"))?;
    Ok(uuid.trim().to_owned())
}

/// gfs2 on node 2 withdraws, as it does after an error of its disk: it is acknowledged when node 1 has stopped, and not before, so
/// that node 2 does not hang; node 1 goes on, and nobody is fenced.
pub(super) fn withdraw(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2])?;
    let load =
        cluster.node(1).churn(&format!("withdraw.{}", cluster.new_mark()), "/mnt/gfs2/churn")?;
    load.wait_more(5, PROGRESS)?;
    let withdrawer = cluster.node(2);
    withdrawer.ok("echo synced >/mnt/gfs2/before; sync /mnt/gfs2/before")?;
    let begin = HostTime::now();
    let table = format!("/sys/fs/gfs2/{CLUSTER_NAME}:{FILE_SYSTEM}");
    // A C daemon acknowledges at once.
    let ours = *cluster.options().daemon_of(1) != Daemon::C && cluster.options().tool.is_some();
    if ours {
        cluster.node(1).ok("kill -STOP $(pgrep -o dlm_controld)")?;
    }
    withdrawer.ok(&format!(
        "(echo 1 >{table}/withdraw; echo $? >/run/withdrawn) >/var/log/load.withdraw 2>&1 &"
    ))?;
    if ours {
        withdrawer.wait_for("dlm_tool --json status | grep -q withdraw_answer", CHANGE)?;
        let acknowledged = withdrawer.sh("cat /run/withdrawn")?;
        ensure!(acknowledged.status != 0, "acknowledged before node 1 has stopped");
        cluster.node(1).ok("kill -CONT $(pgrep -o dlm_controld)")?;
    }
    withdrawer.wait_for("cat /run/withdrawn", RECOVERY)?;
    ensure!(
        withdrawer.sh("ls /mnt/gfs2/ >/dev/null && cat /mnt/gfs2/before")?.status != 0,
        "node 2 still reads from the file system it has withdrawn from"
    );
    load.wait_more(5, PROGRESS)?;
    let text = cluster.node(1).ok("cat /mnt/gfs2/before")?;
    ensure!(text == "synced\n", "node 1 reads {text:?}");
    load.stop(PROGRESS)?;
    cluster.node(1).wait_lockspace(FILE_SYSTEM, &[1], CHANGE)?;
    let log = cluster.fence_log(begin);
    ensure!(log.is_empty(), "somebody was fenced: {log:?}");
    // What is withdrawn cannot be unmounted on this kernel.
    withdrawer.kill()?;
    let fenced = || !cluster.fence_log(begin).is_empty();
    cluster.wait_fence_log("node 2 is fenced", RECOVERY, fenced)?;
    fenced_once(cluster, begin, 2, Outcome::WasDown)
}

/// A mirror of the two shared disks with a clustered bitmap runs on two nodes; one dies while it
/// writes: the other reads what was synced before, from each half, and goes on.
pub(super) fn md_cluster(cluster: &Cluster) -> Result<()> {
    let writer = cluster.node(1);
    for id in [1, 2] {
        cluster.node(id).ok("modprobe md-cluster && modprobe raid1")?;
    }
    for disk in ["/dev/vdb", "/dev/vdc"] {
        writer.ok(&format!(
            "wipefs -aq {disk}; dd if=/dev/zero of={disk} bs=1M count=16 2>/dev/null"
        ))?;
    }
    writer.ok_within(
        "yes | mdadm --create /dev/md0 --bitmap=clustered --raid-devices=2 --level=mirror \
         --assume-clean --size=65536 /dev/vdb /dev/vdc 2>&1",
        2 * COMMAND,
    )?;
    cluster.node(2).ok_within("mdadm --assemble /dev/md0 /dev/vdb /dev/vdc 2>&1", 2 * COMMAND)?;
    let lockspaces = writer.ok("dlm_tool ls | sed -n 's/^name  *//p'")?;
    let array = lockspaces.lines().find(|name| name.contains('-')).unwrap_or("").to_owned();
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(&array, &[1, 2], CHANGE)?;
    }
    writer.ok("echo mirrored | dd of=/dev/md0 bs=4096 conv=sync oflag=direct 2>/dev/null")?;
    writer.ok(
        "(while dd if=/dev/zero of=/dev/md0 bs=4096 seek=16 count=256 oflag=direct; do :; done) \
         >/dev/null 2>&1 &",
    )?;
    let begin = HostTime::now();
    writer.kill()?;
    let survivor = cluster.node(2);
    survivor.wait_lockspace(&array, &[2], RECOVERY)?;
    fenced_once(cluster, begin, 1, Outcome::WasDown)?;
    survivor.ok_within(
        "dd if=/dev/zero of=/dev/md0 bs=4096 seek=16 count=256 oflag=direct && \
         dd if=/dev/md0 bs=4096 count=1 iflag=direct 2>/dev/null | grep -q mirrored",
        COMMAND,
    )?;
    survivor.wait_for("grep -q 'UU' /proc/mdstat && ! grep -q resync /proc/mdstat", PROGRESS)?;
    for disk in ["/dev/vdb", "/dev/vdc"] {
        let half = survivor.ok(&format!(
            "offset=$(mdadm --examine {disk} | sed -n 's/^ *Data Offset : \\([0-9]*\\) sectors.*/\\1/p'); \
             dd if={disk} bs=512 skip=$offset count=1 iflag=direct 2>/dev/null | head -n 1"
        ))?;
        ensure!(half == "mirrored\n", "{disk} has {half:?}");
    }
    Ok(())
}

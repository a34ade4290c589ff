//! Partitions, quorum, and fencing that fails.

use anyhow::{Context, Result, bail, ensure};

use super::basics::{CHANGE, PROGRESS, RECOVERY};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::machine::Link;
use crate::host::power::{FenceMode, FenceRecord, Outcome};
use crate::node::Node;
use crate::time::HostTime;
use crate::timeline::{Entry, Source};

/// One node's network is cut while fencing fails: the majority waits for fencing, the minority for
/// quorum, and neither runs. When the network is back, the two sides do not merge: the minority is
/// removed. When fencing works again the minority is switched off, and only then does the majority run.
pub(super) fn partition(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    let begin = HostTime::now();
    cluster.fence_mode(FenceMode::Fail)?;
    cluster.node(3).link(Link::Down)?;
    waits_for(cluster.node(1), "fencing")?;
    waits_for(cluster.node(2), "fencing")?;
    waits_for(cluster.node(3), "quorum")?;
    cluster.node(3).link(Link::Up)?;
    // A daemon of the same history that comes back is removed through corosync.
    cluster.node(3).wait_for("! pidof corosync", RECOVERY)?;
    for id in [1, 2] {
        ensure!(!runs(cluster.node(id))?, "node {id} runs though node 3 is not off");
    }
    // Now, as the minority's log goes with it.
    let started = starts(cluster, begin)?;
    ensure!(started.is_empty(), "somebody started though nobody is off: {started:?}");
    cluster.fence_mode(FenceMode::Ok)?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    let off = successes(cluster, begin);
    ensure!(
        matches!(off.as_slice(), [only] if only.victim == 3 && only.outcome == Outcome::Killed),
        "node 3 should have been switched off once: {off:?}"
    );
    let first = starts(cluster, begin)?.into_iter().next().context("nobody has started")?;
    let answered = off.first().map(|record| record.answered);
    ensure!(
        answered.is_some_and(|off| off <= first.at),
        "node {} started before node 3 was off at {answered:?}: {first:?}",
        first.node
    );
    cluster.node(1).ok("echo goes on >/mnt/gfs2/partition")?;
    Ok(())
}

/// The kernels' starts of the file system's lockspace since then, in order.
fn starts(cluster: &Cluster, since: HostTime) -> Result<Vec<Entry>> {
    let sign = format!("dlm: {FILE_SYSTEM}: dlm_recover ");
    let mut entries = cluster.timeline(since)?;
    entries.retain(|entry| {
        let number = entry.text.strip_prefix(&sign);
        entry.source == Source::Kernel && number.is_some_and(|n| n.parse::<u32>().is_ok())
    });
    Ok(entries)
}

/// Fencing fails: both survivors wait and try in turn. It works again: the next attempt succeeds and
/// the lockspace runs.
pub(super) fn fencing_fails(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    cluster.fence_mode(FenceMode::Fail)?;
    let begin = HostTime::now();
    cluster.node(3).kill()?;
    waits_for(cluster.node(1), "fencing")?;
    cluster.wait_fence_log("both survivors have tried in vain", RECOVERY, || {
        let actors = |id| cluster.fence_log(begin).iter().any(|record| record.actor == id);
        actors(1) && actors(2)
    })?;
    for id in [1, 2] {
        ensure!(!runs(cluster.node(id))?, "node {id} runs though node 3 is not fenced");
    }
    ensure!(successes(cluster, begin).is_empty(), "fencing succeeded too early");
    cluster.fence_mode(FenceMode::Ok)?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    ensure!(successes(cluster, begin).len() == 1, "fenced {:?}", successes(cluster, begin));
    Ok(())
}

/// Fencing fails, and an operator who knows that the node is off says so (`dlm_tool fence_ack`): that
/// ends the wait on every node, without the power switch.
pub(super) fn fence_ack(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    cluster.fence_mode(FenceMode::Fail)?;
    let begin = HostTime::now();
    cluster.node(3).kill()?;
    waits_for(cluster.node(1), "fencing")?;
    waits_for(cluster.node(2), "fencing")?;
    cluster.node(2).ok("dlm_tool fence_ack 3")?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    ensure!(successes(cluster, begin).is_empty(), "the power switch was used");
    Ok(())
}

/// Two of three nodes die: the last has no quorum, starts nothing and fences nobody. One comes back:
/// with quorum again the other is fenced and the lockspace runs.
pub(super) fn quorum(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    let begin = HostTime::now();
    cluster.on_all(&[2, 3], |node| node.kill())?;
    let last = cluster.node(1);
    waits_for(last, "quorum")?;
    // A node that brings quorum gets time to start its daemon before it is fenced as missing.
    last.ok("dlm_tool set_config post_join_delay=60")?;
    let comes = HostTime::now();
    cluster.node(2).power_on()?;
    cluster.node(2).wait_agent()?;
    cluster.wait_members(&[1, 2], RECOVERY)?;
    last.end_boot_delay()?;
    last.wait_lockspace(FILE_SYSTEM, &[1], RECOVERY)?;
    let off = successes(cluster, begin);
    ensure!(
        matches!(off.as_slice(), [only] if only.victim == 3),
        "only node 3 should have been fenced: {off:?}"
    );
    let early = cluster.fence_log(begin).into_iter().find(|record| record.asked < comes);
    ensure!(early.is_none(), "fencing without quorum: {early:?}");
    let early = starts(cluster, begin)?.into_iter().find(|entry| entry.at < comes);
    ensure!(early.is_none(), "a start without quorum: {early:?}");
    cluster.node(2).mount()?;
    cluster.node(2).wait_lockspace(FILE_SYSTEM, &[1, 2], CHANGE)
}

/// Two nodes that are quorate each alone: one dies, the other fences it, replays its journal and goes
/// on; the dead one comes back.
pub(super) fn two_node(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2])?;
    let load = cluster.node(1).churn(&format!("two.{}", cluster.new_mark()), "/mnt/gfs2/churn")?;
    load.wait_more(5, PROGRESS)?;
    let begin = HostTime::now();
    cluster.node(2).kill()?;
    cluster.node(1).wait_lockspace(FILE_SYSTEM, &[1], RECOVERY)?;
    load.wait_more(5, PROGRESS)?;
    super::basics::fenced_once(cluster, begin, 2, Outcome::WasDown)?;
    cluster.node(2).boot()?;
    cluster.node(2).mount()?;
    cluster.node(1).wait_lockspace(FILE_SYSTEM, &[1, 2], CHANGE)?;
    load.wait_more(5, PROGRESS)?;
    load.stop(PROGRESS)
}

/// Two nodes that are quorate each alone lose each other while both write: each would fence the other.
/// The first switches the other off; exactly one goes on, and has everything that either had synced.
pub(super) fn two_node_race(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2])?;
    let writers = super::basics::start_writers(cluster, &cluster.new_mark())?;
    for (load, _) in &writers {
        load.wait_more(5, PROGRESS)?;
    }
    let begin = HostTime::now();
    cluster.node(2).link(Link::Down)?;
    cluster.wait_fence_log("one of the two is switched off", RECOVERY, || {
        !successes(cluster, begin).is_empty()
    })?;
    let log = successes(cluster, begin);
    let [FenceRecord { victim, actor, outcome: Outcome::Killed, .. }] = *log.as_slice() else {
        bail!("one of the two should have been switched off: {log:?}");
    };
    cluster.node(actor).wait_lockspace(FILE_SYSTEM, &[actor], RECOVERY)?;
    for (load, _) in writers.iter().filter(|(load, _)| load.node() == actor) {
        load.wait_more(5, PROGRESS)?;
        load.stop(PROGRESS)?;
    }
    super::basics::verify(cluster, &writers, &[actor])?;
    ensure!(cluster.node(actor).runs() && !cluster.node(victim).runs(), "not exactly one runs");
    ensure!(successes(cluster, begin).len() == 1, "fenced {:?}", successes(cluster, begin));
    Ok(())
}

/// Waits until the file system's lockspace stands still there and says what it waits for.
pub(super) fn waits_for(node: Node<'_>, what: &str) -> Result<()> {
    let command = format!("dlm_tool ls {FILE_SYSTEM} | grep -q '^new status  *wait {what}'");
    node.wait_for(&command, RECOVERY)?;
    Ok(())
}

/// Whether the file system's lockspace runs there.
fn runs(node: Node<'_>) -> Result<bool> {
    let text = node.ok(&format!("dlm_tool ls {FILE_SYSTEM}"))?;
    Ok(!text.contains("kern_stop"))
}

pub(super) fn successes(cluster: &Cluster, since: HostTime) -> Vec<FenceRecord> {
    let mut log = cluster.fence_log(since);
    log.retain(|record| matches!(record.outcome, Outcome::Killed | Outcome::WasDown));
    log
}

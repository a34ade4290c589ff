//! Nodes that hang or die, alone, together and in one another's recoveries.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::basics::{
    CHANGE, PROGRESS, RECOVERY, fenced_once, replayed_once, start_writers, verify,
};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::power::{FenceMode, Outcome};
use crate::node::COMMAND;
use crate::options::Daemon;
use crate::time::HostTime;

/// A node stops answering without being dead, with the file system in use: it is switched off, once,
/// before the others go on.
pub(super) fn hang(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    let writers = start_writers(cluster, &cluster.new_mark())?;
    for (load, _) in &writers {
        load.wait_more(5, PROGRESS)?;
    }
    let begin = HostTime::now();
    cluster.node(3).hang()?;
    cluster.node(3).wait_off(RECOVERY)?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    for (load, _) in writers.iter().filter(|(load, _)| load.node() != 3) {
        load.wait_more(5, PROGRESS)?;
        load.stop(PROGRESS)?;
    }
    fenced_once(cluster, begin, 3, Outcome::Killed)?;
    verify(cluster, &writers, &[1])
}

/// Thirty lockspaces on three nodes; one node dies: all thirty run on both survivors, after one fencing.
pub(super) fn many_lockspaces(cluster: &Cluster) -> Result<()> {
    const COUNT: usize = 30;
    let join = format!(
        "for number in $(seq {COUNT}); do dlm_tool join many$number >/dev/null || exit 1; done"
    );
    for node in cluster.nodes() {
        node.ok_within(&join, 5 * COMMAND)?;
    }
    let running = |members: &str| {
        format!(
            "test $(dlm_tool ls | grep -c '^members  *{members} *$') = {COUNT} && \
             ! dlm_tool ls | grep -q -e kern_stop -e '^new change'"
        )
    };
    for node in cluster.nodes() {
        node.wait_for(&running("1 2 3"), CHANGE)?;
    }
    let begin = HostTime::now();
    cluster.node(3).kill()?;
    for id in [1, 2] {
        cluster.node(id).wait_for(&running("1 2"), RECOVERY)?;
    }
    fenced_once(cluster, begin, 3, Outcome::WasDown)
}

/// With `enable_fencing=0`, which the daemon warns of, a death is recovered from without any fencing, and the journal is replayed.
pub(super) fn no_fencing(cluster: &Cluster) -> Result<()> {
    for node in cluster.nodes() {
        if *cluster.options().daemon_of(node.id()) != Daemon::C {
            node.ok("dlm_tool dump | grep 'enable_fencing=0: failed nodes are NOT fenced'")?;
        }
    }
    cluster.mount_gfs2(&[1, 2, 3])?;
    let load =
        cluster.node(1).churn(&format!("no-fencing.{}", cluster.new_mark()), "/mnt/gfs2/churn")?;
    load.wait_more(5, PROGRESS)?;
    let begin = HostTime::now();
    cluster.node(3).kill()?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    load.wait_more(5, PROGRESS)?;
    load.stop(PROGRESS)?;
    let log = cluster.fence_log(begin);
    ensure!(log.is_empty(), "somebody was fenced: {log:?}");
    replayed_once(cluster, begin, 2)
}

/// Five nodes. Two die at once: each is fenced, the three others go on, the two come back. Then a node
/// dies, and the node that fences it dies while it does: another takes over, both are fenced. Then a node
/// dies in the recovery from another's death. Nothing that was synced is lost.
pub(super) fn five(cluster: &Cluster) -> Result<()> {
    let all = [1, 2, 3, 4, 5];
    cluster.mount_gfs2(&all)?;
    let writers = start_writers(cluster, &cluster.new_mark())?;
    for (load, _) in &writers {
        load.wait_more(3, PROGRESS)?;
    }
    two_at_once(cluster)?;
    come_back(cluster, &[4, 5])?;
    actor_dies(cluster)?;
    come_back(cluster, &[1, 5])?;
    death_in_recovery(cluster)?;
    // The writers of 2 and 3 have lived through everything.
    for (load, _) in writers.iter().filter(|(load, _)| [2, 3].contains(&load.node())) {
        load.wait_more(3, PROGRESS)?;
        load.stop(PROGRESS)?;
    }
    verify(cluster, &writers, &[3])
}

fn two_at_once(cluster: &Cluster) -> Result<()> {
    let begin = HostTime::now();
    cluster.on_all(&[4, 5], |node| node.kill())?;
    runs_on(cluster, &[1, 2, 3])?;
    fenced(cluster, begin, &[4, 5])
}

fn actor_dies(cluster: &Cluster) -> Result<()> {
    let begin = HostTime::now();
    // Long enough that the first switch-off cannot be over before the actor is dead.
    cluster.fence_mode(FenceMode::Delay(Duration::from_secs(20)))?;
    cluster.node(5).kill()?;
    cluster.node(1).wait_for("dlm_tool status | grep -q '^fence 5 .*actor 1'", RECOVERY)?;
    cluster.node(1).wait_for("pgrep fence_vm", RECOVERY)?;
    cluster.fence_mode(FenceMode::Ok)?;
    cluster.node(1).kill()?;
    runs_on(cluster, &[2, 3, 4])?;
    fenced(cluster, begin, &[1, 5])
}

fn death_in_recovery(cluster: &Cluster) -> Result<()> {
    let begin = HostTime::now();
    // Keeps the first recovery going until the second death.
    cluster.fence_mode(FenceMode::Delay(Duration::from_secs(5)))?;
    cluster.node(5).kill()?;
    let stopped = format!("dlm_tool ls {FILE_SYSTEM} | grep -q kern_stop");
    cluster.node(1).wait_for(&stopped, RECOVERY)?;
    cluster.node(4).kill()?;
    runs_on(cluster, &[1, 2, 3])?;
    fenced(cluster, begin, &[4, 5])
}

fn come_back(cluster: &Cluster, nodes: &[u8]) -> Result<()> {
    nodes.iter().try_for_each(|id| cluster.node(*id).power_on())?;
    cluster.settle()?;
    nodes.iter().try_for_each(|id| cluster.node(*id).mount())?;
    runs_on(cluster, &[1, 2, 3, 4, 5])
}

fn runs_on(cluster: &Cluster, nodes: &[u8]) -> Result<()> {
    cluster.on_all(nodes, |node| node.wait_lockspace(FILE_SYSTEM, nodes, RECOVERY))?;
    Ok(())
}

/// Each of these, and nobody else, was switched off, each once.
fn fenced(cluster: &Cluster, since: HostTime, victims: &[u8]) -> Result<()> {
    let log = cluster.fence_log(since);
    let mut off: Vec<u8> = log
        .iter()
        .filter(|record| matches!(record.outcome, Outcome::Killed | Outcome::WasDown))
        .map(|record| record.victim)
        .collect();
    off.sort_unstable();
    ensure!(off == victims, "{victims:?} should have been fenced, each once: {log:?}");
    Ok(())
}

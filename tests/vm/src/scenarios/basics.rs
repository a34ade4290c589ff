//! What a cluster is for: sharing a file system, and going on when a node dies.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::recording;
use super::settings::CONFIGFS;
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::power::Outcome;
use crate::node::Node;
use crate::options::Daemon;
use crate::time::HostTime;
use crate::timeline::Source;
use crate::workload::Load;

/// From a death to running lockspaces: token, consensus, fencing, recovery, on a busy host.
pub(super) const RECOVERY: Duration = Duration::from_secs(90);
/// For a workload to go on.
pub(super) const PROGRESS: Duration = Duration::from_secs(120);
/// A change that waits for nothing but messages.
pub(super) const CHANGE: Duration = Duration::from_secs(40);

/// The threads of the daemon that are `SCHED_RR` (2, field 41 of proc(5)'s stat; names may have spaces), in order.
const RUN_FIRST: &str = r#"for thread in /proc/$(pgrep -o dlm_controld)/task/*; do
    [ "$(sed 's/.*) //' "$thread/stat" | cut -d ' ' -f 39)" != 2 ] || cat "$thread/comm"
done | sort"#;

/// Three nodes mount one file system, each with a journal of its own by its slot; what one writes the
/// others read. What a recovery waits for in the daemon runs before ordinary load, and its memory is locked.
pub(super) fn mount(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    for node in cluster.nodes() {
        node.wait_lockspace(FILE_SYSTEM, &[1, 2, 3], CHANGE)?;
        ensure!(
            node.journal()? + 1 == u32::from(node.id()),
            "node {} has another's journal",
            node.id()
        );
        let id = node.id();
        node.ok(&format!("echo from {id} >/mnt/gfs2/{id}; sync /mnt/gfs2/{id}"))?;
        if *cluster.options().daemon_of(id) != Daemon::C {
            let first = node.ok(RUN_FIRST)?;
            ensure!(
                first == "corosync\ndlm_controld\ndlm_tasks\nlane\nlane fs\n",
                "ahead run {first:?}"
            );
            node.ok("grep -q 'VmLck:.*[1-9]' /proc/$(pgrep -o dlm_controld)/status")?;
            knows_the_slots(node)?;
        }
    }
    for node in cluster.nodes() {
        let text = node.ok("cat /mnt/gfs2/1 /mnt/gfs2/2 /mnt/gfs2/3")?;
        ensure!(text == "from 1\nfrom 2\nfrom 3\n", "node {} reads {text:?}", node.id());
    }
    ensure!(cluster.fence_log(HostTime::default()).is_empty(), "somebody was fenced");
    Ok(())
}

/// The daemon has the slots that the kernel gave: each node its own number, as these joined one after the other. The kernel has
/// confirmed them where it told of them after the daemon could predict any.
fn knows_the_slots(node: Node<'_>) -> Result<()> {
    if node.cluster().options().tool.is_none() {
        return Ok(());
    }
    let text = node.ok("dlm_tool --json status")?;
    let told: Value = serde_json::from_str(&text).context("the state")?;
    let lockspaces = told["lockspaces"].as_array().into_iter().flatten();
    let lockspace = lockspaces.into_iter().find(|one| one["name"] == FILE_SYSTEM);
    let lockspace = lockspace.with_context(|| format!("no {FILE_SYSTEM} in {told}"))?;
    let slot = |id: u8| json!({"slot": id, "jid": id - 1, "node": id});
    ensure!(
        lockspace["slots_known"] == "confirmed"
            && lockspace["slots"] == json!([slot(1), slot(2), slot(3)])
            && lockspace["our_jid"] == json!(node.journal()?),
        "node {} has journal {} and knows the slots as {lockspace}",
        node.id(),
        node.journal()?
    );
    as_predicted(node)
}

/// What the kernel said of slots was what the daemon had predicted, wherever it had. Nodes of C daemons say nothing of it.
fn as_predicted(node: Node<'_>) -> Result<()> {
    let dump = node.ok("dlm_tool dump")?;
    let line = dump.lines().find(|line| line.contains("slots of the kernel are not as predicted"));
    ensure!(line.is_none(), "node {}: {line:?}", node.id());
    Ok(())
}

/// A node unmounts, ends its daemon and corosync in order: the others go on without a pause for
/// fencing, nobody is fenced, and the node can join and mount again without a reboot.
pub(super) fn leave(cluster: &Cluster) -> Result<()> {
    let begin = HostTime::now();
    cluster.mount_gfs2(&[1, 2, 3])?;
    let load =
        cluster.node(1).churn(&format!("leave.{}", cluster.new_mark()), "/mnt/gfs2/churn")?;
    load.wait_more(5, PROGRESS)?;
    leave_and_return(cluster, 3, || load.wait_more(5, PROGRESS))?;
    load.wait_more(5, PROGRESS)?;
    load.stop(PROGRESS)?;
    let log = cluster.fence_log(begin);
    ensure!(log.is_empty(), "fencing after a clean leave: {log:?}");
    Ok(())
}

/// One of three nodes leaves in order; what the others do `meanwhile`; it comes back without a reboot, and mounts.
fn leave_and_return(
    cluster: &Cluster,
    leaver: u8,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let others: Vec<u8> = [1, 2, 3].into_iter().filter(|id| *id != leaver).collect();
    let id = leaver;
    let leaver = cluster.node(leaver);
    let (begin, journal) = (HostTime::now(), leaver.journal()?);
    leaver.unmount()?;
    for id in &others {
        cluster.node(*id).wait_lockspace(FILE_SYSTEM, &others, CHANGE)?;
    }
    leaver.ok("rm -f /run/daemon.exit; kill $(pgrep -o dlm_controld)")?;
    let exit = leaver.wait_for("cat /run/daemon.exit", CHANGE)?;
    ensure!(exit.trim() == "0", "the daemon's exit status is {exit:?}");
    // The leave of a daemon is not that of a node: the kernels keep its address until corosync says that it is gone.
    for other in &others {
        cluster.node(*other).ok(&format!("test -d {CONFIGFS}/comms/{id}"))?;
    }
    leaver.ok("killall corosync")?;
    leaver.wait_for("! pidof corosync", CHANGE)?;
    cluster.wait_members(&others, CHANGE)?;
    meanwhile()?;
    let touched = format!("jid={journal}:");
    let timeline = cluster.timeline(begin)?;
    let replay = timeline.iter().find(|entry| {
        others.contains(&entry.node)
            && entry.source == Source::Kernel
            && entry.text.contains(&touched)
    });
    ensure!(replay.is_none(), "recovery of a journal after a clean leave: {replay:?}");
    leaver.ok(". /vm/rc; start_corosync; start_daemon")?;
    cluster.wait_members(&[1, 2, 3], RECOVERY)?;
    leaver.mount()?;
    leaver.end_boot_delay()
}

/// A C daemon on node 1 and two of ours: one of ours dies and comes back; one of each kind leaves and comes back; the node with the C
/// daemon dies. Each is as it is among one kind.
pub(super) fn mixed(cluster: &Cluster) -> Result<()> {
    kill(cluster)?;
    let begin = HostTime::now();
    cluster.node(3).boot()?;
    cluster.node(3).mount()?;
    for id in [2, 1] {
        leave_and_return(cluster, id, || Ok(()))?;
    }
    for node in cluster.nodes() {
        node.wait_lockspace(FILE_SYSTEM, &[1, 2, 3], CHANGE)?;
    }
    let log = cluster.fence_log(begin);
    ensure!(log.is_empty(), "fencing after clean leaves: {log:?}");

    let writers = start_writers(cluster, &cluster.new_mark())?;
    for (load, _) in &writers {
        load.wait_more(10, PROGRESS)?;
    }
    let journal = u8::try_from(cluster.node(1).journal()?)?;
    let begin = HostTime::now();
    cluster.node(1).kill()?;
    for id in [2, 3] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[2, 3], RECOVERY)?;
    }
    for (load, _) in writers.iter().filter(|(load, _)| load.node() != 1) {
        load.wait_more(10, PROGRESS)?;
        load.stop(PROGRESS)?;
    }
    fenced_once(cluster, begin, 1, Outcome::WasDown)?;
    replayed_once(cluster, begin, journal)?;
    verify(cluster, &writers, &[2, 3])
}

/// A node dies while all three write and take POSIX locks in turn: it is fenced exactly once, exactly one survivor replays its
/// journal, the survivors' writers go on, and every record that was synced, the dead node's too, is
/// there afterwards with the right checksum. What the survivors' daemons recorded replays to what they did, and each says what
/// the death has cost, part by part, corosync's included.
pub(super) fn kill(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    let mark = cluster.new_mark();
    let mut writers = start_writers(cluster, &mark)?;
    for node in cluster.nodes() {
        writers.push((node.lock_loop(&format!("fcntl.{mark}"), "/mnt/gfs2/fcntl")?, None));
    }
    for (load, _) in &writers {
        load.wait_more(10, PROGRESS)?;
    }
    let begin = HostTime::now();
    cluster.node(3).kill()?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    let survivors = || writers.iter().filter(|(load, _)| load.node() != 3).map(|(load, _)| load);
    for load in survivors() {
        load.wait_more(10, PROGRESS)?;
    }
    fenced_once(cluster, begin, 3, Outcome::WasDown)?;
    replayed_once(cluster, begin, 2)?;
    for load in survivors() {
        load.stop(PROGRESS)?;
    }
    verify(cluster, &writers, &[1, 2])?;
    recording::replay(cluster, &[1, 2])?;
    told_what_it_cost(cluster, &[1, 2])
}

/// The budget of the last recovery has a time for all parts that every node knows, and 3 as the one that failed.
fn told_what_it_cost(cluster: &Cluster, nodes: &[u8]) -> Result<()> {
    let options = cluster.options();
    if options.tool.is_none() {
        return Ok(());
    }
    for &id in nodes.iter().filter(|id| *options.daemon_of(**id) != Daemon::C) {
        let text = cluster.node(id).ok("dlm_tool --json history")?;
        let told: Value = serde_json::from_str(&text).context("the history")?;
        let budget = &told["budget"];
        ensure!(
            budget["lockspace"] == FILE_SYSTEM && budget["failed"] == json!([3]),
            "node {id} tells of another death: {budget}"
        );
        for of in ["token", "consensus", "daemons", "kernel", "file_system"] {
            let part =
                budget["parts"].as_array().into_iter().flatten().find(|part| part["of"] == of);
            let ms = part.and_then(|part| part["ms"].as_u64());
            // What corosync waits for is longer than anything else here.
            let least = if matches!(of, "token" | "consensus") { 1000 } else { 1 };
            ensure!(ms >= Some(least), "node {id}: {of} took {ms:?} ms of {budget}");
        }
    }
    Ok(())
}

/// After a death and its recovery the dead node boots, joins and mounts: it gets the journal that its
/// death left free, reads what was written before and meanwhile, and writes.
pub(super) fn rejoin(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    let mark = cluster.new_mark();
    let writers = start_writers(cluster, &mark)?;
    for (load, _) in &writers {
        load.wait_more(10, PROGRESS)?;
    }
    cluster.node(3).kill()?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    let back = cluster.node(3);
    back.boot()?;
    back.mount()?;
    for node in cluster.nodes() {
        node.wait_lockspace(FILE_SYSTEM, &[1, 2, 3], CHANGE)?;
    }
    ensure!(back.journal()? == 2, "the node came back to journal {}", back.journal()?);
    for (load, _) in writers.iter().filter(|(load, _)| load.node() != 3) {
        load.wait_more(10, PROGRESS)?;
        load.stop(PROGRESS)?;
    }
    verify(cluster, &writers, &[3])?;
    back.ok("echo back >/mnt/gfs2/back")?;
    let text = cluster.node(1).ok("cat /mnt/gfs2/back")?;
    ensure!(text == "back\n", "node 1 reads {text:?}");
    cluster.nodes().try_for_each(as_predicted)
}

/// A writer of records and one of names on each node; each with the records' file, if it has one.
pub(super) fn start_writers<'a>(
    cluster: &'a Cluster,
    mark: &str,
) -> Result<Vec<(Load<'a>, Option<String>)>> {
    let mut loads = Vec::new();
    for node in cluster.running() {
        let path = format!("/mnt/gfs2/records.{}", node.id());
        loads.push((node.write_records(&format!("records.{mark}"), &path)?, Some(path)));
        loads.push((node.churn(&format!("churn.{mark}"), "/mnt/gfs2/churn")?, None));
    }
    Ok(loads)
}

/// Every acknowledged record is there, seen from each of these nodes.
pub(super) fn verify(
    cluster: &Cluster,
    writers: &[(Load<'_>, Option<String>)],
    readers: &[u8],
) -> Result<()> {
    for (load, path) in writers {
        let Some(path) = path else { continue };
        for reader in readers {
            let (there, acknowledged) = (cluster.node(*reader).verify(path)?, load.acknowledged());
            ensure!(
                there >= acknowledged,
                "node {reader}: {path} has {there} whole records; {acknowledged} were synced"
            );
        }
    }
    Ok(())
}

/// The power switch was asked exactly once, for this victim, with this outcome.
///
/// # Errors
/// It was not.
pub fn fenced_once(cluster: &Cluster, since: HostTime, victim: u8, outcome: Outcome) -> Result<()> {
    let log = cluster.fence_log(since);
    ensure!(
        matches!(log.as_slice(), [only] if only.victim == victim && only.outcome == outcome),
        "node {victim} should have been fenced once: {log:?}"
    );
    Ok(())
}

/// Exactly one survivor replayed a journal.
///
/// # Errors
/// None has, or several; or the logs cannot be read.
pub fn replayed_once(cluster: &Cluster, since: HostTime, journal: u8) -> Result<()> {
    let sign = format!("jid={journal}: Done");
    let by: Vec<u8> = cluster
        .timeline(since)?
        .into_iter()
        .filter(|entry| entry.source == Source::Kernel && entry.text.contains(&sign))
        .map(|entry| entry.node)
        .collect();
    ensure!(by.len() == 1, "journal {journal} was replayed by {by:?}");
    Ok(())
}

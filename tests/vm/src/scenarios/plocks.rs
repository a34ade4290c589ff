//! POSIX locks when nodes die, come, are cut off, and crowd.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::basics::{CHANGE, PROGRESS, RECOVERY};
use super::plock_script::plock_script;
use crate::actor::{Actor, Bytes, Mode};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::machine::Link;
use crate::host::power::{FenceMode, FenceRecord, Outcome};
use crate::host::wait::until;
use crate::node::{COMMAND, Node};
use crate::plocks::Plock;
use crate::time::HostTime;

/// Slow enough that a lock given away before the fencing is seen to be.
const SLOW_SWITCH: Duration = Duration::from_secs(4);
/// From the end of fencing to a waiter's lock.
const HANDED_ON: f64 = 5.0;
const FILE: &str = "/mnt/gfs2/locked";

/// A node that holds a lock and waits for another one dies. Who waits for its lock gets it within
/// seconds after the fencing and not before; its wish is forgotten; the survivors' locks stay.
pub(super) fn plock_kill(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    let mark = cluster.new_mark();
    let [first, second, dies, dies_waiting] = actors(cluster, &mark, [1, 2, 3, 3])?;
    expect(&dies.lock(Mode::Write, Bytes { start: 0, length: 10 }, FILE)?, "ok")?;
    expect(&dies.lock(Mode::Read, Bytes { start: 100, length: 0 }, FILE)?, "ok")?;
    expect(&second.lock(Mode::Write, Bytes { start: 20, length: 5 }, FILE)?, "ok")?;
    expect(&dies_waiting.wait(Mode::Write, Bytes::one(22), FILE)?, "asleep")?;
    expect(&first.wait(Mode::Write, Bytes::one(5), FILE)?, "asleep")?;
    cluster.fence_mode(FenceMode::Delay(SLOW_SWITCH))?;
    let begin = HostTime::now();
    cluster.node(3).kill()?;
    granted_after_fencing(cluster, &first, begin, Outcome::WasDown)?;
    let left = same_plocks(cluster, &[1, 2])?;
    ensure!(left.iter().all(|lock| lock.node != cluster.node(3).cluster_id()), "{left:?}");
    ensure!(left.len() == 2, "two locks should be left: {left:?}");
    expect(&first.lock(Mode::Read, Bytes::one(20), FILE)?, "EAGAIN")?;
    expect(&first.lock(Mode::Write, Bytes { start: 100, length: 0 }, FILE)?, "ok")?;
    expect(&second.unlock(Bytes { start: 20, length: 5 }, FILE)?, "ok")?;
    expect(&first.lock(Mode::Write, Bytes::one(22), FILE)?, "ok")
}

/// A node that holds a lock is cut off while it lives on. Who waits for its lock on the majority's side
/// gets it when the node is switched off and not before, so that no two hold it.
pub(super) fn plock_partition(cluster: &Cluster) -> Result<()> {
    cluster.mount_gfs2(&[1, 2, 3])?;
    let [first, cut] = actors(cluster, &cluster.new_mark(), [1, 3])?;
    expect(&cut.lock(Mode::Write, Bytes::one(0), FILE)?, "ok")?;
    expect(&first.wait(Mode::Write, Bytes::one(0), FILE)?, "asleep")?;
    cluster.fence_mode(FenceMode::Delay(SLOW_SWITCH))?;
    let begin = HostTime::now();
    cluster.node(3).link(Link::Down)?;
    granted_after_fencing(cluster, &first, begin, Outcome::Killed)
}

/// The one wish is granted after node 3 is off, and soon.
fn granted_after_fencing(
    cluster: &Cluster,
    waiter: &Actor<'_>,
    since: HostTime,
    wanted: Outcome,
) -> Result<()> {
    let (granted, answer) = waiter.answer(RECOVERY).context("the waiter's lock")?;
    let answered = || -> Option<FenceRecord> { cluster.fence_log(since).first().copied() };
    cluster.wait_fence_log("node 3 is fenced", RECOVERY, || answered().is_some())?;
    let record = answered().context("the power switch's record")?;
    let after = granted.seconds_after(record.answered);
    println!("     the lock came {after:.3} s after node 3 was off");
    expect(&answer, "ok")?;
    ensure!(after > 0.0, "the lock was given away {:.3} s before node 3 was off", -after);
    ensure!(after < HANDED_ON, "the lock came only {after:.3} s after node 3 was off");
    ensure!((record.victim, record.outcome) == (3, wanted), "{record:?}");
    Ok(())
}

/// A node mounts while others hold locks and take more: its daemon then lists every lock as the others'
/// do, every attempt there to take one of them fails, and what is free it gets.
pub(super) fn plock_join(cluster: &Cluster) -> Result<()> {
    const FILES: u32 = 20;
    const LOCKS: u32 = 5;
    cluster.mount_gfs2(&[1, 2])?;
    let mark = cluster.new_mark();
    let [first, second, joiner] = actors(cluster, &mark, [1, 2, 3])?;
    let loads = [
        cluster.node(1).lock_loop(&format!("busy.{mark}"), "/mnt/gfs2/busy")?,
        cluster.node(2).lock_loop(&format!("busy.{mark}"), "/mnt/gfs2/busy")?,
    ];
    first.fill("/mnt/gfs2/first", FILES, LOCKS, PROGRESS)?;
    second.fill("/mnt/gfs2/second", FILES, LOCKS, PROGRESS)?;
    // More locks all the time until the joiner is there, and some after that.
    let taken = taken_while(&first, FILE, || cluster.node(3).mount())?;
    println!("     {taken} locks were taken meanwhile");
    for load in &loads {
        load.wait_more(1, PROGRESS)?;
        load.stop(PROGRESS)?;
    }
    for node in cluster.nodes() {
        node.wait_lockspace(FILE_SYSTEM, &[1, 2, 3], CHANGE)?;
    }
    let locks = same_plocks(cluster, &[1, 2, 3])?;
    let wanted = usize::try_from(u64::from(2 * FILES * LOCKS) + taken)?;
    ensure!(locks.len() == wanted, "{} locks are listed, {wanted} held", locks.len());
    for number in 0..taken {
        let byte = Bytes::one(number * 2);
        let refused = joiner.lock(Mode::Read, byte, FILE)?;
        ensure!(refused == "EAGAIN", "lock {number}: {refused}");
    }
    for folder in ["first", "second"] {
        for file in 0..FILES {
            let path = format!("/mnt/gfs2/{folder}/{file}");
            let last = Bytes::one(u64::from(LOCKS - 1) * 2);
            expect(&joiner.lock(Mode::Write, last, &path)?, "EAGAIN")?;
            expect(&joiner.lock(Mode::Write, Bytes::one(1), &path)?, "ok")?;
        }
    }
    expect(&second.lock(Mode::Write, Bytes::one(1), "/mnt/gfs2/first/0")?, "EAGAIN")
}

/// A hundred processes on three nodes count in one file, each under locks on random ranges of it: every
/// count is there afterwards, and under a shared lock nothing changes.
pub(super) fn plock_crowd(cluster: &Cluster) -> Result<()> {
    // By hand: `DLM_VM_CROWD='1000 100'`, processes and locks of each.
    let wish = std::env::var("DLM_VM_CROWD").unwrap_or_else(|_| "100 20".into());
    let (processes, locks) = wish.split_once(' ').context("DLM_VM_CROWD is PROCESSES LOCKS")?;
    cluster.mount_gfs2(&[1, 2, 3])?;
    crowd(cluster, processes.parse()?, locks.parse()?)
}

/// With `plock_ownership=1` on all nodes the script comes to the same, a crowd loses no count, and a file
/// that one node alone uses is its own.
pub(super) fn plock_ownership(cluster: &Cluster) -> Result<()> {
    plock_script(cluster)?;
    crowd(cluster, 24, 5)?;
    let [owner] = actors(cluster, &cluster.new_mark(), [2])?;
    expect(&owner.lock(Mode::Write, Bytes::one(0), "/mnt/gfs2/own")?, "ok")?;
    owned_by(cluster, 2, "/mnt/gfs2/own")
}

/// Three daemons of ours own what their nodes lock, unasked. A C daemon joins while locks are held, waited for and taken:
/// nothing is lost, all four list the same, and nobody owns anything. When it has gone, new files have owners again; when it
/// comes back and dies, its locks are given away.
pub(super) fn plock_owners(cluster: &Cluster) -> Result<()> {
    let ours = [1, 2, 3];
    cluster.mount_gfs2(&ours)?;
    let mark = cluster.new_mark();
    let [first, second, third, waits, joiner] = actors(cluster, &mark, [1, 2, 3, 1, 4])?;
    first.fill("/mnt/gfs2/first", 20, 5, PROGRESS)?;
    second.fill("/mnt/gfs2/second", 20, 5, PROGRESS)?;
    expect(&first.lock(Mode::Write, Bytes { start: 0, length: 10 }, FILE)?, "ok")?;
    expect(&waits.wait(Mode::Write, Bytes::one(5), FILE)?, "asleep")?;
    owned_by(cluster, 1, FILE)?;
    let alone = cluster.node(3).plocks(FILE_SYSTEM)?;
    ensure!(alone.is_empty(), "node 3 has locks of others: {alone:?}");
    let load = cluster.node(3).lock_loop(&format!("busy.{mark}"), "/mnt/gfs2/busy")?;
    let taken = taken_while(&third, "/mnt/gfs2/taken", || cluster.node(4).mount())?;
    println!("     {taken} locks were taken meanwhile");
    load.wait_more(1, PROGRESS)?;
    load.stop(PROGRESS)?;
    for node in cluster.nodes() {
        node.wait_lockspace(FILE_SYSTEM, &[1, 2, 3, 4], CHANGE)?;
    }
    let locks = same_plocks(cluster, &[1, 2, 3, 4])?;
    let wanted = usize::try_from(2 * 20 * 5 + 2 + taken)?;
    ensure!(locks.len() == wanted, "{} locks are listed, {wanted} held or waited for", locks.len());
    for node in cluster.nodes() {
        let owned =
            node.ok(&format!("dlm_tool plocks {FILE_SYSTEM} | grep -vc 'rown 0' || true"))?;
        ensure!(owned.trim() == "0", "node {} lists {} of owners", node.id(), owned.trim());
    }
    expect(&joiner.lock(Mode::Read, Bytes::one(0), FILE)?, "EAGAIN")?;
    expect(&joiner.lock(Mode::Write, Bytes::one(0), "/mnt/gfs2/second/3")?, "EAGAIN")?;
    expect(&joiner.lock(Mode::Write, Bytes::one(1), "/mnt/gfs2/second/3")?, "ok")?;
    expect(&second.lock(Mode::Write, Bytes::one(1), "/mnt/gfs2/second/3")?, "EAGAIN")?;
    expect(&first.unlock(Bytes { start: 0, length: 10 }, FILE)?, "ok")?;
    expect(&waits.answer(PROGRESS)?.1, "ok")?;
    same_plocks(cluster, &[1, 2, 3, 4])?;
    expect(&joiner.close("/mnt/gfs2/second/3")?, "ok")?;
    expect(&joiner.close(FILE)?, "ok")?;

    cluster.node(4).unmount()?;
    for id in ours {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &ours, CHANGE)?;
    }
    expect(&second.lock(Mode::Write, Bytes::one(0), "/mnt/gfs2/anew")?, "ok")?;
    owned_by(cluster, 2, "/mnt/gfs2/anew")?;

    cluster.node(4).mount()?;
    for node in cluster.nodes() {
        node.wait_lockspace(FILE_SYSTEM, &[1, 2, 3, 4], CHANGE)?;
    }
    expect(&joiner.lock(Mode::Write, Bytes::one(0), "/mnt/gfs2/anew")?, "EAGAIN")?;
    expect(&joiner.lock(Mode::Write, Bytes::one(9), "/mnt/gfs2/anew")?, "ok")?;
    expect(&third.wait(Mode::Write, Bytes::one(9), "/mnt/gfs2/anew")?, "asleep")?;
    cluster.node(4).kill()?;
    expect(&third.answer(RECOVERY)?.1, "ok")?;
    same_plocks(cluster, &ours).map(|_| ())
}

/// Locks that a process takes in a file, one after the other, until something has been done and ten more.
fn taken_while(
    actor: &Actor<'_>,
    path: &str,
    act: impl FnOnce() -> Result<()> + Send,
) -> Result<u64> {
    let mut taken = 0;
    std::thread::scope(|scope| {
        let acting = scope.spawn(act);
        let mut after = 0;
        while after < 10 {
            expect(&actor.lock(Mode::Write, Bytes::one(taken * 2), path)?, "ok")?;
            taken += 1;
            after += u64::from(acting.is_finished());
        }
        acting.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked"))
    })?;
    Ok(taken)
}

/// The node's daemon lists the file's locks as its own.
fn owned_by(cluster: &Cluster, id: u8, path: &str) -> Result<()> {
    let inode = cluster.node(id).ok(&format!("stat -c %i {path}"))?;
    let owner = cluster.node(id).cluster_id();
    let line = format!("dlm_tool plocks {FILE_SYSTEM} | grep '^{} .* rown {owner}'", inode.trim());
    cluster.node(id).wait_for(&line, CHANGE).map(|_| ())
}

fn crowd(cluster: &Cluster, processes: u32, locks: u32) -> Result<()> {
    const CROWD: &str = "/mnt/gfs2/crowd";
    cluster.node(1).ok(&format!("rm -f {CROWD}; truncate -s 512 {CROWD}"))?;
    let work = |node: Node<'_>| -> Result<u64> {
        // The first nodes take what does not divide evenly.
        let part = (processes + 3 - u32::from(node.id())) / 3;
        let seed = node.id();
        let command = format!("/vm/dlm-vm-agent crowd {CROWD} {part} {locks} {seed}");
        let patience = COMMAND + Duration::from_millis(100) * processes * locks;
        let text = node.ok_within(&command, patience)?;
        text.trim().parse().with_context(|| format!("count {text:?}"))
    };
    let added: u64 = cluster.on_all(&[1, 2, 3], work)?.iter().sum();
    for node in cluster.nodes() {
        let sum = node.ok(&format!(
            "od -An -v -td8 {CROWD} | \
             awk '{{ for (i = 1; i <= NF; i++) sum += $i }} END {{ print sum }}'"
        ))?;
        ensure!(sum.trim() == added.to_string(), "node {} reads {sum:?} of {added}", node.id());
    }
    Ok(())
}

pub(super) fn actors<'a, const COUNT: usize>(
    cluster: &'a Cluster,
    mark: &str,
    nodes: [u8; COUNT],
) -> Result<[Actor<'a>; COUNT]> {
    let mut actors = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        actors.push(cluster.node(*node).actor(&format!("actor.{mark}.{number}"))?);
    }
    actors.try_into().ok().context("an actor for each node")
}

pub(super) fn expect(answer: &str, wanted: &str) -> Result<()> {
    ensure!(answer == wanted, "the answer was {answer}, not {wanted}");
    Ok(())
}

/// What the daemons of these nodes list, once all list the same.
fn same_plocks(cluster: &Cluster, nodes: &[u8]) -> Result<BTreeSet<Plock>> {
    until("all daemons list the same locks", CHANGE, || {
        let mut lists = cluster.on_all(nodes, |node| node.plocks(FILE_SYSTEM))?;
        let last = lists.pop().context("no nodes")?;
        if lists.iter().all(|list| *list == last) {
            return Ok(Some(last));
        }
        let differ: Vec<_> =
            lists.iter().flat_map(|list| list.symmetric_difference(&last)).take(10).collect();
        anyhow::bail!("they differ in {differ:?} and perhaps more")
    })
}

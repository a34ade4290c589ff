//! POSIX locks: how many pairs of lock and unlock a second, and how long a node that joins waits for the
//! locks that are held.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::figures::{self, Samples};
use super::{ALL, AS_A_SERVICE, PATIENCE, Side};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::node::{COMMAND, Node};
use crate::options::Daemon;
use crate::time::HostTime;
use crate::timeline::Source;

/// How long each rate is measured, in seconds.
const SECONDS: u32 = 8;
/// Before that, so that all nodes take part: alone, the first one owns the file, and does thousands in a blink.
const WARM_UP: u32 = 2;
/// Locks that the joiner is told of: on each of two nodes so many files, with so many locks each.
const FILES: u32 = 500;
const LOCKS: u32 = 10;
/// How often the joiner joins a round.
const JOINS: u32 = 2;
/// From an empty file system to all locks held.
const FILLING: Duration = Duration::from_secs(400);
/// The node that joins, and only listens before.
const JOINER: u8 = 3;
/// Those that hold the locks.
const HOLDERS: [u8; 2] = [1, 2];

/// Processes that lock and unlock as fast as they can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Load {
    Single,
    Sixteen,
    TwiceEight,
    Contended,
    Owned,
    OwnedContended,
}

impl Load {
    /// The nodes, the processes on each, and whose the files are: each process has its own, or all share one byte.
    const fn shape(self) -> (&'static [u8], u32, &'static str) {
        match self {
            Self::Single | Self::Owned => (&[1], 1, "own"),
            Self::Sixteen => (&[1], 16, "own"),
            Self::TwiceEight => (&HOLDERS, 8, "own"),
            Self::Contended | Self::OwnedContended => (&HOLDERS, 1, "same"),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Single => "1 process",
            Self::Sixteen => "16 processes on one node",
            Self::TwiceEight => "8 processes on each of two nodes",
            Self::Contended => "one byte, two nodes",
            Self::Owned => "owned: 1 process",
            Self::OwnedContended => "owned: one byte, two nodes",
        })
    }
}

/// A figure of the table, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    /// Pairs a second of all processes together.
    Rate(Load),
    /// Processor time of the daemons of the nodes that lock, by the pairs of all.
    Lockers(Load),
    /// That of the daemon of a node that only hears of it.
    Listener(Load),
    Fill,
    Transfer,
    FirstLock,
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&match self {
            Self::Rate(load) => format!("{load}, pairs/s"),
            Self::Lockers(load) => format!("  {load}: daemons that lock, us/pair"),
            Self::Listener(load) => format!("  {load}: another, us/pair"),
            Self::Fill => "10,000 locks in 1,000 files taken, ms".to_owned(),
            Self::Transfer => "join with them: uevent to PLOCKS_DONE, ms".to_owned(),
            Self::FirstLock => "join with them: mount to first lock, ms".to_owned(),
        })
    }
}

pub(super) fn measure(
    cluster: &mut Cluster,
    side: Side,
    daemon: &Daemon,
    samples: &mut Samples<Figure>,
) -> Result<()> {
    eprintln!("{side:?}: replicated");
    cluster.change_daemon(daemon.clone(), &format!("{AS_A_SERVICE} --plock_ownership=0"))?;
    cluster.mount_gfs2(&ALL)?;
    for load in [Load::Single, Load::Sixteen, Load::TwiceEight, Load::Contended] {
        pairs(cluster, load, side, samples)?;
    }
    // The log tells when the transfer was done.
    cluster.change_daemon(daemon.clone(), "-D --plock_ownership=0")?;
    cluster.mount_gfs2(&HOLDERS)?;
    eprintln!("{side:?}: joins with {} locks", 2 * FILES * LOCKS);
    joins(cluster, side, samples)?;
    eprintln!("{side:?}: ownership");
    cluster.change_daemon(daemon.clone(), &format!("{AS_A_SERVICE} --plock_ownership=1"))?;
    cluster.mount_gfs2(&ALL)?;
    for load in [Load::Owned, Load::OwnedContended] {
        pairs(cluster, load, side, samples)?;
    }
    Ok(())
}

fn pairs(cluster: &Cluster, load: Load, side: Side, samples: &mut Samples<Figure>) -> Result<()> {
    let (nodes, processes, whose) = load.shape();
    let before = cluster.on_all(&ALL, processor_time)?;
    let rates = cluster.on_all(nodes, |node| {
        let file = match whose {
            "own" => format!("/mnt/gfs2/pairs.{}", node.id()),
            _ => "/mnt/gfs2/pairs".to_owned(),
        };
        let text = node.ok_within(
            &format!("/vm/dlm-vm-agent pairs {file} {WARM_UP} {SECONDS} {processes} {whose}"),
            2 * COMMAND,
        )?;
        text.trim().parse::<f64>().with_context(|| format!("rate {text:?}"))
    })?;
    let rate: f64 = rates.iter().sum();
    samples.add(Figure::Rate(load), side, rate);
    let pairs = rate * f64::from(WARM_UP + SECONDS);
    let after = cluster.on_all(&ALL, processor_time)?;
    let used = |id: u8| {
        let of_node = ALL.iter().zip(before.iter().zip(&after)).find(|(node, _)| **node == id);
        of_node.map_or(0.0, |(_, (before, after))| after - before) / pairs
    };
    samples.add(Figure::Lockers(load), side, nodes.iter().map(|id| used(*id)).sum());
    samples.add(Figure::Listener(load), side, used(JOINER));
    Ok(())
}

/// What the daemon's processes have had of the processor since they began, in microseconds.
fn processor_time(node: Node<'_>) -> Result<f64> {
    let text = node.ok(
        "cat $(pgrep dlm_controld | sed 's,.*,/proc/&/task/*/schedstat,') | awk '{sum += $1} END {print sum / 1000}'",
    )?;
    text.trim().parse().with_context(|| format!("processor time {text:?}"))
}

fn joins(cluster: &Cluster, side: Side, samples: &mut Samples<Figure>) -> Result<()> {
    let mark = cluster.new_mark();
    let begin = HostTime::now();
    let holders = cluster.on_all(&HOLDERS, |node| {
        // The actor must outlive this closure, so it is of the cluster's node.
        let actor = cluster.node(node.id()).actor(&format!("fill.{mark}.{}", node.id()))?;
        actor.fill(&format!("/mnt/gfs2/fill{}", node.id()), FILES, LOCKS, FILLING)?;
        Ok(actor)
    })?;
    samples.add(Figure::Fill, side, figures::milliseconds(begin, HostTime::now()));
    for _ in 0..JOINS {
        let joiner = cluster.node(JOINER);
        let begin = HostTime::now();
        samples.add(Figure::FirstLock, side, first_lock(joiner)?);
        for id in ALL {
            cluster.node(id).wait_lockspace(FILE_SYSTEM, &ALL, PATIENCE)?;
        }
        let count = joiner.plocks(FILE_SYSTEM)?.len();
        // The list is cut off at a mebibyte, in which these locks just fit.
        ensure!(u32::try_from(count)? >= 2 * FILES * LOCKS, "the joiner lists {count} locks");
        samples.add(Figure::Transfer, side, transfer(cluster, begin)?);
        joiner.unmount()?;
        for id in HOLDERS {
            cluster.node(id).wait_lockspace(FILE_SYSTEM, &HOLDERS, PATIENCE)?;
        }
    }
    drop(holders);
    Ok(())
}

/// From the mount's begin to the first lock of a byte that nobody holds, in milliseconds.
fn first_lock(joiner: Node<'_>) -> Result<f64> {
    let text = joiner.ok_within(
        "begin=$(date +%s%N); mount -t gfs2 -o noatime /dev/vdb /mnt/gfs2 && \
         /vm/dlm-vm-agent take /mnt/gfs2/fill1/0 1 && \
         echo $((($(date +%s%N) - begin) / 1000))",
        2 * PATIENCE,
    )?;
    let microseconds: f64 = text.trim().parse().with_context(|| format!("time {text:?}"))?;
    Ok(microseconds / 1000.0)
}

/// From the kernel's uevent to the end of the transfer on the joiner, in milliseconds.
fn transfer(cluster: &Cluster, since: HostTime) -> Result<f64> {
    let timeline = cluster.timeline(since)?;
    let find = |source, words: &[&str]| {
        timeline
            .iter()
            .find(|entry| {
                entry.node == JOINER
                    && entry.source == source
                    && words.iter().all(|word| entry.text.contains(word))
            })
            .map(|entry| entry.at)
            .with_context(|| format!("the joiner has not logged {words:?}"))
    };
    let begin = find(Source::Kernel, &["joining the lockspace group"])?;
    let end = find(Source::Daemon, &["receive_plocks_done", "need 1"])?;
    if end < begin {
        bail!("the transfer ended before it began");
    }
    Ok(figures::milliseconds(begin, end))
}

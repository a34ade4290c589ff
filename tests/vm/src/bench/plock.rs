//! POSIX locks: how many pairs of lock and unlock a second, and how long a node that joins waits for the
//! locks that are held.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::figures::{self, Samples};
use super::{ALL, PATIENCE, Side};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::node::{COMMAND, Node};
use crate::options::Daemon;
use crate::time::HostTime;
use crate::timeline::Source;

/// How long each rate is measured, in seconds.
const SECONDS: u64 = 8;
/// Locks that the joiner is told of: on each of two nodes so many files, with so many locks each.
const FILES: u32 = 500;
const LOCKS: u32 = 10;
/// How often the joiner joins a round.
const JOINS: u32 = 2;
/// From an empty file system to all locks held.
const FILLING: Duration = Duration::from_secs(400);
/// The node that joins.
const JOINER: u8 = 3;
/// Those that hold the locks.
const HOLDERS: [u8; 2] = [1, 2];

/// A figure of the table, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    Single,
    Sixteen,
    TwiceEight,
    Contended,
    Owned,
    OwnedContended,
    Fill,
    Transfer,
    FirstLock,
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Single => "1 process, pairs/s",
            Self::Sixteen => "16 processes on one node, pairs/s",
            Self::TwiceEight => "8 processes on each of two nodes, pairs/s",
            Self::Contended => "one byte, a process on each of two, pairs/s",
            Self::Owned => "ownership: 1 process, pairs/s",
            Self::OwnedContended => "ownership: one byte, two nodes, pairs/s",
            Self::Fill => "10,000 locks in 1,000 files taken, ms",
            Self::Transfer => "join with them: uevent to PLOCKS_DONE, ms",
            Self::FirstLock => "join with them: mount to first lock, ms",
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
    cluster.change_daemon(daemon.clone(), "--plock_ownership=0")?;
    cluster.mount_gfs2(&HOLDERS)?;
    samples.add(Figure::Single, side, pairs(cluster, &[1], 1, "own")?);
    samples.add(Figure::Sixteen, side, pairs(cluster, &[1], 16, "own")?);
    samples.add(Figure::TwiceEight, side, pairs(cluster, &HOLDERS, 8, "own")?);
    samples.add(Figure::Contended, side, pairs(cluster, &HOLDERS, 1, "same")?);
    eprintln!("{side:?}: joins with {} locks", 2 * FILES * LOCKS);
    joins(cluster, side, samples)?;
    eprintln!("{side:?}: ownership");
    cluster.change_daemon(daemon.clone(), "--plock_ownership=1")?;
    cluster.mount_gfs2(&HOLDERS)?;
    samples.add(Figure::Owned, side, pairs(cluster, &[1], 1, "own")?);
    samples.add(Figure::OwnedContended, side, pairs(cluster, &HOLDERS, 1, "same")?);
    Ok(())
}

/// Pairs a second of all processes together: each node has so many, each with a file of its own, or all
/// with one.
fn pairs(cluster: &Cluster, nodes: &[u8], processes: u32, whose: &str) -> Result<f64> {
    let rates = cluster.on_all(nodes, |node| {
        let file = match whose {
            "own" => format!("/mnt/gfs2/pairs.{}", node.id()),
            _ => "/mnt/gfs2/pairs".to_owned(),
        };
        let text = node.ok_within(
            &format!("/vm/dlm-vm-agent pairs {file} {SECONDS} {processes} {whose}"),
            2 * COMMAND,
        )?;
        text.trim().parse::<f64>().with_context(|| format!("rate {text:?}"))
    })?;
    Ok(rates.iter().sum())
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

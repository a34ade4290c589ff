//! The demonstration: a node dies under load, and its recovery is told step by step.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use dlm_vm::scenarios::{fenced_once, replayed_once};
use dlm_vm::{Cluster, Fencing, HostTime, Options, Outcome, State, recovery};

/// For every step: an emulated cluster on a busy host.
const PATIENCE: Duration = Duration::from_secs(120);

/// Boots three nodes, mounts gfs2, writes on all, kills node 3, prints the merged recovery.
pub(crate) fn run(state: &State, options: Options) -> Result<()> {
    println!("booting {} machines with the real kernel dlm, gfs2 and corosync", options.nodes);
    let victim = options.nodes;
    let survivors: Vec<u8> = (1..victim).collect();
    let cluster = Cluster::boot(state, options)?;
    let all: Vec<u8> = (1..=victim).collect();
    println!("all daemons see one another; making and mounting gfs2 on every node");
    cluster.mount_gfs2(&all)?;
    let mut loads = Vec::new();
    for node in cluster.nodes() {
        loads.push(node.churn("demo", "/mnt/gfs2/demo")?);
    }
    for load in &loads {
        load.wait_more(10, PATIENCE)?;
    }
    println!("all nodes write; pulling the plug of node {victim}\n");
    let journal = u8::try_from(cluster.node(victim).journal()?)?;
    let begin = HostTime::now();
    cluster.node(victim).kill()?;
    for id in &survivors {
        cluster.node(*id).wait_lockspace("fs", &survivors, PATIENCE)?;
    }
    for load in loads.iter().filter(|load| load.node() != victim) {
        load.wait_more(10, PATIENCE)?;
    }
    let how = if cluster.options().fencing == Fencing::Off {
        "was not fenced"
    } else {
        fenced_once(&cluster, begin, victim, Outcome::WasDown)?;
        "was fenced"
    };
    replayed_once(&cluster, begin, journal)?;
    print!("{}", recovery::describe(&cluster.timeline(begin)?, begin));
    println!("\nnode {victim} {how}, its journal replayed; the others write on");
    Ok(())
}

/// Everything in every log of the running cluster, seconds since the first entry.
pub(crate) fn whole_timeline(cluster: &Cluster) -> Result<String> {
    let entries = cluster.timeline(HostTime::default())?;
    let begin = entries.first().map(|entry| entry.at).unwrap_or_default();
    let mut text = String::new();
    for entry in &entries {
        let after = entry.at.seconds_after(begin);
        let _ = writeln!(text, "{after:9.3} node{} {:8} {}", entry.node, entry.source, entry.text);
    }
    Ok(text)
}

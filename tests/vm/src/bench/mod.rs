//! The daemon under test beside Debian's C daemon, on the same machines in one run: what a recovery, a
//! join, an idle daemon and POSIX locks cost.
//!
//! Times are read from the stamps of corosync's and the kernel's logs and of the power switch, which are the same for both
//! daemons, never from when the host looked. What is common to both daemons (detection by corosync, the kernel, the fence
//! agent) is left out or printed beside. `control 1` is where the kernel begins its recovery.

mod figures;
mod plock;

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::host::power::FenceMode;
use crate::host::wait::until;
use crate::node::{COMMAND, Node};
use crate::options::{Daemon, Options};
use crate::state::State;
use crate::time::HostTime;
use figures::{Figure, Samples};

/// How long a fence agent takes where it is slow.
const SLOW_AGENT: Duration = Duration::from_millis(3300);
/// How often a node dies unfenced a turn: what that takes varies most.
const UNFENCED_DEATHS: u32 = 3;
/// How many lockspaces are many.
const MANY: usize = 30;
/// How long an idle daemon's processor time is watched, in seconds.
const IDLE_SECONDS: u64 = 10;
/// From a death to running lockspaces, and for a change without one.
const PATIENCE: Duration = Duration::from_secs(120);
/// How systemd's unit starts either daemon: a log of every step is not part of what is measured.
const AS_A_SERVICE: &str = "--foreground 1";
/// The same, and nobody is fenced.
const UNFENCED: &str = "--foreground 1 --enable_fencing=0";
/// The node that dies.
const VICTIM: u8 = 3;
/// Those that recover.
const SURVIVORS: [u8; 2] = [1, 2];
const ALL: [u8; 3] = [1, 2, 3];
/// The one lockspace, where there is one.
const ONE: &str = "bench";

/// Whose daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Ours,
    C,
}

/// What a recovery, a join and an idle daemon cost, so many rounds.
pub fn run(state: &State, options: Options, rounds: u32) -> Result<()> {
    alternate(state, options, rounds, "bench-recovery", warm_up, measure)
}

/// What deaths without fencing cost alone, so many rounds.
pub fn run_deaths(state: &State, options: Options, rounds: u32) -> Result<()> {
    alternate(state, options, rounds, "bench-deaths", warm_up, unfenced_deaths)
}

/// What POSIX locks cost, so many rounds.
pub fn run_plocks(state: &State, options: Options, rounds: u32) -> Result<()> {
    alternate(state, options, rounds, "bench-plock", |_, _| Ok(()), plock::measure)
}

/// Measures one daemon, and adds what it finds.
type Measure<F> = fn(&mut Cluster, Side, &Daemon, &mut Samples<F>) -> Result<()>;

/// Boots three nodes and measures both daemons in turn, so many times. The table is printed anew after
/// each turn, so that an interrupted run has its figures.
fn alternate<F: Ord + Display>(
    state: &State,
    options: Options,
    rounds: u32,
    name: &str,
    warm_up: fn(&mut Cluster, &Daemon) -> Result<()>,
    measure: Measure<F>,
) -> Result<()> {
    let Daemon::Ours(_) = options.daemon else {
        bail!("--daemon PATH names the daemon to measure")
    };
    let ours = options.daemon.clone();
    let mut cluster = Cluster::boot(state, options)?;
    let began = HostTime::now();
    for daemon in [&ours, &Daemon::C] {
        warm_up(&mut cluster, daemon)?;
    }
    let mut samples = Samples::default();
    for round in 1..=rounds {
        // The one that begins changes, so that neither always has the fresher machines.
        let sides = if round % 2 == 1 { [Side::Ours, Side::C] } else { [Side::C, Side::Ours] };
        for side in sides {
            let daemon = match side {
                Side::Ours => ours.clone(),
                Side::C => Daemon::C,
            };
            let measured = measure(&mut cluster, side, &daemon, &mut samples);
            println!("round {round} of {rounds}, {side:?}; medians (lowest..highest):\n{samples}");
            if measured.is_err() {
                cluster.collect_on_failure(&state.failures().join(name), began)?;
            }
            measured.with_context(|| format!("round {round} of {rounds}, {side:?}"))?;
        }
    }
    Ok(())
}

/// A death that is not measured. An emulated machine translates what it runs for the first time, corosync and kernel too, and
/// whoever came first would pay for that.
fn warm_up(cluster: &mut Cluster, daemon: &Daemon) -> Result<()> {
    eprintln!("not measured: a death without fencing");
    cluster.change_daemon(daemon.clone(), UNFENCED)?;
    death_with_one(cluster)?;
    Ok(())
}

fn measure(
    cluster: &mut Cluster,
    side: Side,
    daemon: &Daemon,
    samples: &mut Samples<Figure>,
) -> Result<()> {
    unfenced_deaths(cluster, side, daemon, samples)?;
    eprintln!("{side:?}: idle");
    cluster.change_daemon(daemon.clone(), AS_A_SERVICE)?;
    idle(cluster, side, samples, [Figure::MemoryNone, Figure::TicksNone, Figure::WakeupsNone])?;
    eprintln!("{side:?}: a death with a slow fence agent");
    samples.add(Figure::AfterAgent, side, slowly_fenced_death(cluster)?);
    cluster.change_daemon(daemon.clone(), AS_A_SERVICE)?;
    eprintln!("{side:?}: {MANY} lockspaces");
    for id in ALL {
        for value in join_many(cluster.node(id))? {
            samples.add(Figure::Join, side, value);
        }
    }
    for id in ALL {
        cluster.node(id).wait_for(&many_run("1 2 3"), PATIENCE)?;
        // The daemon is done before the kernel, which goes on and tells it of its slots.
        cluster.node(id).wait_for(KERNEL_IS_DONE, PATIENCE)?;
    }
    idle(cluster, side, samples, [Figure::MemoryMany, Figure::TicksMany, Figure::WakeupsMany])?;
    for (figure, value) in death_with_many(cluster)? {
        samples.add(figure, side, value);
    }
    Ok(())
}

fn unfenced_deaths(
    cluster: &mut Cluster,
    side: Side,
    daemon: &Daemon,
    samples: &mut Samples<Figure>,
) -> Result<()> {
    for number in 1..=UNFENCED_DEATHS {
        eprintln!("{side:?}: a death without fencing, {number} of {UNFENCED_DEATHS}");
        cluster.change_daemon(daemon.clone(), UNFENCED)?;
        for (figure, value) in unfenced_death(cluster)? {
            samples.add(figure, side, value);
        }
    }
    Ok(())
}

/// Membership change to `control 1` on each survivor, in milliseconds.
fn unfenced_death(cluster: &Cluster) -> Result<Vec<(Figure, f64)>> {
    let begin = death_with_one(cluster)?;
    let timeline = cluster.timeline(begin)?;
    let mut found = Vec::new();
    for id in SURVIVORS {
        let change = figures::membership_change(&timeline, id, VICTIM)?;
        let synchronised = figures::synchronised(&timeline, id)?;
        let start = figures::last_start(&timeline, id)?;
        found.push((Figure::Unfenced, figures::milliseconds(change, start)));
        found.push((Figure::UnfencedCorosync, figures::milliseconds(change, synchronised)));
        found.push((Figure::UnfencedAfter, figures::milliseconds(synchronised, start)));
    }
    Ok(found)
}

/// The agent's answer to `control 1` on the slowest survivor, in milliseconds.
fn slowly_fenced_death(cluster: &Cluster) -> Result<f64> {
    cluster.fence_mode(FenceMode::Delay(SLOW_AGENT))?;
    let begin = death_with_one(cluster)?;
    cluster.fence_mode(FenceMode::Ok)?;
    let timeline = cluster.timeline(begin)?;
    let fencing = cluster.fence_log(begin);
    let answered = fencing.first().context("nobody was fenced")?.answered;
    Ok(figures::milliseconds(answered, figures::last_start_of_all(&timeline, &SURVIVORS)?))
}

/// Kills the victim and waits until the survivors' kernels have recovered so many lockspaces. Their consoles tell, which
/// the host reads: a command in a machine would take its one processor from what is measured.
fn death(cluster: &Cluster, lockspaces: usize) -> Result<()> {
    let survivors = SURVIVORS.map(|id| cluster.node(id));
    let before = survivors.map(recoveries);
    cluster.node(VICTIM).kill()?;
    for (node, before) in survivors.into_iter().zip(before) {
        wait_recoveries(node, before? + lockspaces)?;
    }
    Ok(())
}

/// Waits until the node's kernel has ended so many recoveries since it was switched on.
fn wait_recoveries(node: Node<'_>, count: usize) -> Result<()> {
    until(&format!("node {}: {count} recoveries", node.id()), PATIENCE, || {
        Ok((recoveries(node)? >= count).then_some(()))
    })
}

/// How many recoveries the node's kernel has ended since it was switched on.
fn recoveries(node: Node<'_>) -> Result<usize> {
    Ok(node.console()?.lines().filter(|line| figures::ends_recovery(line)).count())
}

fn death_with_one(cluster: &Cluster) -> Result<HostTime> {
    for id in ALL {
        cluster.node(id).ok(&format!("dlm_tool join {ONE}"))?;
    }
    for id in ALL {
        cluster.node(id).wait_lockspace(ONE, &ALL, PATIENCE)?;
    }
    let begin = HostTime::now();
    death(cluster, 1)?;
    for id in SURVIVORS {
        cluster.node(id).wait_lockspace(ONE, &SURVIVORS, PATIENCE)?;
    }
    Ok(begin)
}

/// Joins one lockspace after the other; from uevent to `event_done` of each, in milliseconds.
fn join_many(node: Node<'_>) -> Result<Vec<f64>> {
    // The machine has seen the joins of the other daemon's turn.
    node.ok("dmesg --clear")?;
    node.ok_within(
        &format!(
            "for number in $(seq {MANY}); do dlm_tool join many$number >/dev/null || exit; done"
        ),
        5 * COMMAND,
    )?;
    let joins = figures::joins(&node.ok("dmesg | grep 'dlm: many'")?);
    if joins.len() != MANY {
        bail!("node {}: its kernel logged {} of {MANY} joins", node.id(), joins.len());
    }
    Ok(joins)
}

/// No lockspace's last recovery is still going on.
const KERNEL_IS_DONE: &str = "for name in $(dlm_tool ls | sed -n 's/^name  *//p'); do \
     dmesg | grep \"dlm: $name: dlm_recover \" | tail -1 | grep -q done || exit 1; done";

fn many_run(members: &str) -> String {
    format!(
        "test $(dlm_tool ls | grep -c '^members  *{members} *$') = {MANY} && \
         ! dlm_tool ls | grep -q -e kern_stop -e '^new change'"
    )
}

fn death_with_many(cluster: &Cluster) -> Result<Vec<(Figure, f64)>> {
    let begin = HostTime::now();
    death(cluster, MANY)?;
    for id in SURVIVORS {
        cluster.node(id).wait_for(&many_run("1 2"), PATIENCE)?;
    }
    let timeline = cluster.timeline(begin)?;
    let changes = SURVIVORS.map(|id| figures::membership_change(&timeline, id, VICTIM));
    let [first, second] = changes;
    let change = first?.min(second?);
    let start = figures::last_start_of_all(&timeline, &SURVIVORS)?;
    let recovered = figures::last_recovered(&timeline, &SURVIVORS)?;
    let fencing = cluster.fence_log(begin);
    let fencing = fencing.first().context("nobody was fenced")?;
    Ok(vec![
        (Figure::ManyAll, figures::milliseconds(change, recovered)),
        (Figure::ManyStarted, figures::milliseconds(change, start)),
        (Figure::ManyAgent, figures::milliseconds(fencing.asked, fencing.answered)),
        (Figure::ManyKernel, figures::milliseconds(start, recovered)),
    ])
}

/// Resident memory of the daemon's process in KiB, and the ticks that all of its processes use, and how often their threads wait,
/// while nothing happens.
fn idle(
    cluster: &Cluster,
    side: Side,
    samples: &mut Samples<Figure>,
    [memory, ticks, wakeups]: [Figure; 3],
) -> Result<()> {
    let command = format!(
        "ticks() {{ cat $(pgrep dlm_controld | sed 's,.*,/proc/&/stat,') | \
         sed 's/.*) //' | awk '{{sum += $12 + $13}} END {{print sum}}'; }}; \
         sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$(pgrep -o dlm_controld)/status; \
         woken() {{ cat $(pgrep dlm_controld | sed 's,.*,/proc/&/task/*/status,') | \
         sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' | awk '{{sum += $1}} END {{print sum}}'; }}; \
         before=$(ticks); waits=$(woken); sleep {IDLE_SECONDS}; \
         echo $(($(ticks) - before)); echo $(($(woken) - waits))"
    );
    for text in cluster.on_all(&ALL, |node| node.ok(&command))? {
        let values: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let [resident, used, woken] = *values.as_slice() else { bail!("at idle: {text:?}") };
        samples.add(memory, side, resident);
        samples.add(ticks, side, used);
        samples.add(wakeups, side, woken);
    }
    Ok(())
}

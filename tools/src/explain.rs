//! `dlm_tool explain [lockspace]`: what is waited for, since when, what was tried, and what can be done, in plain words.

use crate::words::{advice, duration, nodes, what};
use dlmcontrol::state::{
    Attempt, DaemonPhase, Lockspace, LockspaceState, Node, Outcome, SlotsKnown, State, Time, Wait,
};
use std::fmt::Write as _;

/// Attempts that are shown for a node.
const ATTEMPTS_SHOWN: usize = 3;

/// The text about the daemon, the nodes that are waited for, and the lockspaces; `None`: no such lockspace.
#[must_use]
pub fn explain(state: &State, name: Option<&str>) -> Option<String> {
    let lockspaces: Vec<&Lockspace> =
        state.lockspaces.iter().filter(|ls| name.is_none_or(|name| ls.name == name)).collect();
    if name.is_some() && lockspaces.is_empty() {
        return None;
    }
    let mut out = String::new();
    if let Some(age) = state.stale_ms {
        let age = duration(age);
        let _ = writeln!(
            out,
            "The daemon's event loop DOES NOT ANSWER. What follows it said {age} ago."
        );
        let _ = writeln!(
            out,
            "  What to do: if it stays so, look at dlm_controld with `top` and its log.\n"
        );
    }
    daemon(&mut out, state);
    for lockspace in lockspaces {
        out.push('\n');
        self::lockspace(&mut out, lockspace, state);
    }
    for troubled in state.nodes.iter().filter(|node| !node.waits.is_empty()) {
        out.push('\n');
        node(&mut out, troubled, state);
    }
    Some(out)
}

fn daemon(out: &mut String, state: &State) {
    let cluster = &state.cluster;
    let doing = match state.daemon.phase {
        DaemonPhase::Corosync => "is connecting to corosync, which has to run here",
        DaemonPhase::Unfencing => "is unfencing this node with the agents of dlm.conf",
        DaemonPhase::Kernel => "waits for the kernel's dlm devices, which the module dlm brings",
        DaemonPhase::Ending => "is ending: kernels are being stopped",
        DaemonPhase::Other => "is at something that this dlm_tool does not know",
        DaemonPhase::Running if cluster.waits.is_empty() => "is up, and waits for nothing itself",
        DaemonPhase::Running => "is up",
    };
    let us = cluster.our_node.map_or(String::new(), |node| format!(" of node {node}"));
    let _ = writeln!(out, "The daemon{us} {doing}.");
    if state.daemon.phase == DaemonPhase::Running {
        let quorum = if cluster.quorate { "has quorum" } else { "has NO quorum" };
        let _ = writeln!(
            out,
            "  The partition {quorum}; the daemon's group has {}.",
            nodes(&cluster.members)
        );
    }
    for wait in &cluster.waits {
        waits(out, wait, state);
    }
    if cluster.killed_agents > 0 {
        let count = cluster.killed_agents;
        let _ = writeln!(out, "  {count} fence agents were killed and have not ended yet.");
    }
}

fn waits(out: &mut String, wait: &Wait, state: &State) {
    let since = duration(wait.waiting_ms);
    let _ = writeln!(out, "  It waits for {}, for {since} now.", what(wait, state.now));
    let _ = writeln!(out, "    What to do: {}.", advice(wait, state));
}

fn lockspace(out: &mut String, lockspace: &Lockspace, state: &State) {
    let doing = match lockspace.state {
        LockspaceState::Running if lockspace.without_quorum => {
            "runs, without quorum, as its members have not changed"
        }
        LockspaceState::Running => "runs",
        LockspaceState::Joining => "is being joined, and grants no locks yet",
        LockspaceState::Stopped => "is stopped: its members have changed",
        LockspaceState::Starting => "is being started by the kernel",
        LockspaceState::Leaving => "is being left",
        LockspaceState::Other => "is in a state that this dlm_tool does not know",
    };
    let _ = writeln!(out, "Lockspace {} {doing}.", lockspace.name);
    if !lockspace.members.is_empty() {
        let _ = writeln!(out, "  Its last start was with {}.", nodes(&lockspace.members));
    }
    if let Some(pending) = &lockspace.pending {
        let _ = writeln!(
            out,
            "  Its next start will be with {}; START has come from {}.",
            nodes(&pending.members),
            some(&pending.starts)
        );
    }
    if let Some(jid) = lockspace.our_jid {
        let how = match lockspace.slots_known {
            SlotsKnown::Confirmed => "",
            SlotsKnown::Predicted => ", by the kernel's rule",
            SlotsKnown::Unknown | SlotsKnown::Other => ", unknown",
        };
        let _ = writeln!(out, "  This node has journal {jid}{how}.");
    }
    for wait in &lockspace.waits {
        waits(out, wait, state);
    }
}

fn node(out: &mut String, node: &Node, state: &State) {
    let fencing = &node.fencing;
    let (id, now) = (node.node, state.now);
    if fencing.needed {
        let ago = fencing.failed.map_or(String::new(), |failed| ago(failed, now));
        let _ = writeln!(out, "Node {id} failed{ago} ({}) and must be fenced.", node.left_reason);
    } else {
        let _ = writeln!(out, "Node {id} may still run from before this daemon's start.");
    }
    for wait in &node.waits {
        waits(out, wait, state);
    }
    out.push_str(&self::fencing(node, state));
}

/// What has been tried.
pub(crate) fn fencing(node: &Node, state: &State) -> String {
    let fencing = &node.fencing;
    let mut out = String::new();
    for (actor, result) in &fencing.failed_by {
        let _ = writeln!(out, "  Node {actor} tried and failed, last with result {result}.");
    }
    if fencing.failures > 0 {
        let _ =
            writeln!(out, "  Attempts of this node that failed in a row: {}.", fencing.failures);
    }
    if let Some(error) = &fencing.config_error {
        let _ = writeln!(out, "  Its fence devices in dlm.conf cannot be used: {error}.");
    }
    let skipped = fencing.attempts.len().saturating_sub(ATTEMPTS_SHOWN);
    for tried in fencing.attempts.iter().skip(skipped) {
        attempt(&mut out, tried, state.now);
    }
    out
}

fn some(ids: &[u32]) -> String {
    if ids.is_empty() { "nobody".to_owned() } else { nodes(ids) }
}

/// ` 8.0 s ago`
pub(crate) fn ago(then: Time, now: Time) -> String {
    format!(" {} ago", duration(then.ms_until(now)))
}

fn attempt(out: &mut String, tried: &Attempt, now: Time) {
    let took = duration(tried.started.ms_until(tried.ended.unwrap_or(now)));
    let how = match tried.outcome {
        Outcome::Running => format!("has been running for {took}"),
        Outcome::Exited(0) => format!("succeeded after {took}"),
        Outcome::Exited(status) => format!("failed with exit status {status} after {took}"),
        Outcome::Signalled(signal) => format!("was ended by signal {signal} after {took}"),
        Outcome::NotStarted(errno) => {
            let reason = std::io::Error::from_raw_os_error(errno);
            format!("could not be started: {reason}")
        }
        Outcome::Other => "ended in a way that this dlm_tool does not know".to_owned(),
    };
    let _ = writeln!(
        out,
        "  Fence agent {} (device {}), begun{}: {how}.",
        tried.agent,
        tried.device,
        ago(tried.started, now)
    );
    for line in tried.output.lines().rev().take(ATTEMPTS_SHOWN).collect::<Vec<_>>().iter().rev() {
        let _ = writeln!(out, "    it wrote: {line}");
    }
}

//! `dlm_tool history [lockspace]`: where the time of recoveries went, and what the death of a node costs.

use crate::words::{duration, nodes};
use dlmcontrol::history::{Fencing, History, Phase, PhaseKind, Recovery};
use dlmcontrol::state::Time;
use std::fmt::Write as _;

/// Width of the longest bar.
const BAR: u64 = 40;

/// The text about all lockspaces or one.
#[must_use]
pub fn history(history: &History, name: Option<&str>) -> String {
    let wanted = |one: &&Recovery| name.is_none_or(|name| one.lockspace == name);
    let recoveries: Vec<&Recovery> = history.recoveries.iter().filter(wanted).collect();
    let mut out = String::new();
    if recoveries.is_empty() {
        out.push_str("No change of a lockspace's members since the daemon began.\n");
    }
    for one in &recoveries {
        recovery(&mut out, one, history.now);
        out.push('\n');
    }
    for one in &history.fencings {
        fencing(&mut out, one, history.now);
    }
    let last_death = recoveries.iter().rev().find(|one| !one.failed.is_empty() && ran(one));
    if let Some(death) = last_death {
        budget(&mut out, death, history);
    }
    out
}

fn ran(one: &Recovery) -> bool {
    one.ended.is_some() && !one.released
}

fn recovery(out: &mut String, one: &Recovery, now: Time) {
    let why: Vec<String> = [("joined", &one.joined), ("left", &one.left), ("failed", &one.failed)]
        .into_iter()
        .filter(|(_, who)| !who.is_empty())
        .map(|(word, who)| format!("{} {word}", nodes(who)))
        .collect();
    let how = match (one.ended, one.released) {
        (None, _) => "not over yet, so far",
        (Some(_), true) => "released after",
        (Some(_), false) => "took",
    };
    let _ = writeln!(
        out,
        "Lockspace {}, {} ago: {}; {how} {}",
        one.lockspace,
        duration(one.began.ms_until(now)),
        why.join(", "),
        duration_exact(one.took_ms)
    );
    let barrier = one.phases.iter().rposition(|phase| phase.kind == PhaseKind::Starts);
    for (at, phase) in one.phases.iter().enumerate() {
        let ms = phase.took_ms;
        let mut line =
            format!("  {:12} {:>9}  {}", phase_word(phase.kind), duration_exact(ms), bar(ms, one));
        // STARTs that a newer change made void have no last one.
        if phase.kind != PhaseKind::Starts || Some(at) == barrier {
            line.push_str(&phase_note(phase, one));
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    if let Some(after) = one.slots_after_ms {
        let _ = writeln!(out, "  {:12} {:>9}  after the start", "slots", duration_exact(after));
    }
}

fn phase_note(phase: &Phase, one: &Recovery) -> String {
    if phase.kind == PhaseKind::Starts {
        let last = one.starts.iter().find(|start| Some(start.node) == one.straggler);
        return last.map_or(String::new(), |last| {
            format!("  last was node {}, after {}", last.node, duration_exact(last.after_ms))
        });
    }
    if phase.nodes.is_empty() { String::new() } else { format!("  {}", nodes(&phase.nodes)) }
}

/// Milliseconds below ten seconds, where they are what is looked for.
fn duration_exact(ms: u64) -> String {
    if ms < 10_000 { format!("{ms} ms") } else { duration(ms) }
}

fn bar(ms: u64, one: &Recovery) -> String {
    let length = ms.saturating_mul(BAR).div_ceil(one.took_ms.max(1));
    "#".repeat(usize::try_from(length).unwrap_or(0))
}

const fn phase_word(kind: PhaseKind) -> &'static str {
    match kind {
        PhaseKind::Daemon => "daemon",
        PhaseKind::Stop => "kernel stop",
        PhaseKind::Rings => "rings",
        PhaseKind::Quorum => "quorum",
        PhaseKind::Fencing => "fencing",
        PhaseKind::Membership => "membership",
        PhaseKind::Addresses => "addresses",
        PhaseKind::Withdraw => "withdraw",
        PhaseKind::Starts => "STARTs",
        PhaseKind::Merge => "merge",
        PhaseKind::KernelStart => "kernel start",
        PhaseKind::Other => "other",
    }
}

fn fencing(out: &mut String, one: &Fencing, now: Time) {
    let ago = duration(one.needed.ms_until(now));
    let took = duration_exact(one.took_ms);
    let how = match (one.done, one.by) {
        (Some(_), Some(by)) if by == one.node => format!("came back clean after {took}"),
        (Some(_), Some(by)) => format!("fenced by node {by} after {took}"),
        _ => format!("not fenced yet, since {took}"),
    };
    let _ = writeln!(out, "Fencing of node {}, {ago} ago: {how}", one.node);
    for agent in &one.agents {
        let took = duration_exact(agent.started.ms_until(agent.ended.unwrap_or(now)));
        let outcome = agent.outcome.as_deref().unwrap_or("runs");
        let _ = writeln!(out, "  device {}: {outcome}, {took}", agent.device);
    }
}

/// A part of a node's death: what it is called, how long it lasts, what would shorten it.
struct Item {
    what: &'static str,
    /// `None`: not known here.
    ms: Option<u64>,
    advice: &'static str,
}

fn budget(out: &mut String, death: &Recovery, history: &History) {
    let spent = |kinds: &[PhaseKind]| {
        death.phases.iter().filter(|phase| kinds.contains(&phase.kind)).map(|p| p.took_ms).sum()
    };
    let fencing: u64 = spent(&[PhaseKind::Fencing]);
    let kernel: u64 = spent(&[PhaseKind::Stop, PhaseKind::KernelStart]);
    let rest = death.took_ms.saturating_sub(fencing).saturating_sub(kernel);
    let items = [
        Item {
            what: "corosync's token",
            ms: history.token_ms,
            advice: "totem.token in corosync.conf; too short, and busy nodes are taken for dead",
        },
        Item {
            what: "corosync's consensus",
            ms: history.consensus_ms,
            advice: "totem.consensus in corosync.conf, which follows totem.token (1.2 times) if not set",
        },
        Item {
            what: "fencing",
            ms: Some(fencing),
            advice: "a faster fence device or agent; post_join_delay if the node came back before it was fenced",
        },
        Item {
            what: "daemons",
            ms: Some(rest),
            advice: "see above which node was last, and what it waited for",
        },
        Item {
            what: "kernel dlm",
            ms: Some(kernel),
            advice: "fewer locks in use, or weights (master lines in dlm.conf) that move fewer of them",
        },
    ];
    let total: u64 = items.iter().filter_map(|item| item.ms).sum();
    let _ = writeln!(
        out,
        "\nWhat the death of a node costs lockspace {}, by the last one ({}):",
        death.lockspace,
        nodes(&death.failed)
    );
    for item in &items {
        let time = item.ms.map_or("unknown".to_owned(), duration_exact);
        let _ = writeln!(out, "  {:20} {time:>9}", item.what);
    }
    let _ = writeln!(out, "  {:20} {:>9}", "together", duration_exact(total));
    if let Some(most) = items.iter().max_by_key(|item| item.ms) {
        let _ = writeln!(out, "Most of it is {}. To shorten it: {}.", most.what, most.advice);
    }
}

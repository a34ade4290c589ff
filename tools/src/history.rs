//! `dlm_tool history [lockspace]`: where the time of recoveries went, and what the death of a node costs.

use crate::budget::{self, Budget, Part};
use crate::words::{duration, nodes};
use dlmcontrol::history::{Fencing, History, Phase, PhaseKind, Recovery};
use dlmcontrol::state::Time;
use std::fmt::Write as _;

/// Width of the longest bar.
const BAR: u64 = 40;
/// That of the longest where there is more to read.
const SHORT_BAR: u64 = 16;

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
    if let Some(budget) = budget::budget(history, name) {
        print_budget(&mut out, &budget);
    }
    out
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
        let mut line = format!(
            "  {:12} {:>9}  {}",
            phase_word(phase.kind),
            duration_exact(ms),
            bar(ms, one.took_ms, BAR)
        );
        // STARTs that a newer change made void have no last one.
        if phase.kind != PhaseKind::Starts || Some(at) == barrier {
            line.push_str(&phase_note(phase, one));
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    if let Some(after) = one.slots_after_ms {
        let _ = writeln!(out, "  {:12} {:>9}  after the start", "slots", duration_exact(after));
    }
    for (what, after) in
        [("kernel locks", one.locks_after_ms), ("gfs2 goes on", one.file_system_after_ms)]
    {
        if let Some(after) = after {
            let _ = writeln!(out, "  {what:12} {:>9}  after the start", duration_exact(after));
        }
    }
    for journal in &one.journals {
        let (name, took) = (format!("journal {}", journal.jid), duration_exact(journal.took_ms));
        let _ = writeln!(out, "  {name:12} {took:>9}  replayed here");
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

fn bar(ms: u64, all: u64, longest: u64) -> String {
    let length = ms.saturating_mul(longest).div_ceil(all.max(1));
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
        PhaseKind::Handover => "POSIX locks",
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

fn print_budget(out: &mut String, budget: &Budget) {
    let _ = writeln!(
        out,
        "\nWhat the death of a node costs lockspace {}, by the last one ({}):",
        budget.lockspace,
        nodes(&budget.failed)
    );
    for Part { of, ms, share, setting } in &budget.parts {
        let time = ms.map_or("unknown".to_owned(), duration_exact);
        let bar = bar(ms.unwrap_or(0), budget.total_ms, SHORT_BAR);
        let words = of.words();
        let _ = writeln!(out, "  {words:20} {time:>9}  {bar:16} {share:>3} %  {setting}");
    }
    let _ = writeln!(out, "  {:20} {:>9}", "together", duration_exact(budget.total_ms));
    if let Some(most) = budget.parts.iter().max_by_key(|part| part.ms) {
        let (words, advice) = (most.of.words(), most.of.advice());
        let _ = writeln!(out, "Most of it is {words}. To shorten it: {advice}.");
    }
}

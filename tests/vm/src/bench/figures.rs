//! What is measured, read from logs, and printed as medians with their spread.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};

use super::Side;
use crate::time::{HostTime, seconds};
use crate::timeline::{Entry, Source};

/// A figure of the table, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    Unfenced,
    UnfencedCorosync,
    UnfencedAfter,
    AfterAgent,
    ManyAll,
    ManyStarted,
    ManyAgent,
    ManyKernel,
    Join,
    MemoryNone,
    MemoryMany,
    TicksNone,
    TicksMany,
    WakeupsNone,
    WakeupsMany,
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Unfenced => "change to control 1, no fencing, ms",
            Self::UnfencedCorosync => "  of it until corosync has synchronised, ms",
            Self::UnfencedAfter => "  of it after that, ms",
            Self::AfterAgent => "end of a 3.3 s agent to last control 1, ms",
            Self::ManyAll => "30 lockspaces: change to last recovered, ms",
            Self::ManyStarted => "  change to last control 1, ms",
            Self::ManyAgent => "  floor: the fence agent's own time, ms",
            Self::ManyKernel => "  floor: last control 1 to recovered, ms",
            Self::Join => "join: uevent to event_done, ms",
            Self::MemoryNone => "resident memory, no lockspace, KiB",
            Self::MemoryMany => "resident memory, 30 lockspaces, KiB",
            Self::TicksNone => "ticks in 10 idle s, no lockspace",
            Self::TicksMany => "ticks in 10 idle s, 30 lockspaces",
            Self::WakeupsNone => "wakeups in 10 idle s, no lockspace",
            Self::WakeupsMany => "wakeups in 10 idle s, 30 lockspaces",
        })
    }
}

/// All values measured so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Samples<F>(BTreeMap<F, BTreeMap<Side, Vec<f64>>>);

impl<F> Default for Samples<F> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<F: Ord> Samples<F> {
    pub(super) fn add(&mut self, figure: F, side: Side, value: f64) {
        self.0.entry(figure).or_default().entry(side).or_default().push(value);
    }
}

impl<F: fmt::Display> fmt::Display for Samples<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:44} | {:>26} | {:>26} | ratio", "", "ours", "C")?;
        for (figure, sides) in &self.0 {
            let summary = |side| sides.get(&side).and_then(|values| Summary::of(values));
            let (ours, c) = (summary(Side::Ours), summary(Side::C));
            let text = |summary: Option<Summary>| summary.map(|found| found.to_string());
            let ratio = match (ours, c) {
                (Some(ours), Some(c)) if c.median > 0.0 => format!("{:.2}", ours.median / c.median),
                _ => "-".into(),
            };
            let (ours, c) = (text(ours).unwrap_or_default(), text(c).unwrap_or_default());
            writeln!(out, "{figure:44} | {ours:>26} | {c:>26} | {ratio}")?;
        }
        Ok(())
    }
}

/// Median and spread of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Summary {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Summary {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        let upper = *sorted.get(sorted.len() / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), lowest, highest })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, lowest, highest } = self;
        write!(out, "{median:.0} ({lowest:.0}..{highest:.0})")
    }
}

/// Milliseconds from one moment to another.
pub(super) fn milliseconds(from: HostTime, to: HostTime) -> f64 {
    to.seconds_after(from) * 1000.0
}

/// When corosync on a node had formed the membership without the victim. Not the daemon's own line: a log tells when a line
/// was written, and one daemon writes its lines itself, the other leaves that to a thread that gives way to its work.
pub(super) fn membership_change(timeline: &[Entry], node: u8, victim: u8) -> Result<HostTime> {
    let left = format!(" left: {victim}");
    timeline
        .iter()
        .filter(|entry| entry.source == Source::Corosync && entry.node == node)
        .find(|entry| entry.text.contains("A new membership") && entry.text.ends_with(&left))
        .map(|entry| entry.at)
        .with_context(|| format!("corosync on node {node} logged no membership without {victim}"))
}

/// When a node's corosync had brought its services to the new membership: quorum is known from here on.
pub(super) fn synchronised(timeline: &[Entry], node: u8) -> Result<HostTime> {
    timeline
        .iter()
        .filter(|entry| entry.source == Source::Corosync && entry.node == node)
        .find(|entry| entry.text.contains("Completed service synchronization"))
        .map(|entry| entry.at)
        .with_context(|| format!("corosync on node {node} logged no synchronization"))
}

/// When a node's kernel began the last of its recoveries: what `control 1` makes it do.
pub(super) fn last_start(timeline: &[Entry], node: u8) -> Result<HostTime> {
    let is_begin = |text: &str| {
        let sequence = text.rsplit_once(": dlm_recover ").map(|(_, sequence)| sequence.trim());
        sequence.is_some_and(|sequence| sequence.parse::<u64>().is_ok())
    };
    timeline
        .iter()
        .filter(|entry| entry.source == Source::Kernel && entry.node == node)
        .filter(|entry| is_begin(&entry.text))
        .map(|entry| entry.at)
        .next_back()
        .with_context(|| format!("the kernel of node {node} logged no recovery"))
}

/// The last `control 1` of any of these nodes.
pub(super) fn last_start_of_all(timeline: &[Entry], nodes: &[u8]) -> Result<HostTime> {
    let starts: Result<Vec<HostTime>> =
        nodes.iter().map(|node| last_start(timeline, *node)).collect();
    starts?.into_iter().max().context("no nodes")
}

/// A kernel's line at the end of a recovery.
pub(super) fn ends_recovery(text: &str) -> bool {
    text.contains("dlm_recover ") && text.contains(" done: ")
}

/// When the last kernel had rebuilt its last lockspace's locks.
pub(super) fn last_recovered(timeline: &[Entry], nodes: &[u8]) -> Result<HostTime> {
    timeline
        .iter()
        .filter(|entry| entry.source == Source::Kernel && nodes.contains(&entry.node))
        .filter(|entry| ends_recovery(&entry.text))
        .map(|entry| entry.at)
        .max()
        .context("no kernel logged the end of a recovery")
}

/// From uevent to `event_done` of each join in a kernel's log, in milliseconds.
pub(super) fn joins(log: &str) -> Vec<f64> {
    let mut begun: BTreeMap<&str, f64> = BTreeMap::new();
    let mut found = Vec::new();
    for line in log.lines() {
        let Some((stamp, text)) =
            line.strip_prefix('[').and_then(|line| line.split_once("] dlm: "))
        else {
            continue;
        };
        let (Some(at), Some((name, event))) = (seconds(stamp), text.split_once(": ")) else {
            continue;
        };
        let at = at.as_secs_f64() * 1000.0;
        if event.starts_with("joining the lockspace group") {
            begun.insert(name, at);
        } else if event.starts_with("group event done")
            && let Some(begin) = begun.remove(name)
        {
            found.push(at - begin);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_lies_between_the_middle_two() {
        let summary = Summary::of(&[9.0, 1.0, 2.0, 4.0]).map(|summary| summary.to_string());
        assert_eq!(summary.as_deref(), Some("3 (1..9)"));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn join_lasts_from_the_uevent_to_event_done() {
        let log = "[   10.250000] dlm: many1: joining the lockspace group...\n\
                   [   10.300000] dlm: many2: joining the lockspace group...\n\
                   [   10.350000] dlm: many1: group event done 0\n";
        let joins = joins(log);
        assert_eq!(joins.len(), 1);
        assert!(joins.iter().all(|join| (join - 100.0).abs() < 0.001));
    }

    fn entry(source: Source, text: &str) -> Entry {
        Entry { at: HostTime::default(), node: 1, source, text: text.into() }
    }

    #[test]
    fn change_without_the_victim_is_told_from_others() {
        let change = |text: &str| membership_change(&[entry(Source::Corosync, text)], 1, 3).is_ok();
        assert!(change("notice  [TOTEM ] A new membership (1.11) was formed. Members left: 3"));
        assert!(!change("notice  [TOTEM ] A new membership (1.d) was formed. Members joined: 3"));
        assert!(!change("notice  [QUORUM] Sync left[1]: 3"));
    }

    #[test]
    fn a_recovery_begins_with_its_number_alone() {
        let start = |text: &str| last_start(&[entry(Source::Kernel, text)], 1).is_ok();
        assert!(start("dlm: bench: dlm_recover 5"));
        assert!(!start("dlm: bench: dlm_recover 5 generation 3 done: 272 ms"));
        assert!(!start("dlm: bench: dlm_recover_directory"));
    }
}

//! What happened on all nodes, in order, by the host's clock: corosync's log, the daemon's, the
//! kernel's, and the power switch's.
//!
//! Each log is brought to the host's time by the clock that stamped it, read when the log is
//! collected. Nodes are thus comparable to a few milliseconds.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::time::{HostTime, Offset, seconds};

/// Where an entry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// corosync's log.
    Corosync,
    /// The daemon's.
    Daemon,
    /// The kernel's.
    Kernel,
    /// The host's power switch; the node is the victim.
    Power,
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Corosync => "corosync",
            Self::Daemon => "daemon",
            Self::Kernel => "kernel",
            Self::Power => "power",
        })
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// When, by the host's clock.
    pub at: HostTime,
    /// On which node.
    pub node: u8,
    /// In which log.
    pub source: Source,
    /// The line without its stamp.
    pub text: String,
}

impl Cluster {
    /// All entries of all running nodes since then, in order.
    pub fn timeline(&self, since: HostTime) -> Result<Vec<Entry>> {
        let ids: Vec<u8> = self.running().iter().map(Node::id).collect();
        let mut entries: Vec<Entry> =
            self.on_all(&ids, |node| node.events())?.into_iter().flatten().collect();
        for record in self.fence_log(since) {
            let (node, source) = (record.victim, Source::Power);
            let asked = format!("asked by node {} to switch off node {node}", record.actor);
            let answered = format!("node {node} {}", record.outcome.word());
            entries.push(Entry { at: record.asked, node, source, text: asked });
            entries.push(Entry { at: record.answered, node, source, text: answered });
        }
        entries.retain(|entry| entry.at >= since);
        entries.sort();
        Ok(entries)
    }
}

impl Node<'_> {
    /// Everything in its logs.
    fn events(&self) -> Result<Vec<Entry>> {
        let clocks = self.cluster().remote(self.id()).clocks()?;
        let mut entries = Vec::new();
        let mut collect =
            |command: &str, source, offset: Offset, parse: fn(&str) -> Option<(Duration, &str)>| {
                let text = self.sh(command)?.out;
                entries.extend(text.lines().filter_map(parse).map(|(guest, text)| Entry {
                    at: offset.host_time(guest),
                    node: self.id(),
                    source,
                    text: text.to_owned(),
                }));
                anyhow::Ok(())
            };
        collect("cat /var/log/cluster/corosync.log", Source::Corosync, clocks.real, corosync_line)?;
        collect("cat /var/log/daemon.stamped", Source::Daemon, clocks.monotonic, daemon_line)?;
        collect("dmesg", Source::Kernel, clocks.printk, kernel_line)?;
        Ok(entries)
    }
}

/// `MONOTONIC REALTIME text`, as the agent stamps.
fn daemon_line(line: &str) -> Option<(Duration, &str)> {
    let (monotonic, rest) = line.split_once(' ')?;
    let (_, text) = rest.split_once(' ')?;
    Some((seconds(monotonic)?, text))
}

/// `[   12.345678] text`.
fn kernel_line(line: &str) -> Option<(Duration, &str)> {
    let (stamp, text) = line.strip_prefix('[')?.split_once("] ")?;
    Some((seconds(stamp)?, text))
}

/// `Nov 21 12:34:56.789 [123] node1 corosync notice  [TOTEM ] text`; the year is not there: the
/// guest's clock was set by the host's, so it is the host's year.
fn corosync_line(line: &str) -> Option<(Duration, &str)> {
    let mut words = line.split_whitespace();
    let (month, day, clock) = (words.next()?, words.next()?, words.next()?);
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = u64::try_from(months.iter().position(|name| *name == month)?).ok()? + 1;
    let day: u64 = day.parse().ok()?;
    let mut parts = clock.split(':');
    let (hour, minute) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    let rest = seconds(parts.next()?)?;
    let days = days_since_1970(year_now(), month, day);
    let whole = Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60);
    let (_, text) = line.split_once(" corosync ")?;
    Some((whole + rest, text))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counted with March as the first month so
/// that a leap day ends its year.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    days - 719_468
}

/// The year of the host's clock.
fn year_now() -> u64 {
    let days = HostTime::now().duration().as_secs() / 86_400;
    let estimate = 1970 + days / 366;
    (estimate..=estimate + 2)
        .take_while(|year| days_since_1970(*year, 1, 1) <= days)
        .last()
        .unwrap_or(estimate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_agrees_with_known_days() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 2, 29), 11_016);
        assert_eq!(days_since_1970(2026, 11, 21), 20_778);
    }

    #[test]
    fn lines_of_each_log_are_read() {
        assert_eq!(
            kernel_line("[   12.5] dlm: x"),
            Some((Duration::from_millis(12_500), "dlm: x"))
        );
        assert_eq!(daemon_line("1.5 9.0 2 text"), Some((Duration::from_millis(1500), "2 text")));
        let (at, text) =
            corosync_line("Nov 21 00:00:01.500 [99] node1 corosync notice  [TOTEM ] hello")
                .expect("a line of corosync's log");
        assert_eq!((at.as_secs() % 86_400, text), (1, "notice  [TOTEM ] hello"));
        for line in ["", "x", "[x] y", "Foo 21 00:00:01 a corosync b"] {
            assert!(kernel_line(line).is_none() && corosync_line(line).is_none(), "{line}");
        }
    }
}

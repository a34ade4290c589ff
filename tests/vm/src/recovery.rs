//! A recovery told from a timeline: which step came when, on which node, in words for a person.
//!
//! The steps are those of DESIGN.md's picture. They are recognised by what corosync, the daemon and the
//! kernel log; a step that a daemon logs in other words is simply not shown.

use std::fmt;

use crate::time::HostTime;
use crate::timeline::{Entry, Source};

/// A step of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// corosync misses the node.
    Missed,
    /// corosync has a new membership without it.
    Membership,
    /// The daemon stops the lockspace in the kernel.
    Stop,
    /// The power switch is asked.
    Fence,
    /// The power switch has answered.
    Fenced,
    /// The daemon tells the others that it is ready to start.
    Sync,
    /// The daemon starts the lockspace in the kernel with the new members.
    Start,
    /// The kernel has rebuilt the lock tables.
    Recovered,
    /// gfs2 looks at the dead node's journal, having got the right to replay it.
    Journal,
    /// The journal is replayed.
    Replayed,
    /// gfs2 works again on this node.
    Unblocked,
}

/// Where a step is logged, and the words that tell it; the first line with any of them counts.
const SIGNS: [(Step, Source, &[&str]); 11] = [
    (Step::Missed, Source::Corosync, &["A processor failed", "Token has not been received"]),
    (Step::Membership, Source::Corosync, &["A new membership"]),
    (Step::Stop, Source::Daemon, &["write \"0\" to \"/sys/kernel/dlm/"]),
    (Step::Fence, Source::Power, &["asked by"]),
    (Step::Fenced, Source::Power, &[" killed", " was-down"]),
    (Step::Sync, Source::Daemon, &["send_start"]),
    (Step::Start, Source::Daemon, &["write \"1\" to \"/sys/kernel/dlm/"]),
    (Step::Recovered, Source::Kernel, &["dlm_recover "]),
    (Step::Journal, Source::Kernel, &["Looking at journal", "Replaying journal"]),
    (Step::Replayed, Source::Kernel, &["Journal replayed in", ": Done"]),
    (Step::Unblocked, Source::Kernel, &["recover generation "]),
];

/// Words that the kernel's line must end with besides, where a beginning and an end look alike.
fn is_complete(step: Step, text: &str) -> bool {
    !matches!(step, Step::Recovered | Step::Unblocked) || text.contains(" done")
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Missed => "missed by corosync",
            Self::Membership => "new membership",
            Self::Stop => "stop: locking ceases",
            Self::Fence => "fence: switch-off asked",
            Self::Fenced => "fence: it is off",
            Self::Sync => "sync: ready, told the others",
            Self::Start => "start: new members set",
            Self::Recovered => "locks rebuilt",
            Self::Journal => "recover jid: taken up",
            Self::Replayed => "recover jid: replayed",
            Self::Unblocked => "unblocked: it works again",
        })
    }
}

/// The first occurrence of each step on each node.
pub fn steps(timeline: &[Entry]) -> Vec<(HostTime, u8, Step)> {
    let mut found: Vec<(HostTime, u8, Step)> = Vec::new();
    for entry in timeline {
        let sign = SIGNS.iter().find(|(step, source, words)| {
            *source == entry.source
                && words.iter().any(|words| entry.text.contains(words))
                && is_complete(*step, &entry.text)
        });
        let Some((step, ..)) = sign else { continue };
        if !found.iter().any(|(_, node, known)| *node == entry.node && known == step) {
            found.push((entry.at, entry.node, *step));
        }
    }
    found
}

/// The steps as a table: milliseconds since the beginning, node, step.
pub fn describe(timeline: &[Entry], begin: HostTime) -> String {
    steps(timeline)
        .iter()
        .map(|(at, node, step)| {
            format!("{:9.0} ms  node {node}  {step}\n", at.seconds_after(begin) * 1000.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_of_each_step_counts_on_each_node() {
        let entry = |node, source, text: &str| Entry {
            at: HostTime::default(),
            node,
            source,
            text: text.into(),
        };
        let timeline = [
            entry(1, Source::Daemon, "7 fs wr write \"0\" to \"/sys/kernel/dlm/fs/control\""),
            entry(2, Source::Daemon, "7 fs wr write \"0\" to \"/sys/kernel/dlm/fs/control\""),
            entry(1, Source::Daemon, "8 fs wr write \"0\" to \"/sys/kernel/dlm/fs/control\""),
            entry(1, Source::Kernel, "dlm: fs: dlm_recover 7"),
            entry(1, Source::Kernel, "dlm: fs: dlm_recover 7 generation 4 done: 20 ms"),
        ];
        let steps: Vec<(u8, Step)> =
            steps(&timeline).into_iter().map(|(_, node, step)| (node, step)).collect();
        assert_eq!(steps, [(1, Step::Stop), (2, Step::Stop), (1, Step::Recovered)]);
    }
}

//! What happened, in words a person reads at a glance, for the daemon's log and for replays of recordings. The log says more
//! of it: durations, causes.

use crate::effect::Moment;
use crate::types::{LockspaceName, NodeId};
use core::fmt;

impl Moment {
    /// The lockspace that it is about.
    #[must_use]
    pub const fn lockspace(&self) -> Option<&LockspaceName> {
        match self {
            Self::Changed { lockspace, .. }
            | Self::Stopped { lockspace }
            | Self::Waiting { lockspace, .. }
            | Self::StartSent { lockspace }
            | Self::StartReceived { lockspace, .. }
            | Self::Started { lockspace, .. }
            | Self::Slots { lockspace, .. }
            | Self::WithdrawAnswered { lockspace }
            | Self::Released { lockspace } => Some(lockspace),
            Self::FenceNeeded { .. }
            | Self::AgentStarted { .. }
            | Self::AgentEnded { .. }
            | Self::Fenced { .. } => None,
        }
    }
}

/// Without the lockspace, which stands before it in the log.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { members, joined, left, failed, .. } => {
                f.write_str("members")?;
                ids(f, members)?;
                for (word, nodes) in [("joined", joined), ("left", left), ("failed", failed)] {
                    if !nodes.is_empty() {
                        write!(f, ", {word}")?;
                        ids(f, nodes)?;
                    }
                }
                Ok(())
            }
            Self::Stopped { .. } => f.write_str("kernel stopped"),
            Self::Waiting { wait, .. } => write!(f, "waits for {wait}"),
            Self::StartSent { .. } => f.write_str("START sent"),
            Self::StartReceived { from, .. } => write!(f, "START from {from}"),
            Self::Started { members, .. } => {
                f.write_str("kernel started with")?;
                ids(f, members)
            }
            Self::Slots { slots, .. } => {
                f.write_str("slots")?;
                for (slot, node) in slots {
                    write!(f, " {}:{node}", slot.get())?;
                }
                f.write_str(" (slot:node)")
            }
            Self::WithdrawAnswered { .. } => f.write_str("withdraw of gfs2 answered"),
            Self::Released { .. } => f.write_str("released"),
            Self::FenceNeeded { victim, actor: Some(actor) } => {
                write!(f, "node {victim} must be fenced, by {actor}")
            }
            Self::FenceNeeded { victim, actor: None } => {
                write!(f, "node {victim} must be fenced")
            }
            Self::AgentStarted { victim, device } => write!(f, "fencing {victim} with {device}"),
            Self::AgentEnded { victim, outcome } => {
                write!(f, "fence agent for {victim}: {outcome}")
            }
            Self::Fenced { victim, by } if victim == by => {
                write!(f, "node {victim} came back clean, and need not be fenced")
            }
            Self::Fenced { victim, by } => write!(f, "node {victim} is fenced, by {by}"),
        }
    }
}

fn ids<'a>(f: &mut fmt::Formatter<'_>, nodes: impl IntoIterator<Item = &'a NodeId>) -> fmt::Result {
    nodes.into_iter().try_for_each(|node| write!(f, " {node}"))
}

//! What happened, in words a person reads at a glance: the lines of the log that begin with `timeline`.

use dlm_core::effect::{Level, LogLine, Moment};
use dlm_core::types::{LockspaceName, NodeId};

/// A line for the log.
pub(super) fn line(moment: &Moment) -> LogLine {
    let (lockspace, text) = match lockspace_text(moment) {
        Some((lockspace, text)) => (Some(lockspace.clone()), text),
        None => (None, fence_text(moment)),
    };
    LogLine { level: Level::Debug, lockspace, text: format!("timeline {text}") }
}

fn lockspace_text(moment: &Moment) -> Option<(&LockspaceName, String)> {
    match moment {
        Moment::Changed { lockspace, members, joined, left, failed } => {
            let mut text = format!("members {}", ids(members));
            for (word, nodes) in [("joined", joined), ("left", left), ("failed", failed)] {
                if !nodes.is_empty() {
                    text.push_str(&format!(", {word} {}", ids(nodes)));
                }
            }
            Some((lockspace, text))
        }
        Moment::Stopped { lockspace } => Some((lockspace, "kernel stopped".to_owned())),
        Moment::Waiting { lockspace, wait } => Some((lockspace, format!("waits for {wait}"))),
        Moment::StartSent { lockspace } => Some((lockspace, "START sent".to_owned())),
        Moment::StartReceived { lockspace, from } => {
            Some((lockspace, format!("START from {from}")))
        }
        Moment::Started { lockspace, members } => {
            Some((lockspace, format!("kernel started with {}", ids(members))))
        }
        Moment::Slots { lockspace, slots } => {
            let slots: Vec<String> =
                slots.iter().map(|(slot, node)| format!("{}:{node}", slot.get())).collect();
            Some((lockspace, format!("slots {} (slot:node)", slots.join(" "))))
        }
        Moment::WithdrawAnswered { lockspace } => {
            Some((lockspace, "withdraw of gfs2 answered".to_owned()))
        }
        Moment::Released { lockspace } => Some((lockspace, "released".to_owned())),
        Moment::FenceNeeded { .. }
        | Moment::AgentStarted { .. }
        | Moment::AgentEnded { .. }
        | Moment::Fenced { .. } => None,
    }
}

fn fence_text(moment: &Moment) -> String {
    match moment {
        Moment::FenceNeeded { victim, actor: Some(actor) } => {
            format!("node {victim} must be fenced, by {actor}")
        }
        Moment::FenceNeeded { victim, actor: None } => format!("node {victim} must be fenced"),
        Moment::AgentStarted { victim, device } => format!("fencing {victim} with {device}"),
        Moment::AgentEnded { victim, outcome } => format!("fence agent for {victim}: {outcome}"),
        Moment::Fenced { victim, by } => format!("node {victim} is fenced, by {by}"),
        _ => String::new(),
    }
}

fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    nodes.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

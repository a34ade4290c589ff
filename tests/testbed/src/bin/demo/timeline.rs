//! Sights of the testbed, and what the daemons said they wait for, as lines that a person reads at a glance.

use anyhow::{Context as _, bail};
use dlm_core::effect::{Effect, KernelWrite, Lane};
use dlm_core::event::{Confchg, Event, Token};
use dlm_core::message::{Message, Packet, START_NACK};
use dlm_core::types::{Group, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use testbed::kernel::Callback;
use testbed::lab::Line;
use testbed::live::{Sight, What};

/// In a daemon's log before what a lockspace or a fencing waits for.
const WAITS: &str = " waits for ";

/// Kernel writes that are under way.
type Pending = BTreeMap<(NodeId, Token), &'static str>;

/// What happened since `begin`: one line each, in milliseconds since then.
pub(super) fn text(sights: &[Sight], lines: &[(u32, Vec<Line>)], begin: Instant) -> String {
    let mut rows: Vec<(Instant, u32, String)> = Vec::new();
    let mut pending = Pending::new();
    for sight in sights.iter().filter(|sight| sight.at >= begin) {
        if let Some(text) = row(sight, &mut pending) {
            rows.push((sight.at, sight.node.get(), text));
        }
    }
    for (node, lines) in lines {
        for line in lines.iter().filter(|line| line.at >= begin) {
            if let (true, Some((_, what))) =
                (line.text.contains("timeline"), line.text.split_once(WAITS))
            {
                rows.push((line.at, *node, format!("    waits for {what}")));
            }
        }
    }
    rows.sort_by_key(|(at, ..)| *at);
    let mut text = String::from("\n    ms  node  what\n");
    for (at, node, what) in rows {
        let millis = at.duration_since(begin).as_millis();
        text.push_str(&format!("{millis:>6}  {node:>4}  {what}\n"));
    }
    text
}

/// Where the time went; an error where a part of the recovery is missing: the victim is fenced once, and each survivor is told to
/// replay its journal.
pub(super) fn summary(
    sights: &[Sight],
    begin: Instant,
    survivors: &[u32],
    victim: u32,
) -> anyhow::Result<String> {
    let (mut missed, mut fenced, mut done) = (None, Vec::new(), None);
    let mut replays = BTreeSet::new();
    for sight in sights.iter().filter(|sight| sight.at >= begin) {
        let millis = sight.at.duration_since(begin).as_millis();
        match &sight.what {
            What::Told(Event::Quorum { .. }) => missed = missed.or(Some(millis)),
            What::AgentAnswered(node, 0) => fenced.push((node.get(), millis)),
            What::Called(_, Callback::RecoverSlot { node, jid: Some(_) })
                if node.get() == victim =>
            {
                replays.insert(sight.node.get());
            }
            What::Called(_, Callback::RecoverDone) => done = Some(millis),
            _ => {}
        }
    }
    let [(node, fenced)] = *fenced.as_slice() else {
        bail!("node {victim} was not fenced once: {fenced:?}");
    };
    if node != victim {
        bail!("node {node} was fenced in place of {victim}");
    }
    if !survivors.iter().all(|node| replays.contains(node)) {
        bail!(
            "the journal of node {victim} was to be replayed by {survivors:?}, not by {replays:?}"
        );
    }
    let missed = missed.context("corosync never missed a node")?;
    let done = done.context("no kernel has ended its recovery")?;
    Ok(format!(
        "Blocked file systems go on {done} ms after the kill: {missed} until corosync missed the node, {} until it was \
         fenced, {} for the recovery.",
        fenced.saturating_sub(missed),
        done.saturating_sub(fenced)
    ))
}

fn row(sight: &Sight, pending: &mut Pending) -> Option<String> {
    Some(match &sight.what {
        What::PowerOff(why) => format!("POWER OFF ({why})"),
        What::Told(event) => told(sight.node, event, pending)?,
        What::Asked(effect) => asked(sight.node, effect, pending)?,
        What::Called(lockspace, callback) => match callback {
            Callback::RecoverPrep => format!("{lockspace}: kernel BLOCKS the file system"),
            Callback::RecoverSlot { jid: Some(jid), node } => {
                format!("{lockspace}: kernel calls recover jid {jid} (node {node})")
            }
            Callback::RecoverSlot { jid: None, node } => {
                format!("{lockspace}: kernel calls recover for node {node}, which had no journal")
            }
            Callback::RecoverDone => format!("{lockspace}: kernel UNBLOCKS the file system"),
        },
        What::AgentAsks(victim) => format!("fence agent for node {victim} begins"),
        What::AgentAnswered(victim, status) => {
            format!("fence agent for node {victim} ends: {status}")
        }
        What::DaemonBegins => "daemon begins".to_owned(),
        What::DaemonEnds => "daemon ends".to_owned(),
        What::Broken(why) => format!("BROKEN: {why}"),
    })
}

fn told(node: NodeId, event: &Event, pending: &mut Pending) -> Option<String> {
    Some(match event {
        Event::Quorum { quorate, ring, members, .. } => {
            let quorate = if *quorate { "quorate" } else { "no quorum" };
            format!("corosync: ring {ring}, members {}, {quorate}", ids(members))
        }
        Event::Confchg { group: Group::Lockspace(name), change } => {
            format!("{name}: {}", changed(change))
        }
        Event::Message { group, from, packet, .. } => message(group, Some(*from), packet)?,
        Event::KernelDone { token, result } => {
            let what = pending.remove(&(node, *token))?;
            match result {
                Ok(()) => format!("    {what}: done"),
                Err(why) => format!("    {what}: FAILED: {why}"),
            }
        }
        Event::Slots { lockspace, slots, .. } => {
            let slots: Vec<String> =
                slots.iter().map(|(slot, node)| format!("{}={node}", slot.get())).collect();
            format!("{lockspace}: slots {}", slots.join(" "))
        }
        Event::ClusterLost { why } => format!("corosync is lost: {why}"),
        _ => return None,
    })
}

fn changed(change: &Confchg) -> String {
    let mut text = format!("members {}", ids(&change.members));
    for (node, _) in &change.joined {
        text.push_str(&format!(", {node} joined"));
    }
    for (node, reason) in &change.left {
        let how = if reason.is_failure() { "FAILED" } else { "left" };
        text.push_str(&format!(", {node} {how}"));
    }
    text
}

fn asked(node: NodeId, effect: &Effect, pending: &mut Pending) -> Option<String> {
    Some(match effect {
        Effect::Send { group, packet } => message(group, None, packet)?,
        Effect::Kernel { token, lane, write } => {
            let (what, text) = match (lane, write) {
                (Lane::Lockspace(name), KernelWrite::Stop) => {
                    ("control 0", format!("{name}: stop: control 0"))
                }
                (Lane::Lockspace(name), KernelWrite::Start(start)) => {
                    let members: BTreeSet<NodeId> =
                        start.members.iter().map(|(node, _)| *node).collect();
                    ("control 1", format!("{name}: start with {}: control 1", ids(&members)))
                }
                (_, KernelWrite::RemoveComm { node }) => {
                    ("comms", format!("address of node {node} is removed from the kernel"))
                }
                _ => return None,
            };
            pending.insert((node, *token), what);
            text
        }
        Effect::Kick(target) => format!("asks corosync to remove node {target}"),
        _ => return None,
    })
}

fn message(group: &Group, from: Option<NodeId>, packet: &Packet) -> Option<String> {
    let way = from.map_or_else(|| "sent".to_owned(), |node| format!("received from {node}"));
    Some(match (&packet.message, group) {
        (Message::Start(start), Group::Lockspace(name)) => {
            let what = if start.flags & START_NACK == 0 { "START" } else { "NACK" };
            format!("{name}: {what} {} {way}", start.seq)
        }
        (Message::FenceResult(result), _) => {
            format!("fence result {} for node {} {way}", result.result, result.victim)
        }
        _ => return None,
    })
}

fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    nodes.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

//! Effects and state as text. `!` is a line at error level, `~` one of the time line.

use super::plock;
use dlm_core::effect::{Effect, KernelStart, KernelWrite, Lane, Level, Moment};
use dlm_core::message::{
    ChangeCounts, FenceClear, FencePast, Message, PROTOCOL_STATEFUL, Packet, Protocol, RunRequest,
    START_OWNERSHIP, START_OWNERSHIP_SHIFT, Start,
};
use dlm_core::run::RunEffect;
use dlm_core::snapshot::{self, Change, DaemonNode, Lockspace, Run, Slots, Snapshot};
use dlm_core::types::{Group, NodeId, Slot};

/// A name for each bit of START's flags, from bit 0.
pub(crate) const START_FLAGS: [&str; 3] = ["joining", "haveplock", "nack"];
/// What a START can say of `plock_ownership`, from nothing.
pub(crate) const OWNERSHIP: [&str; 4] = ["", "unset", "on", "off"];
/// A name for each bit of FENCE_CLEAR's flags, from bit 0.
pub(crate) const CLEAR_FLAGS: [&str; 3] = ["unknown", "startup", "fipu"];

/// One effect; `None` for debug lines.
pub(crate) fn effect(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Join(group) => format!("join {}", short(group)),
        Effect::Leave(group) => format!("leave {}", short(group)),
        Effect::Send { group, packet } => format!("send {} {}", short(group), message(packet)),
        Effect::Kick(node) => format!("kick {node}"),
        Effect::AnswerShutdown { allow } => format!("corosync may go: {allow}"),
        Effect::Kernel { lane: Lane::Cluster, write, .. } => format!("kernel {}", kernel(write)),
        Effect::Kernel { lane: Lane::Lockspace(name), write, .. } => {
            format!("kernel {name} {}", kernel(write))
        }
        Effect::RunAgent { victim, device, fail_time, .. } => {
            format!("agent {victim} {} {} fail_time {}", device.name, device.agent, fail_time.0)
        }
        Effect::PlockResult(info) => plock::result(info),
        Effect::LogPlock { level: Some(Level::Error), lockspace, text } => {
            format!("! {lockspace}: {text}")
        }
        Effect::LogPlock { .. } => return None,
        Effect::Run(RunEffect::Command { words, .. }) => format!("run {}", words.join(" ")),
        Effect::Run(RunEffect::Kill(_)) => "kill command".to_string(),
        Effect::Run(RunEffect::Answer(answer)) => format!("answer {answer:?}"),
        Effect::KillAgent(token) => format!("kill agent of token {}", token.0),
        Effect::Ready => "ready".to_string(),
        Effect::Log(line) if line.level == Level::Debug => return None,
        Effect::Log(line) => match &line.lockspace {
            Some(name) => format!("! {name}: {}", line.text),
            None => format!("! {}", line.text),
        },
        Effect::Timeline(of) => format!("~ {}", moment(of)),
        Effect::Exit => "exit".to_string(),
        Effect::Refuse { why } => format!("refuse: {why}"),
        Effect::Retire(name) => format!("retire {name}"),
        Effect::FailStop { why } => format!("fail stop: {why}"),
        Effect::ExitClusterLost { why } => format!("cluster lost: {why}"),
    })
}

fn short(group: &Group) -> String {
    match group {
        Group::Daemon => "daemon".to_string(),
        Group::Lockspace(name) => name.to_string(),
    }
}

fn flags(bits: u32, names: &[&str]) -> String {
    let set: Vec<&str> = names
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect();
    if set.is_empty() { "-".to_string() } else { set.join(",") }
}

fn message(packet: &Packet) -> String {
    match &packet.message {
        Message::Protocol(said) => protocol(said),
        Message::Start(said) => start(said),
        Message::FenceResult(said) => {
            format!("result victim {} result {}", said.victim, said.result)
        }
        Message::FenceClear(FenceClear { node, result, flags: bits, ring: _ }) => {
            format!("clear for {node} result {result} flags {}", flags(*bits, &CLEAR_FLAGS))
        }
        Message::FencePast(FencePast { since, ring, whole, side }) => {
            let whole = if *whole { " whole" } else { "" };
            let side: Vec<String> = side.iter().map(ToString::to_string).collect();
            format!("past since {since} ring {ring}{whole} side {}", side.join(" "))
        }
        Message::RunRequest(said) => run_request(said),
        Message::RunReply(said) => {
            let to = said.dest.map_or(0, NodeId::get);
            format!(
                "reply {} pid {} result {} of {} to {to}",
                said.uuid, said.pid, said.result, said.start
            )
        }
        Message::ReleaseRecover { value } => format!("release_recover {value}"),
        Message::Withdraw { stopped_for: None } => "withdraws".to_string(),
        Message::Withdraw { stopped_for: Some(node) } => format!("stopped for {node}"),
        other => plock::message(other),
    }
}

fn protocol(said: &Protocol) -> String {
    let stateful = if said.daemon_run.flags & PROTOCOL_STATEFUL != 0 { " stateful" } else { "" };
    format!("protocol run {}{stateful}", said.daemon_run.version)
}

fn run_request(said: &RunRequest) -> String {
    let RunRequest { dest, start, flags, uuid, command } = said;
    let command = String::from_utf8_lossy(command);
    format!(
        "request {uuid} of {start} to {} flags {flags} `{command}`",
        dest.map_or(0, NodeId::get)
    )
}

fn start(said: &Start) -> String {
    let ChangeCounts {
        started_count, member_count, joined_count, remove_count, failed_count, ..
    } = said.counts;
    format!(
        "start seq {} counts {member_count}/{joined_count}/{remove_count}/{failed_count} started {started_count} members {} flags {}{}",
        said.seq,
        nodes(&said.counts.members),
        flags(said.flags, &START_FLAGS),
        match (said.flags & START_OWNERSHIP) >> START_OWNERSHIP_SHIFT {
            0 => String::new(),
            word => format!(" ownership {}", OWNERSHIP[usize::try_from(word).expect("two bits")]),
        }
    )
}

fn nodes<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let ids: Vec<String> = nodes.into_iter().map(ToString::to_string).collect();
    if ids.is_empty() { "-".to_string() } else { ids.join(" ") }
}

fn kernel(write: &KernelWrite) -> String {
    match write {
        KernelWrite::AddComm { node, addresses, local } => {
            let local = if *local { " local" } else { "" };
            format!("add {node}{local} addresses {}", addresses.len())
        }
        KernelWrite::RemoveComm { node } => format!("remove {node}"),
        KernelWrite::Stop => "stop".to_string(),
        KernelWrite::Start(start) => kernel_start(start),
        KernelWrite::EventDone { result } => format!("event_done {result}"),
        KernelWrite::Release { stop } => format!("release{}", if *stop { " stop" } else { "" }),
        KernelWrite::AckWithdraw { table } => format!("acknowledge withdraw {table}"),
    }
}

fn kernel_start(start: &KernelStart) -> String {
    let members: Vec<String> = start
        .members
        .iter()
        .map(|(node, weight)| match weight {
            1 => node.to_string(),
            _ => format!("{node}:{weight}"),
        })
        .collect();
    let mut text = format!("start members {}", members.join(" "));
    if start.first.is_some() {
        text += " first";
    }
    if start.nodir {
        text += " nodir";
    }
    if !start.renew.is_empty() {
        text += &format!(" renew {}", nodes(&start.renew));
    }
    if !start.release_recover.is_empty() {
        text += &format!(" recover {}", nodes(&start.release_recover));
    }
    text
}

fn moment(moment: &Moment) -> String {
    match moment {
        Moment::Changed { lockspace, members, joined, left, failed } => format!(
            "{lockspace} changed: members {} joined {} left {} failed {}",
            nodes(members),
            nodes(joined),
            nodes(left),
            nodes(failed)
        ),
        Moment::Stopped { lockspace } => format!("{lockspace} stopped"),
        Moment::Waiting { lockspace, wait } => format!("{lockspace} waits for {wait}"),
        Moment::StartSent { lockspace } => format!("{lockspace} start sent"),
        Moment::StartReceived { lockspace, from } => format!("{lockspace} start of {from}"),
        Moment::Started { lockspace, members } => {
            format!("{lockspace} started: {}", nodes(members))
        }
        Moment::Slots { lockspace, slots } => format!("{lockspace} slots {}", pairs(slots)),
        Moment::FenceNeeded { victim, actor } => {
            format!("fencing of {victim} needed, by {}", actor.map_or(0, NodeId::get))
        }
        Moment::AgentStarted { victim, device } => format!("agent for {victim}: {device}"),
        Moment::AgentEnded { victim, outcome } => format!("agent for {victim} ended: {outcome}"),
        Moment::Fenced { victim, by } => format!("{victim} fenced by {by}"),
        Moment::WithdrawAnswered { lockspace } => format!("{lockspace} withdraw answered"),
        Moment::Released { lockspace } => format!("{lockspace} released"),
    }
}

fn pairs(slots: &[(Slot, NodeId)]) -> String {
    let texts: Vec<String> =
        slots.iter().map(|(slot, node)| format!("{}:{node}", slot.get())).collect();
    texts.join(" ")
}

/// The answer to `state`.
pub(crate) fn state(snapshot: &Snapshot) -> Vec<String> {
    let yes = |flag: bool, word: &'static str| if flag { word } else { "" };
    let mut lines = vec![format!(
        "quorum {} ring {} daemon ring {} startup {}{}{}{}",
        u8::from(snapshot.quorate),
        snapshot.cluster_ring,
        snapshot.daemon_ring,
        nodes(&snapshot.startup_nodes),
        yes(snapshot.fence_in_progress_unknown, " fipu"),
        yes(snapshot.stateful_merge_wait, " stateful_merge_wait"),
        if snapshot.protocol_waits_for.is_empty() {
            String::new()
        } else {
            format!(" protocol of {} awaited", nodes(&snapshot.protocol_waits_for))
        }
    )];
    let troubled = |node: &&DaemonNode| !node.member || node.need_fencing || node.killed;
    lines.extend(snapshot.nodes.iter().filter(troubled).map(daemon_node));
    lines.extend(snapshot.lockspaces.iter().map(lockspace));
    lines.extend(snapshot.runs.iter().map(run));
    lines
}

fn run(run: &Run) -> String {
    let snapshot::Run { request, pid, result, counts, .. } = run;
    format!(
        "run {} of {} pid {pid} result {result} awaited {} replies {} failed {}",
        request.uuid, request.start, counts.awaited, counts.replies, counts.failed
    )
}

fn daemon_node(node: &DaemonNode) -> String {
    let mut text = format!("node {} {}", node.node, if node.member { "member" } else { "gone" });
    if !node.member {
        text += &format!(" {}", node.left_reason);
    }
    if node.killed {
        text += " killed";
    }
    if node.need_fencing {
        text += " needs fencing";
    }
    if let Some(what) = &node.waits_for {
        text += &format!(", waits for {what}");
    }
    text
}

fn lockspace(lockspace: &Lockspace) -> String {
    let mut text = format!(
        "{} {}",
        lockspace.name,
        if lockspace.kernel_stopped { "stopped" } else { "running" }
    );
    if let Some(started) = &lockspace.started {
        text += &format!(", started {}", change(started));
    }
    if let Some((pending, _)) = &lockspace.pending {
        text += &format!(", pending {}", change(pending));
    }
    if let Some(wait) = &lockspace.wait {
        text += &format!(", waits for {wait}");
    }
    match &lockspace.slots {
        Slots::Unknown => text,
        Slots::Predicted(slots) => format!("{text}, slots predicted {}", pairs(slots)),
        Slots::Confirmed(slots) => format!("{text}, slots confirmed {}", pairs(slots)),
    }
}

fn change(change: &Change) -> String {
    let members: Vec<String> = change
        .members
        .iter()
        .map(|member| format!("{}{}", member.node, if member.start { "+" } else { "" }))
        .collect();
    format!("cg {} members {}", change.seq, members.join(" "))
}

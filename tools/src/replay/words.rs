//! Events and effects, a line each.

use dlm_core::effect::{Effect, KernelStart, KernelWrite, Lane, Level, Moment};
use dlm_core::event::{Confchg, Event};
use dlm_core::message::{Message, Packet};
use dlm_core::plock::PlockInfo;
use dlm_core::run::{RunEffect, RunEvent};
use dlm_core::types::NodeId;

/// What happened.
pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Begin => "the daemon begins".to_owned(),
        Event::Deadline => "a deadline has passed, or something here has changed".to_owned(),
        Event::Quorum { quorate, ring, members, .. } => {
            let word = if *quorate { "quorate" } else { "not quorate" };
            format!("quorum service: {word}, ring {ring}, nodes {}", nodes(members))
        }
        Event::Nodelist { joined, left } => {
            format!("quorum service: came {}, went {}", nodes(joined), nodes(left))
        }
        Event::Confchg { group, change } => format!("{group}: {}", confchg(change)),
        Event::Ring { group, ring } => format!("{group}: ring {ring}"),
        Event::Message { group, from, packet, length } => {
            format!("{group}: from {from}, {length} bytes: {}", message(packet))
        }
        Event::BadMessage { group, from, why } => format!("{group}: no message from {from}: {why}"),
        Event::JoinFailed { group, why } => format!("{group}: cannot be joined: {why}"),
        Event::ShutdownQuestion => "corosync asks whether it may shut down".to_owned(),
        Event::ClusterLost { why } => format!("corosync is lost: {why}"),
        Event::Online { lockspace } => format!("{lockspace}: the kernel creates it"),
        Event::Offline { lockspace, release_recover } => {
            format!("{lockspace}: the kernel releases it, release_recover {release_recover}")
        }
        Event::KernelDone { token, result } => match result {
            Ok(()) => format!("kernel write {} is done", token.0),
            Err(why) => format!("kernel write {} failed: {why}", token.0),
        },
        Event::Slots { lockspace, generation, slots } => {
            let slots: Vec<String> =
                slots.iter().map(|(slot, node)| format!("{}:{node}", slot.get())).collect();
            format!("{lockspace}: the kernel's slots {}, generation {generation}", slots.join(" "))
        }
        Event::Withdraw { table, .. } => format!("gfs2 withdraws from {table}"),
        Event::PlockRequest(info) => format!("the kernel asks for {}", plock(info)),
        Event::AgentDone { token, outcome, output } => {
            format!("fence agent {} ended: {outcome:?} {}", token.0, output.trim())
        }
        Event::Run(event) => run_event(event),
        Event::FenceAck { node } => format!("an operator says that {node} is fenced"),
        Event::Options(options) => format!("options: {options:?}"),
        Event::Devices(devices) => format!("fence devices: {devices:?}"),
        Event::LockspaceOptions(options) => format!("options of lockspaces: {options:?}"),
        Event::Terminate => "the daemon is told to end".to_owned(),
    }
}

/// What was decided.
pub(super) fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Join(group) => format!("join {group}"),
        Effect::Leave(group) => format!("leave {group} in order"),
        Effect::Send { group, packet } => format!("send to {group}: {}", message(packet)),
        Effect::Kick(node) => format!("have corosync remove {node}"),
        Effect::AnswerShutdown { allow: true } => "corosync may shut down".to_owned(),
        Effect::AnswerShutdown { allow: false } => "corosync may not shut down".to_owned(),
        Effect::Kernel { token, lane: Lane::Cluster, write } => {
            format!("kernel write {}: {}", token.0, kernel(write))
        }
        Effect::Kernel { token, lane: Lane::Lockspace(name), write } => {
            format!("kernel write {}: {name}: {}", token.0, kernel(write))
        }
        Effect::PlockResult(info) => format!("answer {} to {}", info.result, plock(info)),
        Effect::LogPlock { level, lockspace, text } => {
            format!("log{} {lockspace}: {text}", level.map_or(" of plocks", loudness))
        }
        Effect::RunAgent { token, victim, device, .. } => {
            format!("fence agent {}: {victim} by {} {}", token.0, device.name, device.agent)
        }
        Effect::KillAgent(token) => format!("kill fence agent {}", token.0),
        Effect::Run(RunEffect::Command { token, words }) => {
            format!("command {}: {}", token.0, words.join(" "))
        }
        Effect::Run(RunEffect::Kill(token)) => format!("kill command {}", token.0),
        Effect::Run(RunEffect::Answer(answer)) => format!("answer {answer:?}"),
        Effect::Ready => "ready to serve".to_owned(),
        Effect::Log(line) => match &line.lockspace {
            Some(name) => format!("log{} {name}: {}", loudness(line.level), line.text),
            None => format!("log{} {}", loudness(line.level), line.text),
        },
        Effect::Timeline(of) => format!("timeline {}", moment(of)),
        Effect::Exit => "end in order".to_owned(),
        Effect::Refuse { why } => format!("refuse to serve: {why}"),
        Effect::Retire(name) => format!("forget {name}"),
        Effect::FailStop { why } => format!("STOP, and have this node removed: {why}"),
        Effect::ExitClusterLost { why } => format!("STOP, corosync is lost: {why}"),
    }
}

/// A moment of the time line with its lockspace.
pub(super) fn moment(moment: &Moment) -> String {
    match moment.lockspace() {
        Some(name) => format!("{name}: {moment}"),
        None => moment.to_string(),
    }
}

const fn loudness(level: Level) -> &'static str {
    match level {
        Level::Error => " !",
        Level::Info => " +",
        Level::Debug => "",
    }
}

fn confchg(change: &Confchg) -> String {
    let mut text = format!("members {}", nodes(&change.members));
    for (node, reason) in &change.joined {
        text += &format!(", {node} came ({reason:?})");
    }
    for (node, reason) in &change.left {
        text += &format!(", {node} went ({reason:?})");
    }
    text
}

fn message(packet: &Packet) -> String {
    match &packet.message {
        Message::Protocol(said) => format!("PROTOCOL, runs {}", said.daemon_run.version),
        Message::Start(said) => format!(
            "START of change {}, flags {:#x}, members {}, {} barriers before",
            said.seq,
            said.flags,
            nodes(&said.counts.members),
            said.counts.started_count
        ),
        Message::Plock(info) => format!("PLOCK, {}", plock(info)),
        Message::PlockSyncLock(info) => format!("PLOCK_SYNC_LOCK, {}", plock(info)),
        Message::PlockSyncWaiter(info) => format!("PLOCK_SYNC_WAITER, {}", plock(info)),
        Message::FenceResult(said) => format!("FENCE_RESULT of {}: {}", said.victim, said.result),
        other => format!("{other:?}"),
    }
}

fn plock(info: &PlockInfo) -> String {
    let PlockInfo { op, mode, wait, flags, pid, node, fsid, number, start, end, owner, .. } = info;
    let wait = if *wait { " waiting" } else { "" };
    format!(
        "{op:?} {mode:?}{wait} {start}-{end} of inode {number} in {:x}, process {node}/{pid}/{owner:x} flags {flags}",
        fsid.0
    )
}

fn kernel(write: &KernelWrite) -> String {
    match write {
        KernelWrite::AddComm { node, addresses, .. } => {
            let addresses: Vec<String> =
                addresses.iter().map(|address| address.ip().to_string()).collect();
            format!("node {node} is at {}", addresses.join(" "))
        }
        KernelWrite::RemoveComm { node } => format!("node {node} is gone"),
        KernelWrite::Stop => "stop".to_owned(),
        KernelWrite::Start(start) => kernel_start(start),
        KernelWrite::EventDone { result } => format!("event_done {result}"),
        KernelWrite::Release { .. } => "release".to_owned(),
        KernelWrite::AckWithdraw { table } => format!("acknowledge the withdraw from {table}"),
    }
}

fn kernel_start(start: &KernelStart) -> String {
    let members: Vec<NodeId> = start.members.iter().map(|(node, _)| *node).collect();
    let mut text = format!("start with {}", nodes(&members));
    if !start.renew.is_empty() {
        text += &format!(", renewed {}", nodes(&start.renew));
    }
    if start.first.is_some() {
        text += ", for the first time";
    }
    text
}

fn run_event(event: &RunEvent) -> String {
    match event {
        RunEvent::Start { uuid, command, .. } => {
            format!("a client has run {uuid}: {}", String::from_utf8_lossy(command))
        }
        RunEvent::Check { uuid, then } => format!("a client asks for {uuid}, and {then:?}"),
        RunEvent::Done { token, outcome, .. } => format!("command {} ended: {outcome:?}", token.0),
    }
}

fn nodes<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let ids: Vec<String> = nodes.into_iter().map(ToString::to_string).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(" ") }
}

//! Words of event lines to what the core takes.

use super::args::{Args, node};
use super::text;
use dlm_core::event::{Confchg, Event, JoinReason, LeaveReason};
use dlm_core::message::{
    ChangeCounts, Message, PROTOCOL_STATEFUL, Packet, Protocol, ProtocolVersion,
    START_OWNERSHIP_SHIFT, Start,
};
use dlm_core::types::{ChangeSeq, Group, NodeId, RingId, Version};
use std::net::{Ipv4Addr, SocketAddr};

/// The protocol of all daemons 4.x.
const DAEMON_PROTOCOL: Version = Version::new(3, 1, 1);
/// The same for the kernel.
const KERNEL_PROTOCOL: Version = Version::new(1, 1, 1);

pub(crate) fn packet(group: &Group, sender: NodeId, message: Message) -> Packet {
    let version = match group {
        Group::Daemon => Version::default(),
        Group::Lockspace(_) => DAEMON_PROTOCOL,
    };
    Packet { version, sender, global_id: group.global_id(), message }
}

pub(crate) fn quorum(args: &Args<'_>) -> Event {
    let members = args.nodes("members");
    let without = args.nodes("without");
    let address = |node: NodeId| {
        let bytes = node.get().to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(10, bytes[1], bytes[2], bytes[3]), 0))
    };
    let known = members.iter().filter(|node| !without.contains(node));
    Event::Quorum {
        quorate: args.one("") == "1",
        ring: RingId { node: 1, seq: args.number("ring") },
        addresses: known.map(|node| (*node, vec![address(*node)])).collect(),
        members,
    }
}

pub(crate) fn confchg(args: &Args<'_>) -> Confchg {
    let joined = args.list("joined").into_iter().map(|word| match word.split_once(':') {
        Some((id, "nodeup")) => (node(id), JoinReason::NodeUp),
        _ => (node(word), JoinReason::Join),
    });
    let left = args.list("left").into_iter().map(|word| match word.split_once(':') {
        Some((id, "nodedown")) => (node(id), LeaveReason::NodeDown),
        Some((id, "procdown")) => (node(id), LeaveReason::ProcDown),
        _ => (node(word), LeaveReason::Leave),
    });
    Confchg { members: args.nodes("members"), joined: joined.collect(), left: left.collect() }
}

pub(crate) fn protocol(args: &Args<'_>) -> Message {
    let plain = |version| ProtocolVersion { version, flags: 0 };
    let run = args.version_or("run", Version::default());
    let kernel_run = if run == Version::default() { run } else { KERNEL_PROTOCOL };
    let flags = if args.has("stateful") { PROTOCOL_STATEFUL } else { 0 };
    Message::Protocol(Protocol {
        daemon_max: plain(args.version_or("max", DAEMON_PROTOCOL)),
        kernel_max: plain(KERNEL_PROTOCOL),
        daemon_run: ProtocolVersion { version: run, flags },
        kernel_run: plain(kernel_run),
        features: (!args.has("c")).then_some(31),
    })
}

pub(crate) fn start(args: &Args<'_>) -> Start {
    let counts: Vec<i32> = args.one("counts").split('/').filter_map(|n| n.parse().ok()).collect();
    let [member_count, joined_count, remove_count, failed_count] = counts.as_slice() else {
        panic!("four counts expected");
    };
    Start {
        seq: ChangeSeq::from_wire(args.number("seq")),
        flags: ownership(if args.has("ownership") { args.one("ownership") } else { "" })
            | if args.has("flags") { flags(args.one("flags"), &text::START_FLAGS) } else { 0 },
        counts: ChangeCounts {
            started_count: args.number("started"),
            member_count: *member_count,
            joined_count: *joined_count,
            remove_count: *remove_count,
            failed_count: *failed_count,
            members: args.nodes("members"),
        },
    }
}

/// The word about `plock_ownership` in START's flags.
pub(crate) fn ownership(word: &str) -> u32 {
    let place = text::OWNERSHIP.iter().position(|name| *name == word);
    u32::try_from(place.expect("unset, on or off")).expect("small") << START_OWNERSHIP_SHIFT
}

pub(crate) fn flags(words: &str, names: &[&str]) -> u32 {
    let bit = |word: &str| names.iter().position(|name| *name == word);
    words.split(',').filter_map(bit).map(|bit| 1 << bit).sum()
}

//! The core's types ⇄ frames. Node id 0 is nobody, as corosync's is.

use super::frame::{BadFrame, ConfchgFrame, Notice, ReasonFrame, Request, WriteFrame, hex, unhex};
use crate::kernel::plockdev;
use crate::wire;
use dlm_core::effect::{KernelStart, KernelWrite, Lane};
use dlm_core::event::{Confchg, Event, JoinReason, LeaveReason, Token};
use dlm_core::plock::PlockInfo;
use dlm_core::types::{GlobalId, Group, LockspaceName, NodeId, RingId, Slot};

/// A group's lockspace as a frame names it.
#[must_use]
pub fn group_name(group: &Group) -> Option<String> {
    match group {
        Group::Daemon => None,
        Group::Lockspace(name) => Some(hex(name.as_bytes())),
    }
}

/// The group that a frame names.
///
/// # Errors
/// No lockspace can have this name.
pub fn group_of(lockspace: Option<&str>) -> Result<Group, BadFrame> {
    Ok(lockspace.map(name_of).transpose()?.map_or(Group::Daemon, Group::Lockspace))
}

fn name_of(text: &str) -> Result<LockspaceName, BadFrame> {
    let bytes = unhex("lockspace", text)?;
    let bad = || BadFrame::Content { field: "lockspace", value: text.to_owned() };
    LockspaceName::new(&bytes).ok_or_else(bad)
}

/// The frame of a kernel write.
#[must_use]
pub fn request_write(token: Token, lane: &Lane, write: KernelWrite) -> Request {
    let lockspace = match lane {
        Lane::Cluster => None,
        Lane::Lockspace(name) => Some(hex(name.as_bytes())),
    };
    let write = match write {
        KernelWrite::AddComm { node, addresses, local } => {
            WriteFrame::AddComm { node: node.get(), addresses, local }
        }
        KernelWrite::RemoveComm { node } => WriteFrame::RemoveComm { node: node.get() },
        KernelWrite::Stop => WriteFrame::Stop,
        KernelWrite::Start(start) => WriteFrame::Start {
            first: start.first.map(|id| id.0),
            nodir: start.nodir,
            members: start.members.iter().map(|(node, weight)| (node.get(), *weight)).collect(),
            renew: numbers(&start.renew),
            release_recover: numbers(&start.release_recover),
        },
        KernelWrite::EventDone { result } => WriteFrame::EventDone { result },
        KernelWrite::Release { stop } => WriteFrame::Release { stop },
        KernelWrite::AckWithdraw { table } => WriteFrame::AckWithdraw { table },
    };
    Request::Write { token: token.0, lockspace, write }
}

/// The lane and the kernel write of a frame.
///
/// # Errors
/// A name or a node that cannot be.
pub fn kernel_write_of(
    lockspace: Option<&str>,
    write: WriteFrame,
) -> Result<(Lane, KernelWrite), BadFrame> {
    let lane = lockspace.map(name_of).transpose()?.map_or(Lane::Cluster, Lane::Lockspace);
    let write = match write {
        WriteFrame::AddComm { node, addresses, local } => {
            KernelWrite::AddComm { node: node_of(node)?, addresses, local }
        }
        WriteFrame::RemoveComm { node } => KernelWrite::RemoveComm { node: node_of(node)? },
        WriteFrame::Stop => KernelWrite::Stop,
        WriteFrame::Start { first, nodir, members, renew, release_recover } => {
            KernelWrite::Start(KernelStart {
                first: first.map(GlobalId),
                nodir,
                members: pairs(members),
                renew: nodes(&renew),
                release_recover: nodes(&release_recover),
            })
        }
        WriteFrame::EventDone { result } => KernelWrite::EventDone { result },
        WriteFrame::Release { stop } => KernelWrite::Release { stop },
        WriteFrame::AckWithdraw { table } => KernelWrite::AckWithdraw { table },
    };
    Ok((lane, write))
}

/// The frame of an event of a seam; `None` for events that no seam brings.
#[must_use]
pub fn notice_of(event: &Event) -> Option<Notice> {
    let ring = |ring: &RingId| (ring.node, ring.seq);
    let name = |name: &LockspaceName| hex(name.as_bytes());
    Some(match event {
        Event::Nodelist { joined, left } => {
            Notice::Nodelist { joined: numbers(joined), left: numbers(left) }
        }
        Event::Quorum { quorate, ring: id, members, addresses } => Notice::Quorum {
            quorate: *quorate,
            ring: ring(id),
            members: numbers(members),
            addresses: addresses.iter().map(|(node, all)| (node.get(), all.clone())).collect(),
        },
        Event::Confchg { group, change } => {
            Notice::Confchg { lockspace: group_name(group), change: change_frame(change) }
        }
        Event::Ring { group, ring: id } => {
            Notice::Ring { lockspace: group_name(group), ring: ring(id) }
        }
        Event::Message { group, from, packet, length: _ } => Notice::Message {
            lockspace: group_name(group),
            from: from.get(),
            bytes: hex(&wire::encode(packet)),
        },
        Event::ClusterLost { why } => Notice::ClusterLost { why: why.clone() },
        Event::Online { lockspace } => Notice::Online { lockspace: name(lockspace) },
        Event::Offline { lockspace, release_recover } => {
            Notice::Offline { lockspace: name(lockspace), release_recover: *release_recover }
        }
        Event::KernelDone { token, result } => {
            Notice::KernelDone { token: token.0, error: result.clone().err() }
        }
        Event::Slots { lockspace, generation, slots } => Notice::Slots {
            lockspace: name(lockspace),
            generation: *generation,
            slots: slots.iter().map(|(slot, node)| (slot.get(), node.get())).collect(),
        },
        Event::Withdraw { table, lockspace } => {
            Notice::Withdraw { table: table.clone(), lockspace: name(lockspace) }
        }
        Event::PlockRequest(info) => Notice::PlockRequest { record: hex(&plockdev::encode(info)) },
        Event::Begin
        | Event::Deadline
        | Event::BadMessage { .. }
        | Event::JoinFailed { .. }
        | Event::ShutdownQuestion
        | Event::AgentDone { .. }
        | Event::Run(_)
        | Event::FenceAck { .. }
        | Event::Options(_)
        | Event::Devices(_)
        | Event::LockspaceOptions(_)
        | Event::Terminate => return None,
    })
}

/// The event of a frame; `None` for the testbed's own words.
///
/// # Errors
/// A name, a node or hex digits that cannot be.
pub fn event_of(notice: Notice) -> Result<Option<Event>, BadFrame> {
    let ring = |(node, seq): (u32, u64)| RingId { node, seq };
    Ok(Some(match notice {
        Notice::Welcome { .. } | Notice::Refused { .. } | Notice::PowerOff => return Ok(None),
        Notice::Nodelist { joined, left } => {
            Event::Nodelist { joined: nodes(&joined), left: nodes(&left) }
        }
        Notice::Quorum { quorate, ring: id, members, addresses } => Event::Quorum {
            quorate,
            ring: ring(id),
            members: nodes(&members),
            addresses: pairs(addresses),
        },
        Notice::Confchg { lockspace, change } => {
            Event::Confchg { group: group_of(lockspace.as_deref())?, change: change_of(&change) }
        }
        Notice::Ring { lockspace, ring: id } => {
            Event::Ring { group: group_of(lockspace.as_deref())?, ring: ring(id) }
        }
        Notice::Message { lockspace, from, bytes } => {
            let (group, from) = (group_of(lockspace.as_deref())?, node_of(from)?);
            let bytes = unhex("message", &bytes)?;
            match wire::decode(&bytes) {
                Ok(packet) => Event::Message { group, from, packet, length: bytes.len() },
                Err(error) => Event::BadMessage { group, from, why: error.to_string() },
            }
        }
        Notice::ClusterLost { why } => Event::ClusterLost { why },
        Notice::Online { lockspace } => Event::Online { lockspace: name_of(&lockspace)? },
        Notice::Offline { lockspace, release_recover } => {
            Event::Offline { lockspace: name_of(&lockspace)?, release_recover }
        }
        Notice::KernelDone { token, error } => {
            Event::KernelDone { token: Token(token), result: error.map_or(Ok(()), Err) }
        }
        Notice::Slots { lockspace, generation, slots } => Event::Slots {
            lockspace: name_of(&lockspace)?,
            generation,
            slots: slots
                .into_iter()
                .filter_map(|(slot, node)| Some((Slot::new(slot)?, NodeId::new(node)?)))
                .collect(),
        },
        Notice::Withdraw { table, lockspace } => {
            Event::Withdraw { table, lockspace: name_of(&lockspace)? }
        }
        Notice::PlockRequest { record } => Event::PlockRequest(plock_of(&record)?),
    }))
}

/// The request or result of a record. Both are whole here: with the node they are about, not the 0 of the kernel.
///
/// # Errors
/// No hex digits, or not a record with a node.
pub fn plock_of(record: &str) -> Result<PlockInfo, BadFrame> {
    let bad = || BadFrame::Content { field: "plock record", value: record.to_owned() };
    let bytes = unhex("plock record", record)?;
    let node = plockdev::node_of(&bytes).ok_or_else(bad)?;
    match plockdev::decode(&bytes, node) {
        Ok((info, None)) => Ok(info),
        Ok((_, Some(_))) | Err(_) => Err(bad()),
    }
}

fn change_frame(change: &Confchg) -> ConfchgFrame {
    let joined = |reason| match reason {
        JoinReason::Join => ReasonFrame::Join,
        JoinReason::NodeUp => ReasonFrame::NodeUp,
    };
    let left = |reason| match reason {
        LeaveReason::Leave => ReasonFrame::Leave,
        LeaveReason::NodeDown => ReasonFrame::NodeDown,
        LeaveReason::ProcDown => ReasonFrame::ProcDown,
    };
    ConfchgFrame {
        members: numbers(&change.members),
        joined: change.joined.iter().map(|(node, why)| (node.get(), joined(*why))).collect(),
        left: change.left.iter().map(|(node, why)| (node.get(), left(*why))).collect(),
    }
}

/// Only a leave is a leave, as over corosync.
fn change_of(change: &ConfchgFrame) -> Confchg {
    let joined = |reason| match reason {
        ReasonFrame::NodeUp => JoinReason::NodeUp,
        _ => JoinReason::Join,
    };
    let left = |reason| match reason {
        ReasonFrame::Leave => LeaveReason::Leave,
        ReasonFrame::NodeDown => LeaveReason::NodeDown,
        _ => LeaveReason::ProcDown,
    };
    let known = |(node, why): &(u32, ReasonFrame)| Some((NodeId::new(*node)?, *why));
    let (came, went) = (change.joined.iter(), change.left.iter());
    Confchg {
        members: nodes(&change.members),
        joined: came.filter_map(known).map(|(node, why)| (node, joined(why))).collect(),
        left: went.filter_map(known).map(|(node, why)| (node, left(why))).collect(),
    }
}

fn node_of(id: u32) -> Result<NodeId, BadFrame> {
    NodeId::new(id).ok_or_else(|| BadFrame::Content { field: "node", value: id.to_string() })
}

fn nodes<C: FromIterator<NodeId>>(ids: &[u32]) -> C {
    ids.iter().filter_map(|id| NodeId::new(*id)).collect()
}

fn pairs<T, C: FromIterator<(NodeId, T)>>(pairs: Vec<(u32, T)>) -> C {
    pairs.into_iter().filter_map(|(id, value)| Some((NodeId::new(id)?, value))).collect()
}

fn numbers<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<u32> {
    nodes.into_iter().map(|node| node.get()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlm_core::message::{FenceResult, Message, Packet};
    use dlm_core::types::{Version, WallSeconds};

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    #[test]
    fn events_of_the_seams_survive_the_way() {
        let lockspace = LockspaceName::new(&[0xff, b'x']).unwrap();
        let group = Group::Lockspace(lockspace.clone());
        let change = Confchg {
            members: vec![node(2), node(1)],
            joined: vec![(node(2), JoinReason::NodeUp)],
            left: vec![(node(3), LeaveReason::Leave), (node(4), LeaveReason::ProcDown)],
        };
        let result = FenceResult { victim: node(3), result: -125, wall: WallSeconds(7), ring: 4 };
        let packet = Packet {
            version: Version::default(),
            sender: node(1),
            global_id: GlobalId(0),
            message: Message::FenceResult(result),
        };
        let length = wire::encode(&packet).len();
        for event in [
            Event::Confchg { group: group.clone(), change },
            Event::Ring { group: Group::Daemon, ring: RingId { node: 1, seq: 8 } },
            Event::Message { group, from: node(1), packet, length },
            Event::KernelDone { token: Token(5), result: Err("no".to_owned()) },
            Event::Slots {
                lockspace,
                generation: 3,
                slots: vec![(Slot::new(1).unwrap(), node(2))],
            },
        ] {
            let notice = notice_of(&event).unwrap();
            assert_eq!(event_of(notice).unwrap(), Some(event));
        }
    }

    #[test]
    fn kernel_writes_survive_the_way() {
        let lane = Lane::Lockspace(LockspaceName::new(b"demo").unwrap());
        let start = KernelWrite::Start(KernelStart {
            first: Some(GlobalId(9)),
            nodir: true,
            members: vec![(node(2), 1), (node(1), 0)],
            renew: [node(2)].into(),
            release_recover: [node(3)].into(),
        });
        for write in [start, KernelWrite::Stop, KernelWrite::Release { stop: true }] {
            let request = request_write(Token(1), &lane, write.clone());
            let Request::Write { token: 1, lockspace, write: frame } = request else {
                panic!("{request:?}")
            };
            let back = kernel_write_of(lockspace.as_deref(), frame).unwrap();
            assert_eq!(back, (lane.clone(), write));
        }
    }
}

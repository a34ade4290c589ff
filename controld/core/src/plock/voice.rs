//! How the machines of this folder speak: to the group, and to the plock log (spec/plocks.md section 8).

use crate::effect::{Effect, Level};
use crate::message::{Message, Packet};
use crate::out::Out;
use crate::plock::{Mode, Op, PlockInfo};
use crate::types::{GlobalId, Group, LockspaceName, NodeId, Version};
use alloc::string::String;
use core::fmt;

/// What the machines need to know of their lockspace and daemon.
#[derive(Clone, Copy)]
pub(crate) struct Voice<'a> {
    pub(crate) lockspace: &'a LockspaceName,
    pub(crate) global_id: GlobalId,
    pub(crate) us: NodeId,
    pub(crate) version: Version,
    /// `drop_resources_age`, for ownership.
    pub(crate) unused_millis: u64,
}

impl Voice<'_> {
    pub(super) fn send(&self, message: Message, out: &mut Out<'_>) {
        let packet =
            Packet { version: self.version, sender: self.us, global_id: self.global_id, message };
        out.push(Effect::Send { group: Group::Lockspace(self.lockspace.clone()), packet });
    }

    /// About a single lock: for the plock log alone.
    pub(super) fn detail(&self, text: String, out: &mut Out<'_>) {
        self.line(None, text, out);
    }

    /// For both logs.
    pub(super) fn debug(&self, text: String, out: &mut Out<'_>) {
        self.line(Some(Level::Debug), text, out);
    }

    /// For both logs, and syslog.
    pub(super) fn error(&self, text: String, out: &mut Out<'_>) {
        self.line(Some(Level::Error), text, out);
    }

    fn line(&self, level: Option<Level>, text: String, out: &mut Out<'_>) {
        out.push(Effect::LogPlock { level, lockspace: self.lockspace.clone(), text });
    }
}

/// A request as the plock log shows it.
pub(super) struct Shown<'a>(pub(super) &'a PlockInfo);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.0;
        let op = match info.op {
            Op::Lock => "LK",
            Op::Unlock => "UN",
            Op::Get => "GET",
            Op::Cancel => "CN",
            Op::Unknown(_) => "??",
        };
        let mode = match (info.op, info.mode) {
            (Op::Unlock, _) => "-",
            (_, Mode::Read) => "RD",
            (_, Mode::Write) => "WR",
        };
        write!(
            f,
            "{:x} {op} {mode} {:x}-{:x} {}/{}/{:x} w {}",
            info.number,
            info.start,
            info.end,
            info.node,
            info.pid,
            info.owner,
            u8::from(info.wait)
        )
    }
}

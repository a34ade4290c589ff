//! How the machines of this folder speak: to the group, and to the plock log (spec/plocks.md section 8).

use crate::effect::{Effect, Level};
use crate::message::{Message, Packet};
use crate::out::Out;
use crate::plock::{Mode, Op, PlockInfo};
use crate::types::{GlobalId, Group, LockspaceName, NodeId, Version};
use alloc::string::String;
use core::fmt;
use serde::{Serialize, Serializer};

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
    pub(super) fn detail(&self, text: impl Into<PlockText>, out: &mut Out<'_>) {
        self.line(None, text.into(), out);
    }

    /// For both logs.
    pub(super) fn debug(&self, text: String, out: &mut Out<'_>) {
        self.line(Some(Level::Debug), text.into(), out);
    }

    /// For both logs, and syslog.
    pub(super) fn error(&self, text: String, out: &mut Out<'_>) {
        self.line(Some(Level::Error), text.into(), out);
    }

    fn line(&self, level: Option<Level>, text: PlockText, out: &mut Out<'_>) {
        out.push(Effect::LogPlock { level, lockspace: self.lockspace.clone(), text });
    }
}

/// The text of a line of the plock log. Hardly any is ever read, so those that every single lock causes are put into words
/// only when somebody does: that cost more than the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlockText {
    /// Any other.
    Words(String),
    /// A request has come from the kernel.
    Read(PlockInfo),
    /// A request has come from the group.
    Received(PlockInfo),
    /// So many requests have come from the kernel, the last thousand in so many milliseconds. How many of them
    /// `plock_rate_limit` has delayed, as the C daemon's line ends, is known to whoever reads them.
    ReadCount {
        /// In all.
        number: u64,
        /// Since the line before.
        millis: u64,
    },
}

impl From<String> for PlockText {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl fmt::Display for PlockText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => f.write_str(words),
            Self::Read(info) => write!(f, "read plock {}", Shown(info)),
            Self::Received(info) => write!(f, "receive plock {}", Shown(info)),
            Self::ReadCount { number, millis } => {
                let (seconds, millis) = (millis / 1000, millis % 1000);
                write!(f, "plock_read_count {number} time {seconds}.{millis:03} s")
            }
        }
    }
}

impl Serialize for PlockText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

//! What happened, for people.

use super::{MONO_START, World};
use dlm_core::effect::{KernelWrite, Lane};
use dlm_core::event::Event;
use dlm_core::message::{Message, Packet};
use dlm_core::types::{Group, NodeId};
use std::fmt::Write as _;

/// Nanoseconds in a millisecond.
const MILLI: u64 = 1_000_000;

impl World {
    /// One more line of the story, if anybody wants to hear it: most of a run's time would go into the words.
    pub(super) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.told {
            self.story.push((self.now, what()));
        }
    }

    pub(super) fn tell_callbacks(&mut self, id: NodeId) {
        let Some(host) = self.nodes.get_mut(&id) else { return };
        for (name, callback) in host.kernel.drain_callbacks() {
            self.tell(|| format!("{id} kernel {name}: {callback:?}"));
            #[cfg(feature = "live")]
            self.callbacks.push((id, name, callback));
        }
    }

    /// Everything that happened, with virtual seconds; the seed first.
    #[must_use]
    pub fn story(&self) -> String {
        let mut text = format!("seed {}\n", self.seed);
        for (at, what) in &self.story {
            let millis = (at - MONO_START) / MILLI;
            let _ = writeln!(text, "{:5}.{:03} {what}", millis / 1000, millis % 1000);
        }
        text
    }

    /// The story has a line that contains this.
    #[must_use]
    pub fn happened(&self, what: &str) -> bool {
        self.times(what) > 0
    }

    /// So many lines of the story contain this.
    #[must_use]
    pub fn times(&self, what: &str) -> usize {
        self.story.iter().filter(|(_, line)| line.contains(what)).count()
    }
}

pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Message { group, from, packet: content, .. } => {
            format!("from {from}: {}", packet(group, content))
        }
        Event::Confchg { group, change } => format!(
            "{group} members {:?} joined {:?} left {:?}",
            change.members, change.joined, change.left
        ),
        Event::Ring { group, ring } => format!("{group} ring {ring}"),
        Event::Quorum { quorate, ring, members, .. } => {
            format!("quorum {quorate} ring {ring} members {members:?}")
        }
        other => format!("{other:?}"),
    }
}

pub(super) fn packet(group: &Group, packet: &Packet) -> String {
    match &packet.message {
        Message::Start(start) => {
            let c = &start.counts;
            format!(
                "{group} START {}:{} {}/{}/{}/{} flags {} count {} members {:?}",
                packet.sender,
                start.seq,
                c.member_count,
                c.joined_count,
                c.remove_count,
                c.failed_count,
                start.flags,
                c.started_count,
                c.members
            )
        }
        Message::Protocol(protocol) => format!(
            "PROTOCOL run {} flags {}",
            protocol.daemon_run.version, protocol.daemon_run.flags
        ),
        other => format!("{group} {other:?}"),
    }
}

pub(super) fn write(lane: &Lane, write: &KernelWrite) -> String {
    match (lane, write) {
        (Lane::Lockspace(name), KernelWrite::Start(start)) => {
            let members: Vec<_> = start.members.iter().map(|(node, _)| node.get()).collect();
            format!("{name}: start {members:?} renew {:?}", start.renew)
        }
        (Lane::Lockspace(name), write) => format!("{name}: {write:?}"),
        (Lane::Cluster, KernelWrite::AddComm { node, .. }) => format!("add comm {node}"),
        (Lane::Cluster, write) => format!("{write:?}"),
    }
}

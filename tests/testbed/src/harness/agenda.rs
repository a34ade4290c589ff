//! What is going to happen, and when: the only clock of a simulated world.

use super::node::Epoch;
use crate::bus::Channel;
use crate::power::Behaviour;
use crate::random::Random;
use dlm_core::effect::{KernelWrite, Lane};
use dlm_core::event::{Event, Token};
use dlm_core::types::{Group, LockspaceName, NodeId};
use std::collections::BTreeMap;

/// Nanoseconds in a millisecond.
const MILLI: u64 = 1_000_000;

/// Something that will happen. `boot` and `epoch` name the life of the node or daemon that it is meant for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// Hand over the head of an inbox.
    Take(NodeId, Channel),
    /// Order the head of an outbox.
    Order(NodeId, Group),
    /// This node's component forms a ring.
    Reform(NodeId),
    /// An event that comes from the node itself.
    Local { node: NodeId, epoch: Epoch, event: Event },
    /// A kernel write ends.
    EndWrite { node: NodeId, boot: u64, epoch: Epoch, write: Box<Write> },
    /// The kernel has stopped a lockspace because its daemon is gone.
    Orphaned { node: NodeId, boot: u64, name: LockspaceName },
    /// A fence agent has reached its end.
    AgentEnd {
        node: NodeId,
        boot: u64,
        epoch: Epoch,
        token: Token,
        victim: NodeId,
        device: String,
        behaviour: Behaviour,
    },
    /// Corosync comes up after power on.
    CorosyncUp { node: NodeId, boot: u64 },
    /// The daemon is started.
    DaemonUp { node: NodeId, boot: u64 },
    /// A request to remove a node reaches the ring.
    Kick { from: NodeId, target: NodeId, tries: u32 },
    /// A kernel recovery: slots are assigned.
    Table { name: LockspaceName, recovery: u64 },
    /// A member has fetched the slots.
    Fetch { name: LockspaceName, recovery: u64, node: NodeId },
    /// A member has completed the recovery.
    Done { name: LockspaceName, recovery: u64, node: NodeId },
    /// A user tries to create a lockspace it wants.
    Create(NodeId, LockspaceName),
    /// A user tries to release a lockspace.
    Release(NodeId, LockspaceName),
}

/// A kernel write on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Write {
    pub(super) token: Token,
    pub(super) lane: Lane,
    pub(super) write: KernelWrite,
    /// For a start: the lives of the members as their STARTs showed them.
    pub(super) instances: BTreeMap<NodeId, u64>,
}

/// How long things take, in milliseconds from .. to.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Network and inter-process communication, usually.
    pub usual: (u64, u64),
    /// One in so many of them is slow.
    pub slow_one_in: u64,
    /// How slow.
    pub slow: (u64, u64),
    /// A kernel write that does not wait for anything.
    pub write: (u64, u64),
    /// `control 0` of a running lockspace.
    pub stop: (u64, u64),
    /// One in so many stops is long.
    pub long_stop_one_in: u64,
    /// How long.
    pub long_stop: (u64, u64),
    /// Corosync's token timeout.
    pub token: (u64, u64),
    /// Two rings find each other.
    pub merge: (u64, u64),
    /// From power on to corosync, and from there to the daemon.
    pub boot: (u64, u64),
    /// A fence agent.
    pub agent: (u64, u64),
    /// A step of the kernel's recovery.
    pub recovery: (u64, u64),
}

impl Pace {
    /// A healthy cluster.
    pub const CALM: Self = Self {
        usual: (0, 3),
        slow_one_in: 50,
        slow: (5, 30),
        write: (0, 2),
        stop: (1, 30),
        long_stop_one_in: 50,
        long_stop: (100, 1000),
        token: (1000, 1500),
        merge: (50, 300),
        boot: (500, 5000),
        agent: (200, 3000),
        recovery: (1, 100),
    };

    /// A cluster in trouble: everything may take seconds, so that everything overlaps.
    pub const WILD: Self = Self {
        usual: (0, 20),
        slow_one_in: 12,
        slow: (50, 4000),
        write: (0, 200),
        stop: (1, 300),
        long_stop_one_in: 6,
        long_stop: (1000, 20_000),
        token: (500, 4000),
        merge: (50, 3000),
        boot: (500, 15_000),
        agent: (50, 12_000),
        recovery: (1, 3000),
    };

    /// Machines and agents that are done within milliseconds: much happens within one second.
    pub const QUICK: Self = Self {
        usual: (0, 5),
        slow_one_in: 12,
        slow: (10, 700),
        write: (0, 5),
        stop: (1, 20),
        long_stop_one_in: 50,
        long_stop: (100, 1000),
        token: (20, 200),
        merge: (5, 100),
        boot: (5, 100),
        agent: (5, 200),
        recovery: (1, 20),
    };

    /// Nanoseconds drawn from a range of milliseconds.
    pub(super) fn draw(range: (u64, u64), random: &mut Random) -> u64 {
        random.between(range.0 * MILLI, range.1 * MILLI)
    }

    pub(super) fn hop(&self, random: &mut Random) -> u64 {
        let slow = random.one_in(self.slow_one_in);
        Self::draw(if slow { self.slow } else { self.usual }, random)
    }

    pub(super) fn stopping(&self, random: &mut Random) -> u64 {
        let long = random.one_in(self.long_stop_one_in);
        Self::draw(if long { self.long_stop } else { self.stop }, random)
    }
}

/// Queues that keep their order whatever the delays are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fifo {
    Inbox(NodeId, Channel),
    Outbox(NodeId, Group),
    Uevents(NodeId),
    KernelLog(NodeId),
}

/// Actions by time, then by order of entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Agenda {
    pub(super) actions: BTreeMap<(u64, u64), Action>,
    entered: u64,
    pub(super) ready: BTreeMap<Fifo, u64>,
}

impl Agenda {
    pub(super) fn add(&mut self, at: u64, action: Action) {
        self.entered += 1;
        self.actions.insert((at, self.entered), action);
    }

    /// At `at`, but not before anything that entered this queue earlier.
    pub(super) fn add_in_order(&mut self, queue: Fifo, at: u64, action: Action) {
        let ready = self.ready.entry(queue).or_default();
        *ready = at.max(*ready);
        let at = *ready;
        self.add(at, action);
    }

    pub(super) fn next_time(&self) -> Option<u64> {
        self.actions.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn pop(&mut self) -> Option<Action> {
        self.actions.pop_first().map(|(_, action)| action)
    }
}

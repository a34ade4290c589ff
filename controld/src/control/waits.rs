//! What is waited for, as the document has it. Matches on the core's enums are exhaustive, so that a new wait needs a word
//! here.

use super::state::{Clock, count, ids};
use super::{Beside, BesideWait};
use dlm_core::snapshot::{self, Wait as ChangeWait};
use dlm_core::types::Instant;
use dlm_core::waiting::WriteKind as CoreWrite;
use dlm_core::waiting::{FenceWait, LaneState, LaneWait, Subject, Unknown, Waited, Waiting};
use dlmcontrol::state::{Reason, Wait, Write, WriteKind};

/// What somebody waits for.
pub(super) fn waits(who: &Subject, snapshot: &snapshot::Snapshot, clock: &Clock) -> Vec<Wait> {
    snapshot.waits.iter().filter(|wait| wait.who == *who).map(|of| wait(of, clock)).collect()
}

/// Where a reason comes with nodes, a time or a write.
struct Parts {
    reason: Reason,
    nodes: Vec<u32>,
    until: Option<Instant>,
    write: Option<Write>,
    count: Option<u64>,
}

impl Parts {
    const fn new(reason: Reason, nodes: Vec<u32>) -> Self {
        Self { reason, nodes, until: None, write: None, count: None }
    }

    fn since(self, since: Instant, clock: &Clock) -> Wait {
        let since = clock.time(since);
        Wait {
            reason: self.reason,
            nodes: self.nodes,
            since,
            waiting_ms: since.ms_until(clock.now),
            until: self.until.map(|until| clock.time(until)),
            write: self.write,
            count: self.count,
        }
    }
}

fn wait(of: &Waited, clock: &Clock) -> Wait {
    let mut parts = match &of.what {
        Waiting::DaemonGroup => Parts::new(Reason::DaemonGroup, Vec::new()),
        Waiting::Protocols(nodes) => Parts::new(Reason::Protocols, ids(nodes)),
        Waiting::Proposal => Parts::new(Reason::Proposal, Vec::new()),
        Waiting::FencingUnknown(why) => unknown(why),
        Waiting::MergedRemoval(nodes) => Parts::new(Reason::MergedRemoval, ids(nodes)),
        Waiting::MergedOperator(nodes) => Parts::new(Reason::MergedOperator, ids(nodes)),
        Waiting::Addresses(nodes) => Parts::new(Reason::Addresses, ids(nodes)),
        Waiting::Kernel(lane) => kernel(lane),
        Waiting::RunReplies { from, until, count: operations } => Parts {
            until: Some(*until),
            count: Some(count(*operations)),
            ..Parts::new(Reason::RunReplies, ids(from))
        },
        Waiting::RunCommands { of, until, count: commands } => Parts {
            until: *until,
            count: Some(count(*commands)),
            ..Parts::new(Reason::RunCommands, ids(of))
        },
        Waiting::Startup(wait) | Waiting::Fence(wait) => fence(wait),
        Waiting::Queued => Parts::new(Reason::Queued, Vec::new()),
        Waiting::Join => Parts::new(Reason::Join, Vec::new()),
        Waiting::Rejoin => Parts::new(Reason::Rejoin, Vec::new()),
        Waiting::Leave => Parts::new(Reason::Leave, Vec::new()),
        Waiting::Change(wait) => change_wait(wait),
        Waiting::Plocks { from } => Parts::new(Reason::Plocks, ids(from)),
        Waiting::WithdrawAnswer(nodes) => Parts::new(Reason::WithdrawAnswer, ids(nodes)),
    };
    if let (Subject::Node(node), true) = (&of.who, parts.nodes.is_empty()) {
        parts.nodes.push(node.get());
    }
    parts.since(of.since, clock)
}

/// What the driver and its seams wait for, beside the core.
pub(super) fn beside(of: &Beside, clock: &Clock) -> Wait {
    let parts = match of.what {
        BesideWait::PlockRate { until } => {
            Parts { until: Some(until), ..Parts::new(Reason::PlockRate, Vec::new()) }
        }
        BesideWait::CorosyncQueue { requests } => {
            let count = Some(count(requests));
            Parts { count, ..Parts::new(Reason::CorosyncQueue, Vec::new()) }
        }
    };
    parts.since(of.since, clock)
}

fn unknown(why: &Unknown) -> Parts {
    match why {
        Unknown::Rings => Parts::new(Reason::UnknownRings, Vec::new()),
        Unknown::Quorum => Parts::new(Reason::UnknownQuorum, Vec::new()),
        Unknown::Merge => Parts::new(Reason::UnknownMerge, Vec::new()),
        Unknown::Startup(nodes) => Parts::new(Reason::UnknownStartup, ids(nodes)),
        Unknown::Victims(nodes) => Parts::new(Reason::UnknownVictims, ids(nodes)),
        Unknown::Clearance(nodes) => Parts::new(Reason::UnknownClearance, ids(nodes)),
        Unknown::Agreement(nodes) => Parts::new(Reason::UnknownAgreement, ids(nodes)),
    }
}

fn fence(wait: &FenceWait) -> Parts {
    let plain = |reason| Parts::new(reason, Vec::new());
    match wait {
        FenceWait::Protocol => plain(Reason::FenceProtocol),
        FenceWait::Rings => plain(Reason::FenceRings),
        FenceWait::Quorum => plain(Reason::FenceQuorum),
        FenceWait::Merge => plain(Reason::FenceMerge),
        FenceWait::JoinDelay { until } => Parts { until: *until, ..plain(Reason::FenceJoinDelay) },
        FenceWait::Agent => plain(Reason::FenceAgent),
        FenceWait::OtherAgent => plain(Reason::FenceOtherAgent),
        FenceWait::Result => plain(Reason::FenceResult),
        FenceWait::Pause { until, .. } => {
            Parts { until: Some(*until), ..plain(Reason::FencePause) }
        }
        FenceWait::Actor(actor) => Parts::new(Reason::FenceActor, vec![actor.get()]),
        FenceWait::Operator => plain(Reason::FenceOperator),
    }
}

fn change_wait(wait: &ChangeWait) -> Parts {
    match wait {
        ChangeWait::Stop => Parts::new(Reason::Stop, Vec::new()),
        ChangeWait::Ring => Parts::new(Reason::Rings, Vec::new()),
        ChangeWait::Quorum => Parts::new(Reason::Quorum, Vec::new()),
        ChangeWait::Fencing(nodes) => Parts::new(Reason::Fencing, ids(nodes)),
        ChangeWait::NodeGone(nodes) => Parts::new(Reason::NodeGone, ids(nodes)),
        ChangeWait::Ghost(nodes) => Parts::new(Reason::Ghost, ids(nodes)),
        ChangeWait::Comms(nodes) => Parts::new(Reason::Comms, ids(nodes)),
        ChangeWait::Withdraw(nodes) => Parts::new(Reason::Withdraw, ids(nodes)),
        ChangeWait::Handover => Parts::new(Reason::Handover, Vec::new()),
        ChangeWait::Starts(nodes) => Parts::new(Reason::Starts, ids(nodes)),
        ChangeWait::Disallowed(nodes) => Parts::new(Reason::Disallowed, ids(nodes)),
    }
}

fn kernel(lane: &LaneWait) -> Parts {
    let (kind, nodes) = match lane.write {
        CoreWrite::AddComm(node) => (WriteKind::AddComm, vec![node.get()]),
        CoreWrite::RemoveComm(node) => (WriteKind::RemoveComm, vec![node.get()]),
        CoreWrite::Stop => (WriteKind::Stop, Vec::new()),
        CoreWrite::Start => (WriteKind::Start, Vec::new()),
        CoreWrite::Release => (WriteKind::Release, Vec::new()),
        CoreWrite::EventDone => (WriteKind::EventDone, Vec::new()),
        CoreWrite::AckWithdraw => (WriteKind::AckWithdraw, Vec::new()),
    };
    let (reason, until, failures, error) = match &lane.state {
        LaneState::Running { failures } => (Reason::KernelWrite, None, *failures, None),
        LaneState::Pause { until, failures, error } => {
            (Reason::KernelRetry, Some(*until), *failures, Some(error.clone()))
        }
        LaneState::Held => (Reason::KernelHeld, None, 0, None),
    };
    let write = Some(Write { kind, failures, error, queued: count(lane.queued) });
    Parts { until, write, ..Parts::new(reason, nodes) }
}

//! Lockspaces: state, members, slots, and what they wait for.

use super::page::Page;
use super::reading::{Waiting, count, number, word};
use super::{family, plocks};
use dlmcontrol::state::{Lockspace, LockspaceState, Reason, SlotsKnown, State};

/// Lockspaces that a page has room for; a node has a handful.
const LOCKSPACES_MAX: usize = 256;

/// Nodes of a lockspace that a page has room for, several times what a cluster can have.
const NODES_MAX: usize = 128;

const STATES: [LockspaceState; 5] = [
    LockspaceState::Running,
    LockspaceState::Joining,
    LockspaceState::Stopped,
    LockspaceState::Starting,
    LockspaceState::Leaving,
];

/// Everything that a lockspace can wait for.
const REASONS: [Reason; 20] = [
    Reason::Queued,
    Reason::Join,
    Reason::Rejoin,
    Reason::Leave,
    Reason::Stop,
    Reason::Rings,
    Reason::Quorum,
    Reason::Fencing,
    Reason::NodeGone,
    Reason::Ghost,
    Reason::Comms,
    Reason::Withdraw,
    Reason::Handover,
    Reason::Starts,
    Reason::Disallowed,
    Reason::Plocks,
    Reason::WithdrawAnswer,
    Reason::KernelWrite,
    Reason::KernelRetry,
    Reason::KernelHeld,
];

pub(crate) fn fill(page: &mut Page, state: &State) {
    let lockspaces = &state.lockspaces;
    let left_out = lockspaces.len().saturating_sub(LOCKSPACES_MAX);
    page.set(family::LOCKSPACES, &[], count(lockspaces.len()));
    page.set(family::LEFT_OUT, &["lockspaces"], count(left_out));
    for lockspace in lockspaces.iter().take(LOCKSPACES_MAX) {
        doing(page, lockspace);
        nodes(page, lockspace, state.cluster.our_node);
        waits(page, lockspace);
        meters(page, lockspace);
    }
}

fn meters(page: &mut Page, lockspace: &Lockspace) {
    let Some(meters) = &lockspace.meters else { return };
    let name = lockspace.name.as_str();
    for cause in ["joined", "left", "failed"] {
        let changes = meters.changes.get(cause).copied().unwrap_or(0);
        page.set(family::CHANGES, &[name, cause], number(changes));
    }
    page.timing(family::RECOVERY, &[name], &meters.recoveries);
    for (phase, taken) in &meters.phases {
        page.timing(family::PHASES, &[name, &word(phase)], taken);
    }
    plocks::fill(page, name, &meters.plocks);
}

fn doing(page: &mut Page, lockspace: &Lockspace) {
    let name = lockspace.name.as_str();
    page.set(family::LOCKSPACE_INFO, &[name, &lockspace.id], 1.0);
    for state in STATES.into_iter().chain([lockspace.state]) {
        page.flag(family::LOCKSPACE_STATE, &[name, &word(&state)], state == lockspace.state);
    }
    page.flag(family::WITHOUT_QUORUM, &[name], lockspace.without_quorum);
    page.set(family::MEMBERS, &[name], count(lockspace.members.len()));
    let changes = [("started", &lockspace.started), ("pending", &lockspace.pending)];
    for (which, change) in changes {
        if let Some(change) = change {
            page.set(family::CHANGE, &[name, which], f64::from(change.seq));
        }
    }
    let missing = lockspace.pending.as_ref().map_or(0, |change| {
        change.members.iter().filter(|member| !change.starts.contains(member)).count()
    });
    page.set(family::MISSING, &[name], count(missing));
}

fn nodes(page: &mut Page, lockspace: &Lockspace, ours: Option<u32>) {
    let name = lockspace.name.as_str();
    for node in lockspace.nodes.iter().take(NODES_MAX) {
        let id = node.node.to_string();
        page.flag(family::MEMBER, &[name, &id], node.member);
        page.flag(family::NEED_FENCING, &[name, &id], node.need_fencing);
    }
    let confirmed = lockspace.slots_known == SlotsKnown::Confirmed;
    page.flag(family::SLOTS_CONFIRMED, &[name], confirmed);
    for slot in lockspace.slots.iter().take(NODES_MAX) {
        page.set(family::SLOT, &[name, &slot.node.to_string()], f64::from(slot.slot));
        if Some(slot.node) == ours {
            page.set(family::OUR_SLOT, &[name], f64::from(slot.slot));
        }
    }
}

fn waits(page: &mut Page, lockspace: &Lockspace) {
    let name = lockspace.name.as_str();
    let families = Waiting { now: family::WAITING, since: family::SINCE };
    families.fill(page, &[name], &REASONS, &lockspace.waits);
    for write in lockspace.waits.iter().filter_map(|wait| wait.write.as_ref()) {
        let labels = [name, &word(&write.kind)];
        page.set(family::WRITE_FAILURES, &labels, f64::from(write.failures));
        page.set(family::WRITE_QUEUED, &labels, number(write.queued));
    }
}

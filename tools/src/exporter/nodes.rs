//! Nodes and their fencing.

use super::family;
use super::page::Page;
use super::reading::{Waiting, count, seconds};
use dlmcontrol::state::{Attempt, Node, Outcome, Reason, State};
use std::time::Duration;

/// Nodes that a page has room for, several times what a cluster can have.
const NODES_MAX: usize = 128;

/// Everything that a node's fencing can wait for.
const REASONS: [Reason; 11] = [
    Reason::FenceProtocol,
    Reason::FenceRings,
    Reason::FenceQuorum,
    Reason::FenceMerge,
    Reason::FenceJoinDelay,
    Reason::FenceAgent,
    Reason::FenceOtherAgent,
    Reason::FenceResult,
    Reason::FencePause,
    Reason::FenceActor,
    Reason::FenceOperator,
];

pub(crate) fn fill(page: &mut Page, state: &State) {
    page.set(family::LEFT_OUT, &["nodes"], count(state.nodes.len().saturating_sub(NODES_MAX)));
    for node in state.nodes.iter().take(NODES_MAX) {
        let id = node.node.to_string();
        presence(page, &id, node);
        fencing(page, &id, node);
        attempts(page, &id, &node.fencing.attempts);
    }
}

fn presence(page: &mut Page, id: &str, node: &Node) {
    page.flag(family::NODE_MEMBER, &[id], node.member);
    page.flag(family::NODE_MERGED, &[id], node.merged);
    page.flag(family::NODE_KILLED, &[id], node.killed);
    let times = [(family::NODE_ADDED, node.added), (family::NODE_REMOVED, node.removed)];
    for (family, time) in times {
        if let Some(time) = time {
            page.set(family, &[id], seconds(time));
        }
    }
}

fn fencing(page: &mut Page, id: &str, node: &Node) {
    let fencing = &node.fencing;
    page.flag(family::FENCING_NEEDED, &[id], fencing.needed);
    page.flag(family::FENCING_CONFIG, &[id], fencing.config_error.is_some());
    page.flag(family::FENCING_AGENT, &[id], fencing.agent_pid.is_some());
    page.set(family::FENCING_FAILURES, &[id], f64::from(fencing.failures));
    if let Some(actor) = fencing.actor {
        page.set(family::FENCING_ACTOR, &[id, &actor.to_string()], 1.0);
    }
    for (actor, result) in fencing.failed_by.iter().take(NODES_MAX) {
        page.set(family::FENCING_RESULT, &[id, &actor.to_string()], f64::from(*result));
    }
    let times = [(family::FENCING_FAILED, fencing.failed), (family::FENCING_DONE, fencing.fenced)];
    for (family, time) in times {
        if let Some(time) = time {
            page.set(family, &[id], seconds(time));
        }
    }
    let waits = Waiting { now: family::FENCING_WAITING, since: family::FENCING_SINCE };
    waits.fill(page, &[id], &REASONS, &node.waits);
}

/// The daemon remembers the last few alone, so there are never more devices than that.
fn attempts(page: &mut Page, id: &str, attempts: &[Attempt]) {
    for attempt in attempts {
        let device = attempt.device.as_str();
        let outcome = outcome(attempt.outcome);
        let same =
            |other: &&Attempt| other.device == device && self::outcome(other.outcome) == outcome;
        let runs = attempts.iter().filter(same).count();
        page.set(family::ATTEMPTS, &[id, device, outcome], count(runs));
        if let Some(ended) = attempt.ended {
            let took = Duration::from_millis(attempt.started.ms_until(ended));
            page.set(family::ATTEMPT_ENDED, &[id, device], seconds(ended));
            page.set(family::ATTEMPT_TOOK, &[id, device], took.as_secs_f64());
        }
    }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Running => "running",
        Outcome::Exited(0) => "success",
        Outcome::Exited(_) => "failed",
        Outcome::Signalled(_) => "signalled",
        Outcome::NotStarted(_) => "not_started",
        Outcome::Other => "other",
    }
}

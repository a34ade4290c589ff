//! What the daemon has counted and timed.

use super::family;
use super::page::Page;
use super::reading::{number, word};
use dlmcontrol::state::{Meters, State};
use std::collections::BTreeMap;
use std::time::Duration;

/// Types of messages, and outcomes, that a page has room for.
const WORDS_MAX: usize = 64;

/// Nodes that a page has room for, several times what a cluster can have.
const NODES_MAX: usize = 128;

/// Devices that a page has room for, each for one node; as many as the daemon counts.
const DEVICES_MAX: usize = 256;

/// How a fence agent can end.
const OUTCOMES: [&str; 4] = ["success", "failed", "signalled", "not_started"];

pub(crate) fn fill(page: &mut Page, state: &State) {
    let Some(meters) = &state.meters else { return };
    for (direction, counts) in [("sent", &meters.sent), ("received", &meters.received)] {
        for (kind, count) in some(counts) {
            page.set(family::MESSAGES, &[kind, direction], number(*count));
        }
    }
    page.set(family::BAD_MESSAGES, &[], number(meters.bad_messages));
    page.set(family::RETRIES, &[], number(meters.send_retries));
    for (kind, timing) in &meters.kernel_writes {
        let kind = word(kind);
        page.timing(family::WRITES, &[&kind], timing);
        page.set(family::FAILED_WRITES, &[&kind], 0.0);
    }
    for (kind, count) in &meters.failed_kernel_writes {
        page.set(family::FAILED_WRITES, &[&word(kind)], number(*count));
    }
    for outcome in OUTCOMES {
        page.set(family::AGENTS, &[outcome], 0.0);
    }
    for (outcome, count) in some(&meters.fence_agents) {
        page.set(family::AGENTS, &[outcome], number(*count));
    }
    page.timing(family::EVENTS, &[], &meters.events);
    page.timing(family::LATE, &[], &meters.late_deadlines);
    page.timing(family::ANSWERS, &[], &meters.loop_answers);
    nodes(page, meters);
    process(page, meters);
}

fn nodes(page: &mut Page, meters: &Meters) {
    let families = [(family::STARTS, &meters.starts), (family::FENCING, &meters.fencings)];
    for (family, by_node) in families {
        for (node, taken) in by_node.iter().take(NODES_MAX) {
            page.timing(family, &[&node.to_string()], taken);
        }
    }
    for of in meters.fencing.iter().take(DEVICES_MAX) {
        let labels = [&of.node.to_string(), of.device.as_str()];
        page.timing(family::AGENT_TIMES, &labels, &of.taken);
        for outcome in OUTCOMES {
            let count = of.outcomes.get(outcome).copied().unwrap_or(0);
            page.set(family::AGENT_RUNS, &[labels[0], labels[1], outcome], number(count));
        }
    }
}

fn process(page: &mut Page, meters: &Meters) {
    for (socket, clients) in meters.clients.iter().take(WORDS_MAX) {
        page.set(family::CLIENTS, &[socket], number(clients.connected));
        page.set(family::CLIENTS_SEEN, &[socket], number(clients.accepted));
        page.set(family::CLIENTS_AWAY, &[socket], number(clients.turned_away));
    }
    let process = &meters.process;
    page.set(family::MEMORY, &[], number(process.resident_bytes));
    page.set(family::CPU, &[], Duration::from_micros(process.cpu_us).as_secs_f64());
    page.set(family::FILES, &[], number(process.open_files));
}

fn some(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (&String, &u64)> {
    counts.iter().take(WORDS_MAX)
}

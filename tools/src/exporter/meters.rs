//! What the daemon has counted and timed.

use super::family;
use super::page::Page;
use super::reading::{number, word};
use dlmcontrol::state::State;
use std::collections::BTreeMap;

/// Types of messages, and outcomes, that a page has room for.
const WORDS_MAX: usize = 64;

pub(crate) fn fill(page: &mut Page, state: &State) {
    let Some(meters) = &state.meters else { return };
    for (direction, counts) in [("sent", &meters.sent), ("received", &meters.received)] {
        for (kind, count) in some(counts) {
            page.set(family::MESSAGES, &[kind, direction], number(*count));
        }
    }
    page.set(family::BAD_MESSAGES, &[], number(meters.bad_messages));
    for (kind, timing) in &meters.kernel_writes {
        let kind = word(kind);
        page.timing(family::WRITES, &[&kind], timing);
        page.set(family::FAILED_WRITES, &[&kind], 0.0);
    }
    for (kind, count) in &meters.failed_kernel_writes {
        page.set(family::FAILED_WRITES, &[&word(kind)], number(*count));
    }
    for outcome in ["success", "failed", "signalled", "not_started"] {
        page.set(family::AGENTS, &[outcome], 0.0);
    }
    for (outcome, count) in some(&meters.fence_agents) {
        page.set(family::AGENTS, &[outcome], number(*count));
    }
    page.timing(family::EVENTS, &[], &meters.events);
    page.timing(family::LATE, &[], &meters.late_deadlines);
}

fn some(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (&String, &u64)> {
    counts.iter().take(WORDS_MAX)
}

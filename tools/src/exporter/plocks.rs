//! POSIX locks, lockspace by lockspace.

use super::family;
use super::page::Page;
use super::reading::number;
use dlmcontrol::state::PlockMeters;
use std::collections::BTreeMap;

/// Words of a kind that a page has room for, twice as many as there are.
const WORDS_MAX: usize = 16;

pub(crate) fn fill(page: &mut Page, lockspace: &str, of: &PlockMeters) {
    let by_word: [(family::Family, &BTreeMap<String, u64>); 3] = [
        (family::PLOCK_REQUESTS, &of.requests),
        (family::PLOCK_RESULTS, &of.results),
        (family::PLOCK_MOVES, &of.moves),
    ];
    for (family, counts) in by_word {
        for (word, count) in counts.iter().take(WORDS_MAX) {
            page.set(family, &[lockspace, word], number(*count));
        }
    }
    page.timing(family::PLOCK_ANSWERS, &[lockspace], &of.answers);
    page.timing(family::PLOCK_WAITS, &[lockspace], &of.waits);
    page.set(family::PLOCK_RECEIVED, &[lockspace], number(of.received));
    page.set(family::PLOCK_RESOURCES, &[lockspace], number(of.resources));
    page.set(family::PLOCK_WAITING, &[lockspace], number(of.waiting));
    page.set(family::PLOCK_IN_FLIGHT, &[lockspace], number(of.in_flight));
}

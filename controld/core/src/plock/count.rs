//! Lines of the log that count, instead of one for each event.

use crate::types::Instant;
use serde::{Deserialize, Serialize};

/// Requests and messages between two lines that count them.
const COUNT_EVERY: u64 = 1000;

/// Events of one kind, for the line every thousand of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Count {
    number: u64,
    since: Instant,
}

impl Count {
    /// One more. After a thousand: how many in all, and the milliseconds since the last such point.
    pub(super) fn one_more(&mut self, now: Instant) -> Option<(u64, u64)> {
        self.number = self.number.wrapping_add(1);
        if self.number % COUNT_EVERY != 0 {
            return None;
        }
        let millis = now.millis_since(self.since);
        self.since = now;
        Some((self.number, millis))
    }
}

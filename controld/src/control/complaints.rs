//! Lines about bad requests are bounded in number: anybody may send some, each can be made to differ from the last one, and
//! the log, and the ring behind `dlm_tool dump`, are for the cluster's affairs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that pass in a window.
const PASSED: u32 = 10;

/// Length of a window.
const WINDOW: Duration = Duration::from_secs(60);

/// The bound of one socket. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complaints(Arc<Mutex<Window>>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    passed: u32,
    left_out: u64,
}

impl Complaints {
    /// Whether another one may be said; if so, with the number of those that were not, since the last one was.
    pub(crate) fn admit(&self) -> Option<LeftOut> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<LeftOut> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            window.began = Some(now);
            window.passed = 0;
        }
        if window.passed >= PASSED {
            window.left_out = window.left_out.saturating_add(1);
            return None;
        }
        window.passed = window.passed.saturating_add(1);
        Some(LeftOut(std::mem::take(&mut window.left_out)))
    }
}

/// How many bad requests were not spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut(u64);

/// Stands behind the text of a line; nothing for none.
impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " (and {count} bad requests before that were not logged)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_pass_in_a_minute_and_the_next_one_tells_how_many_did_not() {
        let complaints = Complaints::default();
        let begin = Instant::now();
        let passed = (0..1000).filter(|_| complaints.admit_at(begin).is_some()).count();
        assert_eq!(passed, 10);
        let just_before = begin + Duration::from_millis(59_999);
        assert_eq!(complaints.admit_at(just_before), None);
        let next = complaints.admit_at(begin + WINDOW).map(|left_out| left_out.to_string());
        assert_eq!(next.unwrap(), " (and 991 bad requests before that were not logged)");
        assert_eq!(complaints.admit_at(begin + WINDOW).unwrap().to_string(), "");
    }
}

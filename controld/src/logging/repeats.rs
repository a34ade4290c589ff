//! Limits one and the same line: whoever makes the daemon say the same thing again and again must not push everything
//! else out of the dump, nor fill the disk.
//!
//! A line (severity, lockspace, text) passes [`PASSED`] times within [`WINDOW_SECONDS`] of its first time. Further ones
//! are counted, and the number is told as one line when the next line of any kind comes after the window, when the
//! place in the table is needed, or at the end: no timer is needed. Lines that differ in a number are different.

use super::details::Details;
use super::line::{LINE_MAX, Severity, cut};
use dlm_core::types::LockspaceName;
use std::collections::VecDeque;

/// How often the same line passes in one window.
pub(super) const PASSED: u32 = 5;

/// Length of a window, in seconds of the monotonic clock.
pub(super) const WINDOW_SECONDS: u64 = 60;

/// Lines that are remembered: a bound on memory and on the time of a look-up.
const REMEMBERED_MAX: usize = 32;

/// What is said; all of it is compared but the details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) severity: Severity,
    pub(super) lockspace: Option<LockspaceName>,
    pub(super) text: String,
    pub(super) details: Details,
}

impl Said {
    /// Keeps what a line can show of the text.
    pub(super) fn new(severity: Severity, lockspace: Option<&LockspaceName>, text: &str) -> Self {
        let (text, details) = (cut(text, LINE_MAX).to_owned(), Details::default());
        Self { severity, lockspace: lockspace.cloned(), text, details }
    }

    /// The same line again, however long it took this time.
    fn repeats(&self, other: &Self) -> bool {
        self.severity == other.severity
            && self.lockspace == other.lockspace
            && self.text == other.text
    }
}

#[derive(Debug)]
struct Remembered {
    said: Said,
    since: u64,
    passed: u32,
    left_out: u64,
}

impl Remembered {
    fn report(self) -> Option<Said> {
        let Self { mut said, left_out, .. } = self;
        // The number in front, where no cut can reach it.
        said.text = format!("repeated {left_out} times more: {}", said.text);
        (left_out > 0).then_some(said)
    }
}

/// What to do about a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Admitted {
    /// Numbers to tell first.
    pub(super) left_out: Vec<Said>,
    /// The line passes.
    pub(super) passes: bool,
}

/// The lines of late, oldest window first.
#[derive(Debug, Default)]
pub(super) struct Repeats(VecDeque<Remembered>);

impl Repeats {
    pub(super) fn admit(&mut self, now: u64, said: &Said) -> Admitted {
        let mut left_out = Vec::new();
        while let Some(oldest) = self.0.front() {
            if now.saturating_sub(oldest.since) < WINDOW_SECONDS {
                break;
            }
            left_out.extend(self.0.pop_front().and_then(Remembered::report));
        }
        if let Some(known) = self.0.iter_mut().find(|known| known.said.repeats(said)) {
            let passes = known.passed < PASSED;
            if passes {
                known.passed = known.passed.saturating_add(1);
            } else {
                known.left_out = known.left_out.saturating_add(1);
            }
            return Admitted { left_out, passes };
        }
        if self.0.len() >= REMEMBERED_MAX {
            left_out.extend(self.0.pop_front().and_then(Remembered::report));
        }
        self.0.push_back(Remembered { said: said.clone(), since: now, passed: 1, left_out: 0 });
        Admitted { left_out, passes: true }
    }

    /// The numbers that are still to be told.
    pub(super) fn finish(&mut self) -> Vec<Said> {
        self.0.drain(..).filter_map(Remembered::report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        Said::new(Severity::Error, None, text)
    }

    fn passing(repeats: &mut Repeats, now: u64, text: &str, times: usize) -> usize {
        (0..times).filter(|_| repeats.admit(now, &said(text)).passes).count()
    }

    #[test]
    fn same_line_passes_five_times_a_minute_and_then_its_number_is_told() {
        let mut repeats = Repeats::default();
        assert_eq!(passing(&mut repeats, 100, "a", 12), 5);
        assert_eq!(passing(&mut repeats, 159, "a", 1), 0);
        let next = repeats.admit(160, &said("b"));
        assert_eq!(next.left_out, [said("repeated 8 times more: a")]);
        assert!(next.passes && repeats.admit(161, &said("a")).passes);
    }

    #[test]
    fn time_that_something_took_makes_no_other_line() {
        let mut repeats = Repeats::default();
        let passed = (0..20).filter(|ms| {
            let details = Details { duration_ms: Some(*ms), ..Details::default() };
            repeats.admit(1, &Said { details, ..said("kernel stopped") }).passes
        });
        assert_eq!(passed.count(), 5);
    }

    #[test]
    fn other_lines_are_not_held_up() {
        let mut repeats = Repeats::default();
        assert_eq!(passing(&mut repeats, 1, "a", 9), 5);
        assert!(repeats.admit(1, &said("b")).passes);
        let elsewhere = Said { lockspace: LockspaceName::new(b"x"), ..said("a") };
        assert!(repeats.admit(1, &elsewhere).passes);
        assert!(repeats.admit(1, &Said { severity: Severity::Debug, ..said("a") }).passes);
    }

    #[test]
    fn memory_is_bounded_and_no_number_is_forgotten() {
        let mut repeats = Repeats::default();
        passing(&mut repeats, 1, "a", 7);
        let mut told = Vec::new();
        for number in 0..1000 {
            told.extend(repeats.admit(1, &said(&format!("line {number}"))).left_out);
        }
        assert_eq!(told, [said("repeated 2 times more: a")]);
        assert_eq!(repeats.0.len(), REMEMBERED_MAX);
    }

    #[test]
    fn numbers_are_told_at_the_end() {
        let mut repeats = Repeats::default();
        passing(&mut repeats, 1, "a", 6);
        passing(&mut repeats, 1, "b", 2);
        assert_eq!(repeats.finish(), [said("repeated 1 times more: a")]);
        assert!(repeats.finish().is_empty());
    }
}

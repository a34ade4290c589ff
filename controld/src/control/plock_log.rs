//! The ring behind `dlm_tool log_plock` (spec/logging-and-files.md section 1, Buffers).

use crate::logging::render;
use dlm_core::plock::PlockText;
use dlm_core::types::LockspaceName;
use dlmcontrol::proto::DUMP_MAX;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines that are kept: as many as fill [`DUMP_MAX`] with the usual 90 bytes for a lock, and some more.
const LINES_MAX: usize = 12_288;

/// One line, not in words yet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    seconds: u64,
    lockspace: Option<LockspaceName>,
    text: PlockText,
}

/// The last lines, put into words when they are asked for. Clones share it: the log writes, the query thread reads. The
/// lock is held for copying memory only.
#[derive(Clone, Debug, Default)]
pub struct PlockLog(Arc<Mutex<VecDeque<Line>>>);

impl PlockLog {
    /// Appends a line, said at that time of the monotonic clock.
    pub(crate) fn append(&self, seconds: u64, lockspace: Option<LockspaceName>, text: PlockText) {
        let mut lines = self.lock();
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(Line { seconds, lockspace, text });
    }

    /// What a query gets, oldest first: the last [`DUMP_MAX`] bytes, or all but the last one, which dlm_tool replaces with a
    /// newline of its own, as C has it.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let lines = self.lock().clone();
        let mut text = Vec::new();
        for Line { seconds, lockspace, text: words } in lines {
            text.extend(render(seconds, lockspace.as_ref(), &words.to_string()));
        }
        match text.len().checked_sub(DUMP_MAX) {
            Some(surplus) => text.drain(..surplus).for_each(drop),
            None => text.truncate(text.len().saturating_sub(1)),
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(log: &PlockLog, number: usize, words: String) {
        let name = LockspaceName::new(b"fs").unwrap();
        log.append(u64::try_from(number).unwrap(), Some(name), PlockText::Words(words));
    }

    #[test]
    fn without_a_line_there_is_no_text() {
        assert_eq!(PlockLog::default().text(), b"");
    }

    #[test]
    fn last_newline_is_left_out_until_the_log_is_full() {
        let log = PlockLog::default();
        say(&log, 15, "one".to_owned());
        say(&log, 16, "two".to_owned());
        assert_eq!(log.text(), b"15 fs one\n16 fs two");
        let long = "x".repeat(400);
        (0..DUMP_MAX / 400).for_each(|_| say(&log, 17, long.clone()));
        let text = log.text();
        assert_eq!(text.len(), DUMP_MAX);
        assert!(text.ends_with(b"x\n"));
    }

    #[test]
    fn oldest_lines_make_room() {
        let log = PlockLog::default();
        (0..LINES_MAX + 5).for_each(|number| say(&log, number, String::new()));
        assert!(log.text().starts_with(b"5 fs \n6 fs \n"));
        assert_eq!(log.lock().len(), LINES_MAX);
    }
}

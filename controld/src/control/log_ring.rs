//! The ring behind `dlm_tool dump` (spec/logging-and-files.md section 1, Buffers).

use dlmcontrol::proto::DUMP_MAX;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The last 1 MiB of text. Clones share it: the log writes, the query thread reads. The lock is held for copying
/// memory only, so neither ever waits for the other's client.
#[derive(Clone, Debug, Default)]
pub struct LogRing(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    /// Grows to [`DUMP_MAX`] and stays.
    bytes: Vec<u8>,
    /// Once full: where the oldest byte is, which the next one replaces.
    oldest: usize,
}

impl LogRing {
    /// An empty ring.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends text, a whole line with its newline. The oldest bytes make room, so a line may lose its beginning.
    pub fn append(&self, text: &[u8]) {
        self.lock().append(text);
    }

    /// What a query gets: everything but the last byte, which dlm_tool replaces with a newline of its own; once the
    /// ring is full all of it, oldest first, as C has it.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(DUMP_MAX);
        self.lock().copy_to(&mut text);
        text
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn append(&mut self, text: &[u8]) {
        let room = DUMP_MAX.saturating_sub(self.bytes.len()).min(text.len());
        let (grown, mut rest) = text.split_at_checked(room).unwrap_or((text, &[]));
        self.bytes.extend_from_slice(grown);
        while !rest.is_empty() {
            let Some(tail) = self.bytes.get_mut(self.oldest..).filter(|tail| !tail.is_empty())
            else {
                self.oldest = 0;
                continue;
            };
            let count = tail.len().min(rest.len());
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            if let Some(replaced) = tail.get_mut(..count) {
                replaced.copy_from_slice(now);
            }
            self.oldest = self.oldest.saturating_add(count);
            rest = later;
        }
    }

    fn copy_to(&self, text: &mut Vec<u8>) {
        if self.bytes.len() < DUMP_MAX {
            let shown = self.bytes.len().saturating_sub(1);
            text.extend_from_slice(self.bytes.get(..shown).unwrap_or_default());
            return;
        }
        let (newer, older) = self.bytes.split_at_checked(self.oldest).unwrap_or((&[], &self.bytes));
        text.extend_from_slice(older);
        text.extend_from_slice(newer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_ring_has_no_text() {
        assert_eq!(LogRing::new().text(), b"");
    }

    #[test]
    fn last_newline_is_left_out_until_the_ring_is_full() {
        let ring = LogRing::new();
        ring.append(b"15 one\n");
        ring.append(b"16 two\n");
        assert_eq!(ring.text(), b"15 one\n16 two");
        ring.append(&vec![b'x'; DUMP_MAX - 14]);
        let text = ring.text();
        assert_eq!(text.len(), DUMP_MAX);
        assert!(text.starts_with(b"15 one\n16 two\nxx"));
    }

    #[test]
    fn full_ring_shows_the_newest_bytes_oldest_first() {
        let ring = LogRing::new();
        let mut all = Vec::new();
        for number in 0..400_000 {
            let line = format!("{number} line\n");
            ring.append(line.as_bytes());
            all.extend_from_slice(line.as_bytes());
        }
        assert!(ring.text() == all[all.len() - DUMP_MAX..]);
        let huge = vec![b'y'; DUMP_MAX * 2 + 3];
        ring.append(&huge);
        assert!(ring.text() == huge[..DUMP_MAX]);
    }
}

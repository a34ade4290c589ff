//! One line of text: `<monotonic seconds> [<lockspace> ]<text>`, cut as the C daemon cuts it.

use dlm_core::effect::Level;
use dlm_core::types::LockspaceName;
use std::io::Write as _;

/// Bytes of a line, its newline included.
pub(super) const LINE_MAX: usize = 511;

/// Bytes of a lockspace's name that are shown.
const NAME_SHOWN_MAX: usize = 32;

/// How loud, by syslog's order: the core's levels, and warnings, which tracing knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Error,
    Warning,
    Info,
    Debug,
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
        }
    }
}

impl Severity {
    /// `LOG_ERR`, `LOG_WARNING`, `LOG_INFO`, `LOG_DEBUG` of syslog.h.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

/// The line with its newline, at most [`LINE_MAX`] bytes. Control characters become `?`: names and texts from outside
/// could else fake further lines.
pub(crate) fn render(seconds: u64, lockspace: Option<&LockspaceName>, text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len().saturating_add(64).min(LINE_MAX));
    // Writing to memory does not fail.
    let _ = write!(bytes, "{seconds} ");
    if let Some(name) = lockspace {
        let name = name.as_bytes();
        bytes.extend_from_slice(name.get(..NAME_SHOWN_MAX).unwrap_or(name));
        bytes.push(b' ');
    }
    let room = LINE_MAX.saturating_sub(1).saturating_sub(bytes.len());
    bytes.extend_from_slice(cut(text, room).as_bytes());
    for byte in bytes.iter_mut().filter(|byte| byte.is_ascii_control()) {
        *byte = b'?';
    }
    bytes.push(b'\n');
    bytes
}

/// The beginning of a text, at most `room` bytes and no half character.
pub(super) fn cut(text: &str, room: usize) -> &str {
    (0..=room.min(text.len())).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> LockspaceName {
        LockspaceName::new(bytes).unwrap()
    }

    #[test]
    fn lines_read_as_those_of_the_c_daemon() {
        assert_eq!(render(15, None, "our_nodeid 1"), b"15 our_nodeid 1\n");
        let line = render(120, Some(&name(b"data")), "add_change cg 1 joined nodeid 2");
        assert_eq!(line, b"120 data add_change cg 1 joined nodeid 2\n");
    }

    #[test]
    fn names_are_cut_to_32_bytes() {
        let long = name(&[b'n'; 64]);
        assert_eq!(render(1, Some(&long), "x"), format!("1 {} x\n", "n".repeat(32)).as_bytes());
    }

    #[test]
    fn long_lines_are_cut_to_511_bytes_and_keep_their_newline() {
        for length in 480..600 {
            let line = render(7, None, &"t".repeat(length));
            assert_eq!(line.len(), (length + 3).min(LINE_MAX), "{length}");
            assert_eq!(line.last(), Some(&b'\n'));
        }
    }

    #[test]
    fn characters_are_not_cut_in_half() {
        for lead in 0..4 {
            let line = render(7, None, &("t".repeat(lead) + &"€".repeat(300)));
            assert!(line.len() > LINE_MAX - 3 && line.len() <= LINE_MAX);
            assert!(std::str::from_utf8(&line).is_ok());
        }
    }

    #[test]
    fn text_from_outside_cannot_fake_a_line() {
        let line = render(7, Some(&name(b"a\nb")), "one\n8 two\x1b[2J");
        assert_eq!(line, b"7 a?b one?8 two?[2J\n");
    }
}

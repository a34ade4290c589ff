//! Which commands are run at all: text to words, and the list of what is allowed (spec/run-commands.md section 4).
//!
//! The list is kept where the command runs, so that no peer can widen it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Words of a command at most.
const WORDS_MAX: usize = 32;
/// Bytes of a word at most.
const WORD_MAX: usize = 255;

/// First words of what may be run, and upstream's number of it, for the log. More words may follow.
const ALLOWED: [(&[&str], u32); 2] = [(&["lvm", "lvchange", "--refresh"], 1), (&["lvm", "lvs"], 2)];

/// Options of lvm that bring a configuration of the sender's own: with it, a query could do anything.
const FORBIDDEN_OPTIONS: [&str; 3] = ["--config", "--commandprofile", "--profile"];

/// A command that may be run.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Allowed {
    /// Program and arguments.
    pub words: Vec<String>,
    /// Upstream's number of it.
    pub id: u32,
}

/// Why a command is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Bytes that are neither printable nor white space, or a backslash before an ordinary character. Upstream runs what
    /// stands before; but half a command is another command.
    Unreadable,
    /// More than 32 words, or one of more than 255 bytes.
    TooLong,
    /// Not on the list.
    NotAllowed,
    /// An option that would change the program's configuration.
    Option(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("a character that no command may have"),
            Self::TooLong => write!(f, "more than {WORDS_MAX} words or {WORD_MAX} bytes in one"),
            Self::NotAllowed => f.write_str("only `lvm lvchange --refresh` and `lvm lvs` are run"),
            Self::Option(word) => write!(f, "option {word} is not allowed"),
        }
    }
}

/// The words of a command that may be run.
///
/// # Errors
/// Why it may not.
pub fn allowed(text: &[u8]) -> Result<Allowed, Refusal> {
    let words = words(text)?;
    let starts =
        |first: &[&str]| words.iter().zip(first).filter(|(a, b)| a == *b).count() == first.len();
    let id = ALLOWED.iter().find(|(first, _)| starts(first)).map(|(_, id)| *id);
    let id = id.ok_or(Refusal::NotAllowed)?;
    match words.iter().find(|word| is_forbidden(word)) {
        Some(word) => Err(Refusal::Option(word.clone())),
        None => Ok(Allowed { words, id }),
    }
}

/// getopt takes any unique beginning of a long option's name.
fn is_forbidden(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or(word);
    name.len() > 2
        && name.starts_with("--")
        && FORBIDDEN_OPTIONS.iter().any(|option| option.starts_with(name))
}

/// White space separates; a backslash makes white space or a backslash part of a word.
fn words(text: &[u8]) -> Result<Vec<String>, Refusal> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => match rest.next() {
                Some(next) if is_space(next) || next == b'\\' => word.push(char::from(next)),
                _ => return Err(Refusal::Unreadable),
            },
            _ if is_space(byte) => end_word(&mut word, &mut words)?,
            _ if byte.is_ascii_graphic() => word.push(char::from(byte)),
            _ => return Err(Refusal::Unreadable),
        }
    }
    end_word(&mut word, &mut words)?;
    Ok(words)
}

/// isspace(3) of the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn end_word(word: &mut String, words: &mut Vec<String>) -> Result<(), Refusal> {
    if word.is_empty() {
        return Ok(());
    }
    if word.len() > WORD_MAX || words.len() >= WORDS_MAX {
        return Err(Refusal::TooLong);
    }
    words.push(core::mem::take(word));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    fn split(text: &str) -> Vec<String> {
        words(text.as_bytes()).unwrap()
    }

    #[test]
    fn white_space_separates_and_backslash_keeps_it() {
        assert_eq!(split(" lvm\tlvs\n vg/a\\ b \\\\x "), ["lvm", "lvs", "vg/a b", "\\x"]);
        assert!(split("").is_empty());
        assert_eq!(split("a 'b c' $x;y"), ["a", "'b", "c'", "$x;y"]);
    }

    #[test]
    fn unreadable_text_is_refused_whole() {
        for bad in
            [&b"lvm lvs \\n"[..], b"lvm lvs \\", b"lvm lvs \x01", b"lvm lvs \xc3\xa4", b"lvm\0"]
        {
            assert_eq!(allowed(bad), Err(Refusal::Unreadable), "{bad:?}");
        }
    }

    #[test]
    fn words_have_a_bound_in_number_and_length() {
        let word = |length| "x".repeat(length);
        assert!(allowed(["lvm lvs ", &word(255)].concat().as_bytes()).is_ok());
        assert_eq!(allowed(["lvm lvs ", &word(256)].concat().as_bytes()), Err(Refusal::TooLong));
        assert!(allowed(["lvm lvs", &" x".repeat(30)].concat().as_bytes()).is_ok());
        assert_eq!(
            allowed(["lvm lvs", &" x".repeat(31)].concat().as_bytes()),
            Err(Refusal::TooLong)
        );
    }

    #[test]
    fn only_two_commands_are_run() {
        let id = |text: &str| allowed(text.as_bytes()).map(|allowed| allowed.id);
        assert_eq!(id("lvm lvchange --refresh --partial --nolocking vg/lv"), Ok(1));
        assert_eq!(id("lvm lvs -o +devices "), Ok(2));
        for bad in [
            "",
            "lvm",
            "lvm lvchange vg/lv --refresh",
            "lvm lvremove",
            "/sbin/lvm lvs",
            "true",
            "LVM lvs",
        ] {
            assert_eq!(id(bad), Err(Refusal::NotAllowed), "{bad}");
        }
    }

    #[test]
    fn options_that_bring_a_configuration_are_refused() {
        for bad in ["--config", "--config=x", "--conf", "--prof=x", "--commandprofile", "--p"] {
            let text = ["lvm lvs ", bad].concat();
            assert_eq!(allowed(text.as_bytes()), Err(Refusal::Option(bad.to_string())));
        }
        for good in ["--partial", "--configreport", "-c", "--", "--poll"] {
            assert!(allowed(["lvm lvs ", good].concat().as_bytes()).is_ok(), "{good}");
        }
    }
}

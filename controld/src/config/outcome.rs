//! What a request to change the configuration did.

use std::fmt;

use thiserror::Error;

use super::options::{Key, Value};

/// The longest `set_config` command that is looked at (libdlmcontrol's buffer).
pub(super) const COMMAND_MAX: usize = 1024;

/// An option that now has another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The option.
    pub key: Key,
    /// The value that counted before.
    pub old: Value,
    /// The value that counts now.
    pub new: Value,
}

/// A part of a request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The word of the command, or the option's name.
    pub what: String,
    /// Why.
    pub why: Refusal,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config {}: {}", self.what, self.why)
    }
}

/// Why a part of a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No option has this name.
    #[error("unknown option")]
    Unknown,
    /// The option is read at start only.
    #[error("cannot be changed at run time: restart the daemon")]
    StartOnly,
    /// No `=`, or nothing behind it.
    #[error("no value: write <option>=<value>")]
    NoValue,
    /// Not a number from 0 to 2147483647.
    #[error("`{0}` is not a number that this option can have")]
    BadNumber(String),
    /// The command is longer than any that the library sends.
    #[error("command of {0} bytes, at most {COMMAND_MAX} are allowed")]
    TooLong(usize),
}

/// What a request changed, what it did not, and the lines for the debug log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Options whose value is another one now.
    pub changed: Vec<Change>,
    /// What was refused.
    pub refused: Vec<Refused>,
    /// Debug lines, worded as the C daemon words them.
    pub trace: Vec<String>,
}

impl Outcome {
    /// An option was set, to another value or to the same.
    pub(super) fn note(&mut self, change: Change) {
        self.trace.push(format!(
            "config dynamic {} = {} previous use {}",
            change.key.row().long,
            change.new,
            change.old
        ));
        if change.old != change.new {
            self.changed.push(change);
        }
    }
}

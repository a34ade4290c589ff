//! What a line says besides its text, which the journal has in fields of its own.

use std::borrow::Cow;

/// Fields of a line about something that happened. All of them are optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// `NODE=`: the nodes that it is about, their ids with blanks between them.
    pub node: Option<String>,
    /// `CAUSE=`: one word.
    pub cause: Option<&'static str>,
    /// `DURATION_MS=`: how long it took; the text ends with it, too.
    pub duration_ms: Option<u64>,
}

impl Details {
    /// The text as it is shown: with the duration, which is no part of what makes a line another one.
    pub(super) fn shown<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.duration_ms {
            Some(ms) => format!("{text} ({ms} ms)").into(),
            None => text.into(),
        }
    }
}

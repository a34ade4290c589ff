//! The question to the daemon, and why it may go unanswered.

use dlmcontrol::client::{Client, Error};
use dlmcontrol::state::{SCHEMA_VERSION, State};
use serde::Serialize;
use std::collections::BTreeMap;

/// Why a scrape has no state to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nobody serves the query socket.
    NotRunning,
    /// No answer in time.
    Timeout,
    /// The daemon does not know the question: the C daemon, or an old one of ours.
    NotOurs,
    /// A document that this exporter does not understand.
    Schema,
    /// Anything else.
    Other,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::NotRunning, Self::Timeout, Self::NotOurs, Self::Schema, Self::Other];

    fn of(error: &Error) -> Self {
        match error {
            _ if error.is_not_running() => Self::NotRunning,
            _ if error.is_timeout() => Self::Timeout,
            _ if error.is_unknown_command() => Self::NotOurs,
            Error::Json { .. } => Self::Schema,
            _ => Self::Other,
        }
    }
}

/// Failed scrapes since the exporter began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures(BTreeMap<Cause, u64>);

impl Failures {
    /// Counts one.
    pub fn count(&mut self, cause: Cause) {
        let count = self.0.entry(cause).or_default();
        *count = count.saturating_add(1);
    }

    /// How many there were.
    #[must_use]
    pub fn of(&self, cause: Cause) -> u64 {
        self.0.get(&cause).copied().unwrap_or_default()
    }
}

/// Asks the daemon; blocks for as long as `client` lets it.
///
/// # Errors
/// Why there is no state.
pub(crate) fn ask(client: &Client) -> Result<State, Cause> {
    let state = client.state().map_err(|error| Cause::of(&error))?;
    if state.schema_version == SCHEMA_VERSION { Ok(state) } else { Err(Cause::Schema) }
}

//! `dlm_tool --json`: what queries print for programs. All of it begins with the version of the schema (docs/json.md).

use crate::budget::{self, Budget};
use crate::check::Verdict;
use dlmcontrol::history::History;
use dlmcontrol::state::{Lockspace, SCHEMA_VERSION, State, Time};
use serde::Serialize;
use std::collections::BTreeMap;

/// `ls`.
#[derive(Debug, Serialize)]
struct Lockspaces<'a> {
    schema_version: u32,
    now: Time,
    lockspaces: Vec<&'a Lockspace>,
}

/// `dump_config`.
#[derive(Debug, Serialize)]
struct Config<'a> {
    schema_version: u32,
    config: &'a BTreeMap<String, String>,
}

/// A query that is answered by text.
#[derive(Debug, Serialize)]
struct Lines<'a> {
    schema_version: u32,
    lines: Vec<std::borrow::Cow<'a, str>>,
}

/// `check`.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    schema_version: u32,
    exit_code: u8,
    text: &'a str,
}

/// `history`.
#[derive(Debug, Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    history: &'a History,
    budget: Option<Budget>,
}

/// A document as it is printed.
#[must_use]
pub fn print(document: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    text + "\n"
}

/// `ls`, of all lockspaces or of one; `None`: there is no such lockspace.
#[must_use]
pub fn lockspaces(state: &State, name: Option<&str>) -> Option<String> {
    let lockspaces: Vec<&Lockspace> =
        state.lockspaces.iter().filter(|ls| name.is_none_or(|name| ls.name == name)).collect();
    if name.is_some() && lockspaces.is_empty() {
        return None;
    }
    let now = state.now;
    Some(print(&Lockspaces { schema_version: SCHEMA_VERSION, now, lockspaces }))
}

/// `history`, of all lockspaces or of one.
#[must_use]
pub fn history(history: &History, name: Option<&str>) -> String {
    let budget = budget::budget(history, name);
    let mut history = history.clone();
    history.recoveries.retain(|one| name.is_none_or(|name| one.lockspace == name));
    print(&Told { history: &history, budget })
}

/// `dump_config`.
#[must_use]
pub fn config(state: &State) -> String {
    print(&Config { schema_version: SCHEMA_VERSION, config: &state.config })
}

/// Text answers; bytes that are no UTF-8 show as U+FFFD.
#[must_use]
pub fn lines(text: &[u8]) -> String {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let lines = text.split(|byte| *byte == b'\n').filter(|_| !text.is_empty());
    let lines = lines.map(String::from_utf8_lossy).collect();
    print(&Lines { schema_version: SCHEMA_VERSION, lines })
}

/// `check`.
#[must_use]
pub fn checked(verdict: &Verdict) -> String {
    let Verdict { code, line } = verdict;
    print(&Checked { schema_version: SCHEMA_VERSION, exit_code: *code, text: line })
}

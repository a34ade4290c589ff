//! `dlm_tool check [lockspace]`: one line and an exit code, for scripts and resource agents.

use crate::words::{self, code, duration, what};
use dlmcontrol::client::Error;
use dlmcontrol::state::{DaemonPhase, Lockspace, LockspaceState, State, Wait};

/// What `check` prints and how it exits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// One of the codes of [`words`].
    pub code: u8,
    /// The line, without its end.
    pub line: String,
}

impl Verdict {
    fn new(code: u8, text: &str) -> Self {
        let word = words::word(code);
        Self { code, line: format!("{word}: {text}") }
    }
}

/// The verdict on one lockspace, or on the daemon and all its lockspaces. What was true a while ago is no answer.
#[must_use]
pub fn verdict(state: &State, name: Option<&str>) -> Verdict {
    let verdict = verdict_of(state, name);
    match state.stale_ms {
        None => verdict,
        Some(age) => {
            let (age, line) = (duration(age), verdict.line);
            Verdict::new(
                words::NO_ANSWER,
                &format!("dlm_controld is busy or hangs; {age} ago it said: {line}"),
            )
        }
    }
}

fn verdict_of(state: &State, name: Option<&str>) -> Verdict {
    match state.daemon.phase {
        DaemonPhase::Running => {}
        DaemonPhase::Corosync => return not_ready("connecting to corosync"),
        DaemonPhase::Unfencing => return not_ready("unfencing this node"),
        DaemonPhase::Kernel => return not_ready("waiting for the kernel's dlm devices"),
        DaemonPhase::Ending => return not_ready("ending"),
        DaemonPhase::Other => return not_ready("at something that this dlm_tool does not know"),
    }
    let lockspaces: Vec<&Lockspace> =
        state.lockspaces.iter().filter(|ls| name.is_none_or(|name| ls.name == name)).collect();
    if let (Some(name), true) = (name, lockspaces.is_empty()) {
        return Verdict::new(words::NO_LOCKSPACE, &format!("no lockspace {name} here"));
    }
    for lockspace in &lockspaces {
        if let Some(verdict) = of_lockspace(lockspace, state) {
            return verdict;
        }
    }
    if name.is_none() {
        let nodes = state.nodes.iter().flat_map(|node| {
            node.waits.iter().map(move |wait| (format!("node {}", node.node), wait))
        });
        let daemon = state.cluster.waits.iter().map(|wait| ("the daemon".to_owned(), wait));
        let mut hindering =
            daemon.chain(nodes).filter(|(_, wait)| code(wait.reason) != words::RUNNING);
        if let Some((who, wait)) = hindering.next() {
            return waits(&who, wait, state);
        }
    }
    let without = lockspaces.iter().any(|lockspace| lockspace.without_quorum);
    let note = if without { ", without quorum as their members did not change" } else { "" };
    let text = match (name, lockspaces.len()) {
        (Some(name), _) => format!("lockspace {name}{note}"),
        (None, 1) => format!("1 lockspace{note}"),
        (None, count) => format!("{count} lockspaces{note}"),
    };
    Verdict::new(words::RUNNING, &text)
}

fn not_ready(doing: &str) -> Verdict {
    Verdict::new(words::DAEMON_NOT_READY, &format!("the daemon is {doing}"))
}

/// `None`: it runs and waits for nothing.
fn of_lockspace(lockspace: &Lockspace, state: &State) -> Option<Verdict> {
    let who = format!("lockspace {}", lockspace.name);
    // What holds up the change comes after where the lockspace is in its life, and is the better answer.
    let deepest = lockspace.waits.iter().max_by_key(|wait| match code(wait.reason) {
        words::KERNEL => 1,
        words::JOINING | words::LEAVING => 0,
        _ => 2,
    });
    if let Some(wait) = deepest {
        return Some(waits(&who, wait, state));
    }
    match lockspace.state {
        LockspaceState::Running => None,
        LockspaceState::Joining => Some(Verdict::new(words::JOINING, &who)),
        LockspaceState::Leaving => Some(Verdict::new(words::LEAVING, &who)),
        LockspaceState::Stopped | LockspaceState::Starting => {
            Some(Verdict::new(words::KERNEL, &who))
        }
        LockspaceState::Other => Some(Verdict::new(words::OTHER, &who)),
    }
}

fn waits(who: &str, wait: &Wait, state: &State) -> Verdict {
    let text =
        format!("{who} waits for {}, for {} now", what(wait, state.now), duration(wait.waiting_ms));
    Verdict::new(code(wait.reason), &text)
}

/// The verdict where there is no state to look at.
#[must_use]
pub fn without_state(error: &Error) -> Verdict {
    if matches!(error, Error::Connect { .. }) {
        return Verdict::new(words::NO_DAEMON, &format!("dlm_controld does not run: {error}"));
    }
    if error.is_unknown_command() {
        return Verdict::new(words::CANNOT_SAY, NEEDS_OURS);
    }
    if error.is_timeout() {
        return Verdict::new(words::NO_ANSWER, &format!("dlm_controld does not answer: {error}"));
    }
    Verdict::new(words::CANNOT_SAY, &error.to_string())
}

/// What a C daemon gives.
pub const NEEDS_OURS: &str =
    "this needs the Rust dlm_controld; the daemon here does not know the question (a C daemon?)";

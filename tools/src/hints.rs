//! What is said beyond what the C tool says, on standard error, and to people alone: a program might be confused.

use crate::args::{Command, Invocation};
use crate::insight::PATIENCE;
use crate::run::cut;
use dlmcontrol::client::Client;
use dlmcontrol::proto::NAME_LEN;

/// Whether there is more to say than the C tool says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hints {
    /// On standard error.
    Given,
    /// Nothing.
    Left,
}

/// Where the C tool leaves its user with nothing, or with a success.
const NO_DAEMON: &str = "dlm_controld does not run here: `systemctl status dlm`, or what pacemaker says of its resource (`pcs status`)";

/// Asked before the command is carried out, which may change the answer.
pub(crate) fn before(client: &Client, command: &Command) -> Option<String> {
    let Command::FenceAck(text) = command else { return None };
    // A C daemon does not know the question, and refuses nothing.
    let state = client.clone().with_timeout(Some(PATIENCE)).state().ok()?;
    let node: u32 = std::str::from_utf8(cut(text, NAME_LEN)).ok()?.parse().ok()?;
    let due = state.cluster.startup_nodes.contains(&node)
        || state.nodes.iter().any(|one| one.node == node && one.fencing.needed);
    (!due).then(|| {
        format!(
            "no fencing of node {node} is due here, so the daemon refuses this; `dlm_tool explain` names the nodes that are waited for"
        )
    })
}

/// What is left to say afterwards.
pub(crate) fn after(client: &Client, invocation: &Invocation) -> Option<&'static str> {
    let absent = || client.status().is_err_and(|error| error.is_not_running());
    (asks_as_in_c(invocation) && absent()).then_some(NO_DAEMON)
}

/// Commands that ask the daemon and say of a missing one what the C tool says.
const fn asks_as_in_c(invocation: &Invocation) -> bool {
    if invocation.options.json {
        return false;
    }
    match &invocation.command {
        Command::Ls(_)
        | Command::Status
        | Command::Dump
        | Command::DumpConfig
        | Command::ReloadConfig
        | Command::SetConfig(_)
        | Command::LogPlock
        | Command::Plocks(_)
        | Command::FenceAck(_)
        | Command::Run(_)
        | Command::RunStart(_)
        | Command::RunCheck(_)
        | Command::RunCancel(_)
        | Command::RunList => true,
        Command::Join(_)
        | Command::Leave(_)
        | Command::JoinLeave(_)
        | Command::LockDebug(_)
        | Command::LockDump(_)
        | Command::DeadlockCheck(_)
        | Command::Check(_)
        | Command::History(_)
        | Command::Explain(_)
        | Command::Watch
        | Command::RecordSave(_)
        | Command::Replay(_) => false,
    }
}

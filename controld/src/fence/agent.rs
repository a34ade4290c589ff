//! One run of a fence agent: what it is told, how it is started, ended and waited for (spec/fencing.md section 7).
//!
//! As upstream, the agent gets its arguments on stdin and answers by its exit status. Unlike upstream, what it says is
//! kept (spec/defects-and-latency.md item 75), and it can be ended with all its children (item 17).

use crate::process::{self, Ended};
use dlm_core::event::{AgentOutcome, Token};
use dlm_core::options::Device;
use dlm_core::types::{NodeId, WallSeconds};
use nix::errno::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::Stdio;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::oneshot;

/// An agent's input must be shorter, as upstream has it. This is also what any pipe can hold (`PIPE_BUF`, pipe(7)), so
/// that the whole input is in the pipe before the agent starts, and nobody has to wait for it to be read.
const INPUT_LIMIT: usize = 4096;

/// Where agents are searched if the daemon has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why an agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The victim has failed; the agent does what it does by default, mostly a reboot.
    Fence {
        /// When the actor saw the failure.
        fail_time: WallSeconds,
    },
    /// Our own node is about to start and wants its access back.
    Unfence,
}

/// One run of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRequest {
    /// Of the effect that asks for it.
    pub token: Token,
    /// Whom to fence, or our own node to unfence.
    pub victim: NodeId,
    /// With what.
    pub device: Device,
    /// Why.
    pub purpose: Purpose,
}

/// What the agent reads from stdin: its arguments, a line each.
///
/// Spaces end a line too. The victim is named unless the arguments contain `node=` anywhere, as upstream looks for it.
#[must_use]
pub fn agent_input(request: &AgentRequest) -> String {
    let mut text = String::new();
    for argument in request.device.arguments.iter().filter(|argument| !argument.is_empty()) {
        text.push_str(&argument.replace(' ', "\n"));
        text.push('\n');
    }
    if !text.contains("node=") {
        text.push_str(&format!("node={}\n", request.victim));
    }
    match request.purpose {
        Purpose::Fence { fail_time } => text.push_str(&format!("fail_time={}\n", fail_time.0)),
        Purpose::Unfence => text.push_str("action=on\n"),
    }
    text
}

/// Runs an agent to its end, see [`process::run`]; gives how it ended, and the last 2 KiB of what it said.
///
/// Input of 4096 bytes or more is `NotStarted` with `E2BIG`.
pub async fn run(
    request: AgentRequest,
    kill: oneshot::Receiver<()>,
    started: impl FnOnce(u32),
) -> (AgentOutcome, String) {
    let agent = &request.device.agent;
    let ended = match stdin_holding(&agent_input(&request)) {
        Ok(stdin) => process::run(command(agent, stdin), kill, started).await,
        Err(error) => process::not_started(agent, 0, &error),
    };
    let Ended { outcome, output, .. } = ended;
    (outcome, output)
}

/// An agent has no arguments, and of the daemon's environment only the PATH.
fn command(agent: &str, stdin: Stdio) -> Command {
    let mut command = Command::new(agent);
    command.env_clear().env("PATH", search_path()).env("LANG", "C").stdin(stdin);
    command
}

/// A pipe with the whole input in it and no writer any more.
fn stdin_holding(input: &str) -> io::Result<Stdio> {
    if input.len() >= INPUT_LIMIT {
        return Err(Errno::E2BIG.into());
    }
    let (writer, reader) = pipe::pipe()?;
    File::from(writer.into_blocking_fd()?).write_all(input.as_bytes())?;
    Ok(reader.into_blocking_fd()?.into())
}

/// The daemon's PATH; the rest of its environment is nothing to an agent.
fn search_path() -> OsString {
    std::env::var_os("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into())
}

#[cfg(test)]
mod tests;

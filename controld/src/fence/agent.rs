//! One run of a fence agent: what it is told, how it is started, ended and waited for (spec/fencing.md section 7).
//!
//! As upstream, the agent gets its arguments on stdin and answers by its exit status. Unlike upstream, what it says is
//! kept (spec/defects-and-latency.md item 75), and it can be ended with all its children (item 17).

use super::child;
use dlm_core::event::{AgentOutcome, Token};
use dlm_core::options::Device;
use dlm_core::types::{NodeId, WallSeconds};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// An agent's input must be shorter, as upstream has it. This is also what any pipe can hold (`PIPE_BUF`, pipe(7)), so
/// that the whole input is in the pipe before the agent starts, and nobody has to wait for it to be read.
const INPUT_LIMIT: usize = 4096;

/// Bytes of output that are kept: the last ones, where the reason of a failure stands.
const OUTPUT_KEPT: usize = 2048;

/// Bytes read at once.
const READ_SIZE: usize = 4096;

/// Reads after the agent's end: together the capacity of a pipe (pipe(7)), which is all that the agent itself can have
/// left there. A child of it that still writes must not hold us.
const READS_AFTER_END: usize = 16;

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

/// Runs an agent to its end; gives how it ended, and the last 2 KiB of what it wrote to stdout and stderr.
///
/// A message on `kill` ends the agent's process group with SIGKILL; the agent is waited for even then. A `kill` that is
/// dropped changes nothing. Only the agent itself is waited for: children that it leaves behind live on, but what they
/// write after its end is nobody's.
///
/// An agent that cannot be started, or whose end cannot be learnt, is `NotStarted`, with the reason in the text; input
/// of 4096 bytes or more is `E2BIG`. There is no time limit here: the core has one.
///
/// `started` gets the agent's process id, for people.
///
/// Must be called in a tokio runtime with I/O.
pub async fn run(
    request: AgentRequest,
    kill: oneshot::Receiver<()>,
    started: impl FnOnce(u32),
) -> (AgentOutcome, String) {
    let ended = match start(&request.device.agent, &agent_input(&request)) {
        Ok((child, output)) => {
            started(child.id().unwrap_or(0));
            attend(child, output, kill).await
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok((status, said)) => (outcome(status), said.into_text()),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
            (AgentOutcome::NotStarted(errno), format!("{}: {error}", request.device.agent))
        }
    }
}

/// Starts the agent; gives the reading end of its stdout and stderr.
fn start(agent: &str, input: &str) -> io::Result<(Child, pipe::Receiver)> {
    let stdin = stdin_holding(input)?;
    let (writer, output) = pipe::pipe()?;
    // The agent's own ends must block like any program's: the flag belongs to the end, not to the descriptor.
    let stdout = writer.into_blocking_fd()?;
    let stderr = stdout.try_clone()?;
    let mut command = Command::new(agent);
    command
        .env_clear()
        .env("PATH", search_path())
        .env("LANG", "C")
        .current_dir("/")
        .process_group(0)
        .stdin(stdin)
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr));
    child::detach(&mut command);
    // The command, and with it our copies of the agent's ends, is gone when this returns: else we would never see the
    // end of the output.
    Ok((command.spawn()?, output))
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

/// Reads what the agent says until it ends, and ends it if asked to.
async fn attend(
    mut child: Child,
    mut output: pipe::Receiver,
    mut kill: oneshot::Receiver<()>,
) -> io::Result<(ExitStatus, Tail)> {
    let mut said = Tail::default();
    let mut buffer = [0; READ_SIZE];
    let (mut may_kill, mut may_speak) = (true, true);
    let status = loop {
        tokio::select! {
            biased;
            status = child.wait() => break status?,
            asked = &mut kill, if may_kill => {
                may_kill = false;
                if asked.is_ok() {
                    kill_group(&child);
                }
            }
            read = output.read(&mut buffer), if may_speak => match read {
                Ok(length @ 1..) => said.push(buffer.get(..length).unwrap_or_default()),
                Ok(0) | Err(_) => may_speak = false,
            },
        }
    };
    if may_speak {
        read_rest(output, &mut said);
    }
    Ok((status, said))
}

/// SIGKILL to the agent and its children. The group is named by the agent's process id, which stays taken until the
/// agent has been waited for; after that there is no id to be had, and nothing to kill.
fn kill_group(child: &Child) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // Fails only if nothing is left to be killed.
        let _gone = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
}

/// What was in the pipe when the agent ended. Asks the kernel, not the runtime, which may not know of it yet.
fn read_rest(output: pipe::Receiver, said: &mut Tail) {
    let Ok(descriptor) = output.into_nonblocking_fd() else { return };
    let mut file = File::from(descriptor);
    let mut buffer = [0; READ_SIZE];
    for _ in 0..READS_AFTER_END {
        match file.read(&mut buffer) {
            Ok(length @ 1..) => said.push(buffer.get(..length).unwrap_or_default()),
            Ok(0) | Err(_) => return,
        }
    }
}

/// The end of a stopped process is by exit or by signal, nothing else.
fn outcome(status: ExitStatus) -> AgentOutcome {
    match status.code() {
        Some(code) => AgentOutcome::Exited(code),
        None => AgentOutcome::Signalled(status.signal().unwrap_or_default()),
    }
}

/// The last bytes of an output of any length.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Appends, and forgets what is too old.
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let excess = self.0.len().saturating_sub(OUTPUT_KEPT);
        self.0.drain(..excess);
    }

    /// As text; bytes that are none are replaced.
    fn into_text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests;

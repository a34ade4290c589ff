//! Programs that run apart from the daemon: fence agents, run commands.
//!
//! A program starts as from a shell of root and keeps nothing of the daemon: no descriptor, no ignored signal, no immunity
//! from the kernel's OOM killer (spec/defects-and-latency.md items 87 and 90). It has a process group of its own, so that
//! it can be ended with its children, and what it says is kept. `child` is what happens between fork and exec. `priority`: whom the
//! daemon's own threads run before.

mod child;
pub(crate) mod priority;

use dlm_core::event::AgentOutcome;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// Bytes of output that are kept: the last ones, where the reason of a failure stands.
pub(crate) const OUTPUT_KEPT: usize = 2048;

/// Bytes read at once.
const READ_SIZE: usize = 4096;

/// Reads after the program's end: together the capacity of a pipe (pipe(7)), which is all that the program itself can
/// have left there. A child of it that still writes must not hold us.
const READS_AFTER_END: usize = 16;

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its process id; 0 if it could not be started.
    pub pid: u32,
    /// Its status.
    pub outcome: AgentOutcome,
    /// The last 2 KiB of what it wrote to stdout and stderr, or why it could not be started.
    pub output: String,
}

/// Runs `command` to its end. Its working directory, process group, stdout and stderr are set here; stdin, arguments and
/// environment are the caller's.
///
/// A message on `kill` ends the program's process group with SIGKILL; the program is waited for even then. A `kill` that
/// is dropped changes nothing. Only the program itself is waited for: children that it leaves behind live on, but what
/// they write after its end is nobody's. There is no time limit here: the core has one.
///
/// A program that cannot be started, or whose end cannot be learnt, is `NotStarted`.
///
/// `started` gets the process id, for people.
///
/// Must be called in a tokio runtime with I/O.
pub async fn run(
    command: Command,
    kill: oneshot::Receiver<()>,
    started: impl FnOnce(u32),
) -> Ended {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let mut pid = 0;
    let ended = match start(command) {
        Ok((child, output)) => {
            pid = child.id().unwrap_or(0);
            started(pid);
            attend(child, output, kill).await
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok((status, said)) => Ended { pid, outcome: outcome(status), output: said.into_text() },
        Err(error) => not_started(&name, pid, &error),
    }
}

/// The end of a program that never began.
#[must_use]
pub fn not_started(name: &str, pid: u32, error: &io::Error) -> Ended {
    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
    Ended { pid, outcome: AgentOutcome::NotStarted(errno), output: format!("{name}: {error}") }
}

/// Starts the program; gives the reading end of its stdout and stderr.
fn start(mut command: Command) -> io::Result<(Child, pipe::Receiver)> {
    let (writer, output) = pipe::pipe()?;
    // The program's own ends must block like any program's: the flag belongs to the end, not to the descriptor.
    let stdout = writer.into_blocking_fd()?;
    let stderr = stdout.try_clone()?;
    command
        .current_dir("/")
        .process_group(0)
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr));
    child::detach(&mut command);
    // The command, and with it our copies of the program's ends, is gone when this returns: else we would never see the
    // end of the output.
    Ok((command.spawn()?, output))
}

/// Reads what the program says until it ends, and ends it if asked to.
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
                    kill_group(child.id().unwrap_or(0));
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

/// SIGKILL to a program and its children; 0 is none. The group is named by its process id, which stays taken until it has
/// been waited for; after that there is no id to be had, and nothing to kill.
pub(crate) fn kill_group(pid: u32) {
    if let Some(id) = i32::try_from(pid).ok().filter(|id| *id > 0) {
        // Fails only if nothing is left to be killed.
        let _gone = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
}

/// What was in the pipe when the program ended. Asks the kernel, not the runtime, which may not know of it yet.
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

//! The parent that starts the daemon, and the daemon's way out of its caller's session.

use super::error::ServiceError;
use super::readiness::{Report, VARIABLE};
use super::{PROCESS_NAME, readiness};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Exit status of a parent whose daemon does not serve.
const FAILURE: u8 = 1;

/// Starts the daemon, waits until it serves or says why not, and tells the exit status. The reason is printed.
pub(super) fn launch() -> Result<u8, ServiceError> {
    let failed = |operation| move |source: io::Error| ServiceError::Launch { operation, source };
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)
        .map_err(|errno| failed("make a pipe")(errno.into()))?;
    let mut child = spawn(write)?;
    let report =
        readiness::Report::read(File::from(read)).map_err(failed("hear from the daemon"))?;
    // A caller that tries again at once must not meet the lock of a daemon that is on its way out.
    let mut ended = || child.wait().map_err(failed("wait for the daemon"));
    let reason = match report {
        Report::Ready => return Ok(0),
        Report::Failed(reason) => ended().map(|_| reason)?,
        Report::Silent => died(ended()?),
    };
    // There is nobody to tell that standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{reason}");
    Ok(FAILURE)
}

/// The daemon, by the path of the running program: `/proc/self/exe` itself would give the process the name `exe`.
fn spawn(pipe: OwnedFd) -> Result<Child, ServiceError> {
    let failed = |operation| move |source: io::Error| ServiceError::Launch { operation, source };
    let program = std::env::current_exe().map_err(failed("find the program's path"))?;
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_else(|| PROCESS_NAME.into());
    // The one descriptor that the daemon inherits. There is no other thread that could start a program meanwhile.
    fcntl(&pipe, FcntlArg::F_SETFD(FdFlag::empty()))
        .map_err(|errno| failed("hand down a pipe")(errno.into()))?;
    Command::new(program)
        .arg0(name)
        .args(words)
        .env(VARIABLE, pipe.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed("start the daemon"))
}

fn died(status: ExitStatus) -> String {
    format!("{PROCESS_NAME} ended before it could serve: {status}")
}

/// A session of its own, and no directory that somebody may want to unmount. The parent has seen to the standard files.
pub(super) fn detach() -> Result<(), ServiceError> {
    let failed = |operation| move |source| ServiceError::Detach { operation, source };
    nix::unistd::setsid().map_err(|errno| failed("begin a session")(errno.into()))?;
    std::env::set_current_dir("/").map_err(failed("change to directory /"))
}

/// The process's name, whatever the program's file is called. Threads that start later inherit it.
pub(super) fn take_name() -> Result<(), ServiceError> {
    let failed = |source| ServiceError::Detach { operation: "take the name of a daemon", source };
    let name = CString::new(PROCESS_NAME).map_err(|error| failed(error.into()))?;
    nix::sys::prctl::set_name(&name).map_err(|errno| failed(errno.into()))
}

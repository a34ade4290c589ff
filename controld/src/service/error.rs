//! What can go wrong with the daemon as a process.

use super::PROCESS_NAME;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no daemon, or what it has to do without.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The lock file. The text begins as the C daemon's, which scripts know.
    #[error("lockfile {step} error {}: {}{}", path.display(), reason(source), remedy(*step, source))]
    PidFile {
        /// What was tried.
        step: PidFileStep,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file was replaced again and again while we locked it.
    #[error("lockfile setlk error {}: the file does not stay the same", path.display())]
    PidFileUnsteady {
        /// Which file.
        path: PathBuf,
    },
    /// The directory of the lock file.
    #[error("cannot create directory {}: {}{}", path.display(), reason(source), as_root(source))]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The parent cannot start the daemon.
    #[error("daemon error: cannot {operation}: {source}")]
    Launch {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The daemon cannot leave its caller's session and files.
    #[error("daemon error: cannot {operation}: {source}")]
    Detach {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The variable by which a parent hands down its pipe holds something else.
    #[error(
        "daemon error: {variable}={value} is not a pipe from a parent {PROCESS_NAME}: unset it"
    )]
    NotHandedDown {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// Signals.
    #[error("cannot receive signal {signal}: {source}")]
    Signal {
        /// Which.
        signal: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Memory.
    #[error("cannot lock memory: {operation}: {source}")]
    LockMemory {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: nix::Error,
    },
    /// systemd.
    #[error("cannot tell systemd {state}: {source}")]
    Notify {
        /// What.
        state: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The list of open descriptors.
    #[error("cannot list open descriptors in {path}: {source}")]
    Descriptors {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The word in the C daemon's texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidFileStep {
    /// Opening it.
    Open,
    /// Locking it: another daemon runs.
    SetLock,
    /// Emptying it.
    Truncate,
    /// Writing our process id.
    Write,
}

impl fmt::Display for PidFileStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::SetLock => "setlk",
            Self::Truncate => "truncate",
            Self::Write => "write",
        })
    }
}

/// The C library's text alone, without the number that the standard library puts behind it.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.as_str(), |(text, _)| text).to_owned()
}

/// What to do about the lock file.
fn remedy(step: PidFileStep, error: &io::Error) -> &'static str {
    match (step, error.raw_os_error()) {
        // Which of the two it is where another process holds the lock is the system's choice.
        (PidFileStep::SetLock, Some(libc::EAGAIN | libc::EACCES)) => {
            " (another dlm_controld runs, its process id is in the file: end that one first)"
        }
        _ => as_root(error),
    }
}

/// What to do where the system forbids it.
fn as_root(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (run dlm_controld as root)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_file(step: PidFileStep, errno: i32) -> String {
        let source = io::Error::from_raw_os_error(errno);
        ServiceError::PidFile { step, path: "/run/x.pid".into(), source }.to_string()
    }

    #[test]
    fn who_may_not_is_told_who_may() {
        for errno in [libc::EACCES, libc::EPERM] {
            let source = io::Error::from_raw_os_error(errno);
            let directory = ServiceError::Directory { path: "/run/x".into(), source }.to_string();
            let open = lock_file(PidFileStep::Open, errno);
            for (text, beginning) in [
                (directory, "cannot create directory /run/x: "),
                (open, "lockfile open error /run/x.pid: "),
            ] {
                assert!(text.starts_with(beginning), "{text}");
                assert!(text.ends_with(" (run dlm_controld as root)"), "{text}");
            }
        }
        assert_eq!(
            lock_file(PidFileStep::Write, libc::ENOSPC),
            "lockfile write error /run/x.pid: No space left on device"
        );
    }

    #[test]
    fn another_daemon_is_named_whatever_the_system_says() {
        for errno in [libc::EAGAIN, libc::EACCES] {
            let text = lock_file(PidFileStep::SetLock, errno);
            assert!(text.contains("another dlm_controld runs"), "{text}");
        }
        assert!(!lock_file(PidFileStep::SetLock, libc::ENOLCK).contains("another"));
    }
}

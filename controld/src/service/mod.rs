//! The daemon as a process: background or foreground, lock file, memory, signals, systemd (spec/logging-and-files.md
//! sections 2 and 3, DESIGN.md "Daemonising").
//!
//! tokio and threads do not survive a fork, so the background daemon is a fresh process: the parent runs its own
//! program again with the same words, gives it a pipe, and waits until it is told that the sockets are bound, or why
//! not. It never waits for corosync. [`start`] is the first thing that main calls: parent and daemon both come there.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that cannot go on fails"))]

mod background;
mod descriptors;
mod error;
mod pid_file;
mod readiness;
mod signals;
pub mod systemd;

pub use descriptors::inheritable_descriptors;
pub use error::{PidFileStep, ServiceError};
pub use pid_file::PidFile;
pub use readiness::Readiness;
pub use signals::{Signals, Terminate};

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl::set_thp_disable;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode as FileMode, umask};
use std::path::PathBuf;

/// The name of the process, which pacemaker's agent and scripts look up.
pub const PROCESS_NAME: &str = "dlm_controld";

/// The lock and pid file of the C daemon.
pub const PID_FILE: &str = "/var/run/dlm_controld/dlm_controld.pid";

/// Whether the caller gets its prompt back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Neither `--foreground` nor `-D`: a new process in a session of its own.
    Background,
    /// This process is the daemon, with the caller's standard files.
    Foreground,
}

/// Where things are; tests have places of their own.
#[derive(Clone, Debug)]
pub struct ServicePaths {
    /// Lock and pid file; missing directories are made.
    pub pid_file: PathBuf,
}

impl Default for ServicePaths {
    fn default() -> Self {
        Self { pid_file: PathBuf::from(PID_FILE) }
    }
}

/// What this process is.
#[derive(Debug)]
pub enum Role {
    /// The caller's process, whose work is done: exit with this status. A reason was printed.
    Parent(u8),
    /// The daemon.
    Daemon {
        /// Tells the parent, if there is one.
        readiness: Readiness,
        /// Holds the lock; dropped at the very end, as that removes the file.
        pid_file: PidFile,
    },
}

/// Finds out what this process is, and makes it that. As daemon: standard signals, umask 022, process name, and in the
/// background a session of its own, `/` as directory and null devices as standard files; then the lock.
///
/// To be called first in main, before there are threads and before anything is opened: it changes the environment.
///
/// # Errors
/// The parent could not start a daemon, or the daemon could not set itself up; the latter was told to the parent too, so
/// main has to log it and to exit with status 1.
pub fn start(mode: Mode, paths: &ServicePaths) -> Result<Role, ServiceError> {
    signals::reset()?;
    let handed_down = readiness::handed_down()?;
    descriptors::keep_from_children();
    let readiness = match (mode, handed_down) {
        (Mode::Background, None) => return background::launch().map(Role::Parent),
        (Mode::Background, Some(readiness)) => readiness,
        (Mode::Foreground, _) => Readiness::nobody(),
    };
    match set_up(mode, paths) {
        Ok(pid_file) => Ok(Role::Daemon { readiness, pid_file }),
        Err(error) => {
            readiness.failed(&error.to_string());
            Err(error)
        }
    }
}

fn set_up(mode: Mode, paths: &ServicePaths) -> Result<PidFile, ServiceError> {
    // What is made with the C daemon's modes shall get its permissions, whoever starts us.
    umask(FileMode::S_IWGRP | FileMode::S_IWOTH);
    background::take_name()?;
    if mode == Mode::Background {
        background::detach()?;
    }
    PidFile::take(&paths.pid_file)
}

/// Keeps what is in use, now and later, in memory: the daemon must work when the storage it would be paged in from is
/// blocked by the very recovery it has to carry out. Pages are locked when they are first touched (`MCL_ONFAULT`); all
/// of them at once would cost hundreds of megabytes for thread stacks and corosync's buffers. No huge pages either: libcpg
/// keeps a buffer of a megabyte for each lockspace, of which it uses the beginning, and each would become two resident ones;
/// for the same reason these buffers are kept apart from the heap (`large_buffers_apart`).
///
/// # Errors
/// The kernel says no. Worth a line in the log; the daemon can go on.
pub fn lock_memory() -> Result<(), ServiceError> {
    let failed = |operation| move |source| ServiceError::LockMemory { operation, source };
    large_buffers_apart();
    set_thp_disable(true).map_err(failed("do without huge pages"))?;
    let lock = || {
        let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
        mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
    };
    // Below a limit the lock would not fail now but later, as allocations that fail.
    let limit = Resource::RLIMIT_MEMLOCK;
    let Err(not_lifted) = setrlimit(limit, RLIM_INFINITY, RLIM_INFINITY) else {
        return lock().map_err(failed("mlockall"));
    };
    // No limit binds who has CAP_IPC_LOCK, as root of a container may have without the right to lift one. With a limit of 0 nobody
    // else gets the lock.
    let (soft, hard) = getrlimit(limit).map_err(failed("read RLIMIT_MEMLOCK"))?;
    setrlimit(limit, 0, hard).map_err(failed("lower RLIMIT_MEMLOCK"))?;
    let locked = lock();
    setrlimit(limit, soft, hard).map_err(failed("restore RLIMIT_MEMLOCK"))?;
    locked.map_err(|_| failed("lift RLIMIT_MEMLOCK")(not_lifted))
}

/// An allocation of this size, in bytes, and above has pages of its own.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 * 1024;

/// Whoever frees a large buffer gives its pages back, and whoever gets one gets untouched pages. By itself glibc puts
/// large buffers into the heap as soon as one has been freed, and the next one there is cleared, all of it, while a join waits.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "neither std nor nix has mallopt")]
fn large_buffers_apart() {
    // SAFETY: the call takes two numbers, and the lock of the allocator. It fails for numbers that it does not know alone.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

#[cfg(not(target_env = "gnu"))]
const fn large_buffers_apart() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Such a buffer begins behind two words at the begin of a page; one of the heap does so by rare chance. What is free in the
    /// heap, as other tests left it, is used first.
    #[cfg(target_env = "gnu")]
    #[test]
    fn a_large_buffer_has_pages_of_its_own_after_others_were_freed() {
        large_buffers_apart();
        let buffer = || vec![0_u8; 1 << 20];
        drop(buffer());
        let buffers: Vec<Vec<u8>> = (0..100).map(|_| buffer()).collect();
        for buffer in buffers.iter().rev().take(2) {
            assert_eq!(buffer.as_ptr().addr() % 4096, 16);
        }
    }
}

//! Between fork and exec of a program: undo what the daemon does to itself.
//!
//! Other threads of the daemon may have held any lock at the fork, so that nothing here may allocate, lock or log; only
//! calls that signal-safety(7) lists, or plain system calls.

use nix::fcntl::OFlag;
use nix::sys::prctl::set_thp_disable;
use nix::sys::signal::SigSet;
use nix::sys::stat::Mode;
use std::ffi::{CStr, c_int};
use std::io;
use tokio::process::Command;

/// The first descriptor that a program must not have.
const FIRST_OWN_DESCRIPTOR: u32 = 3;

/// `CLOSE_RANGE_CLOEXEC` of linux/close_range.h: mark instead of closing, because std reports a failed exec through a
/// descriptor of its own.
const CLOSE_RANGE_CLOEXEC: c_int = 4;

/// Where a process says how gladly the kernel should kill it for memory, proc(5).
const OOM_SCORE_FILE: &CStr = c"/proc/self/oom_score_adj";

/// Makes the command start without the daemon's descriptors, signal dispositions, signal mask, OOM score and refusal of huge
/// pages.
#[expect(unsafe_code, reason = "there is no safe way to run code between fork and exec")]
pub(super) fn detach(command: &mut Command) {
    // SAFETY: `reset` only makes async-signal-safe calls and touches no memory but its own stack, so that it may run in
    // the child of a process with several threads.
    unsafe {
        command.pre_exec(reset);
    }
}

/// Runs in the child. A failure is no reason to leave a node unfenced: the daemon's descriptors are close-on-exec
/// anyhow, and an agent that ignores SIGHUP or keeps the daemon's OOM score still fences.
fn reset() -> io::Result<()> {
    reset_signals();
    reset_oom_score();
    let _refused = set_thp_disable(false);
    mark_descriptors();
    Ok(())
}

/// An exec resets handlers, but what the daemon ignores (SIGHUP, SIGPIPE) or blocks would stay so in the agent.
#[expect(unsafe_code, reason = "nix's call knows no real-time signals and is unsafe as well")]
fn reset_signals() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the default disposition runs no code of ours; numbers that cannot be changed are refused.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
        }
    }
    let _refused = SigSet::empty().thread_set_mask();
}

/// The daemon is at -1000, never to be killed; an agent that runs away with the memory must not be.
fn reset_oom_score() {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    if let Ok(file) = nix::fcntl::open(OOM_SCORE_FILE, flags, Mode::empty()) {
        let _refused = nix::unistd::write(&file, b"0");
    }
}

/// Descriptors of the daemon that live on in a program would hide the daemon's death from the kernel and from corosync.
#[expect(unsafe_code, reason = "nix has no close_range")]
fn mark_descriptors() {
    // SAFETY: no descriptor is closed here, only marked to be closed by exec; ownership in this process does not change.
    unsafe {
        libc::close_range(FIRST_OWN_DESCRIPTOR, u32::MAX, CLOSE_RANGE_CLOEXEC);
    }
}

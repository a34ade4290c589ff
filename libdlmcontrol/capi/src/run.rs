//! Commands run on other nodes, as lvmlockd does it (spec/control-socket.md section 7).

use crate::memory::{self, copy, fail, failure, result, signed, store};
use dlmcontrol::Client;
use dlmcontrol::proto::{NAME_LEN, errno};
use std::ffi::{c_char, c_int};
use std::time::Duration;

/// Has a command run; gives the uuid to ask for it. `len` was never looked at.
///
/// # Safety
/// `run_command` is null or a C string; `run_uuid` is null or has 64 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_run_start(
    run_command: *const c_char,
    _len: c_int,
    nodeid: c_int,
    flags: u32,
    run_uuid: *mut c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    let command = match unsafe { memory::command(run_command) } {
        Ok(command) if !run_uuid.is_null() => command,
        _ => return fail(errno::EINVAL),
    };
    match Client::new().run_start(command, nodeid, signed(flags)) {
        Ok(uuid) => {
            let mut field = [0_u8; NAME_LEN];
            field.iter_mut().zip(uuid.bytes()).for_each(|(to, from)| *to = from);
            // SAFETY: the caller's promise.
            unsafe { copy(&field, run_uuid) };
            0
        }
        Err(error) => failure(&error),
    }
}

/// Asks what became of a command, once a second until it is done or the time is over.
///
/// # Safety
/// `run_uuid` is null, a C string, or has 64 bytes; `check_status` is null or the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_run_check(
    run_uuid: *const c_char,
    _len: c_int,
    wait_sec: c_int,
    flags: u32,
    check_status: *mut u32,
) -> c_int {
    // SAFETY: the caller's promise.
    let uuid = match unsafe { memory::name(run_uuid) } {
        Ok(uuid) if !check_status.is_null() => uuid,
        _ => return fail(errno::EINVAL),
    };
    let wait = u64::try_from(wait_sec).map_or(Duration::MAX, Duration::from_secs);
    let answer = Client::new().run_check(uuid, wait, signed(flags));
    // SAFETY: the caller's promise. What else the daemon says is not the C library's to tell.
    result(answer.map(|answer| unsafe { store(answer.status, check_status) }))
}

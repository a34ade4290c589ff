//! The connection of a file system that acknowledges failures. The descriptor is the caller's from connect to disconnect.

use crate::memory::{self, copy, fail, failure, result, signed, store};
use dlmcontrol::Client;
use dlmcontrol::client::{Error, FsConnection};
use dlmcontrol::proto::{Command, NAME_LEN};
use std::ffi::{c_char, c_int};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};

/// `DLMC_RESULT_REGISTER`
const RESULT_REGISTER: c_int = 1;
/// `DLMC_RESULT_NOTIFIED`
const RESULT_NOTIFIED: c_int = 2;

/// Does something with the caller's descriptor, which stays open.
fn with<T>(
    fd: c_int,
    action: impl FnOnce(&mut FsConnection) -> Result<T, Error>,
) -> Result<T, c_int> {
    if fd < 0 {
        return Err(fail(libc::EBADF));
    }
    // SAFETY: the descriptor belongs to the caller, who lends it to this call; it is never dropped here. A number that is
    // not open makes the system call fail with EBADF.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut connection = ManuallyDrop::new(FsConnection::from(fd));
    action(&mut connection).map_err(|error| failure(&error))
}

/// A descriptor for the calls below, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn dlmc_fs_connect() -> c_int {
    match Client::new().fs_connect() {
        Ok(connection) => OwnedFd::from(connection).into_raw_fd(),
        Err(error) => failure(&error),
    }
}

/// Closes it.
#[unsafe(no_mangle)]
pub extern "C" fn dlmc_fs_disconnect(fd: c_int) {
    // SAFETY: the caller gives its descriptor back; a number that is not open is an error that nobody is told of.
    let _ = unsafe { libc::close(fd) };
}

/// Registers for a lockspace; the answer is for [`dlmc_fs_result`].
///
/// # Safety
/// `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_fs_register(fd: c_int, name: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { memory::name(name) } {
        Ok(name) => sent(with(fd, |connection| connection.register(name))),
        Err(errno) => fail(errno),
    }
}

/// Takes the registration back; there is no answer.
///
/// # Safety
/// `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_fs_unregister(fd: c_int, name: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { memory::name(name) } {
        Ok(name) => sent(with(fd, |connection| connection.unregister(name))),
        Err(errno) => fail(errno),
    }
}

/// Says that the file system has seen a node's failure; the answer is for [`dlmc_fs_result`].
///
/// # Safety
/// `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_fs_notified(fd: c_int, name: *const c_char, nodeid: c_int) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { memory::name(name) } {
        Ok(name) => sent(with(fd, |connection| connection.notified(name, nodeid))),
        Err(errno) => fail(errno),
    }
}

fn sent(outcome: Result<(), c_int>) -> c_int {
    outcome.map_or_else(|code| code, |()| result(Ok(())))
}

/// The next answer. The name gets 64 bytes, NUL padded: one of full length has no NUL.
///
/// # Safety
/// `name` is null or has 64 bytes; the others are null or the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_fs_result(
    fd: c_int,
    name: *mut c_char,
    kind: *mut c_int,
    nodeid: *mut c_int,
    outcome: *mut c_int,
) -> c_int {
    let answer = match with(fd, FsConnection::result) {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    let mut field = [0_u8; NAME_LEN];
    field.iter_mut().zip(&answer.lockspace).for_each(|(to, from)| *to = *from);
    let number = match answer.command {
        Some(Command::FsRegister) => RESULT_REGISTER,
        Some(Command::FsNotified) => RESULT_NOTIFIED,
        _ => 0,
    };
    // SAFETY: the caller's promise; null pointers are told apart.
    unsafe {
        if !name.is_null() {
            copy(&field, name);
        }
        store(number, kind);
        store(signed(answer.node), nodeid);
        store(answer.result, outcome);
    }
    0
}

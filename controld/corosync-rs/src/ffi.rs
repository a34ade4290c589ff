//! The C libraries: declarations made by hand from corosync's headers, and the only `unsafe` of the crate.
//!
//! Each connection owns a [`Sink`] that its callbacks push into while a dispatch runs; the caller of the dispatch empties
//! it afterwards, so that no code of ours runs inside a callback and none can re-enter the library. A unit test has the C
//! compiler compare every structure, constant and prototype with the headers.

#![expect(unsafe_code, reason = "calls into C; nothing above this module needs it")]

mod cfg;
mod cmap;
mod cpg;
mod declarations;
mod quorum;

pub(crate) use cfg::CfgConnection;
pub(crate) use cmap::CmapConnection;
pub(crate) use cpg::CpgConnection;
pub(crate) use declarations::{ADDRESS_LENGTH, CPG_MAX_NAME_LENGTH};
pub(crate) use quorum::QuorumConnection;

use crate::error::{Code, Error, Result};
use crate::types::RingId;
use declarations::CRingId;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::ffi::{c_int, c_void};
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `CS_OK` or the error with its name.
fn check(call: &'static str, raw: c_int) -> Result<()> {
    check_about(call, raw, String::new)
}

fn check_about(call: &'static str, raw: c_int, about: impl FnOnce() -> String) -> Result<()> {
    match Code::from_raw(raw) {
        None => Ok(()),
        Some(code) => Err(Error::Call { call, about: about(), code }),
    }
}

/// What one dispatch has found: `CS_ERR_TRY_AGAIN` says nothing was there.
fn dispatched(call: &'static str, raw: c_int) -> Result<bool> {
    match check(call, raw) {
        Ok(()) => Ok(true),
        Err(error) if error.is_try_again() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where the callbacks of one connection leave what they were told.
struct Sink<E>(Mutex<Vec<E>>);

impl<E> Sink<E> {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Vec::new())))
    }

    fn events(&self) -> MutexGuard<'_, Vec<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<E> {
        std::mem::take(&mut *self.events())
    }

    /// Push through the context pointer that a callback has asked its library for.
    ///
    /// # Safety
    /// `context` is null, or the pointer of a live `Arc<Sink<E>>` of this same `E`.
    unsafe fn push(context: *const c_void, event: E) {
        // SAFETY: the caller's promise; shared access only, the Vec is behind the mutex.
        if let Some(sink) = unsafe { context.cast::<Self>().as_ref() } {
            sink.events().push(event);
        }
    }
}

/// Copy a list that C has handed to a callback.
///
/// # Safety
/// `list` is null, or points to at least `entries` values of `T`, aligned or not.
unsafe fn copy_list<T: Copy>(list: *const T, entries: usize) -> Vec<T> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: each index is below `entries`, so within the caller's promise.
    (0..entries).map(|at| unsafe { list.add(at).read_unaligned() }).collect()
}

/// As [`copy_list`], for node ids counted in 32 bits.
///
/// # Safety
/// As [`copy_list`].
unsafe fn copy_nodes(list: *const u32, entries: u32) -> Vec<u32> {
    // SAFETY: the caller's promise. A count beyond usize cannot occur; nothing is read then.
    unsafe { copy_list(list, usize::try_from(entries).unwrap_or_default()) }
}

impl From<CRingId> for RingId {
    fn from(ring: CRingId) -> Self {
        Self { node: ring.nodeid, seq: ring.seq }
    }
}

/// The descriptor of a new connection, closed when a program is run.
fn descriptor(call: &'static str, get: impl FnOnce(&mut c_int) -> c_int) -> Result<RawFd> {
    let mut fd = -1;
    check(call, get(&mut fd))?;
    // SAFETY: the library has just given the descriptor of a connection that is open during this call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(|errno| Error::System { call: "fcntl(F_SETFD)", errno })?;
    Ok(fd)
}

#[cfg(test)]
#[path = "ffi_tests.rs"]
mod tests;

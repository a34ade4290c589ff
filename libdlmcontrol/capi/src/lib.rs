//! `libdlmcontrol.so.3`: the C library of dlm_controld's clients, for programs that were built for the original one
//! (spec/control-socket.md section 6; ../include/libdlmcontrol.h says what each function promises).
//!
//! Calls block without a limit, as they always did: programs bring their own limits (pacemaker's agent those of its
//! operations), and a hung daemon that is answered for with an early failure would pass for one that waits for nothing.
//! Where the original reads on, or writes behind a buffer, because the daemon says so, this one fails.
#![expect(unsafe_code, reason = "the C interface; each pointer with its reason")]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod filesystem;
mod memory;
pub mod run;

use dlmcontrol::Client;
use dlmcontrol::client::Error;
use dlmcontrol::proto::{DUMP_MAX, Lockspace, Node, NodeList, errno};
use dlmcontrol::report;
use memory::{copy, fail, failure, result, store};
use std::ffi::{CString, c_char, c_int};
use std::time::{SystemTime, UNIX_EPOCH};

/// `DLMC_STATUS_VERBOSE`
const STATUS_VERBOSE: u32 = 1;

/// Copies a text to a buffer of [`DUMP_MAX`] bytes, with no NUL behind it.
///
/// # Safety
/// `buf` is null or has [`DUMP_MAX`] bytes.
unsafe fn dump(buf: *mut c_char, ask: impl FnOnce(&Client) -> Result<Vec<u8>, Error>) -> c_int {
    if buf.is_null() {
        return fail(errno::EINVAL);
    }
    match ask(&Client::new()) {
        // SAFETY: `get` has seen to it that the text fits the buffer.
        Ok(text) => unsafe { copy(text.get(..DUMP_MAX).unwrap_or(&text), buf) },
        Err(error) => return failure(&error),
    }
    0
}

/// The daemon's debug messages.
///
/// # Safety
/// `buf` is null or has 1 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_dump_debug(buf: *mut c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { dump(buf, Client::dump_debug) }
}

/// Options.
///
/// # Safety
/// `buf` is null or has 1 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_dump_config(buf: *mut c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { dump(buf, Client::dump_config) }
}

/// Commands that were started on other nodes.
///
/// # Safety
/// `buf` is null or has 1 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_dump_run(buf: *mut c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { dump(buf, Client::dump_run) }
}

/// Messages about POSIX locks.
///
/// # Safety
/// `buf` is null or has 1 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_dump_log_plock(buf: *mut c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { dump(buf, Client::dump_log_plock) }
}

/// POSIX locks of a lockspace.
///
/// # Safety
/// `name` is null or a C string; `buf` is null or has 1 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_dump_plocks(name: *const c_char, buf: *mut c_char) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { memory::name(name) } {
        // SAFETY: the caller's promise.
        Ok(name) => unsafe { dump(buf, |client| client.dump_plocks(name).map(|found| found.text)) },
        Err(errno) => fail(errno),
    }
}

/// One lockspace.
///
/// # Safety
/// `lsname` is null or a C string; `ls` is null or has room for a `struct dlmc_lockspace`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_lockspace_info(lsname: *const c_char, ls: *mut Lockspace) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { memory::name(lsname) } {
        Ok(name) if !ls.is_null() => {
            // SAFETY: the caller's promise.
            result(Client::new().lockspace_info(name).map(|found| unsafe { store(found, ls) }))
        }
        _ => fail(errno::EINVAL),
    }
}

/// One node of a lockspace.
///
/// # Safety
/// `lsname` is null or a C string; `node` is null or has room for a `struct dlmc_node`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_node_info(
    lsname: *const c_char,
    nodeid: c_int,
    node: *mut Node,
) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { memory::name(lsname) } {
        Ok(name) if !node.is_null() => {
            // SAFETY: the caller's promise.
            result(Client::new().node_info(name, nodeid).map(|found| unsafe { store(found, node) }))
        }
        _ => fail(errno::EINVAL),
    }
}

/// All lockspaces, in memory that the caller frees. The 4.2 form: 4.1 had another under the same soname.
///
/// # Safety
/// `count` is null or an int of the caller, `lss` null or a pointer of the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_lockspaces(count: *mut c_int, lss: *mut *mut Lockspace) -> c_int {
    if count.is_null() || lss.is_null() {
        return fail(errno::EINVAL);
    }
    let found = match Client::new().lockspaces() {
        Ok(found) => found,
        Err(error) => return failure(&error),
    };
    // One at least: a null pointer would look like a failure.
    // SAFETY: no precondition.
    let memory = unsafe { libc::calloc(found.len().max(1), size_of::<Lockspace>()) };
    if memory.is_null() {
        return memory::FAILED;
    }
    // SAFETY: calloc gave room for all; the pointers are the caller's promise.
    unsafe {
        copy(&found, memory);
        store(memory.cast(), lss);
        store(c_int::try_from(found.len()).unwrap_or(c_int::MAX), count);
    }
    0
}

/// Nodes of a lockspace.
///
/// # Safety
/// `lsname` is null or a C string; `count` is null or an int of the caller; `nodes` is null or has room for `max` of
/// `struct dlmc_node`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_lockspace_nodes(
    lsname: *const c_char,
    list: c_int,
    max: c_int,
    count: *mut c_int,
    nodes: *mut Node,
) -> c_int {
    let list = u32::try_from(list).ok().and_then(NodeList::from_number);
    // No cluster has more than the client may ask for.
    let max = u16::try_from(max.min(c_int::from(u16::MAX)));
    // SAFETY: the caller's promise.
    let (Ok(name), Some(list), Ok(max)) = (unsafe { memory::name(lsname) }, list, max) else {
        return fail(errno::EINVAL);
    };
    if count.is_null() || nodes.is_null() {
        return fail(errno::EINVAL);
    }
    let listing = match Client::new().lockspace_nodes(name, list, max) {
        Ok(listing) => listing,
        Err(error) => return failure(&error),
    };
    let fitting = listing.entries.get(..usize::from(max));
    let complete = !listing.truncated && listing.entries.len() <= usize::from(max);
    let entries = fitting.unwrap_or(&listing.entries);
    let number = if complete { c_int::try_from(entries.len()) } else { Ok(-errno::E2BIG) };
    // SAFETY: at most `max` entries; the pointers are the caller's promise.
    unsafe {
        copy(entries, nodes);
        store(number.unwrap_or(-errno::E2BIG), count);
    }
    0
}

/// Prints what `dlm_tool status` shows, through the C library's stdout, as the caller's own text goes there.
#[unsafe(no_mangle)]
pub extern "C" fn dlmc_print_status(flags: u32) -> c_int {
    let (text, code) = match Client::new().status() {
        Ok(records) if flags & STATUS_VERBOSE != 0 => (report::verbose(&records), 0),
        Ok(records) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            (report::brief(&records, now.map_or(0, |since| since.as_secs())), 0)
        }
        Err(error @ Error::Connect { .. }) => {
            ("cannot connect to dlm_controld\n".to_owned(), failure(&error))
        }
        Err(error @ Error::Send { .. }) => {
            ("cannot send to dlm_controld\n".to_owned(), failure(&error))
        }
        Err(error) => return failure(&error),
    };
    // The texts have no NUL: the client cuts records at the first.
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: the format takes exactly one C string.
    unsafe { libc::printf(c"%s".as_ptr(), text.as_ptr()) };
    code
}

/// Has dlm.conf read again.
#[unsafe(no_mangle)]
pub extern "C" fn dlmc_reload_config() -> c_int {
    result(Client::new().reload_config())
}

/// Changes options.
///
/// # Safety
/// `command` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_set_config(command: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { memory::command(command) } {
        Ok(command) => result(Client::new().set_config(command)),
        Err(errno) => fail(errno),
    }
}

/// An operator says that a node is fenced.
///
/// # Safety
/// `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_fence_ack(name: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { memory::name(name) } {
        Ok(name) => result(Client::new().fence_ack_text(name)),
        Err(errno) => fail(errno),
    }
}

/// Never did anything; the request is made for the sake of the daemon's log.
///
/// # Safety
/// `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlmc_deadlock_check(name: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { memory::name(name) } {
        Ok(name) => result(Client::new().deadlock_check(name)),
        Err(errno) => fail(errno),
    }
}

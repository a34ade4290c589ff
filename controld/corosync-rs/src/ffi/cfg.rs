//! libcfg.

use super::declarations::{
    ADDRESS_LENGTH, CFG_MAX_LINKS, CS_DISPATCH_ONE_NONBLOCKING, CfgCallbacks, CfgNodeAddress,
    corosync_cfg_dispatch, corosync_cfg_fd_get, corosync_cfg_finalize, corosync_cfg_get_node_addrs,
    corosync_cfg_initialize, corosync_cfg_kill_node, corosync_cfg_local_get,
    corosync_cfg_replyto_shutdown, corosync_cfg_trackstart,
};
use super::{check, check_about, descriptor, dispatched};
use crate::cfg::ShutdownKind;
use crate::error::Result;
use std::cell::RefCell;
use std::ffi::{CStr, c_uint};
use std::os::fd::{BorrowedFd, RawFd};

thread_local! {
    /// libcfg has no context value. Its callback runs on the thread that dispatches, and a dispatch empties this
    /// before it returns, so what is found here belongs to the connection being dispatched.
    static SHUTDOWN_QUESTIONS: RefCell<Vec<ShutdownKind>> = const { RefCell::new(Vec::new()) };
}

extern "C" fn on_shutdown(_handle: u64, flags: c_uint) {
    // try_with: a panic must not unwind into C, should a thread dispatch while it is being torn down.
    let _torn_down = SHUTDOWN_QUESTIONS.try_with(|questions| {
        if let Ok(mut questions) = questions.try_borrow_mut() {
            questions.push(ShutdownKind::from_raw(flags));
        }
    });
}

/// A connection of libcfg.
pub(crate) struct CfgConnection {
    handle: u64,
    fd: RawFd,
}

impl CfgConnection {
    pub(crate) fn open() -> Result<Self> {
        let callbacks = CfgCallbacks { shutdown: on_shutdown };
        let mut handle = 0;
        // SAFETY: libcfg copies the callbacks; `handle` is ours to write to.
        let raw = unsafe { corosync_cfg_initialize(&raw mut handle, &raw const callbacks) };
        check("corosync_cfg_initialize", raw)?;
        let mut connection = Self { handle, fd: -1 };
        connection.fd = descriptor("corosync_cfg_fd_get", |fd| {
            // SAFETY: the handle is alive, `fd` ours to write to.
            unsafe { corosync_cfg_fd_get(handle, fd) }
        })?;
        Ok(connection)
    }

    pub(crate) fn dispatch_one(&self) -> Result<Option<Vec<ShutdownKind>>> {
        // SAFETY: the handle is alive; callbacks only push into this thread's list.
        let raw = unsafe { corosync_cfg_dispatch(self.handle, CS_DISPATCH_ONE_NONBLOCKING) };
        let questions = SHUTDOWN_QUESTIONS.take();
        Ok(dispatched("corosync_cfg_dispatch", raw)?.then_some(questions))
    }

    pub(crate) fn local_node(&self) -> Result<u32> {
        let mut node = 0;
        // SAFETY: the handle is alive, `node` ours to write to.
        let raw = unsafe { corosync_cfg_local_get(self.handle, &raw mut node) };
        check("corosync_cfg_local_get", raw)?;
        Ok(node)
    }

    pub(crate) fn kill_node(&self, node: u32, reason: &CStr) -> Result<()> {
        // SAFETY: the handle is alive, the text valid during the call.
        let raw = unsafe { corosync_cfg_kill_node(self.handle, node, reason.as_ptr()) };
        check_about("corosync_cfg_kill_node", raw, || node.to_string())
    }

    pub(crate) fn track(&self) -> Result<()> {
        // SAFETY: the handle is alive. The flags have no meaning in corosync 3.
        check("corosync_cfg_trackstart", unsafe { corosync_cfg_trackstart(self.handle, 0) })
    }

    pub(crate) fn answer_shutdown(&self, flags: u32) -> Result<()> {
        // SAFETY: the handle is alive.
        let raw = unsafe { corosync_cfg_replyto_shutdown(self.handle, flags) };
        check("corosync_cfg_replyto_shutdown", raw)
    }

    /// Bytes of a `sockaddr` each.
    pub(crate) fn node_addresses(&self, node: u32) -> Result<Vec<[u8; ADDRESS_LENGTH]>> {
        let unset = CfgNodeAddress { address_length: 0, address: [0; ADDRESS_LENGTH] };
        let mut addresses = [unset; CFG_MAX_LINKS];
        let mut found = 0;
        // SAFETY: the handle is alive; libcfg writes at most CFG_MAX_LINKS entries and their number.
        let raw = unsafe {
            corosync_cfg_get_node_addrs(
                self.handle,
                node,
                CFG_MAX_LINKS,
                &raw mut found,
                addresses.as_mut_ptr(),
            )
        };
        check_about("corosync_cfg_get_node_addrs", raw, || node.to_string())?;
        let found = usize::try_from(found).unwrap_or_default();
        Ok(addresses.iter().take(found).map(|entry| entry.address).collect())
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the library keeps the descriptor open as long as the handle, which outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for CfgConnection {
    fn drop(&mut self) {
        // SAFETY: as for `CpgConnection`.
        let _freed = unsafe { corosync_cfg_finalize(self.handle) };
    }
}

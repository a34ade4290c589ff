//! libcpg.

use super::declarations::{
    CPG_MAX_NAME_LENGTH, CPG_MODEL_V1, CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF, CPG_TYPE_AGREED,
    CRingId, CS_DISPATCH_ONE_NONBLOCKING, CpgAddress, CpgModelV1, CpgName, IoVec, cpg_context_get,
    cpg_dispatch, cpg_fd_get, cpg_finalize, cpg_join, cpg_leave, cpg_local_get, cpg_mcast_joined,
    cpg_model_initialize,
};
use super::{Sink, check, check_about, copy_list, copy_nodes, descriptor, dispatched};
use crate::cpg::{CpgEvent, Process, Reason};
use crate::error::{Error, Result};
use std::ffi::c_void;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;
use std::sync::Arc;

impl From<CpgAddress> for (Process, Reason) {
    fn from(address: CpgAddress) -> Self {
        (Process { node: address.nodeid, pid: address.pid }, Reason::from_raw(address.reason))
    }
}

extern "C" fn on_deliver(
    handle: u64,
    _group: *const CpgName,
    node: u32,
    pid: u32,
    message: *mut c_void,
    length: usize,
) {
    // SAFETY: libcpg gives `length` bytes that are valid during the callback.
    let bytes = unsafe { copy_bytes(message.cast(), length) };
    push_cpg(handle, CpgEvent::Message { from: Process { node, pid }, bytes });
}

/// # Safety
/// `start` is null, or points to `length` bytes.
unsafe fn copy_bytes(start: *const u8, length: usize) -> Vec<u8> {
    if start.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(start, length) }.to_vec()
}

extern "C" fn on_confchg(
    handle: u64,
    _group: *const CpgName,
    members: *const CpgAddress,
    members_entries: usize,
    left: *const CpgAddress,
    left_entries: usize,
    joined: *const CpgAddress,
    joined_entries: usize,
) {
    // SAFETY: libcpg gives lists of these lengths that are valid during the callback.
    let [members, left, joined] =
        [(members, members_entries), (left, left_entries), (joined, joined_entries)]
            .map(|(list, entries)| unsafe { copy_list(list, entries) });
    push_cpg(
        handle,
        CpgEvent::Confchg {
            members: members.into_iter().map(|m| <(Process, Reason)>::from(m).0).collect(),
            joined: joined.into_iter().map(Into::into).collect(),
            left: left.into_iter().map(Into::into).collect(),
        },
    );
}

extern "C" fn on_totem(handle: u64, ring: CRingId, entries: u32, members: *const u32) {
    // SAFETY: libcpg gives a list of this length that is valid during the callback.
    let members = unsafe { copy_nodes(members, entries) };
    push_cpg(handle, CpgEvent::Ring { ring: ring.into(), members });
}

fn push_cpg(handle: u64, event: CpgEvent) {
    let mut context = ptr::null_mut();
    // SAFETY: called from a callback, so the handle is alive; `context` is ours to write to.
    if check("cpg_context_get", unsafe { cpg_context_get(handle, &raw mut context) }).is_ok() {
        // SAFETY: the only context ever given to libcpg is the Arc of `CpgConnection`, alive until its finalize.
        unsafe { Sink::push(context, event) };
    }
}

/// A name for libcpg.
fn cpg_name(name: &[u8]) -> Result<CpgName> {
    let length = name.len();
    let mut value = [0; CPG_MAX_NAME_LENGTH];
    match (value.get_mut(..length), u32::try_from(length)) {
        (Some(target), Ok(counted)) if length > 0 => {
            target.copy_from_slice(name);
            Ok(CpgName { length: counted, value })
        }
        _ => Err(Error::GroupName { length }),
    }
}

/// A connection of libcpg.
pub(crate) struct CpgConnection {
    handle: u64,
    fd: RawFd,
    sink: Arc<Sink<CpgEvent>>,
}

impl CpgConnection {
    pub(crate) fn open() -> Result<Self> {
        let sink = Sink::new();
        let mut model = CpgModelV1 {
            model: CPG_MODEL_V1,
            deliver: on_deliver,
            confchg: on_confchg,
            totem: on_totem,
            flags: CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF,
        };
        let mut handle = 0;
        let context = Arc::as_ptr(&sink).cast_mut().cast();
        // SAFETY: libcpg copies the model; the context outlives the handle, which `drop` ends before the Arc.
        let raw =
            unsafe { cpg_model_initialize(&raw mut handle, CPG_MODEL_V1, &raw mut model, context) };
        check("cpg_model_initialize", raw)?;
        let mut connection = Self { handle, fd: -1, sink };
        // SAFETY: the handle is alive, `fd` ours to write to.
        connection.fd = descriptor("cpg_fd_get", |fd| unsafe { cpg_fd_get(handle, fd) })?;
        Ok(connection)
    }

    pub(crate) fn dispatch_one(&self) -> Result<Option<Vec<CpgEvent>>> {
        // SAFETY: the handle is alive; callbacks only push into the sink.
        let raw = unsafe { cpg_dispatch(self.handle, CS_DISPATCH_ONE_NONBLOCKING) };
        Ok(dispatched("cpg_dispatch", raw)?.then(|| self.sink.take()))
    }

    pub(crate) fn join(&self, name: &[u8]) -> Result<()> {
        let c_name = cpg_name(name)?;
        // SAFETY: the handle is alive, the name valid during the call.
        let raw = unsafe { cpg_join(self.handle, &raw const c_name) };
        check_about("cpg_join", raw, || name.escape_ascii().to_string())
    }

    pub(crate) fn leave(&self, name: &[u8]) -> Result<()> {
        let c_name = cpg_name(name)?;
        // SAFETY: the handle is alive, the name valid during the call.
        let raw = unsafe { cpg_leave(self.handle, &raw const c_name) };
        check_about("cpg_leave", raw, || name.escape_ascii().to_string())
    }

    pub(crate) fn send(&self, message: &[u8]) -> Result<()> {
        let vector = IoVec { base: message.as_ptr().cast(), length: message.len() };
        // SAFETY: the handle is alive; libcpg reads one vector of bytes that are valid during the call.
        let raw = unsafe { cpg_mcast_joined(self.handle, CPG_TYPE_AGREED, &raw const vector, 1) };
        check_about("cpg_mcast_joined", raw, || format!("{} bytes", message.len()))
    }

    pub(crate) fn local_node(&self) -> Result<u32> {
        let mut node = 0;
        // SAFETY: the handle is alive, `node` ours to write to.
        check("cpg_local_get", unsafe { cpg_local_get(self.handle, &raw mut node) })?;
        Ok(node)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the library keeps the descriptor open as long as the handle, which outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for CpgConnection {
    fn drop(&mut self) {
        // SAFETY: the handle is alive and used by nobody after this; no callback runs, as none ever drops us. The
        // answer is of no use: the library frees its side in any case.
        let _freed = unsafe { cpg_finalize(self.handle) };
    }
}

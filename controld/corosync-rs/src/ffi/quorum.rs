//! libquorum.

use super::declarations::{
    CRingId, CS_DISPATCH_ONE_NONBLOCKING, CS_TRACK_CURRENT_AND_CHANGES, QUORUM_MODEL_V1,
    QuorumModelV1, quorum_context_get, quorum_dispatch, quorum_fd_get, quorum_finalize,
    quorum_model_initialize, quorum_trackstart,
};
use super::{Sink, check, copy_nodes, descriptor, dispatched};
use crate::error::Result;
use crate::quorum::QuorumEvent;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;
use std::sync::Arc;

extern "C" fn on_quorum(
    handle: u64,
    quorate: u32,
    ring: CRingId,
    entries: u32,
    members: *const u32,
) {
    // SAFETY: libquorum gives a list of this length that is valid during the callback.
    let members = unsafe { copy_nodes(members, entries) };
    push_quorum(handle, QuorumEvent::Quorum { quorate: quorate != 0, ring: ring.into(), members });
}

extern "C" fn on_nodelist(
    handle: u64,
    ring: CRingId,
    members_entries: u32,
    members: *const u32,
    joined_entries: u32,
    joined: *const u32,
    left_entries: u32,
    left: *const u32,
) {
    // SAFETY: libquorum gives lists of these lengths that are valid during the callback.
    let [members, joined, left] =
        [(members, members_entries), (joined, joined_entries), (left, left_entries)]
            .map(|(list, entries)| unsafe { copy_nodes(list, entries) });
    push_quorum(handle, QuorumEvent::Nodelist { ring: ring.into(), members, joined, left });
}

fn push_quorum(handle: u64, event: QuorumEvent) {
    let mut context = ptr::null();
    // SAFETY: called from a callback, so the handle is alive; `context` is ours to write to.
    if check("quorum_context_get", unsafe { quorum_context_get(handle, &raw mut context) }).is_ok()
    {
        // SAFETY: the only context ever given to libquorum is the Arc of `QuorumConnection`, alive until its finalize.
        unsafe { Sink::push(context, event) };
    }
}

/// A connection of libquorum.
pub(crate) struct QuorumConnection {
    handle: u64,
    fd: RawFd,
    sink: Arc<Sink<QuorumEvent>>,
}

impl QuorumConnection {
    pub(crate) fn open() -> Result<Self> {
        let sink = Sink::new();
        let mut model =
            QuorumModelV1 { model: QUORUM_MODEL_V1, quorum: on_quorum, nodelist: on_nodelist };
        let (mut handle, mut kind) = (0, 0);
        let context = Arc::as_ptr(&sink).cast_mut().cast();
        // SAFETY: libquorum copies the model; the context outlives the handle, which `drop` ends before the Arc.
        let raw = unsafe {
            quorum_model_initialize(
                &raw mut handle,
                QUORUM_MODEL_V1,
                &raw mut model,
                &raw mut kind,
                context,
            )
        };
        check("quorum_model_initialize", raw)?;
        let mut connection = Self { handle, fd: -1, sink };
        // SAFETY: the handle is alive, `fd` ours to write to.
        connection.fd = descriptor("quorum_fd_get", |fd| unsafe { quorum_fd_get(handle, fd) })?;
        Ok(connection)
    }

    pub(crate) fn track(&self) -> Result<()> {
        // SAFETY: the handle is alive.
        let raw = unsafe { quorum_trackstart(self.handle, CS_TRACK_CURRENT_AND_CHANGES) };
        check("quorum_trackstart", raw)
    }

    pub(crate) fn dispatch_one(&self) -> Result<Option<Vec<QuorumEvent>>> {
        // SAFETY: the handle is alive; callbacks only push into the sink.
        let raw = unsafe { quorum_dispatch(self.handle, CS_DISPATCH_ONE_NONBLOCKING) };
        Ok(dispatched("quorum_dispatch", raw)?.then(|| self.sink.take()))
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the library keeps the descriptor open as long as the handle, which outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for QuorumConnection {
    fn drop(&mut self) {
        // SAFETY: as for `CpgConnection`.
        let _freed = unsafe { quorum_finalize(self.handle) };
    }
}

//! Constants, structures and functions of corosync's headers, by hand.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// `CPG_MAX_NAME_LENGTH`
pub(crate) const CPG_MAX_NAME_LENGTH: usize = 128;
/// `CPG_MODEL_V1`
pub(super) const CPG_MODEL_V1: c_uint = 1;
/// `CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF`: the ring id comes right after the join.
pub(super) const CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF: c_uint = 1;
/// `CPG_TYPE_AGREED`
pub(super) const CPG_TYPE_AGREED: c_uint = 2;
/// `CS_DISPATCH_ONE_NONBLOCKING`
pub(super) const CS_DISPATCH_ONE_NONBLOCKING: c_uint = 4;
/// `CS_TRACK_CURRENT | CS_TRACK_CHANGES`
pub(super) const CS_TRACK_CURRENT_AND_CHANGES: c_uint = 3;
/// `QUORUM_MODEL_V1`
pub(super) const QUORUM_MODEL_V1: c_uint = 1;
/// `CFG_MAX_LINKS`: a node has no more addresses.
pub(super) const CFG_MAX_LINKS: usize = 8;
/// `sizeof(struct sockaddr_in6)`
pub(crate) const ADDRESS_LENGTH: usize = 28;

#[repr(C)]
pub(super) struct CpgName {
    pub(super) length: u32,
    pub(super) value: [u8; CPG_MAX_NAME_LENGTH],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct CpgAddress {
    pub(super) nodeid: u32,
    pub(super) pid: u32,
    pub(super) reason: u32,
}

/// `struct cpg_ring_id` and `struct quorum_ring_id`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct CRingId {
    pub(super) nodeid: u32,
    pub(super) seq: u64,
}

pub(super) type CpgDeliver = extern "C" fn(u64, *const CpgName, u32, u32, *mut c_void, usize);
pub(super) type CpgConfchg = extern "C" fn(
    u64,
    *const CpgName,
    *const CpgAddress,
    usize,
    *const CpgAddress,
    usize,
    *const CpgAddress,
    usize,
);
pub(super) type CpgTotem = extern "C" fn(u64, CRingId, u32, *const u32);

#[repr(C)]
pub(super) struct CpgModelV1 {
    pub(super) model: c_uint,
    pub(super) deliver: CpgDeliver,
    pub(super) confchg: CpgConfchg,
    pub(super) totem: CpgTotem,
    pub(super) flags: c_uint,
}

#[repr(C)]
pub(super) struct IoVec {
    pub(super) base: *const c_void,
    pub(super) length: usize,
}

pub(super) type QuorumNotify = extern "C" fn(u64, u32, CRingId, u32, *const u32);
pub(super) type NodelistNotify =
    extern "C" fn(u64, CRingId, u32, *const u32, u32, *const u32, u32, *const u32);

#[repr(C)]
pub(super) struct QuorumModelV1 {
    pub(super) model: c_uint,
    pub(super) quorum: QuorumNotify,
    pub(super) nodelist: NodelistNotify,
}

#[repr(C)]
pub(super) struct CfgCallbacks {
    pub(super) shutdown: extern "C" fn(u64, c_uint),
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct CfgNodeAddress {
    pub(super) address_length: c_int,
    pub(super) address: [u8; ADDRESS_LENGTH],
}

unsafe extern "C" {
    pub(super) fn cpg_model_initialize(
        handle: *mut u64,
        model: c_uint,
        model_data: *mut CpgModelV1,
        context: *mut c_void,
    ) -> c_int;
    pub(super) fn cpg_finalize(handle: u64) -> c_int;
    pub(super) fn cpg_fd_get(handle: u64, fd: *mut c_int) -> c_int;
    pub(super) fn cpg_context_get(handle: u64, context: *mut *mut c_void) -> c_int;
    pub(super) fn cpg_dispatch(handle: u64, flags: c_uint) -> c_int;
    pub(super) fn cpg_join(handle: u64, group: *const CpgName) -> c_int;
    pub(super) fn cpg_leave(handle: u64, group: *const CpgName) -> c_int;
    pub(super) fn cpg_mcast_joined(
        handle: u64,
        guarantee: c_uint,
        iovec: *const IoVec,
        n: c_uint,
    ) -> c_int;
    pub(super) fn cpg_local_get(handle: u64, nodeid: *mut c_uint) -> c_int;

    pub(super) fn quorum_model_initialize(
        handle: *mut u64,
        model: c_uint,
        model_data: *mut QuorumModelV1,
        quorum_type: *mut u32,
        context: *mut c_void,
    ) -> c_int;
    pub(super) fn quorum_finalize(handle: u64) -> c_int;
    pub(super) fn quorum_fd_get(handle: u64, fd: *mut c_int) -> c_int;
    pub(super) fn quorum_context_get(handle: u64, context: *mut *const c_void) -> c_int;
    pub(super) fn quorum_dispatch(handle: u64, flags: c_uint) -> c_int;
    pub(super) fn quorum_trackstart(handle: u64, flags: c_uint) -> c_int;

    pub(super) fn corosync_cfg_initialize(
        handle: *mut u64,
        callbacks: *const CfgCallbacks,
    ) -> c_int;
    pub(super) fn corosync_cfg_finalize(handle: u64) -> c_int;
    pub(super) fn corosync_cfg_fd_get(handle: u64, fd: *mut i32) -> c_int;
    pub(super) fn corosync_cfg_dispatch(handle: u64, flags: c_uint) -> c_int;
    pub(super) fn corosync_cfg_local_get(handle: u64, nodeid: *mut c_uint) -> c_int;
    pub(super) fn corosync_cfg_kill_node(
        handle: u64,
        nodeid: c_uint,
        reason: *const c_char,
    ) -> c_int;
    pub(super) fn corosync_cfg_trackstart(handle: u64, flags: u8) -> c_int;
    pub(super) fn corosync_cfg_replyto_shutdown(handle: u64, flags: c_uint) -> c_int;
    pub(super) fn corosync_cfg_get_node_addrs(
        handle: u64,
        nodeid: c_uint,
        max_addrs: usize,
        num_addrs: *mut c_int,
        addrs: *mut CfgNodeAddress,
    ) -> c_int;

    pub(super) fn cmap_initialize(handle: *mut u64) -> c_int;
    pub(super) fn cmap_finalize(handle: u64) -> c_int;
    pub(super) fn cmap_get(
        handle: u64,
        key: *const c_char,
        value: *mut c_void,
        length: *mut usize,
        kind: *mut c_uint,
    ) -> c_int;
}

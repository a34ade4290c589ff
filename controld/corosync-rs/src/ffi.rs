//! The C libraries: declarations made by hand from corosync's headers, and the only `unsafe` of the crate.
//!
//! Each connection owns a [`Sink`] that its callbacks push into while a dispatch runs; the caller of the dispatch empties
//! it afterwards, so that no code of ours runs inside a callback and none can re-enter the library. A unit test at the
//! foot has the C compiler compare every structure, constant and prototype with the headers.

#![expect(unsafe_code, reason = "calls into C; nothing above this module needs it")]

use crate::cfg::ShutdownKind;
use crate::cpg::{CpgEvent, Process, Reason};
use crate::error::{Code, Error, Result};
use crate::quorum::QuorumEvent;
use crate::types::RingId;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `CPG_MAX_NAME_LENGTH`
pub(crate) const CPG_MAX_NAME_LENGTH: usize = 128;
/// `CPG_MODEL_V1`
const CPG_MODEL_V1: c_uint = 1;
/// `CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF`: the ring id comes right after the join.
const CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF: c_uint = 1;
/// `CPG_TYPE_AGREED`
const CPG_TYPE_AGREED: c_uint = 2;
/// `CS_DISPATCH_ONE_NONBLOCKING`
const CS_DISPATCH_ONE_NONBLOCKING: c_uint = 4;
/// `CS_TRACK_CURRENT | CS_TRACK_CHANGES`
const CS_TRACK_CURRENT_AND_CHANGES: c_uint = 3;
/// `QUORUM_MODEL_V1`
const QUORUM_MODEL_V1: c_uint = 1;
/// `CFG_MAX_LINKS`: a node has no more addresses.
const CFG_MAX_LINKS: usize = 8;
/// `sizeof(struct sockaddr_in6)`
pub(crate) const ADDRESS_LENGTH: usize = 28;

#[repr(C)]
struct CpgName {
    length: u32,
    value: [u8; CPG_MAX_NAME_LENGTH],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CpgAddress {
    nodeid: u32,
    pid: u32,
    reason: u32,
}

/// `struct cpg_ring_id` and `struct quorum_ring_id`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CRingId {
    nodeid: u32,
    seq: u64,
}

type CpgDeliver = extern "C" fn(u64, *const CpgName, u32, u32, *mut c_void, usize);
type CpgConfchg = extern "C" fn(
    u64,
    *const CpgName,
    *const CpgAddress,
    usize,
    *const CpgAddress,
    usize,
    *const CpgAddress,
    usize,
);
type CpgTotem = extern "C" fn(u64, CRingId, u32, *const u32);

#[repr(C)]
struct CpgModelV1 {
    model: c_uint,
    deliver: CpgDeliver,
    confchg: CpgConfchg,
    totem: CpgTotem,
    flags: c_uint,
}

#[repr(C)]
struct IoVec {
    base: *const c_void,
    length: usize,
}

type QuorumNotify = extern "C" fn(u64, u32, CRingId, u32, *const u32);
type NodelistNotify =
    extern "C" fn(u64, CRingId, u32, *const u32, u32, *const u32, u32, *const u32);

#[repr(C)]
struct QuorumModelV1 {
    model: c_uint,
    quorum: QuorumNotify,
    nodelist: NodelistNotify,
}

#[repr(C)]
struct CfgCallbacks {
    shutdown: extern "C" fn(u64, c_uint),
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CfgNodeAddress {
    address_length: c_int,
    address: [u8; ADDRESS_LENGTH],
}

unsafe extern "C" {
    fn cpg_model_initialize(
        handle: *mut u64,
        model: c_uint,
        model_data: *mut CpgModelV1,
        context: *mut c_void,
    ) -> c_int;
    fn cpg_finalize(handle: u64) -> c_int;
    fn cpg_fd_get(handle: u64, fd: *mut c_int) -> c_int;
    fn cpg_context_get(handle: u64, context: *mut *mut c_void) -> c_int;
    fn cpg_dispatch(handle: u64, flags: c_uint) -> c_int;
    fn cpg_join(handle: u64, group: *const CpgName) -> c_int;
    fn cpg_leave(handle: u64, group: *const CpgName) -> c_int;
    fn cpg_mcast_joined(handle: u64, guarantee: c_uint, iovec: *const IoVec, n: c_uint) -> c_int;
    fn cpg_local_get(handle: u64, nodeid: *mut c_uint) -> c_int;

    fn quorum_model_initialize(
        handle: *mut u64,
        model: c_uint,
        model_data: *mut QuorumModelV1,
        quorum_type: *mut u32,
        context: *mut c_void,
    ) -> c_int;
    fn quorum_finalize(handle: u64) -> c_int;
    fn quorum_fd_get(handle: u64, fd: *mut c_int) -> c_int;
    fn quorum_context_get(handle: u64, context: *mut *const c_void) -> c_int;
    fn quorum_dispatch(handle: u64, flags: c_uint) -> c_int;
    fn quorum_trackstart(handle: u64, flags: c_uint) -> c_int;

    fn corosync_cfg_initialize(handle: *mut u64, callbacks: *const CfgCallbacks) -> c_int;
    fn corosync_cfg_finalize(handle: u64) -> c_int;
    fn corosync_cfg_fd_get(handle: u64, fd: *mut i32) -> c_int;
    fn corosync_cfg_dispatch(handle: u64, flags: c_uint) -> c_int;
    fn corosync_cfg_local_get(handle: u64, nodeid: *mut c_uint) -> c_int;
    fn corosync_cfg_kill_node(handle: u64, nodeid: c_uint, reason: *const c_char) -> c_int;
    fn corosync_cfg_trackstart(handle: u64, flags: u8) -> c_int;
    fn corosync_cfg_replyto_shutdown(handle: u64, flags: c_uint) -> c_int;
    fn corosync_cfg_get_node_addrs(
        handle: u64,
        nodeid: c_uint,
        max_addrs: usize,
        num_addrs: *mut c_int,
        addrs: *mut CfgNodeAddress,
    ) -> c_int;

    fn cmap_initialize(handle: *mut u64) -> c_int;
    fn cmap_finalize(handle: u64) -> c_int;
    fn cmap_get(
        handle: u64,
        key: *const c_char,
        value: *mut c_void,
        length: *mut usize,
        kind: *mut c_uint,
    ) -> c_int;
}

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

impl From<CpgAddress> for (Process, Reason) {
    fn from(address: CpgAddress) -> Self {
        (Process { node: address.nodeid, pid: address.pid }, Reason::from_raw(address.reason))
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

/// A connection of libcmap.
pub(crate) struct CmapConnection {
    handle: u64,
}

impl CmapConnection {
    pub(crate) fn open() -> Result<Self> {
        let mut handle = 0;
        // SAFETY: `handle` is ours to write to.
        check("cmap_initialize", unsafe { cmap_initialize(&raw mut handle) })?;
        Ok(Self { handle })
    }

    /// Length and type of a value.
    pub(crate) fn measure(&self, key: &CStr) -> Result<(usize, u32)> {
        let (mut length, mut kind) = (0, 0);
        // SAFETY: the handle is alive; without a buffer libcmap reports only length and type.
        let raw = unsafe {
            let (length, kind) = (&raw mut length, &raw mut kind);
            cmap_get(self.handle, key.as_ptr(), ptr::null_mut(), length, kind)
        };
        check_about("cmap_get", raw, || key.to_string_lossy().into_owned())?;
        Ok((length, kind))
    }

    /// Fill `value`; the answer is the value's length and type.
    pub(crate) fn read(&self, key: &CStr, value: &mut [u8]) -> Result<(usize, u32)> {
        let (mut length, mut kind) = (value.len(), 0);
        // SAFETY: the handle is alive; libcmap writes at most `length` bytes, and refuses where it would need more.
        let raw = unsafe {
            let (buffer, length, kind) =
                (value.as_mut_ptr().cast(), &raw mut length, &raw mut kind);
            cmap_get(self.handle, key.as_ptr(), buffer, length, kind)
        };
        check_about("cmap_get", raw, || key.to_string_lossy().into_owned())?;
        Ok((length, kind))
    }
}

impl Drop for CmapConnection {
    fn drop(&mut self) {
        // SAFETY: as for `CpgConnection`.
        let _freed = unsafe { cmap_finalize(self.handle) };
    }
}

#[cfg(test)]
#[path = "ffi_tests.rs"]
mod tests;

//! Linux' errors that requests end with (asm-generic/errno-base.h and errno.h).

/// ENOENT: nothing to unlock or to cancel.
pub(super) const ENOENT: i32 = 2;
/// EINTR: whoever waited has closed the file, and is dead as a rule.
pub(super) const EINTR: i32 = 4;
/// EAGAIN.
const EAGAIN: i32 = 11;
/// The result where there is a conflicting lock, and the request does not wait.
pub(super) const CONFLICT: i32 = -EAGAIN;
/// EEXIST: what the C daemon says where it does not know the lockspace.
pub(crate) const EEXIST: i32 = 17;
/// EINVAL: a request that makes no sense.
pub(super) const EINVAL: i32 = 22;
/// ENOSYS: `enable_plock=0`.
pub(crate) const ENOSYS: i32 = 38;

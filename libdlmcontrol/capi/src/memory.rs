//! What comes from a C caller and goes to it: strings, buffers, errno. The only place that follows its pointers.

use dlmcontrol::client::Error;
use dlmcontrol::proto::{NAME_LEN, TEXT_LEN, errno};
use std::ffi::{c_char, c_int};
use std::mem::size_of_val;

/// What the functions return for a failure whose reason is in errno.
pub(crate) const FAILED: c_int = -1;

/// Fails for a reason.
pub(crate) fn fail(errno: c_int) -> c_int {
    // SAFETY: the C library's errno of this thread, which is always there.
    unsafe { *libc::__errno_location() = errno };
    FAILED
}

/// The result of a failed call: the daemon's word as it is, with errno left alone, or -1 with errno.
pub(crate) fn failure(error: &Error) -> c_int {
    match error {
        Error::Refused { errno, .. } => errno.saturating_neg(),
        _ => fail(error.errno()),
    }
}

/// 0, or what [`failure`] makes of it.
pub(crate) fn result(answer: Result<(), Error>) -> c_int {
    answer.map_or_else(|error| failure(&error), |()| 0)
}

/// The same 32 bits, as the other side declares them.
pub(crate) fn signed(bits: u32) -> c_int {
    c_int::from_ne_bytes(bits.to_ne_bytes())
}

/// A string of the caller up to its NUL, or to `max` bytes; `None` for a null pointer.
///
/// # Safety
/// `text` is null, or points to a NUL or `max` readable bytes, which stay as they are for `'a`.
unsafe fn bounded<'a>(text: *const c_char, max: usize) -> Option<&'a [u8]> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; strnlen reads nothing behind the NUL.
    unsafe {
        let length = libc::strnlen(text, max);
        Some(std::slice::from_raw_parts(text.cast(), length))
    }
}

/// A name, cut to the protocol's field without a word, as the C library does it.
///
/// # Safety
/// `text` is null, or a C string, or has [`NAME_LEN`] bytes.
pub(crate) unsafe fn name<'a>(text: *const c_char) -> Result<&'a [u8], c_int> {
    // SAFETY: the caller's promise.
    unsafe { bounded(text, NAME_LEN) }.ok_or(errno::EINVAL)
}

/// A command or a setting, cut in the same way.
///
/// # Safety
/// `text` is null or a C string.
pub(crate) unsafe fn command<'a>(text: *const c_char) -> Result<&'a [u8], c_int> {
    // SAFETY: the caller's promise; the last byte of the field is a NUL.
    unsafe { bounded(text, TEXT_LEN.saturating_sub(1)) }.ok_or(errno::EINVAL)
}

/// Copies values to a buffer of the caller, which need not be aligned.
///
/// # Safety
/// `to` has room for all of `values`.
pub(crate) unsafe fn copy<T: Copy, U>(values: &[T], to: *mut U) {
    let bytes = size_of_val(values);
    // SAFETY: as bytes neither side needs alignment; a caller's buffer and our own values do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr().cast::<u8>(), to.cast::<u8>(), bytes) };
}

/// Stores one value of the caller's; a null pointer takes nothing.
///
/// # Safety
/// `to` is null or has room for a value.
pub(crate) unsafe fn store<T: Copy>(value: T, to: *mut T) {
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { copy(&[value], to) };
    }
}

//! libcmap.

use super::declarations::{cmap_finalize, cmap_get, cmap_initialize};
use super::{check, check_about};
use crate::error::Result;
use std::ffi::CStr;
use std::ptr;

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

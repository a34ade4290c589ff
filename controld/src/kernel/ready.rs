//! Descriptors in tokio's event loop.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Let the event loop watch a descriptor for something to read; needs the tokio runtime. The descriptor must be
/// non-blocking.
///
/// # Errors
/// The event loop does not take it, for example a plain file.
#[expect(
    unsafe_code,
    reason = "tokio asks for a promise about the descriptor that its type already gives"
)]
pub(crate) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, and its number is its own until it is dropped, which only the AsyncFd does.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE)? })
}

//! Descriptors in the event loop.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
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

/// What `take` finds; where it finds nothing it is asked again when `watched` becomes readable anew.
///
/// # Errors
/// The event loop has ended.
pub(crate) fn poll_taken<T>(
    watched: &AsyncFd<OwnedFd>,
    context: &mut Context<'_>,
    mut take: impl FnMut() -> Option<T>,
) -> Poll<io::Result<T>> {
    loop {
        let mut guard = ready!(watched.poll_read_ready(context))?;
        match take() {
            // The sign stays: what is left over gives no new one.
            Some(taken) => return Poll::Ready(Ok(taken)),
            None => guard.clear_ready(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::eventfd::{EfdFlags, EventFd};
    use std::collections::VecDeque;
    use std::future::poll_fn;
    use std::os::fd::AsFd as _;

    #[tokio::test]
    async fn one_sign_is_enough_for_all_that_is_there_and_the_next_one_is_seen() {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let sign = EventFd::from_value_and_flags(1, flags).unwrap();
        let watched = register(sign.as_fd().try_clone_to_owned().unwrap()).unwrap();
        let mut there = VecDeque::from([1, 2]);
        let first = poll_fn(|context| poll_taken(&watched, context, || there.pop_front())).await;
        assert_eq!(first.unwrap(), 1);
        let mut look = |context: &mut Context<'_>| {
            Poll::Ready(poll_taken(&watched, context, || there.pop_front()).map(Result::unwrap))
        };
        assert_eq!(poll_fn(&mut look).await, Poll::Ready(2));
        assert_eq!(poll_fn(&mut look).await, Poll::Pending);
        there.push_back(3);
        sign.write(1).unwrap();
        let next = poll_fn(|context| poll_taken(&watched, context, || there.pop_front())).await;
        assert_eq!(next.unwrap(), 3);
    }
}

//! Signals (spec/logging-and-files.md section 3).

use super::error::ServiceError;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use std::io;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// Somebody asks the daemon to end: SIGTERM or SIGINT. Whether it may is for the driver to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminate {
    /// The signal's name, for the log.
    pub signal: &'static str,
}

/// The signals that mean something.
#[derive(Debug)]
pub struct Signals {
    term: Stream,
    int: Stream,
}

impl Signals {
    /// Begins to receive; from now on SIGHUP and SIGPIPE do nothing. They have handlers instead of being ignored, since
    /// children inherit what is ignored: a fence agent has to die of SIGPIPE as its author expects.
    ///
    /// # Errors
    /// The kernel refuses a handler. Panics, as tokio does, outside a runtime with I/O enabled.
    pub fn listen() -> Result<Self, ServiceError> {
        let receive = |kind, name| {
            signal(kind).map_err(|source| ServiceError::Signal { signal: name, source })
        };
        // A handler stays when its stream goes.
        drop(receive(SignalKind::hangup(), "SIGHUP")?);
        drop(receive(SignalKind::pipe(), "SIGPIPE")?);
        Ok(Self {
            term: receive(SignalKind::terminate(), "SIGTERM")?,
            int: receive(SignalKind::interrupt(), "SIGINT")?,
        })
    }

    /// Waits for the next one. Nothing is lost when the future is dropped; the same signal twice may count once.
    pub async fn next(&mut self) -> Terminate {
        tokio::select! {
            _ = self.term.recv() => Terminate { signal: "SIGTERM" },
            _ = self.int.recv() => Terminate { signal: "SIGINT" },
        }
    }
}

/// Undoes what a caller may have left: nothing blocked, and SIGCHLD at its default, as with an ignored one the kernel
/// throws away how a fence agent ended.
pub(super) fn reset() -> Result<(), ServiceError> {
    let failed =
        |signal| move |errno| ServiceError::Signal { signal, source: io::Error::from(errno) };
    SigSet::empty().thread_set_mask().map_err(failed("mask"))?;
    default_action(Signal::SIGCHLD).map_err(failed("SIGCHLD"))
}

#[expect(unsafe_code, reason = "nix has no safe way to take a handler away")]
fn default_action(of: Signal) -> nix::Result<()> {
    // SAFETY: the default action runs no code of ours, so there is no handler that could break anything; and the call is
    // made before there are threads or handlers that it could take away.
    unsafe { nix::sys::signal::signal(of, SigHandler::SigDfl) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;

    #[test]
    fn defect_92_terminating_signals_come_as_values_and_others_do_nothing() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut signals = Signals::listen().unwrap();
            raise(Signal::SIGHUP).unwrap();
            raise(Signal::SIGPIPE).unwrap();
            raise(Signal::SIGINT).unwrap();
            assert_eq!(signals.next().await, Terminate { signal: "SIGINT" });
            raise(Signal::SIGTERM).unwrap();
            assert_eq!(signals.next().await, Terminate { signal: "SIGTERM" });
        });
    }
}

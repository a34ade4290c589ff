//! What systemd is told. Without systemd (`NOTIFY_SOCKET` unset) all of it does nothing and succeeds.
//!
//! Each call sends one datagram, and would wait for a systemd that does not read: they belong to rare moments.

use super::error::ServiceError;
use sd_notify::NotifyState;

/// The daemon has joined its peers and serves: `READY=1`.
///
/// # Errors
/// The socket cannot be reached.
pub fn ready() -> Result<(), ServiceError> {
    notify("READY=1", &NotifyState::Ready)
}

/// What `systemctl status` shows, one line: `STATUS=`. Line ends would begin further assignments and become spaces.
///
/// # Errors
/// The socket cannot be reached.
pub fn status(text: &str) -> Result<(), ServiceError> {
    notify("STATUS", &NotifyState::Status(&text.replace(['\n', '\r'], " ")))
}

/// The daemon has begun to end: `STOPPING=1`.
///
/// # Errors
/// The socket cannot be reached.
pub fn stopping() -> Result<(), ServiceError> {
    notify("STOPPING=1", &NotifyState::Stopping)
}

fn notify(state: &'static str, message: &NotifyState<'_>) -> Result<(), ServiceError> {
    sd_notify::notify(std::slice::from_ref(message))
        .map_err(|source| ServiceError::Notify { state, source })
}

//! The system's log: the journal with its native fields, or a syslog daemon's socket, or nothing.

use super::clock::LocalTime;
use super::details::Details;
use super::line::Severity;
use super::writer::Record;
use dlm_core::options::Switch;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;
use tracing::Dispatch;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt as _;

/// Who speaks, as administrators' filters know it.
const IDENTIFIER: &str = "dlm_controld";

/// `LOG_LOCAL4` of syslog.h, as a number of a facility.
const FACILITY: u8 = 20;

/// How long a syslog daemon that does not read may hold up the other targets, each time.
const SYSLOG_PATIENCE: Duration = Duration::from_millis(200);

/// Where lines at info and above go.
pub(super) enum SystemLog {
    /// The journal, through a tracing subscriber of its own that sees no events but ours.
    Journal(Dispatch),
    /// Datagrams to a socket in the file system. The name is looked up each time, so a syslog daemon that starts late or
    /// again is found.
    Syslog(UnixDatagram, PathBuf),
    /// Not even a socket could be made.
    Nothing,
}

impl SystemLog {
    /// The journal if it is wanted and listens, else syslog.
    pub(super) fn open(journal: Switch, syslog: PathBuf) -> Self {
        let layer = journal.is_on().then(|| tracing_journald::layer().ok()).flatten();
        if let Some(layer) = layer {
            let layer = layer
                .with_field_prefix(None)
                .with_syslog_identifier(IDENTIFIER.to_owned())
                .with_custom_fields([("SYSLOG_FACILITY", FACILITY.to_string())])
                .with_priority_mappings(PriorityMappings {
                    error: Priority::Error,
                    warn: Priority::Warning,
                    info: Priority::Informational,
                    debug: Priority::Debug,
                    trace: Priority::Debug,
                });
            return Self::Journal(Dispatch::new(tracing_subscriber::registry().with(layer)));
        }
        let socket = UnixDatagram::unbound()
            .and_then(|socket| socket.set_write_timeout(Some(SYSLOG_PATIENCE)).map(|()| socket));
        socket.map_or(Self::Nothing, |socket| Self::Syslog(socket, syslog))
    }

    /// Errors cost this line.
    pub(super) fn write(&self, record: &Record) {
        let text = String::from_utf8_lossy(record.bytes.trim_ascii_end());
        match self {
            Self::Journal(journal) => tracing::dispatcher::with_default(journal, || {
                to_journal(record, &text);
            }),
            Self::Syslog(socket, path) => {
                let _ = socket.send_to(syslog_datagram(record, &text).as_bytes(), path);
            }
            Self::Nothing => {}
        }
    }
}

/// One event for the journal's layer: a field becomes `LOCKSPACE=`, and is left out where there is none.
fn to_journal(record: &Record, text: &str) {
    let lockspace = record.lockspace.as_deref();
    let Details { node, cause, duration_ms } = &record.details;
    let (node, cause) = (node.as_deref(), *cause);
    match record.severity {
        Severity::Error => tracing::error!(lockspace, node, cause, duration_ms, "{text}"),
        Severity::Warning => tracing::warn!(lockspace, node, cause, duration_ms, "{text}"),
        Severity::Info => tracing::info!(lockspace, node, cause, duration_ms, "{text}"),
        Severity::Debug => tracing::debug!(lockspace, node, cause, duration_ms, "{text}"),
    }
}

/// As the C library's `syslog` sends it with `LOG_PID`.
fn syslog_datagram(record: &Record, text: &str) -> String {
    let priority = u32::from(FACILITY).saturating_mul(8) | u32::from(record.severity.number());
    let time = LocalTime::of(record.said).map(LocalTime::for_syslog).unwrap_or_default();
    format!("<{priority}>{time} {IDENTIFIER}[{}]: {text}", std::process::id())
}

//! Events of tracing become lines of the log.

use super::Logger;
use super::line::{LINE_MAX, Severity};
use super::repeats::Said;
use dlm_core::types::LockspaceName;
use std::fmt::{self, Write as _};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// First parts of the module paths of this workspace, whose debug events are wanted.
const OUR_CRATES: [&str; 5] = ["controld", "dlm_controld", "dlm_core", "corosync", "testbed"];

/// The layer.
pub(super) struct ToLog(pub(super) Logger);

impl ToLog {
    fn wants(metadata: &Metadata<'_>) -> bool {
        let level = *metadata.level();
        let crate_name = metadata.target().split("::").next().unwrap_or_default();
        level <= Level::INFO || (level == Level::DEBUG && OUR_CRATES.contains(&crate_name))
    }
}

impl<S: Subscriber> Layer<S> for ToLog {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if Self::wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        Self::wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let severity = match *event.metadata().level() {
            Level::ERROR => Severity::Error,
            Level::WARN => Severity::Warning,
            Level::INFO => Severity::Info,
            Level::DEBUG | Level::TRACE => Severity::Debug,
        };
        let Text { mut message, fields, lockspace } = text;
        message.push_str(&fields);
        self.0.say(Said::new(severity, lockspace.as_ref(), &message));
    }
}

/// Collects message and fields of one event.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    lockspace: Option<LockspaceName>,
}

impl Text {
    fn field(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to memory does not fail; what a value's own Display reports as failure is its loss.
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            "lockspace" => {
                let name = value.to_string();
                self.lockspace = LockspaceName::new(name.as_bytes());
                Ok(())
            }
            name if self.fields.len() < LINE_MAX => write!(self.fields, " {name}={value}"),
            _ => Ok(()),
        };
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, format_args!("{value:?}"));
    }
}

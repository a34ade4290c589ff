//! The log (spec/logging-and-files.md sections 1 and 2): one call, up to five targets.
//!
//! Lines go into the dump ring at once, so that `dlm_tool dump` never misses the last thing that happened. All other
//! targets (standard error, log file, journal or syslog) belong to one writer thread behind a bounded queue: a full
//! disk, a stopped terminal or a hung journal costs lines, never time of the main loop. What is lost is counted, and
//! told in a line of its own when there is room again.
//!
//! Two rules that the C daemon lacks: the log file is opened anew when its name leads to another file (rotation without
//! copytruncate), and one and the same line passes five times a minute (`repeats.rs`), then only its
//! number is told. What happens to lockspaces and nodes has fields of its own in the journal (`details.rs`).
//!
//! Other rooms log through [`Logger::line`], or with tracing's macros once [`Logger::install`] was called.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test that cannot go on fails"
    )
)]

mod clock;
mod details;
mod file;
mod line;
mod repeats;
mod system;
#[cfg(test)]
mod tests;
mod tracer;
mod writer;

use crate::control::{LogRing, PlockLog};
pub use details::Details;
use dlm_core::effect::LogLine;
use dlm_core::options::Switch;
use dlm_core::plock::PlockText;
use dlm_core::types::LockspaceName;
use line::Severity;
pub(crate) use line::render;
use repeats::{Repeats, Said};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use writer::{Message, Progress, Record, Targets};

/// Lines that may wait for the writer thread: some 300 KB of ordinary lines, 1 MiB at the most.
const QUEUED_MAX: usize = 2048;

/// Stack of the writer thread: it formats short lines, and its stack is locked into memory.
const STACK_BYTES: usize = 128 * 1024;

/// How long [`Logger::finish`] waits for a writer that is stuck.
const FINISH_DEADLINE: Duration = Duration::from_secs(2);

/// The log file of the C daemon.
pub const LOG_FILE: &str = "/var/log/dlm_controld/dlm_controld.log";

/// Where a syslog daemon listens.
pub const SYSLOG_SOCKET: &str = "/dev/log";

/// What the log starts with.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// `debug_logfile`: debug lines reach the log file.
    pub debug_logfile: Switch,
    /// `daemon_debug`: everything that reaches the dump ring also goes to standard error.
    pub stderr: Switch,
    /// `plock_debug`: with `stderr` on, lines about single plocks go there too.
    pub plock_debug: Switch,
    /// The log file; missing directories are made.
    pub file: PathBuf,
    /// Whether the journal is asked for first.
    pub journal: Switch,
    /// The socket for lines where there is no journal.
    pub syslog: PathBuf,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            debug_logfile: Switch::Off,
            stderr: Switch::Off,
            plock_debug: Switch::Off,
            file: PathBuf::from(LOG_FILE),
            journal: Switch::On,
            syslog: PathBuf::from(SYSLOG_SOCKET),
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The writer thread.
    #[error("cannot start the thread that writes the log: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// Somebody else receives the events of tracing.
    #[error("cannot become the receiver of tracing events: {source}")]
    Subscriber {
        /// Why.
        source: tracing::subscriber::SetGlobalDefaultError,
    },
}

/// The log. Clones are cheap and share everything; none of the calls but [`Logger::finish`] waits for anything.
#[derive(Clone, Debug)]
pub struct Logger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: LogRing,
    plock_log: PlockLog,
    debug_logfile: AtomicBool,
    stderr: AtomicBool,
    plock_debug: AtomicBool,
    repeats: Mutex<Repeats>,
    queue: SyncSender<Message>,
    progress: Arc<Progress>,
}

/// Which targets a line is for, apart from those that its severity rules out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All.
    Everywhere,
    /// The dump ring and standard error: the log is not set up yet.
    Early,
}

impl Logger {
    /// Starts the writer thread, which opens the other targets. Call it after the fork: threads do not survive one.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(options: LogOptions) -> Result<Self, LoggingError> {
        let (queue, lines) = sync_channel(QUEUED_MAX);
        let progress = Arc::new(Progress::default());
        let shared = Shared {
            ring: LogRing::new(),
            plock_log: PlockLog::default(),
            debug_logfile: AtomicBool::new(options.debug_logfile.is_on()),
            stderr: AtomicBool::new(options.stderr.is_on()),
            plock_debug: AtomicBool::new(options.plock_debug.is_on()),
            repeats: Mutex::new(Repeats::default()),
            queue,
            progress: Arc::clone(&progress),
        };
        std::thread::Builder::new()
            .name("dlm_log".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || writer::run(&lines, &progress, options))
            .map_err(|source| LoggingError::Thread { source })?;
        Ok(Self(Arc::new(shared)))
    }

    /// Makes this log the receiver of `tracing::{error,warn,info,debug}!` of the whole process. Fields other than the
    /// message follow it as ` name=value`; a field `lockspace` is taken for the name in front. Debug events of foreign
    /// crates, and all trace events, are left out.
    ///
    /// # Errors
    /// There is a receiver already.
    pub fn install(&self) -> Result<(), LoggingError> {
        let subscriber = tracing_subscriber::registry().with(tracer::ToLog(self.clone()));
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|source| LoggingError::Subscriber { source })
    }

    /// One line.
    pub fn line(&self, line: &LogLine) {
        self.say(Said::new(line.level.into(), line.lockspace.as_ref(), &line.text));
    }

    /// One line about something that happened, with fields of its own in the journal.
    pub fn event(&self, line: &LogLine, details: Details) {
        let said = Said::new(line.level.into(), line.lockspace.as_ref(), &line.text);
        self.say(Said { details, ..said });
    }

    /// A line of the daemon itself that reaches syslog.
    pub fn error(&self, text: &str) {
        self.say(Said::new(Severity::Error, None, text));
    }

    /// A line of the daemon itself that reaches syslog, about something in order.
    pub fn info(&self, text: &str) {
        self.say(Said::new(Severity::Info, None, text));
    }

    /// A line of the daemon itself for the dump, and for the log file with `debug_logfile`.
    pub fn debug(&self, text: &str) {
        self.say(Said::new(Severity::Debug, None, text));
    }

    /// A line from before the log is set up (option parsing, dlm.conf): dump ring, and standard error, as in C.
    pub fn early(&self, line: &LogLine) {
        let bytes = render(clock::monotonic_seconds(), line.lockspace.as_ref(), &line.text);
        let said = Said::new(line.level.into(), line.lockspace.as_ref(), &line.text);
        self.emit(&said, bytes, Reach::Early);
    }

    /// A line about plocks: always into the plock log. `level` `None` is the C daemon's level for every single lock,
    /// which reaches nothing else but standard error, and that with `plock_debug` only. Never limited: the plock log is
    /// for reading what happened, lock by lock.
    pub fn plock(
        &self,
        level: Option<dlm_core::effect::Level>,
        lockspace: Option<LockspaceName>,
        text: PlockText,
    ) {
        let seconds = clock::monotonic_seconds();
        let rendered = |words: &str| render(seconds, lockspace.as_ref(), words);
        match level {
            Some(level) => {
                let words = text.to_string();
                let said = Said::new(level.into(), lockspace.as_ref(), &words);
                self.emit(&said, rendered(&words), Reach::Everywhere);
            }
            None if Shared::on(&self.0.stderr) && Shared::on(&self.0.plock_debug) => {
                let targets = Targets { stderr: true, file: false, system: false };
                let bytes = rendered(&text.to_string());
                self.queue(Record::new(Severity::Debug, lockspace.as_ref(), bytes, targets));
            }
            None => {}
        }
        self.0.plock_log.append(seconds, lockspace, text);
    }

    /// Debug lines in the log file, from the next line on.
    pub fn set_debug_logfile(&self, on: bool) {
        self.0.debug_logfile.store(on, Ordering::Relaxed);
    }

    /// Lines on standard error, from the next line on.
    pub fn set_stderr(&self, on: bool) {
        self.0.stderr.store(on, Ordering::Relaxed);
    }

    /// Lines about single plocks on standard error, from the next line on.
    pub fn set_plock_debug(&self, on: bool) {
        self.0.plock_debug.store(on, Ordering::Relaxed);
    }

    /// What `dlm_tool dump` gets.
    #[must_use]
    pub fn dump(&self) -> Vec<u8> {
        self.0.ring.text()
    }

    /// The ring behind [`Self::dump`], for the query thread.
    #[must_use]
    pub fn ring(&self) -> LogRing {
        self.0.ring.clone()
    }

    /// The ring behind `dlm_tool log_plock`, for the query thread.
    #[must_use]
    pub fn plock_log(&self) -> PlockLog {
        self.0.plock_log.clone()
    }

    /// Tells what was left out, and waits until everything is written, two seconds at the most. Lines that come later
    /// reach the dump ring only.
    pub fn finish(&self) {
        let left_out = self.repeats().finish();
        left_out.iter().for_each(|said| self.pass(said));
        self.0.progress.finish();
        // Only a wake-up: a writer with a full queue is awake, and looks at the flag when it has emptied it.
        let _ = self.0.queue.try_send(Message::Wake);
        self.0.progress.wait(FINISH_DEADLINE);
    }

    /// Limits repeats.
    fn say(&self, said: Said) {
        let admitted = self.repeats().admit(clock::monotonic_seconds(), &said);
        admitted.left_out.iter().for_each(|left_out| self.pass(left_out));
        if admitted.passes {
            self.pass(&said);
        }
    }

    fn pass(&self, said: &Said) {
        let text = said.details.shown(&said.text);
        let bytes = render(clock::monotonic_seconds(), said.lockspace.as_ref(), &text);
        self.emit(said, bytes, Reach::Everywhere);
    }

    fn emit(&self, said: &Said, bytes: Vec<u8>, reach: Reach) {
        self.0.ring.append(&bytes);
        let everywhere = reach == Reach::Everywhere;
        let loud = said.severity <= Severity::Info;
        let targets = Targets {
            stderr: Shared::on(&self.0.stderr),
            file: everywhere && (loud || Shared::on(&self.0.debug_logfile)),
            system: everywhere && loud,
        };
        // Most lines are for the rings alone.
        if targets.any() {
            let record = Record::new(said.severity, said.lockspace.as_ref(), bytes, targets);
            self.queue(Record { details: said.details.clone(), ..record });
        }
    }

    /// Hands a line to the writer, the number of lost ones in front of it.
    fn queue(&self, record: Record) {
        let progress = &self.0.progress;
        if let Some(report) = progress.take_lost() {
            let lost = report.lost;
            if let Err(TrySendError::Full(_)) = self.0.queue.try_send(Message::Line(report.record))
            {
                progress.lose(lost);
            }
        }
        if let Err(TrySendError::Full(_)) = self.0.queue.try_send(Message::Line(record)) {
            progress.lose(1);
        }
    }

    fn repeats(&self) -> MutexGuard<'_, Repeats> {
        self.0.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn on(switch: &AtomicBool) -> bool {
        switch.load(Ordering::Relaxed)
    }
}

/// When a line was said, for people.
fn now() -> SystemTime {
    SystemTime::now()
}

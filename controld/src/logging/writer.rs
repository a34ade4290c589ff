//! The thread that owns every target that can make one wait.

use super::details::Details;
use super::file::LogFile;
use super::line::{Severity, render};
use super::system::SystemLog;
use super::{LogOptions, clock, now};
use crate::process::priority;
use dlm_core::types::LockspaceName;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Which of the writer's targets a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Targets {
    pub(super) stderr: bool,
    pub(super) file: bool,
    pub(super) system: bool,
}

impl Targets {
    pub(super) const fn any(self) -> bool {
        self.stderr || self.file || self.system
    }
}

/// A line on its way.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) severity: Severity,
    /// The whole name, for the journal's field.
    pub(super) lockspace: Option<String>,
    /// With time, name and newline.
    pub(super) bytes: Vec<u8>,
    pub(super) said: SystemTime,
    pub(super) targets: Targets,
    /// For the journal's fields.
    pub(super) details: Details,
}

impl Record {
    pub(super) fn new(
        severity: Severity,
        lockspace: Option<&LockspaceName>,
        bytes: Vec<u8>,
        targets: Targets,
    ) -> Self {
        let lockspace = lockspace.map(ToString::to_string);
        let details = Details::default();
        Self { severity, lockspace, bytes, said: now(), targets, details }
    }
}

/// What the queue carries.
#[derive(Debug)]
pub(super) enum Message {
    /// Write it.
    Line(Record),
    /// Look at [`Progress`].
    Wake,
}

/// A number of lost lines, and the line that tells it.
#[derive(Debug)]
pub(super) struct LostReport {
    pub(super) lost: u64,
    pub(super) record: Record,
}

/// What the writer and those who log tell each other outside the queue.
#[derive(Debug, Default)]
pub(super) struct Progress {
    lost: AtomicU64,
    finishing: AtomicBool,
    finished: Mutex<bool>,
    finish: Condvar,
}

impl Progress {
    /// Lines found no room.
    pub(super) fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::SeqCst);
    }

    /// Takes the number, if there is one to tell. Whoever takes it has to tell it, or to give it back.
    pub(super) fn take_lost(&self) -> Option<LostReport> {
        if self.lost.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let lost = self.lost.swap(0, Ordering::SeqCst);
        let text =
            format!("log: {lost} lines lost here, as they came faster than they are written");
        let bytes = render(clock::monotonic_seconds(), None, &text);
        let targets = Targets { stderr: false, file: true, system: true };
        let record = Record::new(Severity::Error, None, bytes, targets);
        (lost > 0).then_some(LostReport { lost, record })
    }

    /// Nothing more will come.
    pub(super) fn finish(&self) {
        self.finishing.store(true, Ordering::SeqCst);
    }

    /// Until the writer is at its end.
    pub(super) fn wait(&self, deadline: Duration) {
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it was in time makes no difference: the process ends in any case.
        drop(self.finish.wait_timeout_while(finished, deadline, |finished| !*finished));
    }

    fn finished(&self) {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.finish.notify_all();
    }
}

/// Bytes for standard error that are written at once. A line more than the limit needs is part of the next write.
const TOGETHER_BYTES: usize = 16 << 10;

/// Writes lines until nobody can send any more, or until it is told to finish and the queue is empty.
pub(super) fn run(lines: &Receiver<Message>, progress: &Progress, options: LogOptions) {
    priority::give_way();
    let system = SystemLog::open(options.journal, options.syslog);
    let mut writer = Writer { file: LogFile::new(options.file), system, stderr: Vec::new() };
    loop {
        let message = match lines.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                // Everything that found room is written, so this is the place where the lost ones were. Lines are lost
                // only while the queue is full, so that the writer comes here again after each loss.
                if let Some(report) = progress.take_lost() {
                    writer.write(&report.record);
                }
                writer.flush();
                if progress.finishing.load(Ordering::SeqCst) {
                    break;
                }
                match lines.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            }
        };
        match message {
            Message::Line(record) => writer.write(&record),
            Message::Wake => {}
        }
    }
    writer.flush();
    progress.finished();
}

struct Writer {
    file: LogFile,
    system: SystemLog,
    /// Lines for standard error, which go there together.
    stderr: Vec<u8>,
}

impl Writer {
    fn write(&mut self, record: &Record) {
        if record.targets.stderr {
            self.stderr.extend_from_slice(&record.bytes);
            if self.stderr.len() >= TOGETHER_BYTES {
                self.flush();
            }
        }
        if record.targets.file {
            self.file.write(record.said, &record.bytes);
        }
        if record.targets.system {
            self.system.write(record);
        }
    }

    /// Lines on standard error are written when no more are waiting: one write for all that were said in one go.
    fn flush(&mut self) {
        if !self.stderr.is_empty() {
            let _ = std::io::stderr().lock().write_all(&self.stderr);
            self.stderr.clear();
        }
    }
}

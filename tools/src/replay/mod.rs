//! `dlm_tool record save FILE` and `dlm_tool replay FILE`: what a daemon was told and decided, step by step, reproduced by
//! the same core and compared with what the daemon did.

mod words;

use crate::run::Tool;
use dlm_core::effect::Effect;
use dlm_core::types::{Instant, Now};
use dlm_recording::{FILE_MAX, Head, ReadError, Reason, Recording, Replay, Segment, Verdict};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// A daemon that has not answered then hangs, or is another one: the C daemon does not answer what it does not know.
const PATIENCE: Duration = Duration::from_secs(10);

/// There are locks of other people's files in it.
const FILE_MODE: u32 = 0o600;

/// Nanoseconds in a microsecond.
const NANOS_PER_MICRO: u64 = 1000;
/// Microseconds in a second.
const MICROS_PER_SECOND: u64 = 1_000_000;

impl Tool<'_> {
    /// Have the daemon's recording, and write it.
    pub(crate) fn record_save(&mut self, path: &[u8]) -> io::Result<u8> {
        let client = self.environment.client.clone().with_timeout(Some(PATIENCE));
        let recording = match client.record_save() {
            Ok(recording) => recording,
            Err(error) => {
                writeln!(self.err, "{error}")?;
                return Ok(1);
            }
        };
        let path = Path::new(OsStr::from_bytes(path));
        match save(path, &recording) {
            Ok(()) => {
                writeln!(self.out, "{} bytes saved in {}", recording.len(), path.display())?;
                Ok(0)
            }
            Err(error) => {
                writeln!(self.err, "cannot write {}: {error}", path.display())?;
                Ok(1)
            }
        }
    }

    /// Show a recording. 0: the effects are those that were recorded.
    pub(crate) fn replay(&mut self, path: &[u8]) -> io::Result<u8> {
        let path = Path::new(OsStr::from_bytes(path));
        let file = match load(path) {
            Ok(file) => file,
            Err(error) => {
                writeln!(self.err, "cannot read {}: {error}", path.display())?;
                return Ok(1);
            }
        };
        let mut out = BufWriter::new(&mut *self.out);
        let shown = show(&file, &mut out)?;
        out.flush()?;
        drop(out);
        match shown {
            Ok(tally) if tally.differences.is_empty() => Ok(0),
            Ok(tally) => {
                for difference in tally.differences {
                    writeln!(self.err, "{difference}")?;
                }
                Ok(1)
            }
            Err(error) => {
                writeln!(self.err, "{}: {error}", path.display())?;
                Ok(1)
            }
        }
    }
}

fn save(path: &Path, recording: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.write_all(recording)
}

/// No more than a recording can have.
fn load(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    let limit = u64::try_from(FILE_MAX).unwrap_or(u64::MAX);
    let length = File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut file)?;
    if length > FILE_MAX {
        return Err(io::Error::other(format!(
            "more than {FILE_MAX} bytes, which no recording has"
        )));
    }
    Ok(file)
}

/// What a replay came to.
#[derive(Default)]
struct Tally {
    steps: u64,
    same: u64,
    without_locks: u64,
    unknown: u64,
    differences: Vec<String>,
    timeline: Vec<String>,
}

/// Differences that are told: one leads to others.
const DIFFERENCES_MAX: usize = 20;

impl Tally {
    fn differs(&mut self, text: String) {
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(text);
        }
    }
}

/// The whole file as text.
fn show(file: &[u8], out: &mut dyn Write) -> io::Result<Result<Tally, ReadError>> {
    let recording = match Recording::read(file) {
        Ok(recording) => recording,
        Err(error) => return Ok(Err(error)),
    };
    head(&recording, out)?;
    let mut tally = Tally::default();
    let mut before: Option<Replay<'_>> = None;
    for segment in &recording.segments {
        let ended = match show_segment(segment, before.as_ref(), &mut tally, out)? {
            Ok(ended) => ended,
            Err(error) => return Ok(Err(error)),
        };
        before = Some(ended);
    }
    if let Some(last) = &before {
        not_recorded(last.next_number(), recording.head.steps.saturating_add(1), out)?;
    }
    writeln!(out, "\nTimeline")?;
    for line in &tally.timeline {
        writeln!(out, "{line}")?;
    }
    let Tally { steps, same, without_locks, unknown, .. } = tally;
    write!(out, "\n{steps} steps, {same} with the effects that were recorded")?;
    if without_locks > 0 {
        write!(out, ", {without_locks} with these but for effects about POSIX locks")?;
    }
    if unknown > 0 {
        write!(out, ", {unknown} whose effects were not recorded")?;
    }
    writeln!(out)?;
    Ok(Ok(tally))
}

fn head(recording: &Recording<'_>, out: &mut dyn Write) -> io::Result<()> {
    let Head { saved, reason, core, .. } = &recording.head;
    let why = match reason {
        Reason::Asked => "somebody asked for it".to_owned(),
        Reason::Ended(why) => format!("the daemon ended: {why}"),
        Reason::Panicked(why) => format!("the daemon panicked: {why}"),
    };
    writeln!(
        out,
        "Recorded until {} s ({} s since 1970): {why}",
        seconds(saved.mono),
        saved.wall.0
    )?;
    if !recording.is_ours() {
        writeln!(
            out,
            "Made by another build of the daemon (core {core}, here {}): it may differ for that alone",
            dlm_recording::FINGERPRINT
        )?;
    }
    Ok(())
}

fn show_segment<'a>(
    segment: &Segment<'a>,
    before: Option<&Replay<'_>>,
    tally: &mut Tally,
    out: &mut dyn Write,
) -> io::Result<Result<Replay<'a>, ReadError>> {
    let mut replay = match segment.replay() {
        Ok(replay) => replay,
        Err(error) => return Ok(Err(error)),
    };
    let (number, Now { mono, wall }) = (segment.number, replay.begins());
    writeln!(out, "\nSegment {number}: from {} s ({} s since 1970)", seconds(mono), wall.0)?;
    if replay.is_without_locks() {
        writeln!(
            out,
            "The POSIX locks of its beginning were too many to be recorded: what is decided about them here may be \
             wrong, and is not compared"
        )?;
    }
    if let Some(before) = before {
        not_recorded(before.next_number(), replay.next_number(), out)?;
        if before.leads_to(&replay) == Some(false) {
            tally.differs(format!(
                "segment {number} begins with another state than the one before it ends with"
            ));
        }
    }
    loop {
        match show_step(&mut replay, tally, out)? {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(replay)),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// A gap: an event or a state that was too big.
fn not_recorded(from: u64, to: u64, out: &mut dyn Write) -> io::Result<()> {
    match to.checked_sub(1).filter(|last| *last >= from) {
        Some(last) => {
            writeln!(out, "Steps {from} to {last} were not recorded: too big for the recorder")
        }
        None => Ok(()),
    }
}

/// One step; `false` at the end of the segment.
fn show_step(
    replay: &mut Replay<'_>,
    tally: &mut Tally,
    out: &mut dyn Write,
) -> io::Result<Result<bool, ReadError>> {
    let step = match replay.next_step() {
        Ok(Some(step)) => step,
        Ok(None) => return Ok(Ok(false)),
        Err(error) => return Ok(Err(error)),
    };
    let (number, time) = (step.number, seconds(step.now.mono));
    writeln!(out, "{number:>8} {time}  {}", words::event(&step.event))?;
    if step.recorded.is_none() {
        // If the daemon died of it, so may we.
        writeln!(out, "         the recording ends in this step")?;
        out.flush()?;
    }
    let taken = replay.take(step);
    for effect in &taken.effects {
        writeln!(out, "             {}", words::effect(effect))?;
        if let Effect::Timeline(moment) = effect {
            tally.timeline.push(format!("{time}  {}", words::moment(moment)));
        }
    }
    tally.steps += 1;
    match taken.verdict {
        Verdict::Same => tally.same += 1,
        Verdict::SameButLocks => tally.without_locks += 1,
        Verdict::Unknown => tally.unknown += 1,
        Verdict::Different => {
            writeln!(out, "         DIFFERENT: these are not the effects that were recorded")?;
            tally.differs(format!("step {number} has other effects than were recorded"));
        }
    }
    Ok(Ok(true))
}

/// Seconds of the monotonic clock, as the daemon's log has them, with microseconds.
fn seconds(time: Instant) -> String {
    let micros = time.as_nanos() / NANOS_PER_MICRO;
    format!("{}.{:06}", micros / MICROS_PER_SECOND, micros % MICROS_PER_SECOND)
}

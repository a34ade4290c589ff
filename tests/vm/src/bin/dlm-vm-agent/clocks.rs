//! The guest's clocks: monotonic, wall, and the one that stamps the kernel's log.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime, clock_settime};

/// `CLOCK_MONOTONIC` now.
pub(crate) fn monotonic() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC).context("read CLOCK_MONOTONIC")?.into())
}

/// `CLOCK_REALTIME` now, since 1970.
pub(crate) fn real() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_REALTIME).context("read CLOCK_REALTIME")?.into())
}

/// Sets `CLOCK_REALTIME`.
pub(crate) fn set_real(since_1970: Duration) -> Result<()> {
    clock_settime(ClockId::CLOCK_REALTIME, since_1970.into()).context("set CLOCK_REALTIME")
}

/// All three clocks at one moment. The kernel log's clock differs from `CLOCK_MONOTONIC` by tens of
/// milliseconds in these guests, so it is read off a mark that is written here.
pub(crate) fn all() -> Result<[Duration; 3]> {
    const LOG: &str = "/dev/kmsg";
    let mut log = OpenOptions::new().read(true).write(true).open(LOG).context(LOG)?;
    log.seek(SeekFrom::End(0)).with_context(|| format!("go to the end of {LOG}"))?;
    let now = [monotonic()?, real()?];
    let mark = format!("dlm-vm clock mark {}", now[0].as_nanos());
    // Without a line's end the kernel keeps the record open for more, and nobody can read it yet.
    log.write_all(format!("{mark}\n").as_bytes())
        .with_context(|| format!("write a mark to {LOG}"))?;
    let mut record = [0; 8192];
    // The mark is in the log, so reading up to it does not block.
    loop {
        let length = log.read(&mut record).with_context(|| format!("read {LOG}"))?;
        let record = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
        if let Some(stamp) = stamp_of(&record, &mark) {
            return Ok([now[0], now[1], stamp]);
        }
    }
}

/// A record reads `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT` (Documentation/ABI/testing/dev-kmsg).
fn stamp_of(record: &str, mark: &str) -> Option<Duration> {
    let (head, text) = record.split_once(';')?;
    if !text.starts_with(mark) {
        return None;
    }
    head.split(',').nth(2)?.parse().ok().map(Duration::from_micros)
}

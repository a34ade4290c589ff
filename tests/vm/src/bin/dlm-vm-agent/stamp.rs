//! Log lines with the time of their arrival, so that logs of several nodes can be merged.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result};

use crate::clocks;

/// Copies standard input to the end of a file, each line behind the two clocks in seconds.
pub(crate) fn stamp(path: &Path) -> Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    let mut input = std::io::stdin().lock();
    // The beginning of a line whose end has not come.
    let mut rest = Vec::new();
    loop {
        // What has come in one go has come at one time, and is written in one go: the machine has work of its own.
        let come = input.fill_buf().context("read standard input")?;
        let length = come.len();
        if length == 0 && rest.is_empty() {
            return Ok(());
        }
        let stamp = format!("{} {} ", seconds(clocks::monotonic()?), seconds(clocks::real()?));
        rest.extend_from_slice(come);
        input.consume(length);
        if length == 0 {
            rest.push(b'\n');
        }
        let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut stamped = Vec::new();
        for line in rest.drain(..end).as_slice().split_inclusive(|byte| *byte == b'\n') {
            stamped.extend_from_slice(stamp.as_bytes());
            stamped.extend_from_slice(line);
        }
        file.write_all(&stamped).with_context(|| format!("write {}", path.display()))?;
    }
}

fn seconds(time: std::time::Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

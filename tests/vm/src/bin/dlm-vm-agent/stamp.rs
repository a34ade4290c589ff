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
    let mut lines = std::io::stdin().lock();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).context("read standard input")? > 0 {
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        let mut stamped =
            format!("{} {} ", seconds(clocks::monotonic()?), seconds(clocks::real()?)).into_bytes();
        stamped.append(&mut line);
        file.write_all(&stamped).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn seconds(time: std::time::Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

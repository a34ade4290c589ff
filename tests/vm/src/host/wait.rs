//! Waiting for a condition across the border of a virtual machine.
//!
//! No event crosses that border, so the host asks again at short intervals. Nothing sleeps in the
//! hope that something has happened meanwhile: a wait ends when its condition holds, or in an error.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Between two looks at a condition.
const INTERVAL: Duration = Duration::from_millis(100);

/// Asks until the answer is there; an error of the last attempt is part of the error at the deadline.
pub(crate) fn until<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let answer = ask();
        if let Ok(Some(value)) = answer {
            return Ok(value);
        }
        if Instant::now() >= end {
            let what = format!("{what}: not within {deadline:?}");
            return match answer {
                Err(error) => Err(error).context(what),
                Ok(_) => bail!(what),
            };
        }
        thread::sleep(INTERVAL);
    }
}

//! The two times of a line: monotonic seconds in front of its text, local time in files.

use nix::time::{ClockId, clock_gettime};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Names of months as the C locale has them; the daemon's own locale must not matter to programs that read the log.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Whole seconds of the monotonic clock: its coarse form, which needs no look at the hardware, since every line asks. The
/// clock always exists; were it not so, lines would say 0.
pub(super) fn monotonic_seconds() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .ok()
        .and_then(|time| u64::try_from(time.tv_sec()).ok())
        .unwrap_or_default()
}

/// Local time of day, as `/etc/localtime` or `TZ` says. `Display` pads the day with a zero (`%b %d %T`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalTime {
    month: &'static str,
    pub(super) day: i32,
    hour: i32,
    minute: i32,
    second: i32,
}

impl LocalTime {
    /// `None` where the C library cannot tell.
    pub(super) fn of(time: SystemTime) -> Option<Self> {
        let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let broken_down = local_time(libc::time_t::try_from(seconds).ok()?)?;
        Some(Self {
            month: MONTHS.get(usize::try_from(broken_down.tm_mon).ok()?)?,
            day: broken_down.tm_mday,
            hour: broken_down.tm_hour,
            minute: broken_down.tm_min,
            second: broken_down.tm_sec,
        })
    }

    /// With the day padded by a space, as syslog has it (`%b %e %T`).
    pub(super) fn for_syslog(self) -> String {
        let Self { month, day, hour, minute, second } = self;
        format!("{month} {day:2} {hour:02}:{minute:02}:{second:02}")
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { month, day, hour, minute, second } = self;
        write!(f, "{month} {day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

#[expect(unsafe_code, reason = "the standard library knows no time zones")]
fn local_time(seconds: libc::time_t) -> Option<libc::tm> {
    let mut broken_down = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are to live values of the right type, and the call keeps neither. A zeroed `tm` (integers
    // and a null pointer) is a valid value whether the call has written to it or not. It reads the environment (TZ),
    // which nothing in the daemon changes once there are threads.
    unsafe {
        let done = !libc::localtime_r(&seconds, broken_down.as_mut_ptr()).is_null();
        done.then(|| broken_down.assume_init())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn local_time_is_what_date_says() {
        for seconds in [0_u64, 951_782_400, 1_700_000_123, 1_780_272_000, 4_102_444_799] {
            let time = LocalTime::of(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            let date = |format: &str| {
                let output = std::process::Command::new("date")
                    .env("LC_ALL", "C")
                    .args(["-d", &format!("@{seconds}"), format])
                    .output()
                    .unwrap();
                String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
            };
            assert_eq!(time.to_string(), date("+%b %d %T"));
            assert_eq!(time.for_syslog(), date("+%b %e %T"));
        }
    }

    #[test]
    fn days_are_padded_with_zero_in_files_and_with_a_space_for_syslog() {
        let time = LocalTime { month: "Feb", day: 3, hour: 4, minute: 5, second: 6 };
        assert_eq!(time.to_string(), "Feb 03 04:05:06");
        assert_eq!(time.for_syslog(), "Feb  3 04:05:06");
    }
}

//! How the daemon tells its parent that it serves, or why not.
//!
//! The parent's pipe comes as a number in the environment. One byte says how it went, a text may follow; a pipe that ends
//! without a byte says that the daemon died.

use super::error::ServiceError;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::fd::RawFd;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};

/// The number of the pipe's descriptor, from parent to daemon.
pub(super) const VARIABLE: &str = "DLM_CONTROLD_READY_FD";

/// Bytes of a report: any reason fits, and so it does into a fresh pipe, so that telling never waits.
const REPORT_MAX: usize = 2048;

/// First byte of a report: the daemon serves.
const READY: u8 = b'+';

/// First byte of a report: it does not, and the reason follows.
const FAILED: u8 = b'-';

/// The duty to tell the parent. Dropping it untold reads as failure there.
#[derive(Debug)]
#[must_use = "the parent waits for it"]
pub struct Readiness(Option<File>);

impl Readiness {
    /// In the foreground nobody waits.
    pub(super) const fn nobody() -> Self {
        Self(None)
    }

    /// The sockets are bound: the parent exits with status 0.
    pub fn ready(self) {
        self.tell(&[READY]);
    }

    /// The daemon cannot serve: the parent waits for its end, prints the reason on standard error and exits with
    /// status 1.
    pub fn failed(self, text: &str) {
        let mut report = vec![FAILED];
        report.extend_from_slice(text.as_bytes());
        report.truncate(REPORT_MAX);
        self.tell(&report);
    }

    fn tell(self, report: &[u8]) {
        // A parent that was killed hears nothing; the daemon goes on without.
        if let Some(mut pipe) = self.0 {
            let _ = pipe.write_all(report);
        }
    }
}

/// What a parent hears.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The daemon serves.
    Ready,
    /// Why it does not.
    Failed(String),
    /// It ended without a word.
    Silent,
}

impl Report {
    /// Waits for the report's end.
    pub(super) fn read(pipe: impl Read) -> std::io::Result<Self> {
        let mut report = Vec::new();
        // Twice the bound: more than a daemon sends, and no more than we want to hold.
        pipe.take(4096).read_to_end(&mut report)?;
        Ok(match report.split_first() {
            Some((&READY, _)) => Self::Ready,
            Some((_, reason)) => Self::Failed(String::from_utf8_lossy(reason).into_owned()),
            None => Self::Silent,
        })
    }
}

/// The pipe that a parent handed down, if there is one. The variable is removed, so that no child of ours sees it.
pub(super) fn handed_down() -> Result<Option<Readiness>, ServiceError> {
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(None) };
    forget_variable();
    let value = value.to_string_lossy().into_owned();
    match value.parse::<RawFd>() {
        Ok(number) if number > libc::STDERR_FILENO => adopt(number, value),
        _ => Err(ServiceError::NotHandedDown { variable: VARIABLE, value }),
    }
}

/// Opens the pipe anew, which gives a descriptor that is ours and close-on-exec, and closes the inherited one.
fn adopt(number: RawFd, value: String) -> Result<Option<Readiness>, ServiceError> {
    let path = format!("/proc/self/fd/{number}");
    let is_pipe = std::fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    if !is_pipe {
        return Err(ServiceError::NotHandedDown { variable: VARIABLE, value });
    }
    // Without O_NONBLOCK the opening would wait for ever for a parent that was killed.
    let pipe = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).ok();
    // A descriptor that is not there any more is closed, too.
    let _ = nix::unistd::close(number);
    Ok(Some(Readiness(pipe)))
}

#[expect(unsafe_code, reason = "the standard library has no safe way to change the environment")]
fn forget_variable() {
    // SAFETY: `service::start` is the first thing that main calls, so there is no other thread that could read the
    // environment.
    unsafe { std::env::remove_var(VARIABLE) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd as _, IntoRawFd as _};

    fn pipe() -> (File, File) {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        (File::from(read), File::from(write))
    }

    fn adopted(write: File) -> Readiness {
        let number = write.into_raw_fd();
        adopt(number, number.to_string()).unwrap().unwrap()
    }

    #[test]
    fn parent_hears_how_it_went() {
        let (read, write) = pipe();
        adopted(write).ready();
        assert_eq!(Report::read(read).unwrap(), Report::Ready);
        let (read, write) = pipe();
        adopted(write).failed("no room");
        assert_eq!(Report::read(read).unwrap(), Report::Failed("no room".to_owned()));
        let (read, write) = pipe();
        drop(adopted(write));
        assert_eq!(Report::read(read).unwrap(), Report::Silent);
    }

    #[test]
    fn long_reasons_are_cut() {
        let (read, write) = pipe();
        adopted(write).failed(&"x".repeat(1 << 20));
        let Report::Failed(text) = Report::read(read).unwrap() else { unreachable!() };
        assert_eq!(text.len(), REPORT_MAX - 1);
    }

    #[test]
    fn dead_parent_does_not_hold_up_the_daemon() {
        let (read, write) = pipe();
        drop(read);
        adopted(write).ready();
    }

    #[test]
    fn descriptor_that_is_no_pipe_is_refused() {
        let file = File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        let error = adopt(number, number.to_string()).unwrap_err().to_string();
        assert!(error.contains(&format!("{VARIABLE}={number} is not a pipe")), "{error}");
    }
}

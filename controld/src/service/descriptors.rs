//! Children inherit nothing: neither a fence agent nor a helper may hold the monitor device or a connection to corosync
//! open beyond the daemon's death, and the background daemon keeps no pipe or lock of its caller.

use super::error::ServiceError;
use std::fs;
use std::path::{Path, PathBuf};

/// Open descriptors of this process.
const DESCRIPTORS: &str = "/proc/self/fd";

/// Flags of this process's descriptors.
const FLAGS: &str = "/proc/self/fdinfo";

/// The first one behind the standard ones.
const FIRST: libc::c_uint = 3;

/// `CLOSE_RANGE_CLOEXEC` of linux/close_range.h: marks instead of closing.
const CLOSE_RANGE_CLOEXEC: libc::c_int = 4;

/// Marks everything beyond the standard descriptors, whatever the caller left open, as close-on-exec.
#[expect(unsafe_code, reason = "nix has no close_range")]
pub(super) fn keep_from_children() {
    // SAFETY: the call passes no pointers, and with this flag closes nothing that somebody owns.
    let _ = unsafe { libc::close_range(FIRST, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    // Refused only by kernels before 5.11: the daemon then keeps what the C one keeps.
}

/// Descriptors beyond the standard ones that a child would inherit, with what they are open on. None, once [`start`](super::start)
/// has marked what the caller left open: all that the daemon opens itself is close-on-exec.
///
/// # Errors
/// `/proc` cannot be read.
pub fn inheritable_descriptors() -> Result<Vec<(i32, PathBuf)>, ServiceError> {
    let failed = |source| ServiceError::Descriptors { path: DESCRIPTORS.into(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(DESCRIPTORS).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if number <= libc::STDERR_FILENO {
            continue;
        }
        // One that cannot be read any more is closed, as that of this very listing will be.
        let Ok(target) = fs::read_link(Path::new(DESCRIPTORS).join(&name)) else { continue };
        let flags = fs::read_to_string(Path::new(FLAGS).join(&name));
        if flags.is_ok_and(|text| is_inheritable(&text)) {
            found.push((number, target));
        }
    }
    Ok(found)
}

/// Reads the line `flags:`, octal (proc_pid_fdinfo(5)).
fn is_inheritable(text: &str) -> bool {
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_CLOEXEC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use std::os::fd::AsRawFd as _;

    #[test]
    fn descriptor_without_close_on_exec_is_found() {
        let file = fs::File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        let listed = || {
            let found = inheritable_descriptors().unwrap();
            found.into_iter().find(|(found, _)| *found == number)
        };
        assert_eq!(listed(), None);
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        assert_eq!(listed(), Some((number, PathBuf::from("/dev/null"))));
    }
}

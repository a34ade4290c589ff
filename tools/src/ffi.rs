//! The only unsafe code of the tools: pacemaker's fencing library, syslog, and the default action of SIGPIPE.
//!
//! The library is opened at run time, so that a node without pacemaker can have the tools installed; its soname is part
//! of its public header (crm/stonith-ng.h), which suggests exactly this use to dlm.
#![expect(unsafe_code, reason = "foreign functions, each call with its reason")]

use crate::stonith::{Fencer, LastFenced};
use std::ffi::{CStr, c_char, c_int, c_void};

/// Names of the library, newest kind first that Debian 12 and its kin have: pacemaker 2.x, then 3.x.
const LIBRARIES: [&CStr; 2] = [c"libstonithd.so.26", c"libstonithd.so.56"];

/// `int stonith_api_kick(uint32_t nodeid, const char *uname, int timeout, bool off)`: 0, or a negative errno.
type Kick = unsafe extern "C" fn(u32, *const c_char, c_int, bool) -> c_int;
/// `time_t stonith_api_time(uint32_t nodeid, const char *uname, bool in_progress)`: seconds since 1970, 0 never.
type Time = unsafe extern "C" fn(u32, *const c_char, bool) -> libc::time_t;

/// Pacemaker's fencer through its library; the functions are absent where pacemaker is not installed.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    kick: Option<Kick>,
    time: Option<Time>,
}

impl Library {
    /// Opens the library. Its absence shows in the results of the calls, as the C tool has it.
    #[must_use]
    pub fn open() -> Self {
        for name in LIBRARIES {
            // SAFETY: the name is a C string; the library's constructors are pacemaker's and glib's, which any program
            // that links them runs. It is never closed, so the functions stay where they are.
            let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY) };
            if !handle.is_null() {
                return Self::of(handle);
            }
        }
        Self { kick: None, time: None }
    }

    fn of(handle: *mut c_void) -> Self {
        let find = |name: &CStr| {
            // SAFETY: the handle came from dlopen and was never closed; the name is a C string.
            let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
            (!found.is_null()).then_some(found)
        };
        // SAFETY: the types are those of the public header for functions of these names.
        let kick = find(c"stonith_api_kick")
            .map(|found| unsafe { std::mem::transmute::<*mut c_void, Kick>(found) });
        // SAFETY: as above.
        let time = find(c"stonith_api_time")
            .map(|found| unsafe { std::mem::transmute::<*mut c_void, Time>(found) });
        Self { kick, time }
    }
}

impl Fencer for Library {
    fn last_fenced(&self, node: u32) -> LastFenced {
        let Some(time) = self.time else {
            return LastFenced::Never;
        };
        // SAFETY: the header allows a null name together with a node id; the call keeps no pointer.
        match unsafe { time(node, std::ptr::null(), false) } {
            0 => LastFenced::Never,
            seconds => LastFenced::At(seconds),
        }
    }

    fn reboot(&self, node: u32, timeout_seconds: i32) -> i32 {
        let Some(kick) = self.kick else {
            return -libc::ELIBACC;
        };
        // SAFETY: as in last_fenced; `off` false asks for a reboot. The call returns when fencing has ended.
        unsafe { kick(node, std::ptr::null(), timeout_seconds, false) }
    }
}

/// Writes an error line to syslog as `dlm_stonith`, facility daemon. A NUL in the text would end it.
pub fn syslog_error(text: &str) {
    let Ok(text) = std::ffi::CString::new(text) else {
        return;
    };
    // SAFETY: the identity is a constant, as openlog keeps the pointer; the format takes exactly one C string.
    unsafe {
        libc::openlog(c"dlm_stonith".as_ptr(), libc::LOG_CONS | libc::LOG_PID, libc::LOG_DAEMON);
        libc::syslog(libc::LOG_ERR, c"%s".as_ptr(), text.as_ptr());
        libc::closelog();
    }
}

/// Lets a closed pipe end the program, as it ends any other tool of a shell line: `dlm_tool dump | head`.
pub fn end_on_closed_pipe() {
    // SAFETY: called before anything else runs; the default action has no handler that could be unsafe.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

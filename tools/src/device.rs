//! Lockspaces created and removed through the kernel's device `dlm-control`, as libdlm does it (linux/dlm_device.h,
//! spec/cli.md section 4, spec/kernel-interfaces.md section 6).
//!
//! The kernel answers a creation with the minor number of a new device; udev then makes its node. The lockspace is
//! created only when the daemon has brought it up, so the write may take long.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest name of a lockspace in bytes (`DLM_LOCKSPACE_LEN`, linux/dlmconstants.h).
const NAME_MAX: usize = 64;
/// How long udev may take to make a device node.
const NODE_WAIT: Duration = Duration::from_secs(10);
/// Version of the device interface (`DLM_DEVICE_VERSION_*`, linux/dlm_device.h).
const VERSION: [u32; 3] = [6, 0, 2];
/// `DLM_USER_CREATE_LOCKSPACE`
const CREATE: u8 = 4;
/// `DLM_USER_REMOVE_LOCKSPACE`
const REMOVE: u8 = 5;
/// `DLM_USER_LSFLG_FORCEFREE`: remove it even if it has locks.
const FORCE: u32 = 2;
/// `DLM_LSFL_FS` of linux/dlmconstants.h
const FILESYSTEM: u32 = 4;
/// `DLM_LSFL_NEWEXCL` of linux/dlmconstants.h
const EXCLUSIVE: u32 = 8;
/// Size of `struct dlm_write_request`: 16 bytes of head and the largest member of its union, `dlm_lock_params`, which
/// has five pointers. The kernel refuses shorter requests, although those of lockspaces use less of it.
const REQUEST_LEN: usize = 16 + 32 + 5 * size_of::<usize>() + 32;
/// EINVAL of asm-generic/errno-base.h
const EINVAL: i32 = 22;

/// Why a lockspace could not be created or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no dlm.
    #[error("{path}: no device {device}")]
    NoDevice {
        /// The list of devices.
        path: PathBuf,
        /// The one that is missing.
        device: &'static str,
    },
    /// The node is there and is another device.
    #[error("{path}: is not the device with minor number {minor}")]
    OtherDevice {
        /// The node.
        path: PathBuf,
        /// What it should be.
        minor: u64,
    },
    /// The name is too long for the kernel.
    #[error("lockspace name of {length} bytes, at most {NAME_MAX}")]
    Name {
        /// Bytes of the name.
        length: usize,
    },
    /// A system call failed.
    #[error("{operation} {path}: {source}")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// The `errno` that the C tool shows: 0 where no system call failed.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoDevice { .. } | Self::OtherDevice { .. } => 0,
            Self::Name { .. } => EINVAL,
            Self::System { source, .. } => source.raw_os_error().unwrap_or(0),
        }
    }
}

/// How a lockspace is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creation {
    /// It must not exist yet.
    pub exclusive: bool,
    /// It is a file system's.
    pub filesystem: bool,
    /// Mode of its device node.
    pub mode: u32,
}

impl Creation {
    fn flags(self) -> u32 {
        let exclusive = if self.exclusive { EXCLUSIVE } else { 0 };
        let filesystem = if self.filesystem { FILESYSTEM } else { 0 };
        exclusive | filesystem
    }
}

/// Where the devices are.
#[derive(Clone, Debug)]
pub struct Devices {
    misc: PathBuf,
    list: PathBuf,
    wait: Duration,
}

impl Default for Devices {
    fn default() -> Self {
        Self { misc: "/dev/misc".into(), list: "/proc/misc".into(), wait: NODE_WAIT }
    }
}

impl Devices {
    /// Creates a lockspace, or joins the one that others have created, and gives its device node its mode.
    ///
    /// # Errors
    /// No dlm in the kernel, a bad name, no node in time, or what the kernel says to the creation.
    pub fn create(&self, name: &[u8], creation: Creation) -> Result<(), Error> {
        let (mut control, path) = self.control()?;
        if name.len() > NAME_MAX {
            return Err(Error::Name { length: name.len() });
        }
        let request = request(CREATE, creation.flags(), 0, name);
        let written = control.write(&request).map_err(system("create a lockspace through", &path));
        // A new lockspace's minor number comes back in place of a count of bytes.
        let minor = u64::try_from(written?).unwrap_or(u64::MAX);
        let path = self.node(name);
        wait_for(&path, minor, self.wait)?;
        let device = open(&path)?;
        let permissions = Permissions::from_mode(creation.mode);
        device.set_permissions(permissions).map_err(system("set the mode of", &path))
    }

    /// A lockspace that exists.
    ///
    /// # Errors
    /// No dlm in the kernel, or no such lockspace.
    pub fn open(&self, name: &[u8]) -> Result<Lockspace, Error> {
        let (control, control_path) = self.control()?;
        let path = self.node(name);
        let device = open(&path)?;
        let metadata = device.metadata().map_err(system("stat", &path))?;
        Ok(Lockspace { control, control_path, minor: nix::sys::stat::minor(metadata.rdev()) })
    }

    fn node(&self, name: &[u8]) -> PathBuf {
        self.misc.join(OsStr::from_bytes(&[b"dlm_", name].concat()))
    }

    fn control(&self) -> Result<(File, PathBuf), Error> {
        const DEVICE: &str = "dlm-control";
        let list = std::fs::read_to_string(&self.list).map_err(system("read", &self.list))?;
        let minor = minor_of(&list, DEVICE)
            .ok_or_else(|| Error::NoDevice { path: self.list.clone(), device: DEVICE })?;
        let path = self.misc.join(DEVICE);
        wait_for(&path, minor, self.wait)?;
        Ok((open(&path)?, path))
    }
}

/// An open lockspace.
#[derive(Debug)]
pub struct Lockspace {
    control: File,
    control_path: PathBuf,
    minor: u64,
}

impl Lockspace {
    /// Removes it from this node, its locks included.
    ///
    /// # Errors
    /// What the kernel says to the removal.
    pub fn remove(mut self) -> Result<(), Error> {
        let minor = u32::try_from(self.minor).unwrap_or(u32::MAX);
        let request = request(REMOVE, FORCE, minor, b"");
        let written = self.control.write(&request);
        written.map(drop).map_err(system("remove a lockspace through", &self.control_path))
    }
}

fn system(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::System { operation, path, source }
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new().read(true).write(true).open(path).map_err(system("open", path))
}

/// The minor number of a device in the text of /proc/misc.
fn minor_of(list: &str, device: &str) -> Option<u64> {
    let mut lines = list.lines().filter_map(|line| line.trim_start().split_once(' '));
    lines.find(|(_, name)| *name == device)?.0.parse().ok()
}

/// `struct dlm_write_request` with the `lspace` member of its union; the name's bytes count on top.
fn request(command: u8, flags: u32, minor: u32, name: &[u8]) -> Vec<u8> {
    let wide = u8::from(cfg!(target_pointer_width = "64"));
    let mut bytes: Vec<u8> = VERSION.iter().flat_map(|part| part.to_ne_bytes()).collect();
    bytes.extend_from_slice(&[command, wide, 0, 0]);
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&minor.to_ne_bytes());
    bytes.extend_from_slice(name);
    bytes.resize(REQUEST_LEN.saturating_add(name.len()), 0);
    bytes
}

/// Waits until a node is the device with this minor number.
fn wait_for(path: &Path, minor: u64, limit: Duration) -> Result<(), Error> {
    let end = Instant::now() + limit;
    loop {
        // Watched before it is looked at, so that nothing is missed in between.
        let watch = watch(path).map_err(|errno| system("watch for", path)(errno.into()))?;
        let Err(error) = is_device(path, minor) else {
            return Ok(());
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(error);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(system("wait for", path)(errno.into())),
        }
    }
}

/// Events of the directory of a node; before the first dlm device there is none, so of the one above it.
fn watch(path: &Path) -> nix::Result<Inotify> {
    let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ATTRIB;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let mut result = Err(nix::errno::Errno::ENOENT);
    for directory in path.ancestors().skip(1).take(2) {
        result = inotify.add_watch(directory, events);
        if result.is_ok() {
            break;
        }
    }
    result.map(|_| inotify)
}

fn is_device(path: &Path, minor: u64) -> Result<(), Error> {
    let metadata = std::fs::metadata(path).map_err(system("stat", path))?;
    if metadata.file_type().is_char_device() && nix::sys::stat::minor(metadata.rdev()) == minor {
        return Ok(());
    }
    Err(Error::OtherDevice { path: path.to_owned(), minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_pointer_width = "64", target_endian = "little"))]
    fn requests_are_laid_out_as_libdlm_sends_them() {
        let bytes = request(CREATE, EXCLUSIVE | FILESYSTEM, 0, b"foo");
        assert_eq!(bytes.len(), 123);
        assert_eq!(bytes[..16], [6, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 1, 0, 0]);
        assert_eq!(bytes[16..28], [12, 0, 0, 0, 0, 0, 0, 0, b'f', b'o', b'o', 0]);
        let bytes = request(REMOVE, FORCE, 3, b"");
        assert_eq!((bytes.len(), bytes[12]), (120, 5));
        assert_eq!(bytes[16..24], [2, 0, 0, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn devices_are_found_by_their_whole_name() {
        let list = " 11 dlm-control-x\n 10 dlm-control\n";
        assert_eq!(minor_of(list, "dlm-control"), Some(10));
        assert_eq!(minor_of("", "dlm-control"), None);
    }

    #[test]
    fn a_kernel_without_dlm_has_no_errno() {
        let devices = Devices { list: "/dev/null".into(), ..Devices::default() };
        assert_eq!(devices.open(b"foo").unwrap_err().errno(), 0);
    }

    #[test]
    fn a_node_that_does_not_come_in_time_is_reported() {
        let error = wait_for(Path::new("/dev/no-such-dlm-device"), 7, Duration::ZERO).unwrap_err();
        assert_eq!(error.errno(), 2);
        let error = wait_for(Path::new("/dev/null"), 7, Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::OtherDevice { minor: 7, .. }));
    }
}

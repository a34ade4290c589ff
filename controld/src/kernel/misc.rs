//! The dlm's misc devices (spec/kernel-interfaces.md section 6).

use crate::kernel::LogSink;
use crate::kernel::error::{KernelError, Operation};
use crate::kernel::ready::register;
use crate::kernel::root::Root;
use dlm_core::effect::{Level, LogLine};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::{major, minor};
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The device whose open descriptor tells the kernel that a daemon lives.
pub const MONITOR: &str = "dlm-monitor";

/// The device through which POSIX locks come.
pub const PLOCK: &str = "dlm_plock";

/// The devices of the dlm; programs use the first one.
pub const NAMES: [&str; 3] = ["dlm-control", MONITOR, PLOCK];

/// How long device nodes may take to appear.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// `MISC_MAJOR` of linux/major.h.
const MISC_MAJOR: u64 = 10;

/// Wait until each misc device that the kernel has is there as a node with the right number: udev makes them, and may
/// leave older ones in place. That the kernel has none at all is noted, not refused.
///
/// # Errors
/// `/proc/misc` cannot be read; `/dev` cannot be watched; a node is missing or wrong when the deadline is over.
pub async fn wait_for_devices(
    root: &Root,
    deadline: Duration,
    log: &LogSink,
) -> Result<(), KernelError> {
    let line = |level, text| log(LogLine { level, lockspace: None, text });
    let found = registered(root)?;
    if found.is_empty() {
        line(Level::Error, "Is dlm missing from kernel? No misc devices found.".to_owned());
        return Ok(());
    }
    let mut missing: Vec<(PathBuf, u32)> =
        found.into_iter().map(|(name, minor)| (root.misc_device(name), minor)).collect();
    let end = Instant::now() + deadline;
    let watch = Watch::new(root)?;
    let waiting = watch.inotify.as_fd().try_clone_to_owned().and_then(register);
    let waiting = waiting.map_err(KernelError::path(Operation::Register, &watch.dev))?;
    loop {
        // Watch first, look then: a node that is made in between is seen by either.
        watch.renew()?;
        missing.retain(|(path, minor)| {
            let there = is_device(path, *minor);
            if there {
                line(Level::Debug, format!("found {} minor {minor}", path.display()));
            }
            !there
        });
        let Some((path, minor)) = missing.first() else {
            return Ok(());
        };
        let Ok(ready) = timeout_at(end, waiting.readable()).await else {
            return Err(KernelError::NoDevice { path: path.clone(), minor: *minor });
        };
        ready.map_err(KernelError::path(Operation::Read, &watch.dev))?.clear_ready();
        watch.drain();
    }
}

/// Watches `/dev`, and `/dev/misc` as soon as it is there.
struct Watch {
    inotify: Inotify,
    dev: PathBuf,
}

impl Watch {
    fn new(root: &Root) -> Result<Self, KernelError> {
        let dev = root.join("dev");
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|errno| KernelError::path(Operation::Watch, &dev)(errno.into()))?;
        Ok(Self { inotify, dev })
    }

    /// To watch again what is watched already changes nothing.
    fn renew(&self) -> Result<(), KernelError> {
        let changes =
            AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ATTRIB;
        self.inotify
            .add_watch(&self.dev, changes)
            .map_err(|errno| KernelError::path(Operation::Watch, &self.dev)(errno.into()))?;
        // Absent so far: its creation shows in /dev.
        let _ = self.inotify.add_watch(&self.dev.join("misc"), changes);
        Ok(())
    }

    /// What exactly changed does not matter: everything is looked at again.
    fn drain(&self) {
        while self.inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}

/// The dlm's devices in `/proc/misc`, with their minor numbers.
fn registered(root: &Root) -> Result<Vec<(&'static str, u32)>, KernelError> {
    let path = root.join("proc/misc");
    let content = fs::read_to_string(&path).map_err(KernelError::path(Operation::Read, &path))?;
    let minor_of = |wanted: &str| {
        content.lines().find_map(|line| {
            let (minor, name) = line.trim().split_once(' ')?;
            (name == wanted).then(|| minor.parse().ok()).flatten()
        })
    };
    Ok(NAMES.into_iter().filter_map(|name| Some((name, minor_of(name)?))).collect())
}

fn is_device(path: &Path, wanted: u32) -> bool {
    fs::metadata(path).is_ok_and(|metadata| {
        metadata.file_type().is_char_device()
            && major(metadata.rdev()) == MISC_MAJOR
            && minor(metadata.rdev()) == u64::from(wanted)
    })
}

/// Open the monitor device, to be held as long as the daemon lives: when its last opener is gone, the kernel stops all
/// lockspaces. Before any entry of `comms` is local, else the kernel believes in a daemon that knows no monitor.
///
/// # Errors
/// The path and errno.
pub fn open_monitor(root: &Root) -> Result<OwnedFd, KernelError> {
    open(root, MONITOR, OpenOptions::new().read(true))
}

/// Open the device through which POSIX locks come and their results go.
///
/// # Errors
/// The path and errno.
pub fn open_plock(root: &Root) -> Result<OwnedFd, KernelError> {
    open(root, PLOCK, OpenOptions::new().read(true).write(true))
}

/// The standard library opens everything close-on-exec: no fence agent may hold a device open for a dead daemon.
fn open(root: &Root, name: &str, options: &OpenOptions) -> Result<OwnedFd, KernelError> {
    let path = root.misc_device(name);
    options
        .open(&path)
        .map(|file: File| file.into())
        .map_err(KernelError::path(Operation::Open, &path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testtree::TestTree;
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    use std::sync::{Arc, Mutex};

    fn sink() -> (LogSink, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&lines);
        (Arc::new(move |line: LogLine| into.lock().unwrap().push(line.text)), lines)
    }

    fn node(path: &Path, minor: u64) -> bool {
        mknod(path, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(10, minor)).is_ok()
    }

    fn tree() -> TestTree {
        let tree = TestTree::new();
        tree.file(
            "proc/misc",
            b"234 btrfs-control\n122 dlm_plock\n  9 dlm-monitor\n124 dlm-control\n125 dlm_fs\n",
        );
        std::fs::create_dir_all(tree.path("dev")).unwrap();
        tree
    }

    #[test]
    fn only_the_dlms_devices_count() {
        assert_eq!(
            registered(tree().root()).unwrap(),
            [("dlm-control", 124), ("dlm-monitor", 9), ("dlm_plock", 122)]
        );
    }

    #[tokio::test]
    async fn nodes_are_awaited_until_their_numbers_match() {
        let tree = tree();
        let (log, lines) = sink();
        let dev = tree.path("dev");
        let made = std::thread::spawn({
            let dev = dev.clone();
            move || {
                let misc = dev.join("misc");
                fs::create_dir(&misc).unwrap();
                let stale = node(&misc.join("dlm-control"), 99);
                let links = node(&dev.join("dlm-monitor"), 9) && node(&dev.join("dlm_plock"), 122);
                std::os::unix::fs::symlink("../dlm-monitor", misc.join("dlm-monitor")).unwrap();
                std::os::unix::fs::symlink("../dlm_plock", misc.join("dlm_plock")).unwrap();
                std::thread::sleep(Duration::from_millis(50));
                let fresh = node(&dev.join("new"), 124);
                fs::rename(dev.join("new"), misc.join("dlm-control")).unwrap_or_default();
                stale && links && fresh
            }
        });
        let result = wait_for_devices(tree.root(), Duration::from_secs(5), &log).await;
        if !made.join().unwrap() {
            crate::skipped::skipped("device nodes that root may make");
            return;
        }
        result.unwrap();
        let mut lines = lines.lock().unwrap().clone();
        lines.sort();
        let path = |name: &str| tree.root().misc_device(name).display().to_string();
        let expected = [("dlm-control", 124), ("dlm-monitor", 9), ("dlm_plock", 122)];
        assert_eq!(
            lines,
            expected.map(|(name, minor)| format!("found {} minor {minor}", path(name)))
        );
    }

    #[tokio::test]
    async fn a_missing_node_is_named_when_the_time_is_over() {
        let tree = tree();
        let error =
            wait_for_devices(tree.root(), Duration::from_millis(20), &sink().0).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("dev/misc/dlm-control")
                && text.ends_with("with minor 124: udev makes it, is udev running?"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_kernel_without_dlm_is_noted() {
        let tree = TestTree::new();
        tree.file("proc/misc", b"234 btrfs-control\n");
        let (log, lines) = sink();
        wait_for_devices(tree.root(), DEADLINE, &log).await.unwrap();
        assert_eq!(*lines.lock().unwrap(), ["Is dlm missing from kernel? No misc devices found."]);
    }

    #[test]
    fn devices_are_opened_close_on_exec() {
        let tree = TestTree::new();
        tree.file("dev/misc/dlm-monitor", b"");
        tree.file("dev/misc/dlm_plock", b"");
        let monitor = open_monitor(tree.root()).unwrap();
        let plock = open_plock(tree.root()).unwrap();
        for (device, mode) in [(&monitor, OFlag::O_RDONLY), (&plock, OFlag::O_RDWR)] {
            let flags = OFlag::from_bits_truncate(fcntl(device, FcntlArg::F_GETFL).unwrap());
            assert_eq!(flags & OFlag::O_ACCMODE, mode);
            let flags = FdFlag::from_bits_truncate(fcntl(device, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
        }
        assert_eq!(open_monitor(TestTree::new().root()).unwrap_err().errno(), Some(libc::ENOENT));
    }
}

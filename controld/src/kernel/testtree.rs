//! A model of the kernel's trees in a directory for temporary files. Its configfs makes attributes with a directory and removes
//! them with it, as the kernel's does.

use crate::kernel::error::{KernelError, Operation};
use crate::kernel::files::{Files, OsFiles};
use crate::kernel::root::Root;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A tree of its own for each test, removed at the end.
pub(crate) struct TestTree {
    root: Root,
}

impl TestTree {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dlm-kernel-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self { root: Root::new(path) }
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A file with content, and the directories above it.
    pub(crate) fn file(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// sysfs of a lockspace.
    pub(crate) fn lockspace(&self, name: &str) {
        for attribute in ["control", "event_done", "id", "nodir"] {
            self.file(&format!("sys/kernel/dlm/{name}/{attribute}"), b"");
        }
    }

    /// configfs of a cluster, as a daemon's start leaves it.
    pub(crate) fn cluster(&self) {
        fs::create_dir_all(self.path("sys/kernel/config/dlm")).unwrap();
        ModelConfigfs::default().mkdir(&self.root.cluster()).unwrap();
    }
}

impl Drop for TestTree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.path(""));
    }
}

/// configfs on plain files.
#[derive(Default)]
pub(crate) struct ModelConfigfs {
    /// Attributes that this kernel does not have.
    pub(crate) lacks: Vec<&'static str>,
    /// Calls whose path ends so fail, with this errno.
    pub(crate) fails: Option<(Operation, &'static str, i32)>,
    /// Addresses that a comm takes.
    pub(crate) address_limit: Option<usize>,
    /// The directory is there, and nothing is mounted on it.
    pub(crate) unmounted: bool,
    /// Every call that changes something, in order: what, path below the cluster, value.
    pub(crate) calls: Mutex<Vec<String>>,
}

const ATTRIBUTES_OF_CLUSTER: &[&str] =
    &["log_debug", "tcp_port", "mark", "protocol", "recover_callbacks", "cluster_name"];
const ATTRIBUTES_OF_COMM: &[&str] = &["nodeid", "addr", "mark", "local", "addr_list"];
const ATTRIBUTES_OF_NODE: &[&str] = &["nodeid", "weight", "release_recover"];

impl ModelConfigfs {
    fn note(&self, call: &str, path: &Path, value: &str) {
        let path = path.to_string_lossy();
        let below = path.split_once("dlm/cluster").map_or("", |(_, below)| below);
        self.calls.lock().unwrap().push(format!("{call} {below} {value}").trim_end().to_owned());
    }

    pub(crate) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn check(&self, operation: Operation, path: &Path) -> Result<(), KernelError> {
        match self.fails {
            Some((what, end, errno)) if what == operation && path.ends_with(end) => {
                Err(KernelError::path(operation, path)(io::Error::from_raw_os_error(errno)))
            }
            _ => Ok(()),
        }
    }

    fn attributes(path: &Path) -> &'static [&'static str] {
        match path.parent().and_then(Path::file_name).and_then(|name| name.to_str()) {
            Some("dlm") => ATTRIBUTES_OF_CLUSTER,
            Some("comms") => ATTRIBUTES_OF_COMM,
            Some("nodes") => ATTRIBUTES_OF_NODE,
            _ => &[],
        }
    }

    fn groups(path: &Path) -> &'static [&'static str] {
        match path.parent().and_then(Path::file_name).and_then(|name| name.to_str()) {
            Some("dlm") => &["comms", "spaces"],
            Some("spaces") => &["nodes"],
            _ => &[],
        }
    }
}

impl Files for ModelConfigfs {
    fn mkdir(&self, path: &Path) -> Result<(), KernelError> {
        self.check(Operation::Mkdir, path)?;
        OsFiles.mkdir(path)?;
        for attribute in Self::attributes(path).iter().filter(|name| !self.lacks.contains(name)) {
            fs::write(path.join(attribute), b"").unwrap();
        }
        for group in Self::groups(path) {
            fs::create_dir(path.join(group)).unwrap();
        }
        self.note("mkdir", path, "");
        Ok(())
    }

    fn rmdir(&self, path: &Path) -> Result<(), KernelError> {
        self.check(Operation::Rmdir, path)?;
        if path.exists() {
            for group in Self::groups(path) {
                OsFiles.rmdir(&path.join(group))?;
            }
            for attribute in Self::attributes(path) {
                let _ = fs::remove_file(path.join(attribute));
            }
        }
        OsFiles.rmdir(path)?;
        self.note("rmdir", path, "");
        Ok(())
    }

    fn directories(&self, path: &Path) -> Result<Vec<OsString>, KernelError> {
        OsFiles.directories(path)
    }

    fn is_configfs(&self, _: &Path) -> bool {
        !self.unmounted
    }

    fn write(&self, path: &Path, bytes: &[u8], shown: &str) -> Result<(), KernelError> {
        let failure = |errno| KernelError::Write {
            value: shown.to_owned(),
            path: path.to_owned(),
            source: io::Error::from_raw_os_error(errno),
        };
        if let Some((Operation::Open, end, errno)) = self.fails {
            if path.ends_with(end) {
                return Err(failure(errno));
            }
        }
        if path.ends_with("addr") {
            let mut list = fs::read(path).map_err(|_| failure(libc::ENOENT))?;
            if self.address_limit.is_some_and(|limit| list.len() / bytes.len() >= limit) {
                return Err(failure(libc::ENOSPC));
            }
            list.extend_from_slice(bytes);
            fs::write(path, list).unwrap();
        } else {
            OsFiles.write(path, bytes, shown)?;
        }
        self.note("write", path, shown);
        Ok(())
    }
}
